"""Request files: commands ask the agent by them. The directory is root's, 0700."""

# pathlib costs start-up time and knows no descriptors.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import Final

from msgspec import Struct

from ipfailover_agent.linux import files

SUFFIX: Final = ".json"
_SIZE_LIMIT: Final = 1 << 16  # bytes
_AT_ONCE: Final = 64  # files: the loop has other work
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_UNFINISHED: Final = "~"  # the end of a file's name while it is written


class FoundRequest(Struct, frozen=True, kw_only=True):
    """A request file that was taken: its text, or why it cannot be used.

    ``id`` is the file's name, empty where no command can wait under that name.
    """

    id: str
    text: str = ""
    refusal: str = ""


def take(directory: str) -> tuple[list[FoundRequest], bool]:
    """Remove the requests in a directory and return them, and whether there are more.

    Nothing raises, nothing blocks, whatever lies there.
    """
    try:
        names = sorted(each for each in os.listdir(directory) if not each.endswith(_UNFINISHED))
    except OSError:
        return [], False
    found = []
    for name in names[:_AT_ONCE]:
        found.append(_read(directory, name))
        path = f"{directory}/{name}"
        with contextlib.suppress(OSError):
            is_directory = os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114
            (os.rmdir if is_directory else os.unlink)(path)
    return found, len(names) > _AT_ONCE


def _without_following(path: str, flags: int) -> int:
    return files.without_waiting(path, flags | os.O_NOFOLLOW)


def _read(directory: str, name: str) -> FoundRequest:
    stem = name.removesuffix(SUFFIX)
    known = stem if name.endswith(SUFFIX) and _ID.fullmatch(stem) else ""
    try:
        with open(f"{directory}/{name}", "rb", opener=_without_following) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return FoundRequest(id=known, refusal="it is no regular file")
            if status.st_uid not in {0, os.geteuid()}:
                return FoundRequest(id=known, refusal=f"it belongs to uid {status.st_uid}")
            data = file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        return FoundRequest(id=known, refusal=f"it cannot be read: {error.strerror}")
    if len(data) > _SIZE_LIMIT:
        return FoundRequest(id=known, refusal=f"it is longer than {_SIZE_LIMIT} bytes")
    if not known:
        return FoundRequest(id="", refusal=f"its name is not that of a request: {name[:64]!r}")
    try:
        return FoundRequest(id=known, text=data.decode("utf-8"))
    except UnicodeDecodeError:
        return FoundRequest(id=known, refusal="it is not UTF-8")
