"""The workflow of the forge does what ``.ci/run`` does, on every Python that is promised."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from tests.support.markdown import code, section, table

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CI = ROOT / ".ci" / "run"
WORKFLOW: dict[Any, Any] = yaml.safe_load(
    (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
)
JOBS: dict[str, Any] = WORKFLOW["jobs"]


def versions() -> list[str]:
    """Return the versions of Python that the package promises, oldest first."""
    pattern = r"Programming Language :: Python :: (3\.\d+)"
    found = (re.fullmatch(pattern, each) for each in PROJECT["project"]["classifiers"])
    return [each[1] for each in found if each]


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def targets(text: str) -> list[str]:
    """Return the targets that ``make`` is called with in shell text."""
    lines = re.findall(r"^\s*make (.*)$", text, re.MULTILINE)
    return [word for line in lines for word in line.split()]


def prerequisites(target: str) -> list[str]:
    (found,) = re.findall(rf"^{target}:([^#\n]*)", MAKEFILE, re.MULTILINE)
    return [word for word in found.split() if not word.startswith("$")]


def test_the_workflow_runs_on_every_python_that_is_promised() -> None:
    """The classifiers, and no other; the oldest is what pip and ruff ask for."""
    promised = versions()
    assert promised == JOBS["computing"]["strategy"]["matrix"]["python"]
    assert f">={promised[0]}" == PROJECT["project"]["requires-python"]
    assert f"py{promised[0].replace('.', '')}" == PROJECT["tool"]["ruff"]["target-version"]


def test_the_set_up_takes_the_python_that_the_workflow_names() -> None:
    """setup.sh asks PYTHON first, and finds every promised version by its name."""
    computing = JOBS["computing"]
    named = "python${{ matrix.python }}"
    assert named == computing["env"]["PYTHON"]
    (given,) = [each["with"] for each in computing["steps"] if "setup-python" in str(each)]
    assert {"python-version": "${{ matrix.python }}"} == given
    script = (ROOT / "tests" / "support" / "setup.sh").read_text(encoding="utf-8")
    (candidates,) = re.findall(r"for candidate in (.*); do", script)
    newest_first = [f"python{each}" for each in reversed(versions())]
    assert ['"${PYTHON:-}"', "python3", *newest_first] == candidates.split()


def test_the_workflow_runs_on_each_python_what_needs_no_namespace() -> None:
    """That is what ``make test`` begins with, and the tests that compute."""
    assert [f"make {' '.join([*prerequisites('test'), 'quick'])}"] == commands("computing")


def test_the_workflow_runs_everything_once() -> None:
    """As root, which the lab and the image want, and with the history that tests look into."""
    assert ["sudo .ci/run"] == commands("everything")
    assert os.access(CI, os.X_OK)
    (checkout,) = [each for each in JOBS["everything"]["steps"] if "uses" in each]
    assert {"fetch-depth": 0} == checkout["with"]


def test_ci_makes_only_what_there_is_and_requires_only_what_tests_ask() -> None:
    """A target or a variable with a typing error would have it pass with tests left out."""
    script = CI.read_text(encoding="utf-8")
    for target in (*targets(script), *targets(commands("computing")[0])):
        assert prerequisites(target) is not None
    assert ["test", "test-image"] == targets(script)
    required = set(re.findall(r"REQUIRE_[A-Z]+", script))
    asked = {
        name
        for file in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"\"(REQUIRE_[A-Z]+)\"", file.read_text(encoding="utf-8"))
    }
    assert required == asked


def test_the_workflow_may_only_read() -> None:
    """What runs on a contributor's request can change nothing."""
    assert {"contents": "read"} == WORKFLOW["permissions"]
    assert all("permissions" not in job for job in JOBS.values())


def test_contributing_says_how_long_each_target_takes() -> None:
    """All targets, in the order of the Makefile, which is that of ``make`` alone."""
    rows = table(section(ROOT / "CONTRIBUTING.md", "How long it takes"))
    listed = [name.removeprefix("make ").split()[0] for row in rows for name in code(row[0])]
    shown = re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE)
    assert [each for each in shown if each != "help"] == listed
    assert all(re.search(r"second|minute", row[1]) for row in rows)
