#!/usr/bin/env bash
# rsyslog 8.2302.0: imudp and imtcp are told to listen at a virtual address that is not on the node at the start. imudp
# binds it all the same and serves it when it comes (IpFreeBind, on by default). imtcp has no such setting: it logs
# one line, never tries again, also at a SIGHUP, and rsyslogd runs on. rsyslogd -N1 says 0. So the node that takes the
# address over receives what is sent by UDP, and refuses TCP.
#
# Seen on 2026-11-29, Linux 6.18:
#   the configuration check: 0
#   UDP, the address has come, a message: was written
#   TCP, the address has come: refused
#   TCP, after a SIGHUP: refused
#   TCP, after a restart: served
PACKAGES=(rsyslog=8.2302.0-1+deb12u2 libestr0=0.1.11-1 libfastjson4=1.2304.0-1 liblognorm5=2.0.6-4)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

link eth0 10.0.0.11/24
{
  printf 'module(load="%s")\n' imudp imtcp
  printf 'input(type="%s" address="10.0.0.100" port="514")\n' imudp imtcp
  printf '*.* action(type="omfile" file="%s/messages")\n' "$work"
} >"$work/rsyslog.conf"
RSYSLOGD=(rsyslogd -M "$LD_LIBRARY_PATH/rsyslog" -f "$work/rsyslog.conf")
rsyslog() {
  "${RSYSLOGD[@]}" -n -i NONE >"$work/log" 2>&1 &
  pid=$!
  until_true 10 bound
  sleep 1
}
bound() { ss -Hlun 'sport = :514' | grep -qF 10.0.0.100; }
answers() { (exec 3<>"/dev/tcp/10.0.0.100/514") 2>>"$work/errors" && echo served || echo refused; }

expect "the configuration check" 0 "$("${RSYSLOGD[@]}" -N1 >"$work/check" 2>&1 && echo 0 || echo $?)"
rsyslog
ip address add 10.0.0.100/32 dev eth0
sleep 2
echo '<13>node8 test: hello' >/dev/udp/10.0.0.100/514
sleep 1
expect "UDP, the address has come, a message" "was written" \
  "$(grep -q hello "$work/messages" && echo "was written" || echo "is lost")"
expect "TCP, the address has come" refused "$(answers)"
kill -HUP "$pid"
sleep 2
expect "TCP, after a SIGHUP" refused "$(answers)"
kill "$pid"
wait "$pid" || true
rsyslog
expect "TCP, after a restart" served "$(answers)"
