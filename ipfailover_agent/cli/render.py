"""``render``: the generated files, without running them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ipfailover_agent import terminal
from ipfailover_agent.config import prepare
from ipfailover_agent.peers import peers_once

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Options


def render(options: Options, output: str | None) -> int:
    """Print keepalived.conf, or write every file into the directory ``output``."""
    found = peers_once.Found(options)
    candidate = prepare.attempt(os.environ, options, found).found()
    for warning in (*candidate.variables.warnings, *candidate.warnings, *found.warnings):
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201 - a command's output
    rendering = candidate.rendering
    if output is None:
        terminal.say(rendering.config.text.removesuffix("\n"))
        return 0
    from ipfailover_agent.linux import files  # noqa: PLC0415 - needed here only

    files.make_directory(output)
    for each in (rendering.config, *rendering.scripts):
        path = f"{output}/{os.path.basename(each.path)}"  # noqa: PTH119 - start-up time
        files.write_atomically(path, each.text, each.mode)
        terminal.say(path)
    return 0
