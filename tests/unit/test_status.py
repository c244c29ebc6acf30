"""The status snapshot and its JSON, and what a person gets to see of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace

from ipfailover_agent import codec, terminal
from ipfailover_agent.cli import status as status_command
from ipfailover_agent.status import running, status_model
from ipfailover_agent.status.exchange import StatusView
from tests.support import status_schema
from tests.support.observed import NOW, SILENT, WHOLE, ago, instance, observation

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "status.schema.json"
TOOK_OVER = status_model.TransitionStatus(
    at=ago(2),
    previous="BACKUP",
    state="MASTER",
    kind="handover",
    cause="priority-0 advert of 10.0.0.12: planned handover",
)
SNAPSHOT = observation(
    instance(1, addresses=("10.0.0.1", "10.0.0.2"), since=ago(2), transitions=(TOOK_OVER,)),
    instance(2, "INIT", since=None, transitions=()),
    problems=("a reason",),
    reload=WHOLE.status.reload,
    check=WHOLE.status.check,
    restarts=3,
    lines_dropped=4,
).status
TEXT = codec.encode(SNAPSHOT)


def lines_of(
    data: dict[str, Any] | status_model.AgentStatus, columns: int = 80, *, is_whole: bool = False
) -> list[str]:
    """Return what a person sees of a status at its moment."""
    if isinstance(data, status_model.AgentStatus):
        data = status_model.from_json(codec.encode(data))
    paint = terminal.painter({}, is_terminal=False)
    return status_command._text(data, NOW, columns, paint, is_whole=is_whole)  # noqa: SLF001


def test_a_snapshot_is_one_line_of_json_and_comes_back() -> None:
    """With every field."""
    assert 1 == TEXT.count("\n")
    data = status_model.from_json(TEXT)
    assert ("running", 7, 1) == (data["phase"], data["pid"], data["schema"])
    assert ["10.0.0.1", "10.0.0.2"] == data["instances"][0]["addresses"]


def test_the_schema_of_the_status_is_that_of_the_code() -> None:
    """``python -m tests.support.status_schema > docs/status.schema.json`` writes it anew."""
    assert status_schema.text() == SCHEMA.read_text(encoding="utf-8")


@pytest.mark.parametrize("seen", [WHOLE, observation(config=None, check=None, listen=None)])
def test_a_status_fits_its_schema(seen: StatusView) -> None:
    """One with everything and one with nothing in it; a damaged one does not."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    data = json.loads(codec.encode(seen.status))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)
    damages = {"schema": 2, "pid": "7", "instances": [{}], "lease": None}
    for name, value in damages.items():
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**data, name: value}, schema)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "nonsense", "[" * 99999, '{"schema": 2}', '{"schema": "1"}']
)
def test_what_is_no_snapshot_is_refused(text: str) -> None:
    """Another schema means other fields."""
    with pytest.raises(ValueError, match=r"."):
        status_model.from_json(text)


