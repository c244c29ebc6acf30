#!/usr/bin/env bash
# keepalived 2.2.7: an interface is deleted and made anew under its name, with another index. An IPv4 instance and
# an IPv6 instance, both by multicast, become MASTER there and set their addresses. The adverts of the IPv4
# instance leave. Each advert of the IPv6 instance is sent to the index that is gone: the kernel refuses it, and no
# other node learns that the address is held. A restart mends it.
#
# Seen on 2026-11-29, Linux 6.18:
#   before, refused adverts: IPv4 none, IPv6 none
#   on the new interface: both addresses are held
#   3 s later, refused adverts: IPv4 none, IPv6 more and more
#   after a restart, refused adverts: IPv4 none, IPv6 none
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

addresses=(10.0.0.11/24 fe80::11/64 fd00::11/64)
refused() { grep -cF "($1): send advert error 22" "$work/log" || true; }
word() { if [ "$1" = 0 ]; then echo none; elif [ "$1" -gt "$2" ]; then echo "more and more"; else echo some; fi; }
adverts() { echo "IPv4 $(word "$(refused four)" 0), IPv6 $(word "$(refused six)" "${1:-0}")"; }
both() { has 10.0.0.100 && has fd00::100; }

link eth0 "${addresses[@]}"
{
  echo "$GLOBAL"
  instance four 11 10.0.0.100/32
  instance six 12 fd00::100/128
} >"$work/keepalived.conf"
start
until_true 10 both
sleep 2
expect "before, refused adverts" "IPv4 none, IPv6 none" "$(adverts)"
ip link del eth0
sleep 0.5
link eth0 "${addresses[@]}"
until_true 20 both
expect "on the new interface" "both addresses are held" "both addresses are held"
until_true 10 says "(six): send advert error 22"
before=$(refused six)
sleep 3
expect "3 s later, refused adverts" "IPv4 none, IPv6 more and more" "$(adverts "$before")"
kill "$keepalived"
wait "$keepalived" || true
start
until_true 10 both
sleep 2
expect "after a restart, refused adverts" "IPv4 none, IPv6 none" "$(adverts)"
