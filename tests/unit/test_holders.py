"""Who holds an instance's addresses, by the adverts that are heard."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from msgspec.structs import replace

from ipfailover_agent.conflict import holders
from ipfailover_agent.conflict.contexts import ContestContext
from ipfailover_agent.conflict.holders import AdvertClaim
from ipfailover_agent.model import (
    Advertisement,
    Family,
    IPAddress,
    Preemption,
    PreemptionMode,
    VrrpInstance,
)
from ipfailover_agent.vrrp.packets import Advert
from tests.support.adverts import heard_advert

VIRTUAL = IPv4Address("10.0.0.5")
OURS = bytes.fromhex("525400000005")
CONTEXT = ContestContext(
    addresses=(VIRTUAL,),
    virtual_router_id=11,
    priority=64,
    source=IPv4Address("10.0.0.10"),
    node_addresses=frozenset({IPv4Address("10.0.0.99")}),
    mac=OURS,
)
PEER6 = IPv6Address("fe80::12")
DOWN = CONTEXT.master_down_interval  # 3.75 s
HIGH = heard_advert(IPv4Address("10.0.0.12"), VIRTUAL, mac=bytes.fromhex("525400000012"))
LOW = heard_advert(
    IPv4Address("10.0.0.13"), VIRTUAL, mac=bytes.fromhex("525400000013"), priority=100
)
FOREIGN = heard_advert(
    IPv4Address("10.0.0.1"), IPv4Address("10.9.9.9"), mac=bytes.fromhex("525400000001")
)


def after(*told: tuple[Advert, float]) -> tuple[AdvertClaim, ...]:
    """Return what is remembered after these adverts."""
    claims: tuple[AdvertClaim, ...] = ()
    for advert, at in told:
        claims = holders.on_advert(claims, advert, CONTEXT, at)
    return claims


def named(claims: tuple[AdvertClaim, ...], now: float) -> list[str]:
    return [str(each.source) for each in holders.holding(claims, now)]


def every_second(advert: Advert, first: float, last: float) -> list[tuple[Advert, float]]:
    return [(advert, first + number) for number in range(int(last - first) + 1)]


def test_whose_adverts_come_holds_the_addresses() -> None:
    """With the priority of the newest one."""
    [claim] = after(*every_second(HIGH, 10, 12), (replace(HIGH, priority=201), 13.0))
    assert (IPv4Address("10.0.0.12"), 201, 10.0, 13.0, False) == (
        claim.source,
        claim.priority,
        claim.began,
        claim.last,
        claim.is_own,
    )


def test_one_who_was_silent_for_a_master_down_time_is_named_no_more() -> None:
    """Nobody else is: then it is unknown."""
    claims = after(*every_second(HIGH, 10, 12))
    assert ["10.0.0.12"] == named(claims, 12 + DOWN - 0.01)
    assert [] == named(claims, 12 + DOWN)
    assert 12 + DOWN == holders.changes_at(claims, 12.1)
    assert None is holders.changes_at(claims, 12 + DOWN)


def test_the_same_advert_once_more_goes_a_short_way() -> None:
    """Not after a silence, and not where there are several."""
    claims = after((HIGH, 10.0))
    assert after((HIGH, 10.0), (HIGH, 11.0)) == holders.heard_again(claims, 11.0)
    assert None is holders.heard_again(claims, 10.0 + DOWN)
    assert None is holders.heard_again(after((HIGH, 10.0), (LOW, 10.1)), 11.0)
    assert None is holders.heard_again((), 11.0)


def test_one_who_comes_back_after_a_silence_begins_anew() -> None:
    """It is the beginning that says who succeeded whom."""
    [claim] = after((HIGH, 10.0), (HIGH, 30.0))
    assert 30.0 == claim.began


def test_one_who_advertises_more_slowly_is_waited_for_longer() -> None:
    """Its own interval counts."""
    claims = after((replace(HIGH, interval=3.0), 10.0))
    assert ["10.0.0.12"] == named(claims, 19.0)


def test_one_who_leaves_is_forgotten_at_once() -> None:
    """The successor's first advert comes within a second."""
    assert [] == named(after((HIGH, 10.0), (replace(HIGH, priority=0), 10.5)), 10.5)
    assert ["10.0.0.12"] == named(
        after((HIGH, 10.0), (replace(HIGH, priority=0, virtual_router_id=99), 10.5)), 10.5
    )


def test_of_a_preemption_the_successor_alone_is_named() -> None:
    """The lower rank has stepped down by then."""
    claims = after(*every_second(LOW, 10, 12), (HIGH, 12.4))
    assert ["10.0.0.12"] == named(claims, 12.4)


def test_of_a_death_the_successor_alone_is_named() -> None:
    """A lower rank begins when three adverts were missed; a third node waits a little longer."""
    claims = after(*every_second(HIGH, 10, 12), (LOW, 15.61))
    assert ["10.0.0.13"] == named(claims, 15.61)
    assert named(claims, 12 + DOWN) == ["10.0.0.13"]


