#!/usr/bin/env bash
# Linux: an address with valid_lft N is removed N to N + 1 seconds later, as the phase of the kernel's clock has it;
# never before. So a lease of N seconds may last a second longer. Both families.
#
# Seen on 2026-11-29, Linux 6.18, ten addresses of each family, 0.13 s apart, with a lifetime of 2 s:
#   removed before 2.0 s: 0
#   removed after 3.2 s: 0
#   more than 0.4 s late: some
PACKAGES=(iproute2=6.1.0-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24 fd00::11/64
PATH=$FINDING_TEMP/root/bin:$FINDING_TEMP/root/sbin:$PATH
ip -timestamp monitor address >"$work/events" &
sleep 0.3
for number in {1..10}; do
  for address in "10.0.0.$((100 + number))/32" "fd00::$((100 + number))/128"; do
    ip address add "$address" dev eth0 nodad valid_lft 2 preferred_lft 2 2>/dev/null ||
      ip address add "$address" dev eth0 valid_lft 2 preferred_lft 2
  done
  sleep 0.13
done
sleep 4
kill %1
# "Timestamp: Sun Nov 29 02:00:00 2026 123456 usec", then the lines of the event.
ages() {
  awk '
    /^Timestamp:/ { split($5, t, ":"); now = t[1] * 3600 + t[2] * 60 + t[3] + $(NF - 1) / 1000000; next }
    /^Deleted/ { gone = 1 }
    match($0, /inet6? [^ ]+/) {
      name = substr($0, RSTART, RLENGTH)
      if (name !~ /1[01][0-9]\//) next
      if ($0 ~ /^Deleted/) print now - born[name]; else if (!(name in born)) born[name] = now
    }' "$work/events"
}
ages >"$work/ages"
expect "addresses that were removed" 20 "$(wc -l <"$work/ages")"
expect "removed before 2.0 s" 0 "$(awk '$1 < 1.99' "$work/ages" | wc -l)"
expect "removed after 3.2 s" 0 "$(awk '$1 > 3.2' "$work/ages" | wc -l)"
expect "more than 0.4 s late" some "$(awk '$1 > 2.4' "$work/ages" | grep -c . >/dev/null && echo some || echo none)"
