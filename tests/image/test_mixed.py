"""A cluster on its way from the old image: one node runs what the old image ran."""

from __future__ import annotations

from signal import SIGTERM

import pytest

from tests.image.conftest import StartPod
from tests.image.podman import SUITES
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, variables

# keepalived.conf as the old image makes it on the first of two nodes: it claims MASTER, which
# keepalived answers by forgetting the delay, and says neither interval nor version.
_OLD = """
vrrp_script chk_ipfailover {{
    script "/bin/bash -c '</dev/tcp/{node}/{port}'"
    interval 2
}}
vrrp_instance ipfailover_VIP_1 {{
    interface eth0
    state MASTER
    virtual_router_id 11
    priority {priority}
    preempt_delay 300
    authentication {{
        auth_type PASS
        auth_pass ipfailover
    }}
    track_script {{
        chk_ipfailover
    }}
    virtual_ipaddress {{
        {address} dev eth0
    }}
}}
"""


def start_old(lab: Lab, node: Node) -> None:
    """Start keepalived as the old image does, on a node with a high priority."""
    node.start_keepalived(
        _OLD.format(node=node.ip, port=lab.port, priority=244, address=lab.virtual(1))
    )


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_an_address_moves_from_old_to_new_and_back(start: StartPod, lab: Lab) -> None:
    """Never two holders, and a client hears a gap of a planned handover at most."""
    address = lab.virtual(1)
    old, new = lab.nodes
    start_old(lab, old)
    lab.wait_for_holder(address, among=[old], timeout=ELECTION)
    pod = start(new, variables(address, PRIORITY="100"))
    pod.wait_for_log("Entering BACKUP STATE")
    with lab.client.watch(address) as watch:
        old.signal(SIGTERM)
        lab.wait_for_holder(address, among=[new], timeout=PLANNED)
        old.wait()
        start_old(lab, old)
        lab.wait_for_holder(address, among=[old], timeout=ELECTION)
        assert pod.stop().exit_code == 0
        assert ["n1", "n2", "n1"] == watch.nodes()
    assert watch.worst_outage() < PLANNED
    # A handover by preemption: the winner announces first, the other hears it and lets go.
    assert lab.recorder.seconds_with_two(address) < 0.2
