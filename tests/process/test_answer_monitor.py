"""Questions for addresses that others hold, between two real kernels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
import structlog
from msgspec.structs import replace
from structlog.testing import LogCapture

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.settings import parse
from ipfailover_agent.conflict.advert_listener import AdvertListener
from ipfailover_agent.conflict.answer_monitor import AnswerMonitor
from ipfailover_agent.conflict.answering import AnsweringPolicy
from ipfailover_agent.conflict.contexts import ContestContext
from ipfailover_agent.conflict.state import Contest, Rival
from ipfailover_agent.linux.loop import Loop
from ipfailover_agent.model import VrrpState
from ipfailover_agent.vrrp.packets import NeighbourReply
from tests.support.adverts import heard_advert
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.vectors import host_facts
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

VIRTUAL = IPv4Address("10.9.0.50")
OWN, THEIRS = IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2")
FACTS = host_facts({"near0": ["10.9.0.1/24"]}, ["default via 10.9.0.254 dev near0"])
SECURITY = f"""
table arp port {{
  chain out {{
    type filter hook output priority 0
    arp saddr ip {VIRTUAL} drop
  }}
}}
"""


class FastAnswers(AnswerMonitor):
    """Several questions a second."""

    policy = AnsweringPolicy(
        interval=0.2, settle=0.0, timeout=0.1, tick=0.02, report_interval=0.02
    )


class Backup:
    """A node that hears ``far`` as master, as its contest would tell."""

    def __init__(self, near: NetworkNamespace, far: NetworkNamespace, loop: Loop) -> None:
        self.near, self.far = near, far
        self.capture: LogCapture = structlog.testing.LogCapture()
        log = structlog.wrap_logger(None, processors=[self.capture])
        settings = parse(
            {"OPENSHIFT_HA_VIRTUAL_IPS": str(VIRTUAL), "OPENSHIFT_HA_NETWORK_INTERFACE": "near0"}
        )
        config = plan(settings, FACTS)
        self.listener = AdvertListener(log, loop)
        self.listener.configure(config, is_wanted=True)
        self.answers = FastAnswers(log, self.listener)
        self.answers.configure(config, FACTS, time.monotonic())
        (instance,) = config.instances
        self.name = instance.name
        words = far.ip("-oneline", "link", "show", "far0").split()
        self.mac = bytes.fromhex(words[words.index("link/ether") + 1].replace(":", ""))
        self.router_id = instance.virtual_router_id

    def contest(self) -> Contest:
        """Return what the wire would have told by now."""
        now = time.monotonic()
        advert = heard_advert(THEIRS, VIRTUAL, mac=self.mac, virtual_router_id=self.router_id)
        context = ContestContext(
            addresses=(VIRTUAL,),
            virtual_router_id=self.router_id,
            priority=100,
            source=OWN,
            mac=b"\2\0\0\0\0\1",
        )
        rival = Rival(
            mac=self.mac, router_id=self.router_id, first_seen=0.0, advert=advert, advert_at=now
        )
        return Contest(context=context, state=VrrpState.BACKUP, rivals=(rival,))

    def turn(self) -> None:
        """Do what the loop does, once."""
        now = time.monotonic()
        self.listener.resume(now)
        for seen in self.listener.receive(now):
            if isinstance(seen.packet, NeighbourReply):
                self.answers.on_answer(seen.packet.address, seen.packet.mac, is_unasked=False)
        if self.answers.deadline is not None and now >= self.answers.deadline:
            self.answers.tick(now, {self.name: self.contest()})

    def told(self) -> list[dict[str, Any]]:
        """Return what was logged."""
        return [dict(each) for each in self.capture.entries]

    def wait_for(self, event: str) -> dict[str, Any]:
        """Turn until that was logged; return it."""

        def found() -> list[dict[str, Any]]:
            self.turn()
            return [each for each in self.told() if each["event"] == event]

        wait_until(found, 10, lambda: f"no {event}: {self.told()}")
        return found()[0]

    def turn_for(self, seconds: float) -> None:
        """Let time pass."""
        until = time.monotonic() + seconds

        def is_over() -> bool:
            self.turn()
            return time.monotonic() >= until

        wait_until(is_over, seconds + 5, "time does not pass")

    def unanswered(self) -> tuple[str, ...]:
        """Return what the status shows."""
        found = self.answers.unanswered({self.name: self.contest()})
        return tuple(each.address for each in found.get(self.name, ()))


@pytest.fixture
def backup() -> Iterator[Backup]:
    """Give a BACKUP whose master has the address."""
    with fresh_namespace() as near, fresh_namespace() as far:
        near.join("near0", "far0", far)
        near.ip("address", "add", f"{OWN}/24", "dev", "near0")
        far.ip("address", "add", f"{THEIRS}/24", "dev", "far0")
        far.ip("address", "add", f"{VIRTUAL}/32", "dev", "far0")
        with near.entered(), Loop(()) as loop:
            made = Backup(near, far, loop)
            yield made
            made.listener.close()


def test_a_master_that_answers_is_never_told_of(backup: Backup) -> None:
    """A dozen questions, and not a word."""
    backup.turn_for(3)
    assert [] == backup.told()


def test_what_a_port_drops_is_told_until_it_passes(backup: Backup) -> None:
    """The address is named, and in the status while this node is BACKUP."""
    backup.far.run("nft", "-f", "-", stdin=SECURITY)
    told = backup.wait_for("address.unanswered")
    assert ([str(VIRTUAL)], str(THEIRS)) == (told["addresses"], told["holder"])
    assert f"though {THEIRS} itself answers" in told["cause"]
    assert (str(VIRTUAL),) == backup.unanswered()
    master = replace(backup.contest(), state=VrrpState.MASTER)
    assert {} == backup.answers.unanswered({backup.name: master})
    backup.far.run("nft", "delete table arp port")
    backup.wait_for("address.answered")
    assert () == backup.unanswered()


def test_a_node_that_answers_nothing_is_another_matter(backup: Backup) -> None:
    """ARP does not work: nothing is said of the address."""
    backup.far.ip("link", "set", "far0", "arp", "off")
    told = backup.wait_for("holder.unanswered")
    assert str(THEIRS) == told["holder"]
    assert () == backup.unanswered()
    backup.far.ip("link", "set", "far0", "arp", "on")
    assert [str(THEIRS)] == backup.wait_for("address.answered")["addresses"]


def test_an_answer_of_this_host_itself_is_none(backup: Backup) -> None:
    """Another interface of it may have the address, and answer on the same segment."""
    backup.far.run("nft", "-f", "-", stdin=SECURITY)
    backup.wait_for("address.unanswered")
    (own,) = backup.listener.macs - {bytes(6)}
    backup.answers.on_answer(VIRTUAL, own, is_unasked=False)
    assert (str(VIRTUAL),) == backup.unanswered()


def test_who_could_not_be_asked_is_not_said_to_be_silent(backup: Backup) -> None:
    """The link is down: the questions cannot leave."""
    backup.far.ip("link", "del", "far0")
    backup.turn_for(2)
    assert [] == backup.told()


def test_nobody_asks_from_an_address_that_has_moved_away(backup: Backup) -> None:
    """The master would send its traffic here, whoever has it by now; and back, it asks again."""

    def knows_us() -> bool:
        backup.turn()
        return "lladdr" in backup.far.ip("neighbour", "show", str(OWN), "dev", "far0")

    wait_until(knows_us, 5, "no question came")
    backup.near.run("sysctl", "-qw", "net.ipv4.ip_nonlocal_bind=1")
    backup.near.ip("address", "del", f"{OWN}/24", "dev", "near0")
    backup.far.ip("neighbour", "flush", "dev", "far0")
    backup.turn_for(1)
    assert not knows_us()
    assert [] == backup.told()
    backup.near.ip("address", "add", f"{OWN}/24", "dev", "near0")
    wait_until(knows_us, 5, "no question came")


def test_without_a_socket_nobody_is_asked(backup: Backup) -> None:
    """With OPENSHIFT_HA_CONFLICT=off there is none."""
    backup.listener.close()
    assert backup.answers.deadline is None
