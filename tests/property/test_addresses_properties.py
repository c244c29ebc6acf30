"""Properties of the address grammar, and its bond to the shell image's reading."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import example, given
from hypothesis import strategies as st

from ipfailover_agent.config import shell_reading
from ipfailover_agent.config.addresses import MAX_ADDRESSES, expand
from ipfailover_agent.config.values import Fields, peers
from ipfailover_agent.model import IPAddress

IPV4 = st.integers(0x0100_0001, 0x7EFF_FFFF).map(IPv4Address)
IPV6 = st.integers(0x2000 << 112, (0x2001 << 112) - 1).map(IPv6Address)
ADDRESSES = st.lists(IPV4 | IPV6, min_size=1, max_size=30, unique=True)
SEPARATORS = st.sampled_from([",", ", ", " ,\t", "\n", ",\n", " \n "])

OCTETS = st.integers(0, 300).map(str) | st.sampled_from(["00", "08", "010", "1e2", ""])
HEXTETS = st.integers(0, 0x1FFFF).map("{:x}".format) | st.integers(0, 0xFFFF).map("{:X}".format)
STARTS = (
    st.tuples(st.sampled_from(["10.0.0.", "10.0.00.", "127.0.0.", "224.0.0."]), OCTETS)
    | st.tuples(st.sampled_from(["fd00::", "2001:DB8:1:2:3:4:5:", "::", "fd00::1::"]), HEXTETS)
).map("".join)
ENDS = (
    OCTETS
    | HEXTETS
    | st.tuples(st.sampled_from(["10.0.0.", "10.0.1.", "9.", "fd00::"]), OCTETS).map("".join)
)
RANGES = st.tuples(STARTS, st.sampled_from(["-", " - ", "--", "/24-"]), ENDS).map("".join)
NOISE = st.text(alphabet="0129aAfF:.,-/ \\\n;%x\t", max_size=20)
ELEMENTS = STARTS | RANGES | NOISE
TEXTS = st.lists(st.integers(0, 0x10FFFF).map(chr), max_size=20).map("".join)
VALUES = st.lists(ELEMENTS, max_size=5).flatmap(
    lambda elements: st.sampled_from([",", "\n", " ", ", "]).map(lambda glue: glue.join(elements))
)


@given(ADDRESSES, SEPARATORS)
def test_what_is_formatted_is_parsed_again(addresses: list[IPAddress], separator: str) -> None:
    """Every list of usable addresses survives being written out, in its order."""
    expansion = expand(separator.join(map(str, addresses)))
    assert tuple(addresses) == expansion.addresses
    assert expansion.problems + expansion.left_out_by_old == ()


@given(ADDRESSES, SEPARATORS)
def test_plain_addresses_were_always_read_alike(
    addresses: list[IPAddress], separator: str
) -> None:
    """Addresses one by one mean the same to both images, but for a final ``::``."""
    texts = [text for text in map(str, addresses) if not text.endswith("::")]
    emitted = shell_reading.emitted(separator.join(texts))
    assert emitted is not None
    assert expand(separator.join(texts)).addresses == shell_reading.parse_emitted(emitted)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 0xFFFF - 300))
def test_ranges_hold_every_address_between_their_ends(one: int, other: int, hextet: int) -> None:
    """Ranges are ordered, complete, and read alike in upper case."""
    first, last = sorted((one, other))
    ipv4 = f"10.0.0.{first}-{last}"
    ipv6 = f"2001:DB8::{hextet + first:X}-{hextet + last:X}"
    for text in (ipv4, ipv6):
        expansion = expand(text)
        values = [int(each) for each in expansion.addresses]
        assert expansion.problems == ()
        assert list(range(values[0], values[0] + last - first + 1)) == values
        assert expansion.addresses == shell_reading.parse_emitted(
            shell_reading.emitted(text) or ()
        )


@given(VALUES)
@example("192.168.55.1/24")
@example("fd00::a-c")
@example("10.0.0.1-10.0.1.3")
@example("10.0.0.1 5")
@example("fd00::1a-3")
def test_an_accepted_element_was_read_alike_or_not_at_all(value: str) -> None:
    """A rollback to the shell image can lose an address; it can never serve a foreign one."""
    expansion = expand(value)
    if expansion.problems or expansion.left_out_by_old:
        return
    ours = expansion.addresses
    emitted = shell_reading.emitted(value)
    assert emitted is not None
    old = shell_reading.parse_emitted(emitted)
    assert len(old) == len(emitted)
    assert set(old) <= set(ours)
    known = set(old)
    assert [each for each in ours if each in known] == list(old)
    if not expansion.newly_read:
        assert ours == old


@given(VALUES)
def test_what_may_be_left_out_was_left_out_by_the_old_image(value: str) -> None:
    """Leaving out what serve-valid may leave out keeps the old image's instances, one by one."""
    expansion = expand(value)
    if expansion.problems:
        return
    old = shell_reading.parse_emitted(shell_reading.emitted(value) or ())
    known = set(old)
    assert [each for each in expansion.addresses if each in known] == list(old)


@given(VALUES)
def test_expanding_is_idempotent(value: str) -> None:
    """Expanding what came out gives the same again: each address once, in order, bounded."""
    addresses = expand(value).addresses
    assert len(set(addresses)) == len(addresses) <= MAX_ADDRESSES
    assert addresses == expand(",".join(map(str, addresses))).addresses


@given(TEXTS | VALUES)
def test_any_text_is_expanded_or_refused(value: str) -> None:
    """No text raises, and nothing of it disappears: something is read, or something is said."""
    expansion = expand(value)
    is_said = expansion.addresses or expansion.problems or expansion.left_out_by_old
    assert bool(is_said) == bool(value.strip(" \t\n,"))


@given(TEXTS | VALUES)
def test_any_text_is_a_list_of_peers_or_refused(value: str) -> None:
    """No text raises; every element is read or refused."""
    fields = Fields({})
    assert bool(peers(fields, "PEERS", value) or fields.problems) == bool(value.strip(" \t\n,"))


@given(TEXTS | VALUES)
def test_the_old_reading_follows_any_text(value: str) -> None:
    """The model of the shell image never fails, whatever it is asked."""
    shell_reading.shell_number(value)
    shell_reading.emitted(value)
