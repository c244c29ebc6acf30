#!/usr/bin/env bash
# keepalived 2.2.7 takes whatever process has the number in its pid file for itself: it logs "daemon is already
# running" and ends with 0, success. In a container keepalived has the same low number at each start. Where it was
# killed and /run is still there (docker restart, a volume), it finds its own number, and never starts again; a
# restart policy for failures sees none. A number that no process has is removed as a "zombie pid file".
#
# Seen on 2026-11-29, Linux 6.18:
#   PID 1 of a container: MASTER and holds its address
#   killed and started again with the same /run, exit code: 0
#   the log: daemon is already running
#   with a pid file of another living program, exit code: 0
#   with a pid file whose number nobody has: MASTER and holds its address
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
{ echo "$GLOBAL"; instance a 11 10.0.0.100/32; } >"$work/keepalived.conf"
chmod 600 "$work/keepalived.conf"
# container: keepalived as PID 1 of its own process namespace; its pid outside is $container
container() {
  unshare --pid --fork --kill-child --mount-proc \
    keepalived --dont-fork --log-console --vrrp --use-file "$work/keepalived.conf" >"$work/log" 2>&1 &
  container=$!
}
# ended PID: sets code to its exit code, or to what it does after 5 s
ended() {
  code=0
  timeout 5 tail --pid="$1" -f /dev/null || true
  if kill -0 "$1" 2>/dev/null; then code="it runs"; else wait "$1" || code=$?; fi
}

container
until_true 10 has 10.0.0.100
expect "PID 1 of a container" "MASTER and holds its address" "$(state)"
disown "$container"
kill -KILL "$(pgrep -P "$container")"
timeout 5 tail --pid="$container" -f /dev/null
ip address del 10.0.0.100/32 dev eth0
container
ended "$container"
expect "killed and started again with the same /run, exit code" 0 "$code"
expect "the log" "daemon is already running" "$(grep -oE 'daemon is already running' "$work/log")"

rm -f /run/*.pid
sleep 100 &
echo "$!" >/run/keepalived.pid
start
ended "$keepalived"
expect "with a pid file of another living program, exit code" 0 "$code"
echo 32768 >/run/keepalived.pid
start
until_true 10 has 10.0.0.100
expect "with a pid file whose number nobody has" "MASTER and holds its address" "$(state)"
