"""Byte code of templates: taken where it is that of the very text, else made anew."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from ipfailover_agent.config import templating
from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.settings import parse
from ipfailover_agent.config.templating import render
from tests.support.apart import run_code
from tests.support.cases import PATHS
from tests.support.vectors import host_facts

CONFIG = plan(
    parse({"OPENSHIFT_HA_VIRTUAL_IPS": "192.0.2.101"}), host_facts({"eth1": ["192.0.2.11/24"]})
)
TEXT = "{% for each in names %}\n{{ each }}\n{% endfor %}\n"


class Counting(jinja2.Environment):
    """Counts what it compiles."""

    compilations = 0

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse as ever: the first step of every compilation."""
        self.compilations += 1
        return super()._parse(source, name, filename)


def environment(cache: jinja2.BytecodeCache, text: str = TEXT, *, trims: bool = False) -> Counting:
    return Counting(
        loader=jinja2.DictLoader({"names.j2": text}),
        bytecode_cache=cache,
        autoescape=False,
        trim_blocks=trims,
    )


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Return a directory with the byte code of TEXT."""
    environment(templating.ByteCode(tmp_path, keeps=True)).get_template("names.j2")
    return tmp_path


def rendered(made_with: Counting) -> tuple[int, str]:
    """Return how often something was compiled, and the result."""
    text = made_with.get_template("names.j2").render(names=["a", "b"])
    return made_with.compilations, text.strip()


def test_byte_code_that_is_there_is_taken(there: Path) -> None:
    """It says what the template says."""
    assert (0, "a\n\nb") == rendered(environment(templating.ByteCode(there)))


def test_a_template_without_byte_code_is_compiled(tmp_path: Path) -> None:
    """Nothing is kept unless that is asked for."""
    assert (1, "a\n\nb") == rendered(environment(templating.ByteCode(tmp_path)))
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("are_ours", [True, False])
def test_byte_code_of_packaged_templates_is_written_when_python_writes_that_of_modules(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writes: bool,  # noqa: FBT001
    are_ours: bool,  # noqa: FBT001
) -> None:
    """That of users' own is not: each of their directories would leave files there."""
    there = tmp_path / "__pycache__"
    monkeypatch.setattr(templating, "BYTE_CODE", there)
    monkeypatch.setattr("sys.dont_write_bytecode", not writes)
    own = None if are_ours else str(templating.packaged())
    render(CONFIG, PATHS, template_directory=own)
    made = [*there.iterdir()] if there.exists() else []
    assert {".j2c"} == {each.suffix for each in made} if writes and are_ours else not made


def test_a_place_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    """A read-only root, or the modules of another user."""
    (tmp_path / "file").touch()
    nowhere = templating.ByteCode(tmp_path / "file" / "__pycache__", keeps=True)
    assert (1, "a\n\nb") == rendered(environment(nowhere))
    assert ["file"] == [each.name for each in tmp_path.iterdir()]


def test_a_template_that_has_changed_is_compiled(there: Path) -> None:
    """Its name and place say nothing of its text."""
    changed = environment(templating.ByteCode(there), TEXT.replace("each }}", "each }}!"))
    assert (1, "a!\n\nb!") == rendered(changed)


@pytest.mark.parametrize(
    "where", ["jinja2.__version__", "sys.version", f"{templating.__name__}.__version__"]
)
def test_byte_code_of_another_version_is_not_taken(
    there: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of jinja2, Python or the agent."""
    monkeypatch.setattr(where, "0.1")
    assert 1 == rendered(environment(templating.ByteCode(there)))[0]


def test_byte_code_made_with_other_options_is_not_taken(there: Path) -> None:
    """Blanks around statements belong to the code."""
    assert (1, "a\nb") == rendered(environment(templating.ByteCode(there), trims=True))


def test_only_its_owner_may_change_what_was_written(tmp_path: Path) -> None:
    """Root runs it, so the umask of a start does not matter."""
    there = tmp_path / "made"
    before = os.umask(0)
    try:
        rendered(environment(templating.ByteCode(there, keeps=True)))
    finally:
        os.umask(before)
    (file,) = there.iterdir()
    assert (0o755, 0o644) == (mode(there), mode(file))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_start_that_was_killed_is_no_obstacle_for_long(there: Path) -> None:
    """What it has left is removed by the next one, and the one after that writes."""
    (file,) = there.iterdir()
    file.rename(file.with_suffix(f".{os.getpid()}"))
    for left in ([], [file]):
        rendered(environment(templating.ByteCode(there, keeps=True)))
        assert left == list(there.iterdir())


def test_it_lies_where_python_keeps_that_of_modules(tmp_path: Path) -> None:
    """Which an operator may have chosen (PYTHONPYCACHEPREFIX)."""
    beside = Path(templating.__file__).parent / "__pycache__"
    code = "from ipfailover_agent.config import templating; print(templating.BYTE_CODE)"
    assert f"{beside}\n" == run_code(code, PYTHONPYCACHEPREFIX="")
    chosen = run_code(code, PYTHONPYCACHEPREFIX=str(tmp_path))
    assert f"{tmp_path}{beside.parent}\n" == chosen


def test_byte_code_that_cannot_be_put_into_its_place_is_removed(there: Path) -> None:
    """A directory stands there, say."""
    (file,) = there.iterdir()
    file.unlink()
    (file / "something").mkdir(parents=True)
    again = templating.ByteCode(there, keeps=True)
    assert (1, "a\n\nb") == rendered(environment(again))
    assert [file] == list(there.iterdir())


@pytest.mark.parametrize("left", [0, 10, -1, -100])
def test_byte_code_that_was_cut_off_is_not_taken(there: Path, left: int) -> None:
    """A disk was full, say."""
    (file,) = there.iterdir()
    file.write_bytes(file.read_bytes()[:left])
    assert (1, "a\n\nb") == rendered(environment(templating.ByteCode(there)))
