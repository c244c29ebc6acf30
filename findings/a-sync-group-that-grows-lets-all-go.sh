#!/usr/bin/env bash
# keepalived 2.2.7: a reload keeps the state of an instance, and so adds an instance beside others without an effect
# on them. Where the new one is in their sync group, all of the group become BACKUP, remove their addresses and send no
# goodbye (priority 0), so that the addresses are on no node for a whole election: 3 s and more.
#
# Seen on 2026-11-29, Linux 6.18, with a MASTER of two instances:
#   a reload of the same file, an address is removed: no
#   a third instance beside the group, an address is removed: no
#   a third instance in the group, an address of the two is removed: yes
#   the two addresses are absent for 2 s or more: yes
#   goodbyes of the two on the wire: 0
#   goodbyes on the wire when keepalived ends, for comparison: yes
PACKAGES=(keepalived=1:2.2.7-1+b2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

link eth0 10.0.0.11/24
nft -f - <<'N'
table inet seen {
  counter goodbye { }
  chain out {
    type filter hook output priority 0;
    ip protocol 112 @th,8,16 { 0x0b00, 0x0c00 } counter name goodbye
  }
}
N
goodbyes() { nft list counter inet seen goodbye | grep -oE 'packets [0-9]+' | cut -d' ' -f2; }
# configure "a b" "c": the group's members, and instances beside it
configure() {
  local each number=10
  {
    echo "$GLOBAL"
    printf 'vrrp_sync_group g {\n  group {\n    %s\n  }\n}\n' "${1// /$'\n    '}"
    for each in $1 $2; do instance "$each" "$((++number))" "10.0.0.1$number/32"; done
  } >"$work/keepalived.conf"
}
done_reloading() { [ "$(grep -c 'Reload complete' "$work/log")" -gt "$1" ]; }
reload() {
  local before
  before=$(grep -c 'Reload complete' "$work/log" || true)
  : >"$work/events"
  kill -HUP "$keepalived"
  until_true 5 done_reloading "$before"
  sleep 1
}
removed() { if grep -qE 'Deleted.* 10\.0\.0\.11[12]/' "$work/events"; then echo yes; else echo no; fi; }

configure "a b" ""
start
until_true 10 has 10.0.0.111
until_true 10 has 10.0.0.112
stdbuf -oL ip -o monitor address >>"$work/events" &
sleep 0.5
reload
expect "a reload of the same file, an address is removed" no "$(removed)"
configure "a b" "c"
reload
expect "a third instance beside the group, an address is removed" no "$(removed)"
until_true 10 has 10.0.0.113
configure "a b" ""
reload
configure "a b c" ""
reload
expect "a third instance in the group, an address of the two is removed" yes "$(removed)"
sleep 1
expect "the two addresses are absent for 2 s or more" yes "$(lacks 10.0.0.111 && lacks 10.0.0.112 && echo yes)"
expect "goodbyes of the two on the wire" 0 "$(goodbyes)"
until_true 10 has 10.0.0.111
kill "$keepalived"
wait "$keepalived" || true
sleep 0.5
expect "goodbyes on the wire when keepalived ends, for comparison" yes "$([ "$(goodbyes)" -ge 1 ] && echo yes)"
