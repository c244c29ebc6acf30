"""What users get: the wheel, built, installed in a clean environment, rendering from itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.cases import CASES, load_cases

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
TEMPLATES = {each.name: each.read_bytes() for each in (CHECKOUT / "templates").iterdir()}
RENDER = """
import json, pathlib, ipfailover_agent
from tests.support.cases import load_cases
files = {
    case.directory.name: {
        pathlib.Path(each.path).name: each.text
        for rendering in [case.rendering()]
        for each in (rendering.config, *rendering.scripts)
    }
    for case in load_cases()
}
print(json.dumps({"package": ipfailover_agent.__file__, "files": files}))
"""

PAGES = """
from ipfailover_agent.http import metrics, page
from tests.support.observed import instance, observation
seen = observation(instance(1))
print("10.0.0.2" in page.response(seen).body.decode(), len(metrics.response(seen).body) > 1000)
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that knows nothing of the checkout; return what it prints."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def build(directory: Path, *options: str) -> list[Path]:
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory))
    run(*command, *options, CHECKOUT, cwd=directory)
    return list(directory.iterdir())


@pytest.fixture(scope="module")
def from_sdist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the source distribution, and the wheel from that; return both by suffix."""
    return {each.suffix: each for each in build(tmp_path_factory.mktemp("sdist"))}


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_the_source_distribution_holds_the_templates(from_sdist: dict[str, Path]) -> None:
    """A wheel that is built from it needs them, and its readers the licence."""
    with tarfile.open(from_sdist[".gz"]) as opened:
        (top,) = {name.partition("/")[0] for name in opened.getnames()}
        found = {
            Path(member.name).name: extracted.read()
            for member in opened.getmembers()
            if member.name.startswith(f"{top}/templates/")
            and (extracted := opened.extractfile(member)) is not None
        }
        assert {f"{top}/LICENSE", f"{top}/README.md"} <= set(opened.getnames())
    assert TEMPLATES == found


def test_the_wheel_is_the_same_from_the_checkout_and_from_the_source_distribution(
    from_sdist: dict[str, Path], tmp_path: Path
) -> None:
    """With the templates inside the package, and without tests."""
    (direct,) = build(tmp_path, "--wheel")
    found = contents(direct)
    assert found == contents(from_sdist[".whl"])
    prefix = "ipfailover_agent/templates/"
    assert TEMPLATES == {
        name.removeprefix(prefix): data for name, data in found.items() if name.startswith(prefix)
    }
    assert "ipfailover_agent/py.typed" in found
    assert not [name for name in found if name.startswith("tests")]


def test_the_installed_wheel_renders_every_golden_case(
    from_sdist: dict[str, Path], tmp_path: Path
) -> None:
    """Byte for byte, from the templates in the package, with the command in place."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    constraints = ("--constraint", CHECKOUT / "constraints.txt")
    quiet = ("--quiet", "--disable-pip-version-check")
    run(python, "-m", "pip", "install", *quiet, *constraints, from_sdist[".whl"], cwd=tmp_path)

    beside = tmp_path / "beside"  # the cases and their reader, without the checkout's package
    shutil.copytree(CASES.parent, beside / "tests" / "golden")
    shutil.copytree(CHECKOUT / "tests" / "support", beside / "tests" / "support")
    rendered = json.loads(run(python, "-c", RENDER, cwd=beside))
    assert Path(rendered["package"]).is_relative_to(environment)
    golden = {
        case.directory.name: {
            each.name: each.read_bytes()
            for each in case.directory.iterdir()
            if each.name not in {"env", "facts.toml"}
        }
        for case in load_cases()
    }
    assert golden == {
        case: {name: text.encode() for name, text in files.items()}
        for case, files in rendered["files"].items()
    }
    assert "True True\n" == run(python, "-c", PAGES, cwd=beside)
    said = run(environment / "bin" / "ipfailover-agent", "--version", cwd=tmp_path)
    assert said.startswith("ipfailover-agent, version ")
