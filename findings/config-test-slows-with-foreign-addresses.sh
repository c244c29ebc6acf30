#!/usr/bin/env bash
# keepalived 2.2.7: --config-test reads every address of the node, also of interfaces that the
# configuration does not name, and takes longer for each, the more there are. A node with kube-ipvs0 has
# thousands.
#
# Seen on 2026-11-29, Linux 6.18 (13 ms without addresses, 30 ms with 2500, 560 ms with 20000):
#   eight times the addresses take more than twelve times as long: yes
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
link other
{ echo "$GLOBAL"; instance a 11 10.0.0.100/32; } >"$work/keepalived.conf"
chmod 600 "$work/keepalived.conf"

# thousandths: the shortest of five runs
thousandths() {
  local began least=999999 taken
  for _ in 1 2 3 4 5; do
    began=$(date +%s%N)
    keepalived --config-test --use-file "$work/keepalived.conf" >/dev/null 2>&1
    taken=$((($(date +%s%N) - began) / 1000000))
    [ "$taken" -lt "$least" ] && least=$taken
  done
  echo "$least"
}
# add FROM TO: addresses 172.16.x.y on the other interface
add() {
  seq "$1" "$2" | awk '{ printf "address add 172.%d.%d.%d/32 dev other\n", 16 + $1 / 65536, $1 / 256 % 256, $1 % 256 }' |
    ip -batch -
}
none=$(thousandths)
add 1 2500
some=$(thousandths)
add 2501 20000
many=$(thousandths)
echo "without: $none ms, with 2500: $some ms, with 20000: $many ms"
expect "eight times the addresses take more than twelve times as long" yes \
  "$([ "$((many - none))" -gt "$((12 * (some - none)))" ] && echo yes || echo no)"
