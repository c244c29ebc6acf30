"""From variables to a candidate: everything that ``run`` and the commands share.

It reads sources and the host, has them planned and rendered, and keeps no state.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.config import (
    checks,
    interfaces,
    listen,
    memory,
    ownership,
    planner,
    reach,
    settings,
    shortfalls,
    sources,
    variables,
)
from ipfailover_agent.errors import AgentError, Problem, SettingsError
from ipfailover_agent.linux import files, host
from ipfailover_agent.model import HostScope
from ipfailover_agent.paths import RunPaths

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ipfailover_agent.model import HostFacts, IPAddress, KeepalivedConfig, Rendering, Settings

    AddPeers = Callable[[Settings, HostFacts], HostFacts]

_WATCH = "OPENSHIFT_HA_CHECK_WATCH"
_START_ONLY = tuple(
    each.name
    for each in variables.VARIABLES
    if each.takes_effect_at == "start" and not each.is_agent_option
)


class Options(Struct, frozen=True, kw_only=True):
    """The agent's own settings, each an option and an ``IPFAILOVER_*`` variable.

    ``listen`` is as it was written, see :mod:`config.listen`.
    """

    config: str | None = None
    run_directory: str = "/run/ipfailover-agent"
    template_directory: str | None = None
    listen: str = listen.DEFAULT
    watches: bool = True


class Variables(Struct, frozen=True, kw_only=True):
    """The contract variables in force.

    ``values`` are the initial environment's, overridden by the source's. ``start_only`` holds
    those among them that only a restart can change, the source's wishes for the agent's own
    included.
    """

    values: Mapping[str, str]
    start_only: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def differing(before: Variables | None, after: Variables) -> tuple[str, ...]:
    """Return the names of the variables that are set otherwise, in alphabetical order."""
    old = {} if before is None else before.values
    names = old.keys() | after.values.keys()
    return tuple(sorted(each for each in names if old.get(each) != after.values.get(each)))


class Candidate(Struct, frozen=True, kw_only=True):
    """A configuration that passed the agent's own checks; ``keepalived -t`` comes next.

    ``lacks``: what it needs of the node, in sentences, and the node does not have just now;
    ``unserved``: why clients would not reach addresses though the node serves them;
    ``variables``: what it was built from.
    """

    settings: Settings
    facts: HostFacts
    config: KeepalivedConfig
    paths: RunPaths
    rendering: Rendering
    lacks: tuple[str, ...] = ()
    unserved: tuple[str, ...] = ()
    variables: Variables = Variables(values={}, start_only={})

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return warnings for the operator though nothing is wrong."""
        reports = self.config.reports
        further = (each for each in self.unserved if each not in reports)
        return (*self.settings.warnings, *reports, *further, *self.lacks)


class Attempt(Struct, frozen=True, kw_only=True):
    """What became of variables: None where they cannot be read, and a candidate or an error."""

    variables: Variables | None
    outcome: Candidate | AgentError

    @property
    def candidate(self) -> Candidate | None:
        """Return the candidate, None after an error."""
        return None if isinstance(self.outcome, AgentError) else self.outcome

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what is wrong, a sentence for each thing to mend; empty with a candidate."""
        if isinstance(self.outcome, SettingsError):
            return tuple(map(str, self.outcome.problems))
        return (str(self.outcome),) if isinstance(self.outcome, AgentError) else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what an operator should know of the variables, and of the candidate."""
        read = () if self.variables is None else self.variables.warnings
        found = self.candidate
        return read if found is None else (*read, *found.warnings, *found.config.degraded)

    def found(self) -> Candidate:
        """Return the candidate, or raise the error."""
        if isinstance(self.outcome, AgentError):
            raise self.outcome
        return self.outcome


def attempt(
    environment: Mapping[str, str],
    options: Options,
    add_peers: AddPeers,
    *,
    before: Variables | None = None,
) -> Attempt:
    """Try to make a candidate of an environment and the source; see :func:`build`.

    ``before`` are the variables in force, of which a reload cannot change all.
    """
    variables = None
    try:
        variables = read_variables(environment, options)
        if before is not None:
            refuse_start_only_changes(before, variables)
        candidate = build(variables, options, add_peers)
    except AgentError as error:
        return Attempt(variables=variables, outcome=error)
    return Attempt(variables=variables, outcome=candidate)


