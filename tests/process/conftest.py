"""Worlds for whole agents: a network namespace each for a test file, a directory for a test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import agent_process
from tests.support.netns import NetworkNamespace, fresh_namespace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that live in a namespace."""
    for each in items:
        if "namespace" in getattr(each, "fixturenames", ()):
            each.add_marker(pytest.mark.netns)


@pytest.fixture(scope="module")
def agent_namespace() -> Iterator[NetworkNamespace]:
    """Make a namespace in which ``veth0`` is up and holds 10.0.0.1/24."""
    with fresh_namespace() as made:
        made.join("veth0", "far0")
        made.ip("address", "add", "10.0.0.1/24", "dev", "veth0")
        yield made


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    """Enter a fresh namespace, in which no port is taken."""
    with fresh_namespace() as made, made.entered():
        yield made


@pytest.fixture
def application(namespace: NetworkNamespace) -> Iterator[socket.socket]:
    """Listen in the namespace, without blocking."""
    del namespace
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)  # noqa: FBT003 - the standard library's signature
        yield made


@pytest.fixture
def world(tmp_path: Path, agent_namespace: NetworkNamespace) -> Iterator[agent_process.World]:
    """Make a world for one test; every agent that still runs at its end stops in order."""
    with agent_process.world(tmp_path, agent_namespace) as made:
        yield made
        for agent in made.agents:
            assert agent.popen.poll() is not None or 0 == agent.stop()
