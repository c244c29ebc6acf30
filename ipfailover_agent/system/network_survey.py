"""Listens on an interface for a few seconds, and asks which hosts have some addresses."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.errors import SystemRefusedError
from ipfailover_agent.core.model import family_of
from ipfailover_agent.core.network import neighbour, packets
from ipfailover_agent.system.packet_socket import usable_addresses

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.network.packets import Packet
    from ipfailover_agent.system.packet_socket import PacketSocket

_FRAMES: Final = 256  # read at once
_SNAP: Final = 256  # bytes of an answer that matter
_SLICE: Final = 0.05  # seconds between two looks at the own punctuality
_ASK_AGAIN: Final = 1.0
_PACE: Final = 0.002  # seconds between two questions: 254 of them take half a second
_AT_ONCE: Final = 5  # questions between two looks at whether the asker is there


def listen(
    wire: PacketSocket,
    askers: Collection[IPAddress],
    targets: Collection[IPAddress],
    seconds: float,
) -> tuple[tuple[Packet, ...], dict[IPAddress, set[bytes]], float]:
    """Return received packets, MACs by address, and how many seconds late a wake-up was at worst.

    Args:
        wire: receives adverts and announcements.
        askers: this node's own addresses, at most one of a family.
        targets: each is asked for twice, while the asker of its family is there.
        seconds: how long to listen.

    Raises:
        SystemRefusedError: the interface is gone.
    """
    found: list[Packet] = []
    answers: dict[IPAddress, set[bytes]] = {}
    late = 0.0
    begin = due = time.monotonic()
    with (
        _listening(wire.interface, packets.ETHERTYPE_ARP) as arp,
        _listening(wire.interface, packets.ETHERTYPE_IPV6) as neighbours,
    ):
        sources = [wire.fileno(), arp.fileno(), neighbours.fileno()]
        ask_at = [begin, begin + _ASK_AGAIN]
        while (now := time.monotonic()) < begin + seconds:
            late = max(late, now - due)
            if ask_at and now >= ask_at[0]:
                del ask_at[0]
                late = max(late, _ask(wire, askers, targets))
            due = time.monotonic() + _SLICE
            select.select(sources, [], [], _SLICE)
            found += [each.packet for each in wire.receive(_FRAMES) if not each.is_outgoing]
            for each in (arp, neighbours):
                _take(each, targets, answers)
    return tuple(found), answers, max(late, time.monotonic() - due)


def _ask(
    wire: PacketSocket, askers: Collection[IPAddress], targets: Collection[IPAddress]
) -> float:
    """Ask for each target, and return by how many seconds a pause between two was too long."""
    late = 0.0
    own = {family_of(each): each for each in askers}
    usable: frozenset[IPAddress] = frozenset()
    for number, target in enumerate(targets):
        if number % _AT_ONCE == 0:
            usable = usable_addresses(wire.index)
        asker = own.get(family_of(target))
        if asker is not None and asker in usable:
            wire.send(neighbour.question(wire.mac, asker, target))
        began = time.monotonic()
        time.sleep(_PACE)
        late = max(late, time.monotonic() - began - _PACE)
    return late


def _listening(interface: str, ethertype: int) -> socket.socket:
    try:
        # Without a protocol it receives nothing before it is bound, and is bound at once.
        found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
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
    targets: Collection[IPAddress],
    answers: dict[IPAddress, set[bytes]],
) -> None:
    for _ in range(_FRAMES):
        try:
            frame = source.recv(_SNAP)
        except BlockingIOError:
            return
        except OSError as error:
            raise SystemRefusedError(f"cannot listen: {error.strerror}") from error
        answer = neighbour.parse_answer(frame)
        if answer is not None and answer[0] in targets:
            answers.setdefault(answer[0], set()).add(answer[1])
