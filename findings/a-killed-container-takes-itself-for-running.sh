#!/usr/bin/env bash
# keepalived 2.2.7 as PID 1 of a container: when the container is killed and started again with the files that it had
# (docker restart, a pod's directory on /run), the pid file has the number 1 from before, and a process 1 runs: keepalived
# itself. It logs "daemon is already running" and ends with 0, at each further start too, so that a restart policy
# for failures does not apply, and the address is on no node.
#
# Seen on 2026-11-29, Linux 6.18:
#   a first start, the address: is held
#   killed and started again, keepalived: ends with 0: daemon is already running
#   started once more, keepalived: ends with 0: daemon is already running
#   with an empty /run, the address: is held
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
{ echo "$GLOBAL"; instance a 11 10.0.0.100/32; } >"$work/keepalived.conf"
chmod 600 "$work/keepalived.conf"
mkdir "$work/run"
# container: keepalived as PID 1 of its own processes, with the files of $work/run; its log is $work/log
container() {
  # shellcheck disable=SC2016 # the inner shell expands it
  work=$work exec unshare --pid --fork --kill-child --mount --mount-proc \
    bash -c 'mount --bind "$work/run" /run
      exec keepalived --dont-fork --log-console --vrrp --use-file "$work/keepalived.conf"' >"$work/log" 2>&1
}
killed() {
  kill -KILL "$1"
  wait "$1" 2>>"$work/errors" || true
  until_true 5 nothing_runs
  ip address flush dev eth0 to 10.0.0.100
}
nothing_runs() { ! pgrep -x keepalived; }
# again: start it; how does it end?
again() {
  local status=0
  timeout 5 bash -c "$(declare -f container); work=$work container" || status=$?
  echo "ends with $status: $(grep -oE 'daemon is already running' "$work/log" || tail -1 "$work/log")"
}
address() { if has 10.0.0.100; then echo "is held"; else echo "is not held"; fi; }

container &
first=$!
until_true 10 has 10.0.0.100
expect "a first start, the address" "is held" "$(address)"
killed "$first"
expect "killed and started again, keepalived" "ends with 0: daemon is already running" "$(again)"
expect "started once more, keepalived" "ends with 0: daemon is already running" "$(again)"
rm -r "$work/run"
mkdir "$work/run"
container &
until_true 10 has 10.0.0.100
expect "with an empty /run, the address" "is held" "$(address)"
