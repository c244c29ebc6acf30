"""What keepalived reports of an instance, for tests."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ipfailover_agent.keepalived.dump import InstanceDump, VrrpStatistics
from ipfailover_agent.model import VrrpState


def instance_dump(
    state: VrrpState,
    *,
    sent: int = 0,
    heard: int = 0,
    interval: float = 1.0,
    **changes: Any,  # noqa: ANN401 - any field
) -> InstanceDump:
    """Return the dump of an instance ``vi1``, that is otherwise as ``changes`` have it."""
    made = InstanceDump(
        name="vi1",
        virtual_router_id=1,
        state=state,
        effective_priority=128,
        advert_interval=interval,
        master_advert_interval=interval,
        has_addresses=state is VrrpState.MASTER,
        last_transition=0.0,
        counters=VrrpStatistics(advert_rcvd=heard, advert_sent=sent),
    )
    return replace(made, **changes)
