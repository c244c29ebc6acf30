"""keepalived's JSON dump: what is read of it, and what is no dump."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.keepalived.dump import (
    InstanceDump,
    VrrpStatistics,
    parse,
    parse_signal,
    signal_command,
)
from ipfailover_agent.model import VrrpState

# as keepalived 2.2.7 writes it
DATA: dict[str, Any] = {
    "iname": "vi1",
    "dont_track_primary": 0,
    "skip_check_adv_addr": 0,
    "strict_mode": 0,
    "vmac_ifname": "",
    "ifp_ifname": "eth0",
    "master_priority": 0,
    "last_transition": 1795346763.859286,
    "garp_delay": 15,
    "garp_refresh": 0,
    "garp_rep": 5,
    "garp_refresh_rep": 1,
    "garp_lower_prio_delay": 1,
    "garp_lower_prio_rep": 5,
    "lower_prio_no_advert": 0,
    "higher_prio_send_advert": 0,
    "vrid": 11,
    "base_priority": 100,
    "effective_priority": 90,
    "vipset": True,
    "promote_secondaries": False,
    "adver_int": 0.1,
    "master_adver_int": 0.2,
    "accept": 1,
    "nopreempt": False,
    "preempt_delay": 0,
    "state": 2,
    "wantstate": 2,
    "version": 3,
    "smtp_alert": False,
    "notify_deleted": False,
    "vips": ["10.9.0.1 dev eth0 scope global set"],
    "auth_type": 1,
    "auth_data": "secret",
}
STATS: dict[str, Any] = {
    "advert_rcvd": 1,
    "advert_sent": 2,
    "become_master": 3,
    "release_master": 4,
    "packet_len_err": 5,
    "advert_interval_err": 6,
    "ip_ttl_err": 7,
    "invalid_type_rcvd": 8,
    "addr_list_err": 9,
    "invalid_authtype": 10,
    "authtype_mismatch": 11,
    "auth_failure": 12,
    "pri_zero_rcvd": 13,
    "pri_zero_sent": 14,
}
DUMP = [{"data": DATA, "stats": STATS}]
EXPECTED = InstanceDump(
    name="vi1",
    virtual_router_id=11,
    state=VrrpState.MASTER,
    effective_priority=90,
    advert_interval=0.1,
    master_advert_interval=0.2,
    has_addresses=True,
    last_transition=1795346763.859286,
    counters=VrrpStatistics(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14),
    garp_delay=15.0,
)


def changed(part: str, **fields: object) -> str:
    """Return the dump with other values in ``data`` or ``stats``; None takes one away."""
    merged = {**DUMP[0][part], **fields}
    kept = {name: value for name, value in merged.items() if value is not None}
    return json.dumps([{**DUMP[0], part: kept}])


def test_every_field_is_read_as_what_keepalived_calls_so() -> None:
    """Each value is another one, so that none can stand for its neighbour."""
    assert (EXPECTED,) == parse(json.dumps(DUMP) + "\n")


def test_a_dump_of_json_version_2_is_read_alike() -> None:
    """keepalived 2.2.8 and later can wrap the list, and put track processes beside it."""
    text = json.dumps({"vrrp": DUMP, "track_process": [{"process": "x"}]})
    assert (EXPECTED,) == parse(text)


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (0, VrrpState.INIT),
        (1, VrrpState.BACKUP),
        (2, VrrpState.MASTER),
        (3, VrrpState.FAULT),
        (97, VrrpState.DELETED),
        (98, VrrpState.STOP),
        (4, VrrpState.INIT),
    ],
)
def test_states_have_numbers(number: int, state: VrrpState) -> None:
    """Those of vrrp.h; an unknown one is none that holds addresses."""
    found = parse(changed("data", state=number))
    assert found is not None
    assert state is found[0].state


def test_what_a_version_does_not_tell_is_nothing() -> None:
    """Without authentication keepalived has no counters for it."""
    stats = {"advert_rcvd": 5, "advert_sent": 6}
    data = {"iname": "a", "vrid": 1, "state": 1, "adver_int": 1}
    found = parse(json.dumps([{"data": data, "stats": stats}]))
    assert found is not None
    assert VrrpStatistics(advert_rcvd=5, advert_sent=6) == found[0].counters
    assert (1.0, 1.0, 0, False) == (
        found[0].advert_interval,
        found[0].master_advert_interval,
        found[0].effective_priority,
        found[0].has_addresses,
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"vrrp": []}',
        "{}",
        "null",
        "[[]]",
        "[1]",
        '[{"data": {}}]',
        '[{"data": [], "stats": []}]',
        changed("data", iname=None),
        changed("data", iname=1),
        changed("data", state=None),
        changed("data", state=True),
        changed("data", state="2"),
        changed("data", vrid=1.5),
        changed("data", adver_int=0),
        changed("data", adver_int=-1),
        changed("data", adver_int="1"),
        changed("data", adver_int=float("nan")),
        changed("data", adver_int=float("inf")),
        changed("data", adver_int=10**400),
        changed("data", last_transition=10**400),
        changed("stats", advert_sent=None),
        changed("stats", advert_rcvd=None),
        changed("stats", advert_sent=False),
        "[" * 100_000 + "]" * 100_000,
        "[" + "9" * 5000 + "]",
    ],
    ids=lambda text: text if len(text) < 20 else None,
)
def test_what_is_no_dump_is_told_so(text: str) -> None:
    """Nothing is guessed where a decision would rest on it, and nothing raises."""
    assert parse(text) is None


def test_no_part_of_a_dump_is_taken_for_a_whole_one() -> None:
    """keepalived 2.2.7 does not write at once: every beginning is incomplete."""
    text = json.dumps(DUMP * 2)
    assert [None] * len(text) == [parse(text[:length]) for length in range(len(text))]


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from([*DATA, "vrrp", "data", "stats"]), inner)
        ),
    ).map(lambda value: json.dumps([{"data": value, "stats": value}, value]))
)
def test_no_text_makes_it_raise(text: str) -> None:
    """Whatever stands in the file."""
    found = parse(text)
    assert found is None or all(isinstance(each, InstanceDump) for each in found)


def test_254_instances_are_read_in_less_time_than_json_needs() -> None:
    """The loop does nothing else meanwhile: some 0.5 ms, a quarter of what json needs."""
    data = {**DATA, "vips": [f"10.9.{n}.1/32 dev eth0 scope global set" for n in range(4)]}
    text = json.dumps([{"data": {**data, "iname": f"vi{n}"}, "stats": STATS} for n in range(254)])
    found = parse(text)
    assert found is not None
    assert len(found) == 254
    if sys.gettrace() is None and "coverage" not in sys.modules:
        pairs = [(shortest(parse, text), shortest(json.loads, text)) for _ in range(10)]
        assert min(ours / json_alone for ours, json_alone in pairs) < 1, pairs


def shortest(read: Callable[[str], object], text: str) -> float:
    """Return the processor time of the shortest of some calls, in seconds."""
    times = []
    for _ in range(5):
        begin = time.thread_time()
        read(text)
        times.append(time.thread_time() - begin)
    return min(times)


@pytest.mark.parametrize(
    ("exit_code", "lines", "expected"),
    [
        (0, ["36"], 36),
        (0, [" 37 "], 37),
        (1, ["36"], None),
        (None, ["36"], None),
        (0, [], None),
        (0, ["Unknown sigfunc JSON"], None),
        (0, ["36", "37"], None),
        (0, ["0"], None),
        (0, ["65"], None),
        (0, ["3600"], None),
        (0, ["-1"], None),
    ],
)
def test_the_signal_is_what_keepalived_says(
    exit_code: int | None, lines: list[str], expected: int | None
) -> None:
    """Where it says none, none is sent: it would kill a keepalived without dumps."""
    assert expected == parse_signal(exit_code, lines)


def test_the_question_for_the_signal_starts_nothing_else() -> None:
    """One word more would run a second keepalived."""
    assert signal_command("/usr/sbin/keepalived") == ("/usr/sbin/keepalived", "--signum=JSON")
