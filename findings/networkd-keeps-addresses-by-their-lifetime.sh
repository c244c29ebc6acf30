#!/usr/bin/env bash
# systemd-networkd 252: KeepConfiguration= decides about addresses of other programs by whether the kernel has a
# lifetime for them, whoever set them. When networkd sets an interface up anew (networkctl reconfigure), "dhcp" keeps
# those that expire, though no DHCP gave them, and removes the others; "static" keeps those that do not expire, though
# no file names them, and removes the others.
#
# Seen on 2026-11-29, Linux 6.18:
#   KeepConfiguration=no keeps of other programs: none
#   KeepConfiguration=yes keeps of other programs: 10.0.0.100 10.0.0.101 fd00::100 fd00::101
#   KeepConfiguration=dhcp keeps of other programs: 10.0.0.101 fd00::101
#   KeepConfiguration=static keeps of other programs: 10.0.0.100 fd00::100
PACKAGES=(systemd=252.39-1~deb12u2 libsystemd-shared=252.39-1~deb12u2 dbus-daemon=1.14.10-1~deb12u1
  libdbus-1-3=1.14.10-1~deb12u1 libapparmor1=3.0.8-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
# shellcheck source=findings/networkd.bash
source "$(dirname "$0")/networkd.bash"

kept_with() {
  networkd "KeepConfiguration=$1"
  ip address add 10.0.0.100/32 dev eth0
  ip address add 10.0.0.101/32 dev eth0 valid_lft 600 preferred_lft 0
  ip address add fd00::100/128 dev eth0 nodad
  ip address add fd00::101/128 dev eth0 nodad valid_lft 600 preferred_lft 0
  reconfigure
  local kept
  kept=$(ip -o address show dev eth0 | grep -oE '(10.0.0.10[01]|fd00::10[01])/' | tr -d / | sort | paste -sd' ')
  kill "$networkd"
  wait "$networkd" || true
  echo "${kept:-none}"
}
expect "KeepConfiguration=no keeps of other programs" none "$(kept_with no)"
expect "KeepConfiguration=yes keeps of other programs" "10.0.0.100 10.0.0.101 fd00::100 fd00::101" "$(kept_with yes)"
expect "KeepConfiguration=dhcp keeps of other programs" "10.0.0.101 fd00::101" "$(kept_with dhcp)"
expect "KeepConfiguration=static keeps of other programs" "10.0.0.100 fd00::100" "$(kept_with static)"
