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
# shellcheck source=findings/frr.bash
source "$(dirname "$0")/frr.bash"

ip -n frr link set lo up
frr_node 10.0.0.100

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
