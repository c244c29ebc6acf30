"""The active configuration as a file of the run directory: what a running agent serves.

Other commands compare with it. It holds the password and the agent's variables, so it is written
for root alone.
"""

from __future__ import annotations

from msgspec import Struct

from ipfailover_agent.model import KeepalivedConfig  # noqa: TC001 - read at run time


class ActiveRecord(
    Struct, frozen=True, kw_only=True, tag_field="schema", tag=1, forbid_unknown_fields=True
):
    """What an agent put in force.

    Attributes:
        pid: of the agent that wrote it.
        agent_started_at: when that process started, in clock ticks after boot: with the pid it
            shows whether the agent that runs now wrote it.
        environment: its contract variables, before the source overrides them.
        start_only: the variables among those in force that only a restart can change.
        source: absolute path of what IPFAILOVER_CONFIG named, None for the environment alone.
        template_directory: of the user's own templates.
        listen: where its HTTP listens, as it was written; empty for the usual place.
        digest: of the rendered files.
        config: the plan that they were rendered from.
    """

    pid: int
    agent_started_at: int
    environment: tuple[tuple[str, str], ...]
    start_only: tuple[tuple[str, str], ...]
    source: str | None
    template_directory: str | None
    listen: str = ""
    digest: str
    config: KeepalivedConfig
