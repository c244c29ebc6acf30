"""What keepalived runs on the node: the check that decides eligibility, and the notify script."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfailover_agent.core.errors import Problem
from ipfailover_agent.core.model import MissingScript, PortCheck, ScriptState, TrackScript

if TYPE_CHECKING:
    from ipfailover_agent.core.model import HostFacts, IPAddress, Settings

_CHECK = "OPENSHIFT_HA_CHECK_SCRIPT"
_NOTIFY = "OPENSHIFT_HA_NOTIFY_SCRIPT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The scripts of a configuration, and what the operator should hear about them.

    ``errors`` are those of the ``reports`` that say that nothing is checked as it should be.
    """

    track_script: TrackScript | None
    notify_command: tuple[str, ...]
    reports: tuple[str, ...]
    errors: tuple[str, ...]


def check_commands(settings: Settings, problems: list[Problem]) -> None:
    """Add a problem for each command that has no words or whose quotes do not match."""
    for variable, text in ((_CHECK, settings.check_script), (_NOTIFY, settings.notify_script)):
        if text is None:
            continue
        try:
            words = shlex.split(text)
        except ValueError as error:
            reason = f"it cannot be split into words: {str(error).lower()}"
        else:
            reason = "" if words and words[0] else "it names no program"
        if reason:
            problems.append(
                Problem(
                    variable=variable,
                    element=text,
                    reason=reason,
                    instead="write a path and its arguments as for a shell, quotes in pairs",
                )
            )


def build(settings: Settings, facts: HostFacts, node: IPAddress) -> Checks:
    """Decide what is checked and who is notified; ``node`` is where the ports are looked for."""
    errors: list[str] = []
    reports: list[str] = []
    track_script = _track_script(settings, facts.check_script, node, errors, reports)
    notify_command = _notify_command(settings, facts.notify_script, reports)
    return Checks(
        track_script=track_script,
        notify_command=notify_command,
        reports=(*errors, *reports),
        errors=tuple(errors),
    )


def _track_script(
    settings: Settings,
    state: ScriptState | None,
    node: IPAddress,
    errors: list[str],
    reports: list[str],
) -> TrackScript | None:
    command: tuple[str, ...] = ()
    always_fails = ""
    if settings.check_script is not None:
        command = tuple(shlex.split(settings.check_script))
        if state not in (None, ScriptState.USABLE):
            always_fails = f"{_CHECK}: {command[0]} is {state.value}"
            command = ()
            if settings.check_script_missing is MissingScript.IGNORE:
                errors.append(
                    f"{always_fails}: the check is left out, this node stays eligible whatever "
                    "happens to the service"
                )
                return None
            errors.append(f"{always_fails}: this node stays in FAULT until it is there")
    ports: tuple[PortCheck, ...] = ()
    url = None
    if settings.check_script is None:
        ports = tuple(PortCheck(address=node, port=port) for port in settings.monitor_ports)
        url = settings.check_url
    if not (command or always_fails or ports or url):
        return None
    interval, timeout = settings.check_interval, settings.check_timeout
    if not float(interval).is_integer() or not float(timeout).is_integer():
        reports.append(
            "OPENSHIFT_HA_CHECK_INTERVAL, OPENSHIFT_HA_CHECK_TIMEOUT: fractions of a second are "
            f"not supported yet, checking every {_whole(interval)} s within {_whole(timeout)} s"
        )
    return TrackScript(
        name="chk_" + settings.config_name.replace("-", "_"),
        interval=_whole(interval),
        timeout=_whole(timeout),
        rise=settings.check_rise,
        fall=settings.check_fall,
        command=command,
        always_fails=always_fails,
        ports=ports,
        url=url,
        url_ca_file=settings.check_url_ca_file,
        url_insecure=settings.check_url_insecure,
    )


def _notify_command(
    settings: Settings, state: ScriptState | None, reports: list[str]
) -> tuple[str, ...]:
    if settings.notify_script is None:
        return ()
    command = tuple(shlex.split(settings.notify_script))
    if state not in (None, ScriptState.USABLE):
        reports.append(f"{_NOTIFY}: {command[0]} is {state.value}: nobody is notified")
        return ()
    return command


def _whole(seconds: float) -> int:
    """Round up to what keepalived 2.2.7 takes: whole seconds, at least 1."""
    return max(1, math.ceil(seconds))
