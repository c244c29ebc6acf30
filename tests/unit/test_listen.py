"""The grammar of IPFAILOVER_LISTEN."""

from __future__ import annotations

import pytest

from ipfailover_agent.config import listen
from ipfailover_agent.errors import SettingsError
from ipfailover_agent.model import ListenAddress


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        pytest.param(None, "127.0.0.1", 63000, "127.0.0.1:63000", id="unset"),
        pytest.param("  \n", "127.0.0.1", 63000, "127.0.0.1:63000", id="empty is unset"),
        pytest.param("10.0.0.1:80\n", "10.0.0.1", 80, "10.0.0.1:80", id="IPv4"),
        pytest.param("0.0.0.0:1", "0.0.0.0", 1, "0.0.0.0:1", id="all of IPv4"),
        pytest.param("[::1]:63000", "::1", 63000, "[::1]:63000", id="IPv6"),
        pytest.param("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535, None, id="scope"),
        pytest.param(":63001", "", 63001, ":63001", id="all addresses"),
    ],
)
def test_a_place_is_read_and_shown_again(
    text: str | None, host: str, port: int, shown: str | None
) -> None:
    """As a person would write it."""
    found = listen.parse(text)
    assert ListenAddress(host=host, port=port) == found
    assert shown is None or shown == str(found)


@pytest.mark.parametrize("text", ["off", " OFF\n"])
def test_it_can_be_off(text: str) -> None:
    """By a word, since an empty value is an unset one."""
    assert listen.parse(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("localhost:80", "'localhost' is no address of a node"),
        ("10.0.0.1", "has no port; write 10.0.0.1:63000"),
        ("::1", r"has no port; write \[::1\]:63000"),
        ("63000", "is no address and port; write ADDRESS:PORT"),
        ("fd00::11:63000", r"is no address and port; write \[fd00::11\]:63000"),
        ("10.0.0.1:", "is no address and port"),
        ("10.0.0.1:http", "is no address and port"),
        ("10.0.0.1:0", "the port must be from 1 to 65535"),
        ("10.0.0.1:65536", "the port must be from 1 to 65535"),
        ("10.0.0.256:1", "is no address of a node"),
        ("[]:1", "'' is no address of a node"),
        ("[nonsense]:1", "is no address of a node"),
        ("[10.0.0.1]:80", "only an IPv6 address goes into brackets; write 10.0.0.1:80"),
        ("10.0.0.1:\u0661", "is no address and port"),
    ],
)
def test_what_is_no_place_is_refused(text: str, reason: str) -> None:
    """With the variable, and what to write instead."""
    with pytest.raises(SettingsError, match=f"IPFAILOVER_LISTEN: .*{reason}"):
        listen.parse(text)
