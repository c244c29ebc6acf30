#!/usr/bin/env bash
# keepalived 2.2.7: --config-test ends with 0 for a file that is not there, for an empty one, for one with
# the execute bit (which a run skips), and for one address in two instances, between which it then jumps.
#
# Seen on 2026-11-29, Linux 6.18:
#   a missing file: 0
#   an empty file: 0
#   a file with the execute bit: 0
#   one address in two instances: 0
#   an unknown keyword, for comparison: 5
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
tested() {
  local status=0
  keepalived --config-test --log-console --use-file "$1" >"$work/log" 2>&1 || status=$?
  echo "$status"
}
good=$work/good.conf
{ echo "$GLOBAL"; instance a 11 10.0.0.100/32; } >"$good"
expect "a good file" 0 "$(tested "$good")"
sed 's/advert_int/advert_intt/' "$good" >"$work/keyword.conf"
expect "an unknown keyword, for comparison" 5 "$(tested "$work/keyword.conf")"
expect "a missing file" 0 "$(tested "$work/missing.conf")"
: >"$work/empty.conf"
expect "an empty file" 0 "$(tested "$work/empty.conf")"
install -m 700 "$good" "$work/executable.conf"
expect "a file with the execute bit" 0 "$(tested "$work/executable.conf")"
{ cat "$good"; instance b 12 10.0.0.100/32; } >"$work/twice.conf"
expect "one address in two instances" 0 "$(tested "$work/twice.conf")"
