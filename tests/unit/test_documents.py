"""The documents say what the code does: no more, no less."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

import click
import pytest
from msgspec import structs

from ipfailover_agent import __version__
from ipfailover_agent.cli.main import cli
from ipfailover_agent.config import priority, settings, variables
from ipfailover_agent.config.planner import plan
from ipfailover_agent.doctor.command import CHECKS
from ipfailover_agent.doctor.findings import CheckResult
from ipfailover_agent.errors import ExitCode, HostNotReadyError, SettingsError
from ipfailover_agent.keepalived import protocol
from ipfailover_agent.keepalived.lifecycle import AgentPhase, SupervisionPolicy
from ipfailover_agent.linux.host import script_state
from ipfailover_agent.model import HostFacts, IPAddress, Settings
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status import status_model
from ipfailover_agent.status.transition import TransitionKind
from tests.bench.clusters import REFERENCE
from tests.support.markdown import blocks, code, prose, section, slug, table, text_of
from tests.support.sources import MODULES, ROOT, tree
from tests.support.vectors import host_facts

README = ROOT / "README.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
OPERATIONS = ROOT / "docs" / "operations.md"
HOW_IT_WORKS = ROOT / "docs" / "how-it-works.md"
DOCUMENTS = tuple(
    sorted(each for where in (".", "docs", "examples") for each in (ROOT / where).glob("*.md"))
)

EXAMPLE_NODE = host_facts(
    {"eth0": ["10.0.0.11/24", "fd00::11/64"]}, ["default via 10.0.0.1 dev eth0"]
)
EXAMPLE_ADDRESS = "10.0.0.5"
MISSPELT = {"OPENSHIFT_HA_VIRTUAL_IP"}  # the documents show what a typing error looks like

each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


# --- variables ----------------------------------------------------------------------------------


def variable_row(each: variables.Variable) -> str:
    words = " ".join(each.default.split())
    is_word = words in {"", "required", "detected", "computed", "the interval"}
    default = words if is_word else f"`{words}`"
    summary = each.summary.replace("|", r"\|")
    return f"| `{each.name}` | {default} | {summary} |"


def test_the_readme_lists_every_variable_as_the_code_has_it() -> None:
    """Name, default and summary are those of the registry, in its order: copy what is missing."""
    shown = section(README, "Every variable").splitlines()
    expected = [variable_row(each) for each in variables.VARIABLES]
    assert expected == [line for line in shown if line.startswith("| `")]


def test_the_configuration_reference_treats_every_variable() -> None:
    """Each variable has a heading of its own, alone or with its like, and no other has one."""
    headings = re.findall(r"^### (.*)$", text_of(CONFIGURATION), re.MULTILINE)
    treated = [name for heading in headings for name in code(heading) if name.isupper()]
    assert sorted(each.name for each in variables.VARIABLES) == sorted(treated)


@each_document
def test_a_document_names_no_variable_that_does_not_exist(document: Path) -> None:
    """A typing error in a document would be a typing error in somebody's manifest."""
    pattern = r"\b(?:OPENSHIFT_HA|IPFAILOVER|KEEPALIVED|HA_EXCLUDED)_[A-Z_]*[A-Z]\b(?!_?\*)"
    named = set(re.findall(pattern, text_of(document)))
    assert set() == named - set(variables.BY_NAME) - MISSPELT - {REFERENCE}


# --- examples -----------------------------------------------------------------------------------


def example_cases() -> Iterator[tuple[str, str]]:
    for block in blocks(text_of(CONFIGURATION)):
        if block.language == "text":
            for case in block.body.strip().split("\n\n"):
                assignments = [line for line in case.splitlines() if is_assignment(line)]
                yield "\n".join(assignments), case


def is_assignment(line: str) -> bool:
    return re.match(r"[A-Z][A-Z_]*=", line) is not None


def facts_for(parsed: Settings) -> HostFacts:
    """Return the node of the examples, with the scripts that this machine really has."""
    check, notify = parsed.check_script, parsed.notify_script
    return structs.replace(
        EXAMPLE_NODE,
        check_script=None if check is None else script_state(check),
        notify_script=None if notify is None else script_state(notify),
    )


def answer(values: Mapping[str, str]) -> list[str]:
    """Return what ``check`` says of variables on the node of the examples, without its table."""
    try:
        parsed = settings.parse({"OPENSHIFT_HA_VIRTUAL_IPS": EXAMPLE_ADDRESS, **values})
        config = plan(parsed, facts_for(parsed))
    except SettingsError as error:
        return [f"problem: {each}" for each in error.problems]
    except HostNotReadyError as error:
        return [f"problem: {error}; run would wait for it"]
    warnings = (*parsed.warnings, *config.reports, *config.degraded)
    return [
        f"run would serve {protocol.summary(config)}",
        *(f"warning: {each}" for each in warnings),
    ]


EXAMPLES = tuple(example_cases())


