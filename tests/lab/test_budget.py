"""The times that ``check`` and the line at start promise, against what really happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ipfailover_agent.config import budget, settings
from ipfailover_agent.config.budget import Budget
from ipfailover_agent.config.planner import plan
from tests.lab.kit.chaos import alarms, stories
from tests.lab.kit.chaos.scene import MODES, Mode, Scene
from tests.lab.kit.lab import MakeLab
from tests.support.vectors import host_facts

_MARGIN = 0.25  # seconds, on a machine with nothing else to do


def promised(scene: Scene, **more: str) -> Budget:
    """Return the budget of the holder, whose priorities are those that it would compute."""
    node = scene.holder
    parsed = settings.parse({**scene.variables(node, **more, PRIORITY="")})
    facts = host_facts(
        {"eth0": [f"{node.ip}/24", f"{node.ipv6}/64"]}, [f"default via {node.ip} dev eth0"]
    )
    return budget.compute(parsed, plan(parsed, facts))


def margin(scene: Scene) -> float:
    """Return the seconds by which this machine may exceed a promise, its lateness included."""
    return _MARGIN + scene.lateness


def taken_after(scene: Scene) -> float:
    """Return when the last address had another holder, in seconds from the fault."""
    return max(
        each.time - scene.began
        for address in scene.addresses.values()
        for each in scene.lab.recorder.changes(address, since=scene.began)
        if each.held
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_planned_stop_takes_no_longer_than_promised(make_lab: MakeLab, mode: Mode) -> None:
    """The next node waits for its skew only."""
    scene = Scene(make_lab(3), mode)
    stories.planned_stop(scene)
    worst = max(each.none for _, each in scene.seen())
    assert 0 < worst <= promised(scene).planned_stop + margin(scene)


def test_a_failed_check_takes_no_longer_than_promised(make_lab: MakeLab) -> None:
    """From the death of the application to the address on another node."""
    scene = Scene(make_lab(3), "multicast")
    stories.application_dies(scene)
    scene.close()
    allowed = promised(scene).failed_check
    assert allowed is not None
    assert 0 < taken_after(scene) <= allowed + margin(scene)


def holders_are(scene: Scene, *names: str) -> bool:
    """Tell whether these nodes hold every address."""
    holders = scene.lab.recorder.holders
    return all(holders(each) == list(names) for each in scene.addresses.values())


def is_held(scene: Scene) -> bool:
    """Tell whether every instance of the successor is held."""
    told = scene.successor.stderr()
    return told.count("event=contest.held ") >= len(scene.addresses)


@pytest.mark.slow
def test_a_silent_death_beside_a_held_successor_takes_no_longer_than_promised(
    make_lab: MakeLab,
) -> None:
    """Firewalls drop VRRP, so that the next node yielded; then the holder's container dies."""
    scene = Scene(make_lab(2), "multicast")
    scene.serve()
    for node in scene.members:
        node.firewall("in")
    scene.until(lambda: is_held(scene), 12, "the successor is held")
    scene.until(lambda: holders_are(scene, "n1"), 5, "n1 alone holds everything")
    scene.begins()
    scene.holder.kill()
    scene.until(lambda: holders_are(scene, "n2"), 15, "n2 alone holds everything")
    scene.watch(0)
    allowed = promised(scene).silent_death_held
    assert 0 < taken_after(scene) <= allowed + margin(scene)
    assert max(each.none for _, each in scene.seen()) <= allowed + margin(scene)


def dropped_by_firewalls(scene: Scene) -> None:
    """Every node drops the adverts that it receives; the agents see them."""
    for node in scene.members:
        node.firewall("in")


def dropped_by_the_switch(scene: Scene) -> None:
    """No advert arrives anywhere."""
    scene.lab.switch.drop_vrrp()


@pytest.mark.parametrize("fault", [dropped_by_firewalls, dropped_by_the_switch])
def test_two_holders_are_no_longer_two_than_promised(
    make_lab: MakeLab, fault: Callable[[Scene], None]
) -> None:
    """Nodes do not accept each other, or do not hear each other at all: one yields."""
    scene = Scene(make_lab(2), "multicast")
    scene.serve()
    scene.begins()
    fault(scene)
    scene.until(lambda: is_held(scene), 12, "the successor is held")
    scene.until(lambda: holders_are(scene, "n1"), 5, "n1 alone holds everything")
    scene.watch(0)
    allowed = promised(scene).two_holders
    assert allowed is not None
    assert 0 < max(each.two for _, each in scene.seen()) <= allowed + margin(scene)


@pytest.mark.slow
@pytest.mark.parametrize("timing", [{}, alarms.FAST], ids=["by default", "fast"])
def test_a_silent_death_takes_no_longer_than_promised(
    make_lab: MakeLab, timing: dict[str, str]
) -> None:
    """The container is killed: neither no holder nor two for longer."""
    scene = Scene(make_lab(3), "multicast")
    stories.container_killed(scene, timing)
    seen = [each for _, each in scene.seen()]
    times = promised(scene, **timing)
    assert times.two_after_death is not None
    assert 0 < taken_after(scene) <= times.silent_death + margin(scene)
    assert max(each.none for each in seen) <= times.silent_death + margin(scene)
    assert max(each.two for each in seen) <= times.two_after_death + margin(scene)
