"""Fresh network namespaces for tests, entered by the calling thread."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence

from tests.support import missing

_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


class NetworkNamespace:
    """A network namespace with a loopback interface that is up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *argv: str, stdin: str | None = None) -> str:
        """Run a command inside and return what it printed."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def ip(self, *words: str) -> str:
        """Run iproute2 inside and return what it printed."""
        return self.run("ip", *words)

    def ip_batch(self, *lines: str, options: Sequence[str] = ()) -> None:
        """Run many ip(8) commands at once, all with the same options."""
        self.run("ip", *options, "-batch", "-", stdin="\n".join(lines) + "\n")

    def join(self, one: str, two: str, far: NetworkNamespace | None = None) -> None:
        """Add a pair of interfaces that are up: ``one`` here, ``two`` in ``far`` or here too."""
        other = far or self
        self.ip("link", "add", one, "type", "veth", "peer", two, "netns", other.name)
        self.ip("link", "set", one, "up")
        other.ip("link", "set", two, "up")

    def nft(self, text: str) -> None:
        """Have nft take what a text says."""
        self.run("nft", "-f", "-", stdin=text)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread, which must be the main one, live inside for a while."""
        with (
            open("/proc/self/ns/net", "rb") as outside,  # noqa: PTH123 - setns takes the descriptor
            open(f"/run/netns/{self.name}", "rb") as inside,  # noqa: PTH123 - likewise
        ):
            _set_namespace(inside.fileno())
            try:
                yield
            finally:
                _set_namespace(outside.fileno())


@contextlib.contextmanager
def fresh_namespace() -> Iterator[NetworkNamespace]:
    """Make a namespace and remove it; skips where that is not allowed.

    REQUIRE_NETNS=1 in the environment turns the skip into a failure.
    """
    name = f"sys-{os.getpid()}-{next(_numbers)}"
    made = subprocess.run(
        ["ip", "netns", "add", name], capture_output=True, text=True, timeout=30, check=False
    )
    if made.returncode != 0:
        reason = f"network namespaces cannot be made here: {made.stderr.strip()}"
        missing.skip(reason, "REQUIRE_NETNS")
    namespace = NetworkNamespace(name)
    try:
        namespace.ip("link", "set", "lo", "up")
        yield namespace
    finally:
        subprocess.run(["ip", "netns", "del", name], timeout=30, check=False)


def _set_namespace(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
