"""The table of the matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.lab.kit.chaos.matrix import Outcome, fault_of
from tests.lab.kit.chaos.scene import FAMILIES, Family, Mode

_HEADS = ("fault", "mode", "family", "two s", "aim", "none s", "aim", "client s", "plain", "")
_WIDTHS = (41, 9, 6, 5, 4, 6, 4, 8, 12, 0)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the worst of all runs as lines, in the order of ``outcomes``."""
    groups: dict[tuple[str, Mode], list[Outcome]] = {}
    for each in outcomes:
        groups.setdefault((each.case.fault, each.case.mode), []).append(each)
    lines = [_line(_HEADS)]
    for (fault, mode), group in groups.items():
        for family in FAMILIES:
            lines += _rows(fault, mode, family, group)
    return "\n".join(lines)


def _rows(name: str, mode: Mode, family: Family, group: Sequence[Outcome]) -> Iterator[str]:
    fault = fault_of(name)
    seen = [each.seen[family] for each in group if family in each.seen]
    if family not in fault.families:
        return
    failed = sum(
        any(
            miss.startswith((f"{family}:", "no agent", "an agent", "Traceback"))
            for miss in each.misses
        )
        for each in group
    )
    beside = max((each.beside for each in seen), default=0.0)
    fine = f"ok, {beside:.1f} s beside it" if fault.members and beside else "ok"
    verdict = f"MISSED ({failed} of {len(group)})" if failed else fine
    if not seen:
        yield _line((name, mode, family, "-", "", "-", "", "-", fault.old, verdict))
        return
    yield _line(
        (
            name,
            mode,
            family,
            f"{max(each.two for each in seen):.2f}",
            f"{fault.two:g}",
            f"{max(each.none for each in seen):.2f}",
            f"{fault.none_in(mode):g}",
            f"{max(each.client for each in seen):.2f}",
            fault.old,
            verdict,
        )
    )


def _line(words: Sequence[str]) -> str:
    return "  ".join(
        word.ljust(width) for word, width in zip(words, _WIDTHS, strict=True)
    ).rstrip()
