"""A name stands for one thing: no class is defined twice in the product, no module named twice."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.support.sources import MODULES, PRODUCT, tree

#: Modules that are the same part of each package.
SHARED = frozenset({"__init__", "fsm", "service"})


def classes(module: ast.Module) -> Iterator[str]:
    """Yield the names of all classes of a module, those inside of others as well."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name


def repeated(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names that stand more than once, each with its places."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, place in pairs:
        places[name].append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_class_name_is_defined_twice() -> None:
    """A reader who meets the name of a class finds one definition of it."""
    assert {} == repeated(
        (name, str(file.relative_to(PRODUCT))) for file in MODULES for name in classes(tree(file))
    )


def test_a_name_that_stands_twice_is_found() -> None:
    """In one module or in two, on top or inside of a class."""
    one = "class A:\n    class B: pass"
    other = "class B: pass\nclass C: pass\nclass C: pass"
    pairs = [(name, place) for place in (one, other) for name in classes(ast.parse(place))]
    assert {"B": [one, other], "C": [other, other]} == repeated(pairs)


def test_no_module_has_the_name_of_another() -> None:
    """A file is found by its name alone; a package's service and state machine have the same."""
    assert {} == repeated(
        (file.stem, str(file.relative_to(PRODUCT))) for file in MODULES if file.stem not in SHARED
    )
