"""HTTP of agents with the real keepalived: through a failover, a hang, and under load."""

from __future__ import annotations

import json
import re
import sys
import time

import pytest

from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, UNPLANNED, ConfigMap, variables
from tests.support.waiting import wait_until

BASE = "http://127.0.0.1:63000"
#: The agent without what only developers have: structlog loads rich where there is one.
AS_INSTALLED = (
    "env",
    *("-u", "COVERAGE_PROCESS_START", "-u", "COVERAGE_PROCESS_CONFIG"),  # measuring takes memory
    sys.executable,
    "-c",
    "import sys; sys.modules['rich'] = None; from ipfailover_agent.entry import main; main()",
    "run",
)
#: Bytes by number of addresses. Measured with Python 3.11: 39.3 and 46.2 million; the rest is for
#: other versions of it and of the libraries.
MEMORY = {1: 42_000_000, 254: 50_000_000}
#: A web server that thinks for a while.
SLOW = """
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.3)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("", 8090), Handler).serve_forever()
"""
#: Asks for everything so many times a second for so long, and prints how often and how slowly.
LOAD = """
import json, sys, time, urllib.request
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
began, count, worst, refused = time.monotonic(), 0, 0.0, 0
while (now := time.monotonic()) < began + seconds:
    path = ("metrics", "metrics", "readyz", "", "status")[count % 5]
    try:
        urllib.request.urlopen(f"http://127.0.0.1:63000/{path}", timeout=5).read()
    except OSError:
        refused += 1
    worst = max(worst, time.monotonic() - now)
    count += 1
    time.sleep(max(0.0, began + count / rate - time.monotonic()))
print(json.dumps({"count": count, "worst": worst, "refused": refused}))
"""


#: Prints the codes of /readyz and /livez, a line each time, until the node is unready.
_UNTIL_UNREADY = f"""
until [ "${{codes%% *}}" = 503 ]; do
    codes=$(curl -s -m 5 -o /dev/null -o /dev/null -w '%{{http_code}} ' {BASE}/readyz {BASE}/livez)
    codes=${{codes% }}
    echo "$codes"
done
"""


def fetch(node: Node, path: str) -> tuple[int, str]:
    """Return the status and the text of an answer; 0 where there is none."""
    done = node.run(["curl", "-s", "-m", "5", "-w", "\n%{http_code}", BASE + path], check=False)
    text, _, code = done.stdout.rpartition("\n")
    return int(code), text


def metric(node: Node, name: str) -> dict[str, float]:
    """Return the values of a metric by its labels as they are written."""
    _, text = fetch(node, "/metrics")
    found = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def resident(node: Node) -> int:
    """Return the bytes that the agent has resident."""
    text = node.run(["cat", f"/proc/{node.container.agent_pid}/smaps_rollup"]).stdout
    [found] = re.findall(r"^Rss:\s+(\d+) kB", text, re.MULTILINE)
    print(f"resident memory of the agent: {int(found) * 1024 / 1e6:.1f} MB")
    return int(found) * 1024


def wait_for_probe(node: Node, code: int, text: str, *, timeout: float = ELECTION) -> None:
    """Wait until /readyz answers so."""

    def answers() -> bool:
        found, said = fetch(node, "/readyz?config=ipfailover")
        return found == code and text in said

    wait_until(answers, timeout, f"{node.name} answers {code}, {text}")


def wait_for_metric(node: Node, name: str, *values: float) -> None:
    """Wait until a metric has these values, for whichever labels."""
    what = f"{name} of {node.name} is {values}"
    wait_until(lambda: list(metric(node, name).values()) == list(values), 5, what)


def wait_for_more(node: Node, name: str) -> None:
    """Wait until a counter of the only instance has moved on."""
    [before] = metric(node, name).values()
    wait_until(
        lambda: list(metric(node, name).values()) >= [before + 2],
        12,
        f"{name} of {node.name} goes on",
    )


def test_probes_and_metrics_follow_a_failover(pair: Lab) -> None:
    """Both are ready all the time; who holds, how often, and what was sent are told."""
    address = pair.virtual(1)
    first = pair.serve_ranked(address)
    second = pair.node("n2")
    for each in pair.nodes:
        wait_for_probe(each, 200, "ready")
    label = f'{{address="{address}",iname="ipfailover_VIP_1"}}'
    assert [{label: 1.0}, {label: 0.0}] == [
        metric(each, "ipfailover_address_held") for each in (first, second)
    ]
    wait_for_more(first, "keepalived_advertisements_sent_total")
    wait_for_more(second, "keepalived_advertisements_received_total")
    first.application.stop()
    assert second.name == pair.wait_for_each([address], timeout=UNPLANNED, among=[second])[address]
    wait_for_probe(second, 200, "ready")
    wait_for_probe(first, 200, "in FAULT, the check fails")
    wait_for_metric(second, "keepalived_become_master_total", 1.0)
    assert [3.0] == list(metric(first, "keepalived_vrrp_state").values())
    assert [0.0] == list(metric(first, "keepalived_script_status").values())
    assert 1.0 == metric(second, "ipfailover_ready")[""]


def test_a_keepalived_that_hangs_makes_the_node_unready_and_not_dead(lone: Lab) -> None:
    """It is the agent's to restart."""
    node = lone.serve_ranked(lone.virtual(1))
    wait_for_probe(node, 200, "ready")
    for each in node.pids("keepalived"):
        node.freeze(each)
    # It is unready for less than a second: one shell asks, and does not enter the node each time.
    codes = node.run(["sh", "-c", _UNTIL_UNREADY]).stdout.splitlines()
    assert "503 200" == codes[-1]
    assert {"200 200", "503 200"} == set(codes)
    wait_for_probe(node, 200, "ready", timeout=30)


