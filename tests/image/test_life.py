"""A pod's life: crash, configuration, roll-outs, as a client and the nodes' kernels see it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.image.conftest import StartPod
from tests.image.podman import STRICT, SUITES, Pod
from tests.lab.kit.client import Watch
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, UNPLANNED, ConfigMap, variables
from tests.support.waiting import wait_until

_READY = "running, ready"
_WALL = """
table inet wall {
    chain input { type filter hook input priority 0; policy accept; meta l4proto 112 drop; }
}
"""


def rules(node: Node) -> str:
    """Return a node's firewall, without counters."""
    return node.run(["nft", "--stateless", "list", "ruleset"]).stdout


def wait_until_it_serves(pod: Pod) -> None:
    """Wait until every instance of the pod has been elected or stands by."""

    def serves() -> bool:
        said = pod.run("ipfailover-agent", "status").stdout
        return said.startswith(_READY) and " INIT  " not in said

    wait_until(serves, ELECTION, f"{pod.name} serves", interval=0.2)


def unanswered(watch: Watch) -> set[int]:
    """Return the questions that nobody answered, but for those that are still on their way."""
    answered = {each.sequence for each in watch.answers}
    return set(range(min(answered), max(answered))) - answered


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_a_killed_container_leaves_no_trace_once_it_is_started_again(
    start: StartPod, lab: Lab
) -> None:
    """Without a lease SIGKILL leaves the address; the restarted container removes it first."""
    address = lab.virtual(1)
    settings = variables(address, PREEMPTION="nopreempt", ADDRESS_LEASE="0")
    first, second = lab.nodes
    pod = start(first, settings)
    lab.wait_for_holder(address, timeout=ELECTION)
    start(second, settings).wait_for_log("Entering BACKUP STATE")
    pod.crash()
    wait_until(
        lambda: lab.recorder.holders(address) == ["n1", "n2"],
        UNPLANNED,
        "the other node takes over, and the dead one still has the address",
    )
    pod.start_again()
    pod.wait_for_log("addresses.released")
    lab.wait_for_holder(address, among=[second], timeout=3)
    assert lab.client.ask(address) == "n2"


def test_a_configuration_error_ends_it_with_78_and_a_last_line_that_says_what_to_write(
    start: StartPod, lab: Lab
) -> None:
    """The last line is what the platform shows of a container that ended."""
    pod = start(lab.nodes[0], variables("192.0.2.101/24"))
    assert pod.wait() == 78
    last = pod.logs().strip().splitlines()[-1]
    assert "event=agent.stopped exit_code=78" in last
    assert "OPENSHIFT_HA_VIRTUAL_IPS: '192.0.2.101/24'" in last
    assert "write '192.0.2.101'" in last


@pytest.mark.parametrize("missing", ["NET_ADMIN", "NET_RAW"])
def test_a_missing_capability_ends_it_with_77_and_its_name(
    start: StartPod, lab: Lab, missing: str
) -> None:
    """keepalived itself goes on without it and never holds an address."""
    kept = {"NET_ADMIN", "NET_RAW"} - {missing}
    options = ("--cap-drop", "ALL", "--cap-add", *kept)
    pod = start(lab.nodes[0], variables(lab.virtual(1)), options=options)
    assert pod.wait() == 77
    assert f"{missing} is missing" in pod.logs().strip().splitlines()[-1]


def test_a_roll_out_node_by_node_costs_a_client_next_to_nothing(start: StartPod, lab: Lab) -> None:
    """RollingUpdate with maxSurge 0 and maxUnavailable 1: the old pod first, then the new one."""
    address = lab.virtual(1)
    pods = {each.name: start(each, variables(address)) for each in lab.nodes}
    lab.wait_for_holder(address, timeout=ELECTION)
    for each in pods.values():
        wait_until_it_serves(each)
    with lab.client.watch(address) as watch:
        for node in lab.nodes:
            assert pods[node.name].stop().exit_code == 0
            wait_until_it_serves(start(node, variables(address, CHECK_FALL="2")))
        lab.wait_for_holder(address, timeout=ELECTION)
    assert watch.worst_outage() < PLANNED
    assert lab.recorder.seconds_with_two(address) == 0
    print(f"RollingUpdate: silent for {watch.worst_outage():.2f} s")


def test_a_roll_out_of_all_at_once_costs_an_election(start: StartPod, lab: Lab) -> None:
    """Recreate, as the old manifests have it: all stop, then all start."""
    address = lab.virtual(1)
    pods = [start(each, variables(address)) for each in lab.nodes]
    lab.wait_for_holder(address, timeout=ELECTION)
    with lab.client.watch(address) as watch:
        for each in pods:
            assert each.stop().exit_code == 0
        assert not lab.recorder.holders(address)
        for node in lab.nodes:
            start(node, variables(address, CHECK_FALL="2"))
        wait_until(watch.answering, ELECTION, "an answer again")
        lab.wait_for_holder(address, timeout=ELECTION)
    assert 3 < watch.worst_outage() < ELECTION
    print(f"Recreate: silent for {watch.worst_outage():.2f} s")


