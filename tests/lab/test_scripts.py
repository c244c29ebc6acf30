"""keepalived's scripts run in the lab: without them no check would ever fail there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.lab.kit.container import PROJECT
from tests.lab.kit.lab import Lab
from tests.lab.kit.privileges import missing_tools
from tests.lab.kit.raw import keepalived_config

_NOBODY = 65534


def start_with_port_check(lab: Lab) -> None:
    """Start keepalived with a check of the application's port on the first node."""
    node = lab.nodes[0]
    config = keepalived_config(
        lab.virtual(1), priority=100, extra="track_script {\n    check\n  }"
    )
    check = 'vrrp_script check {\n  script "/bin/bash /run/check"\n  interval 1\n}\n'
    node.start_keepalived(
        config.replace("vrrp_instance", f"{check}vrrp_instance", 1),
        prepare=f"echo '</dev/tcp/{node.ip}/{lab.port}' >/run/check",
    )


def check_decides(lab: Lab) -> None:
    """Demand that the application's death and return move the address."""
    start_with_port_check(lab)
    address, node = lab.virtual(1), lab.nodes[0]
    lab.wait_for_holder(address)
    node.application.stop()
    lab.wait_for_none([address], timeout=4)
    node.application.start()
    lab.wait_for_holder(address)


def test_a_check_script_decides_over_the_address(lab: Lab) -> None:
    """The application dies: the address goes; it returns: the address comes back."""
    check_decides(lab)


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become an ordinary user")
def test_the_lab_works_for_an_ordinary_user() -> None:
    """The same without root, in a user namespace: everything, check scripts included."""
    drop = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    program = (
        "from tests.lab.kit.lab import Lab\n"
        "from tests.lab.test_scripts import check_decides\n"
        "with Lab(2) as lab: check_decides(lab)\n"
    )
    python = _python_for_everybody(drop)
    missing = missing_tools()
    if python is None or missing:
        pytest.skip(missing or "an ordinary user can run no suitable Python here")
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, sys.path)]),
    }
    done = subprocess.run(
        [*drop, python, "-m", "tests.lab.kit.privileged", "--", python, "-c", program],
        check=False, capture_output=True, text=True, env=environment, cwd=PROJECT, timeout=60,
    )  # fmt: skip
    forbidden = done.returncode == os.EX_NOPERM
    if forbidden and os.environ.get("REQUIRE_NETNS") != "1":
        pytest.skip(f"THE LAB DID NOT RUN WITHOUT ROOT: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


def _python_for_everybody(drop: list[str]) -> str | None:
    """Return a Python of the running version that ``drop`` may start and that reads this code."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    environment = {"PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, sys.path)])}

    def works(*command: str) -> bool:
        done = subprocess.run(
            [*drop, *command], check=False, capture_output=True, env=environment, cwd="/"
        )
        return done.returncode == 0

    for each in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if works("test", "-x", each) and works(
            each, "-B", "-c", "import pytest, tests.lab.kit.lab"
        ):
            return each
    return None
