#!/usr/bin/env bash
# Linux: a dump of a routing table has the route to 0.0.0.0/1, which VPN clients set, before the one to
# 0.0.0.0/0, and all others after that. A program that reads the default routes and ends at the first other one has
# to read on over it.
#
# Seen on 2026-11-29, Linux 6.18, iproute2 6.1.0 (whatever the order in which they were added):
#   first routes: 0.0.0.0/1 default 10.0.0.0/24 128.0.0.0/1
PACKAGES=(iproute2=6.1.0-3)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
ip route add default via 10.0.0.1
ip route add 128.0.0.0/1 via 10.0.0.1
ip route add 0.0.0.0/1 via 10.0.0.1
expect "first routes" "0.0.0.0/1 default 10.0.0.0/24 128.0.0.0/1" "$(ip route show | awk '{ printf "%s%s", (NR > 1 ? " " : ""), $1 }')"
