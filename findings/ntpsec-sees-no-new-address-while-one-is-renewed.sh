#!/usr/bin/env bash
# ntpsec 1.2.2: its ntpd listens at each address separately, and takes a new one up two seconds after the kernel's
# last message about addresses or routes. An address with a lifetime that is renewed each second (a lease that its
# holder keeps) makes such a message each second, so that the two seconds are never over: neither that address nor any
# other new one is served as long as it goes on, although the manual has a scan at regular intervals as well (-U, 300
# s, here 5 s). A socket for all addresses is there, and throws away what comes to it, so that a client gets neither
# an answer nor an error.
#
# Seen on 2026-11-29, Linux 6.18:
#   a new address: is served within 5 s
#   a lease that is renewed each second: is not served within 15 s
#   another new address meanwhile: is not served within 15 s
#   a client asks the node's own address: answered
#   a client asks the lease: no answer
#   the lease is renewed no more: is served within 5 s
#   a lease that is renewed each three seconds: is served within 5 s
PACKAGES=(ntpsec=1.2.2+dfsg1-1+deb12u1 libbsd0=0.11.7-2 socat=1.7.4.4-2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

ip netns add client
link eth0 10.0.0.11/24
ip link set far-eth0 netns client
ip -n client link set far-eth0 up
ip -n client address add 10.0.0.50/24 dev far-eth0
printf 'disable ntp\ndriftfile %s/drift\n' "$work" >"$work/ntp.conf"
# without the right to set the clock, which is the whole machine's
setpriv --bounding-set=-sys_time --inh-caps=-sys_time \
  ntpd -n -U 5 -c "$work/ntp.conf" -l "$work/log" >"$work/error" 2>&1 &
listens() { ss -Hlun 'sport = :123' | grep -qF " $1:123 "; }
# within SECONDS ADDRESS: is it served by then?
within() {
  local end=$((SECONDS + $1))
  while [ "$SECONDS" -lt "$end" ]; do
    if listens "$2"; then echo "is served within $1 s"; return; fi
    sleep 0.2
  done
  echo "is not served within $1 s"
}
# renew ADDRESS SECONDS
renew() {
  ip address add "$1/32" dev eth0 valid_lft 30 preferred_lft 30
  while sleep "$2"; do ip address change "$1/32" dev eth0 valid_lft 30 preferred_lft 30; done
}
until_true 15 listens 10.0.0.11
sleep 3
ip address add 10.0.0.101/32 dev eth0
expect "a new address" "is served within 5 s" "$(within 5 10.0.0.101)"
renew 10.0.0.100 1 &
renewals=$!
sleep 1
ip address add 10.0.0.102/32 dev eth0
expect "a lease that is renewed each second" "is not served within 15 s" "$(within 15 10.0.0.100)"
expect "another new address meanwhile" "is not served within 15 s" \
  "$(listens 10.0.0.102 && echo "is served" || echo "is not served within 15 s")"
# asked ADDRESS: what a client's question (48 bytes) meets
asked() {
  local answer
  answer=$({ printf '\43'; head -c 47 /dev/zero; } |
    ip netns exec client socat -T 2 - "UDP4:$1:123" 2>&1 | wc -c)
  if [ "$answer" = 48 ]; then echo answered; elif [ "$answer" = 0 ]; then echo "no answer"; else echo "an error"; fi
}
expect "a client asks the node's own address" answered "$(asked 10.0.0.11)"
expect "a client asks the lease" "no answer" "$(asked 10.0.0.100)"
kill "$renewals"
expect "the lease is renewed no more" "is served within 5 s" "$(within 5 10.0.0.100)"
renew 10.0.0.103 3 &
expect "a lease that is renewed each three seconds" "is served within 5 s" "$(within 5 10.0.0.103)"
