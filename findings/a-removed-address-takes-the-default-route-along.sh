#!/usr/bin/env bash
# Linux: a virtual address that is removed takes along each IPv4 route of the table main that names it as its source
# (ip route ... src), the default route among them, and they do not come back with the address. A route in another
# table stays, and the node goes on sending from the address that it no longer has. An IPv6 route stays in any table
# and loses its source. Nothing is removed while another interface has the address, too.
#
# Seen on 2026-11-29, Linux 6.18, iproute2 6.1.0:
#   IPv4, table main, the address is on lo, too: the route stays, source 10.0.0.100
#   IPv4, table main, the address is removed: the route is gone
#   IPv4, table main, the address is back: the route is gone
#   IPv4, table 77, the address is removed: the route stays, source 10.0.0.100
#   IPv4, table 77, a packet then comes from: 10.0.0.100
#   IPv6, table main, the address is removed: the route stays, no source
#   IPv6, table 77, the address is removed: the route stays, no source
PACKAGES=(iproute2=6.1.0-3 socat=1.7.4.4-2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
PATH=$FINDING_TEMP/root/bin:$FINDING_TEMP/root/sbin:$PATH

ip netns add router
ip link add eth0 type veth peer name eth0 netns router
sysctl -qw net.ipv6.conf.eth0.accept_dad=0
ip link set eth0 up
ip -n router link set eth0 up
ip address add 10.0.0.11/24 dev eth0
ip address add fd00::11/64 dev eth0 nodad
ip -n router address add 10.0.0.1/24 dev eth0
ip -n router address add 10.9.0.1/32 dev eth0

# route FAMILY TABLE DESTINATION: is it there, and from where does it have packets sent?
route() {
  local line
  line=$(ip "-$1" route show "$3" table "$2")
  case $line in
    "") echo "the route is gone" ;;
    *" src "*) echo "the route stays, source $(grep -oE ' src [^ ]+' <<<"$line" | cut -d' ' -f3)" ;;
    *) echo "the route stays, no source" ;;
  esac
}
ip address add 10.0.0.100/32 dev eth0
ip address add 10.0.0.100/32 dev lo
ip address add fd00::100/128 dev eth0 nodad
ip route add default via 10.0.0.1 src 10.0.0.100
ip route add 10.9.0.0/16 via 10.0.0.1 src 10.0.0.100 table 77
ip rule add to 10.9.0.0/16 lookup 77
ip -6 route add default via fd00::1 src fd00::100
ip -6 route add fd09::/64 via fd00::1 src fd00::100 table 77

ip address del 10.0.0.100/32 dev eth0
expect "IPv4, table main, the address is on lo, too" "the route stays, source 10.0.0.100" "$(route 4 main default)"
ip address del 10.0.0.100/32 dev lo
ip address del fd00::100/128 dev eth0
expect "IPv4, table main, the address is removed" "the route is gone" "$(route 4 main default)"
ip address add 10.0.0.100/32 dev eth0
expect "IPv4, table main, the address is back" "the route is gone" "$(route 4 main default)"
ip address del 10.0.0.100/32 dev eth0
expect "IPv4, table 77, the address is removed" "the route stays, source 10.0.0.100" "$(route 4 77 10.9.0.0/16)"
# shellcheck disable=SC2016 # the inner shell expands it
ip netns exec router socat -u UDP4-RECVFROM:5000 'SYSTEM:read -r _; echo "$SOCAT_PEERADDR"' >"$work/from" &
sleep 0.5
echo text | socat -u STDIN UDP4-SENDTO:10.9.0.1:5000
until_true 5 test -s "$work/from"
expect "IPv4, table 77, a packet then comes from" 10.0.0.100 "$(cat "$work/from")"
expect "IPv6, table main, the address is removed" "the route stays, no source" "$(route 6 main default)"
expect "IPv6, table 77, the address is removed" "the route stays, no source" "$(route 6 77 fd09::/64)"
