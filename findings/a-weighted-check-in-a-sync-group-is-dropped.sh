#!/usr/bin/env bash
# keepalived 2.2.7: the manual page says that the weights of checks of a sync group's members are set to 0, by which a
# check that fails would be a FAULT. In fact a check with a weight is dropped and never runs, a track_file with one is
# too, a tracked interface keeps its weight though the log says that it is ignored, and a tracked process is not
# mentioned. So does "state MASTER" without a priority drop them: the priority is 255 then, which no page says.
# keepalived logs a line at each start and serves; the configuration test ends with 5.
#
# Seen on 2026-11-29, Linux 6.18, each with a check that fails, weight -50, of priority 200:
#   alone: priority 150, the check ran: yes
#   in a sync group: priority 200, the check ran: no
#   in a sync group, a tracked interface is down, weight -50: priority 150
#   in a sync group, the log: (a) ignoring eth1 tracked interface weight due to SYNC group
#   state MASTER without a priority: priority 255, the check ran: no
#   in a sync group, weight 0: holds nothing
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
link eth1 10.1.0.11/24
mkdir -m 700 /run/checks
printf '#!/bin/sh\n: >/run/checks/ran\nexit 1\n' >/run/checks/check
chmod 755 /run/checks/check
# play WEIGHT FILTER alone|group
play() {
  rm -f /run/checks/ran "$work/keepalived.json"
  {
    echo "$GLOBAL"
    printf 'vrrp_script chk {\n  script /run/checks/check\n  interval 1\n  fall 1\n  rise 1\n}\n'
    if [ "$3" = group ]; then
      printf 'vrrp_sync_group g {\n  group {\n    a\n    b\n  }\n}\n'
      instance b 12 10.0.0.101/32
    fi
    instance a 11 10.0.0.100/32 "track_interface {
    eth1 weight -50
  }
  track_script {
    chk weight $1
  }" | sed "$2"
  } >"$work/keepalived.conf"
  start
  sleep 6
}
finish() {
  kill "$keepalived"
  wait "$keepalived" || true
}
priority() {
  rm -f "$work/keepalived.json"
  kill -"$(keepalived --signum=JSON)" "$keepalived"
  until_true 5 grep -q '"iname": *"a"' "$work/keepalived.json"
  sleep 0.3
  grep -oE '"iname": *"a".*' "$work/keepalived.json" | grep -oE '"effective_priority": *[0-9]+' | head -1 |
    grep -oE '[0-9]+$'
}
verdict() { echo "priority $(priority), the check ran: $([ -e /run/checks/ran ] && echo yes || echo no)"; }

play -50 "" alone
expect "alone" "priority 150, the check ran: yes" "$(verdict)"
finish
play -50 "" group
expect "in a sync group" "priority 200, the check ran: no" "$(verdict)"
ip link set far-eth1 down
until_true 5 says "Netlink reports eth1 down"
expect "in a sync group, a tracked interface is down, weight -50" "priority 150" "priority $(priority)"
expect "in a sync group, the log" "(a) ignoring eth1 tracked interface weight due to SYNC group" \
  "$(grep -oE '\(a\) ignoring eth1 .*' "$work/log")"
ip link set far-eth1 up
finish
play -50 's/state BACKUP/state MASTER/; /priority 200/d' alone
expect "state MASTER without a priority" "priority 255, the check ran: no" "$(verdict)"
finish
play 0 "" group
expect "in a sync group, weight 0" "holds nothing" "$(state)"
