"""Any configuration to any other: the steps against a model of how keepalived reloads."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import hypothesis
from hypothesis import assume, event, example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from ipfailover_agent.config import planner
from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived.instance_states import InstanceState, InstanceStates
from ipfailover_agent.model import IPAddress, KeepalivedConfig, Settings, VrrpInstance, VrrpState
from ipfailover_agent.supervisor import change, steps
from tests.support.vectors import host_facts

OWN = ("192.0.2.10", "fd00::10")
FACTS = host_facts({"eth1": [f"{OWN[0]}/24", f"{OWN[1]}/64"]})
POOL = (*(f"192.0.2.{101 + number}" for number in range(7)), "fd00::101", "fd00::102", "fd00::103")
PEERS = tuple(map(ip_address, (*OWN, "192.0.2.11", "fd00::11")))


@dataclass
class Reloading:
    """keepalived 2.2.7 (vrrp.c, clear_diff_vrrp), addresses being the only thing that counts.

    ``masters`` are identities: the instances that hold what they have. Of what was removed on the
    way, ``removed`` keeps each address with the identity that removed it.
    """

    config: KeepalivedConfig
    masters: frozenset[object]
    held: set[IPAddress]
    removed: list[tuple[IPAddress, object]]

    @classmethod
    def begin(cls, config: KeepalivedConfig, masters: frozenset[object]) -> Reloading:
        held = {
            vip.address
            for each in config.instances
            if each.identity in masters
            for vip in each.all_addresses
        }
        return cls(config=config, masters=masters, held=held, removed=[])

    def reload(self, new: KeepalivedConfig) -> None:
        """Let go of instances that are gone; then, in the old order, compare the others.

        Each MASTER removes what it no longer has, and adds what it did not have, unless it is
        there: then it believes that it holds it, and nobody puts it back. Of IPv6 addresses that
        were removed and added the kernel tells when all is done: who has one of them now goes to
        BACKUP and back.
        """
        assert all(each.virtual_addresses for each in new.instances), "keepalived would end"
        after = {each.identity: addresses(each) for each in new.instances}
        told = len(self.removed)
        in_order = sorted(self.config.instances, key=lambda each: each.identity in after)
        for each in in_order:
            if each.identity in self.masters:
                self._take(addresses(each) - after.get(each.identity, set()), each.identity)
                self.held |= after.get(each.identity, set()) - addresses(each)
        self.masters &= frozenset(after)
        self.config = new
        late = {address for address, _ in self.removed[told:] if address.version == 6}
        for each in new.instances:
            if each.identity in self.masters and late & addresses(each):
                self.removed += [(address, each.identity) for address in addresses(each)]

    def _take(self, gone: set[IPAddress], by: object) -> None:
        self.removed += [(address, by) for address in gone & self.held]
        self.held -= gone


def addresses(instance: VrrpInstance) -> set[IPAddress]:
    return {vip.address for vip in instance.all_addresses}


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Return what a configuration is planned from, the interface's MTU among it."""
    wanted = draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=10, unique=True))
    groups = draw(st.sampled_from([0, 0, 1, 2, 3]))
    pinned = [] if groups else draw(st.lists(st.sampled_from(wanted), max_size=4, unique=True))
    numbers = draw(st.permutations([9, 11, 12, 14, 100]))
    return {
        "virtual_addresses": tuple(map(ip_address, wanted)),
        "address_groups": groups,
        "pinned_virtual_router_ids": tuple(zip(map(ip_address, pinned), numbers, strict=False)),
        "virtual_router_id_offset": draw(st.integers(9, 12)),
        "excluded_virtual_router_ids": draw(st.sampled_from([(), (13,), (16, 17)])),
        "config_name": draw(st.sampled_from(["x", "y"])),
        "unicast_peers": draw(st.sampled_from([(), (), PEERS])),
        "unicast_source": draw(st.sampled_from([None, None, ip_address(OWN[0])])),
        "mtu": draw(st.sampled_from([1500, 1500, 60, 80])),
    }


def planned(given_settings: dict[str, Any]) -> KeepalivedConfig:
    """Return the configuration; an MTU of 60 excludes all addresses of a group but two or so."""
    values = dict(given_settings)
    interface = replace(FACTS.interfaces[0], mtu=values.pop("mtu"))
    try:
        return planner.plan(Settings(**values), replace(FACTS, interfaces=(interface,)))
    except AgentError:
        assume(condition=False)
        raise


