"""Variables -> Settings."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from ipfailover_agent.config import variables
from ipfailover_agent.config.settings import parse
from ipfailover_agent.errors import Problem, SettingsError
from ipfailover_agent.model import ConflictMode, MissingScript, OnInvalid, Settings
from tests.support.vectors import Vector, load_vectors

HA = "OPENSHIFT_HA_"
ADDRESSES = "OPENSHIFT_HA_VIRTUAL_IPS"

# What only this node's interfaces and addresses can show; the plan refuses them.
REFUSED_BY_THE_PLAN = {"vips-own-address", "iface-none-no-route"}


def parsed(**env: str) -> Settings:
    """Return settings; names without a prefix get the contract's, addresses are added."""
    return parse({ADDRESSES: "192.0.2.10"} | {_full(name): text for name, text in env.items()})


def refused(**env: str) -> tuple[Problem, ...]:
    """Return the problems of an environment that must be refused."""
    with pytest.raises(SettingsError) as caught:
        parsed(**env)
    return caught.value.problems


def _full(name: str) -> str:
    return name if name in variables.BY_NAME else HA + name


def test_addresses_alone_are_enough() -> None:
    """Every other variable has the default that the model names."""
    expected = Settings(virtual_addresses=(ip_address("192.0.2.10"),))
    assert expected == parsed()


def test_documented_defaults_are_what_unset_means() -> None:
    """Writing every documented default out changes nothing."""
    words = {"required", "detected", "computed", "the interval"}
    written = {
        each.name: each.default
        for each in variables.VARIABLES
        if not each.is_agent_option and each.default and each.default not in words
    }
    assert len(written) > 15
    assert parsed() == parsed(**written)


def test_empty_and_blank_values_count_as_unset() -> None:
    """An empty value equals an unset one, for every variable but the label."""
    names = [each.name for each in variables.VARIABLES if not each.is_agent_option]
    empty = dict.fromkeys(names, " \n")
    del empty[ADDRESSES], empty["OPENSHIFT_HA_ADDRESS_LABEL"]
    assert parsed() == parsed(**empty)


def test_surrounding_white_space_is_stripped() -> None:
    """Files of a ConfigMap end in a newline."""
    assert parsed(CONFIG_NAME="ha-1\n", VRRP_ID_OFFSET=" 7\r\n") == parsed(
        CONFIG_NAME="ha-1", VRRP_ID_OFFSET="7"
    )


