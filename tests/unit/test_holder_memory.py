"""What is remembered of holders through reloads and pauses, and when others are to be named."""

from __future__ import annotations

import time
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from ipfailover_agent.config import settings
from ipfailover_agent.config.planner import plan
from ipfailover_agent.conflict import contexts
from ipfailover_agent.conflict.holder_monitor import HolderMonitor
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.model import VrrpState
from tests.support.adverts import heard_advert
from tests.support.services import common
from tests.support.vectors import host_facts

MAC = bytes.fromhex("525400000005")
FACTS = host_facts({"eth0": ["10.0.0.10/24"]}, ["default via 10.0.0.1 dev eth0"])
PEER = heard_advert(
    IPv4Address("10.0.0.12"), IPv4Address("10.0.0.102"), mac=bytes.fromhex("525400000012")
)


class Scene:
    """Holders of a configuration, and how often they said that others are to be named."""

    def __init__(self, addresses: str) -> None:
        self.changes = 0
        self.holders = HolderMonitor(common(changed=self._changed))
        self.serve(addresses)

    def _changed(self) -> None:
        self.changes += 1

    def serve(self, addresses: str, **states: VrrpState) -> None:
        """Put a configuration in force; instances are BACKUP unless ``states`` name another."""
        values = {"OPENSHIFT_HA_VIRTUAL_IPS": addresses, "OPENSHIFT_HA_CONFIG_NAME": "vip"}
        pins = {"OPENSHIFT_HA_VRRP_IDS": "10.0.0.102=12"} if "102" in addresses else {}
        self.config = plan(settings.parse(values | pins), FACTS)
        self.contexts = contexts.build(self.config, FACTS, mac=MAC, host_macs=frozenset({MAC}))
        candidate: Any = SimpleNamespace(config=self.config, facts=FACTS)
        self.holders.configure(candidate, InstanceStates())
        instance_states = InstanceStates().reconfigured(self.config.instances)
        entries = tuple(
            replace(
                each,
                state=states.get(each.instance.name, VrrpState.BACKUP),
                entered=time.monotonic(),
            )
            for each in instance_states.entries
        )
        self.holders.on_instance_states(InstanceStates(entries=entries), time.monotonic())

    def hear(self, priority: int = 200) -> None:
        """Hear the peer's advert for 10.0.0.102, under id 12."""
        [name] = [each.name for each in self.config.instances if each.virtual_router_id == 12]
        advert = replace(PEER, virtual_router_id=12, priority=priority)
        self.holders.on_advert(name, advert, self.contexts[name])
        self.holders.tick(time.monotonic())

    @property
    def named(self) -> dict[str, list[str]]:
        """Return the holders' addresses by the instance."""
        return {
            name: [each.address for each in found]
            for name, found in self.holders.status().holders.items()
            if found
        }


def test_what_was_heard_stays_with_the_addresses_through_a_reload() -> None:
    """Instances are numbered anew; their holders are not."""
    scene = Scene("10.0.0.101,10.0.0.102")
    scene.hear()
    assert {"vip_VIP_2": ["10.0.0.12"]} == scene.named
    scene.serve("10.0.0.102,10.0.0.103")
    assert {"vip_VIP_1": ["10.0.0.12"]} == scene.named
    scene.serve("10.0.0.103")
    assert {} == scene.named


def test_only_what_changes_is_told_of() -> None:
    """A new holder, another priority, its leaving; not each advert."""
    scene = Scene("10.0.0.101,10.0.0.102")
    scene.holders.tick(time.monotonic())
    told = []
    for priority in (200, 200, 200, 201, 201, 0, 0):
        scene.hear(priority)
        told.append(scene.changes)
    assert [1, 1, 1, 2, 2, 3, 3] == told


def test_a_silent_one_is_taken_out_by_the_clock_and_not_by_a_pause() -> None:
    """Nobody needs to say anything for that."""
    scene = Scene("10.0.0.101,10.0.0.102")
    scene.hear()
    due = scene.holders.deadline
    assert due is not None
    assert 3.0 < due - time.monotonic() < 4.0
    scene.holders.tick(due)
    assert 2 == scene.changes
    assert None is scene.holders.deadline
    scene.hear()
    scene.holders.stalled(30.0)  # the loop stood still; what was heard is as old as before
    assert {"vip_VIP_2": ["10.0.0.12"]} == scene.named


def test_this_node_names_itself_by_the_address_that_others_hear() -> None:
    """Also where nobody watches the wire."""
    scene = Scene("10.0.0.101")
    scene.serve("10.0.0.101", vip_VIP_1=VrrpState.MASTER)
    [[only]] = scene.holders.status().holders.values()
    assert ("10.0.0.10", True, None) == (only.address, only.is_here, only.heard_at)
    assert scene.config.instances[0].priority == only.priority
