"""What keepalived speaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.errors import ExitCode
from ipfailover_agent.keepalived import protocol
from ipfailover_agent.model import VrrpState, VrrpTransition
from ipfailover_agent.paths import RunPaths

PATHS = RunPaths(directory="/run/x", config="/etc/k.conf")


def test_the_command_line_binds_keepalived_to_our_life() -> None:
    """setpriv first; the user's options before ours, since keepalived takes the last."""
    command = protocol.command("/sbin/keepalived", "/bin/setpriv", PATHS, ("--log-detail", "-G"))
    assert ("/bin/setpriv", "--pdeathsig", "TERM", "--", "/sbin/keepalived") == command[:5]
    assert ("--log-detail", "-G", "--dont-fork", "--dont-respawn") == command[5:9]
    assert ("--log-console", "--vrrp", "--use-file", "/etc/k.conf") == command[9:13]
    assert ("--pid", PATHS.keepalived_pid) == command[13:15]


def test_the_test_command_runs_nothing() -> None:
    """It names the candidate."""
    assert ("k", "--config-test", "--log-console", "--use-file", "f") == protocol.test_command(
        "k", "f"
    )


def test_the_test_reads_the_file_as_the_run_does() -> None:
    """With the same options, such as --config-id, before ours."""
    command = protocol.test_command("k", "f", ("--config-id", "a"))
    assert ("k", "--config-id", "a", "--config-test", "--log-console") == command[:5]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, None),
        (1, None),
        (2, ExitCode.CONFIG),
        (4, ExitCode.NO_PERMISSION),
        (5, None),
        (6, ExitCode.CONFIG),
        (255, None),
        (None, None),
    ],
)
def test_some_exit_codes_are_permanent(code: int | None, expected: ExitCode | None) -> None:
    """Starting again would not mend them."""
    assert expected is protocol.permanent_exit_code(code)


@pytest.mark.parametrize(
    ("code", "signal", "expected"),
    [
        (0, None, "stopped in an orderly way"),
        (4, None, "a permission is missing"),
        (77, None, "exit code 77"),
        (None, 9, "killed by signal 9"),
    ],
)
def test_how_keepalived_ended_is_said_in_words(
    code: int | None, signal: int | None, expected: str
) -> None:
    """Known codes by meaning, others by number."""
    assert expected == protocol.meaning_of(code, signal)


@pytest.mark.parametrize(
    ("line", "state"),
    [
        (b'INSTANCE "vip_1" MASTER 245', VrrpState.MASTER),
        (b'INSTANCE "vip_1" FAULT 245\n', VrrpState.FAULT),
        (b'INSTANCE "vip_1" DELETED 245', VrrpState.DELETED),
    ],
)
def test_an_instances_transition_is_read(line: bytes, state: VrrpState) -> None:
    """Name, state and priority."""
    expected = VrrpTransition(instance="vip_1", state=state, priority=245)
    assert expected == protocol.parse_transition(line)


@pytest.mark.parametrize(
    "line",
    [
        b'GROUP "g" MASTER 0',
        b'INSTANCE "vip_1" MASTER_RX_LOWER_PRI 245',
        b'INSTANCE "vip_1" MASTER_PRIORITY 245',
        b'INSTANCE "vip_1" NONSENSE 245',
        b'INSTANCE "vip_1" MAS',
        b'INSTANCE "\xff" MASTER 245',
        b'NSTANCE "vip_1" MASTER 245',
        b"",
    ],
)
def test_other_lines_of_the_fifo_are_nothing(line: bytes) -> None:
    """Groups, priorities, cut lines, bytes that are no text."""
    assert protocol.parse_transition(line) is None


@given(st.binary())
def test_no_bytes_on_the_fifo_raise(line: bytes) -> None:
    """Whatever arrives is a transition or nothing."""
    found = protocol.parse_transition(line)
    assert found is None or 0 <= found.priority <= 999


WHEN = b"Sun Nov 22 14:01:52 2026: "
STARTED, RELOADED, DUMPED, HEARD = SAYS = (
    protocol.says_started,
    protocol.says_reloaded,
    protocol.says_dumped,
    protocol.says_heard_itself,
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(WHEN + b"Startup complete", [STARTED], id="start"),
        pytest.param(WHEN + b"Reload complete", [RELOADED], id="reload"),
        pytest.param(b"Startup complete, or so it seems", [], id="not at the end"),
        pytest.param(
            WHEN + b"Printing VRRP as json for process(17) on signal", [DUMPED], id="dump"
        ),
        pytest.param(
            b"Printing VRRP as json for process(1) on signal", [DUMPED], id="dump without a time"
        ),
        pytest.param(
            WHEN + b"Can't open dump file /tmp/keepalived.json", [], id="no dump, for everybody"
        ),
        pytest.param(  # keepalived 2.2.7 says so each second where the only peer is the node
            WHEN + b"(V1) WARNING - equal priority advert received from remote host with our IP"
            b" address.",
            [HEARD],
            id="its own advert",
        ),
        pytest.param(WHEN + b"(V1) Entering MASTER STATE", [], id="anything else"),
    ],
)
def test_the_lines_that_matter_are_recognised(
    line: bytes, expected: list[Callable[[bytes], bool]]
) -> None:
    """At their end, since the beginning is a time; each by one function."""
    assert expected == [each for each in SAYS if each(line)]


@pytest.mark.parametrize(
    "said",
    [
        b"(V1) vrrp packet too short, length 56 and expect 64",
        b"(V1) received a 0 auth, expecting 1!",
        b"(V1) wrong version. Received 3 and expect 2",
        b"(V1) ip address associated with VRID 17 not present in MASTER advert: fd00::101",
        b"(V1) expected 1 VIPs but received 2",
        b"bogus VRRP packet received on eth0 !!!",
    ],
)
def test_a_refused_advert_is_told_without_its_time(said: bytes) -> None:
    """It comes with every advert: what is alike must be alike."""
    assert said.decode() == protocol.refusal(WHEN + said)


def test_other_lines_are_no_refusal() -> None:
    """They pass however often they come."""
    assert protocol.refusal(WHEN + b"(V1) Entering MASTER STATE") is None


def test_a_failed_test_is_told_in_words() -> None:
    """By an exit code, or by a signal."""
    assert "keepalived refuses the configuration: exit code 99" == protocol.failed_test(99, None)
    killed = "keepalived refuses the configuration: killed by signal 9"
    assert killed == protocol.failed_test(None, 9)
