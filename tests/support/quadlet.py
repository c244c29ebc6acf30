"""A quadlet file of podman's: what it says, and what podman's own generator makes of it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Where distributions put the generator.
_PLACES = ("/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet")

#: Keys of [Container] and the option of `podman run` that each becomes.
_OPTIONS: Final[Mapping[str, str]] = {
    "ContainerName": "--name={}",
    "Network": "--network={}",
    "DropCapability": "--cap-drop={}",
    "AddCapability": "--cap-add={}",
    "Tmpfs": "--tmpfs={}",
    "Volume": "--volume={}",
    "Environment": "--env={}",
    "StopTimeout": "--stop-timeout={}",
    "SecurityLabelType": "--security-opt=label=type:{}",
}
_SWITCHES: Final[Mapping[tuple[str, str], str]] = {
    ("NoNewPrivileges", "true"): "--security-opt=no-new-privileges",
    ("ReadOnly", "true"): "--read-only",
    ("ReadOnlyTmpfs", "false"): "--read-only-tmpfs=false",
}
_LISTS = ("DropCapability", "AddCapability")

#: What the generator adds for systemd.
_OWN = ("--cidfile", "--replace", "--rm", "--cgroups", "--sdnotify", "-d", "--detach")
_LONG = {"-v": "--volume"}


def pairs(text: str, section: str) -> list[tuple[str, str]]:
    """Return the keys and values of a section, in their order; a key may be there twice."""
    found, at = [], ""
    for line in text.splitlines():
        if line.startswith("["):
            at = line.strip("[]")
        elif at == section and line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.append((key, value))
    return found


def options(text: str) -> list[str]:
    """Return the options of `podman run`; KeyError for a key that is not known here."""
    found = []
    for key, value in pairs(text, "Container"):
        if key == "Image":
            continue
        if (key, value) in _SWITCHES:
            found.append(_SWITCHES[key, value])
            continue
        values = value.split() if key in _LISTS else [value]
        found += [_OPTIONS[key].format(each) for each in values]
    return found


def generator() -> str | None:
    """Return the path of podman's generator, of the variable QUADLET if that is set."""
    places = (os.environ.get("QUADLET", ""), *_PLACES)
    return next((each for each in places if each and Path(each).exists()), None)


def generated(program: str, directory: Path) -> str:
    """Return the unit that the real generator makes of the only file of a directory."""
    done = subprocess.run(
        [program, "-dryrun"],
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "QUADLET_UNIT_DIRS": str(directory)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_taken(unit: str, text: str) -> None:
    """Assert that what the generator made of a quadlet file is what the tests run."""
    made, image = generated_options(unit)
    assert [image] == [value for key, value in pairs(text, "Container") if key == "Image"]
    assert sorted(map(str.lower, options(text))) == sorted(map(str.lower, made))
    service = pairs(unit, "Service")
    for each in pairs(text, "Service"):
        assert each in service


def generated_options(unit: str) -> tuple[list[str], str]:
    """Return the options of `podman run` in a generated unit, but for systemd's, and the image."""
    [line] = [value for key, value in pairs(unit, "Service") if key == "ExecStart"]
    words = shlex.split(line)[2:]
    *rest, image = words
    found: list[str] = []
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        switch = word in {"--read-only", "--replace", "--rm", "-d"}
        if not equals and not switch:
            value = rest.pop(0)
        if name not in _OWN:
            found.append(f"{_LONG.get(name, name)}={value}" if not switch else word)
    return found, image
