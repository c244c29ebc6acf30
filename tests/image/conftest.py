"""Fixtures of the image tests: the built image, nodes, pods, and what a failure prints."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.image import podman
from tests.image.podman import STRICT, Pod
from tests.lab.kit.lab import LABS, Lab, MakeLab, labs_of
from tests.lab.kit.namespaces import LabError
from tests.lab.kit.node import Node
from tests.lab.kit.privileges import why_impossible as why_no_lab
from tests.support import missing

_HERE = Path(__file__).parent
_PODS = pytest.StashKey[list[Pod]]()
_build = functools.cache(podman.build)


class StartPod:
    """Starts containers of the image on nodes; ``pods`` are removed after the test."""

    def __init__(self, image: str, pods: list[Pod]) -> None:
        self._image = image
        self._pods = pods

    def __call__(
        self,
        node: Node | None,
        environment: Mapping[str, str] | None = None,
        *,
        options: Sequence[str] = STRICT,
        entrypoint: str | None = None,
        command: Sequence[str] = (),
    ) -> Pod:
        """Start one; the arguments are those of ``Pod``."""
        pod = Pod(
            node, self._image, environment, options=options, entrypoint=entrypoint, command=command
        )
        self._pods.append(pod)
        return pod


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this directory that needs the image, and give it time to be built."""
    for item in items:
        if _HERE in item.path.parents and "image" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.image)
            item.add_marker(pytest.mark.timeout(900))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what every pod said and who held what."""
    report = yield
    if report.when == "call" and report.failed:
        for pod in item.stash.get(_PODS, []):
            where = pod.node.name if pod.node is not None else "nowhere"
            report.sections.append((f"{pod.name} on {where}", pod.logs()[-6000:]))
        for lab in item.stash.get(LABS, []):
            if lab.is_open:
                report.sections.append(("lab", lab.report()))
    return report


@pytest.fixture(params=[podman.SUITES[0]])
def image(request: pytest.FixtureRequest) -> str:
    """Give the name of the image, built from the Dockerfile of this checkout.

    On trixie. ``parametrize("image", SUITES, indirect=True)`` runs a test on the others too.
    """
    reason = podman.why_impossible() or why_no_lab()
    if reason is not None:
        reason = f"images are impossible: {reason}"
        missing.skip(reason, "REQUIRE_IMAGE", loudly="THE IMAGE WAS NOT TESTED: ")
    try:
        return _build(request.param)
    except LabError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def make_nodes(request: pytest.FixtureRequest, image: str) -> Iterator[MakeLab]:
    """Give a function that makes nodes on a switch (see ``Lab``), which end with the test."""
    del image  # asked for so that the test is skipped before anything is made
    yield from labs_of(request.node, functools.partial(Lab, nodes=2, ipv6=False))


@pytest.fixture
def lab(make_nodes: MakeLab) -> Lab:
    """Give two nodes, an application on each, and a client."""
    return make_nodes()


@pytest.fixture
def start(request: pytest.FixtureRequest, image: str, make_nodes: MakeLab) -> Iterator[StartPod]:
    """Give a function that starts a pod on a node, with the strictest rights if none are named."""
    del make_nodes  # asked for so that pods end before their nodes
    pods = request.node.stash.setdefault(_PODS, [])

    yield StartPod(image, pods)
    for each in pods:
        each.remove()


@pytest.fixture(scope="session", autouse=True)
def _no_abandoned_containers() -> None:
    """Remove what a killed run has left."""
    if podman.why_impossible() is None:
        podman.remove_abandoned()
