#!/usr/bin/env bash
# FRR 8.4.4: its vrrpd leaves the virtual address on a macvlan and only takes the carrier from it (protodown) while
# another node is MASTER. So a node that is BACKUP reaches itself at the address: the kernel still has it as local.
# And when vrrpd is killed, the address stays up and answers ARP beside the next MASTER, here keepalived 2.2.7, with
# VRRP's virtual MAC beside keepalived's own, without end.
#
# Seen on 2026-11-29, Linux 6.18:
#   FRR is MASTER, keepalived BACKUP, ARP is answered by: 00:00:5e:00:01:0b
#   vrrpd is killed, keepalived MASTER, ARP is answered by: 00:00:5e:00:01:0b and keepalived's
#   vrrpd runs again as BACKUP, ARP is answered by: keepalived's
#   vrrpd runs again as BACKUP, a route to the address on its node: local
PACKAGES=(keepalived=1:2.2.7-1+b2 frr=8.4.4-1.1~deb12u2 libyang2=2.1.30-2 libc-ares2=1.18.1-3
  libjson-c5=0.16-2 libprotobuf-c1=1.4.1-1+b1 iputils-arping=3:20221126-1+deb12u1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

root=$FINDING_TEMP/root
libraries=$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu/frr
{ cat /etc/group; echo "frrvty:x:990:root"; } >"$work/group"
mount --bind "$work/group" /etc/group

# A switch with keepalived's node (here), FRR's (frr) and a client.
ip link add br0 type bridge
ip link set br0 up
port() {
  ip link add "port$1" type veth peer name eth0 ${2:+netns "$2"}
  ip link set "port$1" master br0 up
  ip ${2:+-n "$2"} link set eth0 up
  ip ${2:+-n "$2"} address add "10.0.0.$1/24" dev eth0
}
ip netns add frr
ip netns add client
ip -n frr link set lo up
port 11
port 12 frr
port 13 client
# else eth0 answers for the macvlan as well, and the switch for this node
sysctl -qw net.ipv4.conf.all.arp_ignore=1
ip netns exec frr sysctl -qw net.ipv4.conf.all.arp_ignore=1
mine=$(ip -o link show eth0 | grep -oE 'link/ether [0-9a-f:]+' | cut -d' ' -f2)
ip -n frr link add vrrp4-11 link eth0 type macvlan mode bridge
ip -n frr link set vrrp4-11 address 00:00:5e:00:01:0b up
ip -n frr address add 10.0.0.100/24 dev vrrp4-11

frr() { LD_LIBRARY_PATH=$libraries ip netns exec frr "$root/usr/lib/frr/$@" --vty_socket "$work" -u root -g root -z "$work/zserv.api" --log stdout >>"$work/frr.log" 2>&1 & }
vrrpd() {
  printf 'interface eth0\n vrrp 11 version 3\n vrrp 11 priority %s\n vrrp 11 ip 10.0.0.100\nexit\n' "$1" >"$work/frr.conf"
  frr vrrpd -i "$work/vrrpd.pid" -f "$work/frr.conf"
}
# answers: which MACs answer the client's ARP requests for the address
answers() {
  ip netns exec client arping -c 4 -w 4 -I eth0 10.0.0.100 | grep -oiE '\[[0-9a-f:]{17}\]' | tr -d '[]' | tr 'A-F' 'a-f' |
    sort -u | sed "s/$mine/keepalived's/" | paste -sd' ' | sed 's/ / and /'
}

frr zebra -i "$work/zebra.pid" -f /dev/null
until_true 10 test -S "$work/zserv.api"
vrrpd 150
until_true 15 grep -q "Backup -> Master" "$work/frr.log"
{ echo "$GLOBAL"; instance a 11 10.0.0.100/32 "version 3" | sed 's/priority 200/priority 100/'; } >"$work/keepalived.conf"
start
sleep 5
expect "FRR is MASTER, keepalived BACKUP, ARP is answered by" 00:00:5e:00:01:0b "$(answers)"
disown -a
kill -KILL "$(cat "$work/vrrpd.pid")"
until_true 10 has 10.0.0.100
sleep 5
expect "vrrpd is killed, keepalived MASTER, ARP is answered by" "00:00:5e:00:01:0b and keepalived's" "$(answers)"
vrrpd 50
sleep 6
expect "vrrpd runs again as BACKUP, ARP is answered by" "keepalived's" "$(answers)"
expect "vrrpd runs again as BACKUP, a route to the address on its node" local \
  "$(ip -n frr route get 10.0.0.100 | grep -oE '^local')"
