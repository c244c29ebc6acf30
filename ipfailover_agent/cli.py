"""The commands. Maps errors to exit codes; imports only what the command needs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from ipfailover_agent import __version__
from ipfailover_agent.core.errors import AgentError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.prepare import Options

_RUN_DIRECTORY = "/run/ipfailover-agent"
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main() -> NoReturn:
    """Run the command line and exit with a code that tells what happened."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    try:
        result = cli.main(args=arguments, prog_name="ipfailover-agent", standalone_mode=False)
    except AgentError as error:
        click.echo(f"ipfailover-agent: {error}", err=True)
        return int(error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return int(ExitCode.BUG)
    except SystemExit:
        # click's way to say that whoever read --help (head, less) has enough
        return int(ExitCode.OK)
    return int(result or 0)


def _finite(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """Refuse what nobody can wait for: comparisons with nan are never true."""
    if not 0 <= value < float("inf"):
        raise click.BadParameter(f"{value:g} is no number of seconds, 0 or more")
    return value


def _shared_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add the options that tell where variables, templates and the run directory are."""
    decorators = (
        click.option(
            "--config",
            envvar="IPFAILOVER_CONFIG",
            metavar="PATH",
            help="File of KEY=VALUE lines, or directory with one file per variable (a mounted "
            "ConfigMap). Overrides the environment.",
        ),
        click.option(
            "--run-dir",
            envvar="IPFAILOVER_RUN_DIR",
            metavar="DIR",
            default=_RUN_DIRECTORY,
            show_default=True,
            help="Where the agent keeps its files.",
        ),
        click.option(
            "--template-dir",
            envvar="IPFAILOVER_TEMPLATE_DIR",
            metavar="DIR",
            help="Your own templates; a template that is not there is taken from the package.",
        ),
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def _options(
    config: str | None, run_dir: str, template_dir: str | None, *, watches: bool = False
) -> Options:
    from ipfailover_agent.prepare import Options  # noqa: PLC0415

    return Options(
        config=config or None,
        run_directory=os.path.abspath(run_dir or _RUN_DIRECTORY),  # noqa: PTH100 - start-up time
        template_directory=template_dir or None,
        watches=watches,
    )


_run_dir_option = click.option(
    "--run-dir",
    envvar="IPFAILOVER_RUN_DIR",
    metavar="DIR",
    default=_RUN_DIRECTORY,
    show_default=True,
    help="Where the agent keeps its files.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="ipfailover-agent")
def cli() -> None:
    """Keep virtual IP addresses alive on a set of nodes.

    Reads OPENSHIFT_HA_* variables, renders keepalived.conf and check scripts, and launches and
    supervises keepalived. Try `check` first: it says what `run` would do on this node.
    """


@cli.command("run", short_help="Serve the addresses until stopped (the container's entrypoint).")
@_shared_options
@click.option(
    "--watch/--no-watch",
    envvar="IPFAILOVER_WATCH",
    default=True,
    show_default=True,
    help="Reload by itself when the variables of --config, or the node, have changed.",
)
@click.option(
    "--log-format",
    envvar="IPFAILOVER_LOG_FORMAT",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the log looks. json wraps keepalived's own lines too.",
)
@click.option(
    "--log-level",
    envvar="IPFAILOVER_LOG_LEVEL",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least important events that are logged.",
)
def run_command(
    config: str | None,
    run_dir: str,
    template_dir: str | None,
    *,
    watch: bool,
    log_format: str,
    log_level: str,
) -> int:
    """Serve the addresses until stopped (the container's entrypoint).

    SIGHUP reads the variables again, SIGTERM and SIGINT stop. keepalived's lines go to standard
    output, the agent's own events to standard error.
    """
    from ipfailover_agent.commands import run  # noqa: PLC0415

    options = _options(config, run_dir, template_dir, watches=watch)
    return run.run(options, log_format, log_level)


@cli.command("render", short_help="Print the keepalived.conf that `run` would use on this node.")
@_shared_options
@click.option("--output", metavar="DIR", help="Write every generated file into DIR.")
def render_command(
    config: str | None, run_dir: str, template_dir: str | None, output: str | None
) -> int:
    """Print the keepalived.conf that `run` would use on this node.

    Needs no root, starts nothing, changes nothing.
    """
    from ipfailover_agent.commands import render  # noqa: PLC0415

    return render.render(_options(config, run_dir, template_dir), output)


@cli.command("check", short_help="Validate everything and say what `run` would do on this node.")
@_shared_options
@click.option(
    "--compare-old", is_flag=True, help="Show beside it what OpenShift's shell image would serve."
)
@_json_option
def check_command(
    config: str | None,
    run_dir: str,
    template_dir: str | None,
    compare_old: bool,  # noqa: FBT001 - click passes flags by name
    as_json: bool,  # noqa: FBT001 - likewise
) -> int:
    """Validate everything for this node and say what `run` would do.

    Exits with 0 when `run` would serve, else with 78 after naming every problem.
    """
    from ipfailover_agent.commands import check  # noqa: PLC0415

    options = _options(config, run_dir, template_dir)
    return check.check(options, compare_old=compare_old, as_json=as_json)


@cli.command("plan", short_help="Show what a reload would change, before it is made.")
@click.option(
    "--config",
    metavar="PATH",
    help="Look at this file or directory instead of the one that the running agent reads.",
)
@_run_dir_option
@_json_option
def plan_command(config: str | None, run_dir: str, as_json: bool) -> int:  # noqa: FBT001
    """Show what a reload would do to each address, and what other nodes will feel.

    Compares what the running agent has in force with its environment and its source as they are
    now, or with --config. Changes nothing. Exits with 0 when nothing would change, 1 when
    something would, 78 when the configuration would be refused.
    """
    from ipfailover_agent.commands import plan  # noqa: PLC0415

    return plan.plan(os.path.abspath(run_dir or _RUN_DIRECTORY), config, as_json=as_json)  # noqa: PTH100


@cli.command("reload", short_help="Have the running agent read its variables again.")
@_run_dir_option
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    callback=_finite,
    help="How long to wait.",
)
def reload_command(run_dir: str, timeout: float) -> int:
    """Have the running agent read its variables again, and print its verdict.

    Exits with 0 when the new configuration is in force (or nothing changed), with 78 when it was
    refused: then everything runs on as before. 75: no verdict, or keepalived did not confirm.
    """
    from ipfailover_agent.commands import reload  # noqa: PLC0415

    return reload.reload(run_dir, timeout)


@cli.command("status", short_help="Show what the running agent does.")
@_run_dir_option
@_json_option
@click.option("--watch", is_flag=True, help="Print it again whenever it changes, until Ctrl-C.")
def status_command(run_dir: str, as_json: bool, watch: bool) -> int:  # noqa: FBT001
    """Show the running agent: phase, each instance's state, addresses, last reload.

    Exits with 0 when the agent is ready, 1 when it runs and is not, 69 when none runs.
    """
    from ipfailover_agent.commands import status  # noqa: PLC0415

    return status.status(run_dir, as_json=as_json, watch=watch)


@cli.command("release", short_help="Remove what a crashed agent left on this node.")
@_shared_options
def release_command(config: str | None, run_dir: str, template_dir: str | None) -> int:
    """Remove this node's virtual addresses and the agent's files after a crash.

    Refuses while the agent runs. Needs the node's network, NET_ADMIN, and either the variables or
    the run directory of the agent that crashed; says which is missing.
    """
    from ipfailover_agent.commands import release  # noqa: PLC0415

    return release.release(_options(config, run_dir, template_dir))
