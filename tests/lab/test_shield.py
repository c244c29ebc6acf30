"""Other speakers of the same router ids: none of them may move a virtual address."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv6Address

import pytest

from tests.lab.kit import raw, speakers
from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.node import AGENT, Node
from tests.lab.kit.scenarios import ELECTION, command, stays, variables
from tests.support.waiting import wait_until

SETTLES = 5.0  # seconds after which a foreign speaker moves nothing any more
LASTS = 40.0
#: The rows, in the order of their addresses: each has one of each family, and ids of its own.
ROWS = (
    "a router at 1 s",
    "a router at 0.5 s, version 3",
    "a router of priority 255",
    "a CARP device",
    "a router that sends to us by unicast",
    "packets from behind a router",
)
UNICAST_ROWS = tuple(each for each in ROWS if "router" in each)


@dataclass
class Deployment:
    """Two nodes that serve an address of each family for each row, beside a stranger."""

    lab: Lab
    rows: tuple[str, ...]
    is_plain: bool = False
    is_unicast: bool = False
    began: float = 0.0
    ids: dict[str, int] = field(default_factory=dict)

    @property
    def members(self) -> tuple[Node, ...]:
        """Return the nodes that serve."""
        return self.lab.nodes[:2]

    def addresses(self, row: str) -> tuple[str, str]:
        """Return the addresses of a row."""
        number = self.rows.index(row) + 1
        return self.lab.virtual(number), self.lab.virtual6(number)

    @property
    def all_addresses(self) -> list[str]:
        """Return every address, the IPv4 ones first."""
        pairs = [self.addresses(each) for each in self.rows]
        return [each for each, _ in pairs] + [each for _, each in pairs]

    def start(self) -> None:
        """Start both, the first with the higher priority."""
        peers = ",".join(each for node in self.members for each in (node.ip, node.ipv6))
        more = {"UNICAST_PEERS": peers} if self.is_unicast else {}
        self.ids = {each: 11 + number for number, each in enumerate(self.all_addresses)}
        for node, priority in zip(self.members, (200, 150), strict=True):
            if self.is_plain:
                node.start_keepalived(self._config(node, priority))
            else:
                chosen = {"PRIORITY": str(priority), **more}
                node.start(variables(*self.all_addresses, **chosen))
            node.wait_for_line("Entering BACKUP STATE")  # the first one is the first MASTER

    def _config(self, node: Node, priority: int) -> str:
        (other,) = [each for each in self.members if each is not node]
        four, six = raw.unicast(node.ip, [other.ip]), raw.unicast(node.ipv6, [other.ipv6])
        return raw.joined(
            raw.keepalived_config(
                address,
                priority=priority,
                virtual_router_id=router_id,
                name=f"plain{router_id}",
                extra=(six if ":" in address else four) if self.is_unicast else "",
            )
            for address, router_id in self.ids.items()
        )

    def speaks(self) -> list[tuple[float, bytes]]:
        """Return what the stranger sends, and how often; the real ucarp is a program."""
        found: list[tuple[float, bytes]] = []
        for row in self.rows:
            for address in self.addresses(row):
                family, router_id = (6 if ":" in address else 4), self.ids[address]
                found += self._of(row, family, router_id, address)
        return found

    def _of(
        self, row: str, family: int, router_id: int, address: str
    ) -> Iterator[tuple[float, bytes]]:
        match row:
            case "a router at 1 s":
                yield 1.0, speakers.router(router_id, family)
            case "a router at 0.5 s, version 3":
                yield 0.5, speakers.router(router_id, family, version=3, interval=0.5)
            case "a router of priority 255":
                yield 1.0, speakers.router(router_id, family, priority=255)
            case "a CARP device" if family == 6:
                yield 1.0, speakers.carp(router_id, family)
            case "a router that sends to us by unicast":
                for node in self.members:
                    yield 0.5, speakers.router(router_id, family, to=node)
            case "packets from behind a router":
                for node in self.members:
                    yield 0.5, speakers.routed(router_id, address, node)
            case _:
                pass

    def takeovers(self, row: str, *, since: float, until: float) -> dict[str, int]:
        """Return how often a member took each address of a row."""
        names = {each.name for each in self.members}
        return {
            address: sum(
                each.held and each.node in names and each.time <= until
                for each in self.lab.recorder.changes(address, since=since)
            )
            for address in self.addresses(row)
        }

    def seconds(self, row: str) -> list[tuple[float, float]]:
        """Return for how long two held each address of a row, and none did."""
        recorder, since = self.lab.recorder, self.began + SETTLES
        return [
            (
                round(recorder.seconds_with_two(address, since=since), 3),
                round(recorder.seconds_with_none(address, since=since), 3),
            )
            for address in self.addresses(row)
        ]

    def named(self, row: str) -> bool:
        """Tell whether the agents name what they hear of a row, for both families."""
        told = "".join(line for node in self.members for line in node.events("vrrp.id_clash"))
        seen = "".join(line for node in self.members for line in node.events("rival.seen"))
        ids = [self.ids[each] for each in self.addresses(row)]
        if row == "packets from behind a router":
            return all(
                f"for router id {each} do not come from this segment" in seen for each in ids
            )
        if row == "a CARP device":
            text = "router id {} is also used as vhid by a CARP device such as pfSense"
        else:
            text = "router id {} is also used by"
        return all(text.format(each) in told for each in ids)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ucarp") is None, reason="needs ucarp")
def test_no_other_speaker_of_our_id_moves_an_address(make_lab: MakeLab) -> None:
    """Beside plain keepalived, which loses and takes its addresses again and again there."""
    deployments = [
        Deployment(make_lab(3), rows, is_plain=is_plain, is_unicast=is_unicast)
        for rows, is_unicast in ((ROWS, False), (UNICAST_ROWS, True))
        for is_plain in (False, True)
    ]
    for each in deployments:
        each.start()
    for each in deployments:
        each.lab.wait_for_each(each.all_addresses, timeout=3 * ELECTION, among=each.members[:1])
    with ExitStack() as stack:
        for each in deployments:
            stranger = each.lab.nodes[2]
            stack.enter_context(speakers.speaking(stranger, each.speaks()))
            if "a CARP device" in each.rows:
                (address, _) = each.addresses("a CARP device")
                stack.enter_context(speakers.ucarp(stranger, each.ids[address]))
            each.began = time.monotonic()
        stays(SETTLES + LASTS)
        until = time.monotonic()
    shaken = set()
    for each in deployments:
        mode = "unicast" if each.is_unicast else "multicast"
        for row in each.rows:
            found = each.takeovers(row, since=each.began + SETTLES, until=until)
            print("plain" if each.is_plain else "agent", mode, row, found, each.seconds(row))
            if each.is_plain:
                shaken |= {(mode, row, ":" in at) for at, count in found.items() if count}
            else:
                assert (row, dict.fromkeys(each.addresses(row), 0)) == (row, found)
                assert (row, [(0.0, 0.0)] * 2) == (row, each.seconds(row))
                assert each.named(row), row
        if not each.is_plain:
            assert {"n1"} == {
                name for at in each.all_addresses for name in each.lab.recorder.holders(at)
            }
    assert {
        *(("multicast", row, is_ipv6) for row in ROWS[:3] for is_ipv6 in (False, True)),
        ("multicast", "a CARP device", False),
        *(("unicast", row, is_ipv6) for row in ROWS[4:] for is_ipv6 in (False, True)),
    } <= shaken


@pytest.mark.parametrize("family", [4, 6])
def test_a_peer_with_a_second_speaker_is_still_heard(pair: Lab, family: int) -> None:
    """The same source, id and version: only the content differs. What is left behind, goes."""
    first, second = pair.nodes
    address = pair.virtual(1) if family == 4 else pair.virtual6(1)
    pair.serve_ranked(address)
    source = first.own.ipv4.ip if family == 4 else IPv6Address(first.link_local)
    since = time.monotonic()
    with speakers.speaking(first, [(0.5, speakers.router(11, family, source=source))]):
        wait_until(lambda: has_table(second), SETTLES, "it is dropped")
        stays(8)
        assert f"{source} timeout 1m" in second.run(["nft", "list", "ruleset"]).stdout
        assert () == pair.recorder.changes(address, since=since)
        second.nft("flush ruleset\n")
        wait_until(lambda: has_table(second), SETTLES, "it is dropped again")
        assert second.events("shield.vanished")
        second.kill()
        assert has_table(second)
    assert not has_table(first)  # its own speaker is not heard by its keepalived
    environment = dict(second.container.environment)
    second.start(environment, command("release"))
    assert 0 == second.wait()
    assert "removed the table inet ipfailover-shield" in second.stdout()
    assert not has_table(second)


def test_a_stop_takes_the_shield_along(pair: Lab) -> None:
    """In order; and what keepalived says of what it refuses until then comes once."""
    node, stranger = pair.nodes
    node.start(variables(pair.virtual(1)))
    pair.wait_for_each([pair.virtual(1)], timeout=2 * ELECTION, among=[node])
    with speakers.speaking(stranger, [(0.1, speakers.router(11, 4))]):
        wait_until(lambda: has_table(node), SETTLES, "it is dropped")
        node.stop()
        assert not has_table(node)
    assert 1 == node.stdout().count("vrrp packet too short")

    node.start(variables(pair.virtual(1), SHIELD="off"))
    pair.wait_for_each([pair.virtual(1)], timeout=2 * ELECTION, among=[node])
    with speakers.speaking(stranger, [(0.1, speakers.router(11, 4))]):
        stays(3)
    assert not has_table(node)
    assert 1 == node.stdout().count("vrrp packet too short")
    assert "nothing drops it here (OPENSHIFT_HA_SHIELD=off)" in "".join(
        node.events("vrrp.id_clash")
    )


def test_a_takeover_without_a_shield_has_its_cause(make_lab: MakeLab) -> None:
    """A router and a CARP device shake an address: the master is not dead, no node is blocked."""
    lab = make_lab(3, ipv6=False)
    first, second, stranger = lab.nodes
    addresses = [lab.virtual(1), lab.virtual(2)]
    first.start(variables(*addresses, PRIORITY="200", SHIELD="off"))
    lab.wait_for_each(addresses, timeout=2 * ELECTION, among=[first])
    second.start(variables(*addresses, PRIORITY="150", SHIELD="off"))
    second.wait_for_line("Entering BACKUP STATE")
    stays(2.5)  # it hears the master's adverts
    with speakers.speaking(
        stranger, [(0.5, speakers.router(11, 4, version=3)), (0.5, speakers.carp(12, 4))]
    ):
        stays(12)
    for number, who in ((1, "uses router id 11 for other"), (2, "uses router id 12 as its vhid")):
        moves = [
            line
            for line in second.events("vrrp.transition")
            if f"VIP_{number} " in line and "state=MASTER" in line
        ]
        assert len(moves) >= 2
        for line in moves:
            assert 'kind="id shared"' in line
            assert f"the adverts of {first.ip} stopped" in line
            assert who in line


# --- programs beside it -------------------------------------------------------------------------


def has_table(node: Node) -> bool:
    """Tell whether the shield's table is there."""
    return "ipfailover-shield" in node.run(["nft", "list", "tables"]).stdout


