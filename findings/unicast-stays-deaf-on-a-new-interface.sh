#!/usr/bin/env bash
# keepalived 2.2.7: an interface is deleted and made anew under its name, as network managers do with a bridge,
# a VLAN or a bond. keepalived makes the socket of a unicast instance at once, before the address is there;
# bind fails and is never tried again. The instance is BACKUP for ever, although no node advertises.
#
# Seen on 2026-11-29, Linux 6.18:
#   before, alone: MASTER and holds its address
#   5 master-down times after the address is back: holds nothing
#   after a restart: MASTER and holds its address
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

unicast_master
expect "before, alone" "MASTER and holds its address" "$(state)"
ip link del eth0
sleep 0.5
ip link add eth0 type veth peer name far-eth0
ip link set far-eth0 up
ip link set eth0 up
sleep 0.5
ip address add 10.0.0.11/24 dev eth0
sleep 17
expect "5 master-down times after the address is back" "holds nothing" "$(state)"
kill "$keepalived"
wait "$keepalived" || true
start
until_true 10 has 10.0.0.100
expect "after a restart" "MASTER and holds its address" "$(state)"