@pytest.mark.parametrize("vector", load_vectors(), ids=str)
def test_recorded_environments_are_accepted_or_refused_as_decided(vector: Vector) -> None:
    """A refusal names the variable that the contract names, and no other."""
    if vector.reading != "refuse" or vector.name in REFUSED_BY_THE_PLAN:
        parse(vector.env)
        return
    with pytest.raises(SettingsError) as caught:
        parse(vector.env)
    assert {vector.variable} == {each.variable for each in caught.value.problems}


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("CONFIG_NAME", "my.ha-svc_1", "config_name", "my.ha-svc_1"),
        ("VIP_GROUPS", "10", "address_groups", 10),
        ("NETWORK_INTERFACE", "br-ex  eth0.100", "interfaces", ("br-ex", "eth0.100")),
        ("MONITOR_PORT", "0", "monitor_ports", ()),
        ("MONITOR_PORT", "65535", "monitor_ports", (65535,)),
        ("MONITOR_PORTS", "80, 443 8443,80", "monitor_ports", (80, 443, 8443)),
        ("CHECK_SCRIPT", '/bin/sh -c "exit 0"', "check_script", '/bin/sh -c "exit 0"'),
        ("CHECK_SCRIPT_MISSING", "fault", "check_script_missing", MissingScript.FAULT),
        ("CHECK_URL", "http://127.0.0.1:32000/healthz?a=1", "check_url",
         "http://127.0.0.1:32000/healthz?a=1"),
        ("CHECK_URL", "https://[2001:db8::1]/", "check_url", "https://[2001:db8::1]/"),
        ("CHECK_URL_CA_FILE", "/etc/ca/ca.crt", "check_url_ca_file", "/etc/ca/ca.crt"),
        ("CHECK_URL_INSECURE", "true", "check_url_insecure", True),
        ("CHECK_INTERVAL", "5", "check_interval", 5),
        ("CHECK_INTERVAL", "5", "check_timeout", 5),
        ("CHECK_TIMEOUT", "1", "check_timeout", 1),
        ("CHECK_WATCH", "0", "check_watch", 0),
        ("CHECK_WATCH", "0.05", "check_watch", 0.05),
        ("CHECK_WATCH", "1", "check_watch", 1),
        ("CHECK_RISE", "3", "check_rise", 3),
        ("CHECK_FALL", "3", "check_fall", 3),
        ("NOTIFY_SCRIPT", "/bin/echo a b", "notify_script", "/bin/echo a b"),
        ("VRRP_ID_OFFSET", "254", "virtual_router_id_offset", 254),
        ("HA_EXCLUDED_VRRP_IDS", "5 3\t2", "excluded_virtual_router_ids", (2, 3, 5)),
        ("EXCLUDED_VRRP_IDS", "9, 20-22 3", "excluded_virtual_router_ids", (3, 9, 20, 21, 22)),
        ("VRRP_IDS", "192.0.2.10 = 51", "pinned_virtual_router_ids",
         ((ip_address("192.0.2.10"), 51),)),
        ("PRIORITY", "254", "priority", 254),
        ("UNICAST_PEERS", "192.0.2.1 2001:db8::1,192.0.2.2", "unicast_peers",
         tuple(map(ip_address, ["192.0.2.1", "2001:db8::1", "192.0.2.2"]))),
        ("USE_UNICAST", "True", "use_unicast", True),
        ("MULTICAST_SOURCE_IPADDRESS", "192.0.2.1", "multicast_source", ip_address("192.0.2.1")),
        ("OPENSHIFT_HA_MULTICAST_SOURCE_IPADDRESS", "192.0.2.1", "multicast_source",
         ip_address("192.0.2.1")),
        ("UNICAST_SOURCE_IPADDRESS", "2001:db8::1", "unicast_source", ip_address("2001:db8::1")),
        ("OPENSHIFT_HA_UNICAST_SOURCE_IPADDRESS", "192.0.2.1", "unicast_source",
         ip_address("192.0.2.1")),
        ("NFTABLES_RULE", "INPUT", "manages_firewall", True),
        ("IPTABLES_CHAIN", "INPUT", "manages_firewall", True),
        ("ADDRESS_LEASE", "0", "address_lease", 0),
        ("CONFLICT", "report", "conflict", ConflictMode.REPORT),
        ("ON_INVALID", "serve-valid", "on_invalid", OnInvalid.SERVE_VALID),
        ("ADMIN_EMAILS", "a@example.com b@example.com", "admin_emails",
         ("a@example.com", "b@example.com")),
        ("SMTP_SERVER", "192.0.2.9", "smtp_server", "192.0.2.9"),
        ("SMTP_SERVER", "192.0.2.9  25", "smtp_server", "192.0.2.9"),
        ("SMTP_SERVER", "FD00::0:9", "smtp_server", "fd00::9"),
        ("SMTP_SERVER", "mail.example.com  25", "smtp_server", "127.0.0.1"),
        ("ADVERT_INTERVAL", "255", "advert_interval", 255),
        ("ADVERT_INTERVAL", "0.25", "advert_interval", 0.25),
        ("ADVERT_INTERVAL", "2.0", "advert_interval", 2),
        ("VRRP_VERSION", "3", "vrrp_version", 3),
        ("VRRP_VERSION", "auto", "vrrp_version", None),
        ("ADDRESS_LABEL", "ha", "address_label", "ha"),
        ("ADDRESS_LABEL", "", "address_label", ""),
        ("GARP_REFRESH", "0", "garp_refresh", 0),
        ("KEEPALIVED_OPTIONS", "-D -S 7 --vrrp", "keepalived_options",
         ("-D", "-S", "7", "--vrrp")),
        ("KEEPALIVED_CONFIG", "/srv/k.conf", "keepalived_config", "/srv/k.conf"),
    ],
)  # fmt: skip
def test_a_value_is_read(name: str, value: str, field: str, expected: object) -> None:
    """Each variable ends up in its field, in its type."""
    assert expected == getattr(parsed(**{name: value}), field)


