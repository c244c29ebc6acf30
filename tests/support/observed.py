"""A look at a node as the HTTP thread gets it, for tests of what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from ipfailover_agent.keepalived.dump import VrrpStatistics
from ipfailover_agent.keepalived.lifecycle import AgentPhase
from ipfailover_agent.model import VrrpState
from ipfailover_agent.status import readiness, status_model
from ipfailover_agent.status.exchange import StatusView

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> str:
    """Return a time before the look, as the status writes it."""
    return (NOW - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def instance(
    number: int,
    state: str = "MASTER",
    **fields: Any,  # noqa: ANN401 - those of the status
) -> status_model.InstanceStatus:
    """Return an instance with one address and a history."""
    is_master = state == "MASTER"
    held_by = status_model.HolderStatus(
        address="10.0.0.11" if is_master else "10.0.0.12",
        is_here=is_master,
        priority=100 + number if is_master else 200,
        heard_at=None if is_master else ago(0.4),
    )
    return replace(
        status_model.InstanceStatus(
            name=f"edge_VIP_{number}",
            virtual_router_id=10 + number,
            state=state,
            since=ago(65),
            priority=100 + number,
            addresses=(f"10.0.{number // 250}.{number % 250 + 1}",),
            held=None,
            drained=None,
            lease_remaining=2.4 if is_master else None,
            holder=held_by.address,
            holders=(held_by,),
            dump=status_model.DumpStatus(
                at=ago(1),
                effective_priority=0 if state == "FAULT" else 100 + number,
                has_addresses=is_master,
                counters=VrrpStatistics(*range(1000 * number, 1000 * number + 14)),
            ),
            transitions=(
                status_model.TransitionStatus(
                    at=ago(3000), previous="INIT", state="BACKUP", kind="started",
                    cause="keepalived was started", priority=100, lasted=0.2,
                ),
                status_model.TransitionStatus(
                    at=ago(65), previous="BACKUP", state=state, kind="silence",
                    cause="no other node was heard for 3.6 s: 10.0.0.12 was MASTER, priority 200",
                    priority=100, lasted=2935,
                ),
            ),
            timeline=((ago(9000), "BACKUP"), (ago(2000), "FAULT"), (ago(1500), "BACKUP"),
                      (ago(65), state)),
            transition_counts=(("BACKUP", "started", 1), (state, "silence", 2)),
        ),
        **fields,
    )  # fmt: skip


def facts(seen: status_model.InstanceStatus) -> readiness.InstanceFacts:
    """Return what is judged of an instance."""
    since = None if seen.since is None else datetime.fromisoformat(seen.since)
    return readiness.InstanceFacts(
        name=seen.name,
        state=VrrpState(seen.state),
        age=None if since is None else (NOW - since).total_seconds(),
        addresses=seen.addresses,
        withheld=seen.held or (f"drained: {seen.drained}" if seen.drained else ""),
    )


def observation(
    *instances: status_model.InstanceStatus, problems: tuple[str, ...] = (), **fields: object
) -> StatusView:
    """Return a look at a healthy node with these instances; ``fields`` are the status'.

    ``problems`` keep it from being ready; all else that does is in the status.
    """
    plain = status_model.AgentStatus(
        version="1.2.3",
        pid=7,
        started_at=ago(90_000),
        written_at=ago(0),
        phase="running",
        ready=True,
        reasons=(),
        config=status_model.ConfigStatus(
            name="edge",
            interface="br-ex",
            digest="0123456789abcdef" * 4,
            since=ago(7200),
            source="/etc/ipfailover",
        ),
        instances=instances,
        reload=status_model.ReloadStatus(
            started=2, ended=2, verdict="accepted", at=ago(7200), lines=("10.0.0.9 is added",)
        ),
        keepalived_pid=8,
        restarts=0,
        lines_dropped=0,
        drain_requests=(),
        worst_seconds=(("silent_death", 3.7), ("two_holders", None)),
        protections=tuple(
            status_model.Protection(kind=kind, active=True, reason="")
            for kind in ("lease", "watch", "conflict")
        ),
        check=status_model.CheckStatus(state="ok", reason="", since=ago(4000)),
        lease=status_model.LeaseStatus(seconds=3, lateness=0.001, worst_lateness=0.012),
        counts=status_model.Counts(accepted=2, refused=1),
        fingerprint="fedcba9876543210",
        keepalived_version="2.2.7",
        python="3.11.2",
        listen=status_model.ListenStatus(address="127.0.0.1:63000", active=True),
    )
    shown = replace(plain, **fields)
    present = {each for one in instances if one.state == "MASTER" for each in one.addresses}
    part = status_model.StatusPart(present=frozenset(present), dump_asked_ago=1.0)
    check = shown.check
    verdict = readiness.judge(
        part,
        phase=AgentPhase(shown.phase),
        has_config=shown.config is not None,
        problems=problems,
        notes=(),
        instances=map(facts, instances),
        check_failure=check.reason if check is not None and check.state == "failing" else None,
    )
    return StatusView(
        at=100.0,
        status=replace(
            shown, ready=verdict.is_ready, reasons=verdict.reasons, notes=verdict.notes
        ),
        part=part,
        check_name="chk_edge",
    )


SILENT = status_model.UnansweredStatus(
    address="10.0.0.3", holder="10.0.0.12", since=ago(30), cause="nobody answers for it"
)
RIVAL = status_model.RivalStatus(
    rival="10.0.0.12", kind="k", cause="a firewall drops it", at=ago(20)
)
#: A look at a node of which there is much to say; every number is another one.
WHOLE = observation(
    instance(1),
    instance(2, "BACKUP", unanswered=(SILENT,)),
    instance(3, "FAULT", held="held: a firewall", rivals=(RIVAL,), drained="by hand"),
    reload=status_model.ReloadStatus(
        started=3, ended=3, verdict="refused", at=ago(30), lines=("OPENSHIFT_HA_X: no",)
    ),
    check=status_model.CheckStatus(
        state="failing", reason="no answer", since=ago(9), duration=0.25
    ),
    protections=(
        status_model.Protection(kind="lease", active=True, reason=""),
        status_model.Protection(kind="conflict", active=False, reason="no NET_RAW"),
    ),
    counts=status_model.Counts(
        accepted=1, unchanged=2, refused=3, unconfirmed=4, contests=5, holds=6, kills=7
    ),
    lease=status_model.LeaseStatus(seconds=3, lateness=0.5, worst_lateness=0.75, lapses=8),
    restarts=9,
    lines_dropped=10,
)
