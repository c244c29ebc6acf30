"""VRRP's timers, as keepalived 2.2.7 logs them."""

from __future__ import annotations

import pytest

from ipfailover_agent.vrrp import timers


@pytest.mark.parametrize(
    ("priority", "version", "advert_interval", "skew", "down"),
    [
        pytest.param(128, 2, 1.0, 0.5, 3.5, id="version 2"),
        pytest.param(128, 2, 5.0, 0.5, 15.5, id="version 2, slowly: the skew stays"),
        pytest.param(192, 3, 0.1, 0.025, 0.325, id="version 3, fast"),
        pytest.param(192, 3, 4.0, 1.0, 13.0, id="version 3, slowly: the skew grows"),
        pytest.param(254, 2, 1.0, 2 / 256, 3 + 2 / 256, id="the highest priority"),
        pytest.param(0, 2, 1.0, 1.0, 4.0, id="no priority is lower"),
    ],
)
def test_a_higher_priority_waits_less(
    priority: int, version: int, advert_interval: float, skew: float, down: float
) -> None:
    """Version 3 scales the skew time by the advertisement interval, version 2 does not."""
    assert pytest.approx(skew) == timers.skew_time(priority, version, advert_interval)
    assert pytest.approx(down) == timers.master_down_interval(priority, version, advert_interval)
