#!/usr/bin/env bash
# keepalived 2.2.7 refuses a second vrrp_instance of a name, and says so. A second vrrp_script of a name, as from two
# included files, is dropped: the instance follows the first, the configuration test ends with 0, and a start logs
# "script chk is not used", as for a script that no instance names. A script that is defined after the instance, as in
# an included file whose name sorts later, is not found: keepalived runs without that check (the test ends with 5).
#
# Seen on 2026-11-29, Linux 6.18, the second check fails:
#   two instances of a name, configuration test: 5
#   two checks of a name, configuration test: 0
#   two checks of a name: MASTER and holds its address
#   two checks of a name, the log: Warning - script chk is not used
#   a check before the instance that fails: holds nothing
#   a check after the instance that fails: MASTER and holds its address
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
check() { printf 'vrrp_script chk {\n  script %s\n  interval 1\n  fall 1\n  rise 1\n}\n' "$1"; }
checked() { instance a 11 10.0.0.100/32 $'track_script {\n    chk\n  }'; }
tested() {
  chmod 600 "$work/keepalived.conf"
  keepalived --config-test --log-console --use-file "$work/keepalived.conf" >"$work/log" 2>&1 && echo 0 || echo $?
}
play() {
  start
  sleep 5
}
finish() {
  kill "$keepalived"
  wait "$keepalived" || true
}

{ echo "$GLOBAL"; instance a 11 10.0.0.100/32; instance a 12 10.0.0.101/32; } >"$work/keepalived.conf"
expect "two instances of a name, configuration test" 5 "$(tested)"
{ echo "$GLOBAL"; check /bin/true; check /bin/false; checked; } >"$work/keepalived.conf"
expect "two checks of a name, configuration test" 0 "$(tested)"
play
expect "two checks of a name" "MASTER and holds its address" "$(state)"
expect "two checks of a name, the log" "Warning - script chk is not used" \
  "$(grep -oE 'Warning - script .*' "$work/log")"
finish
{ echo "$GLOBAL"; check /bin/false; checked; } >"$work/keepalived.conf"
play
expect "a check before the instance that fails" "holds nothing" "$(state)"
finish
{ echo "$GLOBAL"; checked; check /bin/false; } >"$work/keepalived.conf"
play
expect "a check after the instance that fails" "MASTER and holds its address" "$(state)"