def test_a_lower_rank_that_is_deaf_does_not_hide_the_master_at_once() -> None:
    """Two intervals later it does, unless the master is heard again."""
    claims = after(*every_second(HIGH, 10, 12), (LOW, 12.5))
    assert ["10.0.0.12", "10.0.0.13"] == named(claims, 13.9)
    assert 14.0 == holders.changes_at(claims, 12.6)
    assert ["10.0.0.13"] == named(claims, 14.0)


def test_two_that_go_on_advertising_are_both_named() -> None:
    """The higher rank first."""
    claims = after(
        *sorted(
            [*every_second(LOW, 10, 14), *every_second(HIGH, 11.5, 14.5)], key=lambda it: it[1]
        )
    )
    assert ["10.0.0.12", "10.0.0.13"] == named(claims, 14.6)


def test_one_that_groups_addresses_otherwise_is_named_once() -> None:
    """Its adverts come under several ids."""
    claims = after((HIGH, 10.0), (replace(HIGH, virtual_router_id=12), 10.1))
    assert ["10.0.0.12"] == named(claims, 10.2)


def test_a_foreign_router_with_our_id_holds_nothing_of_ours() -> None:
    """It lists none of our addresses."""
    assert () == after((FOREIGN, 10.0))
    assert ["10.0.0.12"] == named(after((HIGH, 10.0), (FOREIGN, 10.5)), 10.6)
    other = replace(HIGH, addresses=(IPv4Address("10.9.9.9"),))
    assert 10.0 == after((HIGH, 10.0), (other, 10.5))[0].last


def own(since: float, now: float) -> AdvertClaim:
    instance = VrrpInstance(
        number=1,
        name="vip_VIP_1",
        password=None,
        virtual_router_id=11,
        interface="eth0",
        family=Family.IPV4,
        priority=64,
        virtual_addresses=(),
        advertisement=Advertisement(version=2, interval=1.0),
        preemption=Preemption(mode=PreemptionMode.NEVER),
    )
    return holders.own(instance, IPv4Address("10.0.0.10"), since, now)


def test_this_node_is_one_of_them_while_it_is_master() -> None:
    """Beside another that goes on, both; of one that it succeeded, nothing is said."""
    dead = after(*every_second(HIGH, 10, 12))
    assert ["10.0.0.10"] == named((*dead, own(15.75, 15.8)), 15.8)
    both = after(*every_second(HIGH, 10, 16))
    assert ["10.0.0.12", "10.0.0.10"] == named((*both, own(15.75, 16.5)), 16.5)
    assert None is holders.changes_at((own(15.75, 16.5),), 16.5)


def test_time_in_which_we_did_not_look_silences_nobody() -> None:
    """After a pause of the machine what was heard is as old as before."""
    claims = holders.later(after((HIGH, 10.0)), 30.0, 40.5)
    assert ["10.0.0.12"] == named(claims, 40.5)
    assert [40.5] == [each.last for each in holders.later(claims, 30.0, 40.5)]


def test_forged_senders_do_not_fill_the_memory() -> None:
    """The newest eight are kept."""
    forged = [
        (replace(HIGH, source=IPv4Address(f"10.0.1.{number}")), 10.0) for number in range(100)
    ]
    assert 8 == len(after(*forged))


def test_only_another_holder_or_priority_is_news() -> None:
    """254 adverts a second are not."""
    before = after((HIGH, 10.0))
    assert not holders.is_news(before, holders.on_advert(before, HIGH, CONTEXT, 11.0))
    assert holders.is_news(before, holders.on_advert(before, LOW, CONTEXT, 11.0))
    assert holders.is_news(
        before, holders.on_advert(before, replace(HIGH, priority=201), CONTEXT, 11.0)
    )


@pytest.mark.parametrize(
    ("advert", "peers", "expected"),
    [
        pytest.param(HIGH, (), True, id="master"),
        pytest.param(replace(HIGH, priority=0), (), True, id="leaving"),
        pytest.param(replace(HIGH, is_checksum_right=False), (), False, id="damaged"),
        pytest.param(replace(HIGH, source_mac=OURS), (), False, id="own MAC"),
        pytest.param(replace(HIGH, source=IPv4Address("10.0.0.99")), (), False, id="own"),
        pytest.param(replace(HIGH, ttl=254), (), False, id="routed"),
        pytest.param(replace(HIGH, ttl=254), (IPv4Address("10.0.0.12"),), True, id="routed peer"),
        pytest.param(
            replace(HIGH, source=PEER6, destination=IPv6Address("fe80::10"), ttl=64),
            (PEER6,),
            True,
            id="unicast peer",
        ),
        pytest.param(
            replace(HIGH, source=PEER6, destination=IPv6Address("fe80::10"), ttl=64),
            (),
            False,
            id="unicast stranger",
        ),
    ],
)
def test_what_this_node_sent_and_what_was_routed_names_nobody(
    advert: Advert, peers: tuple[IPAddress, ...], *, expected: bool
) -> None:
    """Unless a peer of ours is behind the router."""
    context = replace(CONTEXT, unicast_peers=frozenset(peers))
    assert expected is holders.counts(advert, context)
