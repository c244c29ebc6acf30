#!/usr/bin/env bash
# Build the image: build.sh SUITE NAME... (trixie ipfailover-agent:trixie)
#
# setup-image.sh brings the base image, nothing is pulled here. The network is the machine's, and
# the build needs no right that a container may lack.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=$1
shift
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' ipfailover_agent/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
names=()
for name in "$@"; do names+=(--tag "$name"); done
exec buildah bud --quiet --layers --pull-never --network=host --isolation=chroot \
  --build-arg BASE="debian:$suite-slim" \
  --build-arg VERSION="$version" \
  --build-arg REVISION="$revision" \
  "${names[@]}" .
