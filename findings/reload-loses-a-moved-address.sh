#!/usr/bin/env bash
# keepalived 2.2.7: a reload that moves an address from a later instance to an earlier one loses it. The
# earlier instance finds it there, the later one removes it, and keepalived believes that it holds it. The
# same SIGHUP again does not bring it back. The other way round the address stays.
#
# Seen on 2026-11-29, Linux 6.18:
#   after a move to a later instance, the address is there: yes
#   after a move to an earlier instance, the address is there: no
#   after another SIGHUP, the address is there: no
#   keepalived's state of that instance: MASTER
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
is_there() { if has 10.0.0.101; then echo yes; else echo no; fi; }
early() { echo "$GLOBAL"; instance a 11 $'10.0.0.100/32 dev eth0\n    10.0.0.101/32'; instance b 12 10.0.0.102/32; }
late() { echo "$GLOBAL"; instance a 11 10.0.0.100/32; instance b 12 $'10.0.0.102/32 dev eth0\n    10.0.0.101/32'; }
reload() {
  local before
  before=$(grep -c "Reload complete" "$work/log" || true)
  kill -HUP "$keepalived"
  until_true 5 reloaded "$before"
  sleep 2
}
reloaded() { [ "$(grep -c 'Reload complete' "$work/log")" -gt "$1" ]; }

early >"$work/keepalived.conf"
start
until_true 10 has 10.0.0.101
until_true 10 has 10.0.0.102
late >"$work/keepalived.conf"
reload
expect "after a move to a later instance, the address is there" yes "$(is_there)"
early >"$work/keepalived.conf"
reload
expect "after a move to an earlier instance, the address is there" no "$(is_there)"
reload
expect "after another SIGHUP, the address is there" no "$(is_there)"
kill -"$(keepalived --signum=JSON)" "$keepalived"
until_true 5 test -s "$work/keepalived.json"
sleep 0.5
state=$(grep -oE '"iname": *"a".*' "$work/keepalived.json" | grep -oE '"state": *[0-9]' | head -1 | tail -c 2)
expect "keepalived's state of that instance" MASTER "$([ "$state" = 2 ] && echo MASTER || echo "$state")"
