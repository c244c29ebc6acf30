"""What contests take of keepalived's own counters."""

from __future__ import annotations

from msgspec.structs import replace

from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.rivalry.counters import AdvertCounters
from ipfailover_agent.core.supervising import dump
from tests.unit.test_dump import EXPECTED


def test_counters_of_a_dump_are_what_keepalived_calls_so() -> None:
    """Each number is a bit of its own, so that none can stand for another in the sum."""
    bits = {name: 1 << place for place, name in enumerate(dump.VrrpStatistics.__struct_fields__)}
    instance = replace(EXPECTED, counters=dump.VrrpStatistics(**bits))
    others = ("packet_len_err", "ip_ttl_err", "invalid_type_rcvd", "invalid_authtype")
    assert AdvertCounters(
        taken_at=5.0,
        state=VrrpState.MASTER,
        advert_rcvd=bits["advert_rcvd"],
        advert_sent=bits["advert_sent"],
        addr_list_err=bits["addr_list_err"],
        auth_failure=bits["auth_failure"],
        other_errors=sum(bits[each] for each in (*others, "authtype_mismatch")),
    ) == AdvertCounters.of(instance, 5.0)
