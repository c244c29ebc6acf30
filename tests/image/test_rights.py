"""What the image is given: rights, mounts, users' scripts. It runs with little and with much."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.image.conftest import StartPod
from tests.image.podman import STRICT, SUITES
from tests.lab.kit.lab import Lab
from tests.lab.kit.scenarios import ELECTION, PLANNED, variables
from tests.support.waiting import wait_until

_FEW = ("--cap-drop", "ALL", "--cap-add", "NET_ADMIN,NET_RAW")
_READ_ONLY = ("--read-only", "--read-only-tmpfs=false")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((*_FEW, *_READ_ONLY, "--tmpfs", "/run:mode=0777"), id="emptyDir"),
        pytest.param((*_FEW, *_READ_ONLY, "--tmpfs", "/run:noexec,mode=0755"), id="noexec"),
        pytest.param((*STRICT, "--tmpfs", "/run/ipfailover-agent"), id="own-run-directory"),
        pytest.param((*STRICT, "--tmpfs", "/etc/keepalived"), id="nothing-in-etc-keepalived"),
        pytest.param(("--cap-add", "NET_ADMIN,NET_RAW"), id="plain-docker-run"),
        pytest.param(("--cap-add", "NET_ADMIN,NET_RAW", "--tmpfs", "/run"), id="writable-root"),
        pytest.param(("--privileged",), id="privileged"),
    ],
)
@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_it_serves_checks_and_stops(start: StartPod, lab: Lab, options: tuple[str, ...]) -> None:
    """The address comes, goes when the application dies, comes back, and goes with the pod."""
    node, address = lab.nodes[0], lab.virtual(1)
    pod = start(node, variables(address), options=options)
    lab.wait_for_holder(address, timeout=ELECTION)
    node.application.stop()
    wait_until(lambda: not lab.recorder.holders(address), 5, "a failed check")
    said = pod.run("cat", "/run/ipfailover-agent/check.reason").stdout
    assert f"port 8080 of {node.ip}" in said
    node.application.start()
    lab.wait_for_holder(address, timeout=ELECTION)
    assert pod.stop().exit_code == 0
    assert not lab.recorder.holders(address)


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_it_runs_in_the_old_documented_manifest(start: StartPod, lab: Lab, tmp_path: Path) -> None:
    """Privileged, three mounts of the host, no command: options for keepalived are read there."""
    sysconfig = tmp_path / "sysconfig"
    sysconfig.mkdir()
    (sysconfig / "keepalived").write_text('KEEPALIVED_OPTIONS="-D"\n')
    modules = tmp_path / "modules"
    modules.mkdir()
    options = (
        "--privileged",
        *("--volume", f"{modules}:/lib/modules:ro"),
        *("--volume", "/:/host:ro"),
        *("--volume", f"{sysconfig}:/etc/sysconfig:ro"),
    )
    pod = start(lab.nodes[0], variables(lab.virtual(1)), options=options)
    lab.wait_for_holder(lab.virtual(1), timeout=ELECTION)
    assert "'-D'" in pod.logs()
    assert pod.stop().exit_code == 0


def test_another_run_directory_needs_nothing_else(start: StartPod, lab: Lab) -> None:
    """The configuration's place is made though its link leads to the usual directory."""
    settings = {**variables(lab.virtual(1)), "IPFAILOVER_RUN_DIR": "/run/other"}
    pod = start(lab.nodes[0], settings)
    lab.wait_for_holder(lab.virtual(1), timeout=ELECTION)
    assert lab.virtual(1) in pod.run("cat", "/etc/keepalived/keepalived.conf").stdout


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_users_scripts_run_from_a_directory_that_everybody_may_write_to(
    start: StartPod, lab: Lab, tmp_path: Path
) -> None:
    """As a ConfigMap is mounted. keepalived itself would not run them, and say so at most once."""
    scripts = tmp_path / "scripts"
    scripts.mkdir(mode=0o777)
    scripts.chmod(0o777)
    (scripts / "healthy").touch()
    for name, text in (
        ("check.sh", "#!/bin/sh\ntest -e /etc/keepalive/healthy\n"),
        ("notify.sh", '#!/bin/sh\necho "$@" >>/run/notified\n'),
    ):
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)
    settings = variables(
        lab.virtual(1),
        CHECK_SCRIPT="/etc/keepalive/check.sh",
        NOTIFY_SCRIPT="/etc/keepalive/notify.sh told",
    )
    options = (*STRICT, "--volume", f"{scripts}:/etc/keepalive")
    pod = start(lab.nodes[0], settings, options=options)
    lab.wait_for_holder(lab.virtual(1), timeout=ELECTION)
    (scripts / "healthy").unlink()
    wait_until(lambda: not lab.recorder.holders(lab.virtual(1)), 5, "a failed check")

    def notified() -> list[str]:
        return [line.split()[3] for line in pod.run("cat", "/run/notified").stdout.splitlines()]

    wait_until(lambda: "FAULT" in notified(), PLANNED, "a notification of FAULT")
    assert ["BACKUP", "MASTER", "FAULT"] == notified()
    first = pod.run("cat", "/run/notified").stdout.splitlines()[0].split()
    assert ["told", "INSTANCE", "ipfailover_VIP_1", "BACKUP"] == first[:4]
