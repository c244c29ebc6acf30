#!/usr/bin/env bash
# ucarp 1.5.2: it is MASTER before it runs the script that is to set the address, ignores how the script ends or that
# there is none, and goes on advertising: the BACKUP, which could set the address, never does. While the script runs
# it advertises nothing and reads nothing: one that takes longer than the BACKUP waits leads to two nodes with the
# address. The manual page has the script run "after ucarp has successfully become master", and says no more.
#
# Seen on 2026-11-29, Linux 6.18; a becomes MASTER first, b has a script that works:
#   a's script sets the address, nodes that have it: a
#   a's script ends with 1, nodes that have it: none
#   a's script does not exist, nodes that have it: none
#   a's script sets the address and takes 10 s, nodes that have it after 7 s: a b
#   a's script works and takes 10 s, nodes that have it after 13 s: a
PACKAGES=(ucarp=1.5.2+git20192404.1a9aaf7-1 libpcap0.8=1.10.3-1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

# A switch with two nodes.
ip link add br0 type bridge
ip link set br0 up
for name in a b; do
  ip netns add "$name"
  ip link add "port-$name" type veth peer name eth0 netns "$name"
  ip link set "port-$name" master br0 up
  ip -n "$name" link set eth0 up
done
ip -n a address add 10.0.0.11/24 dev eth0
ip -n b address add 10.0.0.12/24 dev eth0

# ucarp gives a script the interface and the address
script() {
  printf '#!/bin/sh\n%s\n' "$2" >"$work/$1"
  chmod 755 "$work/$1"
}
# shellcheck disable=SC2016 # the script expands it
{
  script works 'ip address add "$2/32" dev "$1"'
  script fails 'exit 1'
  script slow 'ip address add "$2/32" dev "$1"; sleep 10'
  script down 'ip address del "$2/32" dev "$1" 2>/dev/null'
}
# speaker NODE ADDRESS SCRIPT SKEW: the lower skew is the better node
speaker() {
  ip netns exec "$1" ucarp -i eth0 -s "$2" -v 11 -p secret -a 10.0.0.100 -u "$work/$3" -d "$work/down" -k "$4" -n -z \
    >>"$work/log" 2>&1 &
}
holders() {
  local name found=
  for name in a b; do
    [ -z "$(ip -n "$name" address show to 10.0.0.100/32)" ] || found="$found $name"
  done
  echo "${found:- none}" | cut -c2-
}
# play SCRIPT SECONDS: a runs with the script and is MASTER, then b joins
play() {
  : >"$work/log"
  speaker a 10.0.0.11 "$1" 0
  a=$!
  until_true 10 grep -q "state: MASTER" "$work/log"
  speaker b 10.0.0.12 works 100
  b=$!
  sleep "$2"
}
finish() {
  kill "$b" "$a"
  wait "$b" "$a" || true
  for name in a b; do ip -n "$name" address flush dev eth0 to 10.0.0.100/32; done
}
play works 6
expect "a's script sets the address, nodes that have it" a "$(holders)"
finish
play fails 6
expect "a's script ends with 1, nodes that have it" none "$(holders)"
finish
play missing 6
expect "a's script does not exist, nodes that have it" none "$(holders)"
finish
play slow 7
expect "a's script sets the address and takes 10 s, nodes that have it after 7 s" "a b" "$(holders)"
sleep 6
expect "a's script works and takes 10 s, nodes that have it after 13 s" a "$(holders)"
finish
