"""``keepalived --config-test`` for a command: without an agent, and before there is one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.keepalived import protocol
from ipfailover_agent.linux import files, process
from ipfailover_agent.text import harmless

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Candidate


def complaints(candidate: Candidate, seconds: float) -> tuple[str, ...]:
    """Return what keepalived complains of when it has so many seconds for it.

    Raises:
        subprocess.TimeoutExpired: it had more to do, or hangs.
    """
    program = process.find_program("keepalived", os.environ.get("PATH"))
    with _temporary_directory(candidate.paths.directory) as directory:
        path = f"{directory}/keepalived.conf"
        files.write_atomically(path, _standing_alone(candidate, directory), 0o600)
        done = subprocess.run(
            protocol.test_command(program, path, candidate.config.keepalived_options),
            env={**os.environ, "TMPDIR": directory},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    if done.returncode == 0:
        return ()
    output = done.stdout.decode("utf-8", "backslashreplace").splitlines()
    lines = (harmless(each, kept="\t") for each in output)
    return (protocol.failed_test(done.returncode, None), *lines)


def _standing_alone(candidate: Candidate, directory: str) -> str:
    """Return a configuration to test whose own files lie below ``directory``.

    Where no agent ran yet there is no run directory, and keepalived 2.3 refuses a track file in a
    directory that is not there. The file itself may be missing.
    """
    real = candidate.paths
    Path(replace(real, directory=directory).hold_directory).mkdir()
    return candidate.rendering.config.text.replace(f'"{real.directory}/', f'"{directory}/')


def _temporary_directory(run_directory: str) -> tempfile.TemporaryDirectory[str]:
    """Make one where the system has them, or else in or above the run directory.

    A container with a read-only root has no /tmp; where the agent can run, that is writable.

    Raises:
        SystemRefusedError: there is no place for it.
    """
    try:
        where = Path(tempfile.gettempdir())
    except FileNotFoundError:
        absolute = Path(run_directory).absolute()
        where = next(each for each in (absolute, *absolute.parents) if each.is_dir())
    try:
        return tempfile.TemporaryDirectory(prefix="ipfailover-check-", dir=where)
    except OSError as error:
        raise SystemRefusedError(
            f"cannot make a directory for keepalived's test in {where}: {error.strerror}; "
            "set TMPDIR to a directory that can be written"
        ) from None
