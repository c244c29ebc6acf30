"""Keeps a library from loading, for its coroutines, what a program without any never uses."""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Later(ModuleType):
    """Stands for a module until something of it is asked for; then that is the real one's."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        found: object = getattr(importlib.import_module(self.__name__), name)
        return found


@contextlib.contextmanager
def lazy_import(name: str) -> Iterator[None]:
    """Have what is imported meanwhile load a module only once it uses something of it.

    importlib's LazyLoader does not help: ``import NAME`` itself asks the module for its
    ``__spec__``, and Python 3.11 loads it for that.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = made = _Later(name)
    try:
        yield
    finally:
        if sys.modules.get(name) is made:
            del sys.modules[name]
