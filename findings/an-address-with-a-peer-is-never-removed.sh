#!/usr/bin/env bash
# keepalived 2.2.7: an address with "peer", as the manual page offers, is set by a MASTER and never removed, unless the
# peer's mask covers the address too (without one it is /32). The deletion names the address where the kernel compares
# with the peer, so the kernel refuses it, and the log has no word of that. The former MASTER answers beside the next
# one, also after keepalived has ended and started again.
#
# Seen on 2026-11-29, Linux 6.18:
#   configuration test: 0
#   MASTER, the address without a peer: is there
#   MASTER, the address with a peer: is there
#   in FAULT, the address without a peer: is gone
#   in FAULT, the address with a peer: is there
#   in FAULT, ARP for it from another node: is answered
#   keepalived has ended, the address with a peer: is there
#   it runs again, in FAULT, the address with a peer: is there
PACKAGES=(keepalived=1:2.2.7-1+b2 iputils-arping=3:20221126-1+deb12u1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

facing client
echo 0 >"$work/fault"
{
  echo "$GLOBAL"
  printf 'track_file fault {\n  file %s\n  weight 0\n}\n' "$work/fault"
  instance a 11 $'10.0.0.100/32 dev eth0\n    10.0.0.101 peer 10.0.0.1' $'track_file {\n    fault\n  }'
} >"$work/keepalived.conf"
chmod 600 "$work/keepalived.conf"
address() { if [[ $(ip -o address show dev eth0) == *" $1"[/\ ]* ]]; then echo "is there"; else echo "is gone"; fi; }

expect "configuration test" 0 "$(keepalived --config-test --use-file "$work/keepalived.conf" && echo 0 || echo $?)"
start
until_true 10 has 10.0.0.100
expect "MASTER, the address without a peer" "is there" "$(address 10.0.0.100)"
expect "MASTER, the address with a peer" "is there" "$(address 10.0.0.101)"
echo 1 >"$work/fault"
until_true 5 says "Entering FAULT STATE"
until_true 5 lacks 10.0.0.100
expect "in FAULT, the address without a peer" "is gone" "$(address 10.0.0.100)"
sleep 1
expect "in FAULT, the address with a peer" "is there" "$(address 10.0.0.101)"
expect "in FAULT, ARP for it from another node" "is answered" \
  "$(ip netns exec client arping -q -c 2 -w 3 -I eth0 10.0.0.101 && echo "is answered")"
kill "$keepalived"
wait "$keepalived" || true
expect "keepalived has ended, the address with a peer" "is there" "$(address 10.0.0.101)"
start
until_true 5 says "entering FAULT state"
sleep 1
expect "it runs again, in FAULT, the address with a peer" "is there" "$(address 10.0.0.101)"
