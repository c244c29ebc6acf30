"""What fast timing wants of a node."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from ipfailover_agent.core.model import Settings
from ipfailover_agent.core.planning.cpu_limits import CpuShare, fast_settings, warnings

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
    assert (2 if expected else 0) == len(warnings(settings, POOR))


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
    said = warnings(chosen(advert_interval=0.1), share)
    assert len(expected) == len(said)
    for words, sentence in zip(expected, said, strict=True):
        assert sentence.startswith("OPENSHIFT_HA_ADVERT_INTERVAL: fast timing ")
        assert words in sentence
        assert sentence.endswith("or choose slower timing")
