#!/usr/bin/env bash
# Debian has two programs called arping, and only one of them can be installed. "arping -D" of iputils ends with 0
# where nobody answers for the address, and with 1 where somebody does; with Thomas Habets' arping the option is
# another one, and it is the other way round. So a script that takes an address only where it is free takes it only
# where another host has it. IPaddr2 of resource-agents 4.12.0 is one: it knows both programs as senders, yet with
# run_arping=true it reads the verdict as that of iputils. And "arping -A", which announces an address with iputils,
# asks for it instead: the neighbours go on sending to the host that had it.
#
# Seen on 2026-11-29, Linux 6.18; another host has 10.0.0.100, nobody has 10.0.0.200:
#   iputils, arping -D: 10.0.0.100 1, 10.0.0.200 0
#   Habets, arping -D: 10.0.0.100 0, 10.0.0.200 1
#   iputils, IPaddr2 start: 10.0.0.100 refused, 10.0.0.200 taken
#   Habets, IPaddr2 start: 10.0.0.100 taken, 10.0.0.200 refused
#   iputils, arping -A: a neighbour sends to the new holder
#   Habets, arping -A: a neighbour sends to the former holder
PACKAGES=(iputils-arping=3:20221126-1+deb12u1 arping=2.23-1 resource-agents=1:4.12.0-2 libnet1=1.1.6+dfsg-3.2 
  libpcap0.8=1.10.3-1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
# shellcheck source=findings/switch.bash
source "$(dirname "$0")/switch.bash"

# Habets' arping lies in /usr/sbin, that of iputils in /usr/bin.
declare -A arping=([iputils]=$FINDING_TEMP/root/usr/bin [Habets]=$FINDING_TEMP/root/usr/sbin)
LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu
HA_BIN=$FINDING_TEMP/root/usr/libexec/heartbeat
OCF_ROOT=$FINDING_TEMP/root/usr/lib/ocf
HA_RSCTMP=$work
OCF_RESOURCE_INSTANCE=vip OCF_RESKEY_nic=eth0 OCF_RESKEY_cidr_netmask=32 OCF_RESKEY_run_arping=true
export LD_LIBRARY_PATH HA_BIN OCF_ROOT HA_RSCTMP
export OCF_RESOURCE_INSTANCE OCF_RESKEY_nic OCF_RESKEY_cidr_netmask OCF_RESKEY_run_arping

# This node, another host and a neighbour of both.
plug 11
plug 12 other
plug 13 neighbour
# else the switch, which is in this namespace, answers as well
sysctl -qw net.ipv4.conf.all.arp_ignore=1
ip -n other address add 10.0.0.100/32 dev eth0

asked() {
  local status=0
  "${arping[$1]}/arping" -q -c 2 -w 3 -D -I eth0 "$2" >/dev/null || status=$?
  echo "$2 $status"
}
started() {
  PATH=${arping[$1]}:$PATH OCF_RESKEY_ip=$2 "$OCF_ROOT/resource.d/heartbeat/IPaddr2" start >"$work/log" 2>&1 || true
  if has "$2"; then echo "$2 taken"; else echo "$2 refused"; fi
  ip address del "$2/32" dev eth0 2>/dev/null || true
}
# announced PROGRAM: the address moves here; to which node does the neighbour send?
announced() {
  local here
  here=$(ip -o link show eth0 | grep -oE 'link/ether [0-9a-f:]+' | cut -d' ' -f2)
  ip -n neighbour neighbour flush all
  ip netns exec neighbour bash -c 'echo >/dev/udp/10.0.0.100/9'
  sleep 0.2
  ip -n other address del 10.0.0.100/32 dev eth0
  ip address add 10.0.0.100/32 dev eth0
  sleep 1.1 # a neighbour keeps what it has learned for a second
  "${arping[$1]}/arping" -q -c 2 -w 3 -A -I eth0 10.0.0.100 >/dev/null || true
  if ip -n neighbour neighbour show 10.0.0.100 | grep -q "$here"; then
    echo "a neighbour sends to the new holder"
  else
    echo "a neighbour sends to the former holder"
  fi
  ip address del 10.0.0.100/32 dev eth0
  ip -n other address add 10.0.0.100/32 dev eth0
}
for program in iputils Habets; do
  free="10.0.0.100 1, 10.0.0.200 0"
  [ "$program" = iputils ] || free="10.0.0.100 0, 10.0.0.200 1"
  expect "$program, arping -D" "$free" "$(asked "$program" 10.0.0.100), $(asked "$program" 10.0.0.200)"
done
expect "iputils, IPaddr2 start" "10.0.0.100 refused, 10.0.0.200 taken" \
  "$(started iputils 10.0.0.100), $(started iputils 10.0.0.200)"
expect "Habets, IPaddr2 start" "10.0.0.100 taken, 10.0.0.200 refused" \
  "$(started Habets 10.0.0.100), $(started Habets 10.0.0.200)"
expect "iputils, arping -A" "a neighbour sends to the new holder" "$(announced iputils)"
expect "Habets, arping -A" "a neighbour sends to the former holder" "$(announced Habets)"
