# shellcheck shell=bash
# systemd-networkd in the script's own namespaces, with a bus: source it after common.bash, with systemd and dbus-daemon in PACKAGES.
root=$FINDING_TEMP/root
mount -t sysfs -o ro sysfs /sys # read-only, so networkd does not wait for udev
mkdir -p /run/systemd/network /run/systemd/netif/{links,leases,lldp}
chown -R systemd-network: /run/systemd/netif
export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu/systemd:$root/lib/x86_64-linux-gnu/systemd:$root/usr/lib/x86_64-linux-gnu
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$work/bus
cat >"$work/bus.conf" <<X
<busconfig><listen>unix:path=$work/bus</listen><auth>EXTERNAL</auth><policy context="default"><allow user="*"/>
<allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>
X
chmod 755 "$FINDING_TEMP" "$work"
dbus-daemon --config-file="$work/bus.conf" --nofork --nopidfile 2>"$work/bus.log" &

# networkd LINE: run it with 10.0.0.11/24 on a new eth0 and a line for its section Network
networkd() {
  ip link del eth0 2>"$work/error" || true
  ip link add eth0 type veth peer name far
  ip link set far up
  printf '[Match]\nName=eth0\n[Network]\nAddress=10.0.0.11/24\nIPv6AcceptRA=no\n%s\n' "$1" \
    >/run/systemd/network/eth0.network
  until_true 5 test -S "$work/bus"
  SYSTEMD_LOG_TARGET=console "$root/lib/systemd/systemd-networkd" >"$work/networkd.log" 2>&1 &
  networkd=$!
  until_true 15 has 10.0.0.11
  until_true 15 grep -q "eth0: Configured\|eth0: Gained IPv6LL" "$work/networkd.log"
  sleep 1
}
reconfigure() {
  "$root/bin/networkctl" reconfigure eth0
  sleep 2
}