def read_variables(environment: Mapping[str, str], options: Options) -> Variables:
    """Read the variables from the environment and the source.

    Raises:
        SettingsError: the source cannot be read.
    """
    source = sources.read_source(options.config) if options.config else {}
    values, foreign = sources.merge(_contract_part(environment), source, is_contract=_concerns_us)
    from_file = sources.read_sysconfig_options()
    if from_file is not None:
        values["KEEPALIVED_OPTIONS"] = from_file
    warnings = tuple(f"{name} in {options.config} is not read from there" for name in foreign)
    starts = {name: values.get(name, "").strip() for name in _START_ONLY}
    starts |= {name: source[name] for name in foreign if name.startswith("IPFAILOVER_")}
    return Variables(values=values, start_only=starts, warnings=warnings)


def _contract_part(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if _concerns_us(name)}


def _concerns_us(name: str) -> bool:
    """Return whether ``settings`` reads the name, or warns of it as unknown."""
    return variables.is_contract(name) or variables.is_unknown(name)


def refuse_start_only_changes(before: Variables, after: Variables) -> None:
    """Raise SettingsError if a value has changed that only a restart can bring into force."""
    old, new = before.start_only, after.start_only
    reason = "a running agent cannot change this: it needs a restart"
    back = "restart the agent, or go back to"
    problems = tuple(
        Problem(name, new.get(name, ""), reason, f"{back} {old.get(name, '')!r}")
        for name in old.keys() | new.keys()
        if old.get(name, "") != new.get(name, "")
    )
    if problems:
        raise SettingsError(problems)


def build(variables: Variables, options: Options, add_peers: AddPeers) -> Candidate:
    """Parse, look at the host, plan and render.

    ``add_peers`` adds what is known of the peers that are given by name; it is called where there
    are any names, and once more when there are none any more. It adds which of the node's
    addresses a running agent uses, too.

    Raises:
        SettingsError: input that cannot be used; every problem of one stage together.
        HostNotReadyError: the node lacks an interface or an address.
        TemplateError: a template cannot be rendered.
    """
    from ipfailover_agent.config import templating  # noqa: PLC0415 - 40 ms for jinja2

    values = variables.values
    parsed = _with_templates(settings.parse(values), values, options.template_directory)
    paths = RunPaths(directory=options.run_directory, config=parsed.keepalived_config)
    _check_config_path(paths)
    facts = add_peers(parsed, look_at_host(parsed, paths, ()))
    config = planner.plan(parsed, facts)
    astray = checks.astray(parsed, config, facts, listen.parse(options.listen))
    rendering = templating.render(config, paths, template_directory=options.template_directory)
    return Candidate(
        settings=parsed,
        facts=facts,
        config=config,
        paths=paths,
        rendering=rendering,
        lacks=(*astray, *_lacks(parsed, config, facts)),
        unserved=reach.unserved(
            parsed, config, facts, host.ipv4_setting("arp_ignore", config.interface) or 0
        ),
        variables=variables,
    )


def _with_templates(
    parsed: Settings, values: Mapping[str, str], directory: str | None
) -> Settings:
    """Return the settings without the watch where the user's own templates lack it.

    A check script of the user's has to be run; and a keepalived.conf that has no room for the
    agent's verdict would be one without a check.
    """
    name = _unaware(directory) if directory and parsed.check_watch else ""
    if not name:
        return parsed
    warnings = parsed.warnings
    if values.get(_WATCH, "").strip():
        warnings += (f"{_WATCH}: is not looked at: {name} is one of your own templates",)
    return replace(parsed, check_watch=0, warnings=warnings)


