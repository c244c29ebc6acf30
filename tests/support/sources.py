"""The project's modules as they are written, each parsed once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ROOT / "ipfailover_agent"
#: Every module of the product.
MODULES = tuple(sorted(PRODUCT.rglob("*.py")))


@cache
def tree(file: Path) -> ast.Module:
    """Return what a module consists of."""
    return ast.parse(file.read_text(encoding="utf-8"))
