"""Worst cases, computed from the configuration itself."""

from __future__ import annotations

import pytest

from ipfailover_agent.config import budget, settings
from ipfailover_agent.config.budget import Budget
from ipfailover_agent.config.planner import plan
from tests.support.vectors import host_facts

NODE = host_facts({"eth0": ["10.0.0.11/24"]}, ["default via 10.0.0.1 dev eth0"])

ADDRESSES = {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.5-7"}
PEERS = {"OPENSHIFT_HA_UNICAST_PEERS": "10.0.0.12 10.0.0.13"}
FAST = {
    "OPENSHIFT_HA_ADVERT_INTERVAL": "0.1",
    "OPENSHIFT_HA_VRRP_VERSION": "3",
    "OPENSHIFT_HA_ADDRESS_LEASE": "1",
}


def computed(**variables: str) -> Budget:
    """Return the budget of variables on the node of the examples."""
    parsed = settings.parse({**ADDRESSES, **variables})
    return budget.compute(parsed, plan(parsed, NODE))


def test_the_defaults_are_what_the_guide_says() -> None:
    """Multicast: the skew is half a second at most."""
    assert {
        "planned_stop": 0.55,
        "failed_check": 2.75,
        "hanging_check": 4.75,
        "silent_death": 3.7,
        "silent_death_held": 7.2,
        "two_after_death": 2.0,
        "two_holders": 2.0,
    } == {name: round(seconds or 0, 3) for name, _, seconds in computed().times()}


def test_known_peers_take_over_sooner() -> None:
    """The next in rank has a priority of 250."""
    found = computed(**PEERS)
    assert pytest.approx(6 / 256 + 0.05) == found.planned_stop
    assert pytest.approx(3 + 6 / 256 + 0.2) == found.silent_death


def test_fast_adverts_shorten_everything_but_the_lease() -> None:
    """Version 3 scales the skew with the interval."""
    found = computed(**FAST)
    assert pytest.approx(0.05 + 0.05) == found.planned_stop
    assert pytest.approx(0.3 + 0.05 + 0.2) == found.silent_death
    assert pytest.approx(1.8) == found.two_after_death
    assert pytest.approx(1.1) == found.two_holders


def test_a_chosen_priority_says_nothing_of_the_others() -> None:
    """They may have 1, with a skew of nearly a second."""
    assert pytest.approx(255 / 256 + 0.05) == computed(OPENSHIFT_HA_PRIORITY="200").planned_stop


@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({"OPENSHIFT_HA_ADDRESS_LEASE": "0"}, "two_after_death"),
        ({"OPENSHIFT_HA_CONFLICT": "report"}, "two_holders"),
        ({"OPENSHIFT_HA_CONFLICT": "off"}, "two_holders"),
    ],
    ids=str,
)
def test_without_a_mechanism_there_is_no_end(variables: dict[str, str], field: str) -> None:
    """And it is said in words."""
    found = computed(**variables)
    assert getattr(found, field) is None
    assert 1 == sum(line.endswith("ever, without end") for line in found.lines())


def test_a_long_lease_holds_on_for_longer() -> None:
    """It is renewed just before the end, at worst."""
    assert pytest.approx(9.0) == computed(OPENSHIFT_HA_ADDRESS_LEASE="10").two_after_death


def test_slow_adverts_never_leave_two_after_a_death() -> None:
    """The lease is over before anybody takes over."""
    assert computed(OPENSHIFT_HA_ADVERT_INTERVAL="5").two_after_death == 0


def test_without_a_check_nothing_is_promised_of_one() -> None:
    """Port 0 means that the application is not looked at."""
    found = computed(OPENSHIFT_HA_MONITOR_PORT="0")
    assert (None, None) == (found.failed_check, found.hanging_check)
    assert {"failed_check", "hanging_check"}.isdisjoint(name for name, _, _ in found.times())


def test_probes_of_our_own_count_like_a_script() -> None:
    """A quarter of a second, and the skew."""
    found = computed(OPENSHIFT_HA_CHECK_INTERVAL="0.25")
    assert pytest.approx(0.25 + 0.5 + 0.25) == found.failed_check


def test_the_words_fit_a_terminal() -> None:
    """80 columns, and two digits of a second."""
    lines = computed().lines()
    assert "a node dies silently: no holder for at most 3.70 s" in lines
    assert max(map(len, lines)) <= 80


def test_the_summary_names_lease_and_takeover() -> None:
    """It is part of the line at start."""
    for more, lease in (({}, "lease 3 s"), ({"OPENSHIFT_HA_ADDRESS_LEASE": "0"}, "no lease")):
        parsed = settings.parse({**ADDRESSES, **more})
        said = budget.summary(parsed, plan(parsed, NODE))
        assert f"{lease}, worst takeover 3.7 s" == said
