#!/usr/bin/env bash
# keepalived 2.2.7: a check script on a file system that is mounted noexec can never be executed. The configuration
# test accepts it, keepalived logs that it succeeded, and the instance becomes MASTER. The same script, which ends
# with 1, keeps the instance in FAULT from a file system where it can be executed.
#
# Seen on 2026-11-29, Linux 6.18:
#   noexec, configuration test: 0
#   noexec, keepalived's log: VRRP_Script(chk) succeeded
#   noexec, the address: is held
#   exec, keepalived's log: VRRP_Script(chk) failed (exited with status 1)
#   exec, the address: is not held
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
checked() {
  mount -t tmpfs -o "$1" tmpfs /mnt
  printf '#!/bin/sh\nexit 1\n' >/mnt/check
  chmod 755 /mnt/check
  {
    echo "$GLOBAL"
    printf 'vrrp_script chk {\n  script "/mnt/check"\n  interval 1\n  fall 1\n  rise 1\n}\n'
    instance a 11 10.0.0.100/32 $'track_script {\n    chk\n  }'
  } >"$work/keepalived.conf"
  chmod 600 "$work/keepalived.conf"
}
verdict() { grep -oE 'VRRP_Script\(chk\) .*' "$work/log" | head -1; }
address() { if has 10.0.0.100; then echo "is held"; else echo "is not held"; fi; }

checked noexec
expect "noexec, configuration test" 0 "$(keepalived --config-test --use-file "$work/keepalived.conf" && echo 0 || echo $?)"
start
sleep 5 # longer than a BACKUP waits before it becomes MASTER
expect "noexec, keepalived's log" "VRRP_Script(chk) succeeded" "$(verdict)"
expect "noexec, the address" "is held" "$(address)"
kill "$keepalived"
wait "$keepalived" || true
umount /mnt

checked exec
start
sleep 5
expect "exec, keepalived's log" "VRRP_Script(chk) failed (exited with status 1)" "$(verdict)"
expect "exec, the address" "is not held" "$(address)"
