#!/usr/bin/env bash
# keepalived 2.2.7: track_interface with weight -50 takes 50 from the priority while the interface is down. Each time
# the interface leaves a bridge, up all the while, the priority rises by 100 for good: keepalived takes that for the
# end of the interface, subtracts the negative weight, and adds 50 as it finds the interface up. After that the node
# takes the address from others, and keeps it while the interface is down. A rename of the interface, up, adds 50.
#
# Seen on 2026-11-29, Linux 6.18, priority 100:
#   the interface is down: 50
#   it is up again: 100
#   it has left a bridge: 200
#   it is down: 150
#   it is up, has joined the bridge and left it once more: 254
#   another start: 100
#   another start, the interface gets another name: 150
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
link eth1
ip link add br0 type bridge
ip link set br0 up
ip link set eth1 master br0
{
  echo "$GLOBAL"
  instance a 11 10.0.0.100/32 $'track_interface {\n    eth1 weight -50\n  }' | sed 's/priority 200/priority 100/'
} >"$work/keepalived.conf"
priority() {
  sleep 0.5
  rm -f "$work/keepalived.json"
  kill -"$(keepalived --signum=JSON)" "$keepalived"
  until_true 5 test -s "$work/keepalived.json"
  sleep 0.3
  grep -oE '"effective_priority": *[0-9]+' "$work/keepalived.json" | grep -oE '[0-9]+$'
}
start
until_true 10 has 10.0.0.100
ip link set eth1 down
expect "the interface is down" 50 "$(priority)"
ip link set eth1 up
expect "it is up again" 100 "$(priority)"
ip link set eth1 nomaster
expect "it has left a bridge" 200 "$(priority)"
ip link set eth1 down
expect "it is down" 150 "$(priority)"
ip link set eth1 up
ip link set eth1 master br0
ip link set eth1 nomaster
expect "it is up, has joined the bridge and left it once more" 254 "$(priority)"
kill "$keepalived"
wait "$keepalived" || true
start
until_true 10 has 10.0.0.100
expect "another start" 100 "$(priority)"
ip link set eth1 name lan1
expect "another start, the interface gets another name" 150 "$(priority)"