@pytest.mark.parametrize(
    ("text", "expected", "is_warned"),
    [
        ("preempt_delay 300", ("preempt_delay", 300), False),
        (" preempt_delay  0 ", ("preempt_delay", 0), False),
        ('"preempt_delay 1000"', ("preempt_delay", 1000), False),
        ("nopreempt ", ("nopreempt", 0), False),
        ("'nopreempt'", ("nopreempt", 0), False),
        ("preempt", ("preempt", 0), False),
        ("''", ("preempt_delay", 300), False),
        ("preempt 300", ("preempt_delay", 300), True),
        ("preempt_nodelay 300", ("preempt", 0), True),
    ],
)
def test_preemption_is_read(text: str, expected: tuple[str, int], *, is_warned: bool) -> None:
    """Documented spellings that never worked are read as they were meant, with a warning."""
    settings = parsed(PREEMPTION=text)
    assert expected == (settings.preemption.mode.value, settings.preemption.delay)
    assert is_warned == bool(settings.warnings)


@pytest.mark.parametrize(
    ("name", "value", "reason", "instead"),
    [
        ("CONFIG_NAME", "my ha", "letters", ""),
        ("CONFIG_NAME", "x#y", "letters", ""),
        ("CONFIG_NAME", "a" * 254, "253", ""),
        ("VIP_GROUPS", "-1", "whole number", ""),
        ("VIP_GROUPS", "010", "old image read 8", ""),
        ("VIP_GROUPS", "text", "old image read 0", ""),
        ("VIP_GROUPS", "9999999999", "whole number", ""),
        ("NETWORK_INTERFACE", "eth0,eth1", "interface", "blanks"),
        ("NETWORK_INTERFACE", "a-name-of-16-chr", "interface", "15"),
        ("NETWORK_INTERFACE", "..", "interface", ""),
        ("NETWORK_INTERFACE", "a/b", "interface", ""),
        ("MONITOR_PORT", "65536", "65535", "MONITOR_PORTS"),
        ("MONITOR_PORT", "80,443", "old image read 80443", "MONITOR_PORTS"),
        ("MONITOR_PORT", "http", "old image read 80", ""),
        ("MONITOR_PORT", "00", "leading zeros", ""),
        ("MONITOR_PORT", "\u0668\u0660", "whole number", ""),
        ("MONITOR_PORTS", "80,0", "1 to 65535", "MONITOR_PORT=0"),
        ("MONITOR_PORTS", "https", "1 to 65535", ""),
        ("CHECK_SCRIPT", "./check.sh", "no full path", "'/'"),
        ("CHECK_SCRIPT", "scripts/check.sh", "no full path", "'/'"),
        ("CHECK_SCRIPT", '/bin/sh -c "exit', "no closing quotation", "quote"),
        ("CHECK_SCRIPT", '""', "no command", "full path"),
        ("CHECK_SCRIPT", "'", "no closing quotation", "quote"),
        ("NOTIFY_SCRIPT", "''", "no command", "full path"),
        ("NOTIFY_SCRIPT", "a 'b", "no closing quotation", "quote"),
        ("CHECK_SCRIPT", "/bin/a\n/bin/b", "U+000A", "one line"),
        ("CHECK_SCRIPT", "/bin/a\x07", "U+0007", "remove"),
        ("CHECK_SCRIPT_MISSING", "maybe", "values", "ignore or fault"),
        ("CHECK_URL", "ftp://x/", "http://", ""),
        ("CHECK_URL", "http://x/'$(id)'", "http://", ""),
        ("CHECK_URL", "http://user@x/", "http://", "user"),
        ("CHECK_URL", "http://x/#top", "http://", "fragment"),
        ("CHECK_URL", "http://x:70000/", "70000 is no port", "65535"),
        ("CHECK_URL", "http://[192.0.2.1]/", "192.0.2.1 in brackets is no IPv6", "without"),
        ("CHECK_URL", "http://[::1::]:81/", "::1:: in brackets is no IPv6", "without"),
        ("CHECK_URL_CA_FILE", "ca.crt", "full path", ""),
        ("CHECK_URL_CA_FILE", "/etc/my ca.crt", "full path", ""),
        ("CHECK_URL_INSECURE", "yes", "values", "true or false"),
        ("CHECK_INTERVAL", "0", "from 0.1", ""),
        ("CHECK_INTERVAL", "2s", "seconds", "unit"),
        ("CHECK_INTERVAL", "0.05", "from 0.1", ""),
        ("CHECK_INTERVAL", "02", "seconds", ""),
        ("CHECK_INTERVAL", "5000", "4294", ""),
        ("CHECK_TIMEOUT", "-1", "seconds", ""),
        ("CHECK_WATCH", "0.04", "from 0.05 to 1", "or 0 for never"),
        ("CHECK_WATCH", "1.5", "from 0.05 to 1", "or 0 for never"),
        ("CHECK_WATCH", "off", "from 0.05 to 1", "or 0 for never"),
        ("CHECK_RISE", "0", "from 1", ""),
        ("CHECK_FALL", "1.5", "whole number", ""),
        ("NOTIFY_SCRIPT", "'", "quotation", "quote"),
        ("REPLICA_COUNT", "two", "old image read 0", ""),
        ("VRRP_ID_OFFSET", "255", "0 to 254", ""),
        ("VRRP_ID_OFFSET", "-1", "0 to 254", ""),
        ("VRRP_ID_OFFSET", "010", "old image read 8", ""),
        ("VRRP_ID_OFFSET", "08", "leading zeros", ""),
        ("HA_EXCLUDED_VRRP_IDS", "20-29", "old image passed over it", "EXCLUDED_VRRP_IDS"),
        ("HA_EXCLUDED_VRRP_IDS", "02", "1 to 255", ""),
        ("HA_EXCLUDED_VRRP_IDS", "256", "1 to 255", ""),
        ("EXCLUDED_VRRP_IDS", "29-20", "range", ""),
        ("EXCLUDED_VRRP_IDS", "0-5", "range", ""),
        ("EXCLUDED_VRRP_IDS", "1-", "range", ""),
        ("VRRP_IDS", "192.0.2.10", "ADDRESS=ID", ""),
        ("VRRP_IDS", "192.0.2.10=256", "1 to 255", ""),
        ("VRRP_IDS", "192.0.2.10=0", "1 to 255", ""),
        ("VRRP_IDS", "node=5", "host name", ""),
        ("VRRP_IDS", "192.0.2.99=5", "does not list", ""),
        ("VRRP_IDS", "192.0.2.10=5,192.0.2.10=6", "has an id already", ""),
        ("VRRP_IDS", "192.0.2.10=5,192.0.2.11=5", "another address", ""),
        ("PRIORITY", "255", "1 to 254", ""),
        ("PRIORITY", "0", "1 to 254", ""),
        ("PREEMPTION", "preempt_delay 1001", "no preemption", "1000"),
        ("PREEMPTION", "preempt_delay", "no preemption", "nopreempt"),
        ("PREEMPTION", "preempt_nodelay", "no preemption", ""),
        ("PREEMPTION", "nopreempt now", "no preemption", ""),
        ("PREEMPTION", "nopreempt\nstate MASTER", "U+000A", ""),
        ("UNICAST_PEERS", "node-b", "host name", "address"),
        ("UNICAST_PEERS", "192.0.2.1/24", "prefix", "'192.0.2.1'"),
        ("UNICAST_PEERS", "224.0.0.18", "multicast", ""),
        ("UNICAST_PEERS", "192.0.2.1\n192.0.2.2", "U+000A", ""),
        ("UNICAST_PEERS_DNS", "192.0.2.1", "no host name", "UNICAST_PEERS"),
        ("UNICAST_PEERS_DNS", "2001:db8::1", "no host name", "UNICAST_PEERS"),
        ("UNICAST_PEERS_DNS", "a..b", "no host name", ""),
        ("UNICAST_PEERS_DNS", "-a", "no host name", ""),
        ("USE_UNICAST", "maybe", "values", "true or false"),
        ("MULTICAST_SOURCE_IPADDRESS", "eth0", "host name", ""),
        ("OPENSHIFT_HA_UNICAST_SOURCE_IPADDRESS", "192.0.2.1/24", "prefix", ""),
        ("NFTABLES_RULE", "a\x00b", "U+0000", ""),
        ("IPTABLES_CHAIN", "a\x1bb", "U+001B", ""),
        ("ADDRESS_LEASE", "-1", "0 to 3600", ""),
        ("CONFLICT", "fight", "values", "resolve, report or off"),
        ("ON_INVALID", "serve", "values", "refuse or serve-valid"),
        ("ADMIN_EMAILS", "a@example.com,b@example.com", "mail address", "blanks"),
        ("ADMIN_EMAILS", "a@example.com }", "mail address", ""),
        ("ADMIN_EMAILS", "a&b@example.com", "keepalived.conf gives a meaning to", "use letters"),
        ("SMTP_SERVER", "mail example com", "mail server", "write an address"),
        ("SMTP_SERVER", "..", "mail server", "leave it out"),
        ("SMTP_SERVER", "192.0.2.300", "mail server", "write an address"),
        ("SMTP_SERVER", "fd00::x", "mail server", "write an address"),
        ("SMTP_SERVER", "fe80::1%eth0", "mail server", "write an address"),
        ("SMTP_SERVER", "192.0.2.9 x", "mail server", "write an address"),
        ("SMTP_SERVER", "a" * 254, "mail server", "write an address"),
        ("SMTP_SERVER", "mail 0", "mail server", ""),
        ("SMTP_SERVER", "mail#1", "mail server", ""),
        ("ADVERT_INTERVAL", "0", "from 0.1", ""),
        ("ADVERT_INTERVAL", "256", "to 255", ""),
        ("ADVERT_INTERVAL", "0.125", "two decimal", ""),
        ("ADVERT_INTERVAL", "1s", "seconds", "unit"),
        ("VRRP_VERSION", "4", "values", "auto, 2 or 3"),
        ("ADDRESS_LABEL", "a b", "letters", ""),
        ("ADDRESS_LABEL", "a" * 14, "13", ""),
        ("ADDRESS_LABEL", "v$p", "letters", ""),
        ("GARP_REFRESH", "off", "whole number", ""),
        ("KEEPALIVED_CONFIG", "keepalived.conf", "full path", ""),
        ("KEEPALIVED_CONFIG", "/etc/../k.conf", "full path", ""),
        ("KEEPALIVED_CONFIG", "/etc/", "full path", ""),
        ("KEEPALIVED_CONFIG", "/etc/a b", "full path", ""),
        ("SELECTOR", "a\nb", "U+000A", ""),
    ],
)
def test_a_value_is_refused(name: str, value: str, reason: str, instead: str) -> None:
    """One fault is one problem; it names the variable, the reason and what to write."""
    (problem,) = refused(**{name: value}, VIRTUAL_IPS="192.0.2.10-11")
    assert _full(name) == problem.variable
    assert reason in problem.reason
    assert instead in problem.instead


