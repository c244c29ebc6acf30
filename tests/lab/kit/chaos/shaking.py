"""Stories of other speakers of the same router ids, for ten minutes each."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tests.lab.kit import raw, scenarios, speakers
from tests.lab.kit.chaos.faults import HELD, STILL, Rows
from tests.lab.kit.chaos.scene import Scene
from tests.lab.kit.node import AGENT

IDS = {4: 11, 6: 12}
_SETTLES = 5.0  # seconds after which a foreign speaker moves nothing any more
_LASTS = 600.0
ROWS = Rows()
#: Ten minutes in which another speaker of the ids moves nothing; one of them is a stranger.
_SHAKING = {
    **STILL,
    "nodes": 4,
    "members": 3,
    "logged": ("choose OPENSHIFT_HA_VRRP_ID_OFFSET=",),
    "never": HELD,
    "old": "each 3.6 s",
}


@ROWS.row("router with the same id, priority 255", 1.0, {"priority": 255}, **_SHAKING)
@ROWS.row(
    "router with the same id, 0.5 s, version 3", 0.5, {"version": 3, "interval": 0.5}, **_SHAKING
)
@ROWS.row("router with the same id, 1 s", 1.0, {}, **_SHAKING)
def router(scene: Scene, seconds: float, more: dict[str, Any]) -> None:
    _shaken(scene, lambda family: [(seconds, speakers.router(IDS[family], family, **more))])


@ROWS.row("ucarp with the same id", **_SHAKING)
def carp_device(scene: Scene) -> None:
    """The real ucarp for IPv4; for IPv6, which it does not speak, CARP's packet."""
    _shaken(scene, lambda family: [(1.0, speakers.carp(IDS[6], 6))] * (family == 6), ucarp=True)


@ROWS.row("router with the same id, by unicast", **_SHAKING)
def router_by_unicast(scene: Scene) -> None:
    def to_each(family: int) -> list[tuple[float, bytes]]:
        return [(0.5, speakers.router(IDS[family], family, to=node)) for node in scene.members]

    _shaken(scene, to_each)


@ROWS.row(
    "same id from behind a router", **{**_SHAKING, "logged": ("do not come from this segment",)}
)
def from_behind_a_router(scene: Scene) -> None:
    def to_each(family: int) -> list[tuple[float, bytes]]:
        address = scene.addresses["IPv4" if family == 4 else "IPv6"]
        return [(0.5, speakers.routed(IDS[family], address, node)) for node in scene.members]

    _shaken(scene, to_each)


@ROWS.row("a second cluster, one offset", **{**_SHAKING, "nodes": 5})
def second_cluster(scene: Scene) -> None:
    """The strangers are a cluster of agents with the same offset."""
    scene.serve()
    for node in scene.strangers:
        node.start(scenarios.variables(*_others(scene), CONFIG_NAME="other"))
    _watch(scene)


@ROWS.row("a second deployment on the nodes", **{**_SHAKING, "nodes": 3, "old": ""})
def second_deployment(scene: Scene) -> None:
    """Each member has another deployment, with the same offset; both masters on one."""
    scene.serve()
    for node in scene.members:
        priority = scene.variables(node)["OPENSHIFT_HA_PRIORITY"]
        values = {"CONFIG_NAME": "other", "PRIORITY": priority}
        node.start_beside(AGENT, scenarios.variables(*_others(scene), **values))
        if node is scene.holder:
            _until_held(scene)
    _watch(scene)


@ROWS.row("the nodes' own keepalived, same ids", **{**_SHAKING, "nodes": 3, "old": ""})
def own_keepalived(scene: Scene) -> None:
    """Each member has a keepalived of its own, for other addresses with the same ids."""
    scene.serve()
    for place, node in enumerate(scene.members):
        configs = (
            raw.keepalived_config(
                address,
                priority=200 - 20 * place,
                virtual_router_id=IDS[family],
                name=f"other{family}",
            )
            for family, address in zip((4, 6), _others(scene), strict=True)
        )
        node.start_keepalived_beside(raw.joined(configs))
        if node is scene.holder:
            _until_held(scene)
    _watch(scene)
    for address in _others(scene):
        if scene.lab.recorder.seconds_with_two(address, since=scene.began):
            raise AssertionError(f"{address} of the other program was on two nodes")


def _others(scene: Scene) -> tuple[str, str]:
    return scene.lab.virtual(2), scene.lab.virtual6(2)


def _until_held(scene: Scene) -> None:
    """Wait until the first node has the other program's addresses, beside the agents'."""
    holders = scene.lab.recorder.holders
    scene.until(
        lambda: all(holders(each) == [scene.holder.name] for each in _others(scene)),
        scenarios.ELECTION,
        "the other program serves on the first node",
    )


def _shaken(
    scene: Scene, frames: Callable[[int], list[tuple[float, bytes]]], *, ucarp: bool = False
) -> None:
    scene.serve()
    [stranger] = scene.strangers
    with ExitStack() as stack:
        every = [*frames(4), *frames(6)]
        if every:
            stack.enter_context(speakers.speaking(stranger, every))
        if ucarp:
            stack.enter_context(speakers.ucarp(stranger, IDS[4]))
        _watch(scene)


def _watch(scene: Scene) -> None:
    time.sleep(_SETTLES)
    scene.begins()
    scene.watch(_LASTS)
