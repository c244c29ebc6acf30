"""The recorded vectors: what the shell image made of an environment on a node."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfailover_agent.model import DefaultRoute, Family, HostFacts, Interface, InterfaceAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

VECTORS = Path(__file__).parent.parent / "golden" / "contract-vectors.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedInstance:
    """One vrrp_instance of the shell image; ``unicast_peers`` None means multicast."""

    name: str
    interface: str
    virtual_router_id: int
    addresses: tuple[str, ...]
    password: str | None
    unicast_peers: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedImage:
    """What the shell image made of a vector; ``check`` holds the lines of its vrrp_script."""

    interface: str
    node_address: str
    check_name: str | None
    check: tuple[str, ...]
    instances: tuple[RecordedInstance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One recorded case.

    ``reading`` is ours: ``same`` topology as the shell image, ``refuse`` (a problem that names
    ``variable``), or ``new``: ``instances`` lists (virtual router id, addresses), and
    ``interface`` names the interface where it differs from the shell image's.
    """

    name: str
    env: Mapping[str, str]
    facts: HostFacts
    old_image: RecordedImage
    reading: str
    variable: str | None
    instances: tuple[tuple[int, tuple[str, ...]], ...]
    interface: str | None

    def __str__(self) -> str:
        return self.name


@cache
def load_vectors() -> tuple[Vector, ...]:
    """Return every recorded vector, in file order."""
    return tuple(_vector(raw) for raw in json.loads(VECTORS.read_text(encoding="utf-8")))


def _vector(raw: Mapping[str, Any]) -> Vector:
    return Vector(
        name=raw["name"],
        env=raw["env"],
        facts=host_facts(raw["node"]["interfaces"], raw["node"]["routes"]),
        old_image=_image(raw["old_image"]),
        reading=raw["reading"],
        variable=raw.get("variable"),
        instances=tuple((number, tuple(each)) for number, each in raw.get("instances", ())),
        interface=raw.get("interface"),
    )


def _image(raw: Mapping[str, Any]) -> RecordedImage:
    check = raw["check"]
    return RecordedImage(
        interface=raw["interface"],
        node_address=raw["node_address"],
        check_name=check["name"] if check else None,
        check=tuple(check["lines"]) if check else (),
        instances=tuple(_instance(each) for each in raw["instances"]),
    )


def _instance(raw: Mapping[str, Any]) -> RecordedInstance:
    peers = raw["unicast_peers"]
    return RecordedInstance(
        name=raw["name"],
        interface=raw["interface"],
        virtual_router_id=raw["virtual_router_id"],
        addresses=tuple(raw["addresses"]),
        password=raw["password"],
        unicast_peers=None if peers is None else tuple(peers),
    )


def host_facts(interfaces: Mapping[str, Sequence[str]], routes: Iterable[str] = ()) -> HostFacts:
    """Return facts of a node from ``{"ens3": ["192.0.2.1/24"]}`` and ``ip route`` lines."""
    return HostFacts(
        interfaces=tuple(
            Interface(name=name, index=index, addresses=tuple(map(_address, addresses)))
            for index, (name, addresses) in enumerate(interfaces.items(), start=2)
        ),
        default_routes=tuple(_default_route(line) for line in routes),
    )


def _address(text: str) -> InterfaceAddress:
    parsed = ip_interface(text)
    return InterfaceAddress(address=parsed.ip, prefix_length=parsed.network.prefixlen)


def _default_route(line: str) -> DefaultRoute:
    """Parse ``default via GATEWAY dev NAME [src ADDRESS] [metric N]``."""
    words = line.split()
    options = dict(zip(words[1::2], words[2::2], strict=False))
    gateway = ip_address(options["via"])
    return DefaultRoute(
        family=Family(gateway.version),
        interface=options["dev"],
        metric=int(options.get("metric", 0)),
        source=ip_address(options["src"]) if "src" in options else None,
        gateway=gateway,
    )
