#!/usr/bin/env bash
# Linux: a UDP socket that is bound to an IPv6 address goes on sending from it after the address was removed from the
# node, also while another node has the address; no call fails. With IPv4 the same call fails. So after a failover
# both nodes send to clients from a virtual IPv6 address. A new socket cannot be bound to the address any more.
#
# Seen on 2026-11-29, Linux 6.18, socat 1.7.4.4, the address is on the other node:
#   IPv4, sent before: arrived from 10.0.0.100
#   IPv4, sent after the address has moved: Network is unreachable
#   IPv6, sent before: arrived from fd00::100
#   IPv6, sent after the address has moved: arrived from fd00::100
#   IPv6, the node has the address: no
#   IPv6, a new socket: Cannot assign requested address
PACKAGES=(socat=1.7.4.4-2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
# shellcheck source=findings/switch.bash
source "$(dirname "$0")/switch.bash"

# Two nodes (here, and other) and a client.
plug 11
plug 12 other
plug 13 client

# got TEXT: has the client got it? The file has a line for each packet: its source and its text.
got() { grep -q " $1$" "$work/got"; }
# sent TEXT: let the program send it, and say what became of it.
sent() {
  echo "$1" >&7
  for _ in {1..20}; do
    if got "$1"; then
      echo "arrived from $(grep " $1$" "$work/got" | cut -d' ' -f1)"
      return
    fi
    if grep -q " E " "$work/log"; then
      sed -n 's/.* E .*: //p' "$work/log" | head -1
      return
    fi
    sleep 0.1
  done
  echo "nothing arrived"
}
# play FAMILY ADDRESS LENGTH CLIENT AFTERWARDS: a program that is bound to the address sends before and after it moves.
play() {
  local address=$2 client=$4
  case $2 in *:*) address="[$2]" client="[$4]" ;; esac
  ip address add "$2/$3" dev eth0
  # shellcheck disable=SC2016 # the inner shell expands it
  ip netns exec client socat -u "UDP$1-RECVFROM:500$1,fork" \
    'SYSTEM:read -r text; echo "$SOCAT_PEERADDR $text"' | sed -u 's/^.*:0100\]/fd00::100/' >"$work/got" &
  mkfifo "$work/fifo$1"
  socat -u "PIPE:$work/fifo$1" "UDP$1-SENDTO:$client:500$1,bind=$address" 2>"$work/log" &
  exec 7>"$work/fifo$1"
  sleep 0.5
  expect "IPv$1, sent before" "arrived from $2" "$(sent before)"
  ip address del "$2/$3" dev eth0
  ip -n other address add "$2/$3" dev eth0
  sleep 0.5
  expect "IPv$1, sent after the address has moved" "$5" "$(sent after)"
  exec 7>&-
}
play 4 10.0.0.100 32 10.0.0.13 "Network is unreachable"
play 6 fd00::100 128 fd00::13 "arrived from fd00::100"
expect "IPv6, the node has the address" no "$(has fd00::100 && echo yes || echo no)"
socat -u /dev/null "UDP6-SENDTO:[fd00::13]:5006,bind=[fd00::100]" 2>"$work/log" || true
expect "IPv6, a new socket" "Cannot assign requested address" "$(sed -n 's/.* E .*: //p' "$work/log")"
