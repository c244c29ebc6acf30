#!/usr/bin/env bash
# Linux: a changed lifetime of an IPv6 address also goes to the route of its network, which all addresses of that
# network share, and the kernel reads the lifetime as a point in time that has passed. So a lease of ten minutes on a
# virtual address with the network's own prefix length takes the network away from the node at once, also from the
# node's own address, which has no lifetime. The dead route is still listed. "forever" brings the network back. An
# address that is added with the same lifetime, or one with /128, does no harm, nor does IPv4.
#
# Seen on 2026-11-29, Linux 6.18, iproute2 6.1.0, fd00::11/64 without a lifetime, the way to a neighbour in its network:
#   fd00::100/64 is added with a lifetime of 600 s: a route
#   fd00::101/64 is added without a lifetime: a route
#   fd00::101/64 gets a lifetime of 600 s: Network is unreachable
#   routes of the network that are listed: 1
#   fd00::101/64 is removed: Network is unreachable
#   fd00::100/64 gets the lifetime forever: a route
#   fd00::102/128 gets a lifetime of 600 s: a route
#   10.0.0.100/24 gets a lifetime of 600 s: a route
PACKAGES=(iproute2=6.1.0-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
PATH=$FINDING_TEMP/root/bin:$FINDING_TEMP/root/sbin:$PATH

link eth0 10.0.0.11/24 fd00::11/64
# way ADDRESS: does the kernel know a way to it by this interface?
way() {
  local answer
  answer=$(ip route get "$1" 2>&1) || true
  case $answer in
    *" dev eth0 "*) echo "a route" ;;
    *) echo "${answer#*: }" ;;
  esac
}
set_to() { ip address change "$1" dev eth0 valid_lft "$2" preferred_lft "$2"; }

ip address add fd00::100/64 dev eth0 nodad valid_lft 600 preferred_lft 600
expect "fd00::100/64 is added with a lifetime of 600 s" "a route" "$(way fd00::12)"
ip address add fd00::101/64 dev eth0 nodad
expect "fd00::101/64 is added without a lifetime" "a route" "$(way fd00::12)"
set_to fd00::101/64 600
expect "fd00::101/64 gets a lifetime of 600 s" "Network is unreachable" "$(way fd00::12)"
expect "routes of the network that are listed" 1 "$(ip -6 route show fd00::/64 dev eth0 | wc -l)"
ip address del fd00::101/64 dev eth0
expect "fd00::101/64 is removed" "Network is unreachable" "$(way fd00::12)"
set_to fd00::100/64 forever
expect "fd00::100/64 gets the lifetime forever" "a route" "$(way fd00::12)"
ip address add fd00::102/128 dev eth0 nodad
set_to fd00::102/128 600
expect "fd00::102/128 gets a lifetime of 600 s" "a route" "$(way fd00::12)"
ip address add 10.0.0.100/24 dev eth0
set_to 10.0.0.100/24 600
expect "10.0.0.100/24 gets a lifetime of 600 s" "a route" "$(way 10.0.0.12)"
