#!/usr/bin/env bash
# keepalived 2.2.7 makes its notify FIFO where there is none. Each reload removes that one and makes another under the
# same name, so that a program that reads the first, and opened it for reading and writing as keepalived itself does,
# so as not to end with the last writer, hears nothing any more, not even an end. Where the FIFO was there before
# keepalived started, it stays, and the reader hears all. The manual page has nothing of that.
#
# Seen on 2026-11-29, Linux 6.18, MASTER, a reload, then the link is down for a second:
#   a FIFO that was there, the reader has: BACKUP MASTER FAULT
#   a FIFO that keepalived made, the reader has: BACKUP MASTER
#   the FIFO is the same file as before the reload: no
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
{ echo "${GLOBAL/max_auto/vrrp_notify_fifo /run/notify$'\n'  max_auto}"; instance a 11 10.0.0.100/32; } \
  >"$work/keepalived.conf"
play() {
  : >"$work/heard"
  start
  until_true 5 test -p /run/notify
  exec 7<>/run/notify
  cat <&7 >"$work/heard" &
  reader=$!
  until_true 10 grep -q MASTER "$work/heard"
  before=$(stat -c %i /run/notify)
  kill -HUP "$keepalived"
  until_true 5 says "Reload complete"
  sleep 0.5
  after=$(stat -c %i /run/notify)
  ip link set far-eth0 down
  until_true 5 says "Entering FAULT STATE"
  sleep 0.5
  kill "$reader" "$keepalived"
  wait "$reader" "$keepalived" || true
  exec 7>&-
  ip link set far-eth0 up
}
heard() { grep -oE 'BACKUP|MASTER|FAULT' "$work/heard" | paste -sd' '; }

mkfifo -m 600 /run/notify
play
expect "a FIFO that was there, the reader has" "BACKUP MASTER FAULT" "$(heard)"
rm /run/notify
play
expect "a FIFO that keepalived made, the reader has" "BACKUP MASTER" "$(heard)"
expect "the FIFO is the same file as before the reload" no "$([ "$before" = "$after" ] && echo yes || echo no)"
