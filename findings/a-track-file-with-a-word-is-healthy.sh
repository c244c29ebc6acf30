#!/usr/bin/env bash
# keepalived 2.2.7: whatever a track_file says that does not begin with a number counts as 0, healthy, without a word
# in the log: "down", an empty file (as a full disk leaves it), a file that is gone. A value that a program has written
# and that every reader sees is not read before the program closes the file. The manual page has none of that.
#
# Seen on 2026-11-29, Linux 6.18, weight 0 (not 0 is a FAULT):
#   the file says 1: holds nothing
#   then it says down: MASTER and holds its address
#   it says 1 again, and then it is emptied: MASTER and holds its address
#   it says 1 again, and then it is removed: MASTER and holds its address
#   a program has written 1 and holds the file open, it says: 1
#   a program has written 1 and holds the file open: MASTER and holds its address
#   the program has closed it: holds nothing
#   keepalived's log about a value that is no number: 0 lines
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
MASTER="MASTER and holds its address"
file=$work/fault
echo 0 >"$file"
{
  echo "$GLOBAL"
  printf 'track_file fault {\n  file %s\n  weight 0\n}\n' "$file"
  instance a 11 10.0.0.100/32 $'track_file {\n    fault\n  }'
} >"$work/keepalived.conf"
start
fault() {
  until_true 10 has 10.0.0.100
  echo 1 >"$file"
  until_true 5 lacks 10.0.0.100
}
fault
sleep 4 # longer than an election
expect "the file says 1" "holds nothing" "$(state)"
echo down >"$file"
until_true 10 has 10.0.0.100
expect "then it says down" "$MASTER" "$(state)"
fault
: >"$file"
until_true 10 has 10.0.0.100
expect "it says 1 again, and then it is emptied" "$MASTER" "$(state)"
fault
rm "$file"
until_true 10 has 10.0.0.100
expect "it says 1 again, and then it is removed" "$MASTER" "$(state)"
echo 0 >"$file"
sleep 1 # keepalived reads that before the next
exec 5>"$file"
echo 1 >&5
sleep 2
expect "a program has written 1 and holds the file open, it says" 1 "$(cat "$file")"
expect "a program has written 1 and holds the file open" "$MASTER" "$(state)"
exec 5>&-
until_true 5 lacks 10.0.0.100
expect "the program has closed it" "holds nothing" "$(state)"
expect "keepalived's log about a value that is no number" "0 lines" "$(grep -ci 'invalid' "$work/log" || true) lines"
