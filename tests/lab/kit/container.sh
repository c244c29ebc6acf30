# PID 1 of a container before it becomes the command: sh container.sh OPTIONS PREPARE COMMAND...
#
# /run (with mount OPTIONS) and /etc/keepalived become empty and private. /tmp stays the machine's,
# since checkouts and test directories may lie there; TMPDIR is private. The file for stderr comes
# as stdin, so that what unshare(1) itself says stays apart.
exec 2>&0 </dev/null
set -e
options=$1
shift

# Mirror directory $1 (ending in /) below the new root, but for entry $2: links stay links.
mirror() {
    for entry in "$1"*; do
        if [ "$entry" = "$1$2" ]; then
            mkdir "/run$entry"
        elif [ -L "$entry" ]; then
            cp -P "$entry" "/run$entry"
        elif [ -d "$entry" ] && [ "$entry" != /run ]; then
            mkdir "/run$entry"
            mount --rbind "$entry" "/run$entry"
        fi
    done
}

root=
if [ "$(stat -c %u /)" != 0 ]; then
    # In an ordinary user's namespace / belongs to no known user, and keepalived runs no script through a path
    # that is not root's. So give it a root directory that is root's, down to bash itself.
    root=/run
    mount -t tmpfs -o mode=0755 lab /run
    mirror / usr
    mirror /usr/ bin
    mkdir /run/usr/.bin /run/run
    mount --rbind /usr/bin /run/usr/.bin
    (cd /run/usr/bin && ln -s ../.bin/* .)
    cp --remove-destination /usr/bin/bash /run/usr/bin/bash
fi
mount -t tmpfs -o "mode=0755,$options" lab "$root/run"
mount -t tmpfs -o mode=0755 lab "$root/etc/keepalived"

# The last stage, in the new root: PREPARE, then the command.
stage='set -e; cd "$1"; mkdir -m 1777 /run/tmp; eval "$2"; shift 2; exec "$@"'
if [ -n "$root" ]; then
    exec chroot "$root" sh -c "$stage" container "$PWD" "$@"
fi
exec sh -c "$stage" container "$PWD" "$@"
