"""Where variables come from: the environment, a file, or a directory with a file for each."""

# pathlib costs start-up time and has no descriptors.
# ruff: noqa: PTH112, PTH116, PTH208

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from ipfailover_agent.errors import Problem, SettingsError
from ipfailover_agent.linux import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SOURCE_VARIABLE: Final = "IPFAILOVER_CONFIG"
_OPTIONS_VARIABLE: Final = "KEEPALIVED_OPTIONS"
_LIMIT: Final = 1 << 20  # bytes; a ConfigMap holds no more altogether
_CURRENT: Final = "..data"  # the link that Kubernetes swaps when a mounted ConfigMap changes
_ATTEMPTS: Final = 5  # to read a directory that is swapped meanwhile

_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT: Final = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_QUOTED: Final = re.compile(r"""(?:'(?P<plain>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)")\s*""")
_ESCAPED: Final = re.compile(r'\\(["\\])')
_OPTIONS_LINE: Final = re.compile(r"\s*(?:export\s+)?" + _OPTIONS_VARIABLE + r"=(.*)")


class _SwappedError(Exception):
    """The directory was replaced while it was read."""


def read_source(path: str) -> dict[str, str]:
    r"""Return the variables of a file of NAME=VALUE lines, or of a directory with a file for each.

    File: UTF-8. Blank lines and lines that start with ``#`` say nothing; ``export`` before a name
    is passed over; the last assignment of a name counts. A value that does not start with a quote
    is everything after the ``=``, as in docker's --env-file: blanks, quotes and ``#`` belong to
    it. A value in single quotes is what stands between them; in double quotes ``\"`` and
    ``\\`` stand for a quote and a backslash, nothing else is special. A quote ends on its line,
    with nothing behind it.

    Directory: each file's content without final newlines. Names that start with a dot and
    directories are passed over; files whose name cannot be a variable are listed, not read. The
    ``..data`` link of a mounted ConfigMap is followed once, so that all values are of one
    generation.

    Raises:
        SettingsError: it is missing, cannot be read or has something else; names file and line.
    """
    try:
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from error
    return _read_directory(path) if is_directory else _read_assignments(path)


