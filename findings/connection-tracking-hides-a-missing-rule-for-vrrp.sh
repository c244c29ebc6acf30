#!/usr/bin/env bash
# Linux's connection tracking knows VRRP as a protocol of two addresses. So where the firewall drops VRRP and lets in
# what is established, as most do, the adverts of a peer count as answers on a node that has sent some itself, each
# advert for 600 s more. A missing rule is hidden: a BACKUP that starts hears nothing, becomes MASTER beside the other,
# hears it from its own first advert on, and is BACKUP for good. Each boot, or a flush of the tracked connections and
# a restart, moves the address for a moment. With multicast the same firewall leads to two masters without end.
#
# Seen on 2026-11-29, Linux 6.18, keepalived 2.2.7, both nodes drop all input but what is established:
#   multicast, 3 s after the second node would take over: both are MASTER
#   peers, 3 s after the second node would take over: one is MASTER
#   peers, the second node was: BACKUP MASTER BACKUP
#   peers, the second node announced the address: yes
#   peers, restarted, it was: BACKUP
#   peers, restarted after a flush of the tracked connections, it was: BACKUP MASTER BACKUP
PACKAGES=(keepalived=1:2.2.7-1+b2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 conntrack=1:1.4.7-1+b2
  libnetfilter-conntrack3=1.0.9-3 libnfnetlink0=1.0.2-2 libmnl0=1.0.4-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

# The second node (here) and the first one (other), on one cable.
ip netns add other
ip link add eth0 type veth peer name eth0 netns other
ip link set eth0 up
ip address add 10.0.0.12/24 dev eth0
ip -n other link set eth0 up
ip -n other address add 10.0.0.11/24 dev eth0
for enter in "" "ip netns exec other"; do
  $enter nft -f - <<'N'
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
  }
}
N
done

# configuration PRIORITY [SOURCE PEER]
configuration() {
  local peers=
  [ $# = 1 ] || peers=$(printf 'unicast_src_ip %s\n  unicast_peer {\n    %s\n  }\n' "$2" "$3")
  echo "$GLOBAL"
  instance a 11 10.0.0.100/32 "$peers" | sed "s/priority 200/priority $1/"
}
first() {
  configuration 200 "$@" >"$work/other.conf"
  chmod 600 "$work/other.conf"
  ip netns exec other keepalived --dont-fork --log-console --vrrp --use-file "$work/other.conf" \
    --pid "$work/other.pid" --vrrp_pid "$work/other-vrrp.pid" >"$work/other.log" 2>&1 &
  other=$!
  until_true 10 held
}
second() {
  configuration 100 "$@" >"$work/keepalived.conf"
  chmod 600 "$work/keepalived.conf"
  keepalived --dont-fork --log-console --log-detail --vrrp --use-file "$work/keepalived.conf" >"$work/log" 2>&1 &
  keepalived=$!
}
stood() { [ "$(was)" = "$1" ]; }
end() {
  kill "$@"
  wait "$@" || true
}
held() { ip -n other address show dev eth0 | grep -q ' 10\.0\.0\.100/'; }
masters() {
  case $(held && echo other)$(has 10.0.0.100 && echo here) in
    otherhere) echo "both are MASTER" ;;
    other | here) echo "one is MASTER" ;;
    *) echo "none is MASTER" ;;
  esac
}
was() { grep -oE 'Entering [A-Z]+ STATE' "$work/log" | cut -d' ' -f2 | paste -sd' '; }

first
second
until_true 15 has 10.0.0.100
sleep 3
expect "multicast, 3 s after the second node would take over" "both are MASTER" "$(masters)"
end "$keepalived" "$other"
conntrack --flush 2>"$work/null"
ip netns exec other conntrack --flush 2>"$work/null"
first 10.0.0.11 10.0.0.12
second 10.0.0.12 10.0.0.11
until_true 15 stood "BACKUP MASTER BACKUP"
sleep 3
expect "peers, 3 s after the second node would take over" "one is MASTER" "$(masters)"
expect "peers, the second node was" "BACKUP MASTER BACKUP" "$(was)"
announced=$(says "gratuitous ARPs on eth0 for 10.0.0.100" && echo yes || echo no)
expect "peers, the second node announced the address" yes "$announced"
end "$keepalived"
second 10.0.0.12 10.0.0.11
until_true 10 stood BACKUP
sleep 6 # nearly twice as long as a BACKUP waits for an advert
expect "peers, restarted, it was" BACKUP "$(was)"
end "$keepalived"
conntrack --flush 2>"$work/null"
second 10.0.0.12 10.0.0.11
until_true 15 stood "BACKUP MASTER BACKUP"
expect "peers, restarted after a flush of the tracked connections, it was" "BACKUP MASTER BACKUP" "$(was)"
