#!/usr/bin/env bash
# fail2ban 1.0.2: "ignoreself", on by default, "indicates the banning of own IP addresses should be prevented". Its own
# addresses are those that the machine's names resolve to: with the line that Debian's installer writes to /etc/hosts
# (127.0.1.1 and the name) neither an interface's address nor a virtual one is. Here a check of keepalived
# connects to the node's own sshd each second; the jail sshd in mode aggressive counts that, the node's own address
# is banned, the check fails, and the virtual address leaves. The next node does the same.
#
# Seen on 2026-11-29, Linux 6.18, keepalived 2.2.7, OpenSSH 9.2p1:
#   before fail2ban runs, the virtual address: is held
#   with fail2ban, banned within 12 s: 10.0.0.11
#   with fail2ban, the virtual address: is not held
#   with fail2ban and "ignoreip = 10.0.0.11", banned within 12 s: none
#   with fail2ban and "ignoreip = 10.0.0.11", the virtual address: is held
PACKAGES=(keepalived=1:2.2.7-1+b2 fail2ban=1.0.2-2 openssh-server=1:9.2p1-2+deb12u10 openssh-client=1:9.2p1-2+deb12u10
  nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 python3.11-minimal=3.11.2-6+deb12u9
  libpython3.11-minimal=3.11.2-6+deb12u9 libpython3.11-stdlib=3.11.2-6+deb12u9)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

root=$FINDING_TEMP/root
export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu
mkdir -p /run/sshd
{ cat /etc/passwd; echo "sshd:x:990:65534::/run/sshd:/usr/sbin/nologin"; } >"$work/passwd"
printf '127.0.0.1 localhost\n127.0.1.1 node7\n' >"$work/hosts"
mount --bind "$work/passwd" /etc/passwd
mount --bind "$work/hosts" /etc/hosts
link eth0 10.0.0.11/24

# sshd, whose log gets what a syslog daemon writes before each line
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
printf 'Port 2200\nListenAddress 10.0.0.11\nHostKey %s\nPidFile none\nUsePAM no\n' "$work/key" >"$work/sshd.conf"
: >"$work/auth.log"
"$root/usr/sbin/sshd" -D -e -f "$work/sshd.conf" 2> >(while read -r line; do
  echo "$(date '+%b %d %H:%M:%S') node7 sshd[7]: $line" >>"$work/auth.log"
done) &

mount -t tmpfs tmpfs /mnt
printf '#!/bin/bash\nexec 3<>/dev/tcp/10.0.0.11/2200\n' >/mnt/check
chmod 755 /mnt/check
{
  echo "$GLOBAL"
  printf 'vrrp_script chk {\n  script "/mnt/check"\n  interval 1\n  fall 2\n  rise 1\n}\n'
  instance a 11 10.0.0.100/32 $'track_script {\n    chk\n  }'
} >"$work/keepalived.conf"
start
address() { if has 10.0.0.100; then echo "is held"; else echo "is not held"; fi; }
until_true 15 has 10.0.0.100
expect "before fail2ban runs, the virtual address" "is held" "$(address)"

# fail2ban COMMAND...: its server or client, on a machine of its own name
fail2ban() {
  # shellcheck disable=SC2016 # the inner shell expands it
  PYTHONHOME=$root/usr PYTHONPATH=$root/usr/lib/python3/dist-packages \
    unshare --uts bash -c 'hostname node7; exec "$@"' - \
    python3.11 "$root/usr/bin/fail2ban-$1" -c "$work/$2" -s "/run/$2.sock" -p "/run/$2.pid" "${@:3}"
}
# banned NAME LINE: run it with a line of the jail; what is banned within 12 s
banned() {
  cp -r "$root/etc/fail2ban" "$work/$1"
  {
    printf '[DEFAULT]\nbanaction = nftables-allports\n%s\n' "$2"
    printf '[sshd]\nenabled = true\nmode = aggressive\nbackend = polling\nlogpath = %s/auth.log\n' "$work"
  } >"$work/$1/jail.local"
  printf '[Definition]\ndbfile = None\nlogtarget = %s/%s.log\n' "$work" "$1" >"$work/$1/fail2ban.local"
  fail2ban server "$1" -xf start >>"$work/errors" 2>&1 &
  local list="" end=$((SECONDS + 12))
  while [ -z "$list" ] && [ "$SECONDS" -lt "$end" ]; do
    sleep 1
    list=$(fail2ban client "$1" get sshd banip 2>>"$work/errors" | paste -sd' ')
  done
  echo "${list:-none}"
}
expect "with fail2ban, banned within 12 s" 10.0.0.11 "$(banned plain "")"
until_true 20 lacks 10.0.0.100 # the check has to fail twice
expect "with fail2ban, the virtual address" "is not held" "$(address)"
fail2ban client plain stop >>"$work/errors" 2>&1
nft flush ruleset
until_true 15 has 10.0.0.100
expect "with fail2ban and \"ignoreip = 10.0.0.11\", banned within 12 s" none "$(banned other "ignoreip = 10.0.0.11")"
expect "with fail2ban and \"ignoreip = 10.0.0.11\", the virtual address" "is held" "$(address)"