def test_a_drained_node_is_ready_and_says_so(pair: Lab) -> None:
    """A roll-out goes on: the node does what it is meant to do."""
    first = pair.serve_ranked(pair.virtual(1))
    assert 0 == first.ask("drain").returncode
    wait_for_probe(first, 200, "drained")
    wait_for_metric(first, "ipfailover_drained", 1.0)
    wait_for_metric(first, "ipfailover_address_held", 0.0)
    assert 1.0 == metric(first, "ipfailover_ready")[""]
    wait_for_probe(pair.node("n2"), 200, "ready")
    assert 0 == first.ask("undrain").returncode
    wait_until(lambda: fetch(first, "/readyz") == (200, "ready\n"), 5, "nothing is noted")


def test_a_node_that_serves_only_a_part_or_nothing_is_not_ready(pair: Lab) -> None:
    """One leaves an address out, one waits for a configuration that can be used.

    An empty name in a probe is any name.
    """
    partly, nothing = pair.nodes
    wrong = f"{pair.virtual(1)},192.0.2.300"
    partly.start(variables(wrong, ON_INVALID="serve-valid"))
    source = ConfigMap(pair.directory / "variables", variables(wrong))
    nothing.start(source.variable)
    pair.wait_for_holder(pair.virtual(1), timeout=ELECTION, among=[partly])
    wait_for_probe(partly, 503, "192.0.2.300")
    wait_for_probe(nothing, 503, "192.0.2.300")
    assert [200, 200] == [fetch(each, "/livez?config=")[0] for each in pair.nodes]
    assert [503, 200] == [fetch(partly, f"/livez?config={name}")[0] for name in ("other", "")]
    assert [0.0, 0.0] == [metric(each, "ipfailover_ready")[""] for each in pair.nodes]
    assert [1.0, 0.0] == [metric(each, "keepalived_up")[""] for each in pair.nodes]
    assert 1 == len(metric(partly, "ipfailover_address_held"))
    assert {} == metric(nothing, "ipfailover_address_held")
    assert {} == metric(nothing, "ipfailover_config_info")


@pytest.mark.timing
def test_a_slow_check_is_seen_to_be_slow(lone: Lab, node: Node) -> None:
    """A page that takes 0.3 s takes some 0.3 s, a connection of the agent's own next to nothing.

    The verdict of a check that is replaced goes with it.
    """
    with node.network.running([sys.executable, "-c", SLOW]):
        url = {"CHECK_URL": f"http://{node.ip}:8090/"}
        source = ConfigMap(lone.directory / "variables", variables(lone.virtual(1), **url))
        node.start(source.unwatched)
        lone.wait_for_holder(lone.virtual(1), timeout=ELECTION)
        wait_until(lambda: metric(node, "ipfailover_check_duration_seconds"), 5, "a figure")
        [slow] = metric(node, "ipfailover_check_duration_seconds").values()
        assert 0.3 <= slow < 0.9, slow
        source.write(variables(lone.virtual(1), CHECK_INTERVAL="0.25"))
        node.reload()
        wait_until(
            lambda: metric(node, "ipfailover_check_duration_seconds") not in ({}, {"": slow}),
            5,
            "another figure",
        )
        [fast] = metric(node, "ipfailover_check_duration_seconds").values()
        assert 0 < fast < 0.2, fast
        source.write(variables(lone.virtual(1), CHECK_SCRIPT="/bin/true"))
        node.reload()
        wait_for_metric(node, "ipfailover_check_success", 1.0)
        wait_for_metric(node, "ipfailover_check_duration_seconds")
        source.write(variables(lone.virtual(1), CHECK_SCRIPT="/bin/echo", CHECK_INTERVAL="3"))
        node.reload()
        assert "ok" == node.status()["check"]["state"]
        assert [node.name] == lone.recorder.holders(lone.virtual(1))


@pytest.mark.timing
@pytest.mark.slow
def test_leases_are_on_time_while_254_instances_are_scraped(make_lab: MakeLab) -> None:
    """Ten requests a second for everything there is."""
    lab = make_lab(1, applications=False)
    [node] = lab.nodes
    values = variables("198.51.100.1-254", VRRP_ID_OFFSET="0", MONITOR_PORT="0")
    node.start(values, AS_INSTALLED)
    wait_until(
        lambda: (
            fetch(node, "/readyz")[1].startswith("ready\n")  # and that no network has these
            and list(metric(node, "ipfailover_address_held").values()) == [1.0] * 254
        ),
        60,
        "all 254 are held",
    )
    before = json.loads(fetch(node, "/status")[1])["lease"]
    began = time.monotonic()
    done = node.run([sys.executable, "-c", LOAD, "10", "20"], timeout=60)
    result = json.loads(done.stdout)
    lease = json.loads(fetch(node, "/status")[1])["lease"]
    took = time.monotonic() - began
    print(f"254 instances under load for {took:.0f} s: {result}; before {before}, after {lease}")
    assert 0 == result["refused"]
    assert result["count"] > 100
    assert lease["worst_lateness"] < 0.5
    assert 0 == lease["lapses"]
    assert resident(node) < MEMORY[254]


def test_the_agent_needs_little_memory(lone: Lab, node: Node) -> None:
    """With everything that it answers made at least once."""
    node.start(variables(lone.virtual(1)), AS_INSTALLED)
    lone.wait_for_holder(lone.virtual(1), timeout=ELECTION)
    for path in ("/readyz", "/metrics", "/", "/status", "/metrics"):
        assert 200 == fetch(node, path)[0]
    assert resident(node) < MEMORY[1]
