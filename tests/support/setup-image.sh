#!/usr/bin/env bash
# What building and testing the image needs: setup-image.sh SUITE... (trixie bookworm)
#
# Installs podman and buildah from the distribution, then sees that the base images are there. An
# image that podman has is used. Else it is pulled, and where no registry can be reached, a
# stand-in is made from Debian's packages. Needs root; does nothing when nothing is missing.
set -euo pipefail

REGISTRY=docker.io/library # where `FROM debian:SUITE-slim` comes from
PULL_SECONDS=60

say() { printf '%s\n' "$*" >&2; }

missing() {
  local name
  for name in "$@"; do
    command -v "$name" >/dev/null || printf '%s\n' "$name"
  done
}

install_tools() {
  [ -z "$(missing podman buildah runc debootstrap)" ] && return
  if command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      podman buildah runc debootstrap ca-certificates >/dev/null
  elif command -v dnf >/dev/null; then
    dnf install -y -q podman buildah runc debootstrap
  else
    say "install these, then try again: $(missing podman buildah runc debootstrap | xargs)"
    exit 69
  fi
}

# What makes Debian's slim images slim, and keeps layers above them free of caches.
write_slim_settings() {
  cat >"$1/etc/dpkg/dpkg.cfg.d/docker" <<'DPKG'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/groff/*
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/locale/*
path-include /usr/share/locale/locale.alias
path-exclude /usr/share/man/*
DPKG
  rm -rf "$1"/usr/share/{info,man,locale,lintian}/* "$1"/var/lib/apt/lists/* \
    "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb
  find "$1/usr/share/doc" -type f ! -name copyright -delete
}

# A base image out of Debian's packages: the same packages as in the real one, and the
# certificate authorities that this machine trusts beside the usual ones.
make_stand_in() {
  local suite=$1 image=$2 root
  root=$(mktemp -d "/var/tmp/ipfailover-$suite.XXXXXX")
  # shellcheck disable=SC2064 # the value of now
  trap "rm -rf '$root'" EXIT
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" >"$root.log" 2>&1 || {
    tail -20 "$root.log" >&2
    rm -f "$root.log"
    exit 69
  }
  rm -f "$root.log"
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
    chroot "$root" update-ca-certificates >/dev/null 2>&1
  fi
  write_slim_settings "$root"
  tar -C "$root" --numeric-owner -c . | podman import --quiet - "$image" >/dev/null
  rm -rf "$root"
  trap - EXIT
}

ensure_base() {
  local suite=$1 image="$REGISTRY/debian:$1-slim"
  podman image exists "$image" && return
  say "base image $image: pulling it"
  timeout "$PULL_SECONDS" podman pull --quiet "$image" >/dev/null 2>&1 && return
  say "base image $image: no registry can be reached, making a stand-in from Debian's packages"
  make_stand_in "$suite" "$image"
}

if [ "$(id -u)" != 0 ]; then
  say "building and testing the image needs root"
  exit 77
fi
install_tools
for suite in "${@:-trixie}"; do
  ensure_base "$suite"
done