@pytest.mark.parametrize(
    "options",
    [
        "-f /tmp/x", "-f/tmp/x", "-lf /tmp/x", "--use-file=/tmp/x", "--use-file /tmp/x",
        "-p /x", "-r /x", "-c /x", "-b /x", "--pid=/x", "--vrrp_pid /x", "-t", "--config-test",
        "-t/tmp/log", "-C", "--check", "-V", "-T", "-v", "--version", "-h", "-s blue",
        "--namespace=blue", "--signum=JSON", "--signum JSON", "-Dt", "-Z", "--no-such", "--vrr",
        "--vrrp=1", "word", "-", "--", "-S", "--log-facility", "'-D'", "-i a;b", "-i $(id)",
    ],
)  # fmt: skip
def test_options_that_break_supervision_are_refused(options: str) -> None:
    """keepalived must run, on our file, with our pid files, in our network namespace."""
    problems = refused(KEEPALIVED_OPTIONS=options)
    assert {"KEEPALIVED_OPTIONS"} == {each.variable for each in problems}
    assert all(each.reason for each in problems)


@pytest.mark.parametrize(
    "options",
    ["-D", "-d", "-l", "-n", "-lnD", "-S 7", "-S7", "-DS 7", "--log-facility=local3",
     "--dont-fork --log-console", "-P -B", "-i node-1", "-M", "-Mcore", "-u 077", "-x -A /s"],
)  # fmt: skip
def test_options_that_do_no_harm_are_taken(options: str) -> None:
    """What people wrote for logging and debugging goes on working."""
    assert tuple(options.split()) == parsed(KEEPALIVED_OPTIONS=options).keepalived_options


