"""The status snapshot and its JSON, and what a person gets to see of it."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from ipfailover_agent import terminal
from ipfailover_agent.cli import status as status_command
from ipfailover_agent.status import running, status_model, status_reading

if TYPE_CHECKING:
    from pathlib import Path

SNAPSHOT = status_model.AgentStatus(
    version="1.2.3",
    pid=7,
    started_at="2026-01-01T00:00:00.000+00:00",
    written_at="2026-01-01T00:00:00.000+00:00",
    phase="running",
    ready=False,
    reasons=("a reason",),
    config=status_model.ConfigStatus(
        name="vip",
        interface="eth0",
        digest="0123456789abcdef",
        since="2026-01-01T00:00:00.000+00:00",
        source="environment",
    ),
    instances=(
        status_model.InstanceStatus(
            name="vip_VIP_1",
            virtual_router_id=11,
            state="MASTER",
            since="2026-01-01T00:00:58.000+00:00",
            priority=200,
            addresses=("10.0.0.1", "10.0.0.2"),
            holder="10.0.0.11",
            holders=(status_model.HolderStatus(address="10.0.0.11", is_here=True, priority=200),),
            transitions=(
                status_model.TransitionStatus(
                    at="2026-01-01T00:00:58.000+00:00",
                    previous="BACKUP",
                    state="MASTER",
                    kind="handover",
                    cause="priority-0 advert of 10.0.0.12: planned handover",
                ),
            ),
        ),
        status_model.InstanceStatus(
            name="vip_VIP_2",
            virtual_router_id=12,
            state="INIT",
            since=None,
            priority=100,
            addresses=("10.0.0.3",),
            holder="10.0.0.12",
            holders=(
                status_model.HolderStatus(
                    address="10.0.0.12",
                    is_here=False,
                    priority=150,
                    heard_at="2025-12-31T23:59:59.500+00:00",
                ),
            ),
        ),
    ),
    reload=status_model.ReloadStatus(
        started=2,
        ended=2,
        verdict="refused",
        at="2026-01-01T00:00:30.000+00:00",
        lines=("because",),
    ),
    keepalived_pid=8,
    restarts=3,
    lines_dropped=4,
    check=status_model.CheckStatus(
        state="failing", reason="no answer", since="2026-01-01T00:00:40.000+00:00"
    ),
)


def test_a_snapshot_is_one_line_of_json_and_comes_back() -> None:
    """With every field."""
    text = status_model.to_json(SNAPSHOT)
    assert 1 == text.count("\n")
    data = status_reading.from_json(text)
    assert ("running", 7, 1) == (data["phase"], data["pid"], data["schema"])
    assert ["10.0.0.1", "10.0.0.2"] == data["instances"][0]["addresses"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "nonsense", "[" * 99999, '{"schema": 2}', '{"schema": "1"}']
)
def test_what_is_no_snapshot_is_refused(text: str) -> None:
    """Another schema means other fields."""
    with pytest.raises(ValueError, match=r"."):
        status_reading.from_json(text)


LATER = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
WHOLE: dict[str, Any] = json.loads(status_model.to_json(SNAPSHOT))
OF_AN_INSTANCE = ("name", "virtual_router_id", "state", "since", "priority", "addresses", "held")
RELIED_ON = (
    *((name,) for name in ("version", "pid", "phase", "ready", "reasons", "config")),
    *((name,) for name in ("instances", "reload", "restarts", "lines_dropped", "protections")),
    *(("config", name) for name in WHOLE["config"]),
    *(("reload", name) for name in WHOLE["reload"]),
    *(("instances", 1, name) for name in OF_AN_INSTANCE),
    ("reasons", 0),
    *(("check", name) for name in ("state", "reason", "since")),
    *(
        ("instances", 0, "transitions", 0, name)
        for name in ("at", "previous", "state", "kind", "cause")
    ),
    ("instances", 0),
    ("instances", 1, "addresses", 0),
    ("reload", "lines", 0),
)


def shown(
    status: status_model.AgentStatus | dict[str, Any],
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    columns: int = 80,
    *,
    is_whole: bool = False,
) -> list[str]:
    """Return the lines that a person sees of a status, without colours."""
    if isinstance(status, dict):
        data = status
    else:
        data = status_reading.from_json(status_model.to_json(status))
    paint = terminal.painter({}, is_terminal=False)
    return status_command._text(data, now, columns, paint, is_whole=is_whole)  # noqa: SLF001


def damaged(path: tuple[str | int, ...], *value: object) -> str:
    """Return the snapshot with another value at a place, or without the place."""
    data = copy.deepcopy(WHOLE)
    *way, last = path
    inner: Any = data
    for each in way:
        inner = inner[each]
    if value:
        inner[last] = value[0]
    else:
        del inner[last]
    return json.dumps(data)


@pytest.mark.parametrize("path", RELIED_ON, ids=str)
@pytest.mark.parametrize("value", [{}, 1.5, "yesterday", "2026-01-01T00:00:00", None, True, []])
def test_a_damaged_snapshot_is_shown_or_refused_and_never_fails(
    path: tuple[str | int, ...], value: object
) -> None:
    """A disk, a person, a foreign program: whatever gets in there, commands have words for it."""
    try:
        data = status_reading.from_json(damaged(path, value))
    except ValueError:
        return
    assert all(isinstance(each, str) for each in shown(data, LATER))
    assert int(data["reload"]["ended"]) >= 0


@pytest.mark.parametrize(
    "path", [each for each in RELIED_ON if isinstance(each[-1], str)], ids=str
)
def test_a_snapshot_that_lacks_something_is_refused(path: tuple[str | int, ...]) -> None:
    """The commands rely on it."""
    with pytest.raises(ValueError, match="it is no status: "):
        status_reading.from_json(damaged(path))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("instances",), {"a": 1}),
        (("instances", 1, "since"), "yesterday"),
        (("instances", 1, "since"), "2026-01-01T00:00:00"),
        (("reload", "ended"), "2"),
        (("reload", "ended"), True),
        (("ready",), 1),
        (("reasons",), "a reason"),
        (("config",), "none"),
        (("instances", 0, "holders"), [{"address": "10.0.0.1"}]),
    ],
    ids=str,
)
def test_a_snapshot_with_something_else_in_it_is_refused(
    path: tuple[str | int, ...], value: object
) -> None:
    """Of another type, or a time that nothing can be counted from."""
    with pytest.raises(ValueError, match="it is no status: "):
        status_reading.from_json(damaged(path, value))


def test_a_snapshot_of_a_later_version_is_taken() -> None:
    """More fields do not count."""
    data = status_reading.from_json(json.dumps(WHOLE | {"more": 1, "config": None}))
    assert (1, None) == (data["more"], data["config"])


def test_a_person_sees_it_all() -> None:
    """Phase, configuration, instances, restarts, dropped lines, the last reload."""
    assert [
        "running, not ready, agent 1.2.3, pid 7",
        "vip on eth0, from environment, in force for 1m, digest 0123456789ab",
        "keepalived was restarted 3 times",
        "4 log lines were dropped because no program read them",
        "the check fails for 20s: no answer",
        "  a reason",
        "",
        "INSTANCE   STATE   SINCE  ID  PRIORITY  ADDRESSES",
        "vip_VIP_1  MASTER  2s     11  200       10.0.0.1 10.0.0.2",
        "vip_VIP_2  INIT    -      12  100       10.0.0.3",
        "",
        "holder of 10.0.0.1 10.0.0.2: this node (10.0.0.11, priority 200)",
        "holder of 10.0.0.3: 10.0.0.12 (priority 150, heard 0.5 s ago)",
        "",
        "00:00:58 vip_VIP_1 BACKUP -> MASTER: priority-0 advert of 10.0.0.12: planned",
        "  handover",
        "",
        "last reload refused, 30s ago",
        "  because",
    ] == shown(SNAPSHOT, LATER)


def test_an_agent_of_an_earlier_version_names_no_holder() -> None:
    """Its status is shown as it is."""
    data = copy.deepcopy(WHOLE)
    for each in data["instances"]:
        del each["holder"], each["holders"]
    assert not [each for each in shown(data) if each.startswith("holder of")]


def test_the_holders_of_many_are_told_together() -> None:
    """A line for each holder; all addresses only where all instances are asked for."""
    other = SNAPSHOT.instances[1]
    every = tuple(
        replace(other, name=f"vip_VIP_{each}", addresses=(f"10.0.1.{each}",))
        for each in range(1, 101)
    )
    silent = replace(other, name="vip_VIP_101", addresses=("10.0.2.1",), holders=())
    status = replace(SNAPSHOT, instances=(*every, silent))
    lines = shown(status, columns=120)
    words = "10.0.0.12 (priority 150, heard 0.5 s ago)"
    assert [
        f"holder of 10.0.1.1 10.0.1.2 10.0.1.3 10.0.1.4 and 96 more: {words}",
        "holder of 10.0.2.1: unknown, no master is heard",
    ] == [each for each in lines if each.startswith("holder of")]
    whole = " ".join(shown(status, columns=120, is_whole=True))
    assert "10.0.1.99 10.0.1.100:" in " ".join(whole.split())


def unanswered(number: int, holder: str = "10.0.0.12") -> status_model.InstanceStatus:
    """Return a BACKUP of 10.0.0.NUMBER that hears a master nobody reaches."""
    told = status_model.UnansweredStatus(
        address=f"10.0.0.{number}",
        holder=holder,
        since="2026-01-01T00:00:30.000+00:00",
        cause="what it means",
    )
    addresses = (told.address,)
    return replace(SNAPSHOT.instances[1], state="BACKUP", addresses=addresses, unanswered=(told,))


def test_the_name_of_a_source_moves_no_cursor() -> None:
    """A path may hold anything."""
    assert SNAPSHOT.config is not None
    config = replace(SNAPSHOT.config, source="/etc/\x1b[2Jx\n")
    lines = shown(replace(SNAPSHOT, config=config), LATER)
    assert lines[1].startswith(r"vip on eth0, from /etc/\x1b[2Jx\n, in force")


def test_addresses_that_nobody_answers_for_are_told_by_their_holder() -> None:
    """One alone has its own sentence."""
    instances = (unanswered(1), unanswered(2), unanswered(3, "10.0.0.13"))
    lines = shown(replace(SNAPSHOT, instances=instances), columns=90)
    text = " ".join(" ".join(lines).split())
    usually = "usually port security"
    assert (
        f"10.0.0.12 advertises 10.0.0.1 10.0.0.2, but no host answers for them: {usually}" in text
    )
    assert f"10.0.0.13 advertises 10.0.0.3, but no host answers for it: {usually}" in text


def test_one_of_something_is_not_many() -> None:
    """Grammar holds for a single restart and a single line too."""
    lines = shown({**WHOLE, "restarts": 1, "lines_dropped": 1})
    assert "keepalived was restarted once" in lines
    assert "1 log line was dropped because no program read it" in lines


@pytest.mark.parametrize("text", [None, "", "{", '{"schema": 99}', '{"schema": 1}'])
def test_a_status_file_that_cannot_be_used_is_none(tmp_path: Path, text: str | None) -> None:
    """A command that looks too early does not fail."""
    if text is not None:
        (tmp_path / "status.json").write_text(text, encoding="utf-8")
    assert running.read_status(str(tmp_path)) is None
