#!/usr/bin/env bash
# keepalived 2.2.7: an IPv6 advert to a listed peer leaves with the hop limit of the interface, which a
# router advertisement sets, unless unicast_ttl is given; IPv4 adverts to a peer, and all to the group, with
# 255. So the receiver cannot tell by it, as RFC 5798 has it, that the sender is on its segment.
#
# Seen on 2026-11-29, Linux 6.18, net.ipv6.conf.eth0.hop_limit=33:
#   IPv6 to a peer: 33
#   IPv6 to the group: 255
#   IPv4 to a peer: 255
PACKAGES=(keepalived=1:2.2.7-1+b2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

link eth0 10.0.0.11/24 fd00::11/64
echo 33 >/proc/sys/net/ipv6/conf/eth0/hop_limit
ip neighbour add fd00::12 lladdr 02:00:00:00:00:12 dev eth0
ip neighbour add 10.0.0.12 lladdr 02:00:00:00:00:12 dev eth0
nft -f - <<'N'
table inet seen {
  counter peer6 { }
  counter group6 { }
  counter peer4 { }
  chain out {
    type filter hook output priority 0;
    ip6 daddr fd00::12 ip6 nexthdr 112 ip6 hoplimit 33 counter name peer6
    ip6 daddr ff02::12 ip6 nexthdr 112 ip6 hoplimit 255 counter name group6
    ip daddr 10.0.0.12 ip protocol 112 ip ttl 255 counter name peer4
  }
}
N
peer() { printf 'unicast_src_ip %s\n  unicast_peer {\n    %s\n  }\n' "$1" "$2"; }
{
  echo "$GLOBAL"
  instance a 11 fd00::100/128 "$(peer fd00::11 fd00::12)"
  instance b 12 fd00::101/128
  instance c 13 10.0.0.100/32 "$(peer 10.0.0.11 10.0.0.12)"
} >"$work/keepalived.conf"
start
sent() { [[ $(nft list counter inet seen "$1") != *"packets 0 "* ]]; }
for each in peer6 group6 peer4; do until_true 10 sent "$each"; done
expect "IPv6 to a peer" 33 "$(sent peer6 && echo 33)"
expect "IPv6 to the group" 255 "$(sent group6 && echo 255)"
expect "IPv4 to a peer" 255 "$(sent peer4 && echo 255)"
