"""The page for people: one HTML text, made from a look at the node, with nothing fetched for it.

The template gets one frozen object of texts and escapes all of them: names and reasons come from
variables, scripts and other nodes. There is no script, so forbidding them costs nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent import templating
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.rivalry import answering
from ipfailover_agent.core.telling import http_messages, readiness
from ipfailover_agent.core.telling.readiness import InstanceFacts
from ipfailover_agent.report import health, holding, terminal

if TYPE_CHECKING:
    import jinja2

    from ipfailover_agent.report.exchange import StatusView
    from ipfailover_agent.report.status_model import (
        AgentStatus,
        InstanceStatus,
        TransitionStatus,
        UnansweredStatus,
    )

_HOUR: Final = 3600.0
_MANY: Final = 12  # instances from which there is an overview
_MASTER, _BACKUP, _FAULT = (
    each.value for each in (VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT)
)
#: State -> what the style sheet calls it, and a sign that needs no colour.
_LOOKS: Final = {_MASTER: ("master", "●"), _BACKUP: ("backup", "○"), _FAULT: ("fault", "▲")}
_OTHER: Final = ("other", "◌")
_SEGMENTS: Final = {"master": (2, 20), "backup": (14, 8), "fault": (2, 20), "other": (20, 2)}


class Badge(Struct, frozen=True, kw_only=True):
    """A state as text, with a sign and the style that goes with it."""

    text: str
    style: str
    sign: str


class Fact(Struct, frozen=True, kw_only=True):
    """One thing that is known: a name, what it is now, and more on it."""

    name: str
    value: str
    more: tuple[str, ...] = ()
    is_bad: bool = False


class Strip(Struct, frozen=True, kw_only=True):
    """One style's pieces of a time line 3600 wide and 24 high, as the path of an SVG."""

    style: str
    path: str


class TransitionText(Struct, frozen=True, kw_only=True):
    """A transition as text."""

    at: str
    ago: str
    states: str
    cause: str


class Card(Struct, frozen=True, kw_only=True):
    """One instance."""

    number: int
    name: str
    badge: Badge
    since: str
    addresses: tuple[str, ...]
    holder: str
    holder_style: str
    facts: tuple[str, ...]
    alarms: tuple[str, ...]
    strips: tuple[Strip, ...]
    summary: str
    changes: tuple[TransitionText, ...]


class Holding(Struct, frozen=True, kw_only=True):
    """The holder of some of many instances: these are the cards of them."""

    words: str
    count: str
    style: str
    cards: tuple[Card, ...]


class Page(Struct, frozen=True, kw_only=True):
    """All that the template gets."""

    title: str
    node: str
    badge: Badge
    summary: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    facts: tuple[Fact, ...]
    protections: tuple[Fact, ...]
    cards: tuple[Card, ...]
    holdings: tuple[Holding, ...]
    written: str
    version: str


def response(seen: StatusView) -> http_messages.HttpResponse:
    """Return the page of a look; 254 instances take some 50 ms."""
    body = _template().render(page=build(seen, socket.gethostname()))
    # What is no UTF-8 in a variable or a file name is half a character here.
    data = body.encode("utf-8", "replace")
    style = body.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return http_messages.HttpResponse(
        body=data, content_type="text/html; charset=utf-8", style=f"'sha256-{digest}'"
    )


@functools.cache
def _template() -> jinja2.Template:
    import jinja2  # noqa: PLC0415 - loaded already, unless nothing was ever rendered

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(templating.packaged())),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    return environment.get_template("status.html.j2")


def build(seen: StatusView, node: str) -> Page:
    """Return the content of the page, without its form."""
    status = seen.status
    now = datetime.fromisoformat(status.written_at)
    name = status.config.name if status.config else "no configuration"
    held = sum(len(each.addresses) for each in status.instances if each.state == _MASTER)
    total = sum(len(each.addresses) for each in status.instances)
    is_good = status.ready
    held_by = [_holders(each, status.written_at) for each in status.instances]
    cards = tuple(
        _card(number, each, seen, now, holders)
        for number, (each, holders) in enumerate(
            zip(status.instances, held_by, strict=True), start=1
        )
    )
    return Page(
        title=f"{'' if is_good else '▲ '}{held} of {total} on {node} · {name}",
        node=node,
        badge=Badge(
            text="ready" if is_good else "not ready",
            style="master" if is_good else "fault",
            sign="✓" if is_good else "▲",
        ),
        summary=_summary(status, held, total),
        reasons=health.first(status.reasons),
        notes=health.first(status.notes),
        facts=_facts(status, now),
        protections=tuple(
            Fact(
                name=each.kind,
                value="on" if each.active else "off",
                more=(each.reason,) if each.reason else (),
                is_bad=bool(each.reason),
            )
            for each in status.protections
        ),
        cards=cards,
        holdings=_holdings(held_by, cards) if len(cards) > _MANY else (),
        written=_clock(now),
        version=status.version,
    )


