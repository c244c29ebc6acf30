#!/usr/bin/env bash
# keepalived 2.2.7: another program gives a lifetime to an address that keepalived holds. It neither notices nor
# undoes that; only when the kernel removes the address does it leave MASTER and set it again.
#
# Seen on 2026-11-29, Linux 6.18:
#   lines of its log about the change: 0
#   the lifetime is still there: yes
#   transitions when the kernel has removed the address: 1
#   the address afterwards: valid_lft forever
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
{ echo "$GLOBAL"; instance a 11 10.0.0.100/32; } >"$work/keepalived.conf"
start
until_true 10 has 10.0.0.100
sleep 1
lifetime() { ip -o address show dev eth0 | grep " 10.0.0.100/" | grep -oE "valid_lft [^ ]+"; }
before=$(wc -l <"$work/log")
ip address change 10.0.0.100/32 dev eth0 valid_lft 6 preferred_lft 6
sleep 2
expect "lines of its log about the change" 0 "$(($(wc -l <"$work/log") - before))"
expect "the lifetime is still there" yes "$([[ $(lifetime) == *forever ]] && echo no || echo yes)"
again() { [ "$(grep -c 'Entering MASTER STATE' "$work/log")" = 2 ]; }
until_true 10 again
expect "transitions when the kernel has removed the address" 1 "$(tail -n "+$((before + 1))" "$work/log" | grep -c 'Entering MASTER STATE')"
until_true 3 has 10.0.0.100
expect "the address afterwards" "valid_lft forever" "$(lifetime)"