@pytest.mark.slow
def test_clusters_with_one_offset_disturb_each_other_nowhere(make_lab: MakeLab) -> None:
    """Two clusters on one segment; two on the same nodes; the nodes' own keepalived beside ours.

    On the same nodes there is no rule, since it would make the other program deaf.
    """
    apart, shared, own = make_lab(4), make_lab(2), make_lab(2)
    first, second = ([apart.virtual(number), apart.virtual6(number)] for number in (1, 2))
    for place, priority in enumerate(("200", "150")):
        # Both masters on the first node of the two: their keepaliveds do not hear each other.
        apart.nodes[place].start(variables(*first, PRIORITY=priority))
        apart.nodes[2 + place].start(variables(*second, PRIORITY=priority))
        for lab in (shared, own):
            lab.nodes[place].start(variables(*first, PRIORITY=priority))
        environment = variables(*second, PRIORITY=priority, CONFIG_NAME="other")
        shared.nodes[place].start_beside(AGENT, environment)
        configs = (
            raw.keepalived_config(
                address, priority=int(priority), virtual_router_id=number, name=f"own{number}"
            )
            for number, address in enumerate(second, start=11)
        )
        own.nodes[place].start_keepalived_beside(raw.joined(configs))
        for lab in (apart, shared, own):
            lab.wait_for_each([*first, *second], timeout=3 * ELECTION)
    stays(SETTLES)
    since = time.monotonic()
    stays(LASTS)
    for address in (*first, *second):
        for lab in (apart, shared, own):
            assert (address, ()) == (address, lab.recorder.changes(address, since=since))
    for node in apart.nodes:
        assert has_table(node)
        assert node.protection("shield") == {"kind": "shield", "active": True, "reason": ""}
    for node in (*shared.nodes, *own.nodes):
        assert not has_table(node)
        assert [] == node.events("shield.raised")
    for node in (shared.nodes[0], own.nodes[0]):
        told = "".join(node.events("vrrp.id_clash"))
        assert "that is another VRRP program on this node" in told
    # A BACKUP hears the other program's MASTER, which is on the first node as its own is.
    for node in (shared.nodes[1], own.nodes[1]):
        found = node.protection("shield")
        assert found["active"] is False
        assert "another VRRP program runs in this node's network" in str(found["reason"])
        assert "OPENSHIFT_HA_VRRP_ID_OFFSET" in str(found["reason"])
        told = "".join(node.events("vrrp.id_clash"))
        assert "are not dropped here: another VRRP program" in told
        assert "are dropped here" not in told
        warned = json.loads(node.ask("doctor", "--json", "--seconds", "2").stdout)["findings"]
        (clash, *_) = [each for each in warned if each["check"] == "ids"]
        assert "OPENSHIFT_HA_VRRP_ID_OFFSET" in clash["text"]
        assert "not shielded from here (another VRRP program" in clash["advice"]
