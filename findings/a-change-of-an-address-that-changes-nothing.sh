#!/usr/bin/env bash
# Linux, iproute2 6.1.0: "ip address change" and "replace" end with 0 where the kernel ignores what was to be changed.
# For an IPv4 address that is noprefixroute: the route of the network stays, though the manual page says that such a
# change removes it, as it does for IPv6. With another prefix length IPv6 keeps the one that was there, and the new
# one cannot be deleted. IPv4 has the address twice then, and a removal of one of them leaves a node that still serves
# the address.
#
# Seen on 2026-11-29, Linux 6.18:
#   IPv4, change to noprefixroute: 0, routes of the network: 1
#   IPv6, change to noprefixroute: 0, routes of the network: 0
#   IPv6, 128 replaced by 64: 0, the address is there as: fd00::100/128
#   IPv6, removed with 64: 2, the address is there as: fd00::100/128
#   IPv4, 32 replaced by 24: 0, the address is there as: 10.0.0.100/32 10.0.0.100/24
#   IPv4, removed with 24: 0, the address is there as: 10.0.0.100/32
PACKAGES=(iproute2=6.1.0-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
PATH=$FINDING_TEMP/root/bin:$FINDING_TEMP/root/sbin:$PATH

link eth0 10.0.0.11/24 fd00::11/64
# code COMMAND...: run it, and say with what it ended
code() {
  local status=0
  "$@" 2>/dev/null || status=$?
  echo "$status"
}
routes() { ip "-$1" route show "$2" dev eth0 | wc -l; }
there() { ip -o address show dev eth0 | awk '{ print $4 }' | grep -E '(10.0.0.|fd00::)100/' | paste -sd' '; }

ended=$(code ip address change 10.0.0.11/24 dev eth0 noprefixroute)
expect "IPv4, change to noprefixroute" "0, routes of the network: 1" \
  "$ended, routes of the network: $(routes 4 10.0.0.0/24)"
ended=$(code ip address change fd00::11/64 dev eth0 noprefixroute)
expect "IPv6, change to noprefixroute" "0, routes of the network: 0" \
  "$ended, routes of the network: $(routes 6 fd00::/64)"
ip address add fd00::100/128 dev eth0 nodad
ended=$(code ip address replace fd00::100/64 dev eth0 nodad)
expect "IPv6, 128 replaced by 64" "0, the address is there as: fd00::100/128" \
  "$ended, the address is there as: $(there)"
ended=$(code ip address del fd00::100/64 dev eth0)
expect "IPv6, removed with 64" "2, the address is there as: fd00::100/128" \
  "$ended, the address is there as: $(there)"
ip address del fd00::100/128 dev eth0
ip address add 10.0.0.100/32 dev eth0
ended=$(code ip address replace 10.0.0.100/24 dev eth0)
expect "IPv4, 32 replaced by 24" "0, the address is there as: 10.0.0.100/32 10.0.0.100/24" \
  "$ended, the address is there as: $(there)"
ended=$(code ip address del 10.0.0.100/24 dev eth0)
expect "IPv4, removed with 24" "0, the address is there as: 10.0.0.100/32" "$ended, the address is there as: $(there)"
