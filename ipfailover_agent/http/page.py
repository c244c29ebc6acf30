"""The page for people: one HTML text, made from a look at the node, with nothing fetched for it.

The template gets the status and escapes all of its texts: names and reasons come from variables,
scripts and other nodes. There is no script, so forbidding them costs nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent import terminal
from ipfailover_agent.config import templating
from ipfailover_agent.conflict import holder_text
from ipfailover_agent.http import messages
from ipfailover_agent.model import VrrpState
from ipfailover_agent.status import readiness
from ipfailover_agent.status.readiness import InstanceFacts
from ipfailover_agent.text import counted, duration, times

if TYPE_CHECKING:
    import jinja2

    from ipfailover_agent.status.exchange import StatusView
    from ipfailover_agent.status.status_model import InstanceStatus

_HOUR: Final = 3600.0
_MANY: Final = 12  # instances from which there is an overview
_MASTER, _BACKUP, _FAULT = (
    each.value for each in (VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT)
)
#: State -> what the style sheet calls it, and a sign that needs no colour.
_LOOKS: Final = {_MASTER: ("master", "●"), _BACKUP: ("backup", "○"), _FAULT: ("fault", "▲")}
_OTHER: Final = ("other", "◌")
_SEGMENTS: Final = {"master": (2, 20), "backup": (14, 8), "fault": (2, 20), "other": (20, 2)}


class Fact(Struct, frozen=True):
    """One thing that is known: a name, what it is now, and more on it."""

    name: str
    value: str
    more: tuple[str, ...] = ()
    is_bad: bool = False


def response(seen: StatusView) -> messages.HttpResponse:
    """Return the page of a look; 254 instances take some 50 ms."""
    body = _template().render(page=Page(seen, socket.gethostname()))
    # What is no UTF-8 in a variable or a file name is half a character here.
    data = body.encode("utf-8", "replace")
    style = body.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return messages.HttpResponse(
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
    environment.globals |= {
        "clock": clock,
        "first": readiness.first,
        "holder_style": holder_style,
        "look_of": look_of,
        "states": terminal.states,
    }
    return environment.get_template("status.html.j2")


class Page:
    """What the template asks for: the status as it is, and texts made of it."""

    def __init__(self, seen: StatusView, node: str) -> None:
        self.status = status = seen.status
        self.node = node
        self.now = datetime.fromisoformat(status.written_at)
        self.words = functools.partial(holder_text.words, now=self.now)
        self._present = seen.part.present

    @property
    def title(self) -> str:
        """Return the title of the tab, with a sign where the node is not ready."""
        name = self.status.config.name if self.status.config else "no configuration"
        held, total = self._count(_MASTER), self._count()
        return f"{'' if self.status.ready else '▲ '}{held} of {total} on {self.node} · {name}"

    @property
    def summary(self) -> str:
        """Return what the node serves, as a sentence."""
        if not self.status.instances:
            return f"serves nothing: {self.status.phase}"
        parts = [f"holds {self._count(_MASTER)} of {counted(self._count(), 'address')}"]
        for state, words in ((_BACKUP, "stands by for"), (_FAULT, "may not hold")):
            if count := self._count(state):
                parts.append(f"{words} {count}")
        return ", ".join(parts)

    def _count(self, state: str = "") -> int:
        """Return how many addresses are in a state, or in any."""
        return sum(
            len(each.addresses) for each in self.status.instances if state in {"", each.state}
        )

    @property
    def groups(self) -> tuple[holder_text.Group, ...]:
        """Return the overview of many instances: a part for each holder."""
        every = [each.holders for each in self.status.instances]
        return holder_text.grouped(every) if len(every) > _MANY else ()

    def size(self, group: holder_text.Group) -> str:
        """Return how many addresses a part of the overview has."""
        count = sum(len(self.status.instances[each].addresses) for each in group.members)
        return counted(count, "address")

    def facts(self) -> tuple[tuple[str, tuple[Fact, ...]], ...]:
        """Return headings, and what is known of the node as a whole under each."""
        node = (*self._config(), self._reload(), self._check(), self._lease(), self._keepalived())
        protections = tuple(
            Fact(
                each.kind,
                "on" if each.active else "off",
                (each.reason,) if each.reason else (),
                is_bad=bool(each.reason),
            )
            for each in self.status.protections
        )
        return ("This node", node), ("Protections", protections)

    def _config(self) -> tuple[Fact, ...]:
        config, fingerprint = self.status.config, self.status.fingerprint
        if config is None:
            return ()
        more = (
            f"on {config.interface}, from {config.source}",
            f"in force for {self.since(config.since)}",
            f"digest {config.digest[:12]}",
            *((f"fingerprint {fingerprint[:12]}",) if fingerprint else ()),
        )
        return (Fact("configuration", config.name, more),)

    def _reload(self) -> Fact:
        reload = self.status.reload
        if reload.verdict is None or reload.at is None:
            return Fact("last reload", "none yet")
        more = (f"{self.since(reload.at)} ago", *reload.lines[:5])
        is_bad = reload.verdict in {"refused", "unconfirmed"}
        return Fact("last reload", reload.verdict, more, is_bad=is_bad)

    def _check(self) -> Fact:
        check = self.status.check
        if check is None:
            return Fact("check", "none")
        more = [check.reason] if check.reason else []
        if check.since:
            more.append(f"for {self.since(check.since)}")
        if check.duration is not None:
            more.append(f"took {_measured(check.duration)}")
        return Fact("check", check.state, tuple(more), is_bad=check.state == "failing")

    def _lease(self) -> Fact:
        lease = self.status.lease
        if not lease.seconds:
            return Fact("lease", "none")
        late = f"renewals late by {lease.worst_lateness * 1000:.0f} ms at worst"
        lapses = f"lapsed {times(lease.lapses)}" if lease.lapses else "never lapsed"
        return Fact("lease", f"{lease.seconds} s", (late, lapses), is_bad=bool(lease.lapses))

    def _keepalived(self) -> Fact:
        status, count = self.status, self.status.restarts
        more = (
            status.phase if status.keepalived_pid is None else f"pid {status.keepalived_pid}",
            f"restarted {times(count)}" if count else "never restarted",
            f"the agent runs for {self.since(status.started_at)}",
        )
        return Fact("keepalived", status.keepalived_version or status.phase, more)

    def details(self, instance: InstanceStatus) -> str:
        """Return since when an instance is in its state, its id, its priority, its lease."""
        found = [f"for {self.since(instance.since)}"] if instance.since else []
        found += [f"id {instance.virtual_router_id}", f"priority {instance.priority}"]
        if instance.dump is not None and instance.dump.effective_priority != instance.priority:
            found[-1] += f", now {instance.dump.effective_priority}"
        if (left := instance.lease_remaining) is not None:
            found.append(f"lease {left:.1f} s left" if left > 0 else "lease lapsed")
        return " · ".join(found)

    def alarms(self, instance: InstanceStatus) -> list[str]:
        """Return what is not as it should be with an instance."""
        facts = InstanceFacts(
            name=instance.name,
            state=VrrpState(instance.state),
            age=None if instance.since is None else terminal.age(instance.since, self.now),
            addresses=instance.addresses,
        )
        found = [*readiness.differences(facts, self._present)]
        drained = instance.drained and f"drained: {instance.drained}"
        found += filter(None, (instance.held, drained))
        for since, text in holder_text.silences(
            (each.holder, each.address, each.since) for each in instance.unanswered
        ):
            found.append(f"for {self.since(since)}: {text}")
        return found + [
            f"rival {each.rival}, {self.since(each.at)} ago: {each.cause}"
            for each in instance.rivals
        ]

    def timeline(self, instance: InstanceStatus) -> tuple[tuple[tuple[str, str], ...], str]:
        """Return the last hour as paths, and as text for readers that cannot see them.

        Each style of the sheet has one path of an SVG, in a time line 3600 wide and 24 high.
        """
        ages = [(terminal.age(at, self.now), state) for at, state in instance.timeline]
        starts = [(max(_HOUR - age, 0.0), state) for age, state in ages]
        ends = [*(start for start, _ in starts), _HOUR][1:]
        paths: dict[str, str] = {}
        lasted: dict[str, float] = {}
        for (start, state), end in zip(starts, ends, strict=True):
            if end <= start:
                continue
            style, _ = look_of(state)
            top, height = _SEGMENTS[style]
            width = max(end - start, 6)  # what took a second is still seen
            piece = f"M{min(start, _HOUR - 6):.0f} {top}h{width:.0f}v{height}h-{width:.0f}z"
            paths[style] = paths.get(style, "") + piece
            lasted[state] = lasted.get(state, 0.0) + end - start
        words = ", ".join(f"{state} {duration(took)}" for state, took in lasted.items())
        return tuple(paths.items()), f"last hour: {words or 'nothing known'}"

    def since(self, at: str) -> str:
        """Return how long ago something was."""
        return terminal.since(at, self.now)


def look_of(state: str) -> tuple[str, str]:
    """Return the class of the style sheet for a state, and its sign."""
    return _LOOKS.get(state, _OTHER)


def holder_style(holders: tuple[object, ...]) -> str:
    """Return the class of the style sheet: one holder is as it should be, none or two are not."""
    return "mute" if len(holders) == 1 else "fault" if holders else "other"


def _measured(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"  # noqa: PLR2004


def clock(at: str) -> str:
    """Return a moment in ISO 8601 as a date and a time of UTC, to the second."""
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
