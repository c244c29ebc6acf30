#!/usr/bin/env bash
# keepalived 2.2.7: "skip_check_adv_addr off", as the manual page has it, turns it on: any of on, off, true, false, yes
# and no does. A BACKUP with it no longer compares the addresses of adverts. Where the holder's list has lost an
# address, the BACKUP accepts that, and the address is on no node, as with "on".
#
# Seen on 2026-11-29, Linux 6.18, the holder of two addresses is reloaded with a list of one:
#   without the line, the BACKUP takes both: 10.0.0.100 10.0.0.101
#   skip_check_adv_addr off, configuration test: 0
#   skip_check_adv_addr off, the BACKUP takes: nothing
#   skip_check_adv_addr off, 10.0.0.101 is on: no node
#   skip_check_adv_addr on, the BACKUP takes: nothing
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

# the BACKUP is here
facing holder
mkdir "$work/holder"
BOTH=$'10.0.0.100/32 dev eth0\n    10.0.0.101/32'
virtual() { grep -oE '10\.0\.0\.10[01]/' | tr -d / | sort | paste -sd' ' | grep . || echo nothing; }
play() {
  { echo "$GLOBAL"; instance a 11 "$BOTH" "$1" | sed 's/priority 200/priority 100/'; } >"$work/keepalived.conf"
  { echo "$GLOBAL"; instance a 11 "$BOTH"; } >"$work/holder/keepalived.conf"
  chmod 600 "$work/holder/keepalived.conf" "$work/keepalived.conf"
  ip netns exec holder keepalived --dont-fork --vrrp --use-file "$work/holder/keepalived.conf" \
    --pid "$work/holder/pid" --vrrp_pid "$work/holder/vrrp_pid" &
  holder=$!
  start
  sleep 5
  { echo "$GLOBAL"; instance a 11 10.0.0.100/32; } >"$work/holder/keepalived.conf"
  kill -HUP "$holder"
  sleep 6
}
finish() {
  kill "$keepalived" "$holder"
  wait "$keepalived" "$holder" || true
}

play ""
expect "without the line, the BACKUP takes both" "10.0.0.100 10.0.0.101" "$(ip -o address show dev eth0 | virtual)"
finish
play "skip_check_adv_addr off"
expect "skip_check_adv_addr off, configuration test" 0 \
  "$(keepalived --config-test --use-file "$work/keepalived.conf" && echo 0 || echo $?)"
expect "skip_check_adv_addr off, the BACKUP takes" nothing "$(ip -o address show dev eth0 | virtual)"
expect "skip_check_adv_addr off, 10.0.0.101 is on" "no node" \
  "$( (ip -o address show; ip -n holder -o address show) | grep -F ' 10.0.0.101/' || echo "no node")"
finish
play "skip_check_adv_addr on"
expect "skip_check_adv_addr on, the BACKUP takes" nothing "$(ip -o address show dev eth0 | virtual)"
finish
