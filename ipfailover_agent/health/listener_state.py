"""What the kernel's answers about listeners mean: when a port is to be probed at once.

The kernel answers whether a SYN to a port would meet a listener (``linux.sock_diag``). A
listener that is there shows little: a process that hangs has one. A listener that is *gone* is
reason enough to ask the port at once, and the probe decides: a socket that was handed over, a
second one with SO_REUSEPORT, or systemd in the process's place are found by then, or answer.

ENOENT is also the answer of a kernel that cannot look (no tcp_diag, a sandbox). So a control, a
listener of the agent's own, has to be found, or no answer is believed.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfailover_agent.model import PortCheck

CONTROL_PERIOD: Final = 60.0
"""Seconds between two controls."""

_QUESTIONS_A_SECOND: Final = 1000
"""With more than a few listeners: one takes 4 us, so all take 0.4 % of a core."""


class ListenerState(Struct, frozen=True, kw_only=True):
    """What is known of the listeners.

    Attributes:
        refusal: why the kernel gives no answers; empty where it does.
        found: those that were there at the last look.
        suspects: ports that accepted a connection once though no listener was there.
        named: suspects that accepted again, since something other than a socket answers for
            them; reported once.
    """

    refusal: str = ""
    found: frozenset[PortCheck] = frozenset()
    suspects: frozenset[PortCheck] = frozenset()
    named: frozenset[PortCheck] = frozenset()


def pace(wanted: float, listeners: int) -> float:
    """Return the seconds between two looks: ``wanted``, or more with very many listeners.

    A look at a thousand listeners holds the loop up for 4 ms.
    """
    return max(wanted, listeners / _QUESTIONS_A_SECOND)


def controlled(state: ListenerState, failure: str) -> ListenerState:
    """Take the result of a control; ``failure`` is why it was not found, empty where it was."""
    if not failure:
        return replace(state, refusal="")
    return replace(state, refusal=failure, found=frozenset(), suspects=frozenset())


def looked(
    state: ListenerState, answers: Mapping[PortCheck, int]
) -> tuple[ListenerState, tuple[PortCheck, ...]]:
    """Take error numbers, 0 where a listener is; return those that are gone since the last look.

    What is neither found nor missing (a kernel that refuses the question) counts as not known.
    """
    found = frozenset(each for each, number in answers.items() if not number)
    gone = tuple(
        each for each, number in answers.items() if number == errno.ENOENT and each in state.found
    )
    return replace(state, found=found), gone


def accepted(
    state: ListenerState, ports: Iterable[PortCheck]
) -> tuple[ListenerState, tuple[PortCheck, ...]]:
    """Note ports that accept connections, and return those to be named: no listener is known.

    A service's port may be answered for by the kernel's own tables (a node port, IPVS) or by eBPF.
    Of those only the periodic check shows anything.
    """
    foreign = frozenset(ports) - state.found - state.named
    again = foreign & state.suspects
    state = replace(state, suspects=foreign - again, named=state.named | again)
    return state, tuple(sorted(again, key=lambda each: (each.port, str(each.address))))


def rested(state: ListenerState) -> ListenerState:
    """Return what is known after a pause in which nothing was looked at."""
    return replace(state, found=frozenset())


def in_words(gone: Iterable[PortCheck]) -> str:
    """Return what happened, for the log."""
    ports = [f"port {each.port}" for each in gone]
    if len(ports) == 1:
        return f"listener of {ports[0]} is gone"
    return f"listeners of {', '.join(ports)} are gone"
