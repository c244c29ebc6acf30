#!/usr/bin/env bash
# Postfix 3.7.11: inet_interfaces names the node's own address and a virtual one. When the virtual one leaves, master
# goes on and listens, at both; but each of its processes that is started from then on ends with "no local interface
# found for", smtpd as well as all that deliver. So the kernel accepts connections to the node's own address, a TCP
# check is green, and nobody is greeted. Local programs cannot hand mail in either (sendmail ends with 75). After
# the address has come back master waits up to a minute before it starts a process again. The manual only has
# that a restart is needed when the parameter itself changes.
#
# Seen on 2026-11-29, Linux 6.18, with max_idle = 1s (default 100s: so long the former processes live on without work):
#   the address is there, a connection to 10.0.0.11: is made and greeted
#   the address is there, sendmail: 0
#   the address has left, a connection to 10.0.0.11: is made
#   the address has left, sendmail: 75
#   the address has left, master: runs
#   the address is back for 5 s, a connection to it: is made
PACKAGES=(postfix=3.7.11-0+deb12u1)
# shellcheck source=findings/common.bash
source "$(dirname "$0")/common.bash"

root=$FINDING_TEMP/root
export LD_LIBRARY_PATH=$root/usr/lib/postfix MAIL_CONFIG=$work/etc
chmod 755 "$FINDING_TEMP" "$work"
{ cat /etc/passwd; echo "postfix:x:992:992::/:/usr/sbin/nologin"; } >"$work/passwd"
{ cat /etc/group; printf 'postfix:x:992:\npostdrop:x:993:\n'; } >"$work/group"
mount --bind "$work/passwd" /etc/passwd
mount --bind "$work/group" /etc/group
QUEUES=(active bounce corrupt defer deferred flush hold incoming private saved trace)
mkdir -p "$work"/{etc,data,queue}
cd "$work/queue"
mkdir pid maildrop public "${QUEUES[@]}"
chown -R postfix "$work/data" "$work/queue"
chown root . pid
chgrp postdrop maildrop public
chmod 700 "${QUEUES[@]}"
chmod 730 maildrop
chmod 710 public
# no chroot
sed 's/^\([a-z]\+ \+[a-z]\+ \+[-yn] \+[-yn] \+\)[-y] /\1n /' "$root/usr/share/postfix/master.cf.dist" \
  >"$work/etc/master.cf"
cat >"$work/etc/main.cf" <<X
compatibility_level = 3.6
queue_directory = $work/queue
command_directory = $root/usr/sbin
daemon_directory = $root/usr/lib/postfix/sbin
data_directory = $work/data
mail_owner = postfix
inet_protocols = ipv4
inet_interfaces = 10.0.0.11, 10.0.0.100
myhostname = mail.test
mydestination = mail.test
alias_maps =
alias_database =
maillog_file = $work/log
maillog_file_prefixes = $work
import_environment = MAIL_CONFIG LD_LIBRARY_PATH
export_environment = MAIL_CONFIG LD_LIBRARY_PATH
max_idle = 1s
X

link eth0 10.0.0.11/24
ip address add 10.0.0.100/32 dev eth0
# connect ADDRESS: what a client sees at port 25
connect() {
  local line=""
  exec 3<>"/dev/tcp/$1/25" || { echo "is refused"; return; }
  read -r -t 4 line <&3 || true
  exec 3>&-
  case $line in
    220*) echo "is made and greeted" ;;
    "") echo "is made" ;;
    *) echo "$line" ;;
  esac
}
submit() { echo hello | "$root/usr/sbin/sendmail" -i someone@mail.test 2>>"$work/errors" && echo 0 || echo $?; }

"$root/usr/lib/postfix/sbin/master" -d -c "$work/etc" >>"$work/errors" 2>&1 &
master=$!
until_true 15 says "daemon started"
sleep 1
expect "the address is there, a connection to 10.0.0.11" "is made and greeted" "$(connect 10.0.0.11)"
expect "the address is there, sendmail" 0 "$(submit)"
ip address del 10.0.0.100/32 dev eth0
sleep 4 # the processes that were there end
expect "the address has left, a connection to 10.0.0.11" "is made" "$(connect 10.0.0.11)"
expect "the address has left, sendmail" 75 "$(submit)"
expect "the address has left, master" runs "$(kill -0 "$master" && echo runs || echo "has ended")"
ip address add 10.0.0.100/32 dev eth0
sleep 5
expect "the address is back for 5 s, a connection to it" "is made" "$(connect 10.0.0.100)"
