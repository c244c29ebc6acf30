"""Listens on an interface for a few seconds, and asks who has some addresses."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.errors import SystemRefusedError
from ipfailover_agent.core.network import asking, packets

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.network.packets import Packet
    from ipfailover_agent.system.wire import WireSocket

_FRAMES: Final = 256  # read at once
_SNAP: Final = 256  # bytes of an answer that matter
_SLICE: Final = 0.05  # seconds between two looks at our own punctuality
_ASK_AGAIN: Final = 1.0
_PACE: Final = 0.002  # seconds between two questions: 254 of them take half a second


def listen(
    wire: WireSocket, questions: Mapping[IPAddress, bytes], seconds: float
) -> tuple[tuple[Packet, ...], dict[IPAddress, set[bytes]], float]:
    """Return received packets, MACs by address, and by how many seconds we woke late at worst.

    Args:
        wire: hears adverts and announcements.
        questions: a frame for each address; each is asked twice.
        seconds: how long to listen.

    Raises:
        SystemRefusedError: the interface is gone.
    """
    found: list[Packet] = []
    answers: dict[IPAddress, set[bytes]] = {}
    late = 0.0
    with (
        _listening(wire.interface, packets.ETHERTYPE_ARP) as arp,
        _listening(wire.interface, packets.ETHERTYPE_IPV6) as neighbours,
    ):
        sources = [wire.fileno(), arp.fileno(), neighbours.fileno()]
        begin = time.monotonic()
        ask_at = [begin, begin + _ASK_AGAIN]
        while (now := time.monotonic()) < begin + seconds:
            if ask_at and now >= ask_at[0]:
                del ask_at[0]
                _ask(wire, questions.values())
            began = time.monotonic()
            ready, _, _ = select.select(sources, [], [], _SLICE)
            if not ready:
                late = max(late, time.monotonic() - began - _SLICE)
            found += [each.packet for each in wire.receive(_FRAMES) if not each.is_outgoing]
            for each in (arp, neighbours):
                _take(each, questions, answers)
    return tuple(found), answers, late


def _ask(wire: WireSocket, frames: Collection[bytes]) -> None:
    for each in frames:
        wire.send(each)
        time.sleep(_PACE)


def _listening(interface: str, ethertype: int) -> socket.socket:
    try:
        found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
    except OSError as error:
        raise SystemRefusedError(f"cannot listen on {interface}: {error.strerror}") from error
    try:
        found.setblocking(False)  # noqa: FBT003 - the standard library's signature
        found.bind((interface, ethertype))
    except OSError as error:
        found.close()
        raise SystemRefusedError(f"cannot listen on {interface}: {error.strerror}") from error
    return found


def _take(
    source: socket.socket,
    questions: Collection[IPAddress],
    answers: dict[IPAddress, set[bytes]],
) -> None:
    for _ in range(_FRAMES):
        try:
            frame = source.recv(_SNAP)
        except BlockingIOError:
            return
        except OSError as error:
            raise SystemRefusedError(f"cannot listen: {error.strerror}") from error
        answer = asking.parse_answer(frame)
        if answer is not None and answer[0] in questions:
            answers.setdefault(answer[0], set()).add(answer[1])