@pytest.mark.parametrize(
    ("image", "is_asked"),
    [
        pytest.param("trixie", False, id="trixie, by itself"),
        pytest.param("bookworm", False, id="bookworm, by itself"),
        pytest.param("trixie", True, id="trixie, SIGHUP"),
    ],
    indirect=["image"],
)
def test_a_changed_configmap_loses_no_question(
    start: StartPod, lab: Lab, tmp_path: Path, *, is_asked: bool
) -> None:
    """An address is appended on both nodes while a client asks: within 6 s, if nobody says so."""
    config = ConfigMap(tmp_path / "config", variables(lab.virtual(1)))
    options = (*STRICT, "--volume", f"{config.path}:/etc/ipfailover:ro")
    source = {"IPFAILOVER_CONFIG": "/etc/ipfailover"}
    pods = [start(each, source, options=options) for each in lab.nodes]
    holder = lab.wait_for_holder(lab.virtual(1), timeout=ELECTION)
    for each in pods:
        wait_until_it_serves(each)
    with lab.client.watch(lab.virtual(1), interval=0.01) as watch:
        changed = time.monotonic()
        config.write(variables(lab.virtual(1), lab.virtual(2)))
        for each in pods:
            if is_asked:
                each.signal("HUP")
            each.wait_for_log("reload.accepted", timeout=6)
            print(f"{each.name}: applied {time.monotonic() - changed:.1f} s after the change")
        lab.wait_for_holder(lab.virtual(2), timeout=ELECTION)
        wait_until(lambda: len(watch.answers) > 300, 10, "300 answers")
    assert set() == unanswered(watch)
    assert [holder.name] == watch.nodes()
    assert lab.recorder.seconds_with_two(lab.virtual(1)) == 0
    for each in pods:
        assert is_asked == ("signal.received" in each.logs())


def test_it_starts_at_once_where_no_name_server_answers(start: StartPod, lab: Lab) -> None:
    """keepalived asked for its own name at each test and start: 6 to 20 seconds each."""
    options = (*STRICT, "--dns", "192.0.2.199", "--hostname", "node.example.invalid")
    pod = start(lab.nodes[0], variables(lab.virtual(1)), options=options)
    pod.wait_for_log("Entering BACKUP STATE", timeout=3)


def test_nothing_of_keepalived_runs_while_there_is_nothing_to_serve(
    start: StartPod, lab: Lab, tmp_path: Path
) -> None:
    """So that the probe pgrep keepalived fails; and it succeeds once the file is mended."""
    file = tmp_path / "variables"
    file.write_text("OPENSHIFT_HA_VIRTUAL_IPS=nonsense\n")
    options = (*STRICT, "--volume", f"{tmp_path}:/config:ro")
    pod = start(lab.nodes[0], {"IPFAILOVER_CONFIG": "/config/variables"}, options=options)
    pod.wait_for_log("config.rejected")
    assert pod.run("pgrep", "keepalived").returncode == 1
    assert pod.run("ipfailover-agent", "status").returncode == 1
    lines = [f"{name}={value}" for name, value in variables(lab.virtual(1)).items()]
    file.write_text("\n".join(lines))
    lab.wait_for_holder(lab.virtual(1), timeout=ELECTION)
    assert pod.run("pgrep", "keepalived").returncode == 0
    assert pod.run("ipfailover-agent", "status").returncode == 0


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_a_job_on_the_node_removes_what_a_killed_pod_left(start: StartPod, lab: Lab) -> None:
    """An address without a lease and a firewall rule: with the variables and NET_ADMIN alone."""
    node = lab.nodes[0]
    node.nft(_WALL)
    before = rules(node)
    settings = variables(lab.virtual(1), ADDRESS_LEASE="0", NFTABLES_RULE="true")
    pod = start(node, settings)
    pod.wait_for_log("firewall.rule_inserted")
    lab.wait_for_holder(lab.virtual(1), timeout=ELECTION)
    pod.crash()
    assert ["n1"] == lab.recorder.holders(lab.virtual(1))
    assert before != rules(node)
    job = start(
        node,
        settings,
        options=("--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--read-only", "--tmpfs", "/run"),
        entrypoint="/var/lib/ipfailover/keepalived/remove-failover.sh",
    )
    assert job.wait() == 0
    assert f"removed {lab.virtual(1)}/32 on eth0" in job.logs()
    assert not lab.recorder.holders(lab.virtual(1))
    assert before == rules(node)
