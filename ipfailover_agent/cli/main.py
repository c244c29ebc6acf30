"""The commands. Maps errors to exit codes; imports only what the command needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from ipfailover_agent import __version__
from ipfailover_agent.cli import options
from ipfailover_agent.errors import AgentError, ExitCode

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Options

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


def main() -> int:
    """Run the command line; return the exit code for what happened."""
    try:
        result = cli.main(args=sys.argv[1:], prog_name="ipfailover-agent", standalone_mode=False)
    except AgentError as error:
        click.echo(f"ipfailover-agent: {error}", err=True)
        return int(error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return int(ExitCode.BUG)
    except SystemExit:
        # click's way to report that the reader of --help (head, less) has ended
        return int(ExitCode.OK)
    return int(result or 0)


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="ipfailover-agent")
def cli() -> None:
    """Keep virtual IP addresses alive on a set of nodes.

    Reads OPENSHIFT_HA_* variables, renders keepalived.conf and check scripts, and launches and
    supervises keepalived. Try `check` first: it shows what `run` would do on this node.
    """


@cli.command("run", short_help="Serve the addresses until stopped (the container's entrypoint).")
@options.shared_options
@click.option(
    "--listen",
    envvar="IPFAILOVER_LISTEN",
    metavar="ADDRESS:PORT",
    default="127.0.0.1:63000",
    help="Where HTTP is answered: probes, metrics, status and a page. :PORT for all addresses, "
    "off for none.",
)
@click.option(
    "--watch/--no-watch",
    envvar="IPFAILOVER_WATCH",
    default=True,
    help="Reload by itself when the variables of --config, or the node, have changed.",
)
@click.option(
    "--log-format",
    envvar="IPFAILOVER_LOG_FORMAT",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How the log looks. json wraps keepalived's own lines too.",
)
@click.option(
    "--log-level",
    envvar="IPFAILOVER_LOG_LEVEL",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="The least important events that are logged.",
)
def run_command(
    chosen: Options, listen: str, *, watch: bool, log_format: str, log_level: str
) -> int:
    """Serve the addresses until stopped (the container's entrypoint).

    SIGHUP reads the variables again, SIGTERM and SIGINT stop. keepalived's lines go to standard
    output, the agent's own events to standard error.
    """
    from ipfailover_agent.cli import run  # noqa: PLC0415 - not always needed

    return run.run(replace(chosen, listen=listen, watches=watch), log_format, log_level)


@cli.command("render", short_help="Print the keepalived.conf that `run` would use on this node.")
@options.shared_options
@click.option("--output", metavar="DIR", help="Write every generated file into DIR.")
def render_command(chosen: Options, output: str | None) -> int:
    """Print the keepalived.conf that `run` would use on this node.

    Needs no root, starts nothing, changes nothing.
    """
    from ipfailover_agent.cli import render  # noqa: PLC0415 - not always needed

    return render.render(chosen, output)


@cli.command("check", short_help="Validate everything and show what `run` would do on this node.")
@options.shared_options
@click.option(
    "--compare-old", is_flag=True, help="Show beside it what OpenShift's shell image would serve."
)
@options.json_option
def check_command(chosen: Options, *, compare_old: bool, as_json: bool) -> int:
    """Validate everything for this node and say what `run` would do.

    Exits with 0 when `run` would serve, else with 78 after naming every problem.
    """
    from ipfailover_agent.cli import check  # noqa: PLC0415 - not always needed

    options.refuse_variables_of(run_command)
    return check.check(chosen, compare_old=compare_old, as_json=as_json)


@cli.command("doctor", short_help="Look at this node and its network, and name what to repair.")
@options.shared_options
@click.option(
    "--seconds",
    default=4.0,
    metavar="SECONDS",
    callback=options.interval,
    help="How long to listen for other nodes.",
)
@click.option(
    "--tolerate",
    multiple=True,
    metavar="CHECK",
    callback=options.checks,
    help="A check whose failure only warns; several are separated by commas.",
)
@options.json_option
def doctor_command(
    chosen: Options, seconds: float, tolerate: frozenset[str], *, as_json: bool
) -> int:
    """Look at this node and its network, before the agent runs or while it does.

    Changes nothing. Listens for other nodes, and asks for the addresses by ARP. A line for
    each check: pass, warn, fail or skip, and what to do. Exits with 0 when nothing fails, else
    with 78.
    """
    from ipfailover_agent.doctor import command as doctor  # noqa: PLC0415 - not always needed

    return doctor.examine(chosen, seconds=seconds, as_json=as_json, tolerated=tolerate)


@cli.command("plan", short_help="Show what a reload would change, before it is made.")
@click.option(
    "--config",
    metavar="PATH",
    help="Look at this file or directory instead of the one that the running agent reads.",
)
@options.run_dir_option
@options.json_option
def plan_command(config: str | None, run_dir: str, *, as_json: bool) -> int:
    """Show what a reload would do to each address, and what other nodes will feel.

    Compares the configuration in force with the running agent's environment and its source as
    they are now, or with --config. Changes nothing. Exits with 0 when nothing would change, 1 when
    something would, 78 when the configuration would be refused.
    """
    from ipfailover_agent.cli import plan  # noqa: PLC0415 - not always needed

    return plan.plan(options.directory(run_dir), config, as_json=as_json)


@cli.command("reload", short_help="Make the running agent read its variables again.")
@options.run_dir_option
@click.option(
    "--timeout", default=30.0, metavar="SECONDS", callback=options.finite, help="How long to wait."
)
def reload_command(run_dir: str, timeout: float) -> int:
    """Make the running agent read its variables again, and print its verdict.

    Exits with 0 when the new configuration is in force (or nothing changed), with 78 when it was
    refused: then everything runs on as before. 75: no verdict, or keepalived did not confirm.
    """
    from ipfailover_agent.cli import reload  # noqa: PLC0415 - not always needed

    return reload.reload(run_dir, timeout)


@cli.command("status", short_help="Show what the running agent does.")
@options.run_dir_option
@options.json_option
@click.option("--all", "is_whole", is_flag=True, help="Print every instance, however many.")
@click.option(
    "--watch",
    is_flag=False,
    flag_value=1.0,
    default=None,
    type=float,
    metavar="[SECONDS]",
    callback=options.interval,
    help="Print it again until Ctrl-C: every second, or as often as you say. Where the output is "
    "no terminal, whenever it changes.",
)
def status_command(run_dir: str, *, as_json: bool, is_whole: bool, watch: float | None) -> int:
    """Show the running agent: phase, each instance's state, addresses, last reload.

    Exits with 0 when the agent is ready, 1 when it runs and is not, 69 when none runs. Colours
    only a terminal, and not if NO_COLOR is set.
    """
    from ipfailover_agent.cli import status  # noqa: PLC0415 - not always needed

    return status.status(run_dir, as_json=as_json, is_whole=is_whole, watch=watch)


@cli.command("events", short_help="Show what happened on this node, and why.")
@options.run_dir_option
@options.json_option
@click.option("--follow", "-f", is_flag=True, help="Go on with each new event, until Ctrl-C.")
@click.option(
    "--count",
    "-n",
    type=click.IntRange(min=0),
    default=50,
    metavar="N",
    help="How many, the newest.",
)
@click.argument("instance", required=False)
def events_command(
    run_dir: str, *, as_json: bool, follow: bool, count: int, instance: str | None
) -> int:
    """Show the last transitions, contests, reloads and restarts with their causes.

    INSTANCE limits it to one. Works also when the agent has ended or crashed. Times are UTC.
    """
    from ipfailover_agent.cli import events  # noqa: PLC0415 - not always needed

    return events.events(run_dir, instance, count=count, as_json=as_json, follow=follow)


@cli.command("drain", short_help="Move this node's addresses to other nodes.")
@options.run_dir_option
@click.option(
    "--wait",
    type=float,
    metavar="SECONDS",
    callback=options.finite,
    help="How long to wait for the verdict; as long as it takes by default.",
)
@click.option(
    "--for",
    "seconds",
    metavar="DURATION",
    callback=options.duration,
    help="End the drain after so many seconds, or 10m, 2h, 1d.",
)
@click.option("--force", is_flag=True, help="Drain even if no other node serves the addresses.")
@click.argument("instances", nargs=-1, metavar="[INSTANCE]...")
def drain_command(
    run_dir: str,
    wait: float | None,
    seconds: float | None,
    *,
    force: bool,
    instances: tuple[str, ...],
) -> int:
    """Move this node's addresses to other nodes, for maintenance.

    An INSTANCE is named by its name or by one of its addresses; none means all, also those that a
    reload adds. Exits with 0 once other nodes serve everything. If no other node takes over, it is
    undone and the exit code is 69. 75: no verdict in time. 78: refused.
    """
    from ipfailover_agent.cli import drain  # noqa: PLC0415 - not always needed
    from ipfailover_agent.drain.drain_requests import DrainRequest  # noqa: PLC0415 - not always needed

    request = DrainRequest(action="drain", words=instances, is_forced=force, seconds=seconds)
    return drain.run(run_dir, request, wait)


@cli.command("undrain", short_help="End a drain: this node may serve again.")
@options.run_dir_option
@click.argument("instances", nargs=-1, metavar="[INSTANCE]...")
def undrain_command(run_dir: str, instances: tuple[str, ...]) -> int:
    """End a drain: this node may serve again.

    An INSTANCE is named by its name or by one of its addresses; none means all.
    """
    from ipfailover_agent.cli import drain  # noqa: PLC0415 - not always needed
    from ipfailover_agent.drain.drain_requests import DrainRequest  # noqa: PLC0415 - not always needed

    return drain.run(run_dir, DrainRequest(action="undrain", words=instances))


@cli.command("drill", short_help="Try a planned handover, measure it, and move everything back.")
@options.shared_options
@options.json_option
@click.argument("instance", required=False)
def drill_command(chosen: Options, *, as_json: bool, instance: str | None) -> int:
    """Try a planned handover of one INSTANCE, a name or an address.

    By default it is the first that this node holds. Drains it, watches another node take it, ends
    the drain, and prints for how long no node or two nodes had the addresses, as far as this node
    can see, beside what the configuration promises. Whether the address comes back depends on
    OPENSHIFT_HA_PREEMPTION.

    Exits with 0 when the promise was kept, 75 when it was not, 69 when no other node took over, 78
    when it was refused.
    """
    from ipfailover_agent.cli import drill  # noqa: PLC0415 - not always needed

    return drill.drill(chosen, instance, as_json=as_json)


@cli.command("release", short_help="Remove what a crashed agent left on this node.")
@options.shared_options
def release_command(chosen: Options) -> int:
    """Remove this node's virtual addresses and the agent's files after a crash.

    Refuses while the agent runs. Needs the node's network, NET_ADMIN, and either the variables or
    the run directory of the agent that crashed; names which is missing.
    """
    from ipfailover_agent.cli import release  # noqa: PLC0415 - not always needed

    return release.release(chosen)
