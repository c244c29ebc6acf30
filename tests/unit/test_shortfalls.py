"""What keeps a node from serving as configured, told before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.core.planning import shortfalls
from ipfailover_agent.core.planning.planner import plan
from ipfailover_agent.core.planning.shortfalls import Surroundings
from ipfailover_agent.core.reading import settings
from tests.support.vectors import host_facts

if TYPE_CHECKING:
    from ipfailover_agent.core.model import HostFacts

NODE = host_facts({"eth0": ["10.0.0.11/24", "fd00::11/64", "fe80::11/64"]})
BARE = host_facts({"eth0": ["10.0.0.11/24", "fd00::11/64"]})
DOWN = replace(NODE, interfaces=(replace(NODE.interfaces[0], is_up=False),))
STAYS = "the check fails, and this node stays in FAULT"


def told(
    variables: dict[str, str],
    facts: HostFacts = NODE,
    **around: Any,  # noqa: ANN401
) -> tuple[str, ...]:
    values = {"VIRTUAL_IPS": "10.0.0.100", "NETWORK_INTERFACE": "eth0", **variables}
    parsed = settings.parse({f"OPENSHIFT_HA_{name}": text for name, text in values.items()})
    config = plan(parsed, facts)
    return shortfalls.judge_node(config, facts, Surroundings(**around))


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
    facts: HostFacts,
    addresses: str,
    expected: tuple[str, ...],
) -> None:
    """keepalived would be in FAULT, and say nothing of why."""
    assert expected == told({"VIRTUAL_IPS": addresses}, facts)


def test_an_interface_that_has_gone_is_another_s_to_tell() -> None:
    """The plan was made with it."""
    config = plan(
        settings.parse(
            {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.100", "OPENSHIFT_HA_NETWORK_INTERFACE": "eth0"}
        ),
        NODE,
    )
    assert () == shortfalls.judge_node(config, host_facts({}), Surroundings())


@pytest.mark.parametrize(
    ("variables", "around", "expected"),
    [
        ({"CHECK_URL": "http://x/"}, {}, ()),
        (
            {"CHECK_URL": "http://x/"},
            {"has_curl": False},
            (f"OPENSHIFT_HA_CHECK_URL: curl is not on PATH: {STAYS}",),
        ),
        (
            {"CHECK_URL": "https://x/", "CHECK_URL_CA_FILE": "/ca.crt"},
            {"has_authority": False},
            (f"OPENSHIFT_HA_CHECK_URL_CA_FILE: /ca.crt cannot be read: {STAYS}",),
        ),
        (
            {"CHECK_SCRIPT": "/opt/check"},
            {"check_interpreter": "/bin/bash\r"},
            (
                (
                    "OPENSHIFT_HA_CHECK_SCRIPT: its first line names '/bin/bash\\r', which is not "
                    f"there: {STAYS}"
                ),
            ),
        ),
        (
            {"NOTIFY_SCRIPT": "/opt/notify"},
            {"notify_interpreter": "python"},
            (
                (
                    "OPENSHIFT_HA_NOTIFY_SCRIPT: its first line names 'python', which is not "
                    "there: no notification is sent"
                ),
            ),
        ),
        ({}, {"has_curl": False, "has_authority": False, "check_interpreter": "x"}, ()),
    ],
    ids=["fine", "curl", "authority", "check", "notify", "not asked for"],
)
def test_a_check_that_can_only_fail_is_told(
    variables: dict[str, str], around: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """On every node, as a rule: nobody would serve."""
    assert expected == told(variables, **around)


def test_a_vrf_is_told_too() -> None:
    """The port is asked for outside of it."""
    (text,) = told({"MONITOR_PORT": "80"}, vrf="mgmt")
    assert text.startswith("eth0 is in the VRF mgmt")
