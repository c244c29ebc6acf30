"""keepalived and scripts in a namespace of their own: network, mounts, processes.

Everything started inside dies with the sandbox, and /run is a file system of its own.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ipfailover_agent.model import HostFacts, Rendering
from tests.support import missing

_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a script in the sandbox ended, and all it printed."""

    status: int
    output: str


@functools.cache
def _why_not() -> str:
    done = subprocess.run(
        [*_UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/run"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stderr.strip() if done.returncode else ""


def run(script: str, *, run_options: str = "mode=0700", timeout: float = 30) -> Outcome:
    """Run a bash script in a sandbox; ``run_options`` are the mount options of its /run.

    Skips where namespaces cannot be made; REQUIRE_NETNS=1 turns that into a failure.
    """
    reason = _why_not()
    if reason:
        missing.skip(f"namespaces cannot be made here: {reason}", "REQUIRE_NETNS")
    whole = f"mount -t tmpfs -o {run_options} tmpfs /run\nip link set lo up\n{script}"
    done = subprocess.run(
        [*_UNSHARE, "bash", "-c", whole],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Outcome(status=done.returncode, output=done.stdout)


def interfaces(facts: HostFacts) -> str:
    """Return script lines that give the sandbox the interfaces of ``facts``."""
    lines = []
    for number, each in enumerate(facts.interfaces):
        if each.name != "lo":
            lines.append(
                f"ip link add '{each.name}' mtu {each.mtu} type veth peer name far{number}"
            )
            lines.append(f"ip link set '{each.name}' up; ip link set far{number} up")
        for held in each.addresses:
            nodad = "nodad" if held.address.version == 6 else ""
            lines.append(
                f"ip address add {held.address}/{held.prefix_length} dev '{each.name}' {nodad}"
            )
    return "\n".join(lines) + "\n"


def place(rendering: Rendering, directory: Path) -> dict[str, Path]:
    """Write a rendering's files below ``directory``; return where each path's text is."""
    placed = {}
    for each in (rendering.config, *rendering.scripts):
        there = directory / Path(each.path).name
        there.write_text(each.text, encoding="utf-8")
        there.chmod(0o600)
        placed[each.path] = there
    return placed


def copies(placed: Mapping[str, Path], directories: Iterable[str] = ()) -> str:
    """Return script lines that put placed files where they belong, in the sandbox's own /run."""
    lines = [f"mkdir -p '{each}'" for each in directories]
    for path, there in placed.items():
        lines.append(f"mkdir -p -m 0700 '{Path(path).parent}'")
        lines.append(f"cp '{there}' '{path}'")
    return "\n".join(lines) + "\n"
