"""Run a command that may make namespaces: ``python -m tests.lab.kit.privileged -- COMMAND...``."""

from __future__ import annotations

import os
import sys

from tests.lab.kit.namespaces import LabError
from tests.lab.kit.privileges import ensure_privileges


def main(arguments: list[str]) -> None:
    """Become the command; exit 2 when none is given, 77 when the lab is impossible here."""
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        print("usage: python -m tests.lab.kit.privileged -- COMMAND...", file=sys.stderr)
        sys.exit(2)
    try:
        ensure_privileges()
    except LabError as error:
        print(error, file=sys.stderr)
        sys.exit(os.EX_NOPERM)
    os.execvp(command[0], command)  # noqa: S606 - the user's own command


if __name__ == "__main__":
    main(sys.argv[1:])
