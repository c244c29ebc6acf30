#!/usr/bin/env bash
# keepalived 2.2.7: after an interface was deleted and made anew under its name, each advert of a multicast
# IPv6 instance fails with "Invalid argument". Its statistics count them as sent, and it stays MASTER.
#
# Seen on 2026-11-29, Linux 6.18:
#   the address is held again: yes
#   adverts that failed in 4 s: some
#   adverts that its JSON dump counts as sent meanwhile: as many
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

make_link() {
  sysctl -qw net.ipv6.conf.default.accept_dad=0
  link eth0 10.0.0.11/24 fd00::11/64
}
sent() {
  rm -f "$work/keepalived.json"
  kill -"$(keepalived --signum=JSON)" "$keepalived"
  until_true 5 test -s "$work/keepalived.json"
  sleep 0.5
  grep -oE '"advert_sent": *[0-9]+' "$work/keepalived.json" | grep -oE '[0-9]+$'
}
some() { if [ "$1" -gt 1 ]; then echo some; else echo none; fi; }

make_link
{ echo "$GLOBAL"; instance a 11 fe80::100/128 | sed 's|fe80::100/128 dev eth0|&\n    fd00::100/128 dev eth0|'; } >"$work/keepalived.conf"
start
until_true 10 has fd00::100
ip link del eth0
sleep 0.5
make_link
until_true 15 has fd00::100
expect "the address is held again" yes "$(has fd00::100 && echo yes || echo no)"
sleep 3
failed() { grep -c "Invalid argument" "$work/log" || true; }
before=$(sent) errors=$(failed)
sleep 4
expect "adverts that failed in 4 s" some "$(some $(($(failed) - errors)))"
counted=$(($(sent) - before)) refused=$(($(failed) - errors))
expect "adverts that its JSON dump counts as sent meanwhile" "as many" \
  "$([ $((counted - refused)) -ge -1 ] && [ $((counted - refused)) -le 1 ] && echo "as many" || echo "$counted, $refused failed")"
