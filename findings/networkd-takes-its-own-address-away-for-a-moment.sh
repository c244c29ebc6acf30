#!/usr/bin/env bash
# systemd-networkd 252: networkctl reconfigure, with KeepConfiguration=yes and an unchanged file, removes the node's own
# address and sets it again at once. keepalived 2.2.7 notices the removal, goes to FAULT and gives its address up,
# which networkd would have kept. With a second IPv4 address on the interface keepalived stays MASTER.
#
# Seen on 2026-11-29, Linux 6.18:
#   the kernel reports of 10.0.0.11: removed, then added
#   keepalived goes to FAULT: yes
#   with a second address on the interface it goes to FAULT: no
PACKAGES=(keepalived=1:2.2.7-1+b2 systemd=252.39-1~deb12u2 libsystemd-shared=252.39-1~deb12u2 dbus-daemon=1.14.10-1~deb12u1
  libdbus-1-3=1.14.10-1~deb12u1 libapparmor1=3.0.8-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
# shellcheck source=findings/networkd.bash
source "$(dirname "$0")/networkd.bash"

networkd KeepConfiguration=yes
{ echo "$GLOBAL"; instance a 11 10.0.0.100/32; } >"$work/keepalived.conf"
start
until_true 15 has 10.0.0.100
faults() { grep -c "Entering FAULT STATE" "$work/log" || true; }

ip -4 -o monitor address >"$work/monitor" &
monitor=$!
sleep 0.5
reconfigure
kill "$monitor"
expect "the kernel reports of 10.0.0.11" "removed, then added" \
  "$(grep -F ' 10.0.0.11/24' "$work/monitor" | sed 's/^Deleted .*/removed/; t; s/.*/added/' | paste -sd, | sed 's/,/, then /')"
expect "keepalived goes to FAULT" yes "$([ "$(faults)" -gt 0 ] && echo yes || echo no)"
until_true 15 has 10.0.0.100
ip address add 10.0.1.11/24 dev eth0
before=$(faults)
reconfigure
expect "with a second address on the interface it goes to FAULT" no "$([ "$(faults)" -gt "$before" ] && echo yes || echo no)"
