"""The fault matrix in short: one run of what matters most. ``make chaos`` runs all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.lab.kit.chaos import matrix, wire
from tests.lab.kit.chaos.faults import Fault
from tests.lab.kit.lab import MakeLab

_SHORT = 0.1  # seconds
_MARGIN = 0.25  # seconds, on a machine with nothing else to do; its lateness comes on top


def _short() -> Iterator[ParameterSet]:
    """Yield the faults of the short matrix.

    With fast timing, and where the next node waits for a skew of 16 ms, bounds are too short for
    a machine that does something else.
    """
    for each in matrix.MATRIX:
        if each.short is not None:
            is_short = each.name.endswith(", fast") or 0 < each.none_in(each.short) < _SHORT
            marks = [pytest.mark.timing] if is_short else []
            yield pytest.param(each, id=f"{each.name}, {each.short}", marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(_short()))
def test_a_fault_keeps_within_its_bounds(make_lab: MakeLab, tmp_path: Path, fault: Fault) -> None:
    """Two holders, none, who is left and what is told are as the matrix wants them."""
    if fault.needs_compiler and not wire.has_compiler():
        pytest.skip("needs a C compiler, for a clock that can be set")
    assert fault.short is not None
    lab = make_lab(fault.nodes)
    case = matrix.Case(fault=fault.name, mode=fault.short)
    outcome = matrix.perform(lab, case, keep=tmp_path, margin=_MARGIN)
    print(outcome.seen)
    assert outcome.misses == ()