def _summary(status: AgentStatus, held: int, total: int) -> str:
    if not status.instances:
        return f"serves nothing: {status.phase}"
    parts = [f"holds {held} of {total} {'address' if total == 1 else 'addresses'}"]
    for state, words in ((_BACKUP, "stands by for"), (_FAULT, "may not hold")):
        count = sum(len(each.addresses) for each in status.instances if each.state == state)
        if count:
            parts.append(f"{words} {count}")
    return ", ".join(parts)


def _holders(instance: InstanceStatus, at: str) -> tuple[holding.ShownHolder, ...]:
    return tuple(
        holding.holder(each.address, each.priority, each.heard_at, at=at, is_here=each.is_here)
        for each in instance.holders
    )


def _holdings(
    held_by: list[tuple[holding.ShownHolder, ...]], cards: tuple[Card, ...]
) -> tuple[Holding, ...]:
    """Return the overview of many instances: a part for each holder."""
    found = []
    for group in holding.grouped(held_by):
        members = tuple(cards[each] for each in group.members)
        count = sum(len(each.addresses) for each in members)
        found.append(
            Holding(
                words=holding.words(group.holders),
                count=f"{count} {'address' if count == 1 else 'addresses'}",
                style=_holder_style(group.holders),
                cards=members,
            )
        )
    return tuple(found)


def _holder_style(holders: tuple[holding.ShownHolder, ...]) -> str:
    """Return the class of the style sheet: one holder is as it should be, none or two are not."""
    return "mute" if len(holders) == 1 else "fault" if holders else "other"


def _badge(state: str) -> Badge:
    style, sign = _LOOKS.get(state, _OTHER)
    return Badge(text=state, style=style, sign=sign)


# --- the node -----------------------------------------------------------------------------------


def _facts(status: AgentStatus, now: datetime) -> tuple[Fact, ...]:
    return tuple(
        each
        for each in (
            _of_config(status, now),
            _of_reload(status, now),
            _of_check(status, now),
            _of_lease(status),
            _of_keepalived(status, now),
        )
        if each is not None
    )


def _of_config(status: AgentStatus, now: datetime) -> Fact | None:
    config = status.config
    if config is None:
        return None
    return Fact(
        name="configuration",
        value=config.name,
        more=(
            f"on {config.interface}, from {config.source}",
            f"in force for {_since(config.since, now)}",
            f"digest {config.digest[:12]}",
            *((f"fingerprint {status.fingerprint[:12]}",) if status.fingerprint else ()),
        ),
    )


def _of_reload(status: AgentStatus, now: datetime) -> Fact:
    reload = status.reload
    if reload.verdict is None or reload.at is None:
        return Fact(name="last reload", value="none yet")
    return Fact(
        name="last reload",
        value=reload.verdict,
        more=(f"{_since(reload.at, now)} ago", *reload.lines[:5]),
        is_bad=reload.verdict in {"refused", "unconfirmed"},
    )


def _of_check(status: AgentStatus, now: datetime) -> Fact:
    check = status.check
    if check is None:
        return Fact(name="check", value="none")
    more = [check.reason] if check.reason else []
    if check.since:
        more.append(f"for {_since(check.since, now)}")
    if check.duration is not None:
        more.append(f"took {_measured(check.duration)}")
    return Fact(name="check", value=check.state, more=tuple(more), is_bad=check.state == "failing")


def _of_lease(status: AgentStatus) -> Fact:
    lease = status.lease
    if not lease.seconds:
        return Fact(name="lease", value="none")
    lapses = f"lapsed {_times(lease.lapses)}" if lease.lapses else "never lapsed"
    return Fact(
        name="lease",
        value=f"{lease.seconds} s",
        more=(f"renewals late by {lease.worst_lateness * 1000:.0f} ms at worst", lapses),
        is_bad=bool(lease.lapses),
    )


