"""Byte code of templates: taken where it is that of the very text, else made anew."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from ipfailover_agent.config import templating

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


def test_a_template_without_byte_code_is_compiled_and_nothing_is_kept(tmp_path: Path) -> None:
    """As a user's own: the agent writes nothing beside its modules."""
    assert (1, "a\n\nb") == rendered(environment(templating.ByteCode(tmp_path)))
    assert [] == list(tmp_path.iterdir())


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


@pytest.mark.parametrize("left", [0, 10, -1, -100])
def test_byte_code_that_was_cut_off_is_not_taken(there: Path, left: int) -> None:
    """A disk was full, say."""
    (file,) = there.iterdir()
    file.write_bytes(file.read_bytes()[:left])
    assert (1, "a\n\nb") == rendered(environment(templating.ByteCode(there)))