def test_all_problems_of_all_variables_are_reported_sorted() -> None:
    """One start, one report."""
    problems = refused(VIRTUAL_IPS="x.y,192.0.2.1/24", VRRP_ID_OFFSET="a", PRIORITY="0")
    assert [each.variable.removeprefix(HA) for each in problems] == [
        "PRIORITY", "VIRTUAL_IPS", "VIRTUAL_IPS", "VRRP_ID_OFFSET"
    ]  # fmt: skip


def test_an_address_listed_twice_is_refused() -> None:
    """keepalived -t passes the same address in two instances; two ids would fight for it."""
    (problem,) = refused(VIRTUAL_IPS="10.0.0.1,10.0.0.2,10.0.0.1")
    assert (ADDRESSES, "10.0.0.1") == (problem.variable, problem.element)
    assert "again" in problem.reason


@pytest.mark.parametrize("value", ["", " \n", ",", "\n,\n"])
def test_no_address_is_a_problem(value: str) -> None:
    """The shell image ran happily with nothing to serve."""
    (problem,) = refused(VIRTUAL_IPS=value)
    assert (ADDRESSES, "there is no address to serve") == (problem.variable, problem.reason)


def test_a_control_character_in_the_list_is_reported_once() -> None:
    """A refused list is not called empty as well."""
    (problem,) = refused(VIRTUAL_IPS="192.0.2.1\x0b192.0.2.2")
    assert "U+000B" in problem.reason


