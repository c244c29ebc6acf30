#!/usr/bin/env bash
# FRR 8.4.4: its vrrpd sends adverts from the address that the interface had when vrrpd started. When the interface
# gets another one, as from DHCP, each advert fails, and vrrpd stays Master and leaves the virtual address up. The
# other node hears nothing and takes over, and both answer ARP, as long as the former address is away. Once it
# is back adverts leave again. keepalived without a named source goes on from the new address.
#
# Seen on 2026-11-29, Linux 6.18; FRR has priority 150, keepalived 2.2.7 on the other node 100:
#   ARP is answered by: FRR
#   10.0.0.12 of FRR's node is removed and set again, ARP is answered by: FRR
#   10.0.0.12 is replaced by 10.0.0.22, ARP is answered by: FRR keepalived
#   10 s later, ARP is answered by: FRR keepalived
#   FRR's last line about its state: Backup -> Master
#   FRR's last line about its adverts: Failed to send VRRP Advertisement: Network is unreachable
#   10.0.0.12 is set beside 10.0.0.22, ARP is answered by: FRR
PACKAGES=(keepalived=1:2.2.7-1+b2 frr=8.4.4-1.1~deb12u2 libyang2=2.1.30-2 libc-ares2=1.18.1-3
  libjson-c5=0.16-2 libprotobuf-c1=1.4.1-1+b1 iputils-arping=3:20221126-1+deb12u1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
# shellcheck source=findings/frr.bash
source "$(dirname "$0")/frr.bash"

frr_node 10.0.0.100

own() { ip -n frr address "$1" "$2/24" dev eth0; }
# answers: who answers the client's ARP requests for the address
answers() {
  ip netns exec client arping -b -c 4 -w 4 -I eth0 10.0.0.100 | grep -oiE '\[[0-9a-f:]{17}\]' | tr -d '[]' |
    tr 'A-F' 'a-f' | sed "s/$mine/keepalived/; s/00:00:5e:00:01:0b/FRR/" | sort -u | paste -sd' '
}
last() { grep -oE "$1" "$work/frr.log" | tail -1; }
backup() { [[ $(grep -oE 'Entering [A-Z]+ STATE' "$work/log" | tail -1) == *BACKUP* ]]; }

frr zebra -i "$work/zebra.pid" -f /dev/null
until_true 10 test -S "$work/zserv.api"
printf 'interface eth0\n vrrp 11 version 3\n vrrp 11 priority 150\n vrrp 11 ip 10.0.0.100\nexit\n' >"$work/frr.conf"
frr vrrpd -i "$work/vrrpd.pid" -f "$work/frr.conf"
until_true 15 grep -q "Backup -> Master" "$work/frr.log"
{
  echo "$GLOBAL"
  instance a 11 10.0.0.100/32 "version 3" | sed 's/priority 200/priority 100/'
} >"$work/keepalived.conf"
start
sleep 5
expect "ARP is answered by" FRR "$(answers)"
own del 10.0.0.12
own add 10.0.0.12
sleep 5
expect "10.0.0.12 of FRR's node is removed and set again, ARP is answered by" FRR "$(answers)"
own del 10.0.0.12
own add 10.0.0.22
until_true 10 has 10.0.0.100
expect "10.0.0.12 is replaced by 10.0.0.22, ARP is answered by" "FRR keepalived" "$(answers)"
sleep 6 # and four in answers
expect "10 s later, ARP is answered by" "FRR keepalived" "$(answers)"
expect "FRR's last line about its state" "Backup -> Master" "$(last '(Initialize|Backup|Master) -> [A-Z][a-z]+')"
expect "FRR's last line about its adverts" "Failed to send VRRP Advertisement: Network is unreachable" \
  "$(last 'Failed to send VRRP Advertisement.*')"
own add 10.0.0.12
until_true 5 backup
expect "10.0.0.12 is set beside 10.0.0.22, ARP is answered by" FRR "$(answers)"
