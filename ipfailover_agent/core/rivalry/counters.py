"""What keepalived counts, in the form that contests need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from ipfailover_agent.core.model import VrrpState
    from ipfailover_agent.core.supervising.dump import InstanceDump


class AdvertCounters(Struct, frozen=True, kw_only=True):
    """What keepalived's JSON dump shows of one instance; ``taken_at`` is monotonic seconds.

    ``taken_at`` is when keepalived was asked: whatever was counted before is in it.
    ``advert_rcvd`` counts before the addresses are compared one by one (2.2.7): an advert that
    lists as many addresses as the instance has, but others, moves it *and* ``addr_list_err``.
    ``other_errors`` is the sum of packet_len_err, ip_ttl_err, invalid_type_rcvd,
    invalid_authtype and authtype_mismatch. Another version or advert interval moves nothing.
    """

    taken_at: float
    state: VrrpState
    advert_rcvd: int
    advert_sent: int = 0
    addr_list_err: int = 0
    auth_failure: int = 0
    other_errors: int = 0

    @classmethod
    def of(cls, instance: InstanceDump, taken_at: float) -> AdvertCounters:
        """Return the counters of an instance from a dump that was asked for at ``taken_at``."""
        counted = instance.counters
        return cls(
            taken_at=taken_at,
            state=instance.state,
            advert_rcvd=counted.advert_rcvd,
            advert_sent=counted.advert_sent,
            addr_list_err=counted.addr_list_err,
            auth_failure=counted.auth_failure,
            other_errors=counted.packet_len_err
            + counted.ip_ttl_err
            + counted.invalid_type_rcvd
            + counted.invalid_authtype
            + counted.authtype_mismatch,
        )
