#!/usr/bin/env bash
# Linux: an IPv4 address with the preferred lifetime 0 is listed as deprecated and used as source all the same, though
# the manual page of "ip address" has it that such an address is no longer used for new connections, as with IPv6. So a
# virtual address with the network's own prefix length becomes the source of everything that the node sends in that
# network as soon as the node's own address was removed and set again, as network managers do: the virtual one is
# promoted and stays first. Then the node's own connections move away with the address. With /32 they do not.
#
# Seen on 2026-11-29, Linux 6.18, promote_secondaries=1, the IPv4 addresses have the preferred lifetime 0:
#   10.0.0.100/24, packets in the network come from: 10.0.0.11
#   the own address is removed and set again, from: 10.0.0.100
#   10.0.0.100 is listed as deprecated: yes
#   10.0.0.100/32, the same once more, from: 10.0.0.11
#   fd00::100/64 with the preferred lifetime forever, from: fd00::100
#   fd00::100/64 with the preferred lifetime 0, from: fd00::11
PACKAGES=(iproute2=6.1.0-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
PATH=$FINDING_TEMP/root/bin:$FINDING_TEMP/root/sbin:$PATH

sysctl -qw net.ipv4.conf.all.promote_secondaries=1
link eth0 10.0.0.11/24 fd00::11/64
from() { ip route get "$1" | grep -oE ' src [^ ]+' | cut -d' ' -f3; }
again() {
  ip address del 10.0.0.11/24 dev eth0
  ip address add 10.0.0.11/24 dev eth0
}
ip address add 10.0.0.100/24 dev eth0 preferred_lft 0
expect "10.0.0.100/24, packets in the network come from" 10.0.0.11 "$(from 10.0.0.1)"
again
expect "the own address is removed and set again, from" 10.0.0.100 "$(from 10.0.0.1)"
expect "10.0.0.100 is listed as deprecated" yes \
  "$([[ $(ip -o -4 address show dev eth0 to 10.0.0.100) == *" deprecated "* ]] && echo yes || echo no)"
ip address del 10.0.0.100/24 dev eth0
ip address add 10.0.0.100/32 dev eth0 preferred_lft 0
again
expect "10.0.0.100/32, the same once more, from" 10.0.0.11 "$(from 10.0.0.1)"
ip address add fd00::100/64 dev eth0 nodad
expect "fd00::100/64 with the preferred lifetime forever, from" fd00::100 "$(from fd00::12)"
ip address change fd00::100/64 dev eth0 preferred_lft 0
expect "fd00::100/64 with the preferred lifetime 0, from" fd00::11 "$(from fd00::12)"
