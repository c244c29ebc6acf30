#!/usr/bin/env bash
# BIND 9.18.49: "listen-on" with a virtual address waits for it: named starts without it, and serves it as soon as it
# comes. "query-source" with the same address, for what named asks others, does not: without it named does not start,
# and while it is on another node each reload is refused as a whole, changed zones included, so that the BACKUP goes
# on with the former zones, and answers with them when it takes over. named-checkconf ends with 0. With
# "notify-source" and "transfer-source" named starts and reloads.
#
# Seen on 2026-11-29, Linux 6.18; without the address named-checkconf, a start, and a reload with a changed zone:
#   listen-on alone: checked 0, starts, has the new zone
#   and notify-source: checked 0, starts, has the new zone
#   and transfer-source: checked 0, starts, has the new zone
#   and query-source: checked 0, does not start, has the former zone
#   and query-source, the address is back, a client is answered from: the former zone
PACKAGES=(bind9=1:9.18.49-1~deb12u3 bind9-libs=1:9.18.49-1~deb12u3 bind9-utils=1:9.18.49-1~deb12u3
  libjemalloc2=5.3.0-1 liblmdb0=0.9.24-1 libmaxminddb0=1.7.1-1 libfstrm0=0.6.1-1 libuv1=1.44.2-1+deb12u1
  libprotobuf-c1=1.4.1-1+b1 socat=1.7.4.4-2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

link eth0 10.0.0.11/24
come() { ip address add 10.0.0.100/32 dev eth0; }
go() { ip address del 10.0.0.100/32 dev eth0; }
zone() {
  # shellcheck disable=SC2016 # the zone file's own word
  printf '$TTL 60\n@ SOA ns mail %s 60 60 60 60\n@ NS ns\nns A 10.0.0.11\nname TXT "%s"\n' "$1" "$2" >"$work/test.zone"
}
configured() {
  printf 'controls { };\nzone test { type primary; file "test.zone"; };\noptions {\n  directory "%s";\n' "$work"
  printf '  %s;\n' 'listen-on { 10.0.0.11; 10.0.0.100; }' 'listen-on-v6 { none; }' 'port 5300' 'pid-file none' \
    'session-keyfile none' 'recursion no' 'dnssec-validation no' "$@"
  printf '};\n'
}
named_runs() {
  named -g -n 1 -c "$work/named.conf" >"$work/log" 2>&1 &
  named=$!
}
end() {
  kill "$named" 2>>"$work/errors" || true
  wait "$named" 2>>"$work/errors" || true
}
# asked ADDRESS: which zone has the answer? (a question for the TXT of name.test)
asked() {
  printf '\1\1\0\0\0\1\0\0\0\0\0\0\4name\4test\0\0\20\0\1' | socat -T 2 - "UDP4:$1:5300" 2>>"$work/errors" |
    grep -aoE 'former|new' || echo no
}
answered() { [ "$(asked 10.0.0.11)" != no ]; }
# try OPTION...: what happens with these options
try() {
  configured "$@" >"$work/named.conf"
  zone 1 former
  local checked=0 started=starts
  named-checkconf "$work/named.conf" || checked=$?
  named_runs
  sleep 3
  kill -0 "$named" 2>>"$work/errors" || started="does not start"
  end
  come
  named_runs
  until_true 15 answered
  go
  sleep 1
  zone 2 new
  kill -HUP "$named"
  sleep 2
  result="checked $checked, $started, has the $(asked 10.0.0.11) zone"
}
try
expect "listen-on alone" "checked 0, starts, has the new zone" "$result"
end
for each in notify-source transfer-source; do
  try "$each 10.0.0.100"
  expect "and $each" "checked 0, starts, has the new zone" "$result"
  end
done
try "query-source address 10.0.0.100"
expect "and query-source" "checked 0, does not start, has the former zone" "$result"
come
sleep 2
expect "and query-source, the address is back, a client is answered from" "the former zone" \
  "the $(asked 10.0.0.100) zone"
