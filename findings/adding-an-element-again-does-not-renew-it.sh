#!/usr/bin/env bash
# Linux 6.18, nftables: to add an element again that a set has already, with the same timeout, succeeds and does not
# renew it: it expires as if nothing had been added. With another timeout, or with an explicit "expires", the same
# command does renew it.
#
# Seen on 2026-11-29, Linux 6.18, nft 1.0.6:
#   the same timeout again: accepted, expires as before
#   another timeout: accepted, renewed
#   the same timeout, and expires: accepted, renewed
PACKAGES=(nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu
# again ELEMENT: an element with 20 s is added, and 3 s later once more as ELEMENT; is it to live longer than before?
again() {
  nft 'flush ruleset; add table ip t; add set ip t s { type ipv4_addr; timeout 60s; }'
  nft 'add element ip t s { 10.0.0.1 timeout 20s }'
  sleep 3
  nft "add element ip t s { $1 }" && printf 'accepted, '
  local left
  left=$(nft list set ip t s | grep -oE 'expires [0-9]+' | grep -oE '[0-9]+')
  if [ "$left" -ge 18 ]; then echo renewed; else echo "expires as before"; fi
}
expect "the same timeout again" "accepted, expires as before" "$(again '10.0.0.1 timeout 20s')"
expect "another timeout" "accepted, renewed" "$(again '10.0.0.1 timeout 21s')"
expect "the same timeout, and expires" "accepted, renewed" "$(again '10.0.0.1 timeout 20s expires 20s')"
