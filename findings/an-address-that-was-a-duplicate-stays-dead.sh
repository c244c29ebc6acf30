#!/usr/bin/env bash
# Linux: an IPv6 address that is added while another node still has it fails duplicate address detection, and stays
# unusable when the other node has given it up: nothing tries again. The command that added it ended with 0. A
# renewed lifetime, "ip address replace ... nodad" and a carrier that comes back do not help either; the second lists
# nodad beside dadfailed. So a node takes an address over a moment too early, and no node ever has it, though it is
# on an interface. Only a removal, or the interface down and up, brings it back.
#
# Seen on 2026-11-29, Linux 6.18, iproute2 6.1.0:
#   added while another node has it: 0, listed as dadfailed tentative, a client finds: the other node
#   the other node removed it: listed as dadfailed tentative, a client finds: nobody
#   a lifetime of 600 s is set: 0, listed as dadfailed tentative dynamic, a client finds: nobody
#   replaced with nodad: 0, listed as nodad dadfailed tentative, a client finds: nobody
#   the carrier was away: listed as nodad dadfailed tentative, a client finds: nobody
#   removed and added: listed as usable, a client finds: this node
PACKAGES=(iproute2=6.1.0-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
PATH=$FINDING_TEMP/root/bin:$FINDING_TEMP/root/sbin:$PATH

# A switch with this node, another one and a client.
ip link add br0 type bridge
ip link set br0 up
for name in "" other client; do
  [ -z "$name" ] || ip netns add "$name"
  ip link add "port-$name" type veth peer name eth0 ${name:+netns "$name"}
  ip link set "port-$name" master br0 up
  ip ${name:+-n "$name"} link set eth0 up
done
ip address add fd00::11/64 dev eth0 nodad
ip -n other address add fd00::12/64 dev eth0 nodad
ip -n client address add fd00::13/64 dev eth0 nodad
sleep 2 # link-local addresses pass their detection

mac() { ip ${1:+-n "$1"} -o link show eth0 | grep -oE 'link/ether [0-9a-f:]+' | cut -d' ' -f2; }
here=$(mac "") other=$(mac other)
state() {
  local flags found
  sleep 2 # a detection takes a second
  flags=$(ip -o -6 address show dev eth0 to fd00::100 | grep -oE '(nodad|dadfailed|tentative|dynamic)' | paste -sd' ')
  ip -n client neighbour flush all
  ip netns exec client bash -c 'echo >/dev/udp/fd00::100/9'
  sleep 0.5
  case $(ip -n client neighbour show fd00::100) in
    *"$here"*) found="this node" ;;
    *"$other"*) found="the other node" ;;
    *) found=nobody ;;
  esac
  echo "listed as ${flags:-usable}, a client finds: $found"
}
code() {
  local status=0
  "$@" || status=$?
  echo "$status"
}
ip -n other address add fd00::100/128 dev eth0 nodad
ended=$(code ip address add fd00::100/128 dev eth0)
expect "added while another node has it" "0, listed as dadfailed tentative, a client finds: the other node" \
  "$ended, $(state)"
ip -n other address del fd00::100/128 dev eth0
expect "the other node removed it" "listed as dadfailed tentative, a client finds: nobody" "$(state)"
ended=$(code ip address change fd00::100/128 dev eth0 valid_lft 600 preferred_lft 600)
expect "a lifetime of 600 s is set" "0, listed as dadfailed tentative dynamic, a client finds: nobody" \
  "$ended, $(state)"
ended=$(code ip address replace fd00::100/128 dev eth0 nodad)
expect "replaced with nodad" "0, listed as nodad dadfailed tentative, a client finds: nobody" "$ended, $(state)"
ip link set port- down
sleep 0.5
ip link set port- up
expect "the carrier was away" "listed as nodad dadfailed tentative, a client finds: nobody" "$(state)"
ip address del fd00::100/128 dev eth0
ip address add fd00::100/128 dev eth0
expect "removed and added" "listed as usable, a client finds: this node" "$(state)"
