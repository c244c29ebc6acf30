#!/usr/bin/env bash
# keepalived 2.2.7: what a killed keepalived left is removed when it starts again: addresses, and rules. Virtual routes
# stay: as a BACKUP, or in FAULT, the node routes as a MASTER does, until it has been MASTER once more. The log has no
# word of it.
#
# Seen on 2026-11-29, Linux 6.18, killed as a MASTER and started in FAULT:
#   MASTER, address, rule, route: is there, is there, is there
#   its address: is gone
#   its rule: is gone
#   its route: is there
#   MASTER once more, its route: is there
#   and then in FAULT, its route: is gone
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
echo 0 >"$work/fault"
{
  echo "$GLOBAL"
  printf 'track_file fault {\n  file %s\n  weight 0\n}\n' "$work/fault"
  instance a 11 10.0.0.100/32 'track_file {
    fault
  }
  virtual_routes {
    10.9.0.0/16 via 10.0.0.1 dev eth0
  }
  virtual_rules {
    from 10.9.9.9 table 100 priority 99
  }'
} >"$work/keepalived.conf"
present() { if grep -qF "$1"; then echo "is there"; else echo "is gone"; fi; }
address() { ip -o address show dev eth0 | present " 10.0.0.100/"; }
rule() { ip rule | present 10.9.9.9; }
route() { ip route | present 10.9.0.0/16; }

start
until_true 10 has 10.0.0.100
sleep 0.5
expect "MASTER, address, rule, route" "is there, is there, is there" "$(address), $(rule), $(route)"
child=$(pgrep -P "$keepalived")
disown "$keepalived"
kill -KILL "$keepalived" "$child"
until_true 5 bash -c "! kill -0 $keepalived && ! kill -0 $child"
rm -f /run/*.pid
echo 1 >"$work/fault"
start
sleep 5
expect "its address" "is gone" "$(address)"
expect "its rule" "is gone" "$(rule)"
expect "its route" "is there" "$(route)"
echo 0 >"$work/fault"
until_true 10 has 10.0.0.100
sleep 0.5
expect "MASTER once more, its route" "is there" "$(route)"
echo 1 >"$work/fault"
until_true 5 lacks 10.0.0.100
sleep 0.5
expect "and then in FAULT, its route" "is gone" "$(route)"
