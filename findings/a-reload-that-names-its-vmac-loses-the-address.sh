#!/usr/bin/env bash
# keepalived 2.2.7: a reload that gives the interface of use_vmac a name, or another one, makes that interface and does
# not put the address there. The instance stays MASTER and advertises, so that no other node takes over: the address is
# on no node, without end. The same SIGHUP again does not bring it back; a stop and a start do.
#
# Seen on 2026-11-29, Linux 6.18:
#   use_vmac, the address is on: vrrp.11
#   a reload of the same file, the address is on: vrrp.11
#   a reload with "use_vmac vip0", the interface is there: yes
#   a reload with "use_vmac vip0", 5 s later the address is on: no interface
#   keepalived's state: MASTER
#   adverts that leave meanwhile: yes
#   another SIGHUP, 5 s later the address is on: no interface
#   a stop and a start, the address is on: vip0
PACKAGES=(keepalived=1:2.2.7-1+b2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

link eth0 10.0.0.11/24
configure() { { echo "$GLOBAL"; instance a 11 10.0.0.100/32 "$1" | sed 's/ dev eth0//'; } >"$work/keepalived.conf"; }
interface() { ip -o -4 address show | grep -F ' 10.0.0.100/' | awk '{ print $2 }' | grep . || echo "no interface"; }
reload() {
  kill -HUP "$keepalived"
  sleep 5
}
# its own dump's state: 2 is MASTER
dumped() {
  kill -"$(keepalived --signum=JSON)" "$keepalived"
  until_true 5 test -s "$work/keepalived.json"
  sleep 0.5
  if grep -qE '"state": *2' "$work/keepalived.json"; then echo MASTER; else echo "not MASTER"; fi
}
# adverts with a priority on their way out in 4 s
adverts() {
  nft -f - <<'N'
table inet seen {
  counter adverts { }
  chain out { type filter hook output priority 0; ip protocol 112 @th,16,8 200 counter name adverts; }
}
N
  sleep 4
  if [[ $(nft list counter inet seen adverts) == *"packets 0 "* ]]; then echo no; else echo yes; fi
}

configure use_vmac
start
until_true 10 has 10.0.0.100
expect "use_vmac, the address is on" vrrp.11 "$(interface)"
reload
expect "a reload of the same file, the address is on" vrrp.11 "$(interface)"
configure "use_vmac vip0"
reload
expect 'a reload with "use_vmac vip0", the interface is there' yes "$(ip link show vip0 up | grep -q vip0 && echo yes)"
expect 'a reload with "use_vmac vip0", 5 s later the address is on' "no interface" "$(interface)"
expect "keepalived's state" MASTER "$(dumped)"
expect "adverts that leave meanwhile" yes "$(adverts)"
reload
expect "another SIGHUP, 5 s later the address is on" "no interface" "$(interface)"
kill "$keepalived"
wait "$keepalived" || true
start
until_true 10 has 10.0.0.100
expect "a stop and a start, the address is on" vip0 "$(interface)"
