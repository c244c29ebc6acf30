#!/usr/bin/env bash
# keepalived 2.2.7: its netlink socket has 64 kB, which hold the messages about some 118 addresses. When
# 200 are removed while it stands still for a second (a busy node, a paused machine), it learns of a part,
# logs nothing about the rest, and stays MASTER of addresses that it no longer has.
# With "vrrp_netlink_monitor_rcv_bufs 4194304" and "..._force true" all come back.
#
# Seen on 2026-11-29, Linux 6.18:
#   64 kB, 200 addresses removed: some are missing 10 s later
#   64 kB, lines about a lost message: 0
#   4 MB, 200 addresses removed: all are back
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
held() { grep -c ' 10\.0\.1\.' <<<"$(ip -o address show dev eth0)" || true; }
all() { [ "$(held)" = 200 ]; }
# play GLOBAL-LINES: 200 instances are MASTER, stand still, lose all their addresses, and go on.
play() {
  {
    echo "${GLOBAL/max_auto/$1$'\n'  max_auto}"
    for number in {1..200}; do instance "i$number" "$number" "10.0.1.$number/32"; done
  } >"$work/keepalived.conf"
  start
  until_true 20 all
  sleep 1
  child=$(pgrep -P "$keepalived")
  kill -STOP "$child"
  for number in {1..200}; do echo "address del 10.0.1.$number/32 dev eth0"; done | ip -batch -
  kill -CONT "$child"
}
missing() { if all; then echo "all are back"; else echo "some are missing 10 s later"; fi; }

play ""
sleep 10
expect "64 kB, 200 addresses removed" "some are missing 10 s later" "$(missing)"
expect "64 kB, lines about a lost message" 0 "$(grep -ciE 'overrun|ENOBUFS|lost' "$work/log" || true)"
kill "$keepalived"
wait "$keepalived" || true
play $'vrrp_netlink_monitor_rcv_bufs 4194304\n  vrrp_netlink_monitor_rcv_bufs_force true'
sleep 10
expect "4 MB, 200 addresses removed" "all are back" "$(missing)"
