"""The generated scripts as the real keepalived runs them, from run directories of every kind."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec import structs

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.templating import render
from ipfailover_agent.model import Settings
from ipfailover_agent.paths import RunPaths
from tests.support import sandbox
from tests.support.program import KEEPALIVED
from tests.support.vectors import host_facts

FACTS = host_facts({"ens3": ["192.168.55.10/24"]})
PATHS = RunPaths(directory="/run/agent", config="/run/agent/keepalived.conf")
SETTINGS = Settings(
    virtual_addresses=(ip_address("192.168.55.101"),),
    config_name="x",
    notify_script="/bin/sh -c 'echo \"$@\" >>/run/agent/states' notify first",
    check_interval=1,
    check_timeout=1,
    check_watch=0,
)
KINDS = {
    "private": "mode=0700",
    "noexec": "mode=0700,noexec,nosuid,nodev",
    "world-writable": "mode=0777",
    "world-writable and noexec": "mode=0777,noexec",
}
SECONDS = 12


def watched(settings: Settings, directory: Path, kind: str, until: str) -> dict[str, str]:
    """Run keepalived until the states hold a word; return states, addresses, reason and log."""
    rendering = render(plan(settings, FACTS), PATHS)
    outcome = sandbox.run(
        f"""
        {sandbox.interfaces(FACTS)}
        {sandbox.copies(sandbox.place(rendering, directory))}
        {"chmod 0777 /run/agent" if "world" in kind else ""}
        touch /run/agent/states
        cd /run/agent
        {KEEPALIVED} -n -l -f {PATHS.config} >/run/log 2>&1 &
        keepalived=$!
        for ((tenth = 0; tenth < {SECONDS * 10}; tenth++)); do
            grep -q '{until}' states && break
            read -r -t 0.1 <> <(:)
        done
        for part in 'cat states' 'ip -o -4 address show dev ens3' 'cat check.reason' 'cat /run/log'
        do
            $part 2>&1
            echo ----
        done
        kill -TERM $keepalived; wait $keepalived
        """,
        run_options=KINDS[kind],
        timeout=SECONDS + 20,
    )
    parts = outcome.output.split("----\n")
    return dict(zip(("states", "addresses", "reason", "log"), parts, strict=False))


@pytest.mark.netns
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", ["port", "script"])
def test_a_failing_check_keeps_the_node_from_holding(
    tmp_path: Path, kind: str, check: str
) -> None:
    """Executed directly, it would count as succeeded on noexec and be disabled on 0777."""
    settings = SETTINGS
    if check == "script":
        settings = structs.replace(SETTINGS, check_script='/bin/sh -c "exit 3"')
    seen = watched(settings, tmp_path, kind, until="FAULT")
    assert "INSTANCE x_VIP_1 FAULT" in seen["states"], seen
    assert "MASTER" not in seen["states"], seen
    assert "192.168.55.101" not in seen["addresses"], seen
    assert "VRRP_Script(chk_x) failed" in seen["log"], seen
    if check == "port":
        assert "cannot reach port 80 of 192.168.55.10: Connection refused\n" == seen["reason"]


@pytest.mark.netns
@pytest.mark.parametrize("at_its_timeout", ["", "exit 0"])
def test_a_users_check_that_hangs_keeps_the_node_from_holding(
    tmp_path: Path, at_its_timeout: str
) -> None:
    """Whatever it does when keepalived ends it: ignore that, or end with 0."""
    hangs = f"trap '{at_its_timeout}' TERM; while :; do sleep 0.1; done"
    settings = structs.replace(SETTINGS, check_script=f'/bin/sh -c "{hangs}"')
    seen = watched(settings, tmp_path, "private", until="FAULT")
    assert "INSTANCE x_VIP_1 FAULT" in seen["states"], seen
    assert "MASTER" not in seen["states"], seen
    assert "VRRP_Script(chk_x) timed_out" in seen["log"], seen


@pytest.mark.netns
@pytest.mark.parametrize("kind", KINDS)
def test_a_passing_check_lets_the_node_hold(tmp_path: Path, kind: str) -> None:
    """The control: the same run, and the address is there, labelled."""
    settings = structs.replace(SETTINGS, check_script='/bin/sh -c "exit 0"')
    seen = watched(settings, tmp_path, kind, until="MASTER")
    assert "ens3:vip" in seen["addresses"], seen
    assert "192.168.55.101/32" in seen["addresses"], seen
    assert "Entering MASTER STATE" in seen["log"], seen


@pytest.mark.netns
def test_the_notify_script_gets_its_own_words_first(tmp_path: Path) -> None:
    """TYPE NAME STATE PRIORITY follow them."""
    settings = structs.replace(SETTINGS, monitor_ports=(), priority=77)
    seen = watched(settings, tmp_path, "noexec", until="MASTER")
    assert "first INSTANCE x_VIP_1 MASTER 77" in seen["states"].splitlines(), seen


@pytest.mark.netns
def test_a_full_run_directory_changes_no_verdict(tmp_path: Path) -> None:
    """An open port stays healthy, a closed one is refused, though no reason can be written."""
    settings = structs.replace(SETTINGS, notify_script=None)
    facts = host_facts({"lo": [], "ens3": ["192.168.55.10/24"]})
    rendering = render(plan(settings, facts), PATHS)
    outcome = sandbox.run(
        f"""
        {sandbox.interfaces(facts)}
        {sandbox.copies(sandbox.place(rendering, tmp_path))}
        head -c 1000000 /dev/zero >/run/agent/filler 2>/dev/null
        /bin/bash {PATHS.check}; echo closed: $?
        python3 -m http.server 80 >/dev/null 2>&1 &
        server=$!
        for ((tenth = 0; tenth < 50; tenth++)); do
            : 2>/dev/null </dev/tcp/192.168.55.10/80 && break
            read -r -t 0.1 <> <(:)
        done
        /bin/bash {PATHS.check}; echo open: $?
        kill $server
        stat -c %s {PATHS.check_reason}
        """,
        run_options="mode=0700,size=64k",
    )
    assert "closed: 1" in outcome.output
    assert "open: 0" in outcome.output
    assert "cannot reach port 80" in outcome.output
