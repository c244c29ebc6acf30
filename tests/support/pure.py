"""The modules that decide, by the contract in pyproject.toml: ``python -m tests.support.pure``."""

from __future__ import annotations

import tomllib

from tests.support.sources import ROOT

_CONTRACT = "what decides touches neither the machine nor the clock"


def files() -> tuple[str, ...]:
    """Return their paths, relative to the checkout."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (found,) = (each["source_modules"] for each in contracts if each["name"] == _CONTRACT)
    return tuple(f"{each.replace('.', '/')}.py" for each in found)


if __name__ == "__main__":
    print(",".join(files()))
