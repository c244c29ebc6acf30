"""The model of the shell image against its recordings."""

from __future__ import annotations

import pytest

from ipfailover_agent.core import old_reading
from tests.support.vectors import RecordedInstance, Vector, host_facts, load_vectors

NODE = host_facts({"ens3": ["192.168.55.10/24"]})


@pytest.mark.parametrize("vector", load_vectors(), ids=str)
def test_every_recorded_vector_is_reproduced(vector: Vector) -> None:
    """Interface, node address, names, ids, addresses, password and peers are as recorded."""
    reading = old_reading.read(vector.env, vector.facts)

    assert vector.old_image.interface == reading.interface
    assert vector.old_image.node_address == reading.node_address
    assert vector.old_image.instances == tuple(
        RecordedInstance(
            name=each.name,
            interface=each.interface,
            virtual_router_id=each.virtual_router_id,
            addresses=each.addresses,
            password=each.password,
            unicast_peers=each.unicast_peers,
        )
        for each in reading.instances
    )
