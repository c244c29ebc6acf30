#!/bin/sh
# Whether the agent of this container is ready, for a readiness probe. Where it is not, it prints why:
# `kubectl describe pod` shows that. It starts no program: a probe every few seconds costs next to
# nothing.
#
# It reads what the agent writes at each change and every five seconds: its pid, when that process
# started (in ticks after boot), the uptime then, the word, and a reason a line. The directory may be
# the host's, and may hold what a dead agent or one of another container wrote: so that very process
# must run here, and must have written lately.
set -f
file=${IPFAILOVER_RUN_DIR:-/run/ipfailover-agent}/ready

refuse() {
    printf '%s\n' "$1"
    exit 1
}

judge() {
    read -r pid started written word || refuse 'starting: the agent has not written its state yet'
    stat=
    # A command's name in parentheses may hold anything, the numbers follow it.
    { read -r stat <"/proc/$pid/stat"; } 2>/dev/null
    # shellcheck disable=SC2086 # it is to be split
    set -- ${stat##*) }
    case $1 in
    '' | Z | X) refuse 'starting: there is only what an agent left here that has ended' ;;
    esac
    [ "${20}" = "$started" ] ||
        refuse 'starting: there is only what another agent, or an earlier one, left here'
    case $written in # it is calculated with
    '' | *[!0-9.]*) refuse 'starting: there is only what no agent wrote' ;;
    esac
    read -r now _ </proc/uptime
    age=$((${now%.*} - ${written%.*}))
    [ "$age" -lt 15 ] || refuse "the agent stands still: it has written nothing for $age s"
    [ "$word" = ready ] || printf 'not ready\n'
    while read -r line; do printf '%s\n' "$line"; done
    [ "$word" = ready ]
}

[ -e "$file" ] || refuse 'starting: the agent has not written its state yet'
judge <"$file"
