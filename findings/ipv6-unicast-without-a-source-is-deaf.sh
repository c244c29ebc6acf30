#!/usr/bin/env bash
# keepalived 2.2.7: two nodes list each other's IPv6 address as a peer, as two with IPv4 may. Without unicast_src_ip,
# which is optional, each listens at its link-local address alone, to which the other does not send. So both are MASTER
# and hold the address, each from its own start on, and no log line says so. With unicast_src_ip one holds it; with IPv4
# one does without a source too.
#
# Seen on 2026-11-29, Linux 6.18:
#   IPv4 without a source: one holder
#   IPv6 without a source: two holders
#   IPv6 without a source, its adverts leave from a link-local address: yes
#   IPv6 without a source, words of the log beside BACKUP and MASTER: none
#   IPv6 with unicast_src_ip: one holder
PACKAGES=(keepalived=1:2.2.7-1+b2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

facing other
ip address add fd00::11/64 dev eth0 nodad
ip -n other address add fd00::12/64 dev eth0 nodad
mkdir "$work/other"
nft -f - <<'N'
table inet seen {
  counter linklocal { }
  chain out { type filter hook output priority 0; ip6 saddr fe80::/10 ip6 nexthdr 112 counter name linklocal; }
}
N
untentative() { [[ $(ip -o address show dev eth0)$(ip -n other -o address show dev eth0) != *tentative* ]]; }
until_true 10 untentative

peer() { printf '%s\n  unicast_peer {\n    %s\n  }' "${2:+unicast_src_ip $2}" "$1"; }
# play ADDRESS OWN OTHERS [source]
play() {
  local here=${4:+$2} there=${4:+$3}
  { echo "$GLOBAL"; instance a 11 "$1" "$(peer "$3" "$here")" | sed 's/priority 200/priority 100/'; } \
    >"$work/keepalived.conf"
  { echo "$GLOBAL"; instance a 11 "$1" "$(peer "$2" "$there")"; } >"$work/other/keepalived.conf"
  chmod 600 "$work/other/keepalived.conf"
  ip netns exec other keepalived --dont-fork --vrrp --use-file "$work/other/keepalived.conf" \
    --pid "$work/other/pid" --vrrp_pid "$work/other/vrrp_pid" &
  other=$!
  start
  sleep 7
}
finish() {
  kill "$keepalived" "$other"
  wait "$keepalived" "$other" || true
}
holders() {
  case $( (ip -o address show; ip -n other -o address show) | grep -cF " $1" || true) in
    1) echo "one holder" ;;
    2) echo "two holders" ;;
  esac
}

play 10.0.0.100/32 10.0.0.11 10.0.0.12
expect "IPv4 without a source" "one holder" "$(holders 10.0.0.100/32)"
finish
play fd00::100/128 fd00::11 fd00::12
expect "IPv6 without a source" "two holders" "$(holders fd00::100/128)"
expect "IPv6 without a source, its adverts leave from a link-local address" yes \
  "$([[ $(nft list counter inet seen linklocal) == *"packets 0 "* ]] || echo yes)"
expect "IPv6 without a source, words of the log beside BACKUP and MASTER" none \
  "$(grep -F '(a)' "$work/log" | grep -vE 'Entering (BACKUP|MASTER) STATE' || echo none)"
finish
play fd00::100/128 fd00::11 fd00::12 source
expect "IPv6 with unicast_src_ip" "one holder" "$(holders fd00::100/128)"
finish
