#!/usr/bin/env bash
# keepalived 2.2.7: where the configuration has a mail server, keepalived resolves the machine's own name while it
# reads the file, also for --config-test, and also where nothing would ever be mailed. With a name server that does
# not answer, that takes the resolver's whole timeout. It is avoided only where both the sender
# (notification_email_from) and the HELO name (smtp_helo_name) are set; one of them is not enough.
#
# Seen on 2026-11-29, Linux 6.18:
#   no mail server: ends at once
#   a mail server: takes more than 2 s
#   a mail server and the sender: takes more than 2 s
#   a mail server and the HELO name: takes more than 2 s
#   a mail server, the sender and the HELO name: ends at once
PACKAGES=(keepalived=1:2.2.7-1+b2)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

link eth0 10.0.0.11/24
printf 'nameserver 10.0.0.53\noptions timeout:1 attempts:3\n' >"$work/resolv.conf"
mount --bind "$work/resolv.conf" "$(readlink -f /etc/resolv.conf)"

# how_long LINES...: test a configuration with these lines of global_defs, on a machine whose name is in no file.
how_long() {
  {
    printf 'global_defs {\n  router_id finding\n  script_user root\n'
    printf '  %s\n' "$@"
    printf '}\n'
    instance a 11 10.0.0.100/32
  } >"$work/keepalived.conf"
  chmod 600 "$work/keepalived.conf"
  local begin=$(($(date +%s%N) / 1000000))
  # shellcheck disable=SC2016 # the inner shell expands it
  FILE=$work/keepalived.conf unshare --uts bash -c 'hostname node7 && keepalived --config-test --use-file "$FILE"'
  if [ $(($(date +%s%N) / 1000000 - begin)) -gt 2000 ]; then echo "takes more than 2 s"; else echo "ends at once"; fi
}
SERVER='smtp_server 127.0.0.1' SENDER='notification_email_from a@localhost' HELO='smtp_helo_name localhost'
expect "no mail server" "ends at once" "$(how_long)"
expect "a mail server" "takes more than 2 s" "$(how_long "$SERVER")"
expect "a mail server and the sender" "takes more than 2 s" "$(how_long "$SERVER" "$SENDER")"
expect "a mail server and the HELO name" "takes more than 2 s" "$(how_long "$SERVER" "$HELO")"
expect "a mail server, the sender and the HELO name" "ends at once" "$(how_long "$SERVER" "$SENDER" "$HELO")"
