#!/usr/bin/env bash
# send_ua of resource-agents 4.12.0, by which IPaddr2 announces an IPv6 address at its start, says in the neighbour
# advertisement that the address is no router's, also on a node that forwards and whose kernel says the contrary. So
# when a router's address moves (a link-local address from which radvd speaks), each client that hears the
# announcement removes its default route, and has none until the next router advertisement. IPaddr2 sends five in a
# second, which may come after the one of radvd at its start. An advertisement of the kernel, from the same node for
# the same address, leaves the route in place.
#
# Seen on 2026-11-29, Linux 6.18, radvd 2.19, fe80::100 moves from one router to another:
#   the client's default route before: via fe80::100
#   the new router's kernel advertises the address: router
#   the client's default route: via fe80::100
#   send_ua on the new router: not router
#   the client's default route: none
#   the client sends to: the new router
PACKAGES=(resource-agents=1:4.12.0-2 libnet1=1.1.6+dfsg-3.2 radvd=1:2.19-1+b1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

root=$FINDING_TEMP/root
# Two routers (here, and other) and a client on a switch.
ip link add br0 type bridge
ip link set br0 up
port() {
  ip link add "port$1" type veth peer name eth0 ${2:+netns "$2"}
  ip link set "port$1" master br0 up
  ${2:+ip netns exec "$2"} sysctl -qw net.ipv6.conf.eth0.accept_dad=0
  ${2:+ip netns exec "$2"} sysctl -qw "net.ipv6.conf.all.forwarding=$3"
  ip ${2:+-n "$2"} link set eth0 up
}
ip netns add other
ip netns add client
port 11 "" 1
port 12 other 1
port 13 client 0
cat >"$work/radvd.conf" <<'R'
interface eth0 {
  AdvSendAdvert on;
  AdvRASrcAddress { fe80::100; };
};
R
ip -n other address add fe80::100/128 dev eth0 nodad
ip netns exec other "$root/usr/sbin/radvd" -n -C "$work/radvd.conf" -p "$work/radvd.pid" -m stderr 2>"$work/log" &
radvd=$!
disown "$radvd"

route() {
  local line
  line=$(ip -n client -6 route show default)
  case $line in
    "") echo none ;;
    *) grep -oE 'via [^ ]+' <<<"$line" ;;
  esac
}
# knows: what the client believes about the address
knows() { ip -n client -6 neighbour show fe80::100 dev eth0; }
router() { if [[ $(knows) == *" router "* ]]; then echo router; else echo "not router"; fi; }
came() { [ "$(route)" = "via fe80::100" ]; }
answered() { [[ $(knows) == *" lladdr $mac "* ]]; }

until_true 20 came
expect "the client's default route before" "via fe80::100" "$(route)"
kill -KILL "$radvd"
ip -n other address del fe80::100/128 dev eth0
ip address add fe80::100/128 dev eth0 nodad
mac=$(ip -o link show eth0 | grep -oE 'link/ether [0-9a-f:]+' | cut -d' ' -f2)
ip -n client neighbour flush all
ip netns exec client bash -c 'echo >/dev/udp/fe80::100%eth0/9'
until_true 5 answered
expect "the new router's kernel advertises the address" router "$(router)"
expect "the client's default route" "via fe80::100" "$(route)"
LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu "$root/usr/libexec/heartbeat/send_ua" -i 200 -c 5 fe80::100 128 eth0
expect "send_ua on the new router" "not router" "$(router)"
expect "the client's default route" none "$(route)"
expect "the client sends to" "the new router" "$(if answered; then echo "the new router"; else knows; fi)"
