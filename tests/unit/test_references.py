"""Docstrings and comments point only to what there is: modules, names, files."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.sources import MODULES, PRODUCT, ROOT, tree

SOURCES = (*MODULES, *sorted((ROOT / "tests").rglob("*.py")))
FOLDERS = ("ipfailover_agent", "tests", "templates", "image", "docs", "examples")
PACKAGES = tuple(sorted(each.parent.name for each in PRODUCT.glob("*/__init__.py")))

#: Of sources that are not ours: the kernel's and keepalived's.
FOREIGN_ENDINGS = {"c", "h"}

#: What a word in double backticks may be without being a name of ours.
FOREIGN = {
    "__spec__",  # Python's
    "include",  # keepalived.conf's
    "terminationMessagePath",  # of a pod
}

NAME = re.compile(r"``([A-Za-z_]\w*(?:\.\w+)*)(?:\(\))?``")
ROLE = re.compile(r":(?:mod|class|func|meth|data|attr):`[~.]?([\w.]+)`")
DOTTED = re.compile(r"(?<![\w./-])([a-z_]+)\.([a-z_]+)(?![\w(])")
FILE = re.compile(
    r"(?<![\w/.<-])(?:[\w./-]*\w\.(?:py|sh|j2)\b"
    rf"|(?:{'|'.join((*FOLDERS, *PACKAGES))})/[\w./-]*\w)"
)


def docstring(node: ast.AST) -> str | None:
    """Return a statement that is a string alone, as below a function's or a constant's name."""
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
        case _:
            return None


def prose(file: Path) -> Iterator[tuple[int, str]]:
    """Yield every docstring and every comment of a file with its line."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.stmt) and (text := docstring(node)):
            yield node.lineno, text
    with io.StringIO(file.read_text(encoding="utf-8")) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def words_of_strings(file: Path) -> set[str]:
    """Return the words of a file's strings but docstrings: keys, options, events of the log."""
    found: set[str] = set()
    docstrings = {id(node.value) for node in ast.walk(tree(file)) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set() if id(node) in docstrings else set(re.findall(r"[\w.]+", node.value))
    return found


def names_in(file: Path) -> set[str]:
    """Return every identifier of a file."""
    found = set(file.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(tree(file)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.alias(name=name):
                found |= set(name.split("."))
            case ast.keyword(arg=str(name)):
                found.add(name)
            case _:
                pass
    return found


@cache
def known() -> frozenset[str]:
    """Return the identifiers of the project, and the words that product and bench write."""
    found = set(FOREIGN)
    for file in SOURCES:
        found |= names_in(file)
        if file.is_relative_to(PRODUCT) or file.parent.name == "bench":
            found |= words_of_strings(file)
    for file in (*(ROOT / "templates").iterdir(), *(ROOT / "image").iterdir()):
        found |= set(re.findall(r"\w+", file.read_text(encoding="utf-8")))
    return frozenset(found)


@cache
def packages() -> dict[str, frozenset[str]]:
    """Return what may stand behind the name of a package: modules and packages below it."""
    return {
        folder.name: frozenset(each.stem for each in folder.iterdir())
        for folder in (PRODUCT, *PRODUCT.rglob("*"))
        if folder.is_dir() and folder.name not in sys.stdlib_module_names
    }


@cache
def files() -> frozenset[str]:
    """Return every path of the project as it may be written: whole, or from any folder on."""
    found: set[str] = set()
    for folder in FOLDERS:
        for each in (ROOT / folder).rglob("*"):
            parts = each.relative_to(ROOT).parts
            for start in range(len(parts)):
                path = "/".join(parts[start:])
                found |= {path, path.removesuffix(".py")}
    return frozenset(found)


def unknown_in(text: str, own: set[str]) -> Iterator[str]:
    """Yield what a text points to and what does not exist; ``own``: words of its file."""
    for match in (*NAME.finditer(text), *ROLE.finditer(text)):
        if not {*match[1].split(".")} <= known() | own:
            yield match[0]
    for match in DOTTED.finditer(text):
        package, module = match.groups()
        if package not in packages() or match[0] in known() | own:  # an event of the log
            continue
        if module not in packages()[package] | {"py", "json", "conf", *FOREIGN_ENDINGS}:
            yield match[0]
    for each in FILE.findall(text):
        if each.removeprefix("./") not in files() and Path(each).suffix[1:] not in FOREIGN_ENDINGS:
            yield each


def test_docstrings_and_comments_point_to_what_exists() -> None:
    """A name in double backticks, a module in dots, a file: each is there, under that name."""
    unknown = []
    for file in SOURCES:
        own = words_of_strings(file)
        for line, text in prose(file):
            unknown += [
                f"{file.relative_to(ROOT)}:{line}: {each}" for each in unknown_in(text, own)
            ]
    assert [] == unknown


def test_a_reference_to_what_is_gone_is_found() -> None:
    """Each kind of reference, once right and once not."""
    right = "``known`` ``tree()`` :mod:`pathlib` drain.fsm drain/fsm.py tests/unit of it"
    wrong = ("``gone_by``", ":meth:`Gone.by`", "drain.gone", "drain/gone.py", "tests/gone")
    assert [] == [*unknown_in(right, set())]
    for each in wrong:
        assert [each] == [*unknown_in(f"see {each} for it", set())], each
