"""The demo: does it show what it says, end cleanly, and say so when it cannot?"""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys

import pytest

from tests.lab.demo.story import NotShownError, Stage
from tests.lab.demo.view import Facts, Screen, differences, table
from tests.lab.kit.container import PROJECT
from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.leftovers import leftovers_of
from tests.support.waiting import wait_until

DEMO = [sys.executable, "-m", "tests.lab.demo"]

BEFORE = Facts(
    nodes=("n1", "n2"),
    holders=(("192.0.2.101", ("n1",)),),
    heard=("n1",),
    containers=("runs", "runs"),
    applications=("answers", "answers"),
)
AFTER = Facts(
    nodes=("n1", "n2"),
    holders=(("192.0.2.101", ("n1", "n2")),),
    heard=(None,),
    containers=("killed", "runs"),
    applications=("answers", "killed"),
)


def test_the_table_shows_holders_and_what_the_client_hears() -> None:
    """One row per address, one column per node."""
    assert table(AFTER) == [
        "address      n1         n2         the client hears",
        "192.0.2.101  HOLDS IT   HOLDS IT   no node",
        "container    killed     runs",
        "application  answers    killed",
    ]


def test_differences_are_sentences() -> None:
    """Off a terminal every change is a line; no change is no line."""
    assert differences(BEFORE, AFTER) == [
        "192.0.2.101 is held by n1 and n2",
        "the container on n1 is killed",
        "the application on n2 is killed",
    ]
    assert differences(AFTER, AFTER) == []


@pytest.mark.slow
@pytest.mark.timeout(100)
def test_the_demo_shows_everything_in_under_a_minute(make_lab: MakeLab) -> None:
    """Exit code 0 within 60 s, with a figure for each of the four events."""
    make_lab(1).close()  # skips where the lab is impossible
    done = subprocess.run(
        DEMO, check=False, capture_output=True, text=True, cwd=PROJECT, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    events = re.findall(
        r"^ +the (\w+) on n\d (was killed|came back) +(?:less than )?\d\.\d+ s",
        done.stdout,
        flags=re.MULTILINE,
    )
    assert events == [
        ("application", "was killed"),
        ("application", "came back"),
        ("container", "was killed"),
        ("container", "came back"),
    ]
    assert "Everything shown really happened" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_an_interrupted_demo_leaves_nothing(make_lab: MakeLab, number: signal.Signals) -> None:
    """Interrupted in the middle: exit code 130, a sentence, no processes, no directory."""
    make_lab(1).close()
    with subprocess.Popen(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=PROJECT
    ) as demo:
        wait_until(lambda: leftovers_of(demo.pid), 5, "the demo has a lab")
        demo.send_signal(number)
        said, _ = demo.communicate(timeout=10)
    assert demo.returncode == 130, said
    assert "Interrupted; everything was cleared away." in said
    assert "Traceback" not in said
    assert not leftovers_of(demo.pid)


def test_what_does_not_happen_is_said(lab: Lab) -> None:
    """An expectation that is not met within its time ends the story with its own words."""
    stage = Stage(lab=lab, screen=Screen(io.StringIO()))
    with pytest.raises(NotShownError, match=r"not within 0.1 seconds: pigs fly"):
        stage.until(lambda: False, 0.1, "pigs fly")
