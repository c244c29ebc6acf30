"""Fixtures of the lab, and what is printed when a test in it fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.lab.kit.former import former_agent
from tests.lab.kit.lab import LABS, Lab, MakeLab, labs_of
from tests.lab.kit.node import Node
from tests.lab.kit.privileges import why_impossible
from tests.support import missing

__all__ = ["former_agent"]

_HERE = Path(__file__).parent
_NO_LABS: list[Lab] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this directory that makes a lab."""
    for item in items:
        if _HERE in item.path.parents and {"lab", "make_lab"} & set(_fixtures(item)):
            item.add_marker(pytest.mark.netns)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what every node logged and which node held what."""
    report = yield
    labs = item.stash.get(LABS, _NO_LABS)
    for number, lab in enumerate(labs, start=1):
        if report.when == "call" and report.failed and lab.is_open:
            report.sections.append((f"lab {number}", lab.report()))
    return report


@pytest.fixture
def make_lab(request: pytest.FixtureRequest) -> Iterator[MakeLab]:
    """Give a function that makes labs (see ``Lab``), which end with the test."""
    _require_namespaces()
    yield from labs_of(request.node)


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """Give a lab of three nodes on which nothing but the applications runs."""
    return make_lab()


@pytest.fixture
def pair(make_lab: MakeLab) -> Lab:
    """Give a lab of two nodes."""
    return make_lab(2)


@pytest.fixture
def lone(make_lab: MakeLab) -> Lab:
    """Give a lab of one node."""
    return make_lab(1)


@pytest.fixture
def node(lone: Lab) -> Node:
    """Give the node of the lab of one."""
    return lone.nodes[0]


def _require_namespaces() -> None:
    """Skip loudly where the lab is impossible; fail where it was asked for."""
    reason = why_impossible()
    if reason is not None:
        reason = f"the lab is impossible: {reason}"
        missing.skip(reason, "REQUIRE_NETNS", loudly="THE LAB DID NOT RUN: ")


def _fixtures(item: pytest.Item) -> tuple[str, ...]:
    return tuple(getattr(item, "fixturenames", ()))
