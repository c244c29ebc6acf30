"""The commands beside the agent, in a container that has been given next to nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.image.conftest import StartPod
from tests.image.podman import STRICT, Pod
from tests.lab.kit.lab import Lab
from tests.lab.kit.scenarios import ELECTION, PLANNED, variables
from tests.support.waiting import wait_until

_NOEXEC = (*STRICT[:-1], "/run:rw,noexec,nosuid,nodev")


def say(pod: Pod, *words: str, code: int = 0) -> str:
    """Return what a command prints; it must end with that code and without a complaint."""
    done: subprocess.CompletedProcess[str] = pod.run("ipfailover-agent", *words, timeout=60)
    assert (code, "") == (done.returncode, done.stderr), (words, done.stdout)
    return done.stdout


def test_every_command_works_beside_the_agent(start: StartPod, lab: Lab) -> None:
    """With NET_ADMIN and NET_RAW alone, a read-only root, and /run on a tmpfs with noexec."""
    address = lab.virtual(1)
    first, second = lab.nodes
    settings = variables(address, PREEMPTION="preempt")
    pod = start(first, {**settings, "OPENSHIFT_HA_PRIORITY": "200"}, options=_NOEXEC)
    lab.wait_for_holder(address, among=[first], timeout=ELECTION)
    other = start(second, {**settings, "OPENSHIFT_HA_PRIORITY": "100"}, options=_NOEXEC)
    other.wait_for_log("Entering BACKUP STATE")

    mounted = pod.run("sh", "-c", "grep ' /run ' /proc/mounts").stdout
    assert "noexec" in mounted
    assert "MASTER" in say(pod, "status")
    assert "BACKUP -> MASTER" in say(pod, "events")
    assert "1 address on eth0" in say(pod, "check")
    assert f'{address}/32 dev "eth0"' in say(pod, "render")
    assert "nothing would change" in say(pod, "plan")
    found = json.loads(say(pod, "doctor", "--json", "--seconds", "2"))["findings"]
    told = {each["check"]: each for each in found}
    assert {"capabilities", "keepalived", "agent", "firewall", "cpu"} <= told.keys()
    del told["cpu"]  # is that of the machine
    assert [] == [each for each in told.values() if each["verdict"] not in {"pass", "skip"}]

    assert f"{second.ip} had everything" in say(pod, "drill")
    lab.wait_for_holder(address, among=[first], timeout=ELECTION)
    assert f"{second.ip} has taken over" in say(pod, "drain")
    lab.wait_for_holder(address, among=[second], timeout=PLANNED)
    assert "drained" in say(pod, "status")
    assert "may serve again" in say(pod, "undrain")
    lab.wait_for_holder(address, among=[first], timeout=ELECTION)
    assert say(pod, "reload").startswith("reload unchanged")
    assert lab.recorder.seconds_with_two(address) < 0.2


def test_probes_by_http_are_answered_in_the_container_and_nowhere_else(
    start: StartPod, lab: Lab
) -> None:
    """By default the agent listens on the loopback: curl there works, the network is refused."""
    node = lab.nodes[0]
    pod = start(node, variables(lab.virtual(1)), options=_NOEXEC)
    lab.wait_for_holder(lab.virtual(1), timeout=ELECTION)

    def asks(url: str) -> int:
        return pod.run("curl", "-fsS", "-m", "5", "-o", "/dev/null", url).returncode

    local, outside = "http://127.0.0.1:63000", f"http://{node.ip}:63000"
    wait_until(lambda: asks(f"{local}/readyz?config=ipfailover") == 0, 5, "ready")
    assert [0, 0, 0, 0] == [asks(f"{local}/{each}") for each in ("livez", "metrics", "status", "")]
    assert [22, 22] == [asks(f"{local}/{each}?config=other") for each in ("livez", "readyz")]
    assert asks(f"{outside}/livez") == 7


def test_what_works_where_no_agent_runs(start: StartPod, lab: Lab, tmp_path: Path) -> None:
    """``check`` and ``doctor`` before the first start, and events of an agent that crashed."""
    node, settings = lab.nodes[0], variables(lab.virtual(1))
    options = (*STRICT, "--volume", f"{tmp_path}:/run/ipfailover-agent")

    def once(*words: str) -> str:
        pod = start(node, settings, options=options, entrypoint="ipfailover-agent", command=words)
        assert pod.wait() == 0, pod.logs()
        return pod.logs()

    assert "run would serve 1 address" in once("check")
    assert "pass  agent: none runs" in once("doctor", "--seconds", "2")
    pod = start(node, settings, options=options)
    lab.wait_for_holder(lab.virtual(1), timeout=ELECTION)
    pod.wait_for_log("previous=BACKUP state=MASTER")
    pod.crash()
    assert "BACKUP -> MASTER" in once("events")
