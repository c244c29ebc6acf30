"""What keepalived stands on: looks at the node -> start it anew, or not."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest
from msgspec.structs import replace

from ipfailover_agent.config.planner import plan
from ipfailover_agent.model import Family, InterfaceAddress, IPAddress, Settings
from ipfailover_agent.supervisor import link_state
from ipfailover_agent.supervisor.link_state import Ground, LinkFacts, ServedLink, SourceNeed
from tests.support.vectors import host_facts

OWN, OWN6 = ip_address("10.0.0.11"), ip_address("fe80::11")
SOURCE = ip_address("10.0.0.31")
BOTH = frozenset({SourceNeed(family=Family.IPV4), SourceNeed(family=Family.IPV6)})
THERE = LinkFacts(
    index=7, is_running=True, usable=frozenset({OWN, OWN6}), present=frozenset({OWN, OWN6})
)
PLAIN = Settings(virtual_addresses=(ip_address("10.0.0.101"), ip_address("fd00::101")))
PLAIN_NODE = host_facts({"ens3": ["10.0.0.11/24"]}, ["default via 10.0.0.1 dev ens3"])
GROUND = Ground(interface="eth0", needs=BOTH)
NAMED = Ground(
    interface="eth0",
    needs=frozenset({SourceNeed(family=Family.IPV4, source=SOURCE)}),
    sources=frozenset({SOURCE}),
)


def looked(
    state: ServedLink,
    *looks: tuple[float, LinkFacts],
    ground: Ground = GROUND,
    works: bool = False,
) -> tuple[ServedLink, list[tuple[float, str]]]:
    """Return the state after looks at times, and when keepalived was to be started anew."""
    found = []
    for now, facts in looks:
        state, reason = link_state.looked(state, ground, facts, now, works=works)
        if reason:
            found.append((now, reason))
    return state, found


def seen(**changes: object) -> LinkFacts:
    """Return a node that is like this."""
    return replace(THERE, **changes)


def test_the_same_interface_is_left_alone() -> None:
    """Whatever happens to its addresses and its carrier: keepalived sees to that itself."""
    looks = [(0.0, THERE), (1.0, seen(is_running=False)), (2.0, seen(usable=frozenset()))]
    state, reasons = looked(ServedLink(index=7), *looks, (9.0, THERE))
    assert (ServedLink(index=7), []) == (state, reasons)


def test_another_interface_is_a_reason_once_it_can_be_served_on() -> None:
    """Up, with a carrier and an address of each family: within the settling time after that."""
    looks = [
        (0.0, seen(index=None)),
        (1.0, seen(index=8, is_running=False)),
        (2.0, seen(index=8, usable=frozenset({OWN6}))),
        (3.0, seen(index=8, usable=frozenset({OWN, ip_address("fd00::11")}))),
        (4.0, seen(index=8)),
        (5.0, seen(index=8)),
        (5.7, seen(index=8)),
    ]
    _, reasons = looked(ServedLink(index=7), *looks)
    assert [(5.7, "eth0 is another interface now (index 8, it was 7)")] == reasons


def test_one_that_is_replaced_meanwhile_settles_anew() -> None:
    """Another index every second is no reason until one stays."""
    looks = [(float(each), seen(index=8 + each)) for each in range(5)]
    _, reasons = looked(ServedLink(index=7), *looks)
    assert [] == reasons


def test_a_keepalived_that_works_there_is_left_alone() -> None:
    """Multicast IPv4 heals by itself: its index is then the new one."""
    state, _ = looked(ServedLink(index=7), (0.0, seen(index=8)))
    state, reasons = looked(state, (1.0, seen(index=8)), works=True)
    assert (ServedLink(index=8), []) == (state, reasons)


def test_an_interface_whose_index_was_not_known_is_another_one() -> None:
    """It was not there when keepalived was started."""
    _, reasons = looked(ServedLink(), (0.0, seen(index=8)), (1.7, seen(index=8)))
    assert [(1.7, "eth0 is another interface now (index 8)")] == reasons


def with_addresses(*present: IPAddress) -> LinkFacts:
    """Return a node that has these addresses."""
    return seen(usable=frozenset(present), present=frozenset(present))


def test_a_source_that_went_is_a_reason_when_it_is_back() -> None:
    """Not before, and at once then."""
    state, reasons = looked(ServedLink(index=7), (0.0, with_addresses(OWN)), ground=NAMED)
    assert (frozenset({SOURCE}), []) == (state.lost, reasons)
    assert link_state.is_waiting(state, GROUND, THERE)
    looks = [(1.0, with_addresses(OWN)), (2.0, with_addresses(OWN, SOURCE))]
    _, reasons = looked(state, *looks, ground=NAMED)
    assert [(2.0, "the source address 10.0.0.31 is on this node again")] == reasons


def test_a_source_that_is_only_tentative_is_not_lost() -> None:
    """As IPv6 addresses are for a moment after each return of the carrier."""
    facts = replace(with_addresses(OWN, SOURCE), usable=frozenset({OWN}))
    state, _ = looked(ServedLink(index=7), (0.0, facts), ground=NAMED)
    assert frozenset() == state.lost


def test_a_source_on_another_interface_will_do() -> None:
    """keepalived sends from any address of the node."""
    facts = seen(usable=frozenset({OWN}), elsewhere=frozenset({SOURCE}))
    assert () == link_state.lacking(NAMED.needs, facts)


def test_a_source_that_a_reload_took_away_is_no_longer_awaited() -> None:
    """Nothing is sent from it any more."""
    state, _ = looked(ServedLink(index=7), (0.0, with_addresses(OWN)), ground=NAMED)
    state, _ = looked(state, (1.0, THERE))
    assert ServedLink(index=7) == state
    assert not link_state.is_waiting(state, GROUND, THERE)


def test_an_interface_that_is_gone_says_nothing_of_sources() -> None:
    """keepalived is in FAULT for that already; what was lost stays so."""
    gone = LinkFacts()
    looks = [(0.0, with_addresses(OWN)), (1.0, gone)]
    state, _ = looked(ServedLink(index=7), *looks, ground=NAMED)
    assert frozenset({SOURCE}) == state.lost
    assert ServedLink(index=7) == looked(ServedLink(index=7), (0.0, gone), ground=NAMED)[0]
    assert not link_state.is_waiting(ServedLink(index=7), GROUND, LinkFacts())


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(THERE, is_running=False), ("the interface is up and has a carrier",)),
        (
            LinkFacts(index=7, is_running=True),
            (
                "the interface has an IPv4 address that can be used",
                "the interface has a link-local address that can be used",
            ),
        ),
        (THERE, ()),
    ],
    ids=["no carrier", "no addresses", "nothing"],
)
def test_what_is_lacking_is_said(facts: LinkFacts, expected: tuple[str, ...]) -> None:
    """IPv4 first."""
    assert expected == link_state.lacking(BOTH, facts)


def test_a_source_that_is_lacking_is_named() -> None:
    """By itself, whatever else is there."""
    needs = [SourceNeed(family=Family.IPV4, source=SOURCE)]
    assert ("10.0.0.31 is on this node and can be used",) == link_state.lacking(needs, THERE)


def test_troubles_say_why_the_node_is_not_ready() -> None:
    """Another interface, with what it lacks, and a lost source."""
    other = seen(index=8, usable=frozenset({OWN6}))
    assert () == link_state.troubles(ServedLink(index=7), GROUND, THERE)
    assert () == link_state.troubles(ServedLink(index=7), GROUND, seen(index=None))
    (text,) = link_state.troubles(ServedLink(index=7), GROUND, other)
    assert text == (
        "eth0 is another interface now (index 8, it was 7): keepalived is started anew, once the"
        " interface has an IPv4 address that can be used"
    )
    (text,) = link_state.troubles(ServedLink(index=7), GROUND, seen(index=8))
    assert text.endswith("keepalived is started anew")
    lost = ServedLink(index=7, lost=frozenset({SOURCE}))
    assert "the source address 10.0.0.31 is no longer on this node" == link_state.why_held(
        lost, "eth0"
    )
    (text,) = link_state.troubles(lost, NAMED, with_addresses(OWN))
    assert text.startswith("10.0.0.31 is no longer an address of this node")
    assert () == link_state.troubles(lost, NAMED, with_addresses(OWN, SOURCE))


def test_a_port_of_a_bridge_keeps_every_instance_in_fault() -> None:
    """It sends, so that no other node would take over, and hears nothing."""
    taken = seen(port_of="br0")
    told = (
        "eth0 is a port of br0, which takes all that comes in there: no client reaches an address"
        " on eth0"
    )
    config = plan(PLAIN, PLAIN_NODE)
    names = frozenset(each.name for each in config.instances)
    state, reasons = looked(ServedLink(index=7), (0.0, taken), (9.0, taken))
    assert (ServedLink(index=7, port_of="br0"), []) == (state, reasons)
    assert names == link_state.held(config, state)
    assert told == link_state.why_held(state, "eth0")
    (trouble,) = link_state.troubles(state, GROUND, taken)
    assert f"{told}: every instance stays in FAULT meanwhile" == trouble
    assert link_state.is_waiting(state, GROUND, THERE)
    assert ("the interface is no port of br0 any more",) == link_state.lacking(BOTH, taken)


def test_an_interface_that_is_no_port_any_more_is_a_reason_at_once() -> None:
    """keepalived takes its leaving the bridge for its end, and has no unicast sockets then."""
    bare = seen(usable=frozenset({OWN6}))
    looks = [(0.0, seen(port_of="br0")), (1.0, bare), (2.0, THERE)]
    _, reasons = looked(ServedLink(index=7), *looks)
    assert [(2.0, "eth0 is no port of br0 any more")] == reasons
    assert frozenset() == link_state.held(plan(PLAIN, PLAIN_NODE), ServedLink(index=7))


def held(*addresses: str, **changes: object) -> LinkFacts:
    """Return a node with these addresses on its interface."""
    found = [ip_interface(each) for each in addresses]
    there = frozenset(each.ip for each in found)
    on_it = tuple(
        InterfaceAddress(address=each.ip, prefix_length=each.network.prefixlen) for each in found
    )
    return seen(held=on_it, usable=there, present=there, **changes)


BY_UNICAST = Ground(interface="eth0", needs=BOTH, choosing=frozenset(Family))
OWN_32, OWN_24, OTHER_24, NEW_24 = (
    f"10.0.0.{each}" for each in ("7/32", "11/24", "12/24", "13/24")
)


def test_an_address_at_which_keepalived_receives_is_missed() -> None:
    """Of two IPv4 addresses the first, of IPv6 the link-local one; others come and go."""
    looks = [
        (0.0, held(OWN_32, OWN_24, OTHER_24, "fd00::11/64", "fe80::11/64")),
        (1.0, held(OWN_24, "fe80::11/64", "fe80::12/64")),
        (2.0, held(OTHER_24, OWN_24, "fe80::12/64", "fe80::11/64")),
        (3.0, held(NEW_24, "fe80::11/64")),
        (4.0, held(NEW_24, OWN_24, "fe80::11/64")),
        (5.0, held(NEW_24, "fd00::12/64", "fe80::12/64")),
    ]
    state, reasons = looked(ServedLink(index=7), *looks, ground=BY_UNICAST)
    gone = "keepalived receives adverts at {}, which is no longer on this node"
    both = "10.0.0.11 and fe80::11"
    assert [(3.0, gone.format("10.0.0.11")), (5.0, gone.format(both))] == reasons
    assert link_state.is_waiting(state, BY_UNICAST, looks[-1][1])
    assert not link_state.is_waiting(state, BY_UNICAST, looks[0][1])
    assert [] == looked(ServedLink(index=7), *looks, ground=GROUND)[1]


def test_an_address_without_a_new_one_in_its_place_may_come_back() -> None:
    """Another keepalived would listen where no other node sends to."""
    looks = [
        (0.0, held(OWN_24, OTHER_24, "fe80::11/64")),
        (1.0, held(OTHER_24, "fe80::11/64", "fe80::12/64")),
        (90.0, held(OTHER_24, "fe80::11/64")),
        (91.0, held(OTHER_24, OWN_24, "fe80::11/64")),
    ]
    state, reasons = looked(ServedLink(index=7), *looks, ground=BY_UNICAST)
    assert [] == reasons
    assert not link_state.is_waiting(state, BY_UNICAST, looks[2][1])


def test_where_keepalived_receives_is_seen_once_every_family_has_an_address() -> None:
    """What a start or a reload has opened no socket for cannot be missed."""
    looks = [
        (0.0, held("fe80::11/64")),
        (1.0, held(OWN_24, "fe80::12/64")),
        (2.0, held("fe80::12/64")),  # keepalived is in FAULT
        (3.0, held(OTHER_24, "fe80::12/64", is_running=False)),
        (4.0, held(OTHER_24, "fe80::12/64")),
    ]
    _, reasons = looked(ServedLink(index=7), *looks, ground=BY_UNICAST)
    assert [4.0] == [at for at, _ in reasons]


def test_another_interface_with_another_address_settles_first() -> None:
    """It is a reason by itself."""
    looks = [
        (0.0, held(OWN_24, "fe80::11/64")),
        (1.0, held(OTHER_24, "fe80::12/64", index=8)),
        (3.0, held(OTHER_24, "fe80::12/64", index=8)),
    ]
    _, reasons = looked(ServedLink(index=7), *looks, ground=BY_UNICAST)
    assert [(3.0, "eth0 is another interface now (index 8, it was 7)")] == reasons


def test_keepalived_chooses_where_it_receives_unless_that_is_named() -> None:
    """By multicast it receives at the group's address."""
    peers = {Family.IPV4: ip_address("10.0.0.12"), Family.IPV6: ip_address("fe80::12")}
    config = plan(PLAIN, PLAIN_NODE)
    by_unicast = replace(
        config,
        instances=tuple(
            replace(each, unicast_peers=(peers[each.family],)) for each in config.instances
        ),
    )
    named = replace(by_unicast.instances[0], unicast_source=OWN)
    one = replace(by_unicast, instances=(named, by_unicast.instances[1]))
    found = [link_state.ground_of(PLAIN, each).choosing for each in (config, by_unicast, one)]
    assert [frozenset(), frozenset(Family), frozenset({Family.IPV6})] == found


def test_needs_are_those_of_the_configuration() -> None:
    """A source that is named, or any address of the family."""
    facts = host_facts({"ens3": ["10.0.0.11/24"]}, ["default via 10.0.0.1 dev ens3"])
    settings = Settings(
        virtual_addresses=(ip_address("10.0.0.101"), ip_address("fd00::101")),
        multicast_source=ip_address("10.0.0.11"),
        unicast_source=ip_address("10.0.0.11"),
    )
    config = plan(settings, facts)
    source = ip_address("10.0.0.11")
    needs = {SourceNeed(family=Family.IPV4, source=source), SourceNeed(family=Family.IPV6)}
    expected = Ground(
        interface="ens3",
        needs=frozenset(needs),
        sources=frozenset({source}),
        virtual=frozenset(settings.virtual_addresses),
    )
    assert expected == link_state.ground_of(settings, config)
    assert {config.instances[0].name} == link_state.held(
        config, ServedLink(lost=frozenset({source}))
    )
    without = replace(config, instances=config.instances[1:])
    fewer = link_state.ground_of(replace(settings, multicast_source=None), without)
    assert frozenset() == fewer.sources
