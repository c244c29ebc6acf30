"""The mechanisms together: what each is told when a configuration comes into force."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import structlog
from msgspec.structs import replace

from ipfailover_agent.core.model import HostFacts, Settings
from ipfailover_agent.core.paths import RunPaths
from ipfailover_agent.core.planning.planner import plan
from ipfailover_agent.core.supervising.instance_states import InstanceStates
from ipfailover_agent.core.supervising.link_state import LinkFacts
from ipfailover_agent.prepare import Candidate
from ipfailover_agent.protection.guard import Guard
from ipfailover_agent.system import link_facts
from tests.support.vectors import host_facts

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LATER = host_facts({"eth0": ["10.0.0.11/24", "fe80::11/64"]})


def test_contests_never_get_back_the_node_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused reload brings the configuration again that an old look at the node is part of."""
    paths = RunPaths(directory=str(tmp_path), config=str(tmp_path / "keepalived.conf"))
    guard = Guard(
        log=structlog.get_logger(),
        paths=paths,
        environment={},
        kill=lambda: None,
        dispatch=lambda _: None,
        restart=lambda _: False,
    )
    seen: list[HostFacts] = []
    monkeypatch.setattr(guard.contests, "configure", lambda each, _: seen.append(each.facts))
    (interface,) = LATER.interfaces
    early = tuple(each for each in interface.addresses if each.address.version == 4)
    facts = replace(LATER, interfaces=(replace(interface, addresses=early),))
    address = ip_address("10.0.0.50")
    settings = Settings(virtual_addresses=(address,), interfaces=("eth0",), check_watch=0)
    anything: Any = None
    candidate = Candidate(
        settings=settings,
        facts=facts,
        config=plan(settings, facts),
        paths=paths,
        rendering=anything,
    )
    now = LinkFacts(index=interface.index, is_running=True, held=interface.addresses)
    monkeypatch.setattr(link_facts, "look", lambda *_: now)
    for _ in range(2):
        guard.activated(candidate, InstanceStates(), anything)
    guard.close()
    assert [early, interface.addresses] == [each.interfaces[0].addresses for each in seen]
