"""The user's own programs: check scripts and notify scripts, started by the real keepalived."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, NAME, PLANNED, stays, variables
from tests.support.waiting import wait_until


def script(path: Path, text: str) -> Path:
    """Write an executable script."""
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_notify_script_gets_its_own_arguments_first(lone: Lab, node: Node) -> None:
    """``arg1 arg2 INSTANCE NAME STATE PRIORITY`` for BACKUP, MASTER and STOP."""
    said = lone.directory / "said"
    notify = script(lone.directory / "notify.sh", f'echo "$@" >>{shlex.quote(str(said))}')
    environment = variables(
        lone.virtual(1), NOTIFY_SCRIPT=f"{notify} arg1 'arg 2'", PRIORITY="217"
    )
    node.start(environment)
    lone.wait_for_holder(lone.virtual(1), timeout=ELECTION)
    head = f"arg1 arg 2 INSTANCE {NAME}_VIP_1"
    wait_until(
        lambda: (
            said.exists()
            and said.read_text().splitlines() == [f"{head} BACKUP 217", f"{head} MASTER 217"]
        ),
        2,
        "two transitions were notified",
    )
    node.stop()
    wait_until(
        lambda: said.read_text().splitlines()[2:] == [f"{head} STOP 217"],
        2,
        "the stop was notified",
    )


def test_a_check_script_decides_with_its_arguments_and_quotes(pair: Lab) -> None:
    """It gets its words as a shell would split them; its exit code moves the address."""
    address = pair.virtual(1)
    seen, flag = pair.directory / "seen", pair.directory / "unhealthy"
    body = (
        f'printf "<%s>" "$@" >{shlex.quote(str(seen))}.$$\n'
        f"mv {shlex.quote(str(seen))}.$$ {shlex.quote(str(seen))}\n"
        f"! [[ -e {shlex.quote(str(flag))} && $(cat /proc/net/fib_trie) == *192.0.2.11* ]]"
    )
    check = script(pair.directory / "check me.sh", body)
    holder = pair.serve_ranked(
        address, CHECK_SCRIPT=f"{shlex.quote(str(check))} one \"two words\" 'it'\\''s $HOME' \"\""
    )
    assert seen.read_text() == "<one><two words><it's $HOME><>"
    flag.touch()  # for n1 only: the script looks at its node's own address
    pair.wait_for_holder(address, timeout=1 + PLANNED, among=pair.others(holder))
    holder.wait_for_state("FAULT", timeout=1)
    flag.unlink()
    holder.wait_for_state("BACKUP", timeout=4)


def test_a_check_script_that_is_not_there_makes_no_difference_but_is_said_loudly(
    pair: Lab,
) -> None:
    """An acceptance case of the image that this replaces: a MASTER all the same, and an error."""
    path = "/etc/keepalive/mycheckscript.sh"
    holder = pair.serve(pair.virtual(1), CHECK_SCRIPT=path)
    assert f"({NAME}_VIP_1) Entering MASTER STATE" in holder.stdout()
    (said,) = holder.events("check.unusable")
    assert "level=error" in said
    assert f"{path} is missing" in said


def test_a_missing_check_script_may_count_as_a_failure(lone: Lab, node: Node) -> None:
    """``CHECK_SCRIPT_MISSING=fault``: FAULT, and no address."""
    environment = variables(
        lone.virtual(1), CHECK_SCRIPT="/etc/nothing.sh", CHECK_SCRIPT_MISSING="fault"
    )
    node.start(environment)
    node.wait_for_line("previous=INIT state=FAULT")
    stays(4)  # longer than an election
    node.wait_for_state("FAULT", timeout=1)
    assert lone.recorder.holders(lone.virtual(1)) == []
    assert "/etc/nothing.sh is missing" in node.read("/run/ipfailover-agent/check.reason")


def test_a_failing_check_says_what_it_could_not_reach(lone: Lab, node: Node) -> None:
    """/run is noexec and open to all: the generated script works and gives its reason."""
    node.application.stop()
    node.start(variables(lone.virtual(1), CHECK_WATCH="0"), run_mount="noexec,mode=0777")
    node.wait_for_line("previous=INIT state=FAULT")
    reason = wait_until(lambda: node.read("/run/ipfailover-agent/check.reason"), 3, "a reason")
    assert f"port 8080 of {node.ip}" in reason
    assert node.status()["phase"] == "running"
    node.application.start()
    lone.wait_for_holder(lone.virtual(1), timeout=ELECTION)
    assert not node.read("/run/ipfailover-agent/check.reason")
    assert node.events("vrrp.transition")
