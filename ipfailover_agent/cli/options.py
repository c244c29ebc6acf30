"""What several commands take: options, and what is refused of their values."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.config.prepare import Options

RUN_DIRECTORY = "/run/ipfailover-agent"

run_dir_option = click.option(
    "--run-dir",
    envvar="IPFAILOVER_RUN_DIR",
    metavar="DIR",
    default=RUN_DIRECTORY,
    help="Where the agent keeps its files.",
)
_config_option = click.option(
    "--config",
    envvar="IPFAILOVER_CONFIG",
    metavar="PATH",
    help="File of KEY=VALUE lines, or directory with one file per variable (a mounted ConfigMap). "
    "Overrides the environment.",
)
_template_dir_option = click.option(
    "--template-dir",
    envvar="IPFAILOVER_TEMPLATE_DIR",
    metavar="DIR",
    help="Your own templates; a template that is not there is taken from the package.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def finite(_context: object, _option: object, value: float | None) -> float | None:
    """Refuse what no command can wait for: comparisons with nan are never true."""
    if value is not None and not 0 <= value < float("inf"):
        raise click.BadParameter(f"{value:g} is no number of seconds, 0 or more")
    return value


def interval(_context: object, _option: object, value: float | None) -> float | None:
    """Refuse an interval that would keep a processor busy, or that is too long to wait for."""
    if value is not None and not 0.1 <= value <= 86400:  # noqa: PLR2004 - a day
        raise click.BadParameter(f"{value:g} is no number of seconds from 0.1 to 86400")
    return value


def checks(_context: object, _option: object, values: tuple[str, ...]) -> frozenset[str]:
    """Refuse a name that is no check of ``doctor``; several in a word are separated by commas."""
    from ipfailover_agent.doctor.command import CHECKS  # noqa: PLC0415 - seldom needed

    names = [name.strip() for each in values for name in each.split(",")]
    for name in names:
        if name not in CHECKS:
            raise click.BadParameter(f"{name!r} is no check; there are {', '.join(CHECKS)}")
    return frozenset(names)


def shared_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options for the places of variables, templates and the run directory.

    The command gets what they say as its first argument.
    """

    @functools.wraps(command)
    def with_options(
        *, config: str | None, run_dir: str, template_dir: str | None, **others: object
    ) -> int:
        return command(made(config, run_dir, template_dir), **others)

    return _config_option(run_dir_option(_template_dir_option(with_options)))


def refuse_variables_of(command: click.Command) -> None:
    """Raise click.BadParameter for a variable that the command would not start with."""
    context = click.Context(command, info_name=f"ipfailover-agent {command.name}")
    for each in command.params:
        each.process_value(context, each.value_from_envvar(context))


def directory(run_dir: str) -> str:
    """Return the full path of the run directory; an empty value means the usual one."""
    return os.path.abspath(run_dir or RUN_DIRECTORY)  # noqa: PTH100 - start-up time


def made(config: str | None, run_dir: str, template_dir: str | None) -> Options:
    """Return the agent's own settings as the options say.

    A command without the option ``--listen`` judges by the variable, as ``run`` would.
    """
    from ipfailover_agent.config.prepare import Options  # noqa: PLC0415 - not always needed

    return Options(
        config=config or None,
        run_directory=directory(run_dir),
        template_directory=template_dir or None,
        listen=os.environ.get("IPFAILOVER_LISTEN", ""),
        watches=False,
    )


def duration(_context: object, _option: object, value: str | None) -> float | None:
    """Read 90, 10m or 2h; refuse what is no time."""
    from ipfailover_agent.drain.drain_requests import parse_duration  # noqa: PLC0415 - see above

    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
