"""Which address of this node unicast adverts leave from and arrive at."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ipfailover_agent.core.model import Settings
from ipfailover_agent.core.planning import unicast
from tests.support.vectors import host_facts

FACTS = host_facts(
    {"ens3": ["192.0.2.10/24", "192.0.2.20/24", "fd00::10/64", "fd00::20/64", "fe80::10/64"]}
)
NODE = (ip_address("192.0.2.10"), ip_address("fd00::10"))


@pytest.mark.parametrize(
    ("listed", "given", "expected"),
    [
        pytest.param("192.0.2.11", None, None, id="IPv4: keepalived takes the first by itself"),
        pytest.param("192.0.2.10 192.0.2.11", None, None, id="IPv4: listed by the first"),
        pytest.param("192.0.2.20 192.0.2.11", None, "192.0.2.20", id="IPv4: by another"),
        pytest.param("192.0.2.20 192.0.2.11", "192.0.2.10", "192.0.2.10", id="IPv4: given"),
        pytest.param("fd00::11", None, "fd00::10", id="IPv6: never the link-local one"),
        pytest.param("fd00::20 fd00::11", None, "fd00::20", id="IPv6: listed by another"),
        pytest.param("fd00::11", "fd00::20", "fd00::20", id="IPv6: given"),
        pytest.param("fd00::11", "192.0.2.20", "fd00::10", id="given for the other family"),
        pytest.param("fe80::10 fe80::11", None, None, id="IPv6: link-local peers"),
    ],
)
def test_the_source_is_the_address_that_peers_send_to(
    listed: str, given: str | None, expected: str | None
) -> None:
    """keepalived 2.2.7 listens at one address only."""
    settings = Settings(
        virtual_addresses=(ip_address("192.0.2.101"),),
        unicast_peers=tuple(map(ip_address, listed.split())),
        unicast_source=None if given is None else ip_address(given),
    )
    peers = settings.unicast_peers[-1:]
    found = unicast.source(settings, FACTS, NODE, peers)
    assert (None if expected is None else ip_address(expected)) == found


def test_multicast_needs_no_source() -> None:
    """Without peers nothing is said, whatever is set."""
    settings = Settings(
        virtual_addresses=(ip_address("192.0.2.101"),), unicast_source=ip_address("192.0.2.20")
    )
    assert unicast.source(settings, FACTS, NODE, ()) is None
