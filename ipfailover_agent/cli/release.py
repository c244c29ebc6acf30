"""``release``: take this node's virtual addresses and the agent's traces away after a crash."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ipfailover_agent import model, terminal
from ipfailover_agent.config import memory, ownership, prepare, settings
from ipfailover_agent.errors import NotPermittedError, RefusedError, SettingsError, TemporaryError
from ipfailover_agent.linux import files, host, netlink
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status.running import find_agent

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Options

_ELSEWHERE = (
    "this is not the network of the node; "
    "run with the host's network (hostNetwork: true, docker run --network host)"
)


def release(options: Options) -> int:
    """Remove what is there; raise where it cannot work instead of pretending that it did."""
    paths = RunPaths(directory=options.run_directory, config="")
    if pid := find_agent(options.run_directory, must_run=False):
        raise TemporaryError(f"the agent runs, pid {pid}: stop it, and it removes everything")
    if os.path.isdir(options.run_directory):  # noqa: PTH112 - start-up time
        # An agent in another PID namespace (a pod beside this one) has no pid here, but the lock.
        files.lock_run_directory(paths)
    if missing := host.missing_capabilities(("NET_ADMIN",)):
        raise NotPermittedError(f"cannot remove addresses: the capability {missing[0]} is missing")
    parsed, addresses = _configuration(options, paths)
    recorded = memory.read_recorded_interface(paths.addresses)
    wanted = (*((recorded,) if recorded else ()), *(parsed.interfaces if parsed else ()))
    facts = prepare.look_for(addresses, wanted, memory.read_recorded_addresses(paths.addresses))
    present = [name for name in wanted if facts.interface(name) is not None]
    if wanted and not present:
        names = " and ".join(dict.fromkeys(wanted))
        raise RefusedError(f"cannot find the interface {names}: {_ELSEWHERE}")
    looked_at = present or [
        each.name for each in facts.interfaces if ownership.holds_addresses(each)
    ]
    if not looked_at:
        raise RefusedError(f"cannot find an interface of the node: {_ELSEWHERE}")
    label = parsed.address_label if parsed else "vip"
    released: list[str] = []
    for name in dict.fromkeys(looked_at):
        found = ownership.leftovers(addresses, label, facts, name)
        released += netlink.release_addresses(found)
    for each in dict.fromkeys(released):
        terminal.say(f"removed {each}")
    if not released:
        terminal.say(f"none of {len(addresses)} addresses is on {' or '.join(looked_at)}")
    _remove_rules(parsed)
    # An own template may not name the agent: then only a file in the run directory is the agent's.
    written = parsed.keepalived_config if parsed else ""
    files.remove_run_directory(RunPaths(directory=options.run_directory, config=written))
    return 0


def _remove_rules(parsed: model.Settings | None) -> None:
    """Remove the firewall rules of this deployment, as far as nft is there."""
    from ipfailover_agent.firewall import accept_rules, nft, nft_commands, ruleset  # noqa: PLC0415 - after the cheap refusals
    from ipfailover_agent.firewall.service import remove_all  # noqa: PLC0415 - likewise

    def tell(report: accept_rules.Report) -> None:
        match report:
            case accept_rules.RuleRemoved(table=table, chain=chain):
                terminal.say(f"removed a rule from chain {chain} of table {table}")
            case accept_rules.LookFailed(reason=reason) if parsed and parsed.manages_firewall:
                terminal.say(f"cannot look for firewall rules: {reason}")
            case _:
                pass

    name = (parsed or model.Settings(virtual_addresses=())).config_name
    remove_all(accept_rules.tag_for(name), os.environ, tell)
    if nft.has_shield():
        nft.run_and_wait((nft_commands.REMOVE_SHIELD,), os.environ)
        terminal.say(f"removed the table {ruleset.SHIELD}")


def _configuration(
    options: Options, paths: RunPaths
) -> tuple[model.Settings | None, tuple[model.IPAddress, ...]]:
    """Return what the variables and the run directory say of the addresses."""
    recorded = memory.read_recorded_addresses(paths.addresses)
    try:
        parsed = settings.parse(prepare.read_variables(os.environ, options).values)
    except SettingsError as error:
        if recorded:
            return None, recorded
        raise RefusedError(
            "cannot tell which addresses are the agent's: give the variables of the deployment "
            f"(at least OPENSHIFT_HA_VIRTUAL_IPS), or its run directory\n{error}"
        ) from error
    return parsed, tuple(dict.fromkeys((*parsed.virtual_addresses, *recorded)))
