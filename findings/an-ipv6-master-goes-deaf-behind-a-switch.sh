#!/usr/bin/env bash
# Linux as a switch with multicast snooping floods 224.0.0.x, VRRP's group of IPv4, and does not flood ff02::12, that
# of IPv6: a port gets what its node answers a querier for. So a firewall that lets in VRRP and neighbour discovery
# and drops the rest, queries of MLD too, does no harm until a membership ends (260 s by default; 5 s here). From then
# on, with IPv6 alone, the BACKUP hears no advert and becomes MASTER beside the other, again and again, and clients
# cannot resolve the virtual address: its group of neighbour discovery ends likewise. All is well before that time.
#
# Seen on 2026-11-29, Linux 6.18, keepalived 2.2.7:
#   queries are let in, 14 s later, the BACKUP of IPv4: has been BACKUP
#   queries are let in, 14 s later, the BACKUP of IPv6: has been BACKUP
#   queries are let in, a client finds: 10.0.0.100 fd00::100
#   queries are dropped, 2 s later, the BACKUP of IPv6: has been BACKUP
#   queries are dropped, 2 s later, a client finds: 10.0.0.100 fd00::100
#   queries are dropped, 14 s later, the BACKUP of IPv4: has been BACKUP
#   queries are dropped, 14 s later, the BACKUP of IPv6: became MASTER
#   the second keepalived ends, 6 s later a client finds: 10.0.0.100
PACKAGES=(keepalived=1:2.2.7-1+b2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

# A switch that asks every 2 s, with two nodes and a client. The times are in hundredths of a second.
sysctl -qw net.ipv6.conf.default.accept_dad=0
ip link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_mld_version 2 mcast_query_interval 200 \
  mcast_query_response_interval 100 mcast_membership_interval 500 mcast_startup_query_interval 100
ip link set br0 up
for name in a b client; do
  ip netns add "$name"
  ip link add "port-$name" type veth peer name eth0 netns "$name"
  ip link set "port-$name" master br0 up
  ip netns exec "$name" sysctl -qw net.ipv6.conf.eth0.accept_dad=0
  ip -n "$name" link set eth0 up
done
ip -n a address add 10.0.0.11/24 dev eth0
ip -n b address add 10.0.0.12/24 dev eth0
ip -n client address add 10.0.0.13/24 dev eth0
ip -n client address add fd00::13/64 dev eth0 nodad

firewall() {
  local name
  for name in a b; do
    ip netns exec "$name" nft -f - <<N
flush ruleset
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    meta l4proto { 112, icmp } accept
    icmpv6 type { $1 } accept
  }
}
N
  done
}
DISCOVERY="nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, echo-request"
speaker() {
  {
    echo "$GLOBAL"
    instance four 11 10.0.0.100/32
    instance six 12 $'fe80::100/128 dev eth0\n    fd00::100/128'
  } | sed "s/priority 200/priority $2/" >"$work/$1.conf"
  chmod 600 "$work/$1.conf"
  ip netns exec "$1" keepalived --dont-fork --log-console --vrrp --use-file "$work/$1.conf" \
    --pid "$work/$1.pid" --vrrp_pid "$work/$1-vrrp.pid" >"$work/$1.log" 2>&1 &
}
holds() { [ "$(ip -n a -o address show | grep -cE ' (10\.0\.0\.|fd00::)100/')" = 2 ]; }
# was INSTANCE: what the second node's instance was since it started
was() { if grep -qF "($1) Entering MASTER" "$work/b.log"; then echo "became MASTER"; else echo "has been BACKUP"; fi; }
# found: which of the addresses the client resolves
found() {
  local address answers=
  ip -n client neighbour flush all
  for address in 10.0.0.100 fd00::100; do ip netns exec client bash -c "echo >/dev/udp/$address/9"; done
  sleep 1.5
  for address in 10.0.0.100 fd00::100; do
    ! ip -n client neighbour show "$address" | grep -q lladdr || answers="$answers $address"
  done
  echo "${answers# }"
}
firewall "$DISCOVERY, mld-listener-query"
speaker a 200
until_true 10 holds
speaker b 100
second=$!
sleep 14
expect "queries are let in, 14 s later, the BACKUP of IPv4" "has been BACKUP" "$(was four)"
expect "queries are let in, 14 s later, the BACKUP of IPv6" "has been BACKUP" "$(was six)"
expect "queries are let in, a client finds" "10.0.0.100 fd00::100" "$(found)"
firewall "$DISCOVERY"
sleep 0.5
expect "queries are dropped, 2 s later, the BACKUP of IPv6" "has been BACKUP" "$(was six)"
expect "queries are dropped, 2 s later, a client finds" "10.0.0.100 fd00::100" "$(found)"
sleep 12
expect "queries are dropped, 14 s later, the BACKUP of IPv4" "has been BACKUP" "$(was four)"
expect "queries are dropped, 14 s later, the BACKUP of IPv6" "became MASTER" "$(was six)"
kill "$second" # else its adverts have the first one announce its address, just while the client asks
wait "$second" || true
sleep 6
expect "the second keepalived ends, 6 s later a client finds" 10.0.0.100 "$(found)"
