#!/usr/bin/env bash
# Linux: RTM_NEWADDR with NLM_F_REPLACE and without NLM_F_CREATE ("ip address change") adds an IPv4 address that
# is not there. So a renewal of the lifetime of an address that is just being removed brings it back. For IPv6
# likewise. (For a route the same request is refused with "No such file or directory".)
#
# Seen on 2026-11-29, Linux 6.18, iproute2 6.1.0:
#   change of an absent IPv4 address: it is there now
#   change of an absent IPv6 address: it is there now
#   change of an absent route, for comparison: refused
PACKAGES=(iproute2=6.1.0-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24 fd00::11/64
PATH=$FINDING_TEMP/root/bin:$FINDING_TEMP/root/sbin:$PATH
changed() { if "$@" 2>/dev/null; then echo accepted; else echo refused; fi; }
changed ip address change 10.0.0.100/32 dev eth0 valid_lft 30 preferred_lft 30 >/dev/null
expect "change of an absent IPv4 address" "it is there now" \
  "$(has 10.0.0.100 && echo "it is there now" || echo "it is not there")"
changed ip address change fd00::100/128 dev eth0 valid_lft 30 preferred_lft 30 >/dev/null
expect "change of an absent IPv6 address" "it is there now" \
  "$(has fd00::100 && echo "it is there now" || echo "it is not there")"
expect "change of an absent route, for comparison" refused \
  "$(changed ip route change 10.9.9.0/24 dev eth0)"
