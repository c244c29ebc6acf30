#!/usr/bin/env bash
# OpenSSH 9.2p1: an sshd that listens at the node's own address and at a virtual one keeps the listener while the
# virtual address is on another node, and serves it again when it is back. But a reload (SIGHUP) in between closes
# all listeners and opens those that it can. sshd -t ends with 0, the virtual address is refused after it has come
# back, until the next reload, and a check of the node's own address is green. nginx 1.22.1 keeps such a listener over
# a reload.
#
# Seen on 2026-11-29, Linux 6.18:
#   the address came back, it is: served
#   reloaded while it was away, sshd -t: 0
#   reloaded while it was away, the address came back, it is: refused
#   reloaded while it was away, the node's own address is: served
#   nginx reloaded while it was away, the address came back, it is: served
PACKAGES=(openssh-server=1:9.2p1-2+deb12u10 openssh-client=1:9.2p1-2+deb12u10 nginx=1.22.1-9+deb12u11)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

sshd=$FINDING_TEMP/root/usr/sbin/sshd # it wants its whole path
mkdir -p /run/sshd
{ cat /etc/passwd; echo "sshd:x:990:65534::/run/sshd:/usr/sbin/nologin"; } >"$work/passwd"
mount --bind "$work/passwd" /etc/passwd
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
link eth0 10.0.0.11/24
answers() { (exec 3<>"/dev/tcp/$1/$2") 2>>"$work/errors" && echo served || echo refused; }
come() { ip address add 10.0.0.100/32 dev eth0; }
go() { ip address del 10.0.0.100/32 dev eth0; }

printf 'Port 2200\nListenAddress 10.0.0.11\nListenAddress 10.0.0.100\nHostKey %s\nPidFile none\nUsePAM no\n' \
  "$work/key" >"$work/sshd.conf"
come
"$sshd" -D -e -f "$work/sshd.conf" 2>"$work/log" &
pid=$!
until_true 10 says "listening on 10.0.0.11"
go
sleep 1
come
expect "the address came back, it is" served "$(answers 10.0.0.100 2200)"
go
expect "reloaded while it was away, sshd -t" 0 "$("$sshd" -t -f "$work/sshd.conf" && echo 0 || echo $?)"
kill -HUP "$pid"
until_true 10 says "Bind to port 2200 on 10.0.0.100 failed"
sleep 1
come
sleep 2
expect "reloaded while it was away, the address came back, it is" refused "$(answers 10.0.0.100 2200)"
expect "reloaded while it was away, the node's own address is" served "$(answers 10.0.0.11 2200)"

{
  printf 'user root;\npid %s/nginx.pid;\nerror_log %s/nginx.log notice;\n' "$work" "$work"
  printf 'events { }\nhttp {\n  access_log off;\n'
  for each in client_body proxy fastcgi uwsgi scgi; do printf '  %s_temp_path %s/%s;\n' "$each" "$work" "$each"; done
  printf '  server {\n    listen 10.0.0.11:8080;\n    listen 10.0.0.100:8080;\n  }\n}\n'
} >"$work/nginx.conf"
nginx -e "$work/nginx.log" -c "$work/nginx.conf"
until_true 10 grep -q "start worker process" "$work/nginx.log"
go
kill -HUP "$(cat "$work/nginx.pid")"
until_true 10 grep -q "gracefully shutting down" "$work/nginx.log"
come
expect "nginx reloaded while it was away, the address came back, it is" served "$(answers 10.0.0.100 8080)"
