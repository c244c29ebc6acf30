"""keepalived's interface: its command line, exit codes, log lines and notify lines.

Measured with keepalived 2.2.7; sources: keepalived(8), keepalived.conf(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ipfailover_agent.errors import ExitCode
from ipfailover_agent.model import VrrpState, VrrpTransition
from ipfailover_agent.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfailover_agent.model import KeepalivedConfig
    from ipfailover_agent.paths import RunPaths

_TRANSITION = re.compile(rb'INSTANCE "([^"]*)" ([A-Z]+) (\d{1,3})')
_PERMANENT = {2: ExitCode.CONFIG, 6: ExitCode.CONFIG, 4: ExitCode.NO_PERMISSION}
_MEANINGS = {
    0: "stopped in an orderly way",
    1: "failed",
    2: "the configuration cannot be used",
    4: "a permission is missing",
    5: "the configuration has an error it could survive",
    6: "there is no configuration to run, or scripts are not secure",
}


def command(
    keepalived: str, setpriv: str, paths: RunPaths, options: Sequence[str]
) -> tuple[str, ...]:
    """Return the command line that runs keepalived in the foreground, and ends it with the agent.

    ``setpriv --pdeathsig`` asks the kernel to TERM keepalived when the agent dies, so that it
    never serves addresses unsupervised. ``--dont-respawn`` (since 1.2.8) ends keepalived with its
    VRRP child, so that a death of either is one kind of end: addresses are released, and the
    agent restarts both. The user's ``options`` come before the agent's, as they always did;
    the agent's win where keepalived takes the last.
    """
    own = (
        *("--dont-fork", "--dont-respawn", "--log-console", "--vrrp"),
        *("--use-file", paths.config),
    )
    pids = (
        *("--pid", paths.keepalived_pid),
        *("--vrrp_pid", paths.vrrp_pid),
        *("--checkers_pid", paths.checkers_pid),
    )
    return (setpriv, "--pdeathsig", "TERM", "--", keepalived, *options, *own, *pids)


def test_command(
    keepalived: str,
    path: str,
    options: Sequence[str] = (),  # noqa: PT028 - no test function
) -> tuple[str, ...]:
    """Return the command line that tests the file at ``path`` and exits.

    The user's ``options`` belong to it: some change how the file is read (``--config-id``).
    """
    return (keepalived, *options, "--config-test", "--log-console", "--use-file", path)


def permanent_exit_code(code: int | None) -> ExitCode | None:
    """Return the agent's exit code for a keepalived exit that a restart cannot mend, else None."""
    return None if code is None else _PERMANENT.get(code)


def meaning_of(exit_code: int | None, signal: int | None) -> str:
    """Return how keepalived ended, as text for people."""
    if exit_code is None:
        return f"killed by signal {signal}"
    return _MEANINGS.get(exit_code, f"exit code {exit_code}")


def failed_test(exit_code: int | None, signal: int | None) -> str:
    """Return how keepalived's test of a configuration failed, as text for people."""
    return f"keepalived refuses the configuration: {meaning_of(exit_code, signal)}"


def parse_transition(line: bytes) -> VrrpTransition | None:
    """Read one line of the notify FIFO; None where it is not an instance's transition.

    keepalived also writes lines for groups, priorities and MASTER_RX_LOWER_PRI there, and a full
    FIFO may cut a line: nothing that arrives raises.
    """
    match = _TRANSITION.fullmatch(line.strip())
    if match is None:
        return None
    name, state, priority = match.groups()
    try:
        return VrrpTransition(
            instance=name.decode(), state=VrrpState(state.decode()), priority=int(priority)
        )
    except ValueError:
        return None


def says_started(line: bytes) -> bool:
    """Return whether a log line reports that the VRRP child runs with its configuration."""
    return line.endswith(b"Startup complete")


def says_reloaded(line: bytes) -> bool:
    """Return whether a log line reports that a reload has ended."""
    return line.endswith(b"Reload complete")


def says_dumped(line: bytes) -> bool:
    """Return whether a log line only reports a request for a dump, as every few seconds."""
    return b"Printing VRRP as json for process(" in line


def says_heard_itself(line: bytes) -> bool:
    """Return whether a log line reports an instance's own advert, each second (2.2.7)."""
    return line.endswith(b"equal priority advert received from remote host with our IP address.")


_REFUSALS = re.compile(
    rb"vrrp packet too (?:short|long), length"
    rb"|invalid TTL/HL\. Received|TTL/HL \d+ not in range"
    rb"|wrong version\. Received|Invalid packet type\."
    rb"|received a \d+ auth, expecting|received an invalid passwd"
    rb"|[Rr]eceived AH header but|No AH header but"
    rb"|advertisement interval mismatch"
    rb"|received an unexpected ip number count|expected \d+ VIPs but received"
    rb"|ip address associated with VRID|ip_tot_len mismatch"
    rb"|[Ii]nvalid (?:VRRPv\d )?checksum|Expected \w+icast packet but received"
    rb"|unicast source address \S+ not a unicast peer"
    rb"|bogus VRRP packet received"
)


def refusal(line: bytes) -> str | None:
    """Return what a log line complains of where it refuses an advert, None for another line.

    keepalived writes it for each advert, which may be every second for as long as its sender
    lives (vrrp.c of 2.2.7 to 2.4.3). Equal complaints have equal texts: no time stamp is in them.
    """
    found = _REFUSALS.search(line)
    if found is None:
        return None
    instance = line.rfind(b"(", 0, found.start())
    begin = instance if instance >= 0 else found.start()
    return line[begin:].decode("utf-8", "replace").rstrip()


def summary(config: KeepalivedConfig) -> str:
    """Return what a configuration serves, and where, as text for people."""
    held = counted(len(config.addresses), "address")
    ids = [each.virtual_router_id for each in config.instances]
    return f"{held} on {config.interface}, id{'s' * (len(ids) > 1)} {_spans(ids)}"


def _spans(numbers: Sequence[int]) -> str:
    """Return numbers in order, runs of them shortened: ``11-13, 101``."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in spans)
