# shellcheck shell=bash
# FRR's daemons on a node of their own, beside keepalived's (here) and a client: source it after common.bash, with
# FRR_PACKAGES in PACKAGES, and call frr_node.
# shellcheck source=findings/switch.bash
source "$(dirname "$0")/switch.bash"
root=$FINDING_TEMP/root
libraries=$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu/frr
{ cat /etc/group; echo "frrvty:x:990:root"; } >"$work/group"
mount --bind "$work/group" /etc/group
mount -t tmpfs tmpfs /var/tmp # where each daemon leaves a directory

plug 11
plug 12 frr
plug 13 client
mine=$(ip -o link show eth0 | grep -oE 'link/ether [0-9a-f:]+' | cut -d' ' -f2)

# frr_node ADDRESS: give FRR's node the interface of router id 11, with a virtual address
frr_node() {
  # else eth0 answers for the macvlan as well, and the switch for this node
  sysctl -qw net.ipv4.conf.all.arp_ignore=1
  ip netns exec frr sysctl -qw net.ipv4.conf.all.arp_ignore=1
  ip -n frr link add vrrp4-11 link eth0 type macvlan mode bridge
  ip -n frr link set vrrp4-11 address 00:00:5e:00:01:0b up
  ip -n frr address add "$1/24" dev vrrp4-11
}
# frr DAEMON [ARGUMENTS]: run a daemon; the log is $work/frr.log
frr() {
  local daemon=$1
  shift
  LD_LIBRARY_PATH=$libraries ip netns exec frr "$root/usr/lib/frr/$daemon" "$@" --vty_socket "$work" -u root -g root \
    -z "$work/zserv.api" --log stdout >>"$work/frr.log" 2>&1 &
}
