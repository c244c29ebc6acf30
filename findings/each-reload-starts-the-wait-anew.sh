#!/usr/bin/env bash
# keepalived 2.2.7: a reload keeps the state of each instance, but a BACKUP begins its wait for an advert anew. So while
# it is reloaded more often than every 3 s, as by a controller that writes the file anew for each change, just when
# nodes die and things change, it never takes over, and the address is on no node. A reload of a MASTER changes nothing.
#
# Seen on 2026-11-29, Linux 6.18, alone, no advert to be heard:
#   4.5 s after the start: MASTER and holds its address
#   17 s after the start, a reload every 2 s: holds nothing
#   4.5 s after the last reload: MASTER and holds its address
#   a MASTER, a reload every 2 s for 6 s: no event of the address
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
{ echo "$GLOBAL"; instance a 11 10.0.0.100/32; } >"$work/keepalived.conf"
reload() {
  kill -HUP "$keepalived"
  sleep 2
}
start
sleep 4.5
expect "4.5 s after the start" "MASTER and holds its address" "$(state)"
kill "$keepalived"
wait "$keepalived" || true
start
sleep 1
for _ in {1..8}; do reload; done
expect "17 s after the start, a reload every 2 s" "holds nothing" "$(state)"
sleep 2.5
expect "4.5 s after the last reload" "MASTER and holds its address" "$(state)"
stdbuf -oL ip -o monitor address >"$work/events" &
sleep 0.5
for _ in {1..3}; do reload; done
expect "a MASTER, a reload every 2 s for 6 s" "no event of the address" \
  "$(grep -q '10\.0\.0\.100' "$work/events" || echo "no event of the address")"
