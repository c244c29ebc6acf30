"""The examples are valid, alike where they should be, and name only what exists."""

from __future__ import annotations

import configparser
import copy
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from ipfailover_agent.cli.main import cli
from ipfailover_agent.config import listen, settings, shell_reading, variables
from ipfailover_agent.config.planner import plan
from ipfailover_agent.http import messages
from ipfailover_agent.keepalived.lifecycle import SupervisionPolicy
from tests.support import manifests, quadlet
from tests.support.manifests import EXAMPLES, OVERLAYS, Manifest
from tests.support.markdown import blocks
from tests.support.vectors import host_facts

#: The newest version that the package knows, and one that is long out of support.
VERSIONS = ("1.37", "1.27")
NODE = host_facts({"eth0": ["192.0.2.11/24"]}, ["default via 192.0.2.250 dev eth0"])

each_file = pytest.mark.parametrize(
    "file", manifests.manifest_files(), ids=lambda each: str(each.relative_to(EXAMPLES))
)


def validate(manifest: Manifest) -> None:
    """Raise where a cluster would refuse the manifest, or ignore a part of it."""
    if manifest["kind"] in manifests.SCHEMAS:
        jsonschema.validate(manifest, manifests.SCHEMAS[manifest["kind"]])
    elif manifest["kind"] not in {"Kustomization", "Component"}:
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)


def valid(made: list[Manifest]) -> list[Manifest]:
    """Return the manifests, each of which is valid."""
    for each in made:
        validate(each)
    return made


