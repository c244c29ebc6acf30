"""What is remembered until keepalived tells of a transition."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.keepalived.instance_states import InstanceState
from ipfailover_agent.model import Family, VrrpState
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status.transition import NewestAdvert, Withholding
from ipfailover_agent.status.transition import TransitionCause as Cause
from ipfailover_agent.status.transition import TransitionKind as Kind
from ipfailover_agent.status.transition_causes import Sources, TransitionCauses
from tests.unit.test_instance_states import instance

LOOPBACK = replace(instance(1), interface="lo")  # up wherever tests run
MISSING = replace(instance(1), interface="nosuch0")
BACKUP, MASTER, FAULT = VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT
NOW = 1000.0
LOCAL = ip_address("127.0.0.1")
LEFT = NewestAdvert(source="10.0.0.12", priority=0, at=NOW - 0.1)
FAILED = b"VRRP_Script(chk) failed (exited with status 3)"


@pytest.fixture
def known(tmp_path: Path) -> TransitionCauses:
    sources = Sources(is_wire_watched=lambda: True)
    made = TransitionCauses(RunPaths(directory=str(tmp_path), config=""), sources)
    made.started()
    return made


def why(
    known: TransitionCauses, previous: VrrpState, state: VrrpState, served: object = LOOPBACK
) -> tuple[str, str]:
    entry = InstanceState(instance=served, state=previous)  # type: ignore[arg-type] # an instance
    cause = known.explain(entry, state, NOW, 1.0)
    return cause.kind.value, cause.text


def test_a_check_says_why_itself_or_keepalived_says_how_it_ended(
    known: TransitionCauses, tmp_path: Path
) -> None:
    """Its file, where it wrote one; it is over when the check passes."""
    known.line(FAILED, NOW)
    assert ("check failed", "check failed: exited with status 3") == why(known, MASTER, FAULT)
    (tmp_path / "check.reason").write_text("cannot reach port 80\n", encoding="utf-8")
    assert ("check failed", "check failed: cannot reach port 80") == why(known, MASTER, FAULT)
    known.line(b"VRRP_Script(chk) succeeded", NOW)
    assert known.check_failure() is None
    assert "check passed" == why(known, FAULT, BACKUP)[0]


def test_what_a_check_writes_is_told_in_one_bounded_line(
    known: TransitionCauses, tmp_path: Path
) -> None:
    """It is in the log with every instance, and on terminals."""
    known.line(FAILED, NOW)
    said = b"\x1b[2J\xff first\nsecond " + b"x" * 5000
    (tmp_path / "check.reason").write_bytes(said)
    told = why(known, MASTER, FAULT)[1]
    assert told.startswith("check failed: \\x1b[2J\\xff first; second xxx")
    assert told.endswith("x...")
    assert 300 == len(told.removeprefix("check failed: "))
    known.judged("port 80: refused\n" * 50)
    (tmp_path / "check.reason").unlink()
    assert 300 == len(known.check_failure() or "")


def test_a_check_that_the_agent_makes_explains_a_transition_too(known: TransitionCauses) -> None:
    """The same words, another messenger."""
    known.judged("port 80: refused")
    assert ("check failed", "check failed: port 80: refused") == why(known, MASTER, FAULT)
    known.judged(None)
    assert known.check is not None
    assert known.check.failure is None
    assert known.check_failure() is None


def test_the_interface_is_looked_at_where_keepalived_said_nothing_of_it(
    known: TransitionCauses,
) -> None:
    """And believed where it did, just now: a link may be back already."""
    assert ("interface down", "interface nosuch0 is gone") == why(
        known, MASTER, FAULT, served=MISSING
    )
    known.line(b"Netlink reports lo down", NOW - 0.1)
    assert ("interface down", "interface lo is down") == why(known, MASTER, FAULT)
    known.line(b"Netlink reports lo up", NOW - 0.05)
    assert "unknown" == why(known, MASTER, FAULT)[0]


@pytest.mark.parametrize(
    ("more", "gone"),
    [
        ({}, "the IPv4 address of lo"),
        ({"family": Family.IPV6}, "interface lo has no link-local address"),
        ({"multicast_source": LOCAL}, ""),
        ({"unicast_source": LOCAL}, "the IPv4 address of lo"),
        ({"unicast_source": LOCAL, "unicast_peers": (ip_address("127.0.0.2"),)}, ""),
    ],
    ids=["IPv4", "IPv6", "told by multicast", "told and not used", "told by unicast"],
)
def test_an_address_that_was_gone_for_a_moment_is_what_is_left(
    known: TransitionCauses, more: dict[str, Any], gone: str
) -> None:
    """keepalived says nothing of it, and needs one where it was not told which to send from."""
    kind, text = why(known, MASTER, FAULT, served=replace(LOOPBACK, **more))
    assert ("interface down" if gone else "unknown") == kind
    assert text.startswith(gone)


def test_what_keeps_an_instance_back_is_asked_for(known: TransitionCauses) -> None:
    """And when it is over, that is the cause of what follows."""
    held = (Withholding(reason="contest", text="other password"),)
    known.sources = Sources(withholdings=lambda _: held)
    assert ("held", "held: other password") == why(known, MASTER, FAULT)
    assert "released" == why(known, FAULT, BACKUP)[0]


def test_what_was_heard_of_a_former_keepalived_explains_nothing(known: TransitionCauses) -> None:
    """Each start is a new story; the reason of the end is told with it."""
    known.advert("vip_1", LEFT)
    assert "handover" == why(known, BACKUP, MASTER)[0]
    known.ends(Cause(kind=Kind.ENDED, text="keepalived hung"))
    known.ends(Cause(kind=Kind.ENDED, text="keepalived ended (killed)"))
    assert ("keepalived ended", "keepalived hung") == why(known, MASTER, VrrpState.STOP)
    known.started()
    assert ("restarted", "keepalived restarted: it hung") == why(known, VrrpState.STOP, BACKUP)
    assert "silence" == why(known, BACKUP, MASTER)[0]


def test_how_the_vrrp_child_died_is_kept_until_the_next_start(known: TransitionCauses) -> None:
    """The line before says it, where it is about the same process."""
    died = b"VRRP child process(9) died: Exiting"
    known.line(b"pid 8 exited due to signal 6 (Aborted)", NOW)
    assert "" == known.child_death
    known.line(died, NOW)
    assert "its VRRP process died" == known.child_death
    known.line(b"pid 9 exited due to signal 9 (Killed) - has rlimit_rttime", NOW)
    known.line(died, NOW)
    assert "its VRRP process died (signal 9)" == known.child_death
    known.started()
    assert "" == known.child_death
    known.line(died, NOW)
    assert "its VRRP process died" == known.child_death


def test_instances_that_are_gone_are_forgotten(known: TransitionCauses) -> None:
    """A reload may bring another one of that name."""
    known.advert("vip_1", LEFT)
    known.keep({"vip_2"})
    assert "silence" == why(known, BACKUP, MASTER)[0]
