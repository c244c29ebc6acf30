"""The errors, with a message for people, and the exit code that each of them ends with.

A command catches them; a service logs one, or makes it a verdict. Messages are lower case,
without a full stop, and say "cannot X: why" with the variable and the value concerned.
"""

from __future__ import annotations

import enum

from msgspec import Struct

_SHOWN_LENGTH = 120  # characters of an offending element that a message repeats


class ExitCode(enum.IntEnum):
    """Exit codes of the process (sysexits where one fits); 128 and up belong to the runtime."""

    OK = 0
    BUG = 1
    USAGE = 2
    UNAVAILABLE = 69
    OS_ERROR = 71
    TEMPORARY = 75
    NO_PERMISSION = 77
    CONFIG = 78


class Problem(Struct, frozen=True, order=True):
    """One fault of one variable, for the person that has to correct it.

    Attributes:
        variable: the environment variable's full name.
        element: the offending part of the value (the whole value where it has no parts).
        reason: why it cannot be used; lower case, no full stop.
        instead: what to write instead, an imperative clause; may be empty.
    """

    variable: str
    element: str
    reason: str
    instead: str = ""

    def __str__(self) -> str:
        shown = self.element
        if len(shown) > _SHOWN_LENGTH:
            shown = shown[:_SHOWN_LENGTH] + "..."
        text = f"{self.variable}: {shown!r}: {self.reason}"
        return f"{text}; {self.instead}" if self.instead else text


def no_word(variable: str, element: str) -> Problem:
    """Return the problem of a text that keepalived.conf would not take as one word."""
    return Problem(
        variable=variable,
        element=element,
        reason="it has characters that keepalived.conf gives a meaning to",
        instead="use letters, digits and . _ : @ + = % , / -",
    )


class AgentError(Exception):
    """Root of every error that the agent raises on purpose."""

    exit_code = ExitCode.BUG


class SettingsError(AgentError):
    """The variables cannot be used; carries every problem of every variable, sorted."""

    exit_code = ExitCode.CONFIG

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


class AwaitedSource(Struct, frozen=True, kw_only=True):
    """The address that adverts are to come from, and that is not there; and the interface."""

    interface: str
    address: str


class HostNotReadyError(AgentError):
    """The node lacks something that may still come: an interface, an address.

    ``run`` waits for it, ``check`` and ``render`` exit with 78. ``is_usual``: it is on its way,
    and every start waits for it. ``source``: it is this address that is lacking.
    """

    exit_code = ExitCode.CONFIG

    def __init__(
        self, problem: Problem, *, is_usual: bool = False, source: AwaitedSource | None = None
    ) -> None:
        self.problem = problem
        self.is_usual = is_usual
        self.source = source
        super().__init__(str(problem))


class TemplateError(AgentError):
    """A template cannot be rendered; the message names the template and the line."""

    exit_code = ExitCode.CONFIG


class ConfigTestError(AgentError):
    """``keepalived -t`` refused a candidate; carries what it printed."""

    exit_code = ExitCode.CONFIG

    def __init__(self, message: str, *, output: str) -> None:
        self.output = output
        super().__init__(message)


class RefusedError(AgentError):
    """A command is refused: what it is to work on is not here, or belongs to another command."""

    exit_code = ExitCode.CONFIG


class TemporaryError(AgentError):
    """A command has no outcome now, and may have one later."""

    exit_code = ExitCode.TEMPORARY


class KeepalivedMissingError(AgentError):
    """keepalived (or setpriv, which starts it) is not there or cannot be executed."""

    exit_code = ExitCode.UNAVAILABLE


class SystemRefusedError(AgentError):
    """The system refused something the agent cannot do without: run directory, FIFO, netlink."""

    exit_code = ExitCode.OS_ERROR


class NotPermittedError(AgentError):
    """A capability is missing."""

    exit_code = ExitCode.NO_PERMISSION