@pytest.mark.parametrize(
    ("env", "variable", "reason"),
    [
        ({"CHECK_INTERVAL": "0.5", "CHECK_SCRIPT": "/bin/true"}, "CHECK_INTERVAL", "whole"),
        ({"CHECK_TIMEOUT": "0.5", "CHECK_SCRIPT": "/bin/true"}, "CHECK_TIMEOUT", "whole"),
        ({"VRRP_IDS": "192.0.2.10=5", "VIP_GROUPS": "1"}, "VRRP_IDS", "VIP_GROUPS"),
        ({"VRRP_IDS": "192.0.2.10=5", "EXCLUDED_VRRP_IDS": "5"}, "VRRP_IDS", "excluded"),
        (
            {"CHECK_URL": "https://x/", "CHECK_URL_CA_FILE": "/ca", "CHECK_URL_INSECURE": "true"},
            "CHECK_URL_CA_FILE",
            "nothing is verified",
        ),
        ({"ADVERT_INTERVAL": "0.5", "VRRP_VERSION": "2"}, "ADVERT_INTERVAL", "whole"),
        ({"ADVERT_INTERVAL": "41", "VRRP_VERSION": "3"}, "ADVERT_INTERVAL", "40"),
        ({"ADVERT_INTERVAL": "40.5"}, "ADVERT_INTERVAL", "40"),
        ({"ADVERT_INTERVAL": "41", "VIRTUAL_IPS": "2001:db8::1"}, "ADVERT_INTERVAL", "40"),
        ({"VRRP_VERSION": "2", "VIRTUAL_IPS": "2001:db8::1"}, "VRRP_VERSION", "IPv6"),
        (
            {"MULTICAST_SOURCE_IPADDRESS": "192.0.2.1",
             "OPENSHIFT_HA_MULTICAST_SOURCE_IPADDRESS": "192.0.2.2"},
            "MULTICAST_SOURCE_IPADDRESS",
            "192.0.2.1",
        ),
    ],
)  # fmt: skip
def test_variables_that_contradict_each_other_are_refused(
    env: dict[str, str], variable: str, reason: str
) -> None:
    """What each variable allows alone may not work together."""
    (problem,) = refused(**env)
    assert HA + variable == problem.variable
    assert reason in problem.reason


def test_an_older_name_is_looked_at_even_where_it_changes_nothing() -> None:
    """A value that cannot be read is refused beside one that can."""
    (problem,) = refused(NFTABLES_RULE="INPUT", IPTABLES_CHAIN="a\x1bb")
    assert problem.variable == "OPENSHIFT_HA_IPTABLES_CHAIN"