SWAPPED: dict[str, Any] = {"virtual_addresses": (), "mtu": 1500, "config_name": "x"}
A, B, C, SIX, SEVEN = (ip_address(each) for each in (*POOL[:3], *POOL[7:9]))


@hypothesis.settings(max_examples=300)
@given(
    before=configurations(), after=configurations(), idle=st.sets(st.integers(0, 9), max_size=3)
)
@example(
    before=SWAPPED | {"virtual_addresses": (A, B, C)},
    after=SWAPPED | {"virtual_addresses": (B, C, A)},
    idle=set(),
)
@example(
    before=SWAPPED | {"virtual_addresses": (A, B, C)},
    after=SWAPPED | {"virtual_addresses": (B, C, A), "address_groups": 2},
    idle=set(),
)
@example(
    before=SWAPPED | {"virtual_addresses": (A, C, B)},
    after=SWAPPED | {"virtual_addresses": (B, C, A), "address_groups": 2},
    idle=set(),
)
@example(
    before=SWAPPED | {"virtual_addresses": (A, B, C, SIX), "address_groups": 1, "mtu": 60},
    after=SWAPPED | {"virtual_addresses": (C, SIX, B, A), "config_name": "y"},
    idle=set(),
)
@example(
    before=SWAPPED | {"virtual_addresses": (SIX, SEVEN)},
    after=SWAPPED | {"virtual_addresses": (SIX, SEVEN), "address_groups": 1},
    idle=set(),
)
def test_the_steps_lead_to_the_candidate_and_keep_what_stays(
    before: dict[str, Any], after: dict[str, Any], idle: set[int]
) -> None:
    """All that MASTERs are to have is there, nothing else is, and what stays was never removed."""
    old, new = planned(before), planned(after)
    masters = frozenset(each.identity for n, each in enumerate(old.instances) if n not in idle)
    keepalived = Reloading.begin(old, masters)
    first = steps.first_step(old, new)
    event("two signals" if first else "one signal")
    if first is not None:
        assert {each.identity for each in old.instances} == {
            each.identity for each in first.instances
        }
    for each in filter(None, (first, new)):
        keepalived.reload(each)
    staying = [each for each in new.instances if each.identity in masters]
    assert {address for each in staying for address in addresses(each)} == keepalived.held
    assert {each.identity for each in staying} == keepalived.masters
    had = {each.identity: addresses(each) for each in old.instances}
    kept = {(address, each.identity) for each in staying for address in addresses(each)} & {
        (address, identity) for identity, found in had.items() for address in found
    }
    assert not kept.intersection(keepalived.removed)
    # As the states have it from keepalived, whatever the instances are called.
    instance_states = InstanceStates(
        entries=tuple(
            InstanceState(
                instance=each,
                state=VrrpState.MASTER if each.identity in masters else VrrpState.BACKUP,
            )
            for each in old.instances
        )
    ).reconfigured(new.instances)
    assert {each.name for each in staying} == instance_states.names_in(VrrpState.MASTER)
    assert first == change.compare(old, new).first_step


@given(
    before=configurations(),
    idle=st.sets(st.integers(0, 9), max_size=3),
    is_read=st.booleans(),
    data=st.data(),
)
def test_the_way_back_from_a_first_step_costs_no_address(
    before: dict[str, Any],
    idle: set[int],
    is_read: bool,  # noqa: FBT001 - a parameter of the test
    data: st.DataObject,
) -> None:
    """Whether keepalived had read that step or not; what it took down is back."""
    order = data.draw(st.permutations(before["virtual_addresses"]))
    old = planned(before | {"pinned_virtual_router_ids": ()})
    new = planned(before | {"pinned_virtual_router_ids": (), "virtual_addresses": tuple(order)})
    first = steps.first_step(old, new)
    event("two steps" if first else "one step")
    if first is None:
        return
    masters = frozenset(each.identity for n, each in enumerate(old.instances) if n not in idle)
    keepalived = Reloading.begin(old, masters)
    held = set(keepalived.held)
    if is_read:
        keepalived.reload(first)
    already = len(keepalived.removed)
    keepalived.reload(old)
    assert held == keepalived.held
    assert masters == keepalived.masters
    places = {each for instance in first.instances for each in addresses(instance)}.difference(
        *map(addresses, old.instances)
    )
    assert {address for address, _ in keepalived.removed[already:]} <= places
