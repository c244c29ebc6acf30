#!/usr/bin/env bash
# keepalived 2.2.7: "no_accept" drops all packets to the addresses of a MASTER by rules of nftables. A reload that takes
# the line away leaves the address in the rules: the node holds and announces it, and answers nobody. The rules
# outlive keepalived's end and its next start. An address that the same reload adds answers. Stopped and started
# instead of reloaded, both answer. The same holds for vrrp_strict, which implies no_accept.
#
# Seen on 2026-11-29, Linux 6.18, pings of another node:
#   no_accept: no answer
#   no_accept, keepalived has ended, rules that are left: none
#   a stop, and a start without it: an answer
#   vrrp_strict, then a reload without it: no answer
#   no_accept, then a reload without it: no answer
#   an address that the reload has added: an answer
#   keepalived has ended, rules that are left: some
#   another start, MASTER and holds its address: no answer
PACKAGES=(keepalived=1:2.2.7-1+b2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2
  iputils-ping=3:20221126-1+deb12u1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu
PATH=$FINDING_TEMP/root/bin:$PATH

facing client

configure() { { echo "${GLOBAL/max_auto/${3:-}$'\n'  max_auto}"; instance a 11 "$1" "$2"; } >"$work/keepalived.conf"; }
begin() {
  start
  until_true 10 has 10.0.0.100
  sleep 0.5
}
finish() {
  kill "$keepalived"
  wait "$keepalived" || true
}
reload() {
  kill -HUP "$keepalived"
  until_true 5 says "Reload complete"
  sleep 0.5
}
rules() { if nft list ruleset | grep -qF 10.0.0.100; then echo some; else echo none; fi; }
answer() {
  ip netns exec client ip neighbour flush dev eth0
  if ip netns exec client ping -q -c 3 -i 0.3 -W 1 "$1" >/dev/null; then echo "an answer"; else echo "no answer"; fi
}

configure 10.0.0.100/32 no_accept
begin
expect "no_accept" "no answer" "$(answer 10.0.0.100)"
finish
expect "no_accept, keepalived has ended, rules that are left" none "$(rules)"
configure 10.0.0.100/32 ""
begin
expect "a stop, and a start without it" "an answer" "$(answer 10.0.0.100)"
finish

configure 10.0.0.100/32 "" vrrp_strict
begin
configure 10.0.0.100/32 ""
reload
expect "vrrp_strict, then a reload without it" "no answer" "$(answer 10.0.0.100)"
finish
nft flush ruleset

configure 10.0.0.100/32 no_accept
begin
configure $'10.0.0.100/32 dev eth0\n    10.0.0.101/32' ""
reload
expect "no_accept, then a reload without it" "no answer" "$(answer 10.0.0.100)"
expect "an address that the reload has added" "an answer" "$(answer 10.0.0.101)"
finish
expect "keepalived has ended, rules that are left" some "$(rules)"
begin
expect "another start, MASTER and holds its address" "no answer" "$(answer 10.0.0.100)"
