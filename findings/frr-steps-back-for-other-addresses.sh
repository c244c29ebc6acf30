#!/usr/bin/env bash
# FRR 8.4.4: its vrrpd compares the router id of an advert with its own, and not the addresses that the advert lists
# (RFC 5798 leaves that check to the implementation; FRR's guide does not say). So vrrpd is Backup while any node of
# the segment is Master of the id for other addresses, and no node has the address that vrrpd was given. Its log has
# no word about it. keepalived 2.2.7 refuses the same adverts, and serves.
#
# Seen on 2026-11-29, Linux 6.18; keepalived is MASTER of id 11 with 10.0.0.100, version 3, priority 200:
#   FRR, id 11, 10.0.0.101, priority 150: Backup
#   who answers for 10.0.0.101: nobody
#   who answers for 10.0.0.100: keepalived
#   lines of FRR's log with an address of the advert: 0
#   keepalived ends, FRR: Master
#   who answers for 10.0.0.101: FRR
#   a second keepalived, id 11, 10.0.0.102, priority 150, while the first is MASTER again: serves 10.0.0.102
PACKAGES=(keepalived=1:2.2.7-1+b2 frr=8.4.4-1.1~deb12u2 libyang2=2.1.30-2 libc-ares2=1.18.1-3
  libjson-c5=0.16-2 libprotobuf-c1=1.4.1-1+b1 iputils-arping=3:20221126-1+deb12u1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
# shellcheck source=findings/frr.bash
source "$(dirname "$0")/frr.bash"

plug 14 third # a second keepalived's
frr_node 10.0.0.101

# configuration ADDRESS PRIORITY: of a keepalived with the id 11
configuration() {
  echo "$GLOBAL"
  instance a 11 "$1/32" "version 3" | sed "s/priority 200/priority $2/"
}
# answers ADDRESS: who answers the client's ARP requests for it?
answers() {
  local found
  found=$(ip netns exec client arping -c 2 -w 3 -I eth0 "$1" | grep -oiE '\[[0-9a-f:]{17}\]' | tr -d '[]' |
    tr 'A-F' 'a-f' | sort -u | sed "s/$mine/keepalived/; s/00:00:5e:00:01:0b/FRR/" | paste -sd' ')
  echo "${found:-nobody}"
}
# last: the state that FRR's log named last
last() { grep -oE '(Backup|Master|Initialize) -> [A-Z][a-z]+' "$work/frr.log" | tail -1 | sed 's/.* //'; }
is() { [ "$(last)" = "$1" ]; }

configuration 10.0.0.100 200 >"$work/keepalived.conf"
start
until_true 10 has 10.0.0.100
frr zebra -i "$work/zebra.pid" -f /dev/null
until_true 10 test -S "$work/zserv.api"
printf 'interface eth0\n vrrp 11 version 3\n vrrp 11 priority 150\n vrrp 11 ip 10.0.0.101\nexit\n' >"$work/frr.conf"
frr vrrpd -i "$work/vrrpd.pid" -f "$work/frr.conf"
until_true 10 is Backup
sleep 8 # a Backup that hears nothing is Master after some three seconds
expect "FRR, id 11, 10.0.0.101, priority 150" Backup "$(last)"
expect "who answers for 10.0.0.101" nobody "$(answers 10.0.0.101)"
expect "who answers for 10.0.0.100" keepalived "$(answers 10.0.0.100)"
expect "lines of FRR's log with an address of the advert" 0 "$(grep -cE '10\.0\.0\.(100|11)\b' "$work/frr.log" || true)"
kill "$keepalived"
wait "$keepalived" || true
until_true 10 is Master
expect "keepalived ends, FRR" Master "$(last)"
expect "who answers for 10.0.0.101" FRR "$(answers 10.0.0.101)"
start
until_true 10 is Backup
configuration 10.0.0.102 150 >"$work/third.conf"
chmod 600 "$work/third.conf"
ip netns exec third keepalived --dont-fork --log-console --vrrp --use-file "$work/third.conf" \
  --pid "$work/third.pid" --vrrp_pid "$work/third-vrrp.pid" >"$work/third.log" 2>&1 &
third() { ip -n third address show dev eth0 | grep -q ' 10\.0\.0\.102/'; }
until_true 10 third
sleep 2
expect "a second keepalived, id 11, 10.0.0.102, priority 150, while the first is MASTER again" "serves 10.0.0.102" \
  "$(third && has 10.0.0.100 && echo "serves 10.0.0.102")"