def test_both_spellings_may_agree() -> None:
    """The same source address twice is no contradiction, ids of both variables are united."""
    settings = parsed(
        UNICAST_SOURCE_IPADDRESS="2001:db8::1",
        OPENSHIFT_HA_UNICAST_SOURCE_IPADDRESS="2001:DB8::1",
        HA_EXCLUDED_VRRP_IDS="3",
        EXCLUDED_VRRP_IDS="3,4",
    )
    assert ip_address("2001:db8::1") == settings.unicast_source
    assert settings.excluded_virtual_router_ids == (3, 4)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"USE_UNICAST": "true"}, "list the nodes in OPENSHIFT_HA_UNICAST_PEERS"),
        ({"USE_UNICAST": "false", "UNICAST_PEERS": "192.0.2.1"}, "unicast all the same"),
        ({"CHECK_SCRIPT": "curl -sf http://localhost/"}, "'curl' is looked for on PATH"),
        ({"CHECK_SCRIPT": "/bin/true", "CHECK_URL": "http://x/"}, "not looked at"),
        ({"CHECK_SCRIPT": "/bin/true", "MONITOR_PORTS": "80"}, "not looked at"),
        ({"CHECK_URL": "http://x/", "CHECK_URL_INSECURE": "true"}, "is no https:// URL"),
        ({"CHECK_URL_CA_FILE": "/ca.crt"}, "is no https:// URL"),
        ({"MONITOR_PORT": "8080", "MONITOR_PORTS": "80"}, "8080 is not looked at"),
        ({"MONITOR_PORT": "0", "MONITOR_PORTS": "80"}, "0 is not looked at"),
        ({"VIRTUAL_IP": "192.0.2.1"}, "did you mean OPENSHIFT_HA_VIRTUAL_IPS"),
        ({"QQQ": "1"}, "'OPENSHIFT_HA_QQQ' is no variable that this version knows"),
        ({"VIRTUAL_IPS": "192.0.2.1 192.0.2.2,192.0.2.3"}, "update all nodes at once"),
        (
            {"VIRTUAL_IPS": "192.0.2.3,192.0.2.1 192.0.2.2", "VIP_GROUPS": "2"},
            "under the same virtual router id; update all nodes at once",
        ),
    ],
)
def test_accepted_input_that_deserves_a_word_gives_one_warning(
    env: dict[str, str], words: str
) -> None:
    """Warnings are for what works and is probably not what was meant."""
    (warning,) = parsed(**env).warnings
    assert words in warning


@pytest.mark.parametrize(
    "env",
    [
        {"ADDRESS_LEASE": "3"},
        {"CONFLICT": "resolve"},
        {"USE_UNICAST": "true", "UNICAST_PEERS": "192.0.2.1"},
        {"MONITOR_PORT": "80", "CHECK_SCRIPT": "/bin/true"},
        {"MONITOR_PORT": "80", "MONITOR_PORTS": "80 443"},
        {"CHECK_URL": "https://x/", "CHECK_URL_CA_FILE": "/ca.crt"},
        {"CHECK_URL": "https://x/", "CHECK_URL_INSECURE": "true"},
        {"CHECK_URL": "http://x/", "ADVERT_INTERVAL": "0.1", "VRRP_IDS": "192.0.2.10=5"},
        {"VIRTUAL_IPS": "192.0.2.3,192.0.2.1 192.0.2.2"},
    ],
)
def test_ordinary_input_gives_no_warning(env: dict[str, str]) -> None:
    """A warning that is always there is read by nobody."""
    assert parsed(**env).warnings == ()


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        pytest.param({"CHECK_INTERVAL": "0.1"}, (0.1, 0.1), id="shortest"),
        pytest.param({"CHECK_INTERVAL": "1.5"}, (1.5, 1.5), id="slower than keepalived's"),
        pytest.param({"CHECK_INTERVAL": "0.25", "CHECK_TIMEOUT": "0.5"}, (0.25, 0.5), id="both"),
        pytest.param({"CHECK_INTERVAL": "0.25", "CHECK_TIMEOUT": "1"}, (0.25, 1), id="whole"),
        pytest.param(
            {"CHECK_INTERVAL": "0.5", "MONITOR_PORTS": "80 443"}, (0.5, 0.5), id="several ports"
        ),
    ],
)
def test_ports_may_be_checked_at_fractions_of_a_second(
    env: dict[str, str], expected: tuple[float, float]
) -> None:
    """The agent probes them itself then; the timeout is the interval unless it is set."""
    settings = parsed(**env)
    assert expected == (settings.check_interval, settings.check_timeout)
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("env", "variable", "instead"),
    [
        (
            {"CHECK_INTERVAL": "0.5", "CHECK_SCRIPT": "/bin/true"},
            "CHECK_INTERVAL",
            "write whole seconds, or unset OPENSHIFT_HA_CHECK_SCRIPT",
        ),
        (
            {"CHECK_INTERVAL": "0.5", "CHECK_TIMEOUT": "0.5", "CHECK_URL": "http://x/"},
            "CHECK_INTERVAL",
            "write whole seconds, or unset OPENSHIFT_HA_CHECK_URL",
        ),
        ({"CHECK_TIMEOUT": "1.5"}, "CHECK_TIMEOUT", "write whole seconds, or fractions in both"),
        ({"CHECK_INTERVAL": "0.09"}, "CHECK_INTERVAL", "write a number without a unit"),
    ],
    ids=["script", "URL", "timeout alone", "0.09"],
)
def test_what_keepalived_checks_is_checked_at_whole_seconds(
    env: dict[str, str], variable: str, instead: str
) -> None:
    """One problem, which says what to write."""
    (problem,) = refused(**env)
    assert (f"OPENSHIFT_HA_{variable}", instead) == (problem.variable, problem.instead)


