"""Where the agent keeps what: the files of its run directory, in one table."""

from __future__ import annotations

from msgspec import Struct


class _Inside:
    """What follows the run directory in a path; of an instance it is the whole path."""

    def __init__(self, end: str) -> None:
        self.end = end

    def __get__(self, paths: RunPaths, _owner: type[RunPaths]) -> str:
        return paths.directory + self.end


class RunPaths(Struct, frozen=True, kw_only=True):
    """Absolute paths of everything the agent keeps; ``directory`` is 0700 and root's."""

    directory: str
    config: str

    check = _Inside("/check")  # the generated check script
    check_reason = _Inside("/check.reason")  # why the check fails; absent or empty: it succeeds
    check_duration = _Inside("/check.duration")  # microseconds that the check script took last
    check_track = _Inside("/check.track")  # what the agent's own check found: 0 while healthy
    notify = _Inside("/notify")  # the generated notify script
    notify_fifo = _Inside("/notify.fifo")  # the FIFO that keepalived writes transitions to
    # What `keepalived -t` looks at before it becomes `config`. It lies in the run directory, which
    # is the agent's; the configuration's need not be.
    candidate = _Inside("/keepalived.conf.candidate")
    temporary = _Inside("/tmp")  # noqa: S108 - keepalived's TMPDIR, in the agent's 0700 directory
    keepalived_pid = _Inside("/parent.pid")  # of keepalived's parent process
    vrrp_pid = _Inside("/vrrp.pid")  # of keepalived's VRRP child
    checkers_pid = _Inside("/checkers.pid")  # of keepalived's checker child, which never starts
    agent_pid = _Inside("/agent.pid")  # of the agent itself
    hold_directory = _Inside("/hold")  # the track files of the instances
    drain = _Inside("/drain.json")  # which instances are drained
    drain_requests = _Inside("/drain.requests")  # where commands lay requests to drain
    lock = _Inside("/agent.lock")  # a running agent holds a lock on it
    status = _Inside("/status.json")
    ready = _Inside("/ready")  # whether the node is ready, for a probe
    events = _Inside("/events.jsonl")  # what happened last; it outlives the agent
    addresses = _Inside("/addresses.json")  # those that this agent may have on an interface
    peers = _Inside("/peers.json")  # what names resolved to last
    active = _Inside("/active.json")  # the record of the active configuration

    @property
    def all_files(self) -> tuple[str, ...]:
        """Return everything that an agent may leave in ``directory``."""
        return tuple(self.directory + end for end in _ENDS)

    def hold(self, name: str) -> str:
        """Return the track file that keeps an instance in FAULT while it is not 0.

        ``name`` is the instance's ``hold_name``.
        """
        return f"{self.hold_directory}/{name}"


_ENDS = tuple(each.end for each in vars(RunPaths).values() if isinstance(each, _Inside))
