"""The fault matrix in short: one run of what matters most. ``make chaos`` runs all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.chaos import matrix, wire
from tests.lab.chaos.faults import MATRIX, Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.lab import Lab

_MARGIN = 0.4  # seconds: other tests run beside these
_SHORT = [each for each in MATRIX if each.short is not None]


@pytest.mark.slow
@pytest.mark.parametrize("fault", _SHORT, ids=lambda each: f"{each.name}, {each.short}")
def test_a_fault_keeps_within_its_bounds(
    make_lab: Callable[..., Lab], tmp_path: Path, fault: Fault
) -> None:
    """Two holders, none, who is left and what is told are as the matrix wants them."""
    if fault.needs_compiler and not wire.has_compiler():
        pytest.skip("needs a C compiler, for a clock that can be set")
    assert fault.short is not None
    lab = make_lab(fault.nodes)
    case = matrix.Case(fault=fault.name, mode=fault.short)
    outcome = matrix.perform(lab, case, keep=tmp_path, margin=_MARGIN)
    print(outcome.seen)
    assert outcome.misses == ()
