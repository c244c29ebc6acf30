"""Golden files: rendered, compared, and given to the real keepalived.

``pytest tests/golden --update-golden`` writes them anew.
"""

from __future__ import annotations

import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.templating import render
from ipfailover_agent.model import HostFacts, IPAddress, RenderedFile, Rendering, Settings
from tests.support import sandbox
from tests.support.cases import PATHS, Case, load_cases
from tests.support.program import KEEPALIVED, version
from tests.support.vectors import host_facts

FACTS = host_facts({"ens3": ["192.168.55.10/24", "fd00:55::10/64"]})


def files(rendering: Rendering) -> dict[str, str]:
    return {Path(each.path).name: each.text for each in (rendering.config, *rendering.scripts)}


def test_there_are_cases() -> None:
    """An empty directory would pass everything."""
    assert len(load_cases()) >= 20


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_a_case_renders_to_its_golden_files(case: Case, *, update_golden: bool) -> None:
    """No file differs, none is missing, none is left over."""
    rendered = files(case.rendering())
    if update_golden:
        for name in ("keepalived.conf", "check", "notify"):
            (case.directory / name).unlink(missing_ok=True)
        for name, text in rendered.items():
            (case.directory / name).write_text(text, encoding="utf-8")
    golden = {
        each.name: each.read_text(encoding="utf-8")
        for each in case.directory.iterdir()
        if each.name not in {"env", "facts.toml"}
    }
    assert golden == rendered


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_the_scripts_of_a_case_are_bash(case: Case) -> None:
    """bash -n finds nothing to say."""
    for each in case.rendering().scripts:
        command = ["bash", "-n", "-c", each.text]
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
        assert (0, b"") == (done.returncode, done.stderr)


# --- the real checker ---------------------------------------------------------------------------


def keepalived_says(rendering: Rendering, facts: HostFacts, directory: Path) -> sandbox.Outcome:
    """Give a rendering to keepalived -t on a node with these interfaces."""
    placed = sandbox.place(rendering, directory)
    config = placed.pop(rendering.config.path)
    # The agent makes both before it asks: since 2.3 the directory of a track file has to be there.
    directories = [PATHS.directory, PATHS.hold_directory]
    script = sandbox.interfaces(facts) + sandbox.copies(placed, directories)
    return sandbox.run(f"{script}{KEEPALIVED} -t -f '{config}'\n")


@pytest.mark.netns
@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_keepalived_passes_a_golden_file_without_a_word(case: Case, tmp_path: Path) -> None:
    """Exit code 0, and nothing printed."""
    outcome = keepalived_says(case.rendering(), case.facts, tmp_path)
    assert (0, "") == (outcome.status, outcome.output)


def sequence(first: str, count: int) -> tuple[IPAddress, ...]:
    return tuple(ip_address(first) + number for number in range(count))


FOUR, SIX = sequence("10.0.0.1", 2), sequence("fd00::1:0", 2)
BOTH = sequence("10.0.0.0", 300) + sequence("fd00::1:0", 300)
SHAPES: dict[str, tuple[tuple[IPAddress, ...], dict[str, Any]]] = {
    "254 one by one": (sequence("10.0.0.1", 254), {"virtual_router_id_offset": 0}),
    "255 in 238 groups": (
        sequence("192.168.254.1", 255),
        {"address_groups": 238, "virtual_router_id_offset": 0},
    ),
    "more than an advert carries, both families": (BOTH, {"address_groups": 1}),
    "the longest interval of version 2": (FOUR, {"advert_interval": 255}),
    "the longest interval of version 3": (SIX, {"advert_interval": 40}),
    "the shortest interval": (FOUR, {"advert_interval": 0.1, "priority": 1}),
    "an IPv6 multicast source": (
        FOUR[:1] + SIX[:1],
        {"multicast_source": ip_address("fd00:55::10")},
    ),
    "the longest name": (FOUR[:1], {"config_name": "a" * 253}),
}


@pytest.mark.netns
@pytest.mark.parametrize("shape", SHAPES)
def test_keepalived_passes_extreme_shapes_without_a_word(shape: str, tmp_path: Path) -> None:
    """At the limits of what the plan lets through."""
    addresses, more = SHAPES[shape]
    config = plan(Settings(virtual_addresses=addresses, **more), FACTS)
    outcome = keepalived_says(render(config, PATHS), FACTS, tmp_path)
    assert (0, "") == (outcome.status, outcome.output)


# --- negative controls --------------------------------------------------------------------------

GOOD = render(plan(Settings(virtual_addresses=FOUR, check_watch=0), FACTS), PATHS)


@pytest.mark.netns
@pytest.mark.parametrize(
    ("old", "new", "status", "said"),
    [
        pytest.param("enable_script_security", "", 6, "SECURITY VIOLATION", id="security"),
        pytest.param("advert_int", "advert_intt", 5, "Unknown keyword", id="keyword"),
        pytest.param("virtual_router_id 11 ", "virtual_router_id 256", 5, "range", id="id"),
        pytest.param("priority", "priority 0 #", 5, "", id="priority"),
        pytest.param('OpenShif"', 'OpenShift"', 5, "Truncating", id="long password"),
        pytest.param("state BACKUP", "state MASTER", 5, "preempt", id="state MASTER"),
        pytest.param('"ens3"', '"ens9"', 5, "ens9", id="no such interface"),
        pytest.param(
            "virtual_router_id 12", "virtual_router_id 11", 5, "both use", id="an id used twice"
        ),
        pytest.param("/32", "/33", 5, "", id="prefix"),
        pytest.param(
            *("interval 2", "interval 0.5", 5 if version() < (2, 3, 2) else 0, ""),
            id="fraction of an interval",
        ),
        pytest.param("advert_int 1", "advert_int 0.5", 5, "", id="fraction of version 2"),
    ],
)
def test_keepalived_refuses_a_bad_file(
    tmp_path: Path, old: str, new: str, status: int, said: str
) -> None:
    """What passes every test would be no test."""
    assert old in GOOD.config.text
    outcome = keepalived_says(changed(GOOD, old, new), FACTS, tmp_path)
    assert status == outcome.status
    assert said in outcome.output


@pytest.mark.netns
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(GOOD.config.text, "", id="an empty file"),
        pytest.param("10.0.0.2", "10.0.0.1", id="an address in two instances"),
    ],
)
def test_what_keepalived_does_not_see_stays_so(tmp_path: Path, old: str, new: str) -> None:
    """Its blind spots: exit 0, so that the plan has to see to them."""
    assert old in GOOD.config.text
    outcome = keepalived_says(changed(GOOD, old, new), FACTS, tmp_path)
    assert 0 == outcome.status


@pytest.mark.netns
@pytest.mark.parametrize("spoil", ["rm", "chmod +x"])
def test_keepalived_passes_a_file_that_it_will_not_read(tmp_path: Path, spoil: str) -> None:
    """A missing file and one with the execute bit: exit 0 too."""
    config = sandbox.place(GOOD, tmp_path)[GOOD.config.path]
    outcome = sandbox.run(f"{spoil} '{config}'\n{KEEPALIVED} -t -f '{config}'\n")
    assert 0 == outcome.status


def changed(rendering: Rendering, old: str, new: str) -> Rendering:
    config = RenderedFile(path=rendering.config.path, text=rendering.config.text.replace(old, new))
    return structs.replace(rendering, config=config)
