"""The model of the shell image against its recordings."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import asdict

from ipfailover_agent import model
from ipfailover_agent.config import shell_reading
from tests.support.vectors import RecordedInstance, Vector, host_facts, load_vectors

ONE, OFFSET = {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.1"}, "OPENSHIFT_HA_VRRP_ID_OFFSET"
NODE = host_facts({"ens3": ["192.168.55.10/24"]})


@pytest.mark.parametrize("vector", load_vectors(), ids=str)
def test_every_recorded_vector_is_reproduced(vector: Vector) -> None:
    """Interface, node address, names, ids, addresses, password and peers are as recorded."""
    reading = shell_reading.read(vector.env, vector.facts)
    assert vector.old_image.interface == reading.interface
    assert vector.old_image.node_address == reading.node_address
    found = tuple(RecordedInstance(**asdict(each)) for each in reading.instances)
    assert vector.old_image.instances == found


def addresses(value: str) -> list[str] | None:
    texts = shell_reading.emitted(value)
    return None if texts is None else list(texts)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("10.0.0.1/24", ["10.0.0.124"], id="slash deleted"),
        pytest.param("10.0.0.1 10.0.0.2", [], id="blanks deleted"),
        pytest.param("10.0.0.1\n10.0.0.2", ["10.0.0.1", "10.0.0.2"], id="lines"),
        pytest.param("10.0.0.08", ["10.0.0.08"], id="zeros pass"),
        pytest.param("10.0.0.08-9", ["10.0.0.8", "10.0.0.9"], id="zeros go in ranges"),
        pytest.param("10.0.0.255-256", ["10.0.0.255", "10.0.0.256"], id="beyond an octet"),
        pytest.param("10.0.0.1-", ["10.0.0.1"], id="open end"),
        pytest.param("10.0.0.2-10.0.9.", ["10.0.0.1", "10.0.0.2"], id="empty last field"),
        pytest.param("10.0.0.1-a", [], id="end is no number"),
        pytest.param("10.0.0.1-1e2", None, id="floating point"),
        pytest.param("10.0.0.299", [], id="octet too large"),
        pytest.param("fd00::9-B", ["fd00::9", "fd00::A", "fd00::B"], id="upper case"),
        pytest.param("fd00::a-c", ["fd00::0"], id="lower case is a variable"),
        pytest.param("fd00::1a-3", ["fd00::1", "fd00::2", "fd00::3"], id="start misread"),
        pytest.param("fd00::2-1a", ["fd00::1", "fd00::2"], id="end misread"),
        pytest.param("fd00::1a-1b", [], id="both misread"),
        pytest.param("fd00::1-1.5", None, id="fraction"),
        pytest.param("fd00::", [], id="trailing colons"),
        pytest.param("1:2:3:4:5:6:7:8", ["1:2:3:4:5:6:7:8"], id="eight hextets"),
        pytest.param("1:2:3:4:5:6:7::8", [], id="too many hextets"),
        pytest.param("1::2::3", [], id="two shortenings"),
        pytest.param("::1", ["::1"], id="leading colons"),
        pytest.param("::ffff:10.0.0.1", [], id="dotted IPv6"),
    ],
)
def test_address_texts_are_emitted_as_the_image_did(
    value: str, expected: list[str] | None
) -> None:
    """What was seen of the image beyond the recorded vectors."""
    assert expected == addresses(value)


def test_a_long_range_is_followed_for_a_while_only() -> None:
    """The image would have run out of memory; the model must not."""
    assert len(addresses("10.0.0.1-999999999999") or []) == shell_reading.MAX_EMITTED
    assert len(addresses("fd00::1-FFFFFFFFFFFF") or []) == shell_reading.MAX_EMITTED


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12", 12), ("-3", -3), ("+3", 3), ("010", 8), ("0x1F", 31), ("08", None), ("1 2", None),
     ("3x", None), ("word", 0), ("", 0), ("0", 0)],
)  # fmt: skip
def test_shell_arithmetic_is_followed(text: str, expected: int | None) -> None:
    """Octal, hexadecimal and unset names were all read as numbers."""
    assert expected == shell_reading.shell_number(text)


@pytest.mark.parametrize(
    ("env", "groups"),
    [
        ({"OPENSHIFT_HA_VIP_GROUPS": "2"}, [["10.0.0.1", "10.0.0.2"], ["10.0.0.3"]]),
        ({"OPENSHIFT_HA_VIP_GROUPS": "9"}, [["10.0.0.1"], ["10.0.0.2"], ["10.0.0.3"]]),
        ({"OPENSHIFT_HA_VIP_GROUPS": "-1"}, [["10.0.0.1"], ["10.0.0.2"], ["10.0.0.3"]]),
        ({"OPENSHIFT_HA_VIP_GROUPS": "text"}, [["10.0.0.1"], ["10.0.0.2"], ["10.0.0.3"]]),
    ],
)
def test_groups_are_dealt_out_in_order(env: dict[str, str], groups: list[list[str]]) -> None:
    """The first groups are one larger; anything but a positive number is no group."""
    reading = shell_reading.read({"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.1-3"} | env, NODE)
    assert groups == [list(each.addresses) for each in reading.instances]


@pytest.mark.parametrize(
    ("env", "facts", "outage"),
    [
        (ONE, NODE, ""),
        ({}, NODE, "no address"),
        (ONE, host_facts({}), "no interface"),
        ({**ONE, OFFSET: "255"}, NODE, "256 is no virtual router id"),
        ({**ONE, OFFSET: "08"}, NODE, "is no number"),
    ],
)
def test_a_total_outage_is_told(env: dict[str, str], facts: model.HostFacts, outage: str) -> None:
    """What kept keepalived from serving anything is said in words."""
    told = shell_reading.read(env, facts).outage
    assert outage in told
    assert bool(outage) == bool(told)


def test_keepalived_takes_valid_addresses_of_the_first_family() -> None:
    """Of a mixed or broken group the rest was ignored in silence."""
    env = {
        "OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.08,fd00::1,10.0.0.1,fd00::2",
        "OPENSHIFT_HA_VIP_GROUPS": "1",
    }
    (instance,) = shell_reading.read(env, NODE).instances
    assert [str(each) for each in instance.served] == ["fd00::1", "fd00::2"]


@pytest.mark.parametrize(
    ("value", "peers"),
    [
        ("10.0.0.1,10.0.0.2", ("10.0.0.1", "10.0.0.2")),
        ("10.0.0.1 10.0.0.2", ("10.0.0.1",)),
        ("10.0.0.1\n10.0.0.2,,", ("10.0.0.1", "10.0.0.2")),
        ("", None),
    ],
)
def test_peers_were_split_at_commas_only(value: str, peers: tuple[str, ...] | None) -> None:
    """A second peer after a blank was lost."""
    env = {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.1", "OPENSHIFT_HA_UNICAST_PEERS": value}
    (instance,) = shell_reading.read(env, NODE).instances
    assert peers == instance.unicast_peers


def test_the_lowest_metric_names_the_default_interface() -> None:
    """Without a name and a usual interface, the kernel's choice for IPv4 counts."""
    routes = [
        "default via 10.0.0.254 dev bond0 metric 200",
        "default via 10.1.0.254 dev br-ex metric 100 src 10.1.0.9",
        "default via fd00::1 dev wlan0",
    ]
    facts = host_facts({"br-ex": ["10.1.0.9/24"], "bond0": []}, routes)
    assert shell_reading.read({}, facts).interface == "br-ex"


def test_a_labelled_address_is_not_the_node_s() -> None:
    """The ifconfig command shows the address that bears the interface's own name."""
    labelled = model.InterfaceAddress(
        address=ip_address("10.0.0.9"), prefix_length=32, label="ens3:vip"
    )
    own = model.InterfaceAddress(address=ip_address("10.0.0.1"), prefix_length=24, label="ens3")
    ens3 = model.Interface(name="ens3", index=2, addresses=(labelled, own))
    assert shell_reading.read({}, model.HostFacts(interfaces=(ens3,))).node_address == "10.0.0.1"