@pytest.mark.parametrize(
    ("assignments", "case"), EXAMPLES, ids=[each.replace("\n", " ") for each, _ in EXAMPLES]
)
def test_an_example_is_answered_as_the_configuration_reference_says(
    assignments: str, case: str
) -> None:
    """The messages in the reference are the real ones, word for word."""
    pairs = (word.partition("=") for word in shlex.split(assignments))
    values = {name: value for name, _, value in pairs}
    assert "\n".join([*assignments.splitlines(), *answer(values)]) == case


# --- commands -----------------------------------------------------------------------------------


def options_of(command: click.Command) -> set[str]:
    names = {
        option
        for each in command.params
        if isinstance(each, click.Option)
        for option in (*each.opts, *each.secondary_opts)
    }
    return {name for name in names if name.startswith("--")}


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_configuration_reference_lists_every_option_of_a_command(name: str) -> None:
    """Each command has its heading, and below it exactly its options."""
    shown = section(CONFIGURATION, f"`ipfailover-agent {name}`")
    listed = {code(row[0])[0].split()[0] for row in table(shown)}
    assert options_of(cli.commands[name]) == listed


def test_the_readme_names_every_command() -> None:
    """Whoever reads only the README knows what there is."""
    listed = {code(row[0])[0].split()[1] for row in table(section(README, "Commands"))}
    assert set(cli.commands) == listed


def test_the_operations_guide_explains_every_check_of_doctor() -> None:
    """The sample is complete, and each check and each verdict is in a table."""
    shown = section(OPERATIONS, "Before the first start")
    (sample,) = [each.body for each in blocks(shown) if "ipfailover-agent doctor" in each.body]
    lines = re.findall(r"^(pass|warn|fail|skip)  (\w+): ", sample, re.MULTILINE)
    assert list(CHECKS) == [check for _, check in lines]
    verdicts, checks = (shown.index(each) for each in ("| Verdict |", "| Check |"))
    assert {each.value for each in CheckResult} == {
        code(row[0])[0] for row in table(shown[verdicts - 2 :])
    }
    rows = table(shown[checks - 2 :])
    assert list(CHECKS) == [name for row in rows for name in code(row[0])]


def command_lines(text: str) -> Iterator[str]:
    """Yield what a reader would type: all of an ``sh`` block, what follows a prompt elsewhere."""
    for block in blocks(text):
        for line in block.body.replace("\\\n", " ").splitlines():
            if block.language == "sh":
                yield line
            elif block.language == "console" and line.startswith(("$ ", "# ")):
                yield line[2:]


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@each_document
def test_a_document_gives_no_command_that_does_not_exist(document: Path) -> None:
    """Targets of make, commands of the agent and their options exist."""
    unknown = []
    for line in command_lines(text_of(document)):
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            targets = [word for word in words[1:] if "=" not in word]
            unknown += [word for word in targets if word not in make_targets()]
        if words[:2] == ["docker", "run"]:
            words = ["ipfailover-agent", *words[1 + words.index("ipfailover-agent:0.1.0") :]]
            words = words if len(words) > 1 else []
        if "ipfailover-agent" in words:
            unknown += unknown_words(words[words.index("ipfailover-agent") + 1 :])
    assert [] == unknown


def unknown_words(words: list[str]) -> list[str]:
    if not words or words[0].startswith("-"):
        return [word for word in words if word not in {"--version", "--help", "-h"}]
    command = cli.commands.get(words[0])
    if command is None:
        return words[:1]
    options = {*options_of(command), "--help"}
    return [
        word for word in words if word.startswith("--") and word.partition("=")[0] not in options
    ]


# --- what a running agent shows -----------------------------------------------------------------


def test_the_readme_gives_every_exit_code_a_meaning() -> None:
    """Codes and names are those of the code, and each is explained."""
    rows = table(section(README, "Exit codes"))
    assert [(f"`{each.value}`", each.name) for each in ExitCode] == [row[:2] for row in rows]
    assert all(len(row[2]) > 10 for row in rows)


NEVER_WRITTEN = {"keepalived.conf.last-good", "checkers.pid"}  # only removed


def test_the_readme_lists_every_file_of_the_run_directory() -> None:
    """What somebody finds there at night is explained."""
    paths = RunPaths(directory="", config="")
    known = {Path(each).name for each in paths.all_files}
    listed = {name.rstrip("/") for row in table(section(README, "Files")) for name in code(row[0])}
    assert listed <= known
    assert known - listed <= NEVER_WRITTEN


EVENT = re.compile(r"[a-z]+\.(?!json$)[a-z_]+")
LEVELS = ("debug", "info", "warning", "error", "exception")


@dataclasses.dataclass(frozen=True, slots=True)
class LogCall:
    """A place in the code that writes events: which, with which fields, at which level."""

    events: tuple[str, ...]
    fields: frozenset[str]
    level: str | None


def events_in(node: ast.AST) -> tuple[str, ...]:
    return tuple(
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant)
        and isinstance(each.value, str)
        and EVENT.fullmatch(each.value)
    )


