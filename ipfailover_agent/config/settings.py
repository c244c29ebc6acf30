"""Variables -> Settings: the table read row by row, and what several rows mean together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ipfailover_agent.config import shell_reading, variables
from ipfailover_agent.config.addresses import Expansion
from ipfailover_agent.config.values import Fields
from ipfailover_agent.errors import SettingsError
from ipfailover_agent.model import Family, OnInvalid, Settings, family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_ADDRESSES = "OPENSHIFT_HA_VIRTUAL_IPS"
_GROUPS = "OPENSHIFT_HA_VIP_GROUPS"
_INTERVAL = "OPENSHIFT_HA_CHECK_INTERVAL"
_TIMEOUT = "OPENSHIFT_HA_CHECK_TIMEOUT"
_PORT = "OPENSHIFT_HA_MONITOR_PORT"
_PORTS = "OPENSHIFT_HA_MONITOR_PORTS"
_SCRIPT = "OPENSHIFT_HA_CHECK_SCRIPT"
_URL = "OPENSHIFT_HA_CHECK_URL"
_CA_FILE = "OPENSHIFT_HA_CHECK_URL_CA_FILE"
_INSECURE = "OPENSHIFT_HA_CHECK_URL_INSECURE"
_PINS = "OPENSHIFT_HA_VRRP_IDS"
_PEERS = "OPENSHIFT_HA_UNICAST_PEERS"
_NAMES = "OPENSHIFT_HA_UNICAST_PEERS_DNS"
_USE_UNICAST = "OPENSHIFT_HA_USE_UNICAST"
_ADVERT_INTERVAL = "OPENSHIFT_HA_ADVERT_INTERVAL"
_VERSION = "OPENSHIFT_HA_VRRP_VERSION"
_LABEL = "OPENSHIFT_HA_ADDRESS_LABEL"
_EXCLUDED = ("HA_EXCLUDED_VRRP_IDS", "OPENSHIFT_HA_EXCLUDED_VRRP_IDS")
_SOURCES = ("MULTICAST_SOURCE_IPADDRESS", "UNICAST_SOURCE_IPADDRESS")
_VERSION_2 = 2


def parse(values: Mapping[str, str]) -> Settings:
    """Return the settings of an environment, given by the variables' full names.

    Names outside the contract are ignored; unknown ones that begin like the contract's give a
    warning.

    Raises:
        SettingsError: something cannot be used; carries every problem of every variable.
    """
    fields = Fields(values)
    found = _read(fields)
    addresses = found.pop(_ADDRESSES, Expansion(addresses=()))
    settings = Settings(virtual_addresses=addresses.addresses, **_fields_of(fields, found))
    _relate(fields, settings, addresses)
    _name_unknown(fields, values)
    return _verdict(fields, settings)


def _read(fields: Fields) -> dict[str, Any]:
    """Return the values by variable; what is unset or refused has the default of its field."""
    found = {}
    for each in variables.VARIABLES:
        if each.parse is None:  # read with the command line
            continue
        text = fields.text(each.name, separators=each.separators)
        value = each.parse(fields, each.name, text) if text else None
        if value is not None:
            found[each.name] = value
    return found


def _fields_of(fields: Fields, found: dict[str, Any]) -> dict[str, Any]:
    """Return the values by their fields in ``Settings``, those of several variables joined."""
    by_field = {
        each.field: found[each.name]
        for each in variables.VARIABLES
        if each.field and each.name in found
    }
    for plain in _SOURCES:
        prefixed = f"{variables.CONTRACT_PREFIX}{plain}"
        if plain in found and found[plain] != found.get(prefixed, found[plain]):
            reason = f"differs from {plain}, which says {found[plain]}"
            fields.refuse(prefixed, str(found[prefixed]), reason, "set one of them")
    excluded = [found[each] for each in _EXCLUDED if each in found]
    by_field["excluded_virtual_router_ids"] = tuple(sorted(set().union(*excluded)))
    if _INTERVAL in found:
        by_field.setdefault("check_timeout", found[_INTERVAL])
    if fields.is_emptied(_LABEL):  # unlike every other variable
        by_field["address_label"] = ""
    return by_field


# --- rules between variables --------------------------------------------------------------------


def _relate(fields: Fields, settings: Settings, addresses: Expansion) -> None:
    """Note what only several variables together say."""
    is_empty = not (addresses.addresses or addresses.left_out_by_old)
    if is_empty and not fields.has_problem(_ADDRESSES):
        instead = "list the virtual addresses, for example 192.0.2.10-12"
        fields.refuse(_ADDRESSES, "", "there is no address to serve", instead)
    _relate_groups(fields, settings, addresses)
    _relate_check(fields, settings)
    _relate_pins(fields, settings)
    _relate_adverts(fields, settings)
    _relate_peers(fields, settings)


def _relate_groups(fields: Fields, settings: Settings, addresses: Expansion) -> None:
    """Say where nodes with the shell image would not agree while a cluster is updated."""
    value = fields.text(_ADDRESSES, separators="\n\t")
    regroups = settings.address_groups and addresses.newly_read and shell_reading.emitted(value)
    if addresses.renumbers or regroups:
        fields.warn(
            _ADDRESSES,
            f"the old image passes over {addresses.newly_read[0]!r}, and so puts other addresses "
            "under the same virtual router id; update all nodes at once"
            + ("" if regroups else ", or write such elements last"),
        )


def _relate_url(fields: Fields, settings: Settings) -> None:
    """Say what an authority and no verification are worth together, and without https."""
    if settings.check_url_insecure and settings.check_url_ca_file:
        reason = f"nothing is verified: {_INSECURE} is true"
        fields.refuse(_CA_FILE, settings.check_url_ca_file, reason, "set one of them")
    is_verified = (settings.check_url or "").lower().startswith("https:")
    for variable, matters in (
        (_CA_FILE, settings.check_url_ca_file is not None),
        (_INSECURE, settings.check_url_insecure),
    ):
        if matters and not is_verified:
            fields.warn(variable, f"is not looked at: {_URL} is no https:// URL")


def _relate_check(fields: Fields, settings: Settings) -> None:
    port = fields.text(_PORT)
    ports = tuple(map(str, settings.monitor_ports))
    if port and fields.is_set(_PORTS) and ports and port not in ports:
        fields.warn(_PORT, f"{port} is not looked at: {_PORTS} replaces it")
    _relate_url(fields, settings)
    _relate_fractions(fields, settings)
    if not fields.is_set(_SCRIPT):
        return
    for variable in (_PORTS, _URL):
        if fields.is_set(variable):
            fields.warn(variable, f"is not looked at: {_SCRIPT} replaces every other check")


def _relate_fractions(fields: Fields, settings: Settings) -> None:
    """keepalived 2.2.7 runs what it checks at whole seconds; the agent can only probe ports."""
    interval, timeout = settings.check_interval, settings.check_timeout
    ours = next(filter(fields.is_set, (_SCRIPT, _URL)), None)
    if interval % 1:
        if ours is not None:
            reason = f"keepalived checks {ours} at whole seconds only"
            fields.refuse(
                _INTERVAL, f"{interval:g}", reason, f"write whole seconds, or unset {ours}"
            )
        elif not settings.monitor_ports:
            fields.warn(_INTERVAL, f"is not looked at: no port is checked, {_PORT} is 0")
    elif timeout % 1:
        reason = f"it is counted in whole seconds, as long as {_INTERVAL} has no fraction"
        instead = "write whole seconds, or fractions in both"
        fields.refuse(_TIMEOUT, f"{timeout:g}", reason, instead)


def _relate_pins(fields: Fields, settings: Settings) -> None:
    if settings.pinned_virtual_router_ids and settings.address_groups:
        element = " ".join(
            f"{each}={number}" for each, number in settings.pinned_virtual_router_ids
        )
        fields.refuse(_PINS, element, f"cannot be used with {_GROUPS}", "unset one of them")
        return
    for address, number in settings.pinned_virtual_router_ids:
        element = f"{address}={number}"
        if number in settings.excluded_virtual_router_ids:
            fields.refuse(_PINS, element, f"id {number} is excluded", "choose another")
        if address not in settings.virtual_addresses and not fields.has_problem(_ADDRESSES):
            fields.refuse(_PINS, element, f"{_ADDRESSES} does not list {address}", "list it")


def _relate_adverts(fields: Fields, settings: Settings) -> None:
    """Version 2 counts whole seconds in a byte, version 3 hundredths in twelve bits."""
    interval, version = settings.advert_interval, settings.vrrp_version
    element = f"{interval:g}"
    has_ipv6 = any(family_of(each) is Family.IPV6 for each in settings.virtual_addresses)
    if version == _VERSION_2:
        if interval % 1:
            reason = "VRRP version 2 knows whole seconds only"
            fields.refuse(_ADVERT_INTERVAL, element, reason, f"set {_VERSION}=3")
        if has_ipv6:
            fields.refuse(_VERSION, "2", "there is no VRRP version 2 for IPv6", "write auto")
        return
    uses_version_3 = version is not None or has_ipv6 or bool(interval % 1)
    if uses_version_3 and interval > variables.LONGEST_ADVERT_V3:
        reason = f"VRRP version 3 knows at most {variables.LONGEST_ADVERT_V3} seconds"
        fields.refuse(_ADVERT_INTERVAL, element, reason, "write fewer seconds")


def _relate_peers(fields: Fields, settings: Settings) -> None:
    has_peers = bool(settings.unicast_peers or settings.unicast_peer_names)
    if settings.use_unicast and not has_peers and not any(map(fields.is_set, (_PEERS, _NAMES))):
        instead = f"list the nodes in {_PEERS}, or a name that resolves to them in {_NAMES}"
        fields.warn(_USE_UNICAST, f"adverts are multicast; for unicast {instead}")
    elif has_peers and fields.is_set(_USE_UNICAST) and not settings.use_unicast:
        given = _PEERS if settings.unicast_peers else _NAMES
        fields.warn(_USE_UNICAST, f"adverts are unicast all the same, since {given} is set")


def _name_unknown(fields: Fields, values: Mapping[str, str]) -> None:
    for name in sorted(filter(variables.is_unknown, values)):
        known = variables.nearest(name)
        hint = f"; did you mean {known}" if known else ""
        fields.warnings.append(f"{name!r} is no variable that this version knows{hint}")


def _verdict(fields: Fields, settings: Settings) -> Settings:
    """Refuse, or report what is left out and what deserves a warning."""
    left_out = tuple(sorted(set(fields.left_out_by_old)))
    if settings.on_invalid is OnInvalid.REFUSE:
        fields.problems += left_out
        left_out = ()
    elif not settings.virtual_addresses and not fields.has_problem(_ADDRESSES):
        fields.refuse(_ADDRESSES, "", "no address is left to serve", "list valid addresses")
        fields.problems += left_out
    if fields.problems:
        raise SettingsError(tuple(fields.problems))
    return replace(settings, warnings=tuple(fields.warnings), left_out=left_out)
