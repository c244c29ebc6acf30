"""ARCHITECTURE.md is true: its paths, names, calls and arrows are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import pure
from tests.support.markdown import blocks, code, section, table, text_of
from tests.support.sources import MODULES, PRODUCT, ROOT, tree

DOCUMENT = ROOT / "ARCHITECTURE.md"
WALKS = {
    "An advert, from the packet socket to the hold file": 12,
    "A SIGHUP, to its verdict": 15,
    "A variable, from text to keepalived.conf": 6,
}
SUBJECTS = (
    *("lease", "drain", "conflict", "doctor", "firewall", "peers", "health", "http", "status"),
    *("keepalived", "vrrp", "config", "supervisor"),
)

Step = tuple[str, str]  # file and function


@cache
def function(file: str, name: str) -> ast.AST:
    """Return a function of a module, or a method of a class: both names with a dot."""
    found: ast.AST = tree(PRODUCT / file)
    for part in name.split("."):
        inner = [
            each
            for each in ast.iter_child_nodes(found)
            if isinstance(each, ast.ClassDef | ast.FunctionDef) and each.name == part
        ]
        assert inner, f"{file} has no {name}"
        found = inner[0]
    return found


def called_in(node: ast.AST) -> set[str]:
    """Return the names of what a function calls."""
    calls = (each.func for each in ast.walk(node) if isinstance(each, ast.Call))
    named = (each.attr if isinstance(each, ast.Attribute) else each for each in calls)
    return {each.id if isinstance(each, ast.Name) else str(each) for each in named}


def imported_by(path: Path) -> Iterator[str]:
    """Yield the modules that a module, or the modules of a package, import, by dotted name.

    What only annotations need is none of them: that calls nothing.
    """
    for file in path.rglob("*.py") if path.is_dir() else (path,):
        every = [each for each in ast.walk(tree(file)) if isinstance(each, ast.ImportFrom)]
        for only_types in (each for each in tree(file).body if isinstance(each, ast.If)):
            every = [each for each in every if each not in only_types.body]
        for node in every:
            yield from (f"{node.module}.{each.name}" for each in node.names)


def rows(walk: str) -> dict[str, tuple[str, Step]]:
    """Return the steps of a walk by number, each with the number of the step that calls it."""
    found = {}
    for number, after, file, name, _ in table(section(DOCUMENT, walk)):
        (where,), (what,) = code(file), code(name)
        found[number] = (after, (where, what))
    return found


@pytest.mark.parametrize("walk", WALKS)
def test_each_step_of_a_walk_is_called_by_the_one_it_follows(walk: str) -> None:
    """Files and functions exist, a call stands in the function before, modules are few."""
    steps = rows(walk)
    assert [str(each) for each in range(1, len(steps) + 1)] == [*steps]
    for after, (file, name) in steps.values():
        function(file, name)
        if after:
            caller = steps[after][1]
            assert name.rpartition(".")[2] in called_in(function(*caller)), (caller, file, name)
    assert len({file for _, (file, _) in steps.values()}) <= WALKS[walk]


def test_a_step_that_is_not_called_is_found() -> None:
    """The comparison tells a call from a name."""
    node = ast.parse("def f(): a(); self.b.c(); d = e")
    assert {"a", "c"} == called_in(node)
    with pytest.raises(AssertionError, match="has no Agent"):
        function("agent.py", "Agent.gone")


def test_every_subject_is_to_be_found() -> None:
    """Each has its row, and what the row names exists."""
    listed = table(section(DOCUMENT, "Where is ...?"))
    assert SUBJECTS == tuple(re.split(r"[:,]", row[0])[0] for row in listed)
    for row in listed:
        assert [] == [each for cell in row for each in code(cell) if not exists(each)]


def exists(path: str) -> bool:
    return (PRODUCT / path).exists() or (path.startswith("templates/") and (ROOT / path).exists())


def test_the_answers_name_what_there_is() -> None:
    """A path, and the function in it that the answer names."""
    answers = section(DOCUMENT, "Where is ...?").partition("| Question")[2]
    named = re.findall(r"`([\w/.]+\.(?:py|j2))`(?: `([\w.]+)`)?", answers)
    assert len(named) >= 4
    for path, name in named:
        assert exists(path), path
        if name:
            function(path, name)


def test_the_arrows_of_the_picture_are_imports() -> None:
    """What an arrow leads to is imported, and the other way round nothing is."""
    (picture,) = [each.body for each in blocks(text_of(DOCUMENT)) if each.language == "mermaid"]
    boxes = dict(re.findall(r'(\w+)\["([\w./]+)"\]', picture))
    arrows = re.findall(r"(\w+)(?:\[[^]]*\])? --> (\w+)", picture)
    assert len(arrows) > 10
    for one, other in arrows:
        assert imports(boxes[one], boxes[other]), (one, other)
        assert not imports(boxes[other], boxes[one]), (other, one)
    packages = {f"{each.name}/" for each in PRODUCT.iterdir() if (each / "__init__.py").exists()}
    assert packages <= set(boxes.values())


def imports(one: str, other: str) -> bool:
    wanted = f"ipfailover_agent.{other.removesuffix('/').removesuffix('.py')}"
    return any(f"{each}.".startswith(f"{wanted}.") for each in imported_by(PRODUCT / one))


def opens_files(module: ast.AST) -> set[str]:
    """Return what reads files, or finds them, without an import that the contract would see."""
    names = {each.id for each in ast.walk(module) if isinstance(each, ast.Name)}
    attributes = {each.attr for each in ast.walk(module) if isinstance(each, ast.Attribute)}
    loaders = {"FileSystemLoader", "PackageLoader", "ModuleLoader", "read_text", "read_bytes"}
    return (names & {"open", "input", "__file__", "__import__"}) | (attributes & loaders)


def test_what_decides_opens_no_file() -> None:
    """What it needs of files comes in as text, or through a loader from outside."""
    found = {each: opens_files(tree(ROOT / each)) for each in pure.files()}
    assert {} == {file: names for file, names in found.items() if names}
    assert len(pure.files()) > 50
    assert {"open", "read_text"} == opens_files(ast.parse("open(a); b.read_text()"))


def test_the_table_names_every_package() -> None:
    """Of the product."""
    listed = section(DOCUMENT, "The picture")
    named = {each.rstrip("/") for row in table(listed) for each in code(" ".join(row))}
    assert {each.name for each in PRODUCT.iterdir() if (each / "__init__.py").exists()} <= named


def left_to_the_end(module: ast.AST) -> list[str]:
    """Return what Python would do at the end of a process: entry.py ends it before."""
    late = {"atexit", "multiprocessing", "weakref"}
    found = []
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                found += [each.name for each in names if each.name.split(".")[0] in late]
            case ast.ImportFrom(module=str(name)) if name.split(".")[0] in late | {"threading"}:
                found.append(name)
            case ast.FunctionDef(name="__del__" as name) | ast.Attribute(attr="Timer" as name):
                found.append(name)
            case ast.ClassDef(bases=bases):
                found += [each for each in map(ast.unparse, bases) if each == "threading.Thread"]
            case ast.Call(func=ast.Attribute(attr="Thread"), keywords=keywords):
                if "daemon=True" not in map(ast.unparse, keywords):
                    found.append(ast.unparse(node))
            case _:
                pass
    return found


def test_nothing_is_left_to_the_end_of_the_process() -> None:
    """No clearing up at exit, and no thread that would be waited for."""
    assert {} == {each: found for each in MODULES if (found := left_to_the_end(tree(each)))}
    late = {
        "import os, atexit": "atexit",
        "from weakref import finalize": "weakref",
        "from threading import Thread": "threading",
        "class A:\n  def __del__(self): pass": "__del__",
        "class A(threading.Thread): pass": "threading.Thread",
        "threading.Timer(1, a)": "Timer",
        "threading.Thread(target=a)": "threading.Thread(target=a)",
    }
    assert {each: [found] for each, found in late.items()} == {
        each: left_to_the_end(ast.parse(each)) for each in late
    }
    assert [] == left_to_the_end(ast.parse("threading.Thread(target=a, daemon=True)"))
