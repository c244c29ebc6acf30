# shellcheck shell=bash
# A switch that this node and others are plugged into: source it after common.bash.
ip link add br0 type bridge
ip link set br0 up
sysctl -qw net.ipv6.conf.default.accept_dad=0

# plug OCTET [NAMESPACE]: an eth0 with 10.0.0.OCTET and fd00::OCTET, here or in a namespace, made where there is none
plug() {
  if [ -n "${2:-}" ]; then ip netns add "$2"; fi
  ip link add "port$1" type veth peer name eth0 ${2:+netns "$2"}
  ip link set "port$1" master br0 up
  ip ${2:+-n "$2"} link set eth0 up
  ip ${2:+-n "$2"} address add "10.0.0.$1/24" dev eth0
  ip ${2:+-n "$2"} address add "fd00::$1/64" dev eth0 nodad
}