def merge(
    environment: Mapping[str, str],
    source: Mapping[str, str],
    *,
    is_contract: Callable[[str], bool],
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the environment overridden by the source, and the names that were not taken from it.

    An empty value in the source overrides as well: it means unset, but for the one variable that
    can be empty (OPENSHIFT_HA_ADDRESS_LABEL). Names that are not part of the contract are ignored:
    a ConfigMap must not set PATH.
    """
    taken = {name: value for name, value in source.items() if is_contract(name)}
    return {**environment, **taken}, tuple(sorted(source.keys() - taken.keys()))


def fingerprint(path: str) -> str:
    """Return a text that changes when the source does; looks at no content.

    It holds each file's identity, size, times of modification and change, mode and owner, since a
    refusal for want of permission must not outlast it; ``missing`` where there is nothing to look
    at.
    """
    try:
        root = _current_generation(path)
        names = sorted(os.listdir(root)) if stat.S_ISDIR(os.stat(root).st_mode) else []
    except OSError:
        return "missing"
    paths = (root, *(f"{root}/{name}" for name in names))
    return "\n".join((root, *map(_signature, paths)))


def read_sysconfig_options(path: str = "/etc/sysconfig/keepalived") -> str | None:
    """Return what a file in shell syntax assigns to KEEPALIVED_OPTIONS, or None.

    The file is never executed: only plain and quoted words are understood.

    Raises:
        SettingsError: the file cannot be read, or the assignment needs a shell.
    """
    try:
        text = _read_text(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _refusal(path, f"cannot be read: {error}", _OPTIONS_VARIABLE) from error
    options = None
    for line in text.replace("\\\n", "").splitlines():
        if match := _OPTIONS_LINE.match(line):
            options = _shell_word(path, match[1])
    return options


# --- a file -------------------------------------------------------------------------------------


def _read_assignments(path: str) -> dict[str, str]:
    try:
        text = _read_text(path)
    except (OSError, ValueError) as error:
        raise _refusal(path, f"cannot be read: {_reason(error)}") from error
    found: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        try:
            found.update(_parse_line(line.removesuffix("\r")))
        except ValueError as error:
            place = f"{path}:{number}"
            problems.append(Problem(_SOURCE_VARIABLE, place, str(error), "write NAME=VALUE"))
    if problems:
        raise SettingsError(tuple(problems))
    return found


def _parse_line(line: str) -> dict[str, str]:
    stripped = line.strip()
    if not stripped or stripped.startswith("#"):
        return {}
    match = _ASSIGNMENT.fullmatch(line)
    if match is None:
        raise ValueError("this line is neither an assignment nor a comment")
    return {match[1]: _unquoted(match[2])}


def _unquoted(value: str) -> str:
    if not value.startswith(("'", '"')):
        return value
    match = _QUOTED.fullmatch(value)
    if match is None:
        raise ValueError("its quote does not end at the end of the line")
    return match["plain"] if match["plain"] is not None else _ESCAPED.sub(r"\1", match["double"])


# --- a directory --------------------------------------------------------------------------------


def _read_directory(path: str) -> dict[str, str]:
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(_SwappedError):
            return _read_generation(path)
    raise _refusal(path, "cannot be read: it keeps changing")


def _read_generation(path: str) -> dict[str, str]:
    """Read one generation of the files; what a swap tore apart is not returned."""
    root = _current_generation(path)
    try:
        names = [name for name in os.listdir(root) if not name.startswith(".")]
    except OSError as error:
        if _current_generation(path) != root:
            raise _SwappedError from error
        raise _refusal(path, f"cannot be read: {error.strerror}") from error
    found: dict[str, str] = {}
    problems = []
    for name in sorted(names):
        try:
            if (value := _read_variable(root, name)) is not None:
                found[name] = value
        except (OSError, ValueError) as error:
            reason = f"cannot be read: {_reason(error)}"
            problems.append(Problem(_SOURCE_VARIABLE, f"{path}/{name}", reason))
    if _current_generation(path) != root:
        raise _SwappedError
    if problems:
        raise SettingsError(tuple(problems))
    return found


def _read_variable(root: str, name: str) -> str | None:
    """Return the value of one file; None for a directory."""
    path = f"{root}/{name}"
    if stat.S_ISDIR(os.stat(path).st_mode):
        return None
    if not _VARIABLE_NAME.fullmatch(name):
        return ""  # a script beside the variables, say: named, so that a warning can be given
    return _read_text(path).rstrip("\r\n")


def _current_generation(path: str) -> str:
    current = f"{path}/{_CURRENT}"
    return os.path.realpath(current if os.path.isdir(current) else path)


# --- both ---------------------------------------------------------------------------------------


def _read_text(path: str) -> str:
    with open(path, "rb", opener=files.without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise ValueError("it is larger than 1 MiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error


def _shell_word(path: str, text: str) -> str:
    import shlex  # noqa: PLC0415 - the file is hardly ever there

    is_literal = text.startswith("'") and text.count("'") == 2  # noqa: PLR2004 - a pair of them
    if not is_literal and ("$" in text or "`" in text):
        raise _refusal(path, "its value needs a shell", _OPTIONS_VARIABLE)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        # an assignment ends at the first blank: nothing may stand between it and the =
        return (lexer.get_token() or "") if text[:1].strip() else ""
    except ValueError as error:
        raise _refusal(path, "its quote does not end", _OPTIONS_VARIABLE) from error


def _signature(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return f"{path} missing"
    rights = f"{found.st_mode:o} {found.st_uid}:{found.st_gid}"
    # a program that writes in place and sets the time back, as some do, cannot set this one
    times = f"{found.st_mtime_ns} {found.st_ctime_ns}"
    return f"{path} {found.st_dev}:{found.st_ino} {found.st_size} {times} {rights}"


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _refusal(path: str, reason: str, variable: str = _SOURCE_VARIABLE) -> SettingsError:
    return SettingsError((Problem(variable, path, reason),))
