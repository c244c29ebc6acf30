"""Own adverts that leave, or do not."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from ipfailover_agent.conflict.own_adverts import MasterLook, OwnAdvertMonitor
from ipfailover_agent.model import IPAddress

GROUP = IPv4Address("224.0.0.18")
PEERS = (IPv4Address("10.0.0.12"), IPv4Address("10.0.0.13"))


def promoted(*seen: tuple[IPAddress, float]) -> OwnAdvertMonitor:
    """Return an instance that became MASTER at 100, and when adverts of it were seen leaving."""
    own = OwnAdvertMonitor()
    for destination, at in seen:
        own.advert_left("a", destination, at)
    own.promoted("a", 100.0)
    return own


def look(*, partial: bool, silent: bool, again_at: float) -> MasterLook:
    """Return what should be seen."""
    return MasterLook(is_partial=partial, is_silent=silent, again_at=pytest.approx(again_at))  # type: ignore[arg-type]


def test_a_first_advert_that_does_not_leave_is_missed_soon() -> None:
    """It leaves when the instance becomes MASTER, unless nobody answers ARP."""
    own = promoted()
    assert look(partial=False, silent=False, again_at=100.3) == own.look("a", 1.0, (), 100.0)
    assert look(partial=True, silent=False, again_at=101.3) == own.look("a", 1.0, (), 100.3)
    assert look(partial=True, silent=False, again_at=101.6) == own.look("a", 1.0, (), 101.3)
    assert look(partial=True, silent=True, again_at=102.6) == own.look("a", 1.0, (), 101.6)


@pytest.mark.parametrize("seen", [99.9, 100.0], ids=["before we are told", "just then"])
def test_adverts_that_leave_are_missed_after_one_and_a_half_intervals(seen: float) -> None:
    """Whoever was told first."""
    own = promoted((GROUP, seen))
    assert look(partial=False, silent=False, again_at=101.6) == own.look("a", 1.0, (), 101.5)
    assert look(partial=True, silent=True, again_at=102.6) == own.look("a", 1.0, (), 101.6)


def test_fast_adverts_are_missed_after_half_a_second() -> None:
    """Not sooner: a busy node is late by as much."""
    own = promoted((GROUP, 100.0))
    assert look(partial=False, silent=False, again_at=100.5) == own.look("a", 0.1, (), 100.4)
    assert look(partial=True, silent=True, again_at=101.0) == own.look("a", 0.1, (), 100.5)


def test_an_advert_of_an_earlier_time_as_master_says_nothing() -> None:
    """It was sent before the instance was BACKUP."""
    assert promoted((GROUP, 90.0)).look("a", 1.0, (), 100.5).is_partial


def test_a_peer_that_no_advert_leaves_for_is_told_from_silence() -> None:
    """One of two is powered off, or we do not hear its answers to ARP."""
    own = promoted((PEERS[0], 100.0), (PEERS[1], 90.0))
    assert look(partial=True, silent=False, again_at=101.4) == own.look("a", 1.0, PEERS, 100.4)
    own.advert_left("a", PEERS[0], 101.0)
    own.advert_left("a", PEERS[1], 101.0)
    assert look(partial=False, silent=False, again_at=102.4) == own.look("a", 1.0, PEERS, 101.4)


def test_another_configuration_forgets_who_is_gone() -> None:
    """Peers and instances."""
    own = promoted((PEERS[0], 100.0), (PEERS[1], 90.0))
    own.counts_unseen("a", 5, 100.0)
    own.configure({"a": "a"})
    assert not own.look("a", 1.0, PEERS[:1], 100.4).is_partial
    own.configure({})
    assert [] == own.masters()


def test_a_master_is_watched_under_its_new_name() -> None:
    """What was called a is called b, and another instance is called a."""
    own = promoted((PEERS[0], 100.0))
    own.counts_unseen("a", 5, 100.0)
    own.configure({"b": "a"})
    assert ["b"] == own.masters()
    assert look(partial=True, silent=False, again_at=101.4) == own.look("b", 1.0, PEERS, 100.4)


@pytest.mark.parametrize("peers", [(), PEERS], ids=["multicast", "unicast"])
def test_after_a_gap_everything_begins_anew(peers: tuple[IPAddress, ...]) -> None:
    """Adverts that left meanwhile were not seen."""
    own = promoted(*((each, 100.0) for each in peers or [GROUP]))
    own.gap(130.0)
    again = look(partial=False, silent=False, again_at=131.5)
    assert again == own.look("a", 1.0, peers, 130.5)


def test_only_masters_are_looked_at() -> None:
    """Others do not advertise."""
    own = promoted()
    own.promoted("b", 100.0)
    own.left_master("a")
    assert ["b"] == own.masters()
    own.clear()
    assert [] == own.masters()


def test_adverts_counted_and_not_seen_are_told_after_three() -> None:
    """As many as a backup misses before it takes over."""
    own = promoted()
    assert [False, False, True] == [
        own.counts_unseen("a", sent, at) for sent, at in [(5, 100.0), (7, 102.0), (8, 103.0)]
    ]


def test_an_advert_seen_or_a_new_keepalived_begins_the_count_anew() -> None:
    """And so does a time in which it was not MASTER."""
    own = promoted()
    own.counts_unseen("a", 5, 100.0)
    own.advert_left("a", GROUP, 100.5)
    assert not own.counts_unseen("a", 9, 104.0)
    assert not own.counts_unseen("a", 1, 105.0)
    assert own.counts_unseen("a", 4, 108.0)
    own.forget_count("a")
    assert not own.counts_unseen("a", 9, 110.0)


def test_a_gap_shows_of_no_advert_that_it_has_left() -> None:
    """An interface that is made anew is believed to carry adverts once one was seen there."""
    own = promoted((GROUP, 100.0))
    own.gap(105.0)
    assert not own.has_left("a", 101.0)
    own.advert_left("a", GROUP, 106.0)
    own.configure({"b": "a"})
    assert own.has_left("b", 101.0)
    own.left_master("b")
    assert not own.has_left("b", 101.0)
