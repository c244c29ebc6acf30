"""Measures what listening on the wire costs: ``python -m tests.bench.wire``, as root.

Nothing is judged. Figures: reading frames, a process that waits while unrelated packets flood the
interface, one that reads 254 instances' adverts, and what every sent packet pays for our socket.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import select
import socket
import statistics
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

from ipfailover_agent.vrrp.bpf import kernel_filter
from ipfailover_agent.vrrp.packet_socket import PacketSocket
from ipfailover_agent.vrrp.packets import gratuitous_arp, parse_frame
from tests.support import frames
from tests.support.netns import NetworkNamespace, fresh_namespace

_HOST = IPv4Address("10.9.0.1")
_GROUP = IPv4Address("224.0.0.18")
_OURS = frozenset(_HOST + 50 + number for number in range(254))
_CLOSED_PORT = 9


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.wire", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    seconds = parser.parse_args().seconds
    print(f"# {os.uname().release}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs")
    _parsing()
    with _segment() as (near, far):
        _waiting(near, far, seconds)
        _reading(near, far, seconds)
        _sending(near, seconds)


def _parsing() -> None:
    print("\n## reading one frame (microseconds)")
    for count in (1, 255):
        frame = _advert(51, count)
        distinct = [frame[:10] + number.to_bytes(2, "big") + frame[12:] for number in range(2000)]
        first = timeit.timeit(functools.partial(_parse_all, distinct), number=1)
        again = timeit.timeit(functools.partial(_parse_all, [frame] * 2000), number=1)
        print(f"advert of {count:3} addresses: new {first * 500:6.1f}, known {again * 500:6.1f}")
    announcement = [gratuitous_arp(frames.THEIR_MAC, _HOST)] * 2000
    seconds = timeit.timeit(functools.partial(_parse_all, announcement), number=1)
    print(f"announcement: {seconds * 500:.1f}")
    print(f"filter of 254 addresses: {len(kernel_filter(_OURS))} instructions")


def _waiting(near: NetworkNamespace, far: NetworkNamespace, seconds: float) -> None:
    for rate in (10_000, 100_000):
        with near.entered(), PacketSocket("near0", kernel_filter(_OURS)) as wire:
            sender = _background(far, functools.partial(_flood, rate, seconds))
            before = _received()
            share, wakeups = _share(wire, seconds)
            packets = (_received() - before) / seconds
            os.waitpid(sender, 0)
        print(f"\n## {packets:.0f} unrelated packets a second")
        print(f"waiting process: {100 * share:.3f} % of a core, woken {wakeups} times")


def _reading(near: NetworkNamespace, far: NetworkNamespace, seconds: float) -> None:
    print("\n## adverts of 254 instances at 1 s, spread over the second and all at once")
    for is_burst in (False, True):
        for pause in (0.0, 0.05):
            with near.entered(), PacketSocket("near0", kernel_filter(_OURS)) as wire:
                work = functools.partial(_advertise, seconds, is_burst=is_burst)
                sender = _background(far, work)
                share, wakeups = _share(wire, seconds, pause)
                os.waitpid(sender, 0)
            sent, read = ("at once" if is_burst else "spread"), ("paced" if pause else "at once")
            print(f"sent {sent:8} read {read:8} {100 * share:.3f} % of a core, ", end="")
            print(f"woken {wakeups / seconds:.0f} times a second")


def _sending(near: NetworkNamespace, seconds: float) -> None:
    print("\n## one process of this host that sends UDP as fast as it can (packets a second)")
    rates: dict[str, list[float]] = {"without our socket": [], "with it": []}
    with near.entered():
        for _ in range(7):
            rates["without our socket"].append(_send_for(seconds / 10))
            with PacketSocket("near0", kernel_filter(_OURS)):
                rates["with it"].append(_send_for(seconds / 10))
    for what, found in rates.items():
        print(f"{what:18} median {statistics.median(found):8.0f}  best {max(found):8.0f}")


# --- worlds and traffic -------------------------------------------------------------------------


@contextlib.contextmanager
def _segment() -> Iterator[tuple[NetworkNamespace, NetworkNamespace]]:
    with fresh_namespace() as near, fresh_namespace() as far:
        near.ip("link", "add", "near0", "type", "veth", "peer", "far0", "netns", far.name)
        for namespace, interface, host in ((near, "near0", _HOST), (far, "far0", _HOST + 1)):
            namespace.ip("link", "set", interface, "up")
            namespace.ip("address", "add", f"{host}/24", "dev", interface)
        yield near, far


def _background(namespace: NetworkNamespace, work: Callable[[], None]) -> int:
    """Run the work in a process of its own inside; return its id."""
    child = os.fork()
    if child == 0:
        with namespace.entered():
            work()
        os._exit(0)
    return child


def _flood(rate: int, seconds: float) -> None:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    begun, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - begun) < seconds:
        while sent < elapsed * rate:
            sender.sendto(bytes(100), (str(_HOST), _CLOSED_PORT))
            sent += 1
        time.sleep(0.001)


def _advertise(seconds: float, *, is_burst: bool) -> None:
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.bind(("far0", 0))
    adverts = [_advert(number, 1) for number in range(1, 255)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for each in adverts:
            sender.send(each)
            if not is_burst:
                time.sleep(1 / len(adverts))
        if is_burst:
            time.sleep(1)


def _send_for(seconds: float) -> float:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    target = (str(_HOST + 1), _CLOSED_PORT)
    begun, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - begun) < seconds:
        for _ in range(100):
            sender.sendto(bytes(100), target)
        sent += 100
    return sent / elapsed


def _advert(router_id: int, count: int) -> bytes:
    here, vip = _HOST + 1, _HOST + 50
    message = frames.vrrp(here, _GROUP, [vip] * count, router_id=router_id)
    whole = frames.ipv4(message, here, _GROUP)
    return frames.ethernet(whole, frames.IPV4, destination=frames.VRRP_GROUP)


def _parse_all(several: list[bytes]) -> None:
    for each in several:
        parse_frame(each)


def _share(wire: PacketSocket, seconds: float, pause: float = 0.0) -> tuple[float, int]:
    """Return which share of a core this thread uses for waiting and reading, and its wake-ups.

    ``pause`` seconds pass between two readings.
    """
    begun, used, wakeups = time.monotonic(), time.thread_time(), 0
    while (left := begun + seconds - time.monotonic()) > 0:
        if select.select([wire], [], [], left)[0]:
            wakeups += 1
            wire.receive(1000)
            time.sleep(pause)
    return (time.thread_time() - used) / (time.monotonic() - begun), wakeups


def _received() -> int:
    """Return how many packets ``near0`` has received so far."""
    lines = Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines()
    (figures,) = (line.partition(":")[2] for line in lines if line.strip().startswith("near0:"))
    return int(figures.split()[1])


if __name__ == "__main__":
    main()
