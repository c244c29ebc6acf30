"""Prometheus metrics of a look at the node, made anew for each; there is no global registry.

Names and labels ``keepalived_*`` are those of mehdy/keepalived-exporter, so that its dashboards
and alerts work. ``iname`` is the VRRP instance: ``instance`` is Prometheus' own.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from prometheus_client import exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ipfailover_agent.http import messages
from ipfailover_agent.keepalived.lifecycle import AgentPhase
from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from ipfailover_agent.status.exchange import StatusView
    from ipfailover_agent.status.status_model import AgentStatus, InstanceStatus

    Rows = Iterable[tuple[tuple[str, ...], float]]

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


class _Collector(Struct):
    """What the exposition collects from: one look."""

    look: StatusView

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        yield from _of_keepalived(self.look)
        yield from _of_agent(self.look)
        yield from _of_instances(self.look)


def response(look: StatusView) -> messages.HttpResponse:
    """Return the metrics of a look; 254 instances take some 60 ms and 0.9 MB."""
    return messages.HttpResponse(
        body=exposition.generate_latest(_Collector(look)), content_type=CONTENT_TYPE
    )


# --- the exporter's -----------------------------------------------------------------------------


def _of_keepalived(look: StatusView) -> Iterator[Metric]:
    status = look.status
    is_up = _is_up(look)
    yield _gauge("keepalived_up", "Whether keepalived runs and answers", is_up)
    if not is_up:
        return
    yield _gauges(
        "keepalived_vrrp_state",
        "State of the VRRP instance: 0 init, 1 backup, 2 master, 3 fault",
        (*_LABELS, "ip_address"),
        (
            ((*_labels(each, status), address), _NUMBERS.get(each.state, 0))
            for each in status.instances
            for address in each.addresses
        ),
    )
    dumped = [
        (_labels(each, status), each.dump) for each in status.instances if each.dump is not None
    ]
    for name, text, field in COUNTERS:
        rows = ((labels, getattr(dump.counters, field)) for labels, dump in dumped)
        yield _counters(f"keepalived_{name}", text, _LABELS, rows)
    yield _counters(  # a setting, and a counter to the exporter
        "keepalived_gratuitous_arp_delay",
        "Seconds to the second announcement",
        _LABELS,
        ((labels, dump.garp_delay) for labels, dump in dumped),
    )
    yield from _of_scripts(look)


_LABELS: Final = ("iname", "intf", "vrid")


def _labels(instance: InstanceStatus, status: AgentStatus) -> tuple[str, str, str]:
    interface = "" if status.config is None else status.config.interface
    return (instance.name, interface, str(instance.virtual_router_id))


def _is_up(look: StatusView) -> bool:
    if look.status.phase != AgentPhase.RUNNING.value:
        return False
    asked = look.part.dump_asked_ago
    return not look.part.can_ask or (asked is not None and asked <= _FRESH_DUMP)


def _of_scripts(look: StatusView) -> Iterator[Metric]:
    """Yield the check; whether it runs at this moment is unknown, so that has no value."""
    is_good = _passes(look.status)
    rows = [] if is_good is None else [((look.check_name,), is_good)]
    text = "Result of the check: 1 good, 0 bad"
    yield _gauges("keepalived_script_status", text, ("name",), rows)
    text = "Whether the tracked script runs: keepalived's JSON dump does not show it"
    yield _gauges("keepalived_script_state", text, ("name",), ())


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
    yield _gauges(
        "ipfailover_phase",
        "The phase of supervision that the agent is in",
        ("phase",),
        (((each.value,), each.value == status.phase) for each in AgentPhase),
    )
    text = "Whether the node does its part, as in /readyz"
    yield _gauge("ipfailover_ready", text, status.ready)
    yield from _of_config(status)
    verdicts = (((each,), getattr(status.counts, each)) for each in _VERDICTS)
    yield _counters("ipfailover_reloads", "Reloads by verdict", ("verdict",), verdicts)
    for name, text, count in (
        ("contests", "Times an instance yielded to a rival", status.counts.contests),
        ("holds", "Times an instance was kept in FAULT on purpose", status.counts.holds),
        ("keepalived_kills", "Times keepalived was killed as it hung", status.counts.kills),
        ("keepalived_restarts", "Times keepalived was started again", status.restarts),
        ("lease_lapses", "Times a lease was renewed too late", status.lease.lapses),
        ("log_lines_dropped", "Log lines that were not read in time", status.lines_dropped),
    ):
        yield CounterMetricFamily(f"ipfailover_{name}", text, value=count)
    yield _gauges(
        "ipfailover_protection_active",
        "Whether a mechanism that bounds double holders and outages and is asked for works here",
        ("kind",),
        (  # one that is off without a reason was not asked for, or waits as the agent does
            ((each.kind,), each.active)
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
    yield _gauges(
        "ipfailover_worst_seconds",
        "Worst case by fault: no node or two have an address for so long at most, +Inf for no end",
        ("fault",),
        (
            ((fault,), math.inf if seconds is None else seconds)
            for fault, seconds in status.worst_seconds
        ),
    )


def _of_check(status: AgentStatus) -> Iterator[Metric]:
    if (is_good := _passes(status)) is not None:
        yield _gauge("ipfailover_check_success", "Whether this node's check succeeds", is_good)
    if status.check is not None and status.check.duration is not None:
        text = "Duration of the check's last run"
        yield _gauge("ipfailover_check_duration_seconds", text, status.check.duration)


def _passes(status: AgentStatus) -> bool | None:
    """Return the verdict of the check, None where there is none."""
    return {"ok": True, "failing": False}.get(status.check.state) if status.check else None


# --- per instance -------------------------------------------------------------------------------


def _of_instances(look: StatusView) -> Iterator[Metric]:
    instances = look.status.instances
    yield _gauges(
        "ipfailover_address_held",
        "Whether the kernel has the address on the interface",
        ("iname", "address"),
        (
            ((each.name, address), _holds(each, address, look))
            for each in instances
            for address in each.addresses
        ),
    )
    yield from _of_holders(instances)
    yield _gauges(
        "ipfailover_lease_remaining_seconds",
        "Time after which the kernel removes held addresses unless their lease is renewed",
        ("iname",),
        (
            ((each.name,), each.lease_remaining)
            for each in instances
            if each.lease_remaining is not None
        ),
    )
    yield _gauges(
        "ipfailover_held",
        "Whether the instance is kept in FAULT in favour of a rival, or is on trial",
        ("iname",),
        (((each.name,), each.held is not None) for each in instances),
    )
    yield _gauges(
        "ipfailover_drained",
        "Whether the instance is kept in FAULT because an operator drained it",
        ("iname",),
        (((each.name,), each.drained is not None) for each in instances),
    )
    yield _gauges(
        "ipfailover_rivals",
        "Rivals for the addresses that were reported within the last hour",
        ("iname",),
        (((each.name,), len(each.rivals)) for each in instances),
    )
    yield _gauges(
        "ipfailover_address_unanswered",
        "Whether another node advertises the address and no host answers for it",
        ("iname", "address"),
        (
            ((each.name, address), any(address == one.address for one in each.unanswered))
            for each in instances
            for address in each.addresses
        ),
    )
    yield _counters(
        "ipfailover_transitions",
        "Transitions into a state by the kind of their cause",
        ("iname", "state", "cause"),
        (
            ((each.name, state, cause), count)
            for each in instances
            for state, cause, count in each.transition_counts
        ),
    )


def _of_holders(instances: Iterable[InstanceStatus]) -> Iterator[Metric]:
    """Yield the holders of each instance, as this node sees their adverts.

    One series for each holder: what changes with every advert is a value, never a label, and a
    holder that is gone has no series any more.
    """
    known = [(each.name, one) for each in instances for one in each.holders]
    unknown = [((each.name, each.holder, "false"), 1) for each in instances if not each.holders]
    yield _gauges(
        "ipfailover_instance_holder_info",
        "The holder of the addresses, by its own address, or unknown; self: it is this node",
        ("iname", "holder", "self"),
        [*(((name, one.address, str(one.is_here).lower()), 1) for name, one in known), *unknown],
    )
    yield _gauges(
        "ipfailover_instance_holder_priority",
        "Priority of the holder's newest advert",
        ("iname", "holder"),
        (((name, one.address), one.priority) for name, one in known),
    )
    yield _gauges(
        "ipfailover_instance_holder_last_advert_timestamp_seconds",
        "When the newest advert of another node that holds the addresses came",
        ("iname", "holder"),
        (
            ((name, one.address), datetime.fromisoformat(one.heard_at).timestamp())
            for name, one in known
            if one.heard_at is not None
        ),
    )


def _holds(instance: InstanceStatus, address: str, look: StatusView) -> bool:
    if look.part.present is None:
        return instance.state == VrrpState.MASTER.value
    return address in look.part.present


# --- making -------------------------------------------------------------------------------------


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _gauges(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), rows)


def _counters(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), rows)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, rows: Rows) -> Metric:
    for labels, value in rows:
        family.add_metric(labels, float(value))
    return family


def _info(name: str, text: str, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{name}_info", text, labels=tuple(labels))
    # A file's name need not be UTF-8, an answer must.
    family.add_metric([each.encode("utf-8", "replace").decode() for each in labels.values()], 1)
    return family


def _timestamp(name: str, text: str, at: str) -> Metric:
    return _gauge(name, text, datetime.fromisoformat(at).timestamp())
