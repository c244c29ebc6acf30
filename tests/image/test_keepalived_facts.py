"""What the agent relies on in keepalived, asked of the keepalived in each image.

Most facts hold for 2.2.7 and 2.3.3 alike. Where they differ, the difference is a test too, so that
the next version is noticed.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.image.conftest import StartPod
from tests.image.podman import SUITES, Pod
from tests.lab.kit.lab import Lab
from tests.lab.kit.raw import keepalived_config
from tests.lab.kit.scenarios import ELECTION
from tests.support import sandbox
from tests.support.cases import PATHS, load_cases
from tests.support.waiting import wait_until

pytestmark = pytest.mark.parametrize("image", SUITES, indirect=True)

_CONFIG = "/conf/keepalived.conf"
# Makes the track files, which the agent makes when a configuration is put into force.
_TRACKED = """
sed -n 's/^ *file "\\(.*\\)"$/\\1/p' {config} |
while read -r each; do mkdir -p "${{each%/*}}"; echo 0 >"$each"; done
"""
# Has the instance track a file that is not there.
_TRACKING = r"""{ printf 'track_file hold {\n file /conf/none\n weight 0\n}\n'
  sed 's/^vrrp_instance.*/&\n track_file {\n hold\n }/' /conf/keepalived.conf; } >/conf/other"""


def shell(
    start: StartPod, lab: Lab, directory: Path, *more: str, rights: str = "NET_ADMIN,NET_RAW"
) -> Pod:
    """Start a pod in which nothing runs yet, with a directory at /conf."""
    options = ("--cap-drop", "ALL", "--cap-add", rights, "--volume", f"{directory}:/conf", *more)
    return start(lab.nodes[0], options=options, entrypoint="sleep", command=["600"])


def configure(lab: Lab, directory: Path) -> None:
    """Have keepalived serve the lab's first address from a directory at /conf."""
    text = keepalived_config(lab.virtual(1), priority=100)
    (directory / "keepalived.conf").write_text(text)


def run_keepalived(pod: Pod) -> None:
    """Start keepalived in the background of a pod; it writes to /conf/log."""
    command = f"keepalived --dont-fork --log-console --use-file {_CONFIG} >/conf/log 2>&1 &"
    pod.run("sh", "-c", command)


def holder(start: StartPod, lab: Lab, directory: Path) -> Pod:
    """Start a pod whose keepalived holds the lab's first address."""
    configure(lab, directory)
    pod = shell(start, lab, directory)
    run_keepalived(pod)
    lab.wait_for_holder(lab.virtual(1), timeout=ELECTION)
    return pod


def test_every_golden_configuration_passes_its_test_without_a_word(
    start: StartPod, lab: Lab, tmp_path: Path
) -> None:
    """What 2.2.7 accepts, the other accepts too: exit code 0 and nothing printed."""
    lines = ["cd /conf"]
    for case in load_cases():
        directory = tmp_path / str(case)
        directory.mkdir()
        placed = {
            path: f"/conf/{case}/{there.name}"
            for path, there in sandbox.place(case.rendering(), directory).items()
        }
        config = placed.pop(PATHS.config)
        script = [
            "mount -t tmpfs tmpfs /run",
            "ip link set lo up",
            sandbox.interfaces(case.facts),
            f"mkdir -p {PATHS.directory}",
            *(f"cp {there} {path}" for path, there in placed.items()),
            _TRACKED.format(config=config),
            f"keepalived -t -f {config}",
        ]
        (directory / "test.sh").write_text("\n".join(script))
        lines.append(f'unshare -nm bash {case}/test.sh 2>&1; echo "{case}: $?"')
    (tmp_path / "all.sh").write_text("\n".join(lines))
    pod = shell(start, lab, tmp_path, "--privileged")
    done = pod.run("bash", "/conf/all.sh", timeout=60)
    assert [f"{case}: 0" for case in load_cases()] == done.stdout.splitlines()


def test_a_script_is_not_run_through_a_linked_directory_by_2_3(
    start: StartPod, lab: Lab, tmp_path: Path, image: str
) -> None:
    """/bin is a link: 2.3 disables the script, 2.2.7 resolves the path first."""
    config = keepalived_config(lab.virtual(1), extra="track_script {\n check\n }", priority=100)
    script = 'vrrp_script check {\n script "/bin/bash /conf/check"\n}\n'
    (tmp_path / "keepalived.conf").write_text(
        config.replace("vrrp_instance", f"{script}vrrp_instance", 1)
    )
    pod = shell(start, lab, tmp_path)
    done = pod.run("keepalived", "-t", "-f", _CONFIG)
    assert (0 if "bookworm" in image else 5) == done.returncode, done.stdout + done.stderr


