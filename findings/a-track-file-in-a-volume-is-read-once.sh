#!/usr/bin/env bash
# keepalived 2.2.7: "the file will be read whenever it is modified", says the manual page of track_file. It follows
# links once, at its start, and watches the directory that they led to. In a ConfigMap's volume, where each update is
# a new directory and a link that moves, it never sees a value again; and as the former directory is removed, it takes
# the file for deleted, which counts as 0, healthy, so that a node in FAULT becomes MASTER by any update. A file that
# is mounted by itself, as by subPath or docker's -v, is never read again: its directory is another one. The same
# value written to the same file in a plain directory is seen at once.
#
# Seen on 2026-11-29, Linux 6.18, weight 0 (not 0 is a FAULT):
#   a plain file, 0 becomes 1: holds nothing
#   a volume, 0 becomes 1: MASTER and holds its address
#   a volume, 1 at the start: holds nothing
#   a volume, another update, the file says: 1
#   a volume, another update, the node: MASTER and holds its address
#   a file mounted by itself, 0 becomes 1, the file says: 1
#   a file mounted by itself, 0 becomes 1: MASTER and holds its address
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
MASTER="MASTER and holds its address"
volume=$work/volume
mkdir "$volume" "$work/host" "$work/container"
# update VALUE: what the kubelet does with a volume: a new directory, a link that moves there, the former one removed
number=0
update() {
  local former=..$number
  number=$((number + 1))
  mkdir "$volume/..$number"
  echo "$1" >"$volume/..$number/fault"
  ln -s "..$number" "$volume/..data_tmp"
  mv -T "$volume/..data_tmp" "$volume/..data"
  [ -e "$volume/fault" ] || ln -s ..data/fault "$volume/fault"
  [ ! -e "$volume/$former" ] || rm -r "${volume:?}/$former"
}
play() {
  {
    echo "$GLOBAL"
    printf 'track_file fault {\n  file %s\n  weight 0\n}\n' "$1"
    instance a 11 10.0.0.100/32 $'track_file {\n    fault\n  }'
  } >"$work/keepalived.conf"
  start
}
finish() {
  kill "$keepalived"
  wait "$keepalived" || true
}

echo 0 >"$work/plain"
play "$work/plain"
until_true 10 has 10.0.0.100
echo 1 >"$work/plain"
sleep 1
expect "a plain file, 0 becomes 1" "holds nothing" "$(state)"
finish

update 0
play "$volume/fault"
until_true 10 has 10.0.0.100
update 1
sleep 2
expect "a volume, 0 becomes 1" "$MASTER" "$(state)"
finish
play "$volume/fault"
sleep 5
expect "a volume, 1 at the start" "holds nothing" "$(state)"
update 1
expect "a volume, another update, the file says" 1 "$(cat "$volume/fault")"
until_true 10 has 10.0.0.100
expect "a volume, another update, the node" "$MASTER" "$(state)"
finish

echo 0 >"$work/host/fault"
: >"$work/container/fault"
mount --bind "$work/host/fault" "$work/container/fault"
play "$work/container/fault"
until_true 10 has 10.0.0.100
echo 1 >"$work/host/fault"
sleep 2
expect "a file mounted by itself, 0 becomes 1, the file says" 1 "$(cat "$work/container/fault")"
expect "a file mounted by itself, 0 becomes 1" "$MASTER" "$(state)"