def _unaware(directory: str) -> str:
    """Return the template of the user's that the watch cannot be used with, or nothing."""
    check = os.path.join(directory, "check.sh.j2")  # noqa: PTH118 - start-up time
    if os.path.exists(check):  # noqa: PTH110 - likewise
        return check
    main = os.path.join(directory, "keepalived.conf.j2")  # noqa: PTH118 - likewise
    try:
        with open(main, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - likewise
            return "" if "port_probes" in file.read() else main
    except OSError:
        return ""  # the packaged one, or one that rendering complains of


def _lacks(parsed: Settings, config: KeepalivedConfig, facts: HostFacts) -> tuple[str, ...]:
    """Return what the configuration needs of the node, and the node does not have just now."""
    found = (
        shortfalls.judge_cpu(parsed, host.cpu_share()) if shortfalls.fast_settings(parsed) else ()
    )
    script = config.track_script
    lacking = shortfalls.judge_node(
        config,
        facts,
        vrf=host.vrf_of(config.interface),
        has_curl=script is None or not script.url or host.is_on_path("curl"),
        has_authority=script is None or host.can_read(script.url_ca_file),
        check_interpreter=host.missing_interpreter(parsed.check_script),
        notify_interpreter=host.missing_interpreter(parsed.notify_script),
    )
    return (*found, *lacking)


def _check_config_path(paths: RunPaths) -> None:
    """Refuse to write keepalived.conf over something that is needed as it is."""
    from pathlib import Path  # noqa: PLC0415 - what finds templates has loaded it by now

    places = (paths.config, paths.directory, *paths.all_files)
    path, directory, *taken = (Path(os.path.realpath(each)) for each in places)
    if {path, *path.parents}.intersection(taken) or path in {directory, *directory.parents}:
        reason = "the agent needs that name for itself"
    else:
        reason = files.obstacle(str(path))
    if reason:
        instead = "name a file of its own, such as /etc/keepalived/keepalived.conf"
        raise SettingsError((Problem("KEEPALIVED_CONFIG", paths.config, reason, instead),))


def record(
    active: Candidate, environment: Mapping[str, str], options: Options
) -> memory.ActiveRecord:
    """Return what other commands should know of the active configuration."""
    pid = os.getpid()
    return memory.ActiveRecord(
        pid=pid,
        agent_started_at=host.process_started_at(pid) or 0,
        environment=tuple(sorted(_contract_part(environment).items())),
        start_only=tuple(sorted(active.variables.start_only.items())),
        source=options.config and os.path.abspath(options.config),  # noqa: PTH100 - as in cli
        template_directory=options.template_directory,
        listen=options.listen,
        digest=active.rendering.digest,
        config=active.config,
    )


def as_recorded(
    record: memory.ActiveRecord, options: Options
) -> tuple[Mapping[str, str], Options]:
    """Return the environment and the options of the agent that wrote a record."""
    theirs = replace(
        options,
        config=record.source,
        template_directory=record.template_directory,
        listen=record.listen,
    )
    return dict(record.environment), theirs


def look_at_host(
    parsed: Settings,
    paths: RunPaths,
    resolved: tuple[IPAddress, ...],
    *,
    is_glance: bool = False,
    is_whole: bool = False,
) -> HostFacts:
    """Return the node as it is now; ``is_glance`` is as for ``host.discover``.

    ``resolved`` is what the names of peers stand for, as far as that is known; ``is_whole``: with
    the addresses of every interface, and not of those alone that matter.
    """
    scope = interfaces.scope(parsed, resolved)
    if is_whole:
        scope = replace(scope, passed_by=frozenset(), is_whole=True)
    return host.discover(
        scope,
        check_script=parsed.check_script,
        notify_script=parsed.notify_script,
        recorded=memory.read_recorded_addresses(paths.addresses),
        is_glance=is_glance,
    )


def plan_again(candidate: Candidate) -> KeepalivedConfig:
    """Return the candidate's plan on the node as it is now; raises as :func:`build` does."""
    resolved = candidate.facts.resolved_peers
    facts = replace(
        look_at_host(candidate.settings, candidate.paths, resolved or ()),
        resolved_peers=resolved,
        used_addresses=candidate.config.node_addresses,
    )
    return planner.plan(candidate.settings, facts)


def look_for(
    addresses: Collection[IPAddress],
    names: Collection[str] = (),
    recorded: tuple[IPAddress, ...] = (),
) -> HostFacts:
    """Return the node as it is now, as far as virtual addresses are concerned.

    ``names`` are those of interfaces that may have them, and of which all addresses are wanted;
    ``recorded`` are the addresses that a former run served, by its record.
    """
    scope = HostScope(
        interfaces=tuple(names), virtual=tuple(addresses), passed_by=ownership.NOT_A_NETWORK
    )
    return host.discover(scope, recorded=recorded)