def test_a_track_file_in_a_missing_directory_is_refused_by_2_3(
    start: StartPod, lab: Lab, tmp_path: Path, image: str
) -> None:
    """So a configuration is tested where its directories are; the file itself may be missing."""
    configure(lab, tmp_path)
    pod = shell(start, lab, tmp_path)
    prepare = _TRACKING.replace("/conf/none", "/conf/no/ne")
    done = pod.run("sh", "-c", f"{prepare}; keepalived -t -f /conf/other")
    assert (0 if "bookworm" in image else 5) == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        pytest.param("rm -f /conf/other", 0, id="missing"),
        pytest.param(": >/conf/other", 0, id="empty"),
        pytest.param("echo nonsense >/conf/other; chmod +x /conf/other", 0, id="executable"),
        pytest.param(_TRACKING, 0, id="no-track-file"),
        pytest.param("sed s/eth0/none0/ /conf/keepalived.conf >/conf/other", 5, id="no-interface"),
        pytest.param("head -c 200 /conf/keepalived.conf >/conf/other", 5, id="truncated"),
    ],
)
def test_the_blind_spots_of_the_configuration_test(
    start: StartPod, lab: Lab, tmp_path: Path, prepare: str, code: int
) -> None:
    """What ``-t`` passes although it should not, so that the agent looks first."""
    configure(lab, tmp_path)
    pod = shell(start, lab, tmp_path)
    done = pod.run("sh", "-c", f"{prepare}; keepalived -t -f /conf/other")
    assert code == done.returncode, done.stdout + done.stderr


def test_a_reload_without_a_change_touches_nothing(
    start: StartPod, lab: Lab, tmp_path: Path
) -> None:
    """No transition, no address event; and an empty file drops every address."""
    pod = holder(start, lab, tmp_path)
    log = tmp_path / "log"
    for _ in range(3):
        done = log.read_text().count("Reload")
        pod.run("sh", "-c", "kill -HUP $(pgrep -o keepalived)")
        wait_until(lambda: log.read_text().count("Reload") > done, 5, "a reload")  # noqa: B023
    assert len(lab.recorder.changes(lab.virtual(1))) == 1
    (tmp_path / "keepalived.conf").write_text("")
    pod.run("sh", "-c", "kill -HUP $(pgrep -o keepalived)")
    wait_until(lambda: not lab.recorder.holders(lab.virtual(1)), 5, "a drop")
    assert pod.run("pgrep", "keepalived").returncode == 0


def test_addresses_go_at_once_on_sigterm_and_the_process_after_a_second(
    start: StartPod, lab: Lab, tmp_path: Path
) -> None:
    """The time that a stop takes is keepalived's."""
    pod = holder(start, lab, tmp_path)
    begun = time.monotonic()
    pod.run("sh", "-c", "kill $(pgrep -o keepalived)")
    wait_until(lambda: not lab.recorder.holders(lab.virtual(1)), 3, "a release")
    assert lab.recorder.changes(lab.virtual(1))[-1].time - begun < 0.5
    log = tmp_path / "log"
    wait_until(lambda: "Stopped Keepalived" in log.read_text(), 3, "its end")


def test_it_lives_on_without_a_capability(start: StartPod, lab: Lab, tmp_path: Path) -> None:
    """It says so in its log and holds nothing: so the agent asks before."""
    configure(lab, tmp_path)
    pod = shell(start, lab, tmp_path, rights="NET_ADMIN")
    run_keepalived(pod)
    log = tmp_path / "log"
    wait_until(lambda: "open raw socket" in log.read_text(), 5, "its complaint")
    assert pod.run("pgrep", "keepalived").returncode == 0


def test_a_changed_lifetime_of_an_address_does_not_disturb_it(
    start: StartPod, lab: Lab, tmp_path: Path
) -> None:
    """An address whose lifetime runs out is noticed: BACKUP, and MASTER again."""
    pod = holder(start, lab, tmp_path)
    lease = f"{lab.virtual(1)}/32 dev eth0 valid_lft 2 preferred_lft 2"
    for _ in range(2):
        pod.run("sh", "-c", f"ip address change {lease}")
    assert len(lab.recorder.changes(lab.virtual(1))) == 1
    wait_until(
        lambda: (
            [each.held for each in lab.recorder.changes(lab.virtual(1))] == [True, False, True]
        ),
        ELECTION,
        "the address goes with its lifetime and comes back",
    )
