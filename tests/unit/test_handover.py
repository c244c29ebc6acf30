"""What is made of looks at the interface and of packets around a handover."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from ipfailover_agent.drain import handover
from ipfailover_agent.drain.handover import AddressLook, Handover, OtherHolderSeen
from ipfailover_agent.model import IPAddress
from ipfailover_agent.vrrp.packets import Announcement
from tests.support.adverts import heard_advert

ONE, TWO = ip_address("10.0.0.5"), ip_address("10.0.0.6")
BOTH = (ONE, TWO)
THEM = "10.0.0.12"
ADVERT = heard_advert(ip_address(THEM), ONE, mac=bytes(6))


def look(at: float, *here: object) -> AddressLook:
    """Return a look."""
    return AddressLook(at=at, here=frozenset(here))  # type: ignore[arg-type]


def seen(at: float, *addresses: IPAddress, holder: str = THEM) -> OtherHolderSeen:
    """Return a sighting of an advert."""
    return OtherHolderSeen(
        at=at, holder=holder, addresses=frozenset(addresses), is_advert=holder == THEM
    )


def test_the_time_between_leaving_and_taking_is_nobodys() -> None:
    """What happened before the request does not count."""
    looks = [look(0, *BOTH), look(1.1, TWO), look(1.2)]
    sightings = [seen(0.5, *BOTH, holder="earlier"), seen(1.5, ONE), seen(1.8, TWO)]
    expected = Handover(
        taken_by=THEM,
        after=pytest.approx(0.8),  # type: ignore[arg-type]
        no_holder=pytest.approx(0.6),  # type: ignore[arg-type]
        two_holders=0.0,
    )
    assert expected == handover.measure(BOTH, 1.0, looks, sightings)


def test_an_address_that_stayed_was_on_both() -> None:
    """Until the last look, as far as anybody knows."""
    found = handover.measure((ONE,), 1.0, [look(1.1, ONE), look(3.0, ONE)], [seen(1.5, ONE)])
    assert (0.0, 1.5) == (found.no_holder, found.two_holders)
    assert 0.5 == handover.measure((ONE,), 1.0, [], [seen(1.5, ONE)]).no_holder


@pytest.mark.parametrize("sightings", [[], [seen(1.5, ONE)]], ids=["none", "one"])
def test_what_nobody_took_was_not_taken(sightings: list[OtherHolderSeen]) -> None:
    """All of the addresses, or it is no handover."""
    assert Handover(taken_by=None) == handover.measure(BOTH, 1.0, [look(1.1)], sightings)
    assert Handover(taken_by=None) == handover.measure((), 1.0, [], sightings)


def test_an_announcement_alone_is_somebody() -> None:
    """He is named by his MAC."""
    found = handover.measure((ONE,), 1.0, [look(1.1)], [seen(1.5, ONE, holder="02:..")])
    assert "02:.." == found.taken_by


def test_an_advert_speaks_for_excluded_addresses() -> None:
    """Under our id; under another one only for what it lists."""
    assert seen(1.0, *BOTH) == handover.sighting(ADVERT, 1.0, BOTH, 11)
    other = replace(ADVERT, virtual_router_id=12)
    assert seen(1.0, ONE) == handover.sighting(other, 1.0, BOTH, 11)


def test_goodbyes_and_other_addresses_say_nothing() -> None:
    """Nor does an announcement of somebody else's address."""
    assert handover.sighting(replace(ADVERT, priority=0), 1.0, BOTH, 11) is None
    assert handover.sighting(ADVERT, 1.0, (TWO,), 11) is None
    told = Announcement(source_mac=bytes(6), announced_mac=b"\2" * 6, address=ONE)
    assert handover.sighting(told, 1.0, (TWO,), 11) is None
    expected = seen(1.0, ONE, holder="02:02:02:02:02:02")
    assert expected == handover.sighting(told, 1.0, (ONE,), 11)
