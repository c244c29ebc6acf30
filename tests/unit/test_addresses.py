"""The grammar of address lists."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ipfailover_agent.config import addresses
from ipfailover_agent.config.addresses import Expansion, expand
from ipfailover_agent.config.values import Fields, peers
from ipfailover_agent.errors import Problem


def texts(expansion: Expansion) -> list[str]:
    return [str(address) for address in expansion.addresses]


def refusals(expansion: Expansion) -> tuple[Problem, ...]:
    return expansion.problems + expansion.left_out_by_old


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("192.0.2.5", ["192.0.2.5"], id="one address"),
        pytest.param("192.0.2.5, 192.0.2.9", ["192.0.2.5", "192.0.2.9"], id="comma and blank"),
        pytest.param("192.0.2.5\n192.0.2.9\n", ["192.0.2.5", "192.0.2.9"], id="lines"),
        pytest.param("192.0.2.5,\n192.0.2.9,\n", ["192.0.2.5", "192.0.2.9"], id="comma and line"),
        pytest.param("192.0.2.5 192.0.2.9", ["192.0.2.5", "192.0.2.9"], id="blanks between"),
        pytest.param("192.0.2.9,192.0.2.5", ["192.0.2.9", "192.0.2.5"], id="order is kept"),
        pytest.param("192.0.2.5-7", ["192.0.2.5", "192.0.2.6", "192.0.2.7"], id="last octet"),
        pytest.param("192.0.2.5 - 6", ["192.0.2.5", "192.0.2.6"], id="blanks around the dash"),
        pytest.param("192.0.2.5-5", ["192.0.2.5"], id="range of one"),
        pytest.param("192.0.2.5-192.0.2.6", ["192.0.2.5", "192.0.2.6"], id="full end"),
        pytest.param(
            "192.0.2.254-192.0.3.1",
            ["192.0.2.254", "192.0.2.255", "192.0.3.0", "192.0.3.1"],
            id="crossing where the old image read nothing",
        ),
        pytest.param("192.0.2.0,192.0.2.255", ["192.0.2.0", "192.0.2.255"], id="ends of a /24"),
        pytest.param("2001:db8::a", ["2001:db8::a"], id="IPv6"),
        pytest.param("2001:DB8::A", ["2001:db8::a"], id="IPv6 in upper case"),
        pytest.param("2001:db8::9-B", ["2001:db8::9", "2001:db8::a", "2001:db8::b"], id="hextet"),
        pytest.param("2001:db8::1f39-1f3a", ["2001:db8::1f39", "2001:db8::1f3a"], id="lower case"),
        pytest.param("2001:db8::-1", ["2001:db8::", "2001:db8::1"], id="from the zero hextet"),
        pytest.param("2001:db8::192.0.2.1", ["2001:db8::c000:201"], id="dotted end of IPv6"),
        pytest.param("", [], id="nothing"),
        pytest.param(" ,\n,", [], id="only separators"),
    ],
)
def test_a_list_means_its_addresses_in_order(value: str, expected: list[str]) -> None:
    """Addresses, ranges and separators are read as the contract says."""
    expansion = expand(value)
    assert expected == texts(expansion)
    assert () == refusals(expansion)


@pytest.mark.parametrize(
    ("value", "element", "reason", "instead"),
    [
        ("192.0.2.50/24", "192.0.2.50/24", "prefix length", "'192.0.2.50'"),
        ("192.0.2.5/24-7", "192.0.2.5/24-7", "prefix length", "'192.0.2.5-7'"),
        ("2001:db8::100/64", "2001:db8::100/64", "prefix length", "'2001:db8::100'"),
        ("192.0.2.9,192.0.2.5;192.0.2.6", "192.0.2.5;192.0.2.6", "';'", "commas"),
        ("192.0.2.5-7 192.0.2.9", "192.0.2.5-7 192.0.2.9", "blanks", "commas"),
        ("192.0.2.5-4", "192.0.2.5-4", "before the start", "lower one first"),
        ("192.0.2.9-5", "192.0.2.9-5", "before the start", "lower one first"),
        ("192.0.2.9-192.0.2.5", "192.0.2.9-192.0.2.5", "before the start", "lower one first"),
        ("2001:db8::9-5", "2001:db8::9-5", "before the start", "lower one first"),
        ("192.0.2.5-", "192.0.2.5-", "a start and an end", "START-END"),
        ("-192.0.2.5", "-192.0.2.5", "a start and an end", "START-END"),
        ("192.0.2.5-6-8", "192.0.2.5-6-8", "one '-'", "commas"),
        ("192.0.2.300", "192.0.2.300", "300 is above 255", ""),
        ("192.0.2.5-300", "192.0.2.5-300", "300 is above 255", "last octet"),
        ("192.0.2.5-192.0.2.300", "192.0.2.5-192.0.2.300", "300 is above 255", ""),
        ("192.0.2.5-2.7", "192.0.2.5-2.7", "'2.7' cannot end", "full address"),
        ("192.0.2.5-2001:db8::1", "192.0.2.5-2001:db8::1", "cannot end", "last octet"),
        ("192.0.2.05", "192.0.2.05", "leading zero", "'192.0.2.5'"),
        ("192.0.2.008-010", "192.0.2.008-010", "leading zero", "'192.0.2.8-10'"),
        ("vip.example.com", "vip.example.com", "host name", "address"),
        ("my-vip.example.com", "my-vip.example.com", "host name", "address"),
        ("192.0.2", "192.0.2", "no IPv4 address", "in full"),
        ("2001:db8::1::2", "2001:db8::1::2", "no IPv6 address", "in full"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", "IPv4-mapped", "'192.0.2.1'"),
        ("127.0.0.1", "127.0.0.1", "loopback", "unicast"),
        ("::1", "::1", "loopback", "unicast"),
        ("224.0.0.18", "224.0.0.18", "multicast", "unicast"),
        ("ff02::12", "ff02::12", "multicast", "unicast"),
        ("0.0.0.0", "0.0.0.0", "unspecified", "unicast"),
        ("::", "::", "unspecified", "unicast"),
        ("255.255.255.255", "255.255.255.255", "broadcast", "unicast"),
        ("223.255.255.255-224.0.0.1", "223.255.255.255-224.0.0.1", "multicast", "unicast"),
        ("fe80::1%eth0", "fe80::1%eth0", "zone", "'fe80::1'"),
        ("2001:db8::1-2001:db8::a", "2001:db8::1-2001:db8::a", "hextet", "'2001:db8::1-A'"),
        ("2001:db8::1-2001:db9::1", "2001:db8::1-2001:db9::1", "hextet", "each of the networks"),
        ("2001:db8::1-a:", "2001:db8::1-a:", "hextet", "START-HEXTET"),
        ("2001:db8::1-g", "2001:db8::1-g", "'g' cannot end", "hexadecimal"),
        ("2001:db8::192.0.2.1-5", "2001:db8::192.0.2.1-5", "dotted", "'2001:db8::c000:201'"),
        ("192.0.2.5,192.0.2.5", "192.0.2.5", "again", "once"),
        ("192.0.2.5-9,192.0.2.7", "192.0.2.7", "after '192.0.2.5-9'", "once"),
        ("192.0.2.5 192.0.2.5", "192.0.2.5 192.0.2.5", "after itself", "once"),
        ("192.0.2.5 x", "x", "host name", "address"),
        ("192.0.2.\u0665", "192.0.2.\u0665", "belongs to no address", "commas"),
    ],
)
def test_a_refusal_names_element_reason_and_remedy(
    value: str, element: str, reason: str, instead: str
) -> None:
    """One fault is one problem of its variable, in words that a person can act on."""
    (problem,) = refusals(expand(value, variable="SOME_LIST"))
    assert ("SOME_LIST", element) == (problem.variable, problem.element)
    assert reason in problem.reason
    assert instead in problem.instead


@pytest.mark.parametrize(
    ("value", "old", "ours"),
    [
        ("192.168.55.1/24", "served 192.168.55.124", "'192.168.55.1'"),
        ("192.0.2.1-192.0.3.3", "served 192.0.2.1, 192.0.2.2, 192.0.2.3", "(259 addresses)"),
        ("192.0.2.1-192.0.3.3", "served", "'192.0.2.1-255,192.0.3.0-3'"),
        ("192.0.2.1-192.0.9.250", "192.0.2.1 to 192.0.2.250", "one range for each /24"),
        ("2001:db8::a-c", "served 2001:db8::;", "'2001:db8::A-C'"),
        ("2001:db8::1-1f", "served 2001:db8::1;", "'2001:db8::1-1F'"),
        ("192.0.2.5-6-8", "served 192.0.2.5, 192.0.2.6;", "commas"),
        ("192.0.2.5-", "served 192.0.2.5;", "START-END"),
        ("192.0.2.1 5", "served 192.0.2.15;", "full"),
        ("192.0.2.05", "misread", "'192.0.2.5'"),
        ("192.0.2.1-1e2", "misread", "last octet"),
    ],
)
def test_where_the_old_image_read_something_else_both_readings_are_named(
    value: str, old: str, ours: str
) -> None:
    """The operator learns what would change; serve-valid must not leave such an element out."""
    expansion = expand(value)
    assert () == expansion.left_out_by_old
    (problem,) = expansion.problems
    assert old in str(problem)
    assert ours in str(problem)


def test_what_the_old_image_passed_over_may_be_left_out() -> None:
    """Faults are told apart by whether leaving the element out keeps the ids of the others."""
    expansion = expand("192.0.2.1,vip.example.com,192.0.2.9-5,192.0.2.2/24,192.0.2.7")
    assert ["192.0.2.1", "192.0.2.7"] == texts(expansion)
    assert ["vip.example.com", "192.0.2.9-5"] == [p.element for p in expansion.left_out_by_old]
    assert ["192.0.2.2/24"] == [p.element for p in expansion.problems]


@pytest.mark.parametrize(
    ("value", "newly_read", "renumbers"),
    [
        ("192.0.2.1,192.0.2.2-4", (), False),
        ("192.0.2.1,192.0.2.2 192.0.2.3", ("192.0.2.2 192.0.2.3",), False),
        ("192.0.2.2 192.0.2.3,192.0.2.1", ("192.0.2.2 192.0.2.3",), True),
        ("2001:db8::1f39-1f3b,192.0.2.1", ("2001:db8::1f39-1f3b",), True),
        ("2001:db8::,192.0.2.1", ("2001:db8::",), True),
    ],
)
def test_newly_read_elements_that_move_the_ids_of_others_are_known(
    value: str, newly_read: tuple[str, ...], *, renumbers: bool
) -> None:
    """Old and new nodes agree on ids only when newly read elements come last."""
    expansion = expand(value)
    assert (newly_read, renumbers) == (expansion.newly_read, expansion.renumbers)


@pytest.mark.parametrize(
    "value", ["2001:db8::0-FFFF", "10.0.0.0-10.0.255.255", "10.0.0.1-10.0.0.255,2001:db8::1-FFF"]
)
def test_a_huge_list_is_refused_without_being_expanded(value: str) -> None:
    """A slip of a digit must cost neither memory nor time."""
    problems = refusals(expand(value))
    assert any(f"at most {addresses.MAX_ADDRESSES}" in problem.reason for problem in problems)


def test_a_list_of_faults_ends_somewhere() -> None:
    """A megabyte of nonsense gives a report that can be read, and is refused for certain."""
    expansion = expand(",".join(["nonsense"] * 10_000))
    assert addresses.MAX_PROBLEMS == len(expansion.left_out_by_old)
    assert ["..."] == [problem.element for problem in expansion.problems]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.0.2.1,192.0.2.2", ["192.0.2.1", "192.0.2.2"]),
        ("192.0.2.1 2001:db8::1,\t192.0.2.2", ["192.0.2.1", "2001:db8::1", "192.0.2.2"]),
        ("192.0.2.1,192.0.2.1", ["192.0.2.1"]),
        (" , ", []),
    ],
)
def test_a_plain_list_takes_commas_and_blanks(value: str, expected: list[str]) -> None:
    """Peers may be separated in either way, and repeated."""
    fields = Fields({})
    assert expected == [str(each) for each in peers(fields, "PEERS", value)]
    assert [] == fields.problems


def test_a_plain_list_takes_no_ranges() -> None:
    """Every element that is no address is a problem of its own."""
    fields = Fields({})
    assert (ip_address("192.0.2.7"),) == peers(fields, "P", "192.0.2.1-5,node-b,192.0.2.7")
    assert ["192.0.2.1-5", "node-b"] == [problem.element for problem in fields.problems]


def test_many_addresses_are_described_by_their_ends() -> None:
    """A message stays short however many addresses it is about."""
    few, many = expand("192.0.2.1-3").addresses, expand("192.0.2.1-9").addresses
    assert "nothing" == addresses.describe(())
    assert "192.0.2.1, 192.0.2.2, 192.0.2.3" == addresses.describe(few)
    assert "192.0.2.1 to 192.0.2.9 (9 addresses)" == addresses.describe(many)
    assert ip_address("192.0.2.9") == many[-1]
