"""Where the agent keeps what: the files of its run directory."""

from __future__ import annotations

from msgspec import Struct


class RunPaths(Struct, frozen=True, kw_only=True):
    """Absolute paths of everything the agent keeps; ``directory`` is 0700 and root's."""

    directory: str
    config: str

    @property
    def check(self) -> str:
        """Return the generated check script."""
        return f"{self.directory}/check"

    @property
    def check_reason(self) -> str:
        """Return where the check writes why it fails; absent or empty while it succeeds."""
        return f"{self.directory}/check.reason"

    @property
    def check_duration(self) -> str:
        """Return where the check script writes how many microseconds it took last."""
        return f"{self.directory}/check.duration"

    @property
    def check_track(self) -> str:
        """Return the track file with the result of the agent's own check: 0 while healthy."""
        return f"{self.directory}/check.track"

    @property
    def notify(self) -> str:
        """Return the generated notify script."""
        return f"{self.directory}/notify"

    @property
    def notify_fifo(self) -> str:
        """Return the FIFO that keepalived writes transitions to."""
        return f"{self.directory}/notify.fifo"

    @property
    def candidate(self) -> str:
        """Return the file that ``keepalived -t`` looks at before it becomes ``config``.

        It lies in the run directory, which is the agent's; the configuration's need not be.
        """
        return f"{self.directory}/keepalived.conf.candidate"

    @property
    def temporary(self) -> str:
        """Return keepalived's TMPDIR."""
        return f"{self.directory}/tmp"  # noqa: S108 - inside the agent's 0700 directory

    @property
    def keepalived_pid(self) -> str:
        """Return the pid file of keepalived's parent process."""
        return f"{self.directory}/parent.pid"

    @property
    def vrrp_pid(self) -> str:
        """Return the pid file of keepalived's VRRP child."""
        return f"{self.directory}/vrrp.pid"

    @property
    def checkers_pid(self) -> str:
        """Return the pid file of keepalived's checker child (never started)."""
        return f"{self.directory}/checkers.pid"

    @property
    def agent_pid(self) -> str:
        """Return the agent's own pid file."""
        return f"{self.directory}/agent.pid"

    def hold(self, name: str) -> str:
        """Return the track file that keeps an instance in FAULT while it is not 0.

        ``name`` is the instance's ``hold_name``.
        """
        return f"{self.hold_directory}/{name}"

    @property
    def hold_directory(self) -> str:
        """Return the directory of the track files."""
        return f"{self.directory}/hold"

    @property
    def drain(self) -> str:
        """Return the file that names the drained instances."""
        return f"{self.directory}/drain.json"

    @property
    def drain_requests(self) -> str:
        """Return the directory in which commands lay requests to drain."""
        return f"{self.directory}/drain.requests"

    @property
    def lock(self) -> str:
        """Return the file that a running agent holds a lock on."""
        return f"{self.directory}/agent.lock"

    @property
    def status(self) -> str:
        """Return the status file."""
        return f"{self.directory}/status.json"

    @property
    def ready(self) -> str:
        """Return the file from which a probe reads whether the node is ready."""
        return f"{self.directory}/ready"

    @property
    def events(self) -> str:
        """Return the file of what happened last; it outlives the agent."""
        return f"{self.directory}/events.jsonl"

    @property
    def addresses(self) -> str:
        """Return the record of the addresses that this agent may have on an interface."""
        return f"{self.directory}/addresses.json"

    @property
    def peers(self) -> str:
        """Return the record of the peers that names resolved to last."""
        return f"{self.directory}/peers.json"

    @property
    def active(self) -> str:
        """Return the record of the active configuration."""
        return f"{self.directory}/active.json"

    @property
    def all_files(self) -> tuple[str, ...]:
        """Return everything that an agent may leave in ``directory``."""
        return (
            self.check,
            self.check_reason,
            self.check_duration,
            self.check_track,
            self.notify,
            self.notify_fifo,
            self.candidate,
            self.temporary,
            self.keepalived_pid,
            self.vrrp_pid,
            self.checkers_pid,
            self.agent_pid,
            self.hold_directory,
            self.drain,
            self.drain_requests,
            self.lock,
            self.status,
            self.ready,
            self.events,
            self.addresses,
            self.peers,
            self.active,
        )
