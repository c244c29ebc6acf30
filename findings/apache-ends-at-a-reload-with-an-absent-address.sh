#!/usr/bin/env bash
# Apache 2.4.71: a configuration with one more "Listen", at an address that is not on this node, passes the
# configuration test. The graceful restart, which Debian's log rotation makes each day, ends with 0, and Apache ends:
# what it served on its other addresses is refused. Its last line has "no listening sockets available", though it had
# some a moment before, and Debian's unit starts it again only after an abort, which this is not. With the same
# listeners as before the restart succeeds, also where one of the addresses has left since. haproxy and nginx go on
# with what they had.
#
# Seen on 2026-11-29, Linux 6.18, told to listen at 10.0.0.11 and 10.0.0.100, which then leaves:
#   graceful restart, 10.0.0.11: is served
#   the address is back: is served
#   with one more absent address, configuration test: 0
#   with one more absent address, graceful restart: 0
#   with one more absent address, 10.0.0.11: is refused
#   with one more absent address, processes of Apache: 0
PACKAGES=(apache2-bin=2.4.71-1~deb12u1 libapr1=1.7.2-3+deb12u1 libaprutil1=1.6.3-1+deb12u1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

root=$FINDING_TEMP/root
export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu
link eth0 10.0.0.11/24
configured() {
  printf 'ServerRoot %s\nServerName node\nPidFile %s/pid\nErrorLog %s/log\nUser www-data\n' "$work" "$work" "$work"
  printf "LoadModule %s_module $root/usr/lib/apache2/modules/mod_%s.so\n" mpm_event mpm_event authz_core authz_core
  printf 'Listen %s:8080\n' "$@"
}
apache() { apache2 -f "$work/apache.conf" "$@" 2>>"$work/errors" && echo 0 || echo $?; }
served() { (exec 3<>"/dev/tcp/$1/8080") 2>>"$work/errors" && echo "is served" || echo "is refused"; }
restarts() { grep -c "resuming normal operations" "$work/log" || true; }
restarted() { [ "$(restarts)" -gt "$1" ]; }

ip address add 10.0.0.100/32 dev eth0
configured 10.0.0.11 10.0.0.100 >"$work/apache.conf"
apache -k start >"$work/started"
until_true 10 restarted 0
ip address del 10.0.0.100/32 dev eth0
before=$(restarts)
apache -k graceful >"$work/graceful"
until_true 10 restarted "$before"
expect "graceful restart, 10.0.0.11" "is served" "$(served 10.0.0.11)"
ip address add 10.0.0.100/32 dev eth0
expect "the address is back" "is served" "$(served 10.0.0.100)"
configured 10.0.0.11 10.0.0.100 10.0.0.102 >"$work/apache.conf"
expect "with one more absent address, configuration test" 0 "$(apache -t)"
expect "with one more absent address, graceful restart" 0 "$(apache -k graceful)"
sleep 4
expect "with one more absent address, 10.0.0.11" "is refused" "$(served 10.0.0.11)"
expect "with one more absent address, processes of Apache" 0 "$(pgrep -c apache2 || true)"
