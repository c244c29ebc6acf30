"""What commands read of a node beside its kernel: peers by name, and what an agent uses.

Every name is resolved once, with a deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.config import memory
from ipfailover_agent.linux import host
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status.running import find_agent, wrote

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Options
    from ipfailover_agent.model import HostFacts, IPAddress, Settings
    from ipfailover_agent.peers.peers import LookupResult

_DEADLINE = 5.0  # seconds for all names together


class Found:
    """Adds peers to facts as a running agent would start with them, and keeps what was found.

    ``answers`` hold each question's answer, one that is not believed as a failure; ``warnings``
    are sentences about what an operator should know.
    """

    def __init__(self, options: Options, deadline: float = _DEADLINE) -> None:
        self._options = options
        self._deadline = deadline
        self.answers: tuple[LookupResult, ...] = ()
        self.warnings: tuple[str, ...] = ()

    def __call__(self, settings: Settings, facts: HostFacts) -> HostFacts:
        """Return the facts with the peers, or with why there are none; see :func:`used_addresses`.

        Where an agent runs, the plan is to be the one that it would make.
        """
        facts = replace(facts, used_addresses=used_addresses(self._options.run_directory))
        if not settings.unicast_peer_names:
            return facts
        from ipfailover_agent.peers import peers, peers_record, resolving  # noqa: PLC0415 - seldom needed

        asked = resolving.resolve_once(peers.questions(settings), self._deadline)
        path = RunPaths(directory=self._options.run_directory, config="").peers
        stored = peers_record.read_recorded_peers(path, peers.questions(settings))
        known = [each for result in (*asked, *stored) for each in result.addresses]
        local = facts.local_addresses | host.local_addresses(known)
        facts = replace(facts, local_addresses=local)
        wanted = peers.want(settings, facts)
        policy = peers.PeersPolicy()
        found = (peers.judged(each, wanted, policy) for each in asked)
        self.answers = tuple(sorted(found, key=lambda each: each.question))
        used, lines = peers.first_set(wanted, self.answers, stored)
        self.warnings = lines
        failures = "; ".join(str(each) for each in self.answers if each.failure)
        return replace(facts, resolved_peers=used, peers_awaited=failures)


def used_addresses(run_directory: str) -> tuple[IPAddress, ...]:
    """Return the node's own addresses that a running agent uses; none without one."""
    pid = find_agent(run_directory, must_run=False)
    path = RunPaths(directory=run_directory, config="").active
    record = memory.read_active(path) if pid else None
    if record is None or not wrote(record, pid):
        return ()
    return record.config.node_addresses
