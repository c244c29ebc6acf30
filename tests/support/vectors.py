"""The recorded vectors: what the shell image made of an environment on a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from ipaddress import ip_address, ip_interface
from pathlib import Path

import msgspec
from msgspec import Struct

from ipfailover_agent.model import DefaultRoute, Family, HostFacts, Interface, InterfaceAddress

VECTORS = Path(__file__).parent.parent / "golden" / "contract-vectors.json"


class RecordedInstance(Struct, frozen=True, kw_only=True):
    """One vrrp_instance of the shell image; ``unicast_peers`` None means multicast."""

    name: str
    interface: str
    virtual_router_id: int
    addresses: tuple[str, ...]
    password: str | None
    unicast_peers: tuple[str, ...] | None


class RecordedCheck(Struct, frozen=True, kw_only=True):
    """The vrrp_script of the shell image."""

    name: str
    lines: tuple[str, ...]


class RecordedImage(Struct, frozen=True, kw_only=True):
    """What the shell image made of a vector."""

    interface: str
    node_address: str
    check: RecordedCheck | None
    instances: tuple[RecordedInstance, ...]


class RecordedNode(Struct, frozen=True, kw_only=True):
    """The node that it was on, as ``host_facts`` reads it."""

    interfaces: dict[str, list[str]]
    routes: list[str]


class Vector(Struct, frozen=True, kw_only=True):
    """One recorded case.

    ``reading`` is ours: ``same`` topology as the shell image, ``refuse`` (a problem that names
    ``variable``), or ``new``: ``instances`` lists (virtual router id, addresses), and
    ``interface`` names the interface where it differs from the shell image's.
    """

    name: str
    env: dict[str, str]
    node: RecordedNode
    old_image: RecordedImage
    reading: str
    variable: str | None = None
    instances: tuple[tuple[int, tuple[str, ...]], ...] = ()
    interface: str | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def facts(self) -> HostFacts:
        """Return what the agent would have found on the node."""
        return host_facts(self.node.interfaces, self.node.routes)


@cache
def load_vectors() -> tuple[Vector, ...]:
    """Return every recorded vector, in file order."""
    return msgspec.json.decode(VECTORS.read_bytes(), type=tuple[Vector, ...])


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
