#!/usr/bin/env bash
# keepalived 2.2.7: where a check takes longer than its interval, and not as long as its timeout, the log says each time
# "already running, expect idle - skipping run", and keepalived runs it all the same: as many copies at a time as
# intervals fit in. So a slow service is asked the more the slower it is, up to once per interval of the timeout.
#
# Seen on 2026-11-29, Linux 6.18, interval 1, timeout 20:
#   a check that takes no time, copies at a time: 1
#   a check that takes 6 s, "skipping run" in 12 s: 4 times or more
#   a check that takes 6 s, copies at a time: 4 copies or more
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
mkdir -m 755 /run/checks
cat >/run/checks/check <<'S'
#!/bin/sh
mkdir /run/checks/running.$$
ls -d /run/checks/running.* | wc -l >>/run/checks/copies
sleep "$(cat /run/checks/seconds)"
rmdir /run/checks/running.$$
S
chmod 755 /run/checks/check
{
  echo "$GLOBAL"
  printf 'vrrp_script chk {\n  script /run/checks/check\n  interval 1\n  timeout 20\n}\n'
  instance a 11 10.0.0.100/32 $'track_script {\n    chk\n  }'
} >"$work/keepalived.conf"
# play SECONDS: sets copies and skipped
play() {
  echo "$1" >/run/checks/seconds
  rm -f /run/checks/copies
  start
  sleep 12
  copies=$(sort -n /run/checks/copies | tail -1)
  skipped=$(grep -c "expect idle - skipping run" "$work/log" || true)
  kill "$keepalived"
  wait "$keepalived" || true
}
at_least() { if [ "$2" -ge "$1" ]; then echo "$1 $3 or more"; else echo "$2 $3"; fi; }

play 0
expect "a check that takes no time, copies at a time" 1 "$copies"
play 6
expect 'a check that takes 6 s, "skipping run" in 12 s' "4 times or more" "$(at_least 4 "$skipped" times)"
expect "a check that takes 6 s, copies at a time" "4 copies or more" "$(at_least 4 "$copies" copies)"
