"""Variables -> Settings: every variable of the contract, parsed and validated together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.core.errors import SettingsError
from ipfailover_agent.core.model import (
    ConflictMode,
    Family,
    MissingScript,
    OnInvalid,
    Settings,
    family_of,
)
from ipfailover_agent.core.reading import field_kinds, old_reading, variables
from ipfailover_agent.core.reading.addresses import expand
from ipfailover_agent.core.reading.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.core.reading.addresses import Expansion

_ADDRESSES = "OPENSHIFT_HA_VIRTUAL_IPS"
_GROUPS = "OPENSHIFT_HA_VIP_GROUPS"
_INTERVAL = "OPENSHIFT_HA_CHECK_INTERVAL"
_TIMEOUT = "OPENSHIFT_HA_CHECK_TIMEOUT"
_PORT = "OPENSHIFT_HA_MONITOR_PORT"
_PORTS = "OPENSHIFT_HA_MONITOR_PORTS"
_WATCH = "OPENSHIFT_HA_CHECK_WATCH"
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

_NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,253}")
_LABEL_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,13}")  # with IF: within IFALIASZ, 15 characters
_PATH_WORDS = "a full path of letters, digits and . _ + = @ : - without . and .."
_PATH_PATTERN = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+=@:-]+)+")

_MANY = 10**9 - 1
_HIGHEST_PRIORITY = 254  # 255 is the owner of an address (RFC 3768, section 5.3.4)
_LONGEST = 3600  # seconds that make sense for a lease or between announcements
_LONGEST_CHECK = 4294  # seconds that keepalived 2.2.7 can count (2**32 microseconds)
_LONGEST_RUN = 1000  # checks in a row
_LONGEST_ADVERT_V2 = 255  # RFC 3768, section 5.3.7: one byte of seconds
_LONGEST_ADVERT_V3 = 40  # RFC 5798, section 5.2.7: twelve bits of centiseconds
_VERSION_2 = 2

_DEFAULTS = Settings(virtual_addresses=())


def parse(values: Mapping[str, str]) -> Settings:
    """Return the settings of an environment.

    Args:
        values: environment variables by full name; names outside the contract are ignored,
            unknown names that begin like the contract's give a warning.

    Raises:
        SettingsError: something cannot be used; carries every problem of every variable.
    """
    fields = Fields(values)
    on_invalid = fields.choice(
        "OPENSHIFT_HA_ON_INVALID", {each.value: each for each in OnInvalid}, "refuse"
    )
    addresses = _addresses(fields)
    settings = _settings(fields, addresses, on_invalid)
    _relate(fields, settings, addresses)
    _name_unknown(fields, values)
    return _verdict(fields, settings)


def _settings(fields: Fields, addresses: Expansion, on_invalid: OnInvalid) -> Settings:
    interval = fields.decimal(_INTERVAL, _DEFAULTS.check_interval, 0.1, _LONGEST_CHECK)
    return Settings(
        virtual_addresses=addresses.addresses,
        config_name=_config_name(fields),
        address_groups=fields.number(_GROUPS, 0, (0, _MANY), old=old_reading.shell_number),
        interfaces=field_kinds.interfaces(fields, "OPENSHIFT_HA_NETWORK_INTERFACE"),
        monitor_ports=_monitor_ports(fields),
        check_script=field_kinds.script(fields, _SCRIPT),
        check_script_missing=fields.choice(
            "OPENSHIFT_HA_CHECK_SCRIPT_MISSING",
            {each.value: each for each in MissingScript},
            "ignore",
        ),
        check_url=field_kinds.url(fields, _URL),
        check_url_ca_file=fields.matching(_CA_FILE, _PATH_PATTERN, "", allowed=_PATH_WORDS)
        or None,
        check_url_insecure=fields.choice(_INSECURE, {"true": True, "false": False}, "false"),
        check_interval=interval,
        check_timeout=fields.decimal(_TIMEOUT, interval, 0.1, _LONGEST_CHECK),
        check_rise=fields.number("OPENSHIFT_HA_CHECK_RISE", 1, (1, _LONGEST_RUN)),
        check_fall=fields.number("OPENSHIFT_HA_CHECK_FALL", 1, (1, _LONGEST_RUN)),
        check_watch=fields.decimal(_WATCH, _DEFAULTS.check_watch, 0.05, 1, can_be_off=True),
        notify_script=field_kinds.script(fields, "OPENSHIFT_HA_NOTIFY_SCRIPT"),
        virtual_router_id_offset=fields.number(
            "OPENSHIFT_HA_VRRP_ID_OFFSET", 10, (0, 254), old=old_reading.shell_number
        ),
        excluded_virtual_router_ids=field_kinds.excluded_ids(fields),
        pinned_virtual_router_ids=field_kinds.pinned_ids(fields, _PINS),
        priority=_priority(fields),
        preemption=field_kinds.preemption(fields, "OPENSHIFT_HA_PREEMPTION", _DEFAULTS.preemption),
        unicast_peers=field_kinds.peers(fields, _PEERS),
        unicast_peer_names=field_kinds.host_names(fields, _NAMES),
        use_unicast=fields.choice(_USE_UNICAST, {"true": True, "false": False}, "false"),
        multicast_source=field_kinds.source(fields, "MULTICAST_SOURCE_IPADDRESS"),
        unicast_source=field_kinds.source(fields, "UNICAST_SOURCE_IPADDRESS"),
        manages_firewall=_manages_firewall(fields),
        address_lease=fields.number("OPENSHIFT_HA_ADDRESS_LEASE", 3, (0, _LONGEST)),
        conflict=fields.choice(
            "OPENSHIFT_HA_CONFLICT", {each.value: each for each in ConflictMode}, "resolve"
        ),
        shield=fields.choice("OPENSHIFT_HA_SHIELD", {"on": True, "off": False}, "on"),
        on_invalid=on_invalid,
        admin_emails=field_kinds.mail_addresses(
            fields, "OPENSHIFT_HA_ADMIN_EMAILS", _DEFAULTS.admin_emails
        ),
        smtp_server=field_kinds.mail_server(
            fields, "OPENSHIFT_HA_SMTP_SERVER", _DEFAULTS.smtp_server
        ),
        advert_interval=fields.decimal(_ADVERT_INTERVAL, 1, 0.1, _LONGEST_ADVERT_V2),
        vrrp_version=fields.choice(_VERSION, {"auto": None, "2": 2, "3": 3}, "auto"),
        address_label=_address_label(fields),
        garp_refresh=fields.number("OPENSHIFT_HA_GARP_REFRESH", 10, (0, _LONGEST)),
        keepalived_options=field_kinds.keepalived_options(fields, "KEEPALIVED_OPTIONS"),
        keepalived_config=fields.matching(
            "KEEPALIVED_CONFIG",
            _PATH_PATTERN,
            _DEFAULTS.keepalived_config,
            allowed=_PATH_WORDS,
        ),
    )


# --- variables with a rule of their own ---------------------------------------------------------


def _addresses(fields: Fields) -> Expansion:
    expansion = expand(fields.text(_ADDRESSES, separators="\n\t"), variable=_ADDRESSES)
    fields.problems += expansion.problems
    fields.left_out_by_old += expansion.left_out_by_old
    return expansion


def _config_name(fields: Fields) -> str:
    return fields.matching(
        "OPENSHIFT_HA_CONFIG_NAME",
        _NAME_PATTERN,
        _DEFAULTS.config_name,
        allowed="letters, digits, '.', '_' and '-', 253 at most",
    )


def _monitor_ports(fields: Fields) -> tuple[int, ...]:
    """Return the ports to check; the list replaces the single one."""
    port = fields.number(
        _PORT,
        80,
        (0, field_kinds.HIGHEST_PORT),
        instead=f"list several ports in {_PORTS}",
        old=_old_port,
    )
    ports = field_kinds.ports(fields, _PORTS)
    if ports and fields.is_set(_PORT) and port not in ports:
        fields.warn(_PORT, f"{port} is not looked at: {_PORTS} replaces it")
    return ports or ((port,) if port else ())


def _old_port(text: str) -> int:
    """Return the port that the shell image read: the digits, whatever stood between them."""
    digits = re.sub(r"[^0-9]", "", text)[: len("65535") + 1]
    return int(digits) if digits else 80


def _priority(fields: Fields) -> int | None:
    return fields.number("OPENSHIFT_HA_PRIORITY", 0, (1, _HIGHEST_PRIORITY)) or None


def _manages_firewall(fields: Fields) -> bool:
    names = ("OPENSHIFT_HA_NFTABLES_RULE", "OPENSHIFT_HA_IPTABLES_CHAIN")
    values = [fields.text(name) for name in names]  # both, so that both are validated
    return any(values)


def _address_label(fields: Fields) -> str:
    """Return the label; there and empty means none, unlike with every other variable."""
    is_emptied = fields.is_there(_LABEL) and not fields.is_set(_LABEL)
    default = "" if is_emptied else _DEFAULTS.address_label
    allowed = "letters, digits, '.', '_' and '-', 13 at most"
    return fields.matching(_LABEL, _LABEL_PATTERN, default, allowed=allowed)


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
    # Read for what it may be refused for, and used for nothing.
    fields.number("OPENSHIFT_HA_REPLICA_COUNT", 1, (0, _MANY), old=old_reading.shell_number)
    fields.text("OPENSHIFT_HA_SELECTOR")


def _relate_groups(fields: Fields, settings: Settings, addresses: Expansion) -> None:
    """Say where nodes with the shell image would not agree while a cluster is updated."""
    value = fields.text(_ADDRESSES, separators="\n\t")
    regroups = settings.address_groups and addresses.newly_read and old_reading.emitted(value)
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
    if uses_version_3 and interval > _LONGEST_ADVERT_V3:
        reason = f"VRRP version 3 knows at most {_LONGEST_ADVERT_V3} seconds"
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
