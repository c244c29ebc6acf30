"""A module that is loaded only once it is used."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ipfailover_agent import lazy_imports

TEXTS = {
    "late_library": "import late_coroutines\ndef answer(): return late_coroutines.ANSWER\n",
    "late_eager": "import late_coroutines\nANSWER = late_coroutines.ANSWER\n",
    "late_coroutines": "ANSWER = 42\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have libraries of our own that nobody else loads."""
    for name, text in TEXTS.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))


def loaded(name: str) -> ModuleType:
    """Import a library while a stand-in is there for what it needs."""
    with lazy_imports.lazy_import("late_coroutines"):
        return importlib.import_module(name)


def test_what_is_not_used_is_not_loaded() -> None:
    """And the stand-in is nobody else's."""
    library = loaded("late_library")
    assert "late_coroutines" not in sys.modules
    assert 42 == library.answer()
    assert 42 == sys.modules["late_coroutines"].ANSWER
    assert 42 == library.answer()


def test_a_library_that_uses_it_at_once_gets_it() -> None:
    """As another version of it may."""
    assert 42 == loaded("late_eager").ANSWER
    assert 42 == sys.modules["late_coroutines"].ANSWER


def test_what_is_loaded_already_stays() -> None:
    """There is nothing to save."""
    real = importlib.import_module("late_coroutines")
    library = loaded("late_library")
    assert library.late_coroutines is real
    assert sys.modules["late_coroutines"] is real
