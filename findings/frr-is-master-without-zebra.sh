#!/usr/bin/env bash
# FRR 8.4.4: vrrpd has zebra take the address up and down (protodown of the macvlan), and does not learn whether that
# was done. When it becomes Master while zebra is not there, its address stays down and no advert leaves, which go
# the same way: where no other node is left, none answers. It stays so when zebra runs again, until the next time that
# another node is Master above it. Its log is that of a Master. (watchfrr, which starts daemons again, does not run
# here.)
#
# Seen on 2026-11-29, Linux 6.18, keepalived 2.2.7 on the other node:
#   keepalived has priority 200, FRR 150, ARP is answered by: keepalived
#   zebra is killed, keepalived ends, FRR: Backup -> Master
#   ARP is answered by: nobody
#   zebra runs again, 4 s later, FRR: Backup -> Master
#   ARP is answered by: nobody
#   keepalived runs with priority 100, it is: MASTER
#   FRR: Backup -> Master
#   keepalived is MASTER with priority 200 and ends, ARP is answered by: FRR
PACKAGES=(keepalived=1:2.2.7-1+b2 frr=8.4.4-1.1~deb12u2 libyang2=2.1.30-2 libc-ares2=1.18.1-3
  libjson-c5=0.16-2 libprotobuf-c1=1.4.1-1+b1 iputils-arping=3:20221126-1+deb12u1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
# shellcheck source=findings/frr.bash
source "$(dirname "$0")/frr.bash"

frr_node 10.0.0.100

# answers: who answers the client's ARP requests for the address
answers() {
  local found
  found=$(ip netns exec client arping -b -c 2 -w 2 -I eth0 10.0.0.100 | grep -oiE '\[[0-9a-f:]{17}\]' | tr -d '[]' |
    tr 'A-F' 'a-f' | sed "s/$mine/keepalived/; s/00:00:5e:00:01:0b/FRR/" | sort -u | paste -sd' ')
  echo "${found:-nobody}"
}
# last: the last change of FRR's state
last() { grep -oE '(Initialize|Backup|Master) -> [A-Z][a-z]+' "$work/frr.log" | tail -1; }
is() { [ "$(last)" = "$1" ]; }
zebra() {
  rm -f "$work/zserv.api"
  frr zebra -i "$work/zebra.pid" -f /dev/null
  until_true 10 test -S "$work/zserv.api"
}
with_priority() {
  {
    echo "$GLOBAL"
    instance a 11 10.0.0.100/32 "version 3" | sed "s/priority 200/priority $1/"
  } >"$work/keepalived.conf"
  start
}
end() {
  kill "$keepalived"
  until_true 5 gone "$keepalived"
}
gone() { ! kill -0 "$1"; }

zebra
with_priority 200
until_true 10 has 10.0.0.100
printf 'interface eth0\n vrrp 11 version 3\n vrrp 11 priority 150\n vrrp 11 ip 10.0.0.100\nexit\n' >"$work/frr.conf"
frr vrrpd -i "$work/vrrpd.pid" -f "$work/frr.conf"
until_true 15 is "Initialize -> Backup"
sleep 2
expect "keepalived has priority 200, FRR 150, ARP is answered by" keepalived "$(answers)"
disown -a
kill -KILL "$(cat "$work/zebra.pid")"
end
until_true 10 is "Backup -> Master"
expect "zebra is killed, keepalived ends, FRR" "Backup -> Master" "$(last)"
expect "ARP is answered by" nobody "$(answers)"
zebra
sleep 4
expect "zebra runs again, 4 s later, FRR" "Backup -> Master" "$(last)"
expect "ARP is answered by" nobody "$(answers)"
with_priority 100
until_true 10 has 10.0.0.100
expect "keepalived runs with priority 100, it is" MASTER \
  "$(grep -oE 'Entering [A-Z]+ STATE' "$work/log" | cut -d' ' -f2 | tail -1)"
expect "FRR" "Backup -> Master" "$(last)"
end
with_priority 200
until_true 10 is "Master -> Backup"
until_true 5 has 10.0.0.100
sleep 0.5
end
until_true 10 is "Backup -> Master"
expect "keepalived is MASTER with priority 200 and ends, ARP is answered by" FRR "$(answers)"
