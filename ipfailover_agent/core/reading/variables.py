"""Every environment variable that the agent reads, in the order that people should meet them.

README's table and ``--help`` are written from this registry; a test keeps them equal.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

CONTRACT_PREFIX = "OPENSHIFT_HA_"
AGENT_PREFIX = "IPFAILOVER_"


class Variable(Struct, frozen=True, kw_only=True):
    """One variable: what it is for, and when a change of it takes effect.

    Attributes:
        name: the environment variable's full name.
        default: what is used when it is unset or empty, as a person would write it; may be a
            word such as ``required`` or ``detected``, or empty where nothing is used.
        summary: one or two sentences for users.
        is_agent_option: it belongs to the agent, has an option of the same meaning, and is never
            taken from the directory or file that IPFAILOVER_CONFIG names.
        takes_effect_at: ``reload`` or ``start``; a reload refuses a changed start-only value.
    """

    name: str
    default: str
    summary: str
    is_agent_option: bool = False
    takes_effect_at: Literal["reload", "start"] = "reload"


def _agent(name: str, default: str, summary: str) -> Variable:
    return Variable(
        name=AGENT_PREFIX + name,
        default=default,
        summary=summary,
        is_agent_option=True,
        takes_effect_at="start",
    )


def _contract(name: str, default: str, summary: str) -> Variable:
    return Variable(name=CONTRACT_PREFIX + name, default=default, summary=summary)


VARIABLES: tuple[Variable, ...] = (
    # What is served
    _contract(
        "VIRTUAL_IPS",
        "required",
        "The virtual addresses: IPv4 and IPv6 addresses and ranges such as `192.0.2.5-7` or "
        "`2001:DB8::A-F`, separated by commas or newlines. Write no prefix length.",
    ),
    _contract(
        "VIP_GROUPS",
        "0",
        "Number of VRRP instances that the addresses are dealt out to, in order. "
        "`0` gives every address an instance of its own.",
    ),
    _contract(
        "CONFIG_NAME",
        "OpenShift-IPFailover",
        "Name of this deployment: letters, digits, `.`, `_` and `-`. Its first eight bytes are "
        "the VRRP version 2 password, so it must be the same on every node.",
    ),
    _contract(
        "NETWORK_INTERFACE",
        "detected",
        "Interfaces to use, separated by blanks; the first that exists is taken. Unset: enp0s3, "
        "enp0s8, eth1, ens3, then the interface of the default route.",
    ),
    # The check
    _contract(
        "MONITOR_PORT",
        "80",
        "TCP port that must answer on the node's own address for the node to hold addresses. "
        "`0` switches the port check off.",
    ),
    _contract(
        "MONITOR_PORTS",
        "",
        "TCP ports that must all answer, separated by commas or blanks. "
        "Replaces OPENSHIFT_HA_MONITOR_PORT.",
    ),
    _contract(
        "CHECK_SCRIPT",
        "",
        "Command that replaces the port check, arguments allowed: a full path in the container. "
        "Exit code 0 means that this node may hold addresses.",
    ),
    _contract(
        "CHECK_SCRIPT_MISSING",
        "ignore",
        "What a check script that is missing or not executable means: `ignore` runs no check, "
        "`fault` keeps the node from holding addresses.",
    ),
    _contract(
        "CHECK_URL",
        "",
        "`http://` or `https://` URL that is checked beside the port: any 2xx answer is healthy. "
        "A Service's healthCheckNodePort makes a NodePort service checkable per node.",
    ),
    _contract(
        "CHECK_URL_CA_FILE",
        "",
        "File with the certificates (PEM) that an `https://` URL is verified with, instead of the "
        "system's: a full path in the container.",
    ),
    _contract(
        "CHECK_URL_INSECURE",
        "false",
        "`true` does not verify the certificate of an `https://` URL, as a kubelet's probes do.",
    ),
    _contract(
        "CHECK_INTERVAL",
        "2",
        "Seconds between two checks. With a fraction, from 0.1 on, the agent probes the ports "
        "itself.",
    ),
    _contract(
        "CHECK_TIMEOUT",
        "the interval",
        "Seconds after which a check that has not ended counts as failed.",
    ),
    _contract("CHECK_RISE", "1", "Successful checks in a row that make a node eligible."),
    _contract("CHECK_FALL", "1", "Failed checks in a row that make a node give its addresses up."),
    _contract(
        "CHECK_WATCH",
        "0.05",
        "Seconds between two questions to the kernel whether the checked ports still have a "
        "listener, 0.05 to 1: one that is gone is checked at once. `0` never asks, and leaves "
        "whole seconds to keepalived's script.",
    ),
    _contract(
        "NOTIFY_SCRIPT",
        "",
        "Command that is run on every transition, your arguments first, then TYPE NAME STATE "
        "PRIORITY. States are MASTER, BACKUP, FAULT and STOP.",
    ),
    # Election
    _contract(
        "REPLICA_COUNT",
        "1",
        "Accepted for compatibility; priorities are spread without it.",
    ),
    _contract(
        "VRRP_ID_OFFSET",
        "10",
        "Number that virtual router ids are counted from, 0 to 254: the first instance gets the "
        "next id. Deployments on one network must not overlap.",
    ),
    Variable(
        name="HA_EXCLUDED_VRRP_IDS",
        default="",
        summary="Virtual router ids that are skipped, separated by blanks.",
    ),
    _contract(
        "EXCLUDED_VRRP_IDS",
        "",
        "The same with blanks, commas and ranges such as `20-29`. "
        "Given both, all of them are skipped.",
    ),
    _contract(
        "VRRP_IDS",
        "",
        "Fixed virtual router ids, `ADDRESS=ID` separated by commas, without groups only. "
        "The other addresses are numbered over the ids that are left.",
    ),
    _contract(
        "PRIORITY",
        "computed",
        "Priority of this node in every instance, 1 to 254, for a preferred node.",
    ),
    _contract(
        "PREEMPTION",
        "preempt_delay 300",
        "What a returning node with a higher priority does: `preempt`, `preempt_delay SECONDS` "
        "(0 to 1000) or `nopreempt`.",
    ),
    # How nodes talk
    _contract(
        "UNICAST_PEERS",
        "",
        "Addresses of the nodes, separated by commas or blanks: adverts go to them instead of "
        "to the multicast group. The node's own address may be among them.",
    ),
    _contract(
        "UNICAST_PEERS_DNS",
        "",
        "Host names, separated by commas or blanks, whose addresses are unicast peers too; they "
        "are resolved every few seconds.",
    ),
    _contract(
        "USE_UNICAST",
        "false",
        "Accepted for compatibility: peers, by address or by name, are what switches unicast on.",
    ),
    Variable(
        name="MULTICAST_SOURCE_IPADDRESS",
        default="",
        summary="Source address of multicast adverts.",
    ),
    _contract("MULTICAST_SOURCE_IPADDRESS", "", "Another name of MULTICAST_SOURCE_IPADDRESS."),
    Variable(
        name="UNICAST_SOURCE_IPADDRESS",
        default="",
        summary="Source address of unicast adverts.",
    ),
    _contract("UNICAST_SOURCE_IPADDRESS", "", "Another name of UNICAST_SOURCE_IPADDRESS."),
    _contract(
        "ADVERT_INTERVAL",
        "1",
        "Seconds between two adverts: whole seconds 1 to 255 with VRRP version 2, 0.1 to 40 with "
        "version 3. Must be the same on every node.",
    ),
    _contract(
        "VRRP_VERSION",
        "auto",
        "`2`, `3` or `auto`: version 2 for IPv4 at whole seconds, else 3. Must be the same on "
        "every node.",
    ),
    _contract(
        "NFTABLES_RULE",
        "",
        "Any value: the agent has the firewall let VRRP in, by rules of its own at the head of "
        "every chain that could drop it, and takes them back when it stops.",
    ),
    _contract("IPTABLES_CHAIN", "", "Older name of OPENSHIFT_HA_NFTABLES_RULE."),
    # What protects the addresses
    _contract(
        "ADDRESS_LEASE",
        "3",
        "Seconds of kernel lifetime on held addresses: if the agent dies or hangs, the kernel "
        "removes them. `0` is none.",
    ),
    _contract(
        "CONFLICT",
        "resolve",
        "What the agent does about a rival for an address: `resolve` has one of the two yield, "
        "`report` only logs it, `off` does not listen.",
    ),
    _contract(
        "SHIELD",
        "on",
        "Whether adverts for the same router ids from routers and CARP devices with other "
        "addresses are dropped before keepalived reads them; `off` lets them move the addresses.",
    ),
    _contract(
        "GARP_REFRESH",
        "10",
        "Seconds between announcements of held addresses; `0` announces on takeover only.",
    ),
    _contract(
        "ADDRESS_LABEL",
        "vip",
        "Held addresses are labelled `INTERFACE:LABEL` where that fits 15 characters. "
        "Set to nothing, no label is used.",
    ),
    _contract(
        "ON_INVALID",
        "refuse",
        "`serve-valid` leaves out addresses that cannot be read and that the shell image left "
        "out too, instead of refusing to start.",
    ),
    # keepalived
    _contract("ADMIN_EMAILS", "root@localhost", "Mail addresses for keepalived, with blanks."),
    _contract(
        "SMTP_SERVER",
        "127.0.0.1",
        "Address of a mail server for keepalived. No mail is sent.",
    ),
    Variable(
        name="KEEPALIVED_OPTIONS",
        default="",
        summary="Further options for keepalived's command line.",
        takes_effect_at="start",
    ),
    Variable(
        name="KEEPALIVED_CONFIG",
        default="/etc/keepalived/keepalived.conf",
        summary="Where the configuration is written and what keepalived is started with.",
        takes_effect_at="start",
    ),
    _contract("SELECTOR", "", "Accepted for compatibility; unused."),
    # The agent itself
    _agent(
        "CONFIG",
        "",
        "File of KEY=VALUE lines, or directory with one file per variable (a mounted ConfigMap), "
        "that overrides the environment and is read again on reload.",
    ),
    _agent(
        "WATCH",
        "true",
        "Reload by itself when what IPFAILOVER_CONFIG names, or the node, has changed.",
    ),
    _agent(
        "LISTEN",
        "127.0.0.1:63000",
        "Where the agent answers HTTP: probes, metrics, status, a page. `ADDRESS:PORT`, `:PORT` "
        "for all addresses, or `off`.",
    ),
    _agent(
        "LOG_FORMAT",
        "text",
        "`text` or `json`. With `json` keepalived's lines are wrapped, so that every line parses.",
    ),
    _agent("LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`."),
    _agent(
        "RUN_DIR",
        "/run/ipfailover-agent",
        "Directory for generated scripts, the status file and keepalived's pid files.",
    ),
    _agent(
        "TEMPLATE_DIR",
        "",
        "Directory with templates of your own; those that it lacks are the packaged ones.",
    ),
)

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
