"""The one table of settings: every environment variable that the agent reads, a row each.

The rows are in the order in which people should meet them. A test holds README's table against
them; ``settings`` reads by them, and has the rules between several of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from ipfailover_agent.config import values
from ipfailover_agent.config.shell_reading import shell_number
from ipfailover_agent.model import ConflictMode, MissingScript, OnInvalid

if TYPE_CHECKING:
    from ipfailover_agent.config.values import Parser

CONTRACT_PREFIX = "OPENSHIFT_HA_"

LONGEST_ADVERT_V3: Final = 40  # RFC 5798, section 5.2.7: twelve bits of centiseconds
_LONGEST_ADVERT_V2: Final = 255  # RFC 3768, section 5.3.7: one byte of seconds
_MANY: Final = 10**9 - 1
_HIGHEST_PRIORITY: Final = 254  # 255 is the owner of an address (RFC 3768, section 5.3.4)
_LONGEST: Final = 3600  # seconds that make sense for a lease or between announcements
_LONGEST_CHECK: Final = 4294  # seconds that keepalived 2.2.7 can count (2**32 microseconds)
_LONGEST_RUN: Final = 1000  # checks in a row
_CHARACTERS: Final = "letters, digits, '.', '_' and '-'"
_CONFIG_NAME: Final = values.matching(r"[A-Za-z0-9._-]{1,253}", f"{_CHARACTERS}, 253 at most")
# With IF: within IFALIASZ, 15 characters.
_LABEL: Final = values.matching(r"[A-Za-z0-9._-]{1,13}", f"{_CHARACTERS}, 13 at most")
_TRUE_OR_FALSE: Final = values.choice({"true": True, "false": False})


class Variable(Struct, frozen=True):
    """One variable: what it is for, how it is read, and when a change of it takes effect.

    Attributes:
        name: the environment variable's full name.
        field: of ``Settings``; of two variables with one field the later counts, unless
            ``settings`` has a rule. Empty where the value is used for nothing.
        default: what is used when it is unset or empty, as a person would write it; may be a
            word such as ``required`` or ``detected``, or empty where nothing is used. A test
            holds it against the default of the field.
        parse: reads a text, or refuses it; None for the agent's own options, which are read with
            the command line and never taken from what IPFAILOVER_CONFIG names.
        summary: one or two sentences for users.
        separators: characters that do not print, and that the value may have all the same.
        takes_effect_at: ``reload`` or ``start``; a reload refuses a changed start-only value.
    """

    name: str
    field: str
    default: str
    parse: Parser[Any] | None
    summary: str
    separators: str = ""
    takes_effect_at: Literal["reload", "start"] = "reload"

    @property
    def is_agent_option(self) -> bool:
        """Return whether it belongs to the agent, and has an option of the same meaning."""
        return self.parse is None


# fmt: off
VARIABLES: Final[tuple[Variable, ...]] = (
    # What is served
    Variable("OPENSHIFT_HA_VIRTUAL_IPS", "virtual_addresses", "required", values.virtual_addresses,
        "The virtual addresses: IPv4 and IPv6 addresses and ranges such as `192.0.2.5-7` or "
        "`2001:DB8::A-F`, separated by commas or newlines. Write no prefix length.",
        separators="\n\t"),
    Variable("OPENSHIFT_HA_VIP_GROUPS", "address_groups", "0",
        values.number(0, _MANY, old=shell_number),
        "Number of VRRP instances that the addresses are dealt out to, in order. `0` gives every "
        "address an instance of its own."),
    Variable("OPENSHIFT_HA_CONFIG_NAME", "config_name", "OpenShift-IPFailover", _CONFIG_NAME,
        "Name of this deployment: letters, digits, `.`, `_` and `-`. Its first eight bytes are "
        "the VRRP version 2 password, so it must be the same on every node."),
    Variable("OPENSHIFT_HA_NETWORK_INTERFACE", "interfaces", "detected", values.interfaces,
        "Interfaces to use, separated by blanks; the first that exists is taken. Unset: enp0s3, "
        "enp0s8, eth1, ens3, then the interface of the default route.", separators="\t"),
    # The check
    Variable("OPENSHIFT_HA_MONITOR_PORT", "monitor_ports", "80", values.port,
        "TCP port that must answer on the node's own address for the node to hold addresses. `0` "
        "switches the port check off."),
    Variable("OPENSHIFT_HA_MONITOR_PORTS", "monitor_ports", "", values.ports,
        "TCP ports that must all answer, separated by commas or blanks. Replaces "
        "OPENSHIFT_HA_MONITOR_PORT.", separators="\t"),
    Variable("OPENSHIFT_HA_CHECK_SCRIPT", "check_script", "", values.script,
        "Command that replaces the port check, arguments allowed: a full path in the container. "
        "Exit code 0 means that this node may hold addresses."),
    Variable("OPENSHIFT_HA_CHECK_SCRIPT_MISSING", "check_script_missing", "ignore",
        values.member(MissingScript),
        "What a check script that is missing or not executable means: `ignore` runs no check, "
        "`fault` keeps the node from holding addresses."),
    Variable("OPENSHIFT_HA_CHECK_URL", "check_url", "", values.url,
        "`http://` or `https://` URL that is checked beside the port: any 2xx answer is healthy. "
        "A Service's healthCheckNodePort makes a NodePort service checkable per node."),
    Variable("OPENSHIFT_HA_CHECK_URL_CA_FILE", "check_url_ca_file", "", values.path,
        "File with the certificates (PEM) that an `https://` URL is verified with, instead of "
        "the system's: a full path in the container."),
    Variable("OPENSHIFT_HA_CHECK_URL_INSECURE", "check_url_insecure", "false", _TRUE_OR_FALSE,
        "`true` does not verify the certificate of an `https://` URL, as a kubelet's probes do."),
    Variable("OPENSHIFT_HA_CHECK_INTERVAL", "check_interval", "2",
        values.decimal(0.1, _LONGEST_CHECK),
        "Seconds between two checks. With a fraction, from 0.1 on, the agent probes the ports "
        "itself."),
    Variable("OPENSHIFT_HA_CHECK_TIMEOUT", "check_timeout", "the interval",
        values.decimal(0.1, _LONGEST_CHECK),
        "Seconds after which a check that has not ended counts as failed."),
    Variable("OPENSHIFT_HA_CHECK_RISE", "check_rise", "1", values.number(1, _LONGEST_RUN),
        "Successful checks in a row that make a node eligible."),
    Variable("OPENSHIFT_HA_CHECK_FALL", "check_fall", "1", values.number(1, _LONGEST_RUN),
        "Failed checks in a row that make a node give its addresses up."),
    Variable("OPENSHIFT_HA_CHECK_WATCH", "check_watch", "0.05",
        values.decimal(0.05, 1, can_be_off=True),
        "Seconds between two questions to the kernel whether the checked ports still have a "
        "listener, 0.05 to 1: one that is gone is checked at once. `0` never asks, and leaves "
        "whole seconds to keepalived's script."),
    Variable("OPENSHIFT_HA_NOTIFY_SCRIPT", "notify_script", "", values.script,
        "Command that is run on every transition, your arguments first, then TYPE NAME STATE "
        "PRIORITY. States are MASTER, BACKUP, FAULT and STOP."),
    # Election
    Variable("OPENSHIFT_HA_REPLICA_COUNT", "", "1", values.number(0, _MANY, old=shell_number),
        "Accepted for compatibility; priorities are spread without it."),
    Variable("OPENSHIFT_HA_VRRP_ID_OFFSET", "virtual_router_id_offset", "10",
        values.number(0, 254, old=shell_number),
        "Number that virtual router ids are counted from, 0 to 254: the first instance gets the "
        "next id. Deployments on one network must not overlap."),
    Variable("HA_EXCLUDED_VRRP_IDS", "excluded_virtual_router_ids", "", values.plain_ids,
        "Virtual router ids that are skipped, separated by blanks.", separators="\t"),
    Variable("OPENSHIFT_HA_EXCLUDED_VRRP_IDS", "excluded_virtual_router_ids", "", values.ids,
        "The same with blanks, commas and ranges such as `20-29`. Given both, all of them are "
        "skipped.", separators="\t"),
    Variable("OPENSHIFT_HA_VRRP_IDS", "pinned_virtual_router_ids", "", values.pinned_ids,
        "Fixed virtual router ids, `ADDRESS=ID` separated by commas, without groups only. The "
        "other addresses are numbered over the ids that are left.", separators="\t"),
    Variable("OPENSHIFT_HA_PRIORITY", "priority", "computed", values.number(1, _HIGHEST_PRIORITY),
        "Priority of this node in every instance, 1 to 254, for a preferred node."),
    Variable("OPENSHIFT_HA_PREEMPTION", "preemption", "preempt_delay 300", values.preemption,
        "What a returning node with a higher priority does: `preempt`, `preempt_delay SECONDS` "
        "(0 to 1000) or `nopreempt`."),
    # How nodes talk
    Variable("OPENSHIFT_HA_UNICAST_PEERS", "unicast_peers", "", values.peers,
        "Addresses of the nodes, separated by commas or blanks: adverts go to them instead of to "
        "the multicast group. The node's own address may be among them.", separators="\t"),
    Variable("OPENSHIFT_HA_UNICAST_PEERS_DNS", "unicast_peer_names", "", values.host_names,
        "Host names, separated by commas or blanks, whose addresses are unicast peers too; they "
        "are resolved every few seconds.", separators="\t"),
    Variable("OPENSHIFT_HA_USE_UNICAST", "use_unicast", "false", _TRUE_OR_FALSE,
        "Accepted for compatibility: peers, by address or by name, are what switches unicast on."),
    Variable("MULTICAST_SOURCE_IPADDRESS", "multicast_source", "", values.address,
        "Source address of multicast adverts."),
    Variable("OPENSHIFT_HA_MULTICAST_SOURCE_IPADDRESS", "multicast_source", "", values.address,
        "Another name of MULTICAST_SOURCE_IPADDRESS."),
    Variable("UNICAST_SOURCE_IPADDRESS", "unicast_source", "", values.address,
        "Source address of unicast adverts."),
    Variable("OPENSHIFT_HA_UNICAST_SOURCE_IPADDRESS", "unicast_source", "", values.address,
        "Another name of UNICAST_SOURCE_IPADDRESS."),
    Variable("OPENSHIFT_HA_ADVERT_INTERVAL", "advert_interval", "1",
        values.decimal(0.1, _LONGEST_ADVERT_V2),
        "Seconds between two adverts: whole seconds 1 to 255 with VRRP version 2, 0.1 to 40 with "
        "version 3. Must be the same on every node."),
    Variable("OPENSHIFT_HA_VRRP_VERSION", "vrrp_version", "auto",
        values.choice({"auto": None, "2": 2, "3": 3}),
        "`2`, `3` or `auto`: version 2 for IPv4 at whole seconds, else 3. Must be the same on "
        "every node."),
    Variable("OPENSHIFT_HA_NFTABLES_RULE", "manages_firewall", "", values.is_written,
        "Any value: the agent has the firewall let VRRP in, by rules of its own at the head of "
        "every chain that could drop it, and takes them back when it stops."),
    Variable("OPENSHIFT_HA_IPTABLES_CHAIN", "manages_firewall", "", values.is_written,
        "Older name of OPENSHIFT_HA_NFTABLES_RULE."),
    # What protects the addresses
    Variable("OPENSHIFT_HA_ADDRESS_LEASE", "address_lease", "3", values.number(0, _LONGEST),
        "Seconds of kernel lifetime on held addresses: if the agent dies or hangs, the kernel "
        "removes them. `0` is none."),
    Variable("OPENSHIFT_HA_CONFLICT", "conflict", "resolve", values.member(ConflictMode),
        "What the agent does about a rival for an address: `resolve` has one of the two yield, "
        "`report` only logs it, `off` does not listen."),
    Variable("OPENSHIFT_HA_SHIELD", "shield", "on", values.choice({"on": True, "off": False}),
        "Whether adverts for the same router ids from routers and CARP devices with other "
        "addresses are dropped before keepalived reads them; `off` lets them move the addresses."),
    Variable("OPENSHIFT_HA_GARP_REFRESH", "garp_refresh", "10", values.number(0, _LONGEST),
        "Seconds between announcements of held addresses; `0` announces on takeover only."),
    Variable("OPENSHIFT_HA_ADDRESS_LABEL", "address_label", "vip", _LABEL,
        "Held addresses are labelled `INTERFACE:LABEL` where that fits 15 characters. Set to "
        "nothing, no label is used."),
    Variable("OPENSHIFT_HA_ON_INVALID", "on_invalid", "refuse", values.member(OnInvalid),
        "`serve-valid` leaves out addresses that cannot be read and that the shell image left "
        "out too, instead of refusing to start."),
    # keepalived
    Variable("OPENSHIFT_HA_ADMIN_EMAILS", "admin_emails", "root@localhost", values.mail_addresses,
        "Mail addresses for keepalived, with blanks.", separators="\t"),
    Variable("OPENSHIFT_HA_SMTP_SERVER", "smtp_server", "127.0.0.1", values.mail_server,
        "Address of a mail server for keepalived. No mail is sent.", separators="\t"),
    Variable("KEEPALIVED_OPTIONS", "keepalived_options", "", values.keepalived_options,
        "Further options for keepalived's command line.",
        separators="\t", takes_effect_at="start"),
    Variable("KEEPALIVED_CONFIG", "keepalived_config", "/etc/keepalived/keepalived.conf",
        values.path,
        "Where the configuration is written and what keepalived is started with.",
        takes_effect_at="start"),
    Variable("OPENSHIFT_HA_SELECTOR", "", "", values.is_written,
        "Accepted for compatibility; unused."),
    # The agent itself
    Variable("IPFAILOVER_CONFIG", "", "", None,
        "File of KEY=VALUE lines, or directory with one file per variable (a mounted ConfigMap), "
        "that overrides the environment and is read again on reload.", takes_effect_at="start"),
    Variable("IPFAILOVER_WATCH", "", "true", None,
        "Reload by itself when what IPFAILOVER_CONFIG names, or the node, has changed.",
        takes_effect_at="start"),
    Variable("IPFAILOVER_LISTEN", "", "127.0.0.1:63000", None,
        "Where the agent answers HTTP: probes, metrics, status, a page. `ADDRESS:PORT`, `:PORT` "
        "for all addresses, or `off`.", takes_effect_at="start"),
    Variable("IPFAILOVER_LOG_FORMAT", "", "text", None,
        "`text` or `json`. With `json` keepalived's lines are wrapped, so that every line "
        "parses.", takes_effect_at="start"),
    Variable("IPFAILOVER_LOG_LEVEL", "", "info", None,
        "`debug`, `info`, `warning` or `error`.", takes_effect_at="start"),
    Variable("IPFAILOVER_RUN_DIR", "", "/run/ipfailover-agent", None,
        "Directory for generated scripts, the status file and keepalived's pid files.",
        takes_effect_at="start"),
    Variable("IPFAILOVER_TEMPLATE_DIR", "", "", None,
        "Directory with templates of your own; those that it lacks are the packaged ones.",
        takes_effect_at="start"),
)
# fmt: on

BY_NAME: dict[str, Variable] = {each.name: each for each in VARIABLES}


def is_contract(name: str) -> bool:
    """Return whether a variable describes what is served, as opposed to the agent itself."""
    known = BY_NAME.get(name)
    return known is not None and not known.is_agent_option


def is_unknown(name: str) -> bool:
    """Return whether a name claims to be part of the contract and is not."""
    return name.startswith(CONTRACT_PREFIX) and name not in BY_NAME


def nearest(name: str) -> str | None:
    """Return the known variable that an unknown ``OPENSHIFT_HA_`` name most likely meant."""
    from difflib import get_close_matches  # noqa: PLC0415 - 5 ms that only a typo costs

    stems = {
        known.name.removeprefix(CONTRACT_PREFIX): known.name
        for known in VARIABLES
        if not known.is_agent_option
    }
    wanted = name.removeprefix(CONTRACT_PREFIX).upper()
    found = get_close_matches(wanted, stems, n=1, cutoff=0.6)
    return stems[found[0]] if found else None
