"""What the check asks: the application of this node, and neither the agent nor another node."""

from __future__ import annotations

import pytest

from ipfailover_agent.config import checks, listen, settings
from ipfailover_agent.config.planner import plan
from ipfailover_agent.errors import SettingsError
from tests.support.vectors import host_facts

NODE = host_facts({"eth0": ["10.0.0.11/24", "fd00::11/64"]}, ["default via 10.0.0.1 dev eth0"])


def told(written: str, **variables: str) -> tuple[str, ...]:
    """Return what is said where the agent listens as ``written``."""
    values = {"VIRTUAL_IPS": "10.0.0.5", **variables}
    parsed = settings.parse({f"OPENSHIFT_HA_{name}": value for name, value in values.items()})
    return checks.astray(parsed, plan(parsed, NODE), NODE, listen.parse(written))


@pytest.mark.parametrize(
    ("written", "variables", "named"),
    [
        (":8080", {"MONITOR_PORT": "8080"}, "OPENSHIFT_HA_MONITOR_PORT"),
        ("0.0.0.0:8080", {"MONITOR_PORT": "8080"}, "OPENSHIFT_HA_MONITOR_PORT"),
        ("10.0.0.11:8080", {"MONITOR_PORTS": "80,8080"}, "OPENSHIFT_HA_MONITOR_PORTS"),
        (":80", {"CHECK_INTERVAL": "0.5"}, "OPENSHIFT_HA_MONITOR_PORT"),
        ("127.0.0.1:63000", {"CHECK_URL": "http://localhost:63000/"}, "OPENSHIFT_HA_CHECK_URL"),
        ("10.0.0.11:81", {"CHECK_URL": "http://10.0.0.11:81/a"}, "OPENSHIFT_HA_CHECK_URL"),
        ("[::1]:443", {"CHECK_URL": "https://[::1]/"}, "OPENSHIFT_HA_CHECK_URL"),
        (":81", {"CHECK_URL": "http://[fd00::11]:81/"}, "OPENSHIFT_HA_CHECK_URL"),
    ],
)
def test_a_check_that_the_agent_itself_would_answer_is_refused(
    written: str, variables: dict[str, str], named: str
) -> None:
    """It is always green: the node would hold addresses without the application, for good."""
    with pytest.raises(SettingsError) as caught:
        told(written, **variables)
    (problem,) = caught.value.problems
    assert named == problem.variable
    assert f"IPFAILOVER_LISTEN is {listen.parse(written)}" in problem.reason
    assert "IPFAILOVER_LISTEN" in problem.instead


def test_an_own_port_and_an_own_url_are_refused_together() -> None:
    """Every problem is reported at once."""
    with pytest.raises(SettingsError) as caught:
        told(":81", MONITOR_PORT="81", CHECK_URL="http://127.0.0.1:81/")
    assert 2 == len(caught.value.problems)


@pytest.mark.parametrize("written", ["127.0.0.1:8080", "[fd00::11]:8080"])
def test_the_port_of_the_agent_at_another_address_is_told(written: str) -> None:
    """An application that listens at all addresses cannot start beside the agent."""
    (text,) = told(written, MONITOR_PORT="8080")
    assert text.startswith(f"IPFAILOVER_LISTEN: {written} is the port that the check wants")


@pytest.mark.parametrize(
    ("written", "variables"),
    [
        ("off", {"MONITOR_PORT": "63000"}),
        (":63000", {}),
        (":81", {"MONITOR_PORT": "0"}),
        (":81", {"CHECK_URL": "http://127.0.0.1/"}),
        (":81", {"CHECK_URL": "http://10.0.0.77:81/"}),
        (":81", {"CHECK_URL": "http://www.example.com:81/"}),
        ("127.0.0.1:81", {"CHECK_URL": "http://10.0.0.11:81/"}),
        (":81", {"CHECK_URL": "http://127.0.0.1:81/", "CHECK_SCRIPT": "/bin/true"}),
    ],
)
def test_a_check_of_something_else_is_nothing_to_tell(
    written: str, variables: dict[str, str]
) -> None:
    """Other ports, other addresses, names, nothing that listens, nothing that is asked."""
    assert () == told(written, **variables)


@pytest.mark.parametrize(
    ("address", "url"), [("10.0.0.5", "http://10.0.0.5:81/"), ("fd00::5", "http://[fd00::5]/")]
)
def test_a_url_at_a_virtual_address_is_told(address: str, url: str) -> None:
    """Nothing answers before a node holds it, and no node holds it before something answers."""
    (text,) = told("off", VIRTUAL_IPS=f"10.0.0.7,{address}", CHECK_URL=url)
    assert text.startswith(f"OPENSHIFT_HA_CHECK_URL: {address} is a virtual address: ")


def test_a_url_at_another_node_is_told() -> None:
    """One value for all nodes has them all ask one node."""
    peers = {"UNICAST_PEERS": "10.0.0.11,10.0.0.12"}
    (text,) = told("off", CHECK_URL="http://10.0.0.12:81/", **peers)
    assert text.startswith("OPENSHIFT_HA_CHECK_URL: 10.0.0.12 is another node: ")
    assert () == told("off", CHECK_URL="http://10.0.0.11:81/", **peers)