def log_calls() -> Iterator[LogCall]:
    functions = (
        node
        for file in MODULES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    for function in functions:
        named = {
            target.id: events_in(node.value)
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and node.args:
                first = node.args[0]
                events = named.get(first.id, ()) if isinstance(first, ast.Name) else ()
                if isinstance(first, ast.Constant):
                    events = events_in(first)
                level = node.func.attr if isinstance(node.func, ast.Attribute) else None
                fields = frozenset(each.arg for each in node.keywords if each.arg)
                if events:
                    yield LogCall(events, fields, level if level in LEVELS else None)


def documented_events() -> dict[str, tuple[str, str]]:
    rows = table(section(OPERATIONS, "Log events"))
    return {code(name)[0]: (level, fields) for name, level, fields, _ in rows}


def test_the_operations_guide_lists_every_log_event() -> None:
    """No event is missing, and none is listed that is never written."""
    written = {event for file in MODULES for event in events_in(tree(file))}
    assert written == set(documented_events())


def test_the_operations_guide_lists_level_and_fields_of_log_events() -> None:
    """Whoever searches for a field finds it under the name that it has."""
    documented = documented_events()
    calls = list(log_calls())
    assert len(calls) > 15
    for call in calls:
        for event in call.events:
            level, fields = documented[event]
            assert set() == call.fields - set(code(fields)), event
            assert call.level is None or call.level.replace("exception", "error") in level, event


def test_the_operations_guide_explains_every_cause_of_a_transition() -> None:
    """Whoever finds a kind in the log, or in a metric, finds what it means."""
    rows = table(section(OPERATIONS, "Why it moved"))
    listed = [name for row in rows for name in code(row[0])]
    assert sorted(each.value for each in TransitionKind) == sorted(listed)


def test_the_operations_guide_lists_every_field_of_the_status() -> None:
    """No field is missing, and none is listed that is not there."""
    listed = {name for row in table(section(OPERATIONS, "status.json")) for name in code(row[0])}
    fields = set(status_model.AgentStatus.__struct_fields__) - {"schema"}
    of_an_instance = set(status_model.InstanceStatus.__struct_fields__)
    detailed = {name.partition(".")[2] for name in listed if "[]." in name}
    assert fields == {name for name in listed if "[]." not in name}
    rows = {row[0]: row[1] for row in table(section(OPERATIONS, "status.json"))}
    shown = rows["`instances`"]
    assert of_an_instance == detailed | (set(code(shown)) & of_an_instance)


def test_the_state_diagram_shows_every_phase() -> None:
    """The diagram and the table below it have the phases of the code."""
    shown = section(HOW_IT_WORKS, "Supervision")
    diagram = blocks(shown)[0].body
    assert [] == [each.value for each in AgentPhase if each.value not in diagram]
    assert [each.value for each in AgentPhase] == [code(row[0])[0] for row in table(shown)]


def test_delays_are_documented_as_they_are() -> None:
    """Every delay and limit of supervision, with its value."""
    rows = table(section(HOW_IT_WORKS, "Delays"))
    expected = [(each.name, f"{each.default:g}") for each in structs.fields(SupervisionPolicy)]
    assert expected == [(code(row[0])[0], row[1].split()[0]) for row in rows]


# --- numbers ------------------------------------------------------------------------------------


def owners(nodes: list[IPAddress], count: int, rank: Callable[[IPAddress, int], int]) -> list[int]:
    """Return how many of ``count`` instances each node holds: the highest priority wins."""
    held = dict.fromkeys(nodes, 0)
    for number in range(1, count + 1):
        held[max(nodes, key=lambda node: (rank(node, number), int(node)))] += 1
    return list(held.values())


def among(nodes: list[IPAddress]) -> Callable[[IPAddress, int], int]:
    return lambda node, number: priority.among_peers(node, nodes, number - 1)


def test_the_spread_of_addresses_is_as_documented() -> None:
    """The table of how many addresses each node holds is computed anew."""
    rows = table(section(HOW_IT_WORKS, "How addresses are spread"))
    assert len(rows) > 3
    for row in rows:
        number, count = int(row[0]), int(row[1])
        nodes = [ip_address(f"10.0.0.{11 + each}") for each in range(number)]
        unicast = owners(nodes, count, among(nodes))
        multicast = owners(nodes, count, priority.among_strangers)
        shown = [[int(word) for word in cell.split()] for cell in row[2:4]]
        assert [unicast, multicast] == shown, row


# --- files --------------------------------------------------------------------------------------


@each_document
def test_a_document_links_to_nothing_that_does_not_exist(document: Path) -> None:
    """Relative links lead to files, and their anchors to headings."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text_of(document))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists():
            broken.append(link)
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", text_of(target), re.MULTILINE)
            broken += [] if anchor in map(slug, headings) else [link]
    assert [] == broken


@each_document
def test_a_document_names_no_file_of_the_project_that_does_not_exist(document: Path) -> None:
    """Paths below the project's own directories exist."""
    pattern = r"(?<![\w/.-])(?:ipfailover_agent|tests|docs|templates|examples|\.ci)/[\w./-]*\w"
    named = set(re.findall(pattern, text_of(document)))
    assert [] == sorted(each for each in named if not (ROOT / each).exists())


def test_the_changelog_knows_this_version() -> None:
    """The version that the package calls itself has its entry."""
    assert re.search(
        rf"^## \[{re.escape(__version__)}\]", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE
    )
