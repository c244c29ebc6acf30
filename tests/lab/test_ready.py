"""Ready has one meaning, wherever one looks: status, its exit code, probes, metrics, the page."""

from __future__ import annotations

import pytest

from tests.lab.kit.container import PROJECT
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION
from tests.lab.test_http import fetch, metric
from tests.support import manifests
from tests.support.waiting import wait_until


def probe_of_the_example() -> list[str]:
    """Return the command with which the kubelet asks in examples/kubernetes."""
    daemon_set = manifests.find(manifests.kustomize("kubernetes"), "DaemonSet")
    [container] = daemon_set["spec"]["template"]["spec"]["containers"]
    assert ["ipfailover-ready"] == container["readinessProbe"]["exec"]["command"]
    return [str(PROJECT / "image" / "ready.sh")]  # the image has it under that name


def words(node: Node) -> dict[str, bool]:
    """Return who says that the node is ready."""
    shown = node.ask("status")
    head = shown.stdout.splitlines()[0]
    return {
        "status": ", ready, " in head,
        "its exit code": shown.returncode == 0,
        "status.json": node.status()["ready"],
        "/readyz": fetch(node, "/readyz")[0] == 200,
        "the metric": metric(node, "ipfailover_ready")[""] == 1.0,
        "the page": "not ready" not in fetch(node, "/")[1],
        "the example's probe": node.run_in_container(probe_of_the_example()).returncode == 0,
    }


def wait_until_all_say(node: Node, note: str, *, ready: bool = True) -> None:
    """Wait until status.json says it with that note or reason; then all others have to."""

    def agreed() -> bool:
        found = node.noted()
        told = "\n".join(found["notes"] if ready else found["reasons"])
        return found["ready"] is ready and (note in told if note else not told)

    # A keepalived that answers late, as on a starved machine, is not ready for that moment.
    wait_until(agreed, 15, f"{node.name} says {note!r}")
    wait_until(lambda: set(words(node).values()) == {ready}, 15, f"all of {node.name} agree")
    wait_until(lambda: note in fetch(node, "/readyz")[1], 5, f"/readyz of {node.name} says why")


@pytest.mark.slow
def test_a_node_that_does_its_part_is_ready_for_everyone_who_asks(pair: Lab) -> None:
    """With a failing check, drained, or held: ready, with the reason beside it."""
    address = pair.virtual(1)
    first = pair.serve_ranked(address)
    second = pair.node("n2")
    for each in pair.nodes:
        wait_until_all_say(each, "")

    second.application.stop()
    wait_until_all_say(second, "in FAULT, the check fails: ")
    second.application.start()
    second.wait_for_state("BACKUP")
    wait_until_all_say(second, "")

    assert 0 == first.ask("drain").returncode
    wait_until_all_say(first, "drained: ")
    first.firewall("in")  # before it is let go: an advert that counts would win it a look later
    assert 0 == first.ask("undrain").returncode
    first.wait_for_line("contest.held", timeout=ELECTION)
    wait_until_all_say(first, "held: ")
    assert [second.name] == pair.recorder.holders(address)

    # what nothing explains is no one's plan
    first.terminate()
    second.link_down()
    second.wait_for_state("FAULT")
    wait_until_all_say(second, "in FAULT, and no check fails", ready=False)
