"""The goodbye that the agent says where keepalived cannot."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from msgspec.structs import replace

from ipfailover_agent.conflict import farewell
from ipfailover_agent.conflict.farewell import Farewell
from ipfailover_agent.model import VrrpState
from ipfailover_agent.vrrp.packets import Advert, parse_frame
from tests.support import frames

MASTER, BACKUP, FAULT, STOP = (VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT, VrrpState.STOP)
OWN, GROUP = IPv4Address("192.0.2.11"), IPv4Address("224.0.0.18")
VIRTUAL = IPv4Address("192.0.2.101")
PEERS = (IPv4Address("192.0.2.12"), IPv4Address("192.0.2.13"))
NOW = 100.0


def left(
    state: Farewell, priority: int, now: float, *, to: IPv4Address = GROUP, mac: bytes = b""
) -> Farewell:
    """Let an advert leave, for a MAC of its own if that is given."""
    frame = frames.packet(frames.vrrp(OWN, to, [VIRTUAL], priority=priority), OWN, to)
    frame = mac + frame[len(mac) :]
    advert = parse_frame(frame)
    assert isinstance(advert, Advert)
    return farewell.sent(state, advert, frame, now)


def enter(
    state: Farewell, entry: VrrpState, now: float = NOW
) -> tuple[Farewell, list[tuple[IPv4Address, int]]]:
    """Return the state after a transition, and to whom which priority is sent."""
    after, sent = farewell.entered(state, entry, 1.0, now)
    told = []
    for each in sent:
        advert = parse_frame(each)
        assert isinstance(advert, Advert)
        assert isinstance(advert.destination, IPv4Address)
        told.append((advert.destination, advert.priority))
    return after, told


def master() -> Farewell:
    """Return a MASTER whose last advert left half a second ago."""
    state, told = enter(Farewell(), MASTER, NOW - 9)
    assert told == []
    return left(state, 250, NOW - 0.5)


def test_a_goodbye_that_did_not_leave_is_said() -> None:
    """keepalived goes to FAULT at once, or to BACKUP first, where its addresses were removed."""
    assert [(GROUP, 0)] == enter(master(), FAULT)[1]
    state, told = enter(master(), BACKUP)
    assert told == []
    state, told = enter(state, FAULT, NOW + 0.05)
    assert [(GROUP, 0)] == told
    assert [] == enter(state, FAULT, NOW + 0.1)[1]


def test_a_goodbye_that_left_is_not_said_again() -> None:
    """It was seen on the wire before keepalived told of the transition."""
    assert [] == enter(left(master(), 0, NOW), FAULT)[1]


def test_a_goodbye_for_another_mac_has_not_reached_the_peer() -> None:
    """Without the route of its network a unicast goodbye goes to the router."""
    macs = [bytes.fromhex(each) for each in ("02000000000c", "02000000000d", "0200000000fa")]
    state, _ = enter(Farewell(), MASTER, NOW - 9)
    for peer, mac in zip(PEERS, macs, strict=False):
        state = left(state, 250, NOW - 0.5, to=peer, mac=mac)
    state = left(state, 0, NOW, to=PEERS[0], mac=macs[0])
    state = left(state, 0, NOW, to=PEERS[1], mac=macs[2])
    assert [(PEERS[1], 0)] == enter(state, FAULT)[1]


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(replace(master(), left_at=NOW - 0.4), id="long gone"),
        pytest.param(replace(master(), sent_at=NOW - 3.6), id="has not advertised"),
        pytest.param(replace(master(), others_at=NOW - 3.4), id="another one is MASTER"),
        pytest.param(Farewell(), id="nothing was ever sent"),
    ],
)
def test_nothing_is_said_where_others_may_be_master(state: Farewell) -> None:
    """A BACKUP that hears priority 0 from anybody stops waiting for its MASTER."""
    assert [] == enter(state, FAULT)[1]


def test_one_that_was_heard_long_ago_is_no_reason() -> None:
    """It has been silent for longer than the master-down time."""
    assert [(GROUP, 0)] == enter(replace(master(), others_at=NOW - 3.6), FAULT)[1]


@pytest.mark.parametrize("entry", [BACKUP, STOP, MASTER])
def test_only_in_fault_is_anything_said(entry: VrrpState) -> None:
    """There nothing is held for certain."""
    assert [] == enter(master(), entry)[1]


def test_an_advert_with_a_vlan_tag_is_no_model_for_a_goodbye() -> None:
    """Where the VRRP message begins is not known there."""
    frame = frames.packet(frames.vrrp(OWN, GROUP, [VIRTUAL], priority=250), OWN, GROUP)
    advert = parse_frame(frame)
    assert isinstance(advert, Advert)
    tagged = frame[:12] + bytes.fromhex("81000000") + frame[12:]
    state, _ = enter(Farewell(), MASTER, NOW - 9)
    assert [] == enter(farewell.sent(state, advert, tagged, NOW - 0.5), FAULT)[1]
    assert [] != enter(farewell.sent(state, advert, frame, NOW - 0.5), FAULT)[1]
