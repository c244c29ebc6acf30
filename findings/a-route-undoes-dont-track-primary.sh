#!/usr/bin/env bash
# keepalived 2.2.7: "dont_track_primary" keeps a MASTER while its link is down, as with a cable between two nodes
# whose other one has lost its power. One virtual route with "dev" of that interface undoes it: the instance goes to
# FAULT, and no node serves. In the same way "track_interface" with a weight, which costs a priority, is a FAULT as
# soon as the instance has an address on that interface. No log line and no configuration test says so.
#
# Seen on 2026-11-29, Linux 6.18:
#   dont_track_primary, its link is down: MASTER and holds its address
#   and a route with dev and no_track: MASTER and holds its address
#   and the same route without no_track: holds nothing
#   another interface with weight -50 is down: MASTER and holds its address
#   and an address on it: holds nothing
#   configuration test of all these, highest: 0
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
link eth1 10.1.0.11/24
highest=0
# play WHAT EXPECTED INTERFACE ADDRESSES LINES: MASTER, then INTERFACE loses its carrier for a second
play() {
  local status=0
  { echo "$GLOBAL"; instance a 11 "$4" "$5"; } >"$work/keepalived.conf"
  chmod 600 "$work/keepalived.conf"
  keepalived --config-test --use-file "$work/keepalived.conf" || status=$?
  [ "$status" -le "$highest" ] || highest=$status
  start
  until_true 10 has 10.0.0.100
  ip link set "far-$3" down
  until_true 5 says "Netlink reports $3 down"
  sleep 1
  expect "$1" "$2" "$(state)"
  kill "$keepalived"
  wait "$keepalived" || true
  ip link set "far-$3" up
}
route() { printf 'dont_track_primary\n  virtual_routes {\n    10.9.0.0/16 via 10.0.0.1 dev eth0 %s\n  }' "$1"; }
MASTER="MASTER and holds its address"
play "dont_track_primary, its link is down" "$MASTER" eth0 10.0.0.100/32 dont_track_primary
play "and a route with dev and no_track" "$MASTER" eth0 10.0.0.100/32 "$(route no_track)"
play "and the same route without no_track" "holds nothing" eth0 10.0.0.100/32 "$(route "")"
weighted=$'track_interface {\n    eth1 weight -50\n  }'
play "another interface with weight -50 is down" "$MASTER" eth1 10.0.0.100/32 "$weighted"
# the # takes the "dev eth0" out that instance adds to the last address
play "and an address on it" "holds nothing" eth1 $'10.0.0.100/32 dev eth0\n    10.1.0.100/32 dev eth1 #' "$weighted"
expect "configuration test of all these, highest" 0 "$highest"
