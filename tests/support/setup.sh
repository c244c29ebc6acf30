#!/usr/bin/env bash
# Installs what a fresh Debian or Fedora machine lacks: system packages, then a virtual environment.
# usage: setup.sh VENV
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${1:-.venv}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    echo "setup: cannot install packages: run this once as root, or install: $*" >&2
    exit 1
  fi
}

find_python() {
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

PATH=$PATH:/usr/sbin:/sbin
missing=()
needs() { # COMMAND DEBIAN-PACKAGE FEDORA-PACKAGE
  command -v "$1" >/dev/null || missing+=("$2:$3")
}
needs keepalived keepalived keepalived
needs ip iproute2 iproute
needs nft nftables nftables
needs iptables-nft iptables iptables-nft
needs unshare util-linux util-linux
needs setpriv util-linux util-linux
needs ping iputils-ping iputils
needs arping iputils-arping iputils
needs ps procps procps-ng
needs curl curl curl
needs tcpdump tcpdump tcpdump
needs openssl openssl openssl
needs dnsmasq dnsmasq-base dnsmasq
needs ucarp ucarp ucarp
python=$(find_python) || { missing+=("python3:python3.11"); python=python3; }
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=("python3-venv:python3-pip")

if [ ${#missing[@]} -gt 0 ]; then
  if command -v apt-get >/dev/null; then
    packages=$(printf '%s\n' "${missing[@]%%:*}" | sort -u)
    echo "setup: installing" $packages
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # one word per package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
  elif command -v dnf >/dev/null; then
    packages=$(printf '%s\n' "${missing[@]##*:}" | sort -u)
    echo "setup: installing" $packages
    # shellcheck disable=SC2086 # one word per package
    as_root dnf install -y -q $packages
  else
    echo "setup: neither apt-get nor dnf is here; please install: ${missing[*]}" >&2
    exit 1
  fi
  python=$(find_python) || { echo "setup: Python 3.11 or newer is needed" >&2; exit 1; }
fi

if ! [ -x "$venv/bin/python" ]; then
  echo "setup: making $venv"
  "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install -qq --disable-pip-version-check -r constraints.txt
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps --editable .

# promtool tests the alerts. Debian's package would also start a server: only the tool is taken.
if ! command -v promtool >/dev/null && ! [ -x "$venv/bin/promtool" ] && command -v apt-get >/dev/null; then
  directory=$(mktemp -d)
  (
    cd "$directory"
    apt-get download -qq prometheus 2>/dev/null || { as_root apt-get update -qq; apt-get download -qq prometheus; }
    dpkg-deb -x prometheus_*.deb .
  ) >/dev/null 2>&1 && install "$directory/usr/bin/promtool" "$venv/bin/promtool" ||
    echo "setup: promtool cannot be had; the tests of the alerts are skipped"
  rm -rf "$directory"
fi
