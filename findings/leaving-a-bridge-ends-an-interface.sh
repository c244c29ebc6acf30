#!/usr/bin/env bash
# keepalived 2.2.7: an interface that leaves a bridge is still there, with the same index and its address. The
# kernel reports it as a deleted link of the family AF_BRIDGE. keepalived takes that for the end of the
# interface, and a unicast instance has no socket then: it is BACKUP for ever, although no node advertises.
#
# Seen on 2026-11-29, Linux 6.18:
#   as a port of a bridge, alone: MASTER and holds its address
#   in the log: Interface eth0 deleted
#   5 master-down times after it left the bridge: holds nothing
#   after a restart: MASTER and holds its address
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

unicast_master
ip link add name bridge0 type bridge
ip link set eth0 master bridge0
sleep 1
expect "as a port of a bridge, alone" "MASTER and holds its address" "$(state)"
ip link set eth0 nomaster
until_true 5 says "Interface eth0 deleted"
expect "in the log" "Interface eth0 deleted" "$(grep -om1 'Interface eth0 [a-z]*ed$' "$work/log")"
sleep 17
expect "5 master-down times after it left the bridge" "holds nothing" "$(state)"
kill "$keepalived"
wait "$keepalived" || true
start
until_true 10 has 10.0.0.100
expect "after a restart" "MASTER and holds its address" "$(state)"
