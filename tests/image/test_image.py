"""What is in the image, and what is not."""

from __future__ import annotations

import pytest

import ipfailover_agent
from tests.image.conftest import StartPod
from tests.image.podman import STRICT, SUITES, inspect, output
from tests.lab.kit.lab import Lab

pytestmark = pytest.mark.parametrize("image", SUITES, indirect=True)

_TOOLS = (
    *("bash", "pgrep", "pidof", "ip", "nft", "nc", "curl", "setpriv", "keepalived"),
    *("ifconfig", "killall", "ipset", "modprobe", "grep", "awk", "env", "cat"),
)
#: A stop before the agent has a handler is not lost.
BLOCKED = tuple(f"--block-signal={each}" for each in ("TERM", "INT", "HUP", "USR1"))
_COMPAT = "/var/lib/ipfailover/keepalived"


def test_the_image_is_described_as_registries_and_manifests_expect(image: str) -> None:
    """Entry point, work directory, port and labels are those of the contract."""
    config = inspect(image)["Config"]
    assert ["env", *BLOCKED, "ipfailover-agent", "run"] == config["Entrypoint"]
    assert config.get("Cmd") in (None, [])
    assert config["WorkingDir"] == "/var/lib/ipfailover"
    assert {"1985/tcp"} == set(config["ExposedPorts"])
    labels = config["Labels"]
    prefix = "org.opencontainers.image."
    assert ipfailover_agent.__version__ == labels[prefix + "version"]
    assert labels[prefix + "licenses"] == "Apache-2.0"
    assert labels[prefix + "title"] == "ipfailover-agent"
    assert image.rpartition(":")[2] in labels[prefix + "base.name"]


def test_everything_that_users_scripts_and_probes_call_is_there(image: str) -> None:
    """Each tool is found on PATH."""
    done = output(
        image, "bash", "-c", 'for each; do type -P "$each" || echo "no $each"; done', "-", *_TOOLS
    )
    assert [] == [each for each in done.stdout.splitlines() if not each.startswith("/")]


def test_nothing_that_only_builds_is_left(image: str) -> None:
    """There is no compiler, no pip, no package list, no cache."""
    script = """
        type -P gcc cc pip pip3 buildah
        ls -d /src /wheels /root/.cache 2>/dev/null
        find /var/lib/apt/lists /var/cache/apt /var/log /tmp /var/tmp -type f -size +0
        find / -xdev -name '*.whl'
    """
    done = output(image, "bash", "-c", script)
    assert done.stdout.split() == []


def test_the_image_adds_less_than_90_megabytes_to_its_base(image: str) -> None:
    """The size of everything above the base image."""
    base = f"docker.io/library/debian:{image.rpartition(':')[2]}-slim"
    assert (inspect(image)["Size"] - inspect(base)["Size"]) / 1e6 < 90


def test_byte_code_is_there_for_every_module_of_ours(image: str) -> None:
    """A read-only root could not take it later, and each start would pay for it."""
    script = """
        import importlib.util, pathlib
        for each in pathlib.Path("/opt/ipfailover-agent/lib").rglob("*.py"):
            if not pathlib.Path(importlib.util.cache_from_source(each)).exists():
                print(each)
    """
    program = "\n".join(line[8:] for line in script.splitlines())
    done = output(image, "/opt/ipfailover-agent/bin/python", "-c", program)
    assert (0, "") == (done.returncode, done.stdout), done.stderr


def test_no_packaged_template_is_compiled_at_a_start(image: str) -> None:
    """Their byte code was made by the versions and at the place where it is looked for."""
    script = """
from ipfailover_agent.config import renderer, templating
made = renderer.environment_of(templating.loader(None), templating.ByteCode(templating.BYTE_CODE))
made._parse = None
print(all(made.get_template(each) for each in made.list_templates()))
"""
    done = output(image, "/opt/ipfailover-agent/bin/python", "-c", script)
    assert ("True\n", "") == (done.stdout, done.stderr)


def test_it_runs_with_the_strictest_rights_and_stops_well_within_its_grace(
    start: StartPod, lab: Lab
) -> None:
    """Read-only root, one tmpfs, two capabilities, no new privileges."""
    address = lab.virtual(1)
    pod = start(
        lab.nodes[0], {"OPENSHIFT_HA_VIRTUAL_IPS": address, "OPENSHIFT_HA_MONITOR_PORT": "8080"}
    )
    lab.wait_for_holder(address)
    probe = pod.run("pgrep", "-l", "keepalived")
    assert {"keepalived"} == {each.split()[1] for each in probe.stdout.splitlines()}
    ready = pod.run("ipfailover-agent", "status")
    assert (0, "running, ready") == (ready.returncode, ready.stdout[:14])
    assert address in pod.run("cat", "/etc/keepalived/keepalived.conf").stdout
    assert "Unable to" not in pod.logs()
    ended = pod.stop()
    assert ended.exit_code == 0
    assert ended.seconds < 5
    assert [] == lab.recorder.holders(address)


def test_no_process_but_keepalived_is_called_so(start: StartPod, lab: Lab) -> None:
    """Or the probe that everybody uses, pgrep keepalived, could never fail."""
    pod = start(
        lab.nodes[0],
        {"OPENSHIFT_HA_VIRTUAL_IPS": lab.virtual(1), "IPFAILOVER_CONFIG": "/nothing/there"},
        entrypoint=f"{_COMPAT}/monitor.sh",
    )
    pod.wait_for_log("config.rejected")
    assert pod.is_running
    probe = pod.run("pgrep", "-l", "keepalived")
    assert (1, "") == (probe.returncode, probe.stdout)


def test_the_old_entry_point_runs_the_agent(start: StartPod, lab: Lab) -> None:
    """A manifest that names monitor.sh gets the agent as PID 1."""
    address = lab.virtual(1)
    pod = start(
        lab.nodes[0],
        {"OPENSHIFT_HA_VIRTUAL_IPS": address, "OPENSHIFT_HA_MONITOR_PORT": "8080"},
        entrypoint=f"{_COMPAT}/monitor.sh",
    )
    lab.wait_for_holder(address)
    assert pod.stop().exit_code == 0


def test_the_old_removal_job_says_what_it_lacks(image: str) -> None:
    """As documented upstream it has neither a network nor variables: it must not say done."""
    done = output(image, f"{_COMPAT}/remove-failover.sh", options=STRICT)
    assert done.returncode == 78
    assert "cannot tell which addresses are the agent's" in done.stdout + done.stderr