DATA: dict[str, Any] = json.loads(TEXT)
OF_AN_INSTANCE = ("name", "virtual_router_id", "state", "since", "priority", "addresses", "held")
RELIED_ON = (
    *((name,) for name in ("version", "pid", "phase", "ready", "reasons", "config")),
    *((name,) for name in ("instances", "reload", "restarts", "lines_dropped", "protections")),
    *(("config", name) for name in DATA["config"]),
    *(("reload", name) for name in DATA["reload"]),
    *(("protections", 0, name) for name in DATA["protections"][0]),
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


def damaged(path: tuple[str | int, ...], *value: object) -> str:
    """Return the snapshot with another value at a place, or without the place."""
    data = copy.deepcopy(DATA)
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
        data = status_model.from_json(damaged(path, value))
    except ValueError:
        return
    assert all(isinstance(each, str) for each in lines_of(data))
    assert int(data["reload"]["ended"]) >= 0


@pytest.mark.parametrize(
    "path", [each for each in RELIED_ON if isinstance(each[-1], str)], ids=str
)
def test_a_snapshot_that_lacks_something_is_refused(path: tuple[str | int, ...]) -> None:
    """The commands rely on it."""
    with pytest.raises(ValueError, match="it is no status: "):
        status_model.from_json(damaged(path))


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
        status_model.from_json(damaged(path, value))


@pytest.mark.parametrize(
    "path",
    [
        *((name,) for name in ("started_at", "keepalived_pid", "worst_seconds", "lease")),
        *((name,) for name in ("counts", "fingerprint", "keepalived_version", "python", "events")),
        *(("instances", 0, name) for name in ("lease_remaining", "dump", "rivals", "timeline")),
        ("instances", 0, "transition_counts"),
        *(("check", "duration"), ("instances", 0, "transitions", 0, "lasted")),
    ],
    ids=str,
)
@pytest.mark.parametrize("value", [{}, 1.5, "x", None, []], ids=str)
def test_what_no_command_reads_may_be_damaged(path: tuple[str | int, ...], value: object) -> None:
    """The rest is shown as ever."""
    assert lines_of(SNAPSHOT) == lines_of(status_model.from_json(damaged(path, value)))


def test_a_snapshot_of_a_later_version_is_taken() -> None:
    """More fields do not count."""
    data = status_model.from_json(json.dumps(DATA | {"more": 1, "config": None}))
    assert (1, None) == (data["more"], data["config"])


def test_a_person_sees_it_all() -> None:
    """Phase, configuration, instances, restarts, dropped lines, the last reload."""
    assert [
        "running, not ready, agent 1.2.3, pid 7",
        "edge on br-ex, from /etc/ipfailover, in force for 2h, digest 0123456789ab",
        "keepalived was restarted 3 times",
        "4 log lines were dropped because no program read them",
        "the check fails for 9s: no answer",
        "  a reason",
        "",
        "INSTANCE    STATE   SINCE  ID  PRIORITY  ADDRESSES",
        "edge_VIP_1  MASTER  2s     11  101       10.0.0.1 10.0.0.2",
        "edge_VIP_2  INIT    -      12  102       10.0.0.3",
        "",
        "holder of 10.0.0.1 10.0.0.2: this node (10.0.0.11, priority 101)",
        "holder of 10.0.0.3: 10.0.0.12 (priority 200, heard 0.4 s ago)",
        "",
        "11:59:58 edge_VIP_1 BACKUP -> MASTER: priority-0 advert of 10.0.0.12: planned",
        "  handover",
        "",
        "last reload refused, 30s ago",
        "  OPENSHIFT_HA_X: no",
    ] == lines_of(SNAPSHOT)


def test_an_agent_of_an_earlier_version_names_no_holder() -> None:
    """Its status is shown as it is."""
    data = json.loads(TEXT)
    for each in data["instances"]:
        del each["holder"], each["holders"]
    assert not [each for each in lines_of(data) if each.startswith("holder of")]


def test_the_holders_of_many_are_told_together() -> None:
    """A line for each holder; all addresses only where all instances are asked for."""
    every = (instance(each, "BACKUP", addresses=(f"10.0.1.{each}",)) for each in range(1, 101))
    silent = instance(101, "BACKUP", addresses=("10.0.2.1",), holders=())
    seen = replace(SNAPSHOT, instances=(*every, silent))
    words = "10.0.0.12 (priority 200, heard 0.4 s ago)"
    assert [
        f"holder of 10.0.1.1 10.0.1.2 10.0.1.3 10.0.1.4 and 96 more: {words}",
        "holder of 10.0.2.1: unknown, no master is heard",
    ] == [each for each in lines_of(seen, 120) if each.startswith("holder of")]
    whole = " ".join(lines_of(seen, 120, is_whole=True))
    assert "10.0.1.99 10.0.1.100:" in " ".join(whole.split())


def test_the_name_of_a_source_moves_no_cursor() -> None:
    """A path may hold anything."""
    assert SNAPSHOT.config is not None
    config = replace(SNAPSHOT.config, source="/etc/\x1b[2Jx\n")
    line = lines_of(replace(SNAPSHOT, config=config))[1]
    assert line.startswith(r"edge on br-ex, from /etc/\x1b[2Jx\n, in force")


def test_addresses_that_nobody_answers_for_are_told_by_their_holder() -> None:
    """One alone has its own sentence."""
    instances = []
    for number, holder in ((1, "10.0.0.12"), (2, "10.0.0.12"), (3, "10.0.0.13")):
        silent = replace(SILENT, address=f"10.0.0.{number}", holder=holder)
        instances.append(instance(number, "BACKUP", unanswered=(silent,)))
    lines = lines_of(replace(SNAPSHOT, instances=tuple(instances)), 90)
    text = " ".join(" ".join(lines).split())
    usually = "usually port security"
    assert (
        f"10.0.0.12 advertises 10.0.0.1 10.0.0.2, but no host answers for them: {usually}" in text
    )
    assert f"10.0.0.13 advertises 10.0.0.3, but no host answers for it: {usually}" in text


def test_one_of_something_is_not_many() -> None:
    """Grammar holds for a single restart and a single line too."""
    lines = lines_of(replace(SNAPSHOT, restarts=1, lines_dropped=1))
    assert "keepalived was restarted once" in lines
    assert "1 log line was dropped because no program read it" in lines


@pytest.mark.parametrize("text", [None, "", "{", '{"schema": 99}', '{"schema": 1}'])
def test_a_status_file_that_cannot_be_used_is_none(tmp_path: Path, text: str | None) -> None:
    """A command that looks too early does not fail."""
    if text is not None:
        (tmp_path / "status.json").write_text(text, encoding="utf-8")
    assert running.read_status(str(tmp_path)) is None