@each_file
def test_every_manifest_is_valid(file: Path) -> None:
    """By the real schemas, with no field that they do not know."""
    assert valid(manifests.documents(file))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kustomize_makes_is_valid(overlay: str) -> None:
    """Everything is in the namespace that is made, but for what belongs to none."""
    made = valid(manifests.kustomize(overlay))
    outside = {"Namespace", "SecurityContextConstraints"}
    places = {each["metadata"].get("namespace") for each in made if each["kind"] not in outside}
    assert {manifests.namespace(made)} == places


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        pytest.param("DaemonSet", ("spec", "template", "spec", "hostNetworks"), True, id="typo"),
        pytest.param("DaemonSet", ("spec", "minReadySeconds"), "5", id="type"),
        pytest.param("SecurityContextConstraints", ("allowHostNet",), True, id="scc"),
        pytest.param("ConfigMap", ("data", "OPENSHIFT_HA_MONITOR_PORT"), 80, id="number"),
    ],
)
def test_the_schemas_refuse_what_is_wrong(kind: str, path: tuple[str, ...], value: object) -> None:
    """A check that passes everything would be worth nothing."""
    overlay = "openshift" if kind == "SecurityContextConstraints" else "kubernetes"
    manifest = copy.deepcopy(manifests.find(manifests.kustomize(overlay), kind))
    place: Any = manifest
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        validate(manifest)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_monitoring_can_be_added(overlay: str, tmp_path: Path) -> None:
    """Prometheus asks where the agent listens; the probe stays the base's."""
    made = valid(manifests.kustomize_with(overlay, "monitoring", tmp_path))
    _, container = manifests.pod(made)
    environment = {each["name"]: each for each in container["env"]}
    names = [*environment]
    assert names.index("NODE_IP") < names.index("IPFAILOVER_LISTEN")
    written = environment["IPFAILOVER_LISTEN"]["value"].replace("$(NODE_IP)", "192.0.2.11")
    [port] = container["ports"]
    address = listen.parse(written)
    assert address is not None
    assert [address.port, address.port] == [port["containerPort"], port["hostPort"]]
    monitor = manifests.find(made, "PodMonitor")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert (port["name"], "/metrics") == (endpoint["port"], endpoint["path"])
    kind = "Deployment" if overlay == "openshift" else "DaemonSet"
    labels = manifests.find(made, kind)["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for each in made:
        if each["kind"] == "SecurityContextConstraints":
            assert each["allowHostPorts"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_by_http_can_be_added(overlay: str, tmp_path: Path) -> None:
    """They ask where the agent listens by default; only readiness asks for the deployment."""
    made = valid(manifests.kustomize_with(overlay, "probes", tmp_path))
    _, container = manifests.pod(made)
    address = listen.parse("127.0.0.1:63000")
    assert address is not None
    paths = []
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        asked = container[probe].pop("httpGet")
        assert (address.host, address.port) == (asked["host"], asked["port"])
        request = messages.parse_request(f"GET {asked['path']} HTTP/1.1\r\n\r\n".encode())
        assert isinstance(request, messages.HttpRequest)
        paths.append((request.path, request.config))
        assert {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6} == container[
            probe
        ]
    name = manifests.variables(made)["OPENSHIFT_HA_CONFIG_NAME"]
    # A name in the others would end the agents of all nodes when somebody changes it.
    assert [("/readyz", name), ("/livez", None), ("/livez", None)] == paths


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_base_has_no_probe_that_a_taken_port_can_fail(overlay: str) -> None:
    """The script of the image alone; and a stop is over before the kubelet kills."""
    spec, container = manifests.pod(manifests.kustomize(overlay))
    assert ["ipfailover-ready"] == container["readinessProbe"]["exec"]["command"]
    assert not {"livenessProbe", "startupProbe"} & container.keys()
    worst = SupervisionPolicy().stop_grace + 2 * SupervisionPolicy().kill_grace
    assert worst < spec["terminationGracePeriodSeconds"] == 10


def test_both_clusters_run_the_same_container() -> None:
    """Only placement, update and SELinux differ."""
    [(one, _), (other, _)] = (manifests.pod(manifests.kustomize(each)) for each in OVERLAYS)
    assert one["containers"] == other["containers"]
    assert one["volumes"] == other["volumes"]
    assert {"affinity", "securityContext"} == other.keys() - one.keys()


def test_the_constraints_allow_what_the_pod_asks_for_and_no_more() -> None:
    """Capabilities and volumes are those of the deployment and of the removal."""
    made = manifests.kustomize("openshift")
    constraints = manifests.find(made, "SecurityContextConstraints")
    job = manifests.documents(EXAMPLES / "remove" / "job.yaml")
    asked: set[str] = set()
    volumes: set[str] = set()
    for _, spec in manifests.pod_specs([*made, *job]):
        for container in spec["containers"]:
            context = container["securityContext"]
            asked |= set(context["capabilities"]["add"])
            assert ["ALL"] == context["capabilities"]["drop"]
            assert context["readOnlyRootFilesystem"]
            assert not context["privileged"]
            assert not context["allowPrivilegeEscalation"]
        volumes |= {kind for each in spec["volumes"] for kind in each if kind != "name"}
    assert set(constraints["allowedCapabilities"]) == asked
    assert set(constraints["volumes"]) == volumes


def environments() -> dict[str, dict[str, str]]:
    """Return every environment in the examples by the name of its file."""
    found = {"compose": manifests.env_file(EXAMPLES / "compose" / "ipfailover.env")}
    for overlay in OVERLAYS:
        found[overlay] = manifests.variables(manifests.kustomize(overlay))
    comment = (EXAMPLES / "applications" / "node-port.yaml").read_text(encoding="utf-8")
    pairs = re.findall(r"^#   (OPENSHIFT_HA_\w+): (.*)$", comment, re.MULTILINE)
    assert pairs
    found["node-port"] = found[OVERLAYS[0]] | {name: value.strip('"') for name, value in pairs}
    return found


@pytest.mark.parametrize("name", ["compose", *OVERLAYS, "node-port"])
def test_an_environment_is_read_without_a_word_and_as_the_old_image_read_it(name: str) -> None:
    """Every variable exists, nothing is warned of, and a rollback serves nothing foreign."""
    environment = environments()[name]
    assert set() == environment.keys() - variables.BY_NAME.keys()
    parsed = settings.parse(environment)
    config = plan(parsed, NODE)
    assert () == (*parsed.warnings, *config.reports, *config.degraded)
    old = shell_reading.read(environment, NODE)
    ours = {
        each.virtual_router_id: {held.address for held in each.all_addresses}
        for each in config.instances
    }
    assert ours == {each.virtual_router_id: set(each.served) for each in old.instances}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_agents_find_each_other_through_a_service(overlay: str, tmp_path: Path) -> None:
    """The name is the Service's, which has every pod of ours, ready or not, and pods can ask."""
    places = [os.path.relpath(EXAMPLES / each, tmp_path) for each in (overlay, "unicast")]
    text = f"namespace: ipfailover\nresources: [{places[0]}]\ncomponents: [{places[1]}]\n"
    (tmp_path / "kustomization.yaml").write_text(text, encoding="utf-8")
    made = valid(manifests.kustomize(str(tmp_path)))
    service = manifests.find(made, "Service")
    assert "None" == service["spec"]["clusterIP"]
    assert service["spec"]["publishNotReadyAddresses"]
    [workload] = [each for each in made if each["kind"] in {"DaemonSet", "Deployment"}]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    pod = workload["spec"]["template"]["spec"]
    assert (True, "ClusterFirstWithHostNet") == (pod["hostNetwork"], pod["dnsPolicy"])
    names = settings.parse(manifests.variables(made)).unicast_peer_names
    place = service["metadata"]
    assert (f"{place['name']}.{place['namespace']}.svc.cluster.local",) == names


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_doctor_can_be_added_as_an_init_container(overlay: str, tmp_path: Path) -> None:
    """With the rights, the variables and the image of the agent, and options that exist."""
    made = valid(manifests.kustomize_with(overlay, "doctor", tmp_path))
    spec, _ = manifests.pod(made)
    [agent], [doctor] = spec["containers"], spec["initContainers"]
    assert agent["image"] == doctor["image"]
    assert agent["securityContext"] == doctor["securityContext"]
    assert all(each in doctor["env"] for each in agent["env"])
    places = {(each["name"], each["mountPath"]) for each in agent["volumeMounts"]}
    assert places == {(each["name"], each["mountPath"]) for each in doctor["volumeMounts"]}
    program, name, *options = doctor["command"]  # the image's own entry point is "run"
    assert (program, "args" in doctor) == ("ipfailover-agent", False)
    context = cli.commands[name].make_context(name, options)
    # what nobody mends by starting the agent still fails
    assert {"interface", "dns", "script"} == context.params["tolerate"]


def test_the_unit_calls_commands_that_exist() -> None:
    """ExecStart and ExecReload; and it stops only the agent, which stops the rest."""
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(EXAMPLES / "systemd" / "ipfailover-agent.service")
    service = unit["Service"]
    for line, command in (("ExecStart", "run"), ("ExecReload", "reload")):
        words = shlex.split(service[line])
        assert words[0].endswith("/ipfailover-agent")
        assert command == words[1]
        known = {option for each in cli.commands[command].params for option in each.opts}
        assert {word for word in words[2:] if word.startswith("--")} <= known
    assert service["KillMode"] == "mixed"
    assert service["Environment"].partition("=")[0] in variables.BY_NAME


# --- what was seen on a cluster -----------------------------------------------------------------


def applied_in_order(file: str) -> list[Manifest]:
    """Return the documents as ``kubectl apply -f`` sends them: one after the other."""
    return manifests.documents(EXAMPLES / file)


@pytest.mark.parametrize("name", ["host-network", "node-port"])
def test_an_applications_namespace_is_its_own_and_comes_first(name: str) -> None:
    """Or applying fails, and removing the agent's namespace removes the application."""
    first, *rest = applied_in_order(f"applications/{name}.yaml")
    assert "Namespace" == first["kind"]
    assert rest
    assert {first["metadata"]["name"]} == {each["metadata"]["namespace"] for each in rest}
    agents = {manifests.namespace(manifests.kustomize(each)) for each in (*OVERLAYS, "second")}
    assert first["metadata"]["name"] not in agents


def test_the_node_port_example_asks_more_than_once_and_forbids_a_list_of_networks() -> None:
    """kube-proxy refuses connections to an address that came after its last full look."""
    assert "3" == environments()["node-port"]["OPENSHIFT_HA_CHECK_FALL"]
    text = (EXAMPLES / "applications" / "node-port.yaml").read_text(encoding="utf-8")
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    advice = comment.partition("--nodeport-addresses: ")[2]
    assert advice.startswith("leave it unset in mode iptables, and set it to 0.0.0.0/0 in mode")
    assert "Never a list" in advice
    assert not re.search(r"\d/(?!0\b)\d", advice)  # no network but all of them


@pytest.mark.parametrize("overlay", [*OVERLAYS, "second"])
def test_pod_security_neither_refuses_nor_warns(overlay: str) -> None:
    """The level that is enforced is also the one that is warned of and noted."""
    labels = manifests.find(manifests.kustomize(overlay), "Namespace")["metadata"]["labels"]
    modes = ("enforce", "warn", "audit")
    assert {f"pod-security.kubernetes.io/{each}": "privileged" for each in modes} == labels


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_hook_drains_and_exec_means_the_agent(overlay: str) -> None:
    """A drain outlives the pod: a roll-out would leave all but one node drained."""
    made = manifests.kustomize(overlay)
    _, container = manifests.pod(made)
    assert "lifecycle" not in container
    kind = "Deployment" if overlay == "openshift" else "DaemonSet"
    notes = manifests.find(made, kind)["spec"]["template"]["metadata"]["annotations"]
    assert container["name"] == notes["kubectl.kubernetes.io/default-container"]


# --- a second deployment on the same nodes ------------------------------------------------------

_SECOND = EXAMPLES / "second" / "kustomization.yaml"
_PEERS = "OPENSHIFT_HA_UNICAST_PEERS_DNS"
_BLOCK = re.compile(r"^  # With the component (\w+) there:\n((?:  # .*\n)+)", re.MULTILINE)


def second(overlay: str, component: str, directory: Path) -> list[Manifest]:
    """Return the second deployment of examples in which the first one has a component."""
    shutil.copytree(EXAMPLES, directory / "examples")
    if component:
        first = directory / "examples" / overlay / "kustomization.yaml"
        with first.open("a", encoding="utf-8") as file:
            file.write(f"components: [../{component}]\n")
    text = _SECOND.read_text(encoding="utf-8").replace("../kubernetes\n", f"../{overlay}\n")
    block = dict(_BLOCK.findall(text)).get(component)
    if block is not None:
        text = text.replace(block, re.sub(r"^  # ", "  ", block, flags=re.MULTILINE))
    (directory / "examples" / "second" / "kustomization.yaml").write_text(text, encoding="utf-8")
    return manifests.kustomize(str(directory / "examples" / "second"))


def test_a_second_deployment_names_every_component_that_has_a_name_or_a_port() -> None:
    """One with the first deployment's namespace, name or port in it would be forgotten."""
    telling = re.compile(r"63000|config=|ipfailover-peers\.ipfailover")
    components = {
        file.parent.name
        for file in EXAMPLES.glob("*/kustomization.yaml")
        if "kind: Component" in file.read_text(encoding="utf-8")
        and telling.search(re.sub(r"(?m)^ *#.*$", "", file.read_text(encoding="utf-8")))
    }
    assert components == dict(_BLOCK.findall(_SECOND.read_text(encoding="utf-8"))).keys()


@pytest.mark.parametrize("component", ["", "unicast", "probes", "monitoring", "doctor"])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_second_deployment_shares_nothing_with_the_first(
    overlay: str, component: str, tmp_path: Path
) -> None:
    """Namespace, directory on the host, port, ids and addresses; the path follows its name."""
    made = valid(second(overlay, component, tmp_path))
    first = manifests.kustomize(str(tmp_path / "examples" / overlay))
    names = [manifests.namespace(each) for each in (first, made)]
    assert ["ipfailover", "ipfailover-second"] == names
    assert {names[1]} == {
        each["metadata"]["namespace"] for each in made if each["kind"] != "Namespace"
    }
    data = [manifests.variables(each) for each in (first, made)]
    # Who the peers are is of no consequence here, and would have to be resolved.
    listed = [{name: each[name] for name in each.keys() - {_PEERS}} for each in data]
    [one, other] = [plan(settings.parse(each), NODE).instances for each in listed]
    assert not {each.virtual_router_id for each in one} & {
        each.virtual_router_id for each in other
    }
    assert not {str(each) for group in one for each in group.all_addresses} & {
        str(each) for group in other for each in group.all_addresses
    }
    assert data[0]["OPENSHIFT_HA_CONFIG_NAME"][:8] != data[1]["OPENSHIFT_HA_CONFIG_NAME"][:8]
    places = [
        volume["hostPath"]["path"]
        for each in (first, made)
        for _, spec in manifests.pod_specs(each)
        for volume in spec["volumes"]
        if "hostPath" in volume
    ]
    own = f"{places[0]}-{data[1]['OPENSHIFT_HA_CONFIG_NAME']}"
    assert ["/run/ipfailover-agent", own] == places
    text = yaml.safe_dump_all(made)
    assert "63001" in text
    assert "63000" not in text
    assert "config=ipfailover" not in text
    assert "ipfailover.svc" not in text
    spec, _ = manifests.pod(made)
    entries = [each["name"] for each in spec["containers"][0]["env"]]
    assert len(set(entries)) == len(entries)
    if component == "monitoring":
        assert entries.index("NODE_IP") < entries.index("IPFAILOVER_LISTEN")


def test_the_directory_of_a_second_deployment_follows_its_name(tmp_path: Path) -> None:
    """What is written at NAME is all that a third one changes."""
    second("kubernetes", "", tmp_path)
    there = tmp_path / "examples" / "second" / "kustomization.yaml"
    text = there.read_text(encoding="utf-8")
    there.write_text(
        re.sub(r"\bsecond( # NAME)", r"third-one\1", text).replace("63001", "63002"),
        encoding="utf-8",
    )
    made = manifests.kustomize(str(there.parent))
    assert "ipfailover-third-one" == manifests.namespace(made)
    assert "third-one" == manifests.variables(made)["OPENSHIFT_HA_CONFIG_NAME"]
    spec, _ = manifests.pod(made)
    paths = [each["hostPath"]["path"] for each in spec["volumes"] if "hostPath" in each]
    assert ["/run/ipfailover-agent-third-one"] == paths


# --- what the guide has an operator type ------------------------------------------------------

OPERATIONS = EXAMPLES.parent / "docs" / "operations.md"
_KUBECTL = re.compile(r"(?:^|[\s(])(?:kubectl|oc) ((?:'[^']*'|[^|;)'])*)")


def guide_lines() -> list[str]:
    """Return every line that the guide has an operator type into a shell."""
    return [
        line.removeprefix("$ ")
        for block in blocks(OPERATIONS.read_text(encoding="utf-8"))
        for line in block.body.replace("\\\n", " ").splitlines()
        if block.language == "sh" or line.startswith("$ ")
    ]


def test_kubectl_knows_every_command_of_the_guide() -> None:
    """The real one parses it, finds the directories, and only then finds no cluster."""
    found = [
        words.replace('"$pod"', "pod/x")
        for line in guide_lines()
        for words in _KUBECTL.findall(line.replace("$(date +%s)", "0"))
    ]
    assert {"drain", "annotate", "port-forward", "scale", "delete"} <= {
        word for words in found for word in words.split()
    }
    nowhere = [str(manifests.KUBECTL), "--server=http://127.0.0.1:1", "--request-timeout=1"]
    wrong = {}
    for words in dict.fromkeys(found):
        done = subprocess.run(
            [*nowhere, *shlex.split(words)],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            cwd=EXAMPLES.parent,
            stdin=subprocess.DEVNULL,
        )
        # From standard input there comes nothing: the next test looks at what is piped there.
        if not re.search(r"127\.0\.0\.1:1\b|no objects passed", done.stderr):
            wrong[words] = done.stderr
    assert {} == wrong


def test_the_removal_job_of_the_guide_fits_either_deployment() -> None:
    """With the words of the guide: the namespace and the directory of the deployment."""
    lines = [line.rpartition(" | ")[0] for line in guide_lines() if "remove/job.yaml" in line]
    jobs = []
    for line in lines:
        done = subprocess.run(
            shlex.split(line), check=True, capture_output=True, text=True, cwd=EXAMPLES.parent
        )
        [job] = list(yaml.safe_load_all(done.stdout))
        validate(job)
        jobs.append(job)
    for overlay, job in zip(("kubernetes", "second"), jobs, strict=True):
        made = manifests.kustomize(overlay)
        namespace = manifests.namespace(made)
        assert namespace == job["metadata"]["namespace"]
        [(_, agent)], [(_, remover)] = (list(manifests.pod_specs(each)) for each in (made, [job]))
        assert {"kubernetes.io/hostname": "worker-3"} == remover["nodeSelector"]
        [mine, theirs] = (
            [each for each in spec["volumes"] if each["name"] in {"state", "config"}]
            for spec in (remover, agent)
        )
        assert theirs == mine
        assert (
            manifests.find(made, "ServiceAccount")["metadata"]["name"]
            == (remover["serviceAccountName"])
        )


def test_the_guide_and_the_examples_name_what_was_not_run_on_a_cluster() -> None:
    """And neither says any more that nothing was."""
    texts = [
        " ".join(file.read_text(encoding="utf-8").split())
        for file in (OPERATIONS, EXAMPLES / "README.md")
    ]
    parts = [
        text.partition(start)[2][:500]
        for text, start in zip(texts, ("**Not run yet:**", "Not run were:"), strict=True)
    ]
    for part in parts:
        for name in ("SELinux", "`spc_t`", "CRI-O", "OVN-Kubernetes", "cgroup v2", "IPv6"):
            assert name in part
    assert not any("not run on a cluster" in text for text in texts)


# --- quadlet ------------------------------------------------------------------------------------

_QUADLET = EXAMPLES / "quadlet" / "ipfailover.container"


def test_the_quadlet_gives_the_container_what_compose_gives_it() -> None:
    """The same rights, network and directory; and it names commands that exist."""
    text = _QUADLET.read_text(encoding="utf-8")
    options = set(quadlet.options(text))
    service = manifests.compose()
    assert {
        f"--network={service['network_mode']}",
        *(f"--cap-drop={each.lower()}" for each in service["cap_drop"]),
        *(f"--cap-add={each}" for each in service["cap_add"]),
        *(f"--tmpfs={each}" for each in service["tmpfs"]),
        *(f"--volume={each}" for each in service["volumes"]),
        "--read-only",
        "--read-only-tmpfs=false",
        "--security-opt=no-new-privileges",
    } <= options
    [reload] = [value for key, value in quadlet.pairs(text, "Service") if key == "ExecReload"]
    [name] = [each.removeprefix("--name=") for each in options if each.startswith("--name=")]
    assert ["/usr/bin/podman", "exec", name, "ipfailover-agent", "reload"] == reload.split()
    # The unit itself must not be ended before the container's own time is over.
    unit = dict(quadlet.pairs(text, "Service"))
    [grace] = [each.partition("=")[2] for each in options if each.startswith("--stop-timeout")]
    assert (
        SupervisionPolicy().stop_grace + 2 * SupervisionPolicy().kill_grace
        < int(grace)
        < int(unit["TimeoutStopSec"])
    )


def test_podmans_own_generator_takes_the_quadlet() -> None:
    """Version 5: every key is known, and its options are those that the tests run."""
    program = quadlet.generator()
    if program is None:
        pytest.skip(
            "no podman 5 here, QUADLET may name its generator; the image tests bring their own"
        )
    made = quadlet.generated(program, _QUADLET.parent)
    quadlet.assert_taken(made, _QUADLET.read_text(encoding="utf-8"))
