#!/usr/bin/env bash
# haproxy 2.6.12: a configuration with one more "bind", at an address that is not on this node, passes haproxy -c. At
# the reload the new process cannot bind there, has the former one stop listening on all addresses, and tries
# again for two seconds: so long every connection to the addresses that the node does have is refused. Then the former
# configuration goes on. nginx 1.22.1 refuses such a reload too, and no connection. With the same listeners as before
# both reload, also where one of the addresses has left the node since.
#
# Seen on 2026-11-29, Linux 6.18, told to listen at 10.0.0.11 and 10.0.0.100, which then leaves:
#   haproxy, reload, no connection was refused: yes
#   haproxy, after it, the configuration: new
#   haproxy with one more absent address, haproxy -c: 0
#   haproxy with one more absent address, connections to 10.0.0.11 were refused for: 1 to 4 s
#   haproxy with one more absent address, after it, the configuration: former
#   nginx, reload, no connection was refused: yes
#   nginx, after it, the configuration: new
#   nginx with one more absent address, no connection was refused: yes
#   nginx with one more absent address, after it, the configuration: former
PACKAGES=(haproxy=2.6.12-1+deb12u4 liblua5.3-0=5.3.6-2 libopentracing-c-wrapper0=1.1.3-3+b1 libopentracing1=1.6.0-4
  nginx=1.22.1-9+deb12u11)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"
export LD_LIBRARY_PATH=$FINDING_TEMP/root/usr/lib/x86_64-linux-gnu

link eth0 10.0.0.11/24
haproxy_with() {
  printf 'defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend f\n'
  printf '  bind %s:8080\n' "${@:2}"
  printf '  http-request return status 200 content-type text/plain string %s\n' "$1"
}
nginx_with() {
  printf 'user root;\npid %s/nginx.pid;\nevents { }\nhttp {\n  access_log off;\n' "$work"
  for each in client_body proxy fastcgi uwsgi scgi; do printf '  %s_temp_path %s/%s;\n' "$each" "$work" "$each"; done
  printf '  server {\n'
  printf '    listen %s:8080;\n' "${@:2}"
  printf '    location / { return 200 %s; }\n  }\n}\n' "$1"
}
page() {
  exec 3<>/dev/tcp/10.0.0.11/8080 || return
  printf 'GET / HTTP/1.0\r\n\r\n' >&3
  timeout 2 tail -1 <&3
  exec 3>&-
}
# refused PID SIGNAL: signal a server; for how many milliseconds were connections refused within 6 s?
refused() {
  local end=$((SECONDS + 6)) first=0 last=0 now
  kill "-$2" "$1"
  while [ "$SECONDS" -lt "$end" ]; do
    now=$(date +%s%3N)
    if ! (exec 3<>/dev/tcp/10.0.0.11/8080) 2>>"$work/log"; then
      [ "$first" != 0 ] || first=$now
      last=$now
    fi
    sleep 0.05
  done
  echo $((last - first))
}
none() { [ "$1" = 0 ] && echo yes || echo "$1 ms"; }
some() { [ "$1" -ge 1000 ] && [ "$1" -le 4000 ] && echo "1 to 4 s" || echo "$1 ms"; }
ADDRESSES=(10.0.0.11 10.0.0.100)

ip address add 10.0.0.100/32 dev eth0
haproxy_with former "${ADDRESSES[@]}" >"$work/haproxy.cfg"
haproxy -Ws -f "$work/haproxy.cfg" >>"$work/log" 2>&1 &
haproxy=$!
until_true 10 page
ip address del 10.0.0.100/32 dev eth0
haproxy_with new "${ADDRESSES[@]}" >"$work/haproxy.cfg"
expect "haproxy, reload, no connection was refused" yes "$(none "$(refused "$haproxy" USR2)")"
expect "haproxy, after it, the configuration" new "$(page)"
haproxy_with newer "${ADDRESSES[@]}" 10.0.0.102 >"$work/haproxy.cfg"
expect "haproxy with one more absent address, haproxy -c" 0 \
  "$(haproxy -c -q -f "$work/haproxy.cfg" && echo 0 || echo $?)"
expect "haproxy with one more absent address, connections to 10.0.0.11 were refused for" "1 to 4 s" \
  "$(some "$(refused "$haproxy" USR2)")"
expect "haproxy with one more absent address, after it, the configuration" former "$(page | sed 's/^new$/former/')"
kill "$haproxy"
wait "$haproxy" || true

ip address add 10.0.0.100/32 dev eth0
nginx_with former "${ADDRESSES[@]}" >"$work/nginx.conf"
nginx -e "$work/nginx.log" -c "$work/nginx.conf"
until_true 10 page
ip address del 10.0.0.100/32 dev eth0
nginx_with new "${ADDRESSES[@]}" >"$work/nginx.conf"
nginx=$(cat "$work/nginx.pid")
expect "nginx, reload, no connection was refused" yes "$(none "$(refused "$nginx" HUP)")"
expect "nginx, after it, the configuration" new "$(page)"
nginx_with newer "${ADDRESSES[@]}" 10.0.0.102 >"$work/nginx.conf"
expect "nginx with one more absent address, no connection was refused" yes "$(none "$(refused "$nginx" HUP)")"
expect "nginx with one more absent address, after it, the configuration" former "$(page | sed 's/^new$/former/')"
