"""Prometheus metrics of a look at the node, made anew for each; there is no global registry.

Names and labels ``keepalived_*`` are those of mehdy/keepalived-exporter, so that its dashboards
and alerts work. ``iname`` is the VRRP instance: ``instance`` is Prometheus' own.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Final

from prometheus_client import exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.supervising.supervision import AgentPhase
from ipfailover_agent.core.telling import http_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from ipfailover_agent.report.exchange import StatusView
    from ipfailover_agent.report.status_model import AgentStatus, InstanceStatus

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: The exporter's name without _total, what it counts, and the name in keepalived's dump.
COUNTERS: Final = (
    ("advertisements_received", "VRRP advertisements received", "advert_rcvd"),
    ("advertisements_sent", "VRRP advertisements sent", "advert_sent"),
    ("become_master", "Times the instance became master", "become_master"),
    ("release_master", "Times the instance gave up being master", "release_master"),
    ("packet_length_errors", "Received with a wrong length", "packet_len_err"),
    ("advertisements_interval_errors", "Received with another interval", "advert_interval_err"),
    ("ip_ttl_errors", "Received with a TTL other than 255", "ip_ttl_err"),
    ("invalid_type_received", "Received with an unknown type", "invalid_type_rcvd"),
    ("address_list_errors", "Received with another list of addresses", "addr_list_err"),
    ("authentication_invalid", "Received with an unknown authentication", "invalid_authtype"),
    ("authentication_mismatch", "Received with another authentication", "authtype_mismatch"),
    ("authentication_failure", "Received with another password", "auth_failure"),
    ("priority_zero_received", "Received with priority 0", "pri_zero_rcvd"),
    ("priority_zero_sent", "Sent with priority 0", "pri_zero_sent"),
)
_NUMBERS: Final = {  # vrrp.h; STOP and whatever else holds nothing is 0 to dashboards
    VrrpState.BACKUP.value: 1,
    VrrpState.MASTER.value: 2,
    VrrpState.FAULT.value: 3,
}
_VERDICTS: Final = ("accepted", "unchanged", "refused", "unconfirmed")
_FRESH_DUMP: Final = 10.0  # seconds; keepalived is asked every five


class _Collector:
    """What the exposition collects from: one look."""

    def __init__(self, look: StatusView) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        yield from _of_keepalived(self._look)
        yield from _of_agent(self._look)
        yield from _of_instances(self._look)


def response(look: StatusView) -> http_messages.HttpResponse:
    """Return the metrics of a look; 254 instances take some 60 ms and 0.9 MB."""
    return http_messages.HttpResponse(
        body=exposition.generate_latest(_Collector(look)), content_type=CONTENT_TYPE
    )


# --- the exporter's -----------------------------------------------------------------------------


def _of_keepalived(look: StatusView) -> Iterator[Metric]:
    status = look.status
    is_up = _is_up(look)
    yield _gauge("keepalived_up", "Whether keepalived runs and answers", is_up)
    if not is_up:
        return
    state = GaugeMetricFamily(
        "keepalived_vrrp_state",
        "State of the VRRP instance: 0 init, 1 backup, 2 master, 3 fault",
        labels=("iname", "intf", "vrid", "ip_address"),
    )
    for each in status.instances:
        labels = _labels(each, status)
        for address in each.addresses:
            state.add_metric((*labels, address), _NUMBERS.get(each.state, 0))
    yield state
    dumped = [
        (_labels(each, status), each.dump) for each in status.instances if each.dump is not None
    ]
    for name, text, field in COUNTERS:
        counter = CounterMetricFamily(f"keepalived_{name}", text, labels=_LABELS)
        for labels, dump in dumped:
            counter.add_metric(labels, getattr(dump.counters, field))
        yield counter
    delay = CounterMetricFamily(  # a setting, and a counter to the exporter
        "keepalived_gratuitous_arp_delay", "Seconds to the second announcement", labels=_LABELS
    )
    for labels, dump in dumped:
        delay.add_metric(labels, dump.garp_delay)
    yield delay
    yield from _of_scripts(look)


_LABELS: Final = ("iname", "intf", "vrid")


def _labels(instance: InstanceStatus, status: AgentStatus) -> tuple[str, str, str]:
    interface = "" if status.config is None else status.config.interface
    return (instance.name, interface, str(instance.virtual_router_id))


def _is_up(look: StatusView) -> bool:
    if look.status.phase != AgentPhase.RUNNING.value:
        return False
    return not look.can_ask or (look.dump_age is not None and look.dump_age <= _FRESH_DUMP)


def _of_scripts(look: StatusView) -> Iterator[Metric]:
    """Yield the check; whether it runs at this moment is unknown, so that has no value."""
    result = GaugeMetricFamily(
        "keepalived_script_status", "Result of the check: 1 good, 0 bad", labels=("name",)
    )
    check = look.status.check
    if look.script and check is not None and check.state in {"ok", "failing"}:
        result.add_metric((look.script,), int(check.state == "ok"))
    yield result
    yield GaugeMetricFamily(
        "keepalived_script_state",
        "Whether the tracked script runs: keepalived's JSON dump does not tell",
        labels=("name",),
    )


# --- the agent's --------------------------------------------------------------------------------


def _of_agent(look: StatusView) -> Iterator[Metric]:
    status = look.status
    yield _info(
        "ipfailover_build",
        "Versions",
        version=status.version,
        python=status.python,
        keepalived=status.keepalived_version,
    )
    yield _timestamp("ipfailover_start_time_seconds", "When the agent started", status.started_at)
    yield _labelled(
        "ipfailover_phase",
        "The phase of supervision that the agent is in",
        "phase",
        ((each.value, float(each.value == status.phase)) for each in AgentPhase),
    )
    yield _gauge(
        "ipfailover_ready",
        "Whether the node does its part, as in /readyz",
        status.ready,
    )
    yield from _of_config(status)
    yield _counter(
        "ipfailover_reloads",
        "Reloads by verdict",
        "verdict",
        ((each, getattr(status.counts, each)) for each in _VERDICTS),
    )
    for name, text, count in (
        ("contests", "Times an instance yielded to a rival", status.counts.contests),
        ("holds", "Times an instance was kept in FAULT on purpose", status.counts.holds),
        ("keepalived_kills", "Times keepalived was killed as it hung", status.counts.kills),
        ("keepalived_restarts", "Times keepalived was started again", status.restarts),
        ("lease_lapses", "Times a lease was renewed too late", status.lease.lapses),
        ("log_lines_dropped", "Log lines that were not read in time", status.lines_dropped),
    ):
        yield CounterMetricFamily(f"ipfailover_{name}", text, value=count)
    yield _labelled(
        "ipfailover_protection_active",
        "Whether a mechanism that bounds double holders and outages and is asked for works here",
        "kind",
        (  # one that is off without a reason was not asked for, or waits as the agent does
            (each.kind, float(each.active))
            for each in status.protections
            if each.active or each.reason
        ),
    )
    for name, text, seconds in (
        ("lease_seconds", "Lifetime of held addresses, 0 for none", status.lease.seconds),
        ("lease_lateness_seconds", "Lateness of the last renewal", status.lease.lateness),
        ("lease_worst_lateness_seconds", "Worst lateness so far", status.lease.worst_lateness),
    ):
        yield _gauge(f"ipfailover_{name}", text, seconds)
    yield from _of_check(status)


def _of_config(status: AgentStatus) -> Iterator[Metric]:
    config = status.config
    if config is None:
        return
    yield _info(
        "ipfailover_config",
        "The configuration in force; the fingerprint must be the same on all nodes",
        config=config.name,
        interface=config.interface,
        source=config.source,
        digest=config.digest,
        fingerprint=status.fingerprint,
    )
    yield _timestamp(
        "ipfailover_config_timestamp_seconds", "Since when it is in force", config.since
    )
    yield _labelled(
        "ipfailover_worst_seconds",
        "Worst case by fault: no node or two have an address for so long at most, +Inf for no end",
        "fault",
        (
            (fault, math.inf if seconds is None else seconds)
            for fault, seconds in status.worst_seconds
        ),
    )


def _of_check(status: AgentStatus) -> Iterator[Metric]:
    check = status.check
    if check is None or check.state not in {"ok", "failing"}:
        return
    is_good = check.state == "ok"
    yield _gauge("ipfailover_check_success", "Whether this node's check succeeds", is_good)
    if check.duration is not None:
        text = "Duration of the check's last run"
        yield _gauge("ipfailover_check_duration_seconds", text, check.duration)


# --- per instance -------------------------------------------------------------------------------


def _of_instances(look: StatusView) -> Iterator[Metric]:
    instances = look.status.instances
    address_held = GaugeMetricFamily(
        "ipfailover_address_held",
        "Whether the kernel has the address on the interface",
        labels=("iname", "address"),
    )
    for each in instances:
        for address in each.addresses:
            address_held.add_metric((each.name, address), float(_holds(each, address, look)))
    yield address_held
    yield from _of_holders(instances)
    yield _labelled(
        "ipfailover_lease_remaining_seconds",
        "Time after which the kernel removes held addresses unless their lease is renewed",
        "iname",
        (
            (each.name, each.lease_remaining)
            for each in instances
            if each.lease_remaining is not None
        ),
    )
    yield _labelled(
        "ipfailover_held",
        "Whether the instance is kept in FAULT in favour of a rival",
        "iname",
        ((each.name, float(each.held is not None)) for each in instances),
    )
    yield _labelled(
        "ipfailover_drained",
        "Whether the instance is kept in FAULT because an operator drained it",
        "iname",
        ((each.name, float(each.drained is not None)) for each in instances),
    )
    yield _labelled(
        "ipfailover_rivals",
        "Rivals for the addresses that were logged within the last hour",
        "iname",
        ((each.name, float(len(each.rivals))) for each in instances),
    )
    yield _of_silence(instances)
    transitions = CounterMetricFamily(
        "ipfailover_transitions",
        "Transitions into a state by the kind of their cause",
        labels=("iname", "state", "cause"),
    )
    for each in instances:
        for state, cause, count in each.transition_counts:
            transitions.add_metric((each.name, state, cause), count)
    yield transitions


def _of_holders(instances: Iterable[InstanceStatus]) -> Iterator[Metric]:
    """Yield the holders of each instance, as this node sees their adverts.

    One series for each holder: what changes with every advert is a value, never a label, and a
    holder that is gone has no series any more.
    """
    info = GaugeMetricFamily(
        "ipfailover_instance_holder_info",
        "The holder of the addresses, by its own address, or unknown; self: it is this node",
        labels=("iname", "holder", "self"),
    )
    priority = GaugeMetricFamily(
        "ipfailover_instance_holder_priority",
        "Priority of the holder's newest advert",
        labels=("iname", "holder"),
    )
    heard = GaugeMetricFamily(
        "ipfailover_instance_holder_last_advert_timestamp_seconds",
        "When the newest advert of another node that holds the addresses came",
        labels=("iname", "holder"),
    )
    for each in instances:
        if not each.holders:
            info.add_metric((each.name, each.holder, "false"), 1)
        for one in each.holders:
            labels = (each.name, one.address)
            info.add_metric((*labels, str(one.is_here).lower()), 1)
            priority.add_metric(labels, one.priority)
            if one.heard_at is not None:
                heard.add_metric(labels, datetime.fromisoformat(one.heard_at).timestamp())
    yield from (info, priority, heard)


def _of_silence(instances: Iterable[InstanceStatus]) -> Metric:
    found = GaugeMetricFamily(
        "ipfailover_address_unanswered",
        "Whether another node advertises the address and no host answers for it",
        labels=("iname", "address"),
    )
    for each in instances:
        silent = {one.address for one in each.unanswered}
        for address in each.addresses:
            found.add_metric((each.name, address), float(address in silent))
    return found


def _holds(instance: InstanceStatus, address: str, look: StatusView) -> bool:
    if look.present is None:
        return instance.state == VrrpState.MASTER.value
    return address in look.present


# --- making -------------------------------------------------------------------------------------


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _labelled(
    name: str, text: str, label: str, values: Iterable[tuple[str, float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values:
        family.add_metric((key,), value)
    return family


def _counter(
    name: str, text: str, label: str, values: Iterable[tuple[str, float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for key, value in values:
        family.add_metric((key,), value)
    return family


def _info(name: str, text: str, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{name}_info", text, labels=tuple(labels))
    # A file's name need not be UTF-8, an answer must.
    family.add_metric([each.encode("utf-8", "replace").decode() for each in labels.values()], 1)
    return family


def _timestamp(name: str, text: str, at: str) -> Metric:
    return _gauge(name, text, datetime.fromisoformat(at).timestamp())
