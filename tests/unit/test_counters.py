"""What conflicts take of keepalived's own counters."""

from __future__ import annotations

from ipfailover_agent.conflict.causes import other_errors
from ipfailover_agent.keepalived.dump import VrrpStatistics


def test_other_errors_are_neither_of_the_list_nor_of_the_password() -> None:
    """Each number is a bit of its own, so that none can stand for another in the sum."""
    bits = {name: 1 << place for place, name in enumerate(VrrpStatistics.__struct_fields__)}
    others = ("packet_len_err", "ip_ttl_err", "invalid_type_rcvd", "invalid_authtype")
    expected = sum(bits[each] for each in (*others, "authtype_mismatch"))
    assert expected == other_errors(VrrpStatistics(**bits))
