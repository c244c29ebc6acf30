"""The services together: their order, and what each gets when a configuration comes into force."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.prepare import Candidate, Options
from ipfailover_agent.deadlines import earliest
from ipfailover_agent.keepalived.lifecycle import SupervisionPolicy
from ipfailover_agent.linux.loop import Loop
from ipfailover_agent.linux.output import LineSink
from ipfailover_agent.model import HostFacts, Settings
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.service import Runtime, Service
from ipfailover_agent.status.history import History
from ipfailover_agent.status.status_model import NOTHING, LeaseStatus, StatusPart, together
from ipfailover_agent.status.transition import Withholding
from ipfailover_agent.supervisor import link_watch
from ipfailover_agent.supervisor.link_state import LinkFacts
from ipfailover_agent.supervisor.service import Supervisor
from ipfailover_agent.supervisor.services import Services
from tests.support.vectors import host_facts

LATER = host_facts({"eth0": ["10.0.0.11/24", "fe80::11/64"]})


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Give the services of an agent that has not begun."""
    paths = RunPaths(directory=str(tmp_path), config=str(tmp_path / "keepalived.conf"))
    runtime = Runtime(
        environment={},
        options=Options(),
        paths=paths,
        policy=SupervisionPolicy(),
        log=structlog.get_logger(),
        history=History(paths.events),
        output=LineSink(1),
        errors=LineSink(2),
        wrap=bytes,
        loop=Loop(()),
    )
    made = Supervisor(runtime).services
    yield made
    for each in made:
        each.close()


def serving(services: Services, facts: HostFacts) -> None:
    """Put a configuration of one address in force, planned on a node."""
    anything: Any = None
    settings = Settings(
        virtual_addresses=(ip_address("10.0.0.50"),), interfaces=("eth0",), check_watch=0
    )
    services.config_manager.active = Candidate(
        settings=settings,
        facts=facts,
        config=plan(settings, facts),
        paths=anything,
        rendering=anything,
    )
    services.configure()


def test_no_service_gets_back_the_node_of_the_start(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload that is taken back brings the configuration again that an old look is part of."""
    seen: list[HostFacts] = []
    monkeypatch.setattr(services.contests, "configure", lambda each, _: seen.append(each.facts))
    (interface,) = LATER.interfaces
    early = tuple(each for each in interface.addresses if each.address.version == 4)
    facts = replace(LATER, interfaces=(replace(interface, addresses=early),))
    now = LinkFacts(index=interface.index, is_running=True, held=interface.addresses)
    monkeypatch.setattr(link_watch, "look", lambda *_: now)
    for _ in range(2):
        serving(services, facts)
    assert [early, interface.addresses] == [each.interfaces[0].addresses for each in seen]


def test_every_service_is_called_once_and_leases_first(services: Services) -> None:
    """No other work may delay a renewal; the loop's events have one receiver each."""
    kinds = [type(each) for each in services]
    assert sorted(map(str, Service.__subclasses__())) == sorted(map(str, kinds))
    assert "Leases" == kinds[0].__name__
    sources = [each.source for each in services if each.source]
    assert len(sources) == len(set(sources))
    for each in services:
        assert services.of(each.source) is each or not each.source
        assert services.of(f"{each.source} 7") is each or not each.source


def test_an_event_of_what_is_closed_is_for_no_service(services: Services) -> None:
    """What is late comes in the batch in which its descriptor was let go of."""
    late = services.of("notify")
    late.on_line("notify", b"the last line")
    late.stream_closed("notify")
    assert late not in [*services]


def test_states_are_passed_on_once(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """They never change in place, and most rounds bring no others."""
    seen: list[object] = []
    monkeypatch.setattr(
        services.drains, "on_instance_states", lambda states, _: seen.append(states)
    )
    for now in (1.0, 2.0):
        services.pass_on_states(now)
    assert [services.reporter.instance_states] == seen


def test_what_holds_an_instance_back_is_asked_of_all(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an order that does not change: the first that is no drain is the cause."""
    assert () == services.withholdings("vip")
    for service, reason in ((services.link_watch, "source"), (services.contests, "contest")):
        found = Withholding(reason=reason, text=reason)
        monkeypatch.setattr(service, "withholding", lambda _, found=found: found)
    assert ["contest", "source"] == [each.reason for each in services.withholdings("vip")]


def test_parts_of_the_status_are_put_together() -> None:
    """Each field from the service that knows it; of tuples all."""
    lease = LeaseStatus(seconds=5)
    found = together(
        (
            StatusPart(lease=lease, troubles=("a",), present=frozenset()),
            NOTHING,
            StatusPart(troubles=("b",), can_ask=False),
        )
    )
    wanted = StatusPart(lease=lease, troubles=("a", "b"), present=frozenset(), can_ask=False)
    assert wanted == found


def test_the_earliest_deadline_is_that_of_those_there_are() -> None:
    """None is never."""
    assert 1.0 == earliest(None, 2.0, 1.0)
    assert earliest() is None
    assert earliest(None) is None
