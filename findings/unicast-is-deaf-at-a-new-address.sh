#!/usr/bin/env bash
# keepalived 2.2.7: a node gets another address, as by DHCP, and the former one goes. A unicast instance without
# unicast_src_ip sends from the new address at once, but its socket for adverts stays bound to the former one, to which
# nothing comes any more. So the BACKUP becomes MASTER beside the node of higher priority, without end, though
# that node lists both addresses as peers. By multicast nothing happens; a restart heals it.
#
# Seen on 2026-11-29, Linux 6.18, two nodes, the BACKUP's address changes from .12 to .22:
#   unicast, before: the address is on node 1
#   unicast, after: the address is on node 1 and node 2
#   unicast, adverts that leave from the new address: yes
#   unicast, adverts of node 1 that arrive at the new address: yes
#   unicast, after a restart of node 2: the address is on node 1
#   multicast, before: the address is on node 1
#   multicast, after: the address is on node 1
PACKAGES=(keepalived=1:2.2.7-1+b2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

# here is node 2; what common.bash runs and asks is node 2 as well
sysctl -qw net.ipv4.conf.all.promote_secondaries=1
ip netns add node1
ip link add eth0 type veth peer name eth0 netns node1
ip link set eth0 up
ip -n node1 link set eth0 up
ip -n node1 address add 10.0.0.11/24 dev eth0
mkdir "$work/node1"
nft -f - <<'N'
table inet seen {
  counter sent { }
  counter arrived { }
  chain in { type filter hook input priority 0; ip daddr 10.0.0.22 ip protocol 112 counter name arrived; }
  chain out { type filter hook output priority 0; ip saddr 10.0.0.22 ip protocol 112 counter name sent; }
}
N
seen() { if [[ $(nft list counter inet seen "$1") == *"packets 0 "* ]]; then echo no; else echo yes; fi; }
peers() { [ "$mode" != unicast ] || { echo "unicast_peer {"; printf '    %s\n' "$@"; echo "  }"; }; }
holders() {
  local found=()
  [[ $(ip -n node1 -o address) != *" 10.0.0.100/"* ]] || found+=("node 1")
  lacks 10.0.0.100 || found+=("node 2")
  printf '%s' "the address is on ${found[0]:-no node}" "${found[1]:+ and ${found[1]}}"
}
play() {
  mode=$1
  ip address flush dev eth0 scope global
  ip address add 10.0.0.12/24 dev eth0
  { echo "$GLOBAL"; instance a 11 10.0.0.100/32 "$(peers 10.0.0.12 10.0.0.22)"; } >"$work/node1/keepalived.conf"
  chmod 600 "$work/node1/keepalived.conf"
  { echo "$GLOBAL"; instance a 11 10.0.0.100/32 "$(peers 10.0.0.11)" | sed 's/priority 200/priority 100/'; } \
    >"$work/keepalived.conf"
  ip netns exec node1 keepalived --dont-fork --vrrp --use-file "$work/node1/keepalived.conf" \
    --pid "$work/node1/pid" --vrrp_pid "$work/node1/vrrp_pid" &
  node1=$!
  start
  sleep 5
  expect "$mode, before" "the address is on node 1" "$(holders)"
  ip address add 10.0.0.22/24 dev eth0
  sleep 0.2
  ip address del 10.0.0.12/24 dev eth0
  sleep 8
}

play unicast
expect "unicast, after" "the address is on node 1 and node 2" "$(holders)"
expect "unicast, adverts that leave from the new address" yes "$(seen sent)"
expect "unicast, adverts of node 1 that arrive at the new address" yes "$(seen arrived)"
kill "$keepalived"
wait "$keepalived" || true
start
sleep 5
expect "unicast, after a restart of node 2" "the address is on node 1" "$(holders)"
kill "$keepalived" "$node1"
wait "$keepalived" "$node1" || true
play multicast
expect "multicast, after" "the address is on node 1" "$(holders)"
