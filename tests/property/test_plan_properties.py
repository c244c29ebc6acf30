"""What holds for every plan, whatever the addresses, groups, ids and nodes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ipfailover_agent import model
from ipfailover_agent.config import groups, ownership
from ipfailover_agent.config.planner import plan
from ipfailover_agent.errors import SettingsError
from ipfailover_agent.supervisor.change import compare
from tests.support.vectors import host_facts

Addresses = tuple[IPv4Address | IPv6Address, ...]
FACTS = host_facts({"ens3": ["192.168.55.10/24", "fd00:55::10/64"]})
LAST_ID = 255
PEERS = (ip_address("192.168.55.11"), ip_address("fd00:55::11"))

four = st.integers(0, 400).map(lambda number: IPv4Address("10.1.0.0") + number)
six = st.integers(0, 400).map(lambda number: IPv6Address("fd00:1::") + number)
address_lists = st.lists(st.one_of(four, six), min_size=1, max_size=300, unique=True).map(tuple)


@st.composite
def settings(draw: st.DrawFn) -> model.Settings:
    """Draw what parse could return; much of it cannot be planned."""
    addresses = draw(address_lists)
    grouped = draw(st.integers(0, 40))
    pinned = draw(st.lists(st.sampled_from(addresses), max_size=0 if grouped else 3, unique=True))
    numbers = draw(st.lists(st.integers(1, 255), min_size=3, max_size=3, unique=True))
    pins = tuple(zip(pinned, numbers, strict=False))
    excluded = draw(st.sets(st.integers(1, 255), max_size=50)).difference(dict(pins).values())
    return model.Settings(
        virtual_addresses=addresses,
        address_groups=grouped,
        virtual_router_id_offset=draw(st.integers(0, 254)),
        # an id that is pinned and excluded is refused before there is a plan
        excluded_virtual_router_ids=tuple(excluded),
        pinned_virtual_router_ids=pins,
        vrrp_version=draw(st.sampled_from([None, 2, 3])),
        priority=draw(st.none() | st.integers(1, 254)),
        unicast_peers=draw(st.sampled_from([(), PEERS])),
    )


def planned(wanted: model.Settings) -> model.KeepalivedConfig | None:
    try:
        return plan(wanted, FACTS)
    except SettingsError:
        return None


@given(wanted=settings())
def test_every_plan_is_one_that_keepalived_can_run(wanted: model.Settings) -> None:
    """Ids unique, in range, not excluded; each address once; priorities 1 to 254."""
    config = planned(wanted)
    if config is None:
        return
    identifiers = [each.virtual_router_id for each in config.instances]
    assert len(identifiers) == len(set(identifiers))
    assert set(identifiers) <= set(range(1, LAST_ID + 1))
    assert not set(identifiers) & set(wanted.excluded_virtual_router_ids)
    assert sorted(map(str, wanted.virtual_addresses)) == sorted(map(str, config.addresses))
    for number, each in enumerate(config.instances, start=1):
        assert number == each.number
        assert 1 <= each.priority <= 254
        assert 1 <= len(each.virtual_addresses) <= 255
        assert {each.family} == {model.family_of(held.address) for held in each.all_addresses}
        assert (each.password is None) == (each.advertisement.version == 3)
        assert all(model.family_of(peer) is each.family for peer in each.unicast_peers)


@given(wanted=settings())
def test_a_refusal_for_lack_of_ids_is_right(wanted: model.Settings) -> None:
    """Refused exactly when more instances need an id than there are left."""
    count = len(groups.build(wanted.virtual_addresses, wanted.address_groups))
    pins = dict(wanted.pinned_virtual_router_ids)
    excluded = set(wanted.excluded_virtual_router_ids)
    free = set(range(wanted.virtual_router_id_offset + 1, 256)) - excluded - set(pins.values())
    assert (planned(wanted) is None) == (count - len(pins) > len(free))


@given(wanted=settings())
def test_a_plan_depends_on_its_inputs_only(wanted: model.Settings) -> None:
    """The same twice, and a reload of it changes nothing."""
    config = planned(wanted)
    assert config == planned(wanted)
    if config is not None:
        change = compare(config, config)
        assert config.addresses == change.kept
        assert () == change.lines()


@given(wanted=settings())
def test_ungrouped_ids_follow_the_order_of_the_addresses(wanted: model.Settings) -> None:
    """Without pins, ids rise with the position: that is what old nodes do."""
    wanted = structs.replace(wanted, pinned_virtual_router_ids=())
    config = planned(wanted)
    if config is not None:
        identifiers = [each.virtual_router_id for each in config.instances]
        assert sorted(identifiers) == identifiers
        assert identifiers[0] > wanted.virtual_router_id_offset


@given(addresses=address_lists, count=st.integers(0, 400))
def test_runs_are_in_order_and_differ_by_at_most_one(addresses: Addresses, count: int) -> None:
    """Nothing is lost, the larger runs come first."""
    runs = groups.split(addresses, count)
    sizes = [len(run) for run in runs]
    assert addresses == tuple(each for run in runs for each in run)
    assert sorted(sizes, reverse=True) == sizes
    assert max(sizes) - min(sizes) <= 1
    assert (min(count, len(addresses)) or len(addresses)) == len(runs)


@given(old=address_lists, new=address_lists, grouped=st.integers(0, 5))
def test_a_change_accounts_for_every_address(old: Addresses, new: Addresses, grouped: int) -> None:
    """Each is kept, added, removed, moved or renumbered, and nothing else."""
    active = planned(model.Settings(virtual_addresses=old[:200], address_groups=grouped))
    candidate = planned(model.Settings(virtual_addresses=new[:200], address_groups=grouped))
    assert active is not None
    assert candidate is not None
    change = compare(active, candidate)
    touched = {each.address for each in change.moved}
    touched |= {each.address for each in change.renumbered}
    assert set(active.addresses) == {*change.kept, *touched, *change.removed}
    assert set(candidate.addresses) == {*change.kept, *touched, *change.added}
    assert not set(change.kept) & touched


# --- what may be deleted ------------------------------------------------------------------------

NEAR = [ip_address("192.168.55.0") + number for number in range(4)] + [
    ip_address("fd00:55::") + number for number in range(4)
]


@st.composite
def nodes(draw: st.DrawFn) -> model.HostFacts:
    """Draw a node whose addresses may be anything, two interfaces and lo."""
    routes = st.builds(
        model.DefaultRoute,
        family=st.just(model.Family.IPV4),
        interface=st.sampled_from(["ens3", "eth9"]),
        source=st.sampled_from([None, *NEAR[:4]]),
    )
    return model.HostFacts(
        interfaces=tuple(
            model.Interface(name=name, index=index, addresses=tuple(draw(_held(name))))
            for index, name in enumerate(("lo", "ens3", "eth9"), start=1)
        ),
        default_routes=tuple(draw(st.lists(routes, max_size=2))),
        recorded_addresses=tuple(draw(st.sets(st.sampled_from(NEAR), max_size=2))),
    )


def _held(name: str) -> st.SearchStrategy[list[model.InterfaceAddress]]:
    four = st.builds(
        model.InterfaceAddress,
        address=st.sampled_from(NEAR[:4]),
        prefix_length=st.sampled_from([24, 32]),
        label=st.sampled_from(["", name, f"{name}:vip"]),
    )
    six = st.builds(
        model.InterfaceAddress,
        address=st.sampled_from(NEAR[4:]),
        prefix_length=st.sampled_from([64, 128]),
        is_deprecated=st.booleans(),
    )
    return st.lists(four | six, max_size=4, unique_by=lambda each: each.address)


@given(facts=nodes(), wanted=st.sets(st.sampled_from(NEAR), min_size=1).map(tuple))
def test_a_leftover_is_wanted_and_never_the_nodes_own(
    facts: model.HostFacts, wanted: Addresses
) -> None:
    """Whatever is on the interfaces."""
    found = ownership.leftovers(wanted, "vip", facts, "ens3")
    own = ownership.node_addresses(wanted, "vip", facts, "ens3")
    sources = {route.source for route in facts.default_routes}
    for on, held in found:
        assert held.address in wanted
        assert held.address not in own
        assert "lo" != on.name
        if not ownership.is_marked(held, on.name, "vip", facts):
            assert held.address not in sources
            assert "ens3" == on.name
            others = [
                each for each in on.addresses if each.address.version == held.address.version
            ]
            assert len(others) > 1
            assert held.prefix_length in {32, 128}


@given(facts=nodes(), wanted=st.sets(st.sampled_from(NEAR), min_size=1).map(tuple))
def test_deleting_leftovers_leaves_none(facts: model.HostFacts, wanted: Addresses) -> None:
    """A second look finds nothing new: deleting one does not make another a leftover."""
    found = ownership.leftovers(wanted, "vip", facts, "ens3")
    gone = {(on.name, held) for on, held in found}
    after = structs.replace(
        facts,
        interfaces=tuple(
            structs.replace(
                on, addresses=tuple(h for h in on.addresses if (on.name, h) not in gone)
            )
            for on in facts.interfaces
        ),
    )
    assert () == ownership.leftovers(wanted, "vip", after, "ens3")
