"""What is said of network managers, by what they read."""

from __future__ import annotations

import pytest

from ipfailover_agent.doctor import node_findings
from ipfailover_agent.doctor.node_findings import Managers

NETWORK = "[Network]\nKeepConfiguration="


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], "no"),
        (["[Match]\nName=eth0\n"], "no"),
        ([f"{NETWORK}yes"], "yes"),
        ([f"{NETWORK} On "], "yes"),
        ([f"{NETWORK}t"], "yes"),
        ([f"{NETWORK}0"], "no"),
        ([f"{NETWORK}static"], "static"),
        ([f"{NETWORK}dhcp"], "dhcp"),
        ([f"{NETWORK}dynamic"], "dynamic"),
        ([f"{NETWORK}dhcp-on-stop"], "dhcp-on-stop"),
        ([f"{NETWORK}yes\nKeepConfiguration=no"], "no"),
        ([f"{NETWORK}no\nKeepConfiguration=yes\nKeepConfiguration=nonsense"], "yes"),
        ([f"{NETWORK}yes\nKeepConfiguration="], "yes"),
        ([f"{NETWORK}yes", f"{NETWORK}no"], "no"),
        ([f"{NETWORK}no", f"{NETWORK}yes"], "yes"),
        ([f"{NETWORK}yes", "KeepConfiguration=no"], "yes"),
        (["[DHCP]\nKeepConfiguration=yes"], "no"),
        (["[Network]\n# KeepConfiguration=yes\n; KeepConfiguration=yes"], "no"),
        (["[Network]\nKeepConfiguration\\\n=yes"], "yes"),
        (["[DHCP]\nCriticalConnection=true"], "yes"),
        (["[DHCPv4]\nCriticalConnection=y"], "yes"),
        (["[DHCP]\nCriticalConnection=false"], "no"),
        (["[Network]\nCriticalConnection=true"], "no"),
        ([f"[DHCP]\nCriticalConnection=true\n{NETWORK}static"], "static"),
        ([f"{NETWORK}no", "[DHCP]\nCriticalConnection=true"], "no"),
        (["nonsense"], "no"),
    ],
)
def test_the_last_word_of_networkd_counts(texts: list[str], expected: str) -> None:
    """In its section, if it is one that networkd knows; the older name only without the newer."""
    assert expected == node_findings.keep_configuration(texts)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], False),
        (["auto eth0", "iface eth0", "  address 10.0.0.11/24"], True),
        (["iface eth0", "  address 10.0.0.11/24", "  address-purge  no"], False),
        (["iface eth0", "", "iface eth1", "  address-purge no"], True),
        (["iface eth0 inet static", "iface eth0 inet6 static"], False),
        (["iface eth01"], False),
        (["iface eth1", "  address-purge no", "allow-hotplug eth0"], False),
    ],
)
def test_ifupdown2_removes_by_one_stanza_without_a_word_against_it(
    lines: list[str],
    expected: bool,  # noqa: FBT001
) -> None:
    """With two it says itself that it skips purging."""
    assert expected == node_findings.purges(["source interfaces.d/*\n", "\n".join(lines)], "eth0")


@pytest.mark.parametrize(
    ("keep", "with_lease", "without"),
    [
        ("yes", "pass", "pass"),
        ("dhcp", "pass", "warn"),
        ("dynamic", "pass", "warn"),
        ("static", "warn", "pass"),
        ("no", "warn", "warn"),
        ("dhcp-on-stop", "warn", "warn"),
    ],
)
def test_networkd_keeps_by_lifetime(keep: str, with_lease: str, without: str) -> None:
    """A lease is a lifetime; without one our addresses have none."""
    told = Managers(names=frozenset({"networkd"}), keep=keep)
    (leased,) = node_findings.judge_managers("eth0", told, 3)
    (lasting,) = node_findings.judge_managers("eth0", told, 0)
    assert [with_lease, without] == [leased.verdict.value, lasting.verdict.value]
    says_why = keep in {"dhcp", "dynamic", "static"}
    for each, words in ((leased, "which have a lifetime"), (lasting, "which have none")):
        assert (says_why and each.verdict.value == "warn") == (words in each.text)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Managers(), ["pass no network manager that is seen here manages eth0"]),
        (
            Managers(is_visible=False),
            ["skip not looked at: neither /run/systemd nor /run/NetworkManager is seen here"],
        ),
        (
            Managers(names=frozenset({"networkd"}), unread="/etc/x.network"),
            [
                (
                    "skip not looked at: /etc/x.network, which systemd-networkd reads for eth0, "
                    "cannot be read here"
                )
            ],
        ),
        (
            Managers(names=frozenset({"networkd", "NetworkManager", "ifupdown2"})),
            [
                "warn systemd-networkd manages eth0",
                "warn NetworkManager manages eth0",
                "warn ifupdown2 manages eth0",
            ],
        ),
    ],
    ids=["none", "unseen", "unread", "all"],
)
def test_managers_of_the_interface_are_told(told: Managers, expected: list[str]) -> None:
    """Where their files are not seen, nothing is known."""
    found = node_findings.judge_managers("eth0", told, 3)
    assert expected == [f"{each.verdict.value} {each.text}" for each in found]
