"""Which keepalived the tests run: the first one on PATH, or among the system's programs."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"

#: In full: without a path 2.3 and later do not find the file of options beside the program.
KEEPALIVED = shutil.which("keepalived", path=f"{os.environ.get('PATH', '')}:{_SYSTEM}") or (
    "keepalived"
)


@functools.cache
def version() -> tuple[int, ...]:
    """Return its version as numbers, all 0 where it cannot be run."""
    try:
        done = subprocess.run(
            [KEEPALIVED, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return (0, 0, 0)
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", done.stdout + done.stderr)
    return tuple(int(each) for each in found.groups()) if found else (0, 0, 0)