def test_a_fraction_without_a_port_is_a_word_to_the_operator() -> None:
    """There is no check, and so nothing that could be fast."""
    settings = parsed(CHECK_INTERVAL="0.5", MONITOR_PORT="0")
    said = f"is not looked at: no port is checked, {HA}MONITOR_PORT is 0"
    assert (f"{HA}CHECK_INTERVAL: {said}",) == settings.warnings


def test_serve_valid_leaves_out_what_the_old_image_left_out() -> None:
    """The rest is served, with a record of what is not."""
    settings = parsed(
        ON_INVALID="serve-valid",
        VIRTUAL_IPS="192.0.2.10,vip.example.com,192.0.2.12",
        HA_EXCLUDED_VRRP_IDS="2, 3, 5",
    )
    assert tuple(map(ip_address, ["192.0.2.10", "192.0.2.12"])) == settings.virtual_addresses
    assert settings.excluded_virtual_router_ids == (5,)
    assert [each.element for each in settings.left_out] == ["2,", "3,", "vip.example.com"]


@pytest.mark.parametrize(
    ("env", "elements"),
    [
        ({"VIRTUAL_IPS": "192.0.2.1/24,x.y"}, ["192.0.2.1/24"]),
        ({"VIRTUAL_IPS": "192.0.2.10,x.y", "VRRP_ID_OFFSET": "a"}, ["a"]),
        ({"VIRTUAL_IPS": "192.0.2.10,192.0.2.08"}, ["192.0.2.08"]),
        ({"VIRTUAL_IPS": "x.y"}, ["", "x.y"]),
        ({"VIRTUAL_IPS": ""}, [""]),
        ({"UNICAST_PEERS": "node-b"}, ["node-b"]),
    ],
)
def test_serve_valid_still_refuses_everything_else(
    env: dict[str, str], elements: list[str]
) -> None:
    """Only what was served by nobody may be passed over, and something must be left."""
    assert elements == [each.element for each in refused(ON_INVALID="serve-valid", **env)]


def test_refusing_is_the_default() -> None:
    """The same input without ON_INVALID is refused."""
    assert [each.element for each in refused(VIRTUAL_IPS="192.0.2.10,x.y")] == ["x.y"]


def test_foreign_variables_are_nobody_s_business() -> None:
    """The environment holds much that is not ours."""
    settings = parse({ADDRESSES: "192.0.2.10", "PATH": "/bin", "IPFAILOVER_PORT": "tcp://x"})
    assert settings == replace(settings, warnings=())


def test_254_addresses_are_parsed_in_no_time() -> None:
    """Start-up counts: an address must not be away longer than it has to."""
    values = {ADDRESSES: ",".join(f"192.0.2.{number}" for number in range(1, 255))}
    durations = []
    for _ in range(20):
        start = time.perf_counter()
        parse(values)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.1  # 3 ms where it was written; coverage slows it down tenfold


@pytest.mark.parametrize(
    ("value", "said"),
    [("mail.example.com", "'mail.example.com' is a name"), ("192.0.2.9 25", "the port 25")],
)
def test_what_is_not_written_of_a_mail_server_is_said(value: str, said: str) -> None:
    """keepalived would look a name up, and a node without DNS would not serve."""
    (warning,) = parsed(SMTP_SERVER=value).warnings
    assert warning.startswith("OPENSHIFT_HA_SMTP_SERVER: ")
    assert said in warning
    assert "no mail is sent" in warning


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:s3cret@10.0.0.1/x", "http://...@10.0.0.1/x"),
        ("http://me:s3/cr@et@10.0.0.1:99999/x", "http://...@10.0.0.1:99999/x"),
        ("http://10.0.0.1/'?token=s3cret", "http://10.0.0.1/'?..."),
        ("http://10.0.0.1:99999/?token=s3cret", "http://10.0.0.1:99999/?..."),
        ("me@example", "me@example"),
    ],
)
def test_a_url_that_is_refused_is_told_without_its_secrets(url: str, shown: str) -> None:
    """The reason is in the log, on the page and in what a probe is answered."""
    (problem,) = refused(CHECK_URL=url)
    assert shown == problem.element
