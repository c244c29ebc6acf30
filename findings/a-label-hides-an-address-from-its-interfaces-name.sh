#!/usr/bin/env bash
# glibc 2.36: getifaddrs() names an IPv4 address with a label by the label (eth0:vip), not by the interface, as its
# manual says (ifa_name). Programs that are told to listen on eth0 compare that name, and leave the address
# out: unbound 1.17.1 ("interface: eth0": the addresses on that interface) and ntpsec 1.2.2 ("interface listen eth0");
# dnsmasq 2.90 too with --bind-dynamic or --bind-interfaces, as its manual says, but not without. IPv6 addresses have
# no label: of a node's two virtual addresses only the IPv6 one is served.
#
# Seen on 2026-11-29, Linux 6.18; 10.0.0.100 has the label eth0:vip, 10.0.0.101 has none; told to listen on eth0:
#   unbound listens at: 10.0.0.101 10.0.0.11 fd00::100 fd00::11
#   ntpsec listens at: 10.0.0.101 10.0.0.11 fd00::100 fd00::11
#   dnsmasq with --bind-dynamic listens at: 10.0.0.101 10.0.0.11 fd00::100 fd00::11
#   dnsmasq with --bind-dynamic, a client asks 10.0.0.100: no answer
#   dnsmasq without it, a client asks 10.0.0.100: answered
#   unbound, told to listen on eth0:vip, listens at: 10.0.0.100
PACKAGES=(unbound=1.17.1-2+deb12u4 libprotobuf-c1=1.4.1-1+b1 libpython3.11=3.11.2-6+deb12u9
  libevent-2.1-7=2.1.12-stable-8+deb12u1 ntpsec=1.2.2+dfsg1-1+deb12u1 libbsd0=0.11.7-2 dnsmasq-base=2.90-4~deb12u2
  libnetfilter-conntrack3=1.0.9-3 libnftables1=1.0.6-2+deb12u2 socat=1.7.4.4-2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.addr_gen_mode=1 # no link-local addresses
ip netns add client
link eth0 10.0.0.11/24 fd00::11/64
ip link set far-eth0 netns client
ip -n client link set far-eth0 up
ip -n client address add 10.0.0.50/24 dev far-eth0
ip address add 10.0.0.100/32 dev eth0 label eth0:vip
ip address add 10.0.0.101/32 dev eth0
ip address add fd00::100/128 dev eth0 nodad

# listens PORT: the addresses but the loopback's
listens() {
  ss -Hlun "sport = :$1" | awk '{ print $4 }' | tr -d '[]' | sed 's/:[0-9]*$//' | grep -E '^(10\.|fd)' | sort |
    paste -sd' '
}
listening() { [ -n "$(listens "$1")" ]; }
# served PORT COMMAND...: run it; what it listens at after a while
served() {
  local port=$1 program
  shift
  "$@" >>"$work/log" 2>&1 &
  program=$!
  until_true 15 listening "$port"
  sleep 1
  listens "$port"
  kill "$program"
  wait "$program" || true
}
unbound_on() {
  printf 'server:\n  interface: %s\n  port: 5300\n  do-daemonize: no\n  username: ""\n  chroot: ""\n' "$1"
  printf '  directory: "%s"\n  pidfile: ""\n  use-syslog: no\nremote-control:\n  control-enable: no\n' "$work"
}
unbound_on eth0 >"$work/unbound.conf"
expect "unbound listens at" "10.0.0.101 10.0.0.11 fd00::100 fd00::11" \
  "$(served 5300 unbound -d -c "$work/unbound.conf")"

printf 'disable ntp\ninterface ignore wildcard\ninterface listen eth0\ndriftfile %s/drift\n' "$work" >"$work/ntp.conf"
# without the right to set the clock, which is the whole machine's
expect "ntpsec listens at" "10.0.0.101 10.0.0.11 fd00::100 fd00::11" \
  "$(served 123 setpriv --bounding-set=-sys_time --inh-caps=-sys_time ntpd -n -c "$work/ntp.conf" -l "$work/log")"

DNSMASQ=(dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --port=5301 --interface=eth0 --user=root
  --pid-file= --address=/name.test/192.0.2.1)
expect "dnsmasq with --bind-dynamic listens at" "10.0.0.101 10.0.0.11 fd00::100 fd00::11" \
  "$(served 5301 "${DNSMASQ[@]}" --bind-dynamic)"
# asked OPTION...: is a client answered?
asked() {
  "${DNSMASQ[@]}" "$@" >>"$work/log" 2>&1 &
  local program=$! answer
  sleep 2
  # a question for name.test
  answer=$(printf '\1\1\1\0\0\1\0\0\0\0\0\0\4name\4test\0\0\1\0\1' |
    ip netns exec client socat -T 2 - UDP4:10.0.0.100:5301 2>>"$work/log" | wc -c || true)
  kill "$program"
  wait "$program" || true
  if [ "$answer" -gt 12 ]; then echo answered; else echo "no answer"; fi
}
expect "dnsmasq with --bind-dynamic, a client asks 10.0.0.100" "no answer" "$(asked --bind-dynamic)"
expect "dnsmasq without it, a client asks 10.0.0.100" answered "$(asked)"

unbound_on eth0:vip >"$work/unbound.conf"
expect "unbound, told to listen on eth0:vip, listens at" 10.0.0.100 "$(served 5300 unbound -d -c "$work/unbound.conf")"
