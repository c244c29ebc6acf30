#!/usr/bin/env bash
# Linux: what a node sends to its own address goes through lo, and a listener that is bound to lo
# (SO_BINDTODEVICE) is not met by it. One that is bound to the interface with that address is, though nothing
# passes there. A program that asks the kernel (sock_diag) whether a connection would meet a listener has to name that
# interface, too, not the one that the packets go through.
#
# Seen on 2026-11-29, Linux 6.18, socat 1.7.4.4, from the node to 10.0.0.11 on eth0:
#   packets went through lo: yes
#   bound to nothing: answered
#   bound to eth0: answered
#   bound to lo: refused
#   bound to lo, and asked at 127.0.0.1: answered
PACKAGES=(socat=1.7.4.4-2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
# asked ADDRESS OPTIONS: what a connection to a listener with these options meets.
asked() {
  local answer listener
  socat "TCP4-LISTEN:8080,reuseaddr$2" 'SYSTEM:echo hello' &
  listener=$!
  until_true 5 grep -q ':1F90 .* 0A ' /proc/net/tcp
  answer=$(socat -T 2 - "TCP4:$1:8080" </dev/null 2>&1 || true)
  kill "$listener" 2>/dev/null || true
  wait "$listener" 2>/dev/null || true
  case $answer in
    hello) echo answered ;;
    *refused*) echo refused ;;
    *) echo "$answer" ;;
  esac
}
sent() { cat /sys/class/net/lo/statistics/tx_packets; }
mount -t sysfs sysfs /sys # of this network namespace
before=$(sent)
nothing=$(asked 10.0.0.11 "")
expect "packets went through lo" yes "$( (($(sent) - before >= 3)) && echo yes || echo no)"
expect "bound to nothing" answered "$nothing"
expect "bound to eth0" answered "$(asked 10.0.0.11 ,so-bindtodevice=eth0)"
expect "bound to lo" refused "$(asked 10.0.0.11 ,so-bindtodevice=lo)"
expect "bound to lo, and asked at 127.0.0.1" answered "$(asked 127.0.0.1 ,so-bindtodevice=lo)"
