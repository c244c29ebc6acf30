"""What the product defines, the product uses: code that only tests call is no code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from tests.support.sources import MODULES, ROOT, tree

#: What is used otherwise than by its name.
KEPT = {
    "collect": "prometheus_client calls it",
    "dump_bytecode": "jinja2 calls it",
    "is_busy": "tests wait until nft has ended",
    "load_bytecode": "jinja2 calls it",
    "jf": "instructions of a filter are packed whole",
    "jt": "instructions of a filter are packed whole",
    "node_address": "recorded answers of the shell image are compared whole",
}


def defined(tree: ast.AST) -> Iterator[str]:
    """Yield the names of functions, methods, classes and their fields, but commands of click."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name, decorator_list=decorators):
                if not any("command" in ast.unparse(each) for each in decorators):
                    yield name
            case ast.ClassDef(name=name, body=body):
                yield name
                for each in body:
                    if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                        yield each.target.id
            case _:
                pass


def used(tree: ast.AST) -> Iterator[str]:
    """Yield the names that are read, and words in strings, which may name a field or a method."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                yield name
            case ast.Constant(value=str(text)) if text.isidentifier():
                yield text
            case _:
                pass


def unused(trees: Iterable[ast.AST], templates: str = "") -> set[str]:
    """Return what is defined and not used, whatever has the same name elsewhere."""
    trees = tuple(trees)
    names = {name for tree in trees for name in defined(tree) if not name.startswith("__")}
    uses = {name for tree in trees for name in used(tree)} | {*re.findall(r"\w+", templates)}
    return names - uses


def test_nothing_is_defined_that_only_tests_use() -> None:
    """A change that removes the last use of a name removes the name too."""
    files = (ROOT / "templates").iterdir()
    templates = "".join(each.read_text(encoding="utf-8") for each in files)
    assert sorted(KEPT) == sorted(unused(map(tree, MODULES), templates))


def test_what_is_not_used_is_found() -> None:
    """A function, a method and a field; not a command, nor what a template reads."""
    text = """
class Used:
    field: int
    read: int
    def method(self): ...
    def shown(self): ...
def function(): return Used().read
@cli.command("x")
def command(): ...
"""
    assert {"field", "method", "function"} == unused([ast.parse(text)], "{{ page.shown }}")
