#!/usr/bin/env bash
# keepalived 2.2.7: "weight 20 reverse" of a track_script takes 20 from the priority while the check succeeds. A reload
# of the same file adds 20 instead, and from then on the priority is 40 too high: the node that should yield wins.
# A weight without "reverse" is the same before and after.
#
# Seen on 2026-11-29, Linux 6.18, priority 100, a check that succeeds:
#   weight 20, at the start: 120
#   weight 20, after a reload: 120
#   weight 20 reverse, at the start: 80
#   weight 20 reverse, after a reload of the same file: 120
#   weight 20 reverse, 5 s later: 120
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
play() {
  {
    echo "$GLOBAL"
    printf 'vrrp_script chk {\n  script /bin/true\n  interval 1\n}\n'
    instance a 11 10.0.0.100/32 "track_script {
    chk $1
  }" | sed 's/priority 200/priority 100/'
  } >"$work/keepalived.conf"
  start
  until_true 10 has 10.0.0.100
}
priority() {
  rm -f "$work/keepalived.json"
  kill -"$(keepalived --signum=JSON)" "$keepalived"
  until_true 5 test -s "$work/keepalived.json"
  sleep 0.3
  grep -oE '"effective_priority": *[0-9]+' "$work/keepalived.json" | grep -oE '[0-9]+$'
}
reload() {
  kill -HUP "$keepalived"
  until_true 5 says "Reload complete"
  sleep 0.5
}
play "weight 20"
expect "weight 20, at the start" 120 "$(priority)"
reload
expect "weight 20, after a reload" 120 "$(priority)"
kill "$keepalived"
wait "$keepalived" || true
play "weight 20 reverse"
expect "weight 20 reverse, at the start" 80 "$(priority)"
reload
expect "weight 20 reverse, after a reload of the same file" 120 "$(priority)"
sleep 5
expect "weight 20 reverse, 5 s later" 120 "$(priority)"
