"""Looks at the source of variables and at the node, and asks for a reload when one has changed.

:mod:`supervisor.debounce` decides. A look at the source is a few stat calls every two seconds,
a look at the node three netlink dumps every five: a plan may wait for that. Notices that must not
wait come to :mod:`supervisor.link_watch`. Nothing here raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.config import sources
from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived.lifecycle import AgentPhase, Occurrence
from ipfailover_agent.service import Service
from ipfailover_agent.supervisor import debounce
from ipfailover_agent.supervisor.debounce import Debounce

if TYPE_CHECKING:
    from ipfailover_agent.service import Common
    from ipfailover_agent.status.reporter import Reporter
    from ipfailover_agent.supervisor.config_manager import ConfigManager


class Watcher(Service):
    """Watches for one agent, while keepalived runs.

    Args:
        reporter: knows whether keepalived runs.
        config_manager: has the active configuration.
    """

    def __init__(
        self, common: Common, *, reporter: Reporter, config_manager: ConfigManager
    ) -> None:
        super().__init__(common)
        self._is_on = common.options.watches
        self._path = common.options.config if self._is_on else None
        self._config_manager = config_manager
        self._reporter = reporter
        self._source = Debounce(every=common.policy.source_interval)
        self._node = Debounce(every=common.policy.node_interval)

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        if not self._is_on or self._reporter.phase is not AgentPhase.RUNNING:
            return None
        return earliest(None if self._path is None else self._source.deadline, self._node.deadline)

    def reading(self) -> None:
        """Variables and node are about to be read: what is there now is handled by that."""
        if self._path is not None:
            self._source = debounce.handled(self._source, sources.fingerprint(self._path))
        # Before anything is in force supervision itself looks, every second.
        if self._is_on and self._config_manager.active is not None:
            self._node = debounce.handled(self._node, self._look())

    def tick(self, now: float) -> None:
        """Look at what is due."""
        if not self._is_on or self._reporter.phase is not AgentPhase.RUNNING:
            return
        if self._path is not None and now >= self._source.deadline:
            look = sources.fingerprint(self._path)
            self._source, is_due = debounce.step(self._source, look, now)
            if is_due:
                self._log.info("source.changed", source=self._path)
                self._dispatch(Occurrence.RELOAD_REQUESTED)
        if now >= self._node.deadline:
            self._look_at_node(now)

    def _look_at_node(self, now: float) -> None:
        look = self._look()
        is_first = self._node.handled is None
        self._node, is_due = debounce.step(self._node, look, now)
        if not (is_due or is_first) or not self._config_manager.host_changed():
            return
        if is_first:  # since the configuration was made; to be seen twice, as ever
            self._node = replace(self._node, handled="", pending=look)
            return
        active = self._config_manager.active
        self._log.info("node.changed", interface=active and active.config.interface)
        self._dispatch(Occurrence.RELOAD_REQUESTED)

    def _look(self) -> str:
        try:
            return self._config_manager.look_at_node()
        except AgentError as error:
            return str(error)
