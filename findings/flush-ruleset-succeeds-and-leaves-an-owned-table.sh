#!/usr/bin/env bash
# Linux 6.18, nft 1.0.6: `nft flush ruleset` succeeds and leaves each table that another process owns (flags owner),
# with its rules in force. To delete the same table by its name fails. Whoever flushes before loading a ruleset of
# their own keeps the owner's rules, and is not told.
#
# Seen on 2026-11-29, Linux 6.18:
#   flush ruleset: succeeds
#   tables after it: table ip owned
#   delete table: is refused
#   tables after the owner has ended: none
PACKAGES=(nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu
tables() { local found; found=$(nft list tables) && echo "${found:-none}"; }
coproc OWNER { nft -i >/dev/null; }
owner=$OWNER_PID
echo 'add table ip owned { flags owner; }' >&"${OWNER[1]}"
nft add table ip other
until_true 5 nft list table ip owned
expect "flush ruleset" succeeds "$(nft flush ruleset && echo succeeds)"
expect "tables after it" "table ip owned" "$(tables)"
expect "delete table" "is refused" "$(nft delete table ip owned 2>"$work/error" || echo "is refused")"
echo quit >&"${OWNER[1]}"
wait "$owner" || true
expect "tables after the owner has ended" none "$(tables)"