def _of_keepalived(status: AgentStatus, now: datetime) -> Fact:
    count = status.restarts
    return Fact(
        name="keepalived",
        value=status.keepalived_version or status.phase,
        more=(
            status.phase if status.keepalived_pid is None else f"pid {status.keepalived_pid}",
            f"restarted {_times(count)}" if count else "never restarted",
            f"the agent runs for {_since(status.started_at, now)}",
        ),
    )


# --- an instance --------------------------------------------------------------------------------


def _card(
    number: int,
    instance: InstanceStatus,
    seen: StatusView,
    now: datetime,
    holders: tuple[holding.ShownHolder, ...],
) -> Card:
    strips, summary = _timeline(instance, now)
    return Card(
        number=number,
        name=instance.name,
        badge=_badge(instance.state),
        since="" if instance.since is None else f"for {_since(instance.since, now)}",
        addresses=instance.addresses,
        holder=holding.words(holders),
        holder_style=_holder_style(holders),
        facts=tuple(_details(instance)),
        alarms=tuple(_alarms(instance, seen, now)),
        strips=strips,
        summary=summary,
        changes=tuple(_change(each, now) for each in reversed(instance.transitions)),
    )


def _details(instance: InstanceStatus) -> list[str]:
    priority = f"priority {instance.priority}"
    if instance.dump is not None and instance.dump.effective_priority != instance.priority:
        priority += f", now {instance.dump.effective_priority}"
    found = [f"id {instance.virtual_router_id}", priority]
    if instance.lease_remaining is not None:
        left = instance.lease_remaining
        found.append(f"lease {left:.1f} s left" if left > 0 else "lease lapsed")
    return found


def _alarms(instance: InstanceStatus, seen: StatusView, now: datetime) -> list[str]:
    found = list(readiness.differences(_facts_of(instance, now), seen.present))
    if instance.held:
        found.append(instance.held)
    if instance.drained:
        found.append(f"drained: {instance.drained}")
    found += _silences(instance, now)
    found += [
        f"rival {each.rival}, {_since(each.at, now)} ago: {each.cause}" for each in instance.rivals
    ]
    return found


def _facts_of(instance: InstanceStatus, now: datetime) -> InstanceFacts:
    since = instance.since
    return InstanceFacts(
        name=instance.name,
        state=VrrpState(instance.state),
        age=None if since is None else (now - datetime.fromisoformat(since)).total_seconds(),
        addresses=instance.addresses,
    )


def _silences(instance: InstanceStatus, now: datetime) -> list[str]:
    """Return the addresses for which no host answers, those of one holder together."""
    groups: dict[str, list[UnansweredStatus]] = {}
    for each in instance.unanswered:
        groups.setdefault(each.holder, []).append(each)
    return [
        f"for {_since(min(each.since for each in told), now)}: "
        f"{answering.explain([each.address for each in told], holder)}"
        for holder, told in groups.items()
    ]


def _change(each: TransitionStatus, now: datetime) -> TransitionText:
    lasted = "" if each.lasted is None else f" after {terminal.duration(each.lasted)}"
    return TransitionText(
        at=_clock(datetime.fromisoformat(each.at)),
        ago=_since(each.at, now),
        states=f"{each.previous} → {each.state}{lasted}",
        cause=each.cause,
    )


def _timeline(instance: InstanceStatus, now: datetime) -> tuple[tuple[Strip, ...], str]:
    """Return the last hour as paths, and as text for readers that cannot see them."""
    starts = [
        (max((datetime.fromisoformat(at) - now).total_seconds() + _HOUR, 0.0), state)
        for at, state in instance.timeline
    ]
    ends = [*(start for start, _ in starts), _HOUR][1:]
    paths: dict[str, list[str]] = {}
    lasted: dict[str, float] = {}
    for (start, state), end in zip(starts, ends, strict=True):
        if end <= start:
            continue
        style, _ = _LOOKS.get(state, _OTHER)
        top, height = _SEGMENTS[style]
        # what took a second is still seen
        width = max(end - start, 6)
        piece = f"M{min(start, _HOUR - 6):.0f} {top}h{width:.0f}v{height}h-{width:.0f}z"
        paths.setdefault(style, []).append(piece)
        lasted[state] = lasted.get(state, 0.0) + end - start
    words = ", ".join(f"{state} {terminal.duration(took)}" for state, took in lasted.items())
    strips = tuple(Strip(style=style, path="".join(each)) for style, each in paths.items())
    return strips, f"last hour: {words or 'nothing known'}"


def _since(at: str, now: datetime) -> str:
    return terminal.duration((now - datetime.fromisoformat(at)).total_seconds())


def _measured(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"  # noqa: PLR2004


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _clock(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
