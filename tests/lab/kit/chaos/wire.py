"""Strangers on the segment: hosts that announce, routers that advertise, clocks that jump."""

from __future__ import annotations

import shutil
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from tests.lab.kit.node import Node
from tests.support import frames


def announcements(stranger: Node, addresses: list[str], mac: str) -> list[bytes]:
    """Give a stranger these addresses and that MAC; return the frames that announce them."""
    stranger.network.ip([f"link set dev eth0 address {mac}"])
    stranger.add(*addresses)
    raw = bytes.fromhex(mac.replace(":", ""))
    return [_announcement(text, raw) for text in addresses]


def _announcement(text: str, mac: bytes) -> bytes:
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        frame = frames.arp(1, address, address, mac=mac)
    else:
        message = frames.neighbour(address, options=struct.pack("!BB", 2, 1) + mac)
        frame = frames.icmpv6(address, IPv6Address("ff02::1"), message)
    return frame[:6] + mac + frame[12:]


# --- the clock -----------------------------------------------------------------------------------

#: Adds the seconds in a file to the clock of the wall: no namespace can do that.
_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long offset(void) {
    long value = 0;
    FILE *file = fopen(getenv("CLOCK_OFFSET"), "re");
    if (file) { if (fscanf(file, "%ld", &value) != 1) value = 0; fclose(file); }
    return value;
}
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) at->tv_sec += offset();
    return result;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


def has_compiler() -> bool:
    """Return whether a clock for one process alone can be made here."""
    return shutil.which("cc") is not None


def movable_clock(node: Node, directory: Path) -> str:
    """Return shell text that gives a container a clock; ``directory/offset`` moves it."""
    source, library = directory / "clock.c", directory / "clock.so"
    if not library.exists():
        source.write_text(_CLOCK)
        node.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"])
        (directory / "offset").write_text("0")
    return f"export LD_PRELOAD='{library}' CLOCK_OFFSET='{directory / 'offset'}'"
