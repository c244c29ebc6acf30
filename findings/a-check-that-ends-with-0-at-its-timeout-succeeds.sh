#!/usr/bin/env bash
# keepalived 2.2.7: a check that runs longer than its timeout gets SIGTERM. It counts as failed only where the signal
# ends it. A check that ends in an orderly way at SIGTERM, with 0, as a script with a trap or a program with a clean
# shutdown does, counts as succeeded each time: a service that hangs keeps its address for ever. The manual page: after
# the timeout a "script is considered to have failed". The same check without the trap is a FAULT.
#
# Seen on 2026-11-29, Linux 6.18, timeout 1, the check hangs for a minute:
#   without a trap: holds nothing
#   without a trap, the log: VRRP_Script(chk) timed_out
#   with "trap 'exit 0' TERM", 10 s later: MASTER and holds its address
#   with "trap 'exit 0' TERM", the log: VRRP_Script(chk) succeeded
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
mkdir -m 755 /run/checks
# play LINE: a check with that line works, then it hangs
play() {
  printf '#!/bin/sh\n%s\n[ -e /run/checks/hang ] || exit 0\nsleep 60 &\nwait\nexit 1\n' "$1" >/run/checks/check
  chmod 755 /run/checks/check
  {
    echo "$GLOBAL"
    printf 'vrrp_script chk {\n  script /run/checks/check\n  interval 1\n  timeout 1\n  fall 1\n  rise 1\n}\n'
    instance a 11 10.0.0.100/32 $'track_script {\n    chk\n  }'
  } >"$work/keepalived.conf"
  start
  until_true 10 has 10.0.0.100
  touch /run/checks/hang
}
finish() {
  kill "$keepalived"
  wait "$keepalived" || true
  rm /run/checks/hang
}
last() { grep -oE 'VRRP_Script\(chk\) .*' "$work/log" | tail -1; }

play ""
until_true 10 lacks 10.0.0.100
expect "without a trap" "holds nothing" "$(state)"
expect "without a trap, the log" "VRRP_Script(chk) timed_out" "$(last)"
finish
play "trap 'exit 0' TERM"
sleep 10
expect "with \"trap 'exit 0' TERM\", 10 s later" "MASTER and holds its address" "$(state)"
expect "with \"trap 'exit 0' TERM\", the log" "VRRP_Script(chk) succeeded" "$(last)"
finish
