#!/usr/bin/env bash
# ifupdown2 3.0.0: `ifreload -a` with an unchanged file removes the addresses that other programs have set, IPv6
# addresses and IPv4 addresses, but keeps an IPv4 address that has a label (eth0:vip), though the file does not name
# it either. "address-purge no" keeps them all.
#
# Seen on 2026-11-29, Linux 6.18:
#   kept of other programs' addresses: 10.0.0.101 (eth0:vip)
#   with address-purge no: 10.0.0.100 10.0.0.101 (eth0:vip) fd00::100
PACKAGES=(ifupdown2=3.0.0-1.1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

[ -d /etc/network ] || cannot "there is no /etc/network to mount upon"
[ -x /usr/bin/python3 ] || cannot "ifupdown2 needs Python"
for directory in /etc/network /var/log /var/tmp; do mount -t tmpfs tmpfs "$directory"; done
cp -r "$FINDING_TEMP/root/etc/network/." /etc/network/
mkdir -p /run/network
ln -s "$FINDING_TEMP/root/usr/share/ifupdown2/__main__.py" "$work/ifreload"
ip link add eth0 type veth peer name far
ip link set far up

# kept_with LINE: reload twice, with addresses of another program set in between
kept_with() {
  printf 'auto eth0\niface eth0\n    address 10.0.0.11/24\n    address fd00::11/64\n%s\n' "$1" >/etc/network/interfaces
  reload
  ip address replace 10.0.0.100/32 dev eth0
  ip address replace 10.0.0.101/32 dev eth0 label eth0:vip
  ip address replace fd00::100/128 dev eth0 nodad
  reload
  ip -o address show dev eth0 | grep -oE '(10.0.0.10[01]|fd00::100)/.*' |
    sed -E 's|/.*(eth0:vip).*| (\1)|; s|/.*||' | sort | paste -sd' '
}
reload() { PYTHONPATH=$FINDING_TEMP/root/usr/share/ifupdown2 /usr/bin/python3 "$work/ifreload" -a >"$work/reload.log" 2>&1; }
expect "kept of other programs' addresses" "10.0.0.101 (eth0:vip)" "$(kept_with "")"
expect "with address-purge no" "10.0.0.100 10.0.0.101 (eth0:vip) fd00::100" "$(kept_with "    address-purge no")"
