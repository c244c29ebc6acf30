# shellcheck shell=bash
# What the scripts share: source it; it makes a temporary directory and removes it again.
set -euo pipefail
unset "${!OPENSHIFT_HA_@}"

cannot() {
  echo "cannot be tried here: $*" >&2
  exit 2
}

# Bound the time, and enter namespaces of its own: network, mounts, processes. They die with the script.
if [ -z "${FINDING_INSIDE:-}" ]; then
  [ "$(id -u)" = 0 ] || cannot "run it as root"
  grep -q '^VERSION_CODENAME=bookworm$' /etc/os-release || cannot "this is not Debian bookworm"
  FINDING_TEMP=$(mktemp -d)
  export FINDING_TEMP
  trap 'rm -rf "$FINDING_TEMP"' EXIT
  for pin in "${PACKAGES[@]}"; do
    (cd "$FINDING_TEMP" && apt-get -o APT::Sandbox::User=root download -qq "$pin" >/dev/null) ||
      cannot "apt-get has no $pin"
  done
  for package in "$FINDING_TEMP"/*.deb; do
    [ -e "$package" ] && dpkg-deb -x "$package" "$FINDING_TEMP/root"
  done
  status=0
  FINDING_INSIDE=1 timeout --kill-after=5 90 \
    unshare --net --mount --pid --fork --kill-child --mount-proc bash "$0" || status=$?
  exit "$status"
fi

mount -t tmpfs tmpfs /run
ip link set lo up
PATH=$FINDING_TEMP/root/usr/sbin:$FINDING_TEMP/root/usr/bin:$PATH
work=$FINDING_TEMP/work
mkdir -p "$work"
export TMPDIR=$work

# expect WHAT EXPECTED ACTUAL: say both, and end with 1 where they differ.
expect() {
  echo "$1: $3"
  if [ "$2" != "$3" ]; then
    echo "changed: $1 was '$2'" >&2
    exit 1
  fi
}

# until_true SECONDS COMMAND...: wait for a condition; end with 1 without it.
until_true() {
  local limit=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$limit" ]; then
      echo "changed: not seen in time: $*" >&2
      exit 1
    fi
    sleep 0.1
  done
}

# An interface with an address, whose other end is up: link NAME ADDRESS...
link() {
  local name=$1 each
  shift
  ip link add "$name" type veth peer name "far-$name"
  ip link set "far-$name" up
  ip link set "$name" up
  for each; do
    case $each in
      *:*) ip address add "$each" dev "$name" nodad ;;
      *) ip address add "$each" dev "$name" ;;
    esac
  done
}

# facing NAME: an eth0 here with 10.0.0.11/24, and its other end in a new namespace as eth0 with 10.0.0.12/24
facing() {
  ip netns add "$1"
  ip link add eth0 type veth peer name eth0 netns "$1"
  ip link set eth0 up
  ip -n "$1" link set eth0 up
  ip address add 10.0.0.11/24 dev eth0
  ip -n "$1" address add 10.0.0.12/24 dev eth0
}

# has ADDRESS: is it on an interface here?
has() { [[ $(ip -o address show) == *" $1/"* ]]; }
lacks() { ! has "$1"; }

# instance NAME ID ADDRESS [LINES]: a vrrp_instance on eth0 that becomes MASTER after 3 s.
instance() {
  printf 'vrrp_instance %s {\n  state BACKUP\n  interface eth0\n  virtual_router_id %s\n  priority 200\n' "$1" "$2"
  printf '  advert_int 1\n  %s\n  virtual_ipaddress {\n    %s dev eth0\n  }\n}\n' "${4:-}" "$3"
}
GLOBAL=$'global_defs {\n  router_id finding\n  script_user root\n  enable_script_security\n  max_auto_priority -1\n}\n'

# start: run keepalived with $work/keepalived.conf; its log is $work/log, its pid $keepalived.
start() {
  chmod 600 "$work/keepalived.conf"
  keepalived --dont-fork --log-console --vrrp --use-file "$work/keepalived.conf" >"$work/log" 2>&1 &
  keepalived=$!
}
says() { grep -qF "$1" "$work/log"; }

# unicast_master: eth0, and a keepalived that is MASTER of 10.0.0.100 there, alone, with one peer; state: is it yet?
unicast_master() {
  link eth0 10.0.0.11/24
  {
    echo "$GLOBAL"
    instance a 11 10.0.0.100/32 $'unicast_src_ip 10.0.0.11\n  unicast_peer {\n    10.0.0.12\n  }'
  } >"$work/keepalived.conf"
  start
  until_true 10 has 10.0.0.100
}
state() { if has 10.0.0.100; then echo "MASTER and holds its address"; else echo "holds nothing"; fi; }
