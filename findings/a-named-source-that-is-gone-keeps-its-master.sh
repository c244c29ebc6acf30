#!/usr/bin/env bash
# keepalived 2.2.7: when the interface's own address goes, an instance goes to FAULT and another node takes over.
# With mcast_src_ip (or unicast_src_ip) of that address it stays MASTER and advertises from an address that the
# node lacks, also with track_src_ip. The route went with the address, so that no client is answered.
#
# Seen on 2026-11-29, Linux 6.18:
#   without a named source, own address gone: holds nothing
#   with mcast_src_ip and track_src_ip, own address gone for 5 s: MASTER and holds its address
#   routes that are left: 0
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

serve() {
  { echo "$GLOBAL"; instance a 11 10.0.0.100/32 "$1"; } >"$work/keepalived.conf"
  start
  until_true 10 has 10.0.0.100
  ip address del 10.0.0.11/24 dev eth0
  sleep 5
}
link eth0 10.0.0.11/24
serve ""
expect "without a named source, own address gone" "holds nothing" "$(state)"
kill "$keepalived"
wait "$keepalived" || true
ip address add 10.0.0.11/24 dev eth0
serve $'mcast_src_ip 10.0.0.11\n  track_src_ip'
expect "with mcast_src_ip and track_src_ip, own address gone for 5 s" "MASTER and holds its address" "$(state)"
expect "routes that are left" 0 "$(ip -4 route | wc -l)"
