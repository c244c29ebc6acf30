"""The examples run: what they put into a container is put into one."""

from __future__ import annotations

import functools
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.image import podman
from tests.image.conftest import StartPod
from tests.image.podman import Pod
from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.names import NameServer
from tests.lab.kit.namespaces import NetworkNamespace
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, stays
from tests.support import manifests, quadlet
from tests.support.manifests import EXAMPLES, OVERLAYS, Manifest
from tests.support.markdown import blocks
from tests.support.waiting import wait_until

ADDRESS = "192.0.2.101"


def environment_of(container: Manifest, node: Node) -> dict[str, str]:
    """Return a container's environment on a node, as the kubelet fills it in."""
    found: dict[str, str] = {}
    for each in container.get("env", []):
        if "valueFrom" in each:
            assert each["valueFrom"] == {"fieldRef": {"fieldPath": "status.hostIP"}}
            found[each["name"]] = node.ip
            continue
        # A variable that is named before its place is put in.
        found[each["name"]] = re.sub(
            r"\$\((\w+)\)", lambda match: found.get(match[1], match[0]), each["value"]
        )
    return found


def container_options(
    spec: Manifest,
    config: Mapping[str, str],
    directory: Path,
    node: Node,
    *,
    host: Path | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Return environment and podman's options for a pod's only container on a node.

    What is the pod's own is in ``directory``; ``host`` has the directories of the node.
    """
    [container] = spec["containers"]
    context = container["securityContext"]
    options = [
        *(f"--cap-drop={each}" for each in context["capabilities"]["drop"]),
        *(f"--cap-add={each}" for each in context["capabilities"]["add"]),
        *(["--read-only", "--read-only-tmpfs=false"] if context["readOnlyRootFilesystem"] else []),
        *([] if context["allowPrivilegeEscalation"] else ["--security-opt=no-new-privileges"]),
        f"--user={context['runAsUser']}",
    ]
    volumes = {each["name"]: each for each in spec["volumes"]}
    for mount in container["volumeMounts"]:
        source = volumes[mount["name"]]
        there = directory / mount["name"]
        if "hostPath" in source:
            there = (host or directory) / source["hostPath"]["path"].lstrip("/")
        if "emptyDir" in source:
            options.append(f"--tmpfs={mount['mountPath']}:mode=0777")
            continue
        there.mkdir(parents=True, exist_ok=True)
        if "configMap" in source:
            for name, value in config.items():
                (there / name).write_text(value)
        options.append(f"--volume={there}:{mount['mountPath']}")
    return environment_of(container, node), options


@pytest.fixture
def web(make_nodes: MakeLab) -> Lab:
    """Give two nodes on the network of the examples, with an application on port 80."""
    return make_nodes(port=80)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_clusters_pods_serve_and_a_job_removes_what_a_killed_one_left(
    start: StartPod, web: Lab, tmp_path: Path, overlay: str
) -> None:
    """With the options of the manifest, the ConfigMap mounted, and the probe of the manifest."""
    made = manifests.kustomize(overlay)
    # Without a lease, or the kernel would be as quick as the job.
    config = {**manifests.variables(made), "OPENSHIFT_HA_ADDRESS_LEASE": "0"}
    spec, _ = manifests.pod(made)
    pods: list[Pod] = []
    for node in web.nodes:
        environment, options = container_options(spec, config, tmp_path / node.name, node)
        pods.append(start(node, environment, options=options))
    for number in (1, 2, 3):
        web.wait_for_holder(web.virtual(number), timeout=ELECTION)
    probe = spec["containers"][0]["readinessProbe"]["exec"]["command"]
    wait_until(lambda: pods[0].run(*probe).returncode == 0, 3, "the probe succeeds")
    for each in pods:
        each.crash()
    left = [f"{number}" for number in (1, 2, 3) if web.recorder.holders(web.virtual(int(number)))]
    assert ["1", "2", "3"] == left
    job = manifests.find(manifests.documents(EXAMPLES / "remove" / "job.yaml"), "Job")
    job_spec, _ = manifests.pod([job])
    for node in web.nodes:
        environment, options = container_options(job_spec, config, tmp_path / node.name, node)
        command = job_spec["containers"][0]["command"][0]
        done = start(node, environment, options=options, entrypoint=command)
        assert done.wait() == 0, done.logs()
        # keepalived.conf has the password. The directory itself is a mount.
        state = tmp_path / node.name / "run" / "ipfailover-agent"
        assert [] == list(state.iterdir())
    assert not any(web.recorder.holders(web.virtual(number)) for number in (1, 2, 3))


def test_two_deployments_serve_on_the_same_node(start: StartPod, web: Lab, tmp_path: Path) -> None:
    """Each has its directory of the node and its port; the end of one is nothing to the other."""
    pods: dict[str, list[Pod]] = {}
    for overlay in ("kubernetes", "second"):
        made = manifests.kustomize(overlay)
        config = manifests.variables(made)
        spec, _ = manifests.pod(made)
        for node in web.nodes:
            host = tmp_path / node.name
            environment, options = container_options(spec, config, host / overlay, node, host=host)
            pods.setdefault(overlay, []).append(start(node, environment, options=options))
    addresses = [web.virtual(number) for number in (1, 2, 3, 11, 12, 13)]
    for each in addresses:
        web.wait_for_holder(each, timeout=ELECTION)
    node = web.nodes[0]
    for overlay, name, port in (("kubernetes", "ipfailover", 63000), ("second", "second", 63001)):
        url = f"http://127.0.0.1:{port}/readyz?config={name}"
        curl = ["curl", "-fsS", "-m", "5", url]
        wait_until(functools.partial(_succeeds, node, curl), 5, f"{name} is ready")
        pod = pods[overlay][0]
        assert 0 == pod.run("ipfailover-ready").returncode
        assert "HTTP is not answered" not in pod.run("ipfailover-agent", "status").stdout
    for pod in pods["kubernetes"]:
        assert 0 == pod.stop().exit_code
    left = [each for each in addresses if web.recorder.holders(each)]
    assert addresses[3:] == left
    assert all(web.recorder.seconds_with_two(each) == 0 for each in addresses)


def test_doctor_lets_an_agent_start_or_not(start: StartPod, web: Lab, tmp_path: Path) -> None:
    """As an init container, beside a node that serves; with another list it is refused."""
    made = manifests.kustomize_with("kubernetes", "doctor", tmp_path)
    config = manifests.variables(made)
    spec, _ = manifests.pod(made)
    first, second = web.nodes
    environment, options = container_options(spec, config, tmp_path / "agent", first)
    start(first, environment, options=options)
    web.wait_for_holder(ADDRESS, timeout=ELECTION)
    looking = {**spec, "containers": spec["initContainers"]}
    program, *words = spec["initContainers"][0]["command"]
    for values, expected in ((config, 0), (config | {"OPENSHIFT_HA_VRRP_ID_OFFSET": "50"}, 78)):
        place = tmp_path / f"doctor-{expected}"
        environment, options = container_options(looking, values, place, second)
        (tmp_path / f"said-{expected}").touch()
        options.append(f"--volume={tmp_path / f'said-{expected}'}:/dev/termination-log")
        pod = start(second, environment, options=options, entrypoint=program, command=words)
        assert pod.wait() == expected, pod.logs()
        assert "pass  config: keepalived accepts it" in pod.logs()
        # What `kubectl describe pod` shows of an init container that failed.
        said = (tmp_path / f"said-{expected}").read_text()
        assert (expected == 78) == said.startswith("fail  "), said
        assert set(said.splitlines()) <= set(pod.logs().splitlines())


def test_monitoring_answers_the_kubelet_and_prometheus(
    start: StartPod, web: Lab, tmp_path: Path
) -> None:
    """Probes at the node's address, and the metrics from afar, as its manifests ask."""
    made = manifests.kustomize_with("kubernetes", "monitoring", tmp_path)
    config = manifests.variables(made)
    spec, container = manifests.pod(made)
    node = web.nodes[0]
    environment, options = container_options(spec, config, tmp_path / node.name, node)
    start(node, environment, options=options)
    web.wait_for_holder(ADDRESS, timeout=ELECTION)
    [port] = container["ports"]
    base = f"http://{node.ip}:{port['hostPort']}"

    def asked(network: NetworkNamespace, path: str) -> tuple[int, str]:
        curl = ["curl", "-s", "-m", "5", "-w", "\n%{http_code}", base + path]
        text, _, code = network.run(curl, check=False).stdout.rpartition("\n")
        return int(code), text

    wait_until(lambda: asked(node.network, "/readyz")[0] == 200, 5, "ready")
    [endpoint] = manifests.find(made, "PodMonitor")["spec"]["podMetricsEndpoints"]
    code, metrics = asked(web.client.network, endpoint["path"])
    assert code == 200
    assert f'ipfailover_address_held{{address="{ADDRESS}",iname="ipfailover_VIP_1"}} 1' in metrics
    node.application.stop()
    wait_until(lambda: not web.recorder.holders(ADDRESS), 5, "a failed check")
    wait_until(
        lambda: "the check fails" in asked(node.network, "/readyz")[1],
        5,
        "the failed check is told",
    )
    assert 200 == asked(node.network, "/readyz")[0]  # or a roll-out would never end


def test_probes_by_http_reach_the_agent_from_the_node(
    start: StartPod, web: Lab, tmp_path: Path
) -> None:
    """The kubelet asks from the node's network, where the agent listens by default."""
    made = manifests.kustomize_with("kubernetes", "probes", tmp_path)
    config = manifests.variables(made)
    spec, _ = manifests.pod(made)
    node = web.nodes[0]
    environment, options = container_options(spec, config, tmp_path / node.name, node)
    start(node, environment, options=options)
    web.wait_for_holder(ADDRESS, timeout=ELECTION)
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        asked = spec["containers"][0][probe]["httpGet"]
        url = f"http://{asked['host']}:{asked['port']}{asked['path']}"
        curl = ["curl", "-fsS", "-m", "5", url]
        wait_until(functools.partial(_succeeds, node, curl), 5, f"{probe} succeeds")


def _succeeds(node: Node, command: list[str]) -> bool:
    return node.run(command, check=False).returncode == 0


#: A program that answers everything with 404 on the port that the agent would have.
LISTENER = """
import http.server
http.server.HTTPServer(("127.0.0.1", 63000), http.server.BaseHTTPRequestHandler).serve_forever()
"""


def test_a_taken_port_costs_the_base_nothing_and_a_crash_is_believed_by_no_probe(
    start: StartPod, web: Lab, tmp_path: Path
) -> None:
    """Served, ready and never ended beside a foreign listener.

    After a crash the node's directory still says "ready": the next container is not ready before
    its keepalived runs, and says why.
    """
    made = manifests.kustomize("kubernetes")
    config = manifests.variables(made)
    spec, container = manifests.pod(made)
    probe = container["readinessProbe"]["exec"]["command"]
    node = web.nodes[0]
    environment, options = container_options(spec, config, tmp_path, node)
    with node.network.running([sys.executable, "-c", LISTENER]):
        pod = start(node, environment, options=options)
        web.wait_for_holder(ADDRESS, timeout=ELECTION)
        pod.wait_for_log("status.unavailable")
        wait_until(lambda: pod.run(*probe).returncode == 0, 5, "it is ready")
        stays(4 * container["readinessProbe"]["periodSeconds"])
        assert (True, 0, "") == (pod.is_running, *_said(pod, probe))
        pod.crash()
        again = start(node, environment, options=options)
        first = _said(again, probe)
        assert first[0] == 1
        assert first[1].startswith(("starting: ", "not ready")), first
        wait_until(lambda: again.run(*probe).returncode == 0, ELECTION, "ready again")
        assert again.run("pgrep", "keepalived").returncode == 0


def _said(pod: Pod, probe: list[str]) -> tuple[int, str]:
    done = pod.run(*probe)
    return done.returncode, done.stdout


def test_the_agents_find_each_other_through_a_name(
    start: StartPod, make_nodes: MakeLab, tmp_path: Path
) -> None:
    """The component unicast, with a DNS server that knows the pods' addresses as a cluster's."""
    web = make_nodes(port=80)
    made = manifests.kustomize_with("kubernetes", "unicast", tmp_path)
    config = manifests.variables(made)
    server = NameServer(web, name=config["OPENSHIFT_HA_UNICAST_PEERS_DNS"])
    server.say([each.ip for each in web.nodes])
    try:
        spec, _ = manifests.pod(made)
        pods = {}
        for node in web.nodes:
            environment, options = container_options(spec, config, tmp_path / node.name, node)
            pods[node] = start(node, environment, options=[*options, *server.options])
        for number in (1, 2, 3):
            web.wait_for_holder(web.virtual(number), timeout=ELECTION + 6)
    finally:
        server.die()
    first, second = web.nodes
    for node, peer in ((first, second), (second, first)):
        said = pods[node].run("cat", "/etc/keepalived/keepalived.conf").stdout
        assert [peer.ip] == said.partition("unicast_peer {")[2].partition("}")[0].split()
    assert [0, 0, 0] == [web.recorder.seconds_with_two(web.virtual(each)) for each in (1, 2, 3)]


def test_the_compose_file_serves(start: StartPod, web: Lab, tmp_path: Path) -> None:
    """With its options, its environment file and its volume."""
    service = manifests.compose()
    known = {
        *("image", "network_mode", "env_file", "restart", "stop_grace_period", "read_only"),
        *("cap_drop", "cap_add", "security_opt", "tmpfs", "volumes"),
    }
    assert known == service.keys()
    environment = manifests.env_file(EXAMPLES / "compose" / service["env_file"])

    def options(name: str) -> list[str]:
        directory = tmp_path / name
        directory.mkdir()
        return [
            *(f"--cap-drop={each}" for each in service["cap_drop"]),
            *(f"--cap-add={each}" for each in service["cap_add"]),
            *(f"--tmpfs={each}" for each in service["tmpfs"]),
            *(f"--volume={directory}:{each.partition(':')[2]}" for each in service["volumes"]),
            *(["--read-only", "--read-only-tmpfs=false"] if service["read_only"] else []),
            "--security-opt=no-new-privileges",
        ]

    first, second = web.nodes
    first_pod = start(first, environment, options=options("n1"))
    web.wait_for_holder(ADDRESS, among=[first], timeout=ELECTION)
    start(second, environment, options=options("n2")).wait_for_log("Entering BACKUP")
    first.application.stop()
    web.wait_for_holder(ADDRESS, among=[second], timeout=PLANNED + 4)
    assert first_pod.stop().exit_code == 0


@pytest.mark.usefixtures("image")
def test_the_generator_of_podman_5_takes_the_quadlet() -> None:
    """Every key is known, and the options that it makes are those that the next test runs."""
    directory = EXAMPLES / "quadlet"
    done = podman.output(
        podman.build_podman(),
        *("/usr/libexec/podman/quadlet", "-dryrun"),
        options=("--volume", f"{directory}:/quadlet:ro", "--env", "QUADLET_UNIT_DIRS=/quadlet"),
    )
    assert 0 == done.returncode, done.stderr
    text = (directory / "ipfailover.container").read_text(encoding="utf-8")
    quadlet.assert_taken(done.stdout, text)


def test_the_quadlet_serves_and_its_reload_gives_a_verdict(
    start: StartPod, web: Lab, tmp_path: Path
) -> None:
    """With the options that podman's generator makes of it, and the compose example's file."""
    text = (EXAMPLES / "quadlet" / "ipfailover.container").read_text(encoding="utf-8")
    options = [each for each in quadlet.options(text) if not each.startswith(_THE_LABS)]
    for place in ("run/ipfailover-agent", "etc/ipfailover"):
        (tmp_path / place).mkdir(parents=True)
        options = [
            each.replace(f"--volume=/{place}:", f"--volume={tmp_path}/{place}:")
            for each in options
        ]
    file = tmp_path / "etc" / "ipfailover" / "ipfailover.env"
    written = (EXAMPLES / "compose" / "ipfailover.env").read_text(encoding="utf-8")
    file.write_text(written)
    pod = start(web.nodes[0], options=options)
    web.wait_for_holder(ADDRESS, timeout=ELECTION)
    # As an editor does: another file under the same name.
    (file.parent / "new").write_text(written.replace(ADDRESS, f"{ADDRESS}-102"))
    (file.parent / "new").rename(file)
    [reload] = [value for key, value in quadlet.pairs(text, "Service") if key == "ExecReload"]
    podman, verb, _, *command = reload.split()
    assert (podman, verb) == ("/usr/bin/podman", "exec")
    done = pod.run(*command)
    assert 0 == done.returncode, done.stdout + done.stderr
    web.wait_for_holder("192.0.2.102", timeout=ELECTION)
    assert 0 == pod.stop().exit_code


#: What the lab itself gives a container.
_THE_LABS = ("--name=", "--network=")


def docker_runs() -> list[str]:
    """Return every line of README and the operations guide that runs the image."""
    texts = (EXAMPLES.parent / name for name in ("README.md", "docs/operations.md"))
    return [
        line.removeprefix("$ ")
        for text in texts
        for block in blocks(text.read_text(encoding="utf-8"))
        for line in block.body.replace("\\\n", " ").splitlines()
        if "docker run" in line and block.language in {"sh", "console"}
    ]


def test_every_docker_run_of_the_documents_works_as_written(
    start: StartPod, web: Lab, tmp_path: Path
) -> None:
    """The words after the image's name are its command; the network is the node's."""
    lines = docker_runs()
    assert lines
    (tmp_path / "ipfailover.env").write_text(
        (EXAMPLES / "compose" / "ipfailover.env").read_text(encoding="utf-8")
    )
    for line in lines:
        words = shlex.split(line, comments=True)
        words = words[words.index("run") + 1 :]
        image_at = next(n for n, word in enumerate(words) if word.startswith("ipfailover-agent:"))
        options, command = words[:image_at], words[image_at + 1 :]
        serves = "--detach" in options
        for name in ("--network", "--name", "--restart"):
            if name in options:
                at = options.index(name)
                options = options[:at] + options[at + 2 :]
        options = [
            word.replace("/etc/ipfailover.env", str(tmp_path / "ipfailover.env")).replace(
                "/run/ipfailover-agent:/", f"{tmp_path}:/"
            )
            for word in options
            if word not in {"--rm", "--detach"}
        ]
        pod = start(web.nodes[0], options=options, command=command)
        if serves:
            web.wait_for_holder(ADDRESS, timeout=ELECTION)
            assert pod.stop().exit_code == 0
        else:
            assert pod.wait() == 0, pod.logs()
