#!/usr/bin/env bash
# Linux: what a node has connected to its own virtual address has that address on both ends. When the address moves to
# another node, such a connection neither ends nor fails: the program waits for an answer while the kernel tries for
# a quarter of an hour, and without data to send it waits for ever. Connections of other hosts are reset by the new
# holder at once. So on the node that had the address everything hangs that every other node does anew.
#
# Seen on 2026-11-29, Linux 6.18, socat 1.7.4.4, both families alike, something is sent after the address has moved:
#   IPv4, the holder's own connection comes from: 10.0.0.100
#   IPv4, another host's connection: reset
#   IPv4, the holder's own connection, 20 s later: established, and tried again without an error
#   IPv6, the holder's own connection comes from: fd00::100
#   IPv6, another host's connection: reset
#   IPv6, the holder's own connection, 20 s later: established, and tried again without an error
PACKAGES=(iproute2=6.1.0-3 socat=1.7.4.4-2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
# shellcheck source=findings/switch.bash
source "$(dirname "$0")/switch.bash"
PATH=$FINDING_TEMP/root/bin:$FINDING_TEMP/root/sbin:$PATH

# Two nodes (here, and other) and a client.
plug 11
plug 12 other
plug 13 client
ip address add 10.0.0.100/32 dev eth0
ip address add fd00::100/128 dev eth0 nodad
listen() {
  for family in 4 6; do
    "$@" socat "TCP$family-LISTEN:808$family,fork,reuseaddr" PIPE 2>/dev/null &
  done
}
listen
listen ip netns exec other
sleep 0.5

# connect NAME FAMILY ADDRESS [NAMESPACE]: a program that sends what is written to the file NAME.
connect() {
  mkfifo "$work/$1"
  ${4:+ip netns exec "$4"} socat -d "OPEN:$work/$1,rdwr!!STDOUT" "TCP$2:$3:808$2" >"$work/got-$1" 2>"$work/log-$1" &
}
# heard NAME TEXT: has the program got it back?
heard() { grep -q "$2" "$work/got-$1"; }
# fate NAME FAMILY: what became of its connection
fate() {
  local socket
  if grep -q "Connection reset by peer" "$work/log-$1"; then
    echo reset
    return
  fi
  socket=$(ss -Htno state established "dport = :808$2")
  case $socket in
    *timer:*) echo "established, and tried again without an error" ;;
    *) echo "${socket:-gone}" ;;
  esac
}
# source_of FAMILY: where the holder's own connection comes from
source_of() { ss -Htn state established "dport = :808$1" | awk '{ print $3 }' | sed 's/:[0-9]*$//' | tr -d '[]'; }
connect own4 4 10.0.0.100
connect own6 6 "[fd00::100]"
connect other4 4 10.0.0.100 client
connect other6 6 "[fd00::100]" client
for name in own4 own6 other4 other6; do
  echo before >"$work/$name"
  until_true 5 heard "$name" before
done
declare -A from=([4]=$(source_of 4) [6]=$(source_of 6))
ip address del 10.0.0.100/32 dev eth0
ip address del fd00::100/128 dev eth0
ip -n other address add 10.0.0.100/32 dev eth0
ip -n other address add fd00::100/128 dev eth0 nodad
ip -n client neighbour flush all
for name in own4 own6 other4 other6; do echo after >"$work/$name"; done
sleep 20
for family in 4 6; do
  address=10.0.0.100
  [ "$family" = 4 ] || address=fd00::100
  expect "IPv$family, the holder's own connection comes from" "$address" "${from[$family]}"
  expect "IPv$family, another host's connection" reset "$(fate "other$family" "$family")"
  expect "IPv$family, the holder's own connection, 20 s later" "established, and tried again without an error" \
    "$(fate "own$family" "$family")"
done
