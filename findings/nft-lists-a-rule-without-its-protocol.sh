#!/usr/bin/env bash
# nft 1.0.6: a rule that compares the protocol and the first two bytes after the IPv6 header is listed as one about
# a source port, without the protocol. The kernel has the rule as it was given; but what was listed and is read
# again (nft list ruleset, nft -f) drops TCP and UDP from that port and no longer what it was made for.
# The same two bytes counted from the start of the IPv6 header are listed in full.
#
# Seen on 2026-11-29, Linux 6.18:
#   given: meta l4proto 112 @th,0,16 0x310b drop
#   the kernel's rule compares the protocol: yes
#   listed: th sport 12555 drop
#   given: meta l4proto 112 @nh,320,16 0x310b drop
#   listed: meta l4proto vrrp @nh,320,16 0x310b drop
PACKAGES=(nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu
rule() {
  echo "given: $1"
  nft flush ruleset
  nft "add table ip6 t; add chain ip6 t c { type filter hook input priority 0; }; add rule ip6 t c $1"
}
listed() { nft list chain ip6 t c | sed -n 's/^\t\t\(.* drop\)$/\1/p'; }
rule "meta l4proto 112 @th,0,16 0x310b drop"
compares=$([[ $(nft --debug=netlink list ruleset 2>&1) == *"cmp eq reg 1 0x00000070"* ]] && echo yes || echo no)
expect "the kernel's rule compares the protocol" yes "$compares"
expect listed "th sport 12555 drop" "$(listed)"
rule "meta l4proto 112 @nh,320,16 0x310b drop"
expect listed "meta l4proto vrrp @nh,320,16 0x310b drop" "$(listed)"
