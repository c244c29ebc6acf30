"""Runs cases of the matrix, each in a lab of its own, some at a time."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.kit.chaos import alarms, shaking, stories
from tests.lab.kit.chaos.faults import Fault
from tests.lab.kit.chaos.scene import Family, Mode, Scene, Seen
from tests.lab.kit.lab import Lab

MATRIX: tuple[Fault, ...] = (*stories.ROWS, *shaking.ROWS, *alarms.ROWS)
#: Seconds by which runs differ, so that a fault meets every part of five quiet seconds.
PHASES = (0.0, 1.7, 3.4)
MARGIN = 0.1  # seconds: by how much a busy machine reports changes late


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of a fault in a mode."""

    fault: str
    mode: Mode
    number: int = 1
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a case: what was seen by family, and what was missed, as sentences."""

    case: Case
    seen: dict[Family, Seen] = field(default_factory=dict)
    misses: tuple[str, ...] = ()
    lateness: float = 0.0
    seconds: float = 0.0


def fault_of(name: str) -> Fault:
    """Return the fault of that name."""
    return next(each for each in MATRIX if each.name == name)


def cases(faults: Sequence[Fault], *, runs: int, plain: bool = False) -> list[Case]:
    """Return the cases of some faults, one run of everything after the other."""
    return [
        Case(fault=each.name, mode=mode, number=number, plain=plain)
        for number in range(1, runs + 1)
        for each in faults
        for mode in each.modes
        if each.runs is None or number <= each.runs
    ]


def run(case: Case, *, keep: Path | None = None) -> Outcome:
    """Run a case in a lab of its own; what all nodes said goes to a file below ``keep``."""
    with Lab(fault_of(case.fault).nodes) as lab:
        return perform(lab, case, keep=keep)


def perform(lab: Lab, case: Case, *, keep: Path | None = None, margin: float = MARGIN) -> Outcome:
    """Run a case in a lab with nodes enough, and judge it.

    ``margin`` forgives what is small; by how much this machine was late is forgiven as well.
    """
    fault = fault_of(case.fault)
    begun = time.monotonic()
    scene = Scene(
        lab,
        case.mode,
        families=fault.families,
        members=fault.members,
        phase=PHASES[(case.number - 1) % len(PHASES)],
        plain=case.plain,
    )
    misses: list[str]
    seen: dict[Family, Seen] = {}
    try:
        fault.story(scene)
        seen = dict(scene.seen())
        misses = [*judge(fault, case.mode, seen, margin + scene.lateness), *silent(fault, scene)]
    except Exception:  # noqa: BLE001 - one case more or less
        misses = [traceback.format_exc()]
    finally:
        scene.close()
    if keep is not None:
        _keep(keep, case, scene, misses)
    return Outcome(
        case=case,
        seen=seen,
        misses=tuple(misses),
        lateness=scene.lateness,
        seconds=time.monotonic() - begun,
    )


def judge(fault: Fault, mode: Mode, seen: dict[Family, Seen], margin: float) -> Iterator[str]:
    """Yield every aim that was missed, in words."""
    for family, each in seen.items():
        if each.two > fault.two + margin * bool(fault.two):
            yield f"{family}: two for {each.two:.2f} s, not {fault.two:g}"
        if each.none > fault.none_in(mode) + margin:
            yield f"{family}: none for {each.none:.2f} s, not {fault.none_in(mode):g}"
        if fault.client is not None and each.client > fault.client + margin:
            yield f"{family}: no answer for {each.client:.2f} s, not {fault.client:g}"
        if fault.beside is not None and each.beside > fault.beside + margin:
            yield f"{family}: {each.beside:.2f} s beside a stranger, not {fault.beside:g}"
        if each.gains > fault.gains:
            yield f"{family}: taken {each.gains} times, not {fault.gains}"
        wrong = [holders for holders in each.ends if len(holders) != (not fault.gives_way)]
        if wrong:
            yield f"{family}: ends with {' then '.join(map(_named, each.ends))}"


def silent(fault: Fault, scene: Scene) -> Iterator[str]:
    """Yield what no agent logs, and what an agent should not log."""
    logged = scene.logged()
    for text in fault.never:
        if text in logged:
            yield f"an agent logs {text!r}"
    for text in fault.logged:
        if text not in logged:
            yield f"no agent logs {text!r}"


def run_all(
    wanted: Sequence[Case], *, workers: int, keep: Path | None = None
) -> Iterator[Outcome]:
    """Run cases, ``workers`` at a time, and yield outcomes as they come."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from _outcomes(pool, wanted, keep)


def _outcomes(pool: Executor, wanted: Sequence[Case], keep: Path | None) -> Iterator[Outcome]:
    futures: dict[Future[Outcome], Case] = {
        pool.submit(run, each, keep=keep): each for each in wanted
    }
    for future in as_completed(futures):
        try:
            yield future.result()
        except Exception:  # noqa: BLE001 - a lab that cannot be built is a miss, too
            yield Outcome(case=futures[future], misses=(traceback.format_exc(),))


def _named(holders: tuple[str, ...]) -> str:
    return "+".join(holders) or "no node"


def _keep(directory: Path, case: Case, scene: Scene, misses: Sequence[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    name = f"{case.fault} {case.mode} {case.number}".replace(" ", "-").replace("/", "-")
    recorder = scene.lab.recorder
    began = scene.began - recorder.started
    parts = [*misses, f"the fault began at {began:.3f} s", recorder.describe()]
    for node in scene.members:
        parts += [f"=== {node.name}", node.stderr(), "--- stdout", node.stdout()]
    (directory / f"{name}.txt").write_text("\n".join(parts))
