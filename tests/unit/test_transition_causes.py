"""What is remembered until keepalived tells of a transition."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.keepalived.instance_states import InstanceState
from ipfailover_agent.model import Family, VrrpState
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status.transition import (
    NewestAdvert,
    TransitionCause,
    TransitionKind,
    Withholding,
)
from ipfailover_agent.status.transition_causes import Sources, TransitionCauses
from tests.unit.test_instance_states import instance

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = replace(instance(1), interface="lo")  # up wherever tests run
MISSING = replace(instance(1), interface="nosuch0")
BACKUP, MASTER, FAULT = VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT
NOW = 1000.0


@pytest.fixture
def transition_causes(tmp_path: Path) -> TransitionCauses:
    sources = Sources(is_wire_watched=lambda: True)
    made = TransitionCauses(RunPaths(directory=str(tmp_path), config=""), sources)
    made.started()
    return made


def why(
    transition_causes: TransitionCauses,
    previous: VrrpState,
    state: VrrpState,
    *,
    served: object = LOOPBACK,
) -> tuple[str, str]:
    entry = InstanceState(instance=served, state=previous)  # type: ignore[arg-type] # an instance
    cause = transition_causes.explain(entry, state, NOW, 1.0)
    return cause.kind.value, cause.text


def test_a_check_says_why_itself_or_keepalived_says_how_it_ended(
    transition_causes: TransitionCauses, tmp_path: Path
) -> None:
    """Its file, where it wrote one; it is over when the check passes."""
    transition_causes.line(b"VRRP_Script(chk) failed (exited with status 3)", NOW)
    assert ("check failed", "check failed: exited with status 3") == why(
        transition_causes, MASTER, FAULT
    )
    (tmp_path / "check.reason").write_text("cannot reach port 80\n", encoding="utf-8")
    assert ("check failed", "check failed: cannot reach port 80") == why(
        transition_causes, MASTER, FAULT
    )
    transition_causes.line(b"VRRP_Script(chk) succeeded", NOW)
    assert transition_causes.check_failure() is None
    assert "check passed" == why(transition_causes, FAULT, BACKUP)[0]


def test_what_a_check_writes_is_told_in_one_bounded_line(
    transition_causes: TransitionCauses, tmp_path: Path
) -> None:
    """It is in the log with every instance, and on terminals."""
    transition_causes.line(b"VRRP_Script(chk) failed (exited with status 3)", NOW)
    said = b"\x1b[2J\xff first\nsecond " + b"x" * 5000
    (tmp_path / "check.reason").write_bytes(said)
    told = why(transition_causes, MASTER, FAULT)[1]
    assert told.startswith("check failed: \\x1b[2J\\xff first; second xxx")
    assert told.endswith("x...")
    assert 300 == len(told.removeprefix("check failed: "))
    transition_causes.judged("port 80: refused\n" * 50)
    (tmp_path / "check.reason").unlink()
    assert 300 == len(transition_causes.check_failure() or "")


def test_a_check_that_the_agent_makes_explains_a_transition_too(
    transition_causes: TransitionCauses,
) -> None:
    """The same words, another messenger."""
    transition_causes.judged("port 80: refused")
    assert ("check failed", "check failed: port 80: refused") == why(
        transition_causes, MASTER, FAULT
    )
    transition_causes.judged(None)
    assert transition_causes.check is not None
    assert transition_causes.check.failure is None
    assert transition_causes.check_failure() is None


def test_the_interface_is_looked_at_where_keepalived_said_nothing_of_it(
    transition_causes: TransitionCauses,
) -> None:
    """And believed where it did, just now: a link may be back already."""
    assert ("interface down", "interface nosuch0 is gone") == why(
        transition_causes, MASTER, FAULT, served=MISSING
    )
    transition_causes.line(b"Netlink reports lo down", NOW - 0.1)
    assert ("interface down", "interface lo is down") == why(transition_causes, MASTER, FAULT)
    transition_causes.line(b"Netlink reports lo up", NOW - 0.05)
    assert "unknown" == why(transition_causes, MASTER, FAULT)[0]


@pytest.mark.parametrize(
    ("more", "gone"),
    [
        ({}, "the IPv4 address of lo"),
        ({"family": Family.IPV6}, "interface lo has no link-local address"),
        ({"multicast_source": ip_address("127.0.0.1")}, ""),
        ({"unicast_source": ip_address("127.0.0.1")}, "the IPv4 address of lo"),
        (
            {
                "unicast_source": ip_address("127.0.0.1"),
                "unicast_peers": (ip_address("127.0.0.2"),),
            },
            "",
        ),
    ],
    ids=["IPv4", "IPv6", "told by multicast", "told and not used", "told by unicast"],
)
def test_an_address_that_was_gone_for_a_moment_is_what_is_left(
    transition_causes: TransitionCauses, more: dict[str, Any], gone: str
) -> None:
    """keepalived says nothing of it, and needs one where it was not told which to send from."""
    kind, text = why(transition_causes, MASTER, FAULT, served=replace(LOOPBACK, **more))
    assert ("interface down" if gone else "unknown") == kind
    assert text.startswith(gone)


def test_what_keeps_an_instance_back_is_asked_for(transition_causes: TransitionCauses) -> None:
    """And when it is over, that is the cause of what follows."""
    held = (Withholding(reason="contest", text="other password"),)
    transition_causes.sources = Sources(withholdings=lambda _: held)
    assert ("held", "held: other password") == why(transition_causes, MASTER, FAULT)
    assert "released" == why(transition_causes, FAULT, BACKUP)[0]


def test_what_was_heard_of_a_former_keepalived_explains_nothing(
    transition_causes: TransitionCauses,
) -> None:
    """Each start is a new story; the reason of the end is told with it."""
    transition_causes.advert("vip_1", NewestAdvert(source="10.0.0.12", priority=0, at=NOW - 0.1))
    assert "handover" == why(transition_causes, BACKUP, MASTER)[0]
    transition_causes.ends(TransitionCause(kind=TransitionKind.ENDED, text="keepalived hung"))
    transition_causes.ends(
        TransitionCause(kind=TransitionKind.ENDED, text="keepalived ended (killed)")
    )
    assert ("keepalived ended", "keepalived hung") == why(
        transition_causes, MASTER, VrrpState.STOP
    )
    transition_causes.started()
    assert ("restarted", "keepalived restarted: it hung") == why(
        transition_causes, VrrpState.STOP, BACKUP
    )
    assert "silence" == why(transition_causes, BACKUP, MASTER)[0]


def test_how_the_vrrp_child_died_is_kept_until_the_next_start(
    transition_causes: TransitionCauses,
) -> None:
    """The line before says it, where it is about the same process."""
    died = b"VRRP child process(9) died: Exiting"
    transition_causes.line(b"pid 8 exited due to signal 6 (Aborted)", NOW)
    assert "" == transition_causes.child_death
    transition_causes.line(died, NOW)
    assert "its VRRP process died" == transition_causes.child_death
    transition_causes.line(b"pid 9 exited due to signal 9 (Killed) - has rlimit_rttime", NOW)
    transition_causes.line(died, NOW)
    assert "its VRRP process died (signal 9)" == transition_causes.child_death
    transition_causes.started()
    assert "" == transition_causes.child_death
    transition_causes.line(died, NOW)
    assert "its VRRP process died" == transition_causes.child_death


def test_instances_that_are_gone_are_forgotten(transition_causes: TransitionCauses) -> None:
    """A reload may bring another one of that name."""
    transition_causes.advert("vip_1", NewestAdvert(source="10.0.0.12", priority=0, at=NOW - 0.1))
    transition_causes.keep({"vip_2"})
    assert "silence" == why(transition_causes, BACKUP, MASTER)[0]
