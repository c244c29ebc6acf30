"""What keeps a node from serving as configured, told before it starts."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.config import settings, shortfalls
from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.shortfalls import fast_settings, judge_cpu
from ipfailover_agent.model import CpuShare, HostFacts, Settings
from tests.support.vectors import host_facts

NODE = host_facts({"eth0": ["10.0.0.11/24", "fd00::11/64", "fe80::11/64"]})
BARE = host_facts({"eth0": ["10.0.0.11/24", "fd00::11/64"]})
DOWN = replace(NODE, interfaces=(replace(NODE.interfaces[0], is_up=False),))
URL = {"CHECK_URL": "https://x/"}
GONE, UNSENT = "which is not there", "no notification is sent"
STAYS = "the check fails, and this node stays in FAULT"


def parsed(**variables: str) -> Settings:
    values = {"VIRTUAL_IPS": "10.0.0.100", "NETWORK_INTERFACE": "eth0", **variables}
    return settings.parse({f"OPENSHIFT_HA_{name}": text for name, text in values.items()})


def told(
    variables: dict[str, str],
    facts: HostFacts = NODE,
    **around: Any,  # noqa: ANN401
) -> tuple[str, ...]:
    return shortfalls.judge_node(plan(parsed(**variables), facts), facts, **around)


@pytest.mark.parametrize(
    ("facts", "addresses", "expected"),
    [
        (NODE, "10.0.0.100,fd00::100", ()),
        (BARE, "10.0.0.100", ()),
        (
            BARE,
            "10.0.0.100,fd00::100",
            ("eth0 has no link-local address: IPv6 instances stay in FAULT without one",),
        ),
        (DOWN, "fd00::100", ("eth0 is down: every instance stays in FAULT until it is up",)),
    ],
    ids=["fine", "IPv4 only", "no link-local address", "down"],
)
def test_an_interface_that_cannot_serve_yet_is_told(
    facts: HostFacts, addresses: str, expected: tuple[str, ...]
) -> None:
    """keepalived would be in FAULT, and say nothing of why."""
    assert expected == told({"VIRTUAL_IPS": addresses}, facts)


def test_an_interface_that_has_gone_is_another_s_to_tell() -> None:
    """The plan was made with it."""
    config = plan(parsed(), NODE)
    assert () == shortfalls.judge_node(config, host_facts({}))


@pytest.mark.parametrize(
    ("variables", "around", "expected"),
    [
        (URL, {}, ""),
        (URL, {"has_curl": False}, f"CHECK_URL: curl is not on PATH: {STAYS}"),
        (
            {**URL, "CHECK_URL_CA_FILE": "/ca.crt"},
            {"has_authority": False},
            f"CHECK_URL_CA_FILE: /ca.crt cannot be read: {STAYS}",
        ),
        (
            {"CHECK_SCRIPT": "/opt/check"},
            {"check_interpreter": "/bin/bash\r"},
            f"CHECK_SCRIPT: its first line names '/bin/bash\\r', {GONE}: {STAYS}",
        ),
        (
            {"NOTIFY_SCRIPT": "/opt/notify"},
            {"notify_interpreter": "python"},
            f"NOTIFY_SCRIPT: its first line names 'python', {GONE}: {UNSENT}",
        ),
        ({}, {"has_curl": False, "has_authority": False, "check_interpreter": "x"}, ""),
    ],
    ids=["fine", "curl", "authority", "check", "notify", "not asked for"],
)
def test_a_check_that_can_only_fail_is_told(
    variables: dict[str, str], around: dict[str, Any], expected: str
) -> None:
    """On every node, as a rule: nobody would serve."""
    assert ([f"OPENSHIFT_HA_{expected}"] if expected else []) == list(told(variables, **around))


def test_a_vrf_is_told_too() -> None:
    """The port is asked for outside of it."""
    (text,) = told({"MONITOR_PORT": "80"}, vrf="mgmt")
    assert text.startswith("eth0 is in the VRF mgmt")


# --- CPU, for fast timing ------------------------------------------------------------------------

POOR = CpuShare(pressure=60.4, limit=0.2)


def chosen(**fields: Any) -> Settings:  # noqa: ANN401 - fields of Settings
    return Settings(virtual_addresses=(ip_address("192.0.2.10"),), **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, (), id="default"),
        pytest.param({"address_lease": 0}, (), id="no lease"),
        pytest.param({"address_lease": 60, "advert_interval": 5}, (), id="slow"),
        pytest.param({"check_interval": 1}, (), id="a script each second"),
        pytest.param({"check_interval": 1.5}, (), id="probes, slow"),
        pytest.param({"check_interval": 0.5, "monitor_ports": ()}, (), id="no port"),
        pytest.param({"check_interval": 0.5}, ("CHECK_INTERVAL",), id="probes"),
        pytest.param({"advert_interval": 0.99}, ("ADVERT_INTERVAL",), id="adverts"),
        pytest.param({"address_lease": 2}, ("ADDRESS_LEASE",), id="lease 2"),
        pytest.param(
            {"address_lease": 1, "advert_interval": 0.1, "check_interval": 0.25},
            ("ADVERT_INTERVAL", "CHECK_INTERVAL", "ADDRESS_LEASE"),
            id="all",
        ),
    ],
)
def test_only_fast_settings_want_more_than_a_node_has(
    fields: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """A warning that every busy node gives is read by nobody."""
    settings = chosen(**fields)
    assert tuple(f"OPENSHIFT_HA_{name}" for name in expected) == fast_settings(settings)
    assert (2 if expected else 0) == len(judge_cpu(settings, POOR))


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(CpuShare(), (), id="unknown"),
        pytest.param(CpuShare(pressure=24.9, limit=0.5), (), id="enough"),
        pytest.param(CpuShare(limit=0.49), ("with a CPU limit of 0.49",), id="limit"),
        pytest.param(
            CpuShare(pressure=25.0), ("one in 25 % of the last ten seconds",), id="starved"
        ),
        pytest.param(POOR, ("with a CPU limit of 0.2", "one in 60 %"), id="both"),
    ],
)
def test_a_node_that_cannot_keep_up_is_told_of_in_one_sentence_each(
    share: CpuShare, expected: tuple[str, ...]
) -> None:
    """With the variable, what is lacking, and what to do."""
    said = judge_cpu(chosen(advert_interval=0.1), share)
    assert len(expected) == len(said)
    for words, sentence in zip(expected, said, strict=True):
        assert sentence.startswith("OPENSHIFT_HA_ADVERT_INTERVAL: fast timing ")
        assert words in sentence
        assert sentence.endswith("or choose slower timing")
