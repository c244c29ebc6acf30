"""An agent that reloads by itself: its source changes, or its node does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.agent_process import SHORT, AgentProcess, World

pytestmark = pytest.mark.netns

QUICK = {**SHORT, "source_interval": 0.2, "node_interval": 0.3}
LOOKS = 8  # by then a change would have been handled more than once


@pytest.fixture(autouse=True)
def _as_before(world: World) -> Iterator[None]:
    """Give the node back its address: other tests use the namespace too."""
    yield
    names = world.namespace.ip("-brief", "link", "show")
    if "renamed0" in names:
        world.namespace.ip("link", "set", "renamed0", "down")
        world.namespace.ip("link", "set", "renamed0", "name", "veth0")
    if "other0" in names:
        world.namespace.ip("link", "del", "other0")
    world.namespace.ip("address", "flush", "dev", "veth0", "scope", "global")
    world.namespace.ip("address", "add", "10.0.0.1/24", "dev", "veth0")
    world.namespace.ip("link", "set", "veth0", "up")


def watching(world: World, **options: Any) -> AgentProcess:  # noqa: ANN401 - those of start
    """Return a running agent that looks often."""
    if not world.config_file.exists():
        world.write(VIRTUAL_IPS="10.0.0.101-102")
    return world.running(**{"policy": QUICK, "reads_file": True, "watches": True, **options})


def wait_for_looks(agent: AgentProcess) -> None:
    """Wait until several looks have passed: each leaves nothing behind but time."""
    marker = agent.status["written_at"]
    count = 0

    def passed() -> bool:
        nonlocal count
        agent.popen.poll()
        count += 1
        return count > LOOKS * 10  # of 20 ms each

    assert marker
    agent.wait_for(passed, timeout=10)


def reloads(agent: AgentProcess) -> int:
    return int(agent.status["reload"]["ended"])


def test_a_changed_file_is_applied_once(world: World) -> None:
    """Replaced in one step: accepted, and looked at no more."""
    agent = watching(world)
    world.write(VIRTUAL_IPS="10.0.0.101-103")
    verdict = agent.wait_for_reloads(1)
    assert ("accepted", ["10.0.0.103 is added"]) == (verdict["verdict"], verdict["lines"])
    wait_for_looks(agent)
    assert (1, 1) == (reloads(agent), world.fake.count("SIGHUP"))
    assert 1 == agent.log.count("event=source.changed")


def test_a_file_that_is_edited_in_place_is_applied_when_it_is_whole(world: World) -> None:
    """Half a line is not read: what counts has to be the same for two looks."""
    agent = watching(world, policy={**QUICK, "source_interval": 1.0})
    with world.config_file.open("w", encoding="utf-8") as file:
        file.write("OPENSHIFT_HA_VIRTUAL_IPS=10.0.0.1")
        file.flush()
        file.write("01-104\n")
    verdict = agent.wait_for_reloads(1)
    assert ["10.0.0.103 is added", "10.0.0.104 is added"] == verdict["lines"]


def test_a_file_that_vanishes_is_refused_in_words_once(world: World) -> None:
    """Everything runs on; when it is back, that is no change either."""
    agent = watching(world)
    hidden = world.config_file.with_suffix(".hidden")
    world.config_file.rename(hidden)
    assert "refused" == agent.wait_for_reloads(1)["verdict"]
    assert "cannot be read: No such file or directory" in agent.status["reload"]["lines"][0]
    wait_for_looks(agent)
    assert (1, 2) == (reloads(agent), len(agent.status["instances"]))
    hidden.rename(world.config_file)
    assert "unchanged" == agent.wait_for_reloads(2)["verdict"]
    assert 0 == world.fake.count("SIGHUP")


def test_a_refused_candidate_is_not_tried_again_until_it_changes(world: World) -> None:
    """One refusal per edit, however often it is looked at."""
    agent = watching(world)
    world.write(VIRTUAL_IPS="10.0.0.300")
    assert "refused" == agent.wait_for_reloads(1)["verdict"]
    wait_for_looks(agent)
    assert 1 == reloads(agent)
    world.write(VIRTUAL_IPS="10.0.0.101")
    assert "accepted" == agent.wait_for_reloads(2)["verdict"]


def test_a_reload_by_signal_in_between_is_not_done_twice(world: World) -> None:
    """The signal reads what was changed; the looks after it find nothing new."""
    agent = watching(world, policy={**QUICK, "source_interval": 1.0})
    assert "accepted" == agent.reloaded(VIRTUAL_IPS="10.0.0.101-103")[0]
    agent.wait_for(lambda: True)
    wait_for_looks(agent)
    assert 1 == reloads(agent)
    assert "source.changed" not in agent.log


def test_a_mounted_configmap_that_is_swapped_is_applied(world: World) -> None:
    """The link ..data points elsewhere, as the kubelet does it."""
    mounted = world.directory / "configmap"
    for name, ips in (("..1", "10.0.0.101"), ("..2", "10.0.0.102")):
        (mounted / name).mkdir(parents=True)
        (mounted / name / "OPENSHIFT_HA_VIRTUAL_IPS").write_text(f"{ips}\n", encoding="utf-8")
    (mounted / "..data").symlink_to("..1")
    (mounted / "OPENSHIFT_HA_VIRTUAL_IPS").symlink_to("..data/OPENSHIFT_HA_VIRTUAL_IPS")
    world.config_file.symlink_to(mounted)
    agent = watching(world)
    (mounted / "..new").symlink_to("..2")
    (mounted / "..new").replace(mounted / "..data")
    verdict = agent.wait_for_reloads(1)
    assert ["10.0.0.102 is added", "10.0.0.101 is removed"] == verdict["lines"][:2]


def test_watching_can_be_switched_off(world: World) -> None:
    """IPFAILOVER_WATCH=false: neither the file nor the node is looked at."""
    world.write(VIRTUAL_IPS="10.0.0.101-102")
    agent = world.start(
        "--config", str(world.config_file), environment={"IPFAILOVER_WATCH": "false"}
    )
    agent.wait_for_phase("running")
    world.write(VIRTUAL_IPS="10.0.0.101-103")
    world.namespace.ip("address", "del", "10.0.0.1/24", "dev", "veth0")
    world.namespace.ip("address", "add", "10.0.0.77/24", "dev", "veth0")
    wait_for_looks(agent)
    agent.wait_for(lambda: True)
    assert 0 == reloads(agent)


def test_another_address_of_the_node_is_a_candidate(world: World) -> None:
    """As DHCP does it: the check asks the new one, and the reload says so by itself."""
    agent = watching(world)
    world.namespace.ip("address", "del", "10.0.0.1/24", "dev", "veth0")
    world.namespace.ip("address", "add", "10.0.0.77/24", "dev", "veth0")
    assert "accepted" == agent.wait_for_reloads(1)["verdict"]
    assert "port 80 of 10.0.0.77" in world.keepalived_conf.read_text(encoding="utf-8")
    assert "event=node.changed" in agent.log
    wait_for_looks(agent)
    assert 1 == reloads(agent)


def test_what_does_not_concern_the_plan_is_passed_over(world: World) -> None:
    """A container's interface comes and goes every other second on some nodes."""
    agent = watching(world)
    world.namespace.ip("link", "add", "other0", "type", "veth", "peer", "name", "other1")
    world.namespace.ip("address", "add", "10.0.0.101/32", "dev", "veth0", "label", "veth0:vip")
    wait_for_looks(agent)
    assert 0 == reloads(agent)
    world.namespace.ip("link", "del", "other0")
    world.namespace.ip("address", "del", "10.0.0.101/32", "dev", "veth0")


def test_an_interface_that_vanishes_is_refused_once_and_never_an_end(world: World) -> None:
    """Renamed: the agent runs on, says what is missing, and takes it back."""
    agent = watching(world, environment={"OPENSHIFT_HA_NETWORK_INTERFACE": "veth0"})
    world.namespace.ip("link", "set", "veth0", "down")
    world.namespace.ip("link", "set", "veth0", "name", "renamed0")
    assert "refused" == agent.wait_for_reloads(1)["verdict"]
    wait_for_looks(agent)
    assert (1, "running") == (reloads(agent), agent.status["phase"])
    world.namespace.ip("link", "set", "renamed0", "name", "veth0")
    world.namespace.ip("link", "set", "veth0", "up")
    wait_for_looks(agent)
    assert "running" == agent.status["phase"]
