"""What keepalived is kept from reading, for how long, and how nft is told so."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ipfailover_agent.doctor import firewall_findings
from ipfailover_agent.firewall import nft_commands, ruleset, shield
from ipfailover_agent.firewall.ruleset import Chain, Hook, Table
from ipfailover_agent.firewall.shield import Shield, Signature
from ipfailover_agent.model import IPAddress
from tests.support.adverts import heard_advert

NOW = 1000.0
OURS = IPv4Address("10.0.0.5")
OTHER = IPv4Address("10.0.0.200")
FOREIGN = heard_advert(IPv4Address("10.0.0.77"), OTHER, mac=bytes(6))
SIGNATURE = Signature(source=FOREIGN.source, router_id=11, version=2, count=1, listed=(OTHER,))


def many(count: int) -> list[Signature]:
    return [replace(SIGNATURE, listed=(IPv4Address(number),)) for number in range(count)]


def twice(signatures: Sequence[Signature], now: float = NOW) -> Shield:
    state = Shield()
    for each in signatures:
        state = shield.on_advert(state, each, now - 0.5, 1.0)
        state = shield.on_advert(state, each, now, 1.0)
    return state


# --- what is foreign ----------------------------------------------------------------------------


def test_an_advert_for_other_addresses_is_foreign_and_one_for_ours_never() -> None:
    """Whoever sends it: a peer may run a second speaker."""
    peers = {FOREIGN.source}
    for known in (peers, frozenset[IPv4Address]()):
        assert SIGNATURE == shield.signature_of_advert(FOREIGN, is_ours=False, peers=known)
        assert shield.signature_of_advert(FOREIGN, is_ours=True, peers=known) is None


def test_an_advert_from_behind_a_router_is_foreign_unless_a_peer_sends_it() -> None:
    """Whatever it lists; its hop limit tells it from a node of ours on the segment."""
    routed = replace(FOREIGN, ttl=60, addresses=(OURS,), destination=IPv4Address("10.0.0.11"))
    found = shield.signature_of_advert(routed, is_ours=True, peers=set())
    assert replace(SIGNATURE, listed=(OURS,), hop_limit=60) == found
    assert shield.signature_of_advert(routed, is_ours=True, peers={routed.source}) is None


# --- when ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "interval", "is_foreign"),
    [(0.5, 1.0, True), (5.0, 1.0, True), (5.1, 1.0, False), (18.0, 10.0, True)],
)
def test_the_second_advert_in_time_counts(gap: float, interval: float, is_foreign: bool) -> None:  # noqa: FBT001
    """Within five seconds, or two of our own intervals."""
    state = shield.on_advert(Shield(), SIGNATURE, NOW, interval)
    assert {} == state.foreign
    state = shield.on_advert(state, SIGNATURE, NOW + gap, interval)
    assert is_foreign is (SIGNATURE in state.foreign)
    assert is_foreign is (SIGNATURE not in state.suspects)


def test_an_element_lives_for_a_minute_after_the_last_advert() -> None:
    """It is renewed every 20 s while adverts come."""
    state = twice([SIGNATURE])
    applied = shield.ends(state)
    assert {SIGNATURE: NOW + 60} == applied
    assert shield.is_due(state, {}, NOW)
    assert not shield.is_due(state, applied, NOW)
    later = shield.on_advert(state, SIGNATURE, NOW + 19, 1.0)
    assert not shield.is_due(later, applied, NOW + 19)
    later = shield.on_advert(state, SIGNATURE, NOW + 20, 1.0)
    assert shield.is_due(later, applied, NOW + 20)
    assert state is shield.without_ended(state, NOW + 59)
    assert {} == shield.without_ended(state, NOW + 60).foreign


def test_what_is_wanted_no_more_is_due_until_the_kernel_has_ended_it() -> None:
    """An advert of a peer must not wait for the end of a minute."""
    applied = {SIGNATURE: NOW + 60}
    assert shield.is_due(Shield(), applied, NOW)
    assert not shield.is_due(Shield(), applied, NOW + 60)


def test_there_are_64_at_most() -> None:
    """The rest is not dropped, and that is known."""
    state = twice(many(64))
    assert not state.overflowed
    state = shield.on_advert(state, SIGNATURE, NOW, 1.0)
    state = shield.on_advert(state, SIGNATURE, NOW, 1.0)
    assert 64 == len(state.foreign)
    assert state.overflowed
    assert not shield.without_ended(state, NOW + 60).overflowed


def test_of_many_that_were_heard_once_the_newest_are_remembered() -> None:
    """Others may send anything."""
    state = Shield()
    for number, each in enumerate(many(400)):
        state = shield.on_advert(state, each, NOW + number / 100, 1.0)
    assert 256 == len(state.suspects)
    assert many(400)[-1] in state.suspects
    state = shield.on_advert(state, SIGNATURE, NOW + 100, 1.0)
    assert {SIGNATURE: NOW + 100} == state.suspects


def test_a_long_list_that_turns_out_to_hold_one_of_ours_is_let_in_at_once() -> None:
    """A rule compares the first sixteen addresses."""
    listed = tuple(IPv4Address(number) for number in range(20))
    advert = replace(FOREIGN, addresses=listed)
    signature = shield.signature_of_advert(advert, is_ours=False, peers=set())
    assert signature is not None
    assert listed[:16] == signature.listed
    state = twice([signature])
    assert {} == shield.heard_of_ours(state, advert).foreign
    assert state is shield.heard_of_ours(state, FOREIGN)
    assert Shield() == shield.heard_of_ours(Shield(), advert)


def test_another_configuration_lets_in_what_is_ours_now() -> None:
    """Ids, addresses and peers may be others."""
    routed = replace(SIGNATURE, source=IPv4Address("10.9.9.9"), hop_limit=60)
    state = twice([SIGNATURE, routed])

    def kept(
        ids: set[tuple[int, int]], ours: set[IPAddress], peers: set[IPAddress]
    ) -> list[Signature]:
        return list(shield.kept(state, ids=ids, ours=ours, peers=peers).foreign)

    assert [SIGNATURE, routed] == kept({(11, 4)}, set(), set())
    assert [routed] == kept({(11, 4)}, {OTHER}, set())
    assert [SIGNATURE] == kept({(11, 4)}, set(), {routed.source})
    assert [] == kept({(11, 6), (12, 4)}, set(), set())


# --- how ----------------------------------------------------------------------------------------


def test_a_rule_matches_by_content() -> None:
    """Version and type, id, count, every address that it lists."""
    two = replace(SIGNATURE, count=2, listed=(OTHER, OURS), hop_limit=60)
    assert (
        'iifname "eth0" ip protocol 112 ip ttl 60 @th,0,16 0x210b @th,24,8 2'
        " @th,64,32 0xa0000c8 @th,96,32 0xa000005 ip saddr @s0 counter drop"
    ) == nft_commands.shield_rule(two, "eth0", "s0")
    six = Signature(
        source=IPv6Address("fe80::77"),
        router_id=12,
        version=3,
        count=1,
        listed=(IPv6Address("fd00::1"),),
        hop_limit=60,
    )
    assert (
        'iifname "eth0" ip6 nexthdr 112 ip6 hoplimit 60 @th,0,16 0x310c @th,24,8 1'
        " @th,64,128 0xfd000000000000000000000000000001 ip6 saddr @s1 counter drop"
    ) == nft_commands.shield_rule(six, "eth0", "s1")


def test_carp_is_matched_by_its_form() -> None:
    """36 bytes that begin like a version 2 advert of seven addresses."""
    carp = Signature(source=FOREIGN.source, router_id=11, is_carp=True)
    assert (
        'iifname "eth0" ip protocol 112 ip hdrlength 5 ip length 56 @th,0,16 0x210b @th,24,8 7'
        " ip saddr @s0 counter drop"
    ) == nft_commands.shield_rule(carp, "eth0", "s0")
    six = replace(carp, source=IPv6Address("fe80::77"))
    assert (
        'iifname "eth0" ip6 nexthdr 112 ip6 length 36 @th,0,16 0x210b @th,24,8 7'
        " ip6 saddr @s0 counter drop"
    ) == nft_commands.shield_rule(six, "eth0", "s0")


def test_the_table_is_replaced_as_a_whole() -> None:
    """In one step; with nothing to drop it ends."""
    text = nft_commands.shield_commands("eth0", {SIGNATURE: 59.2})
    assert text.startswith(
        "add table inet ipfailover-shield\ndelete table inet ipfailover-shield\n"
        "table inet ipfailover-shield {\n"
        "set s0 { type ipv4_addr; flags timeout; elements = { 10.0.0.77 timeout 60s }; }\n"
    )
    assert "type filter hook input priority -400; policy accept;" in text
    six = replace(SIGNATURE, source=IPv6Address("fe80::77"), listed=())
    assert "type ipv6_addr; flags timeout; elements = { fe80::77 timeout 1s };" in (
        nft_commands.shield_commands("eth0", {six: 0.0})
    )
    assert (
        "add table inet ipfailover-shield\ndelete table inet ipfailover-shield"
    ) == nft_commands.shield_commands("eth0", {})


@given(st.lists(st.integers(0, 2**32 - 1).map(IPv4Address), max_size=20), st.integers(0, 20))
def test_no_rule_for_a_foreign_advert_matches_one_of_ours(
    listed: list[IPv4Address], place: int
) -> None:
    """Among the first sixteen addresses: another one there is another content."""
    foreign = [each for each in listed if each != OURS][:16]
    mixed = [*foreign[:place], OURS, *foreign[place + 1 :]]
    signature = shield.signature_of_advert(
        replace(FOREIGN, addresses=tuple(foreign)), is_ours=False, peers=set()
    )
    claimed = shield.signature_of_advert(
        replace(FOREIGN, addresses=tuple(mixed)), is_ours=False, peers=set()
    )
    assert signature is not None
    assert claimed is not None
    if len(mixed) <= 16:
        rules = {nft_commands.shield_rule(each, "e", "s") for each in (signature, claimed)}
        assert len(rules) == 2


def test_our_own_table_is_no_wall() -> None:
    """What it drops is meant to be dropped: no rule lets it in, no word warns of it."""
    wall = Chain(table=Table(family="inet", name="wall"), name="input", hook=Hook.INPUT)
    own = replace(wall, table=ruleset.SHIELD)
    assert (wall.table,) == ruleset.tables_to_look_at([wall, own])
    assert (wall.table,) == firewall_findings.passed_tables([wall, own], "eth0")


def test_the_longest_text_is_one_argument_of_a_program() -> None:
    """128 KiB are the kernel's limit."""
    listed = tuple(ip_address(f"2001:db8:ffff:ffff:ffff:ffff:ffff:{each:x}") for each in range(16))
    usual = replace(SIGNATURE, router_id=255, version=3, count=16, listed=listed, hop_limit=254)
    sources = (IPv6Address(2**128 - 1 - number) for number in range(shield.LIMIT))
    worst = {replace(usual, source=each): 60.0 for each in sources}
    assert len(nft_commands.shield_commands("a-long-name-if0", worst)) < 128 * 1024
