"""The examples are valid, alike where they should be, and name only what exists."""

from __future__ import annotations

import configparser
import copy
import os
import re
import shlex
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest

from ipfailover_agent.cli import cli
from ipfailover_agent.core.planning.plan import plan
from ipfailover_agent.core.reading import listen, old_reading, settings, variables
from ipfailover_agent.core.supervising.supervision import Policy
from ipfailover_agent.core.telling import http
from tests.support import manifests
from tests.support.manifests import (
    EXAMPLES,
    OVERLAYS,
    POD_MONITOR_SCHEMA,
    RULE_SCHEMA,
    SCC_SCHEMA,
    Manifest,
)
from tests.support.vectors import host_facts

if TYPE_CHECKING:
    from pathlib import Path

#: The newest version that the package knows, and one that is long out of support.
VERSIONS = ("1.37", "1.27")
NODE = host_facts({"eth0": ["192.0.2.11/24"]}, ["default via 192.0.2.250 dev eth0"])

each_file = pytest.mark.parametrize(
    "file", manifests.manifest_files(), ids=lambda each: str(each.relative_to(EXAMPLES))
)


def validate(manifest: Manifest) -> None:
    """Raise where a cluster would refuse the manifest, or ignore a part of it."""
    if manifest["kind"] == "SecurityContextConstraints":
        jsonschema.validate(manifest, SCC_SCHEMA)
    elif manifest["kind"] == "PodMonitor":
        jsonschema.validate(manifest, POD_MONITOR_SCHEMA)
    elif manifest["kind"] == "PrometheusRule":
        jsonschema.validate(manifest, RULE_SCHEMA)
    elif manifest["kind"] not in {"Kustomization", "Component"}:
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)


@each_file
def test_every_manifest_is_valid(file: Path) -> None:
    """By the real schemas, with no field that they do not know."""
    found = manifests.documents(file)
    assert found
    for each in found:
        validate(each)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kustomize_makes_is_valid(overlay: str) -> None:
    """Everything is in the namespace that is made, but for what belongs to none."""
    made = manifests.kustomize(overlay)
    for each in made:
        validate(each)
    outside = {"Namespace", "SecurityContextConstraints"}
    places = {each["metadata"].get("namespace") for each in made if each["kind"] not in outside}
    assert {manifests.find(made, "Namespace")["metadata"]["name"]} == places


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
    made = manifests.kustomize_with(overlay, "monitoring", tmp_path)
    for each in made:
        validate(each)
    [(_, spec)] = manifests.pod_specs(made)
    [container] = spec["containers"]
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
    made = manifests.kustomize_with(overlay, "probes", tmp_path)
    for each in made:
        validate(each)
    [(_, spec)] = manifests.pod_specs(made)
    [container] = spec["containers"]
    address = listen.parse("127.0.0.1:63000")
    assert address is not None
    paths = []
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        asked = container[probe].pop("httpGet")
        assert (address.host, address.port) == (asked["host"], asked["port"])
        request = http.parse_request(f"GET {asked['path']} HTTP/1.1\r\n\r\n".encode())
        assert isinstance(request, http.Request)
        paths.append((request.path, request.config))
        assert {
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        } == container[probe]
    name = manifests.find(made, "ConfigMap")["data"]["OPENSHIFT_HA_CONFIG_NAME"]
    # A name in the others would end the agents of all nodes when somebody changes it.
    assert [("/readyz", name), ("/livez", None), ("/livez", None)] == paths


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_base_has_no_probe_that_a_taken_port_can_fail(overlay: str) -> None:
    """The script of the image alone; and a stop is over before the kubelet kills."""
    [(_, spec)] = manifests.pod_specs(manifests.kustomize(overlay))
    [container] = spec["containers"]
    assert ["ipfailover-ready"] == container["readinessProbe"]["exec"]["command"]
    assert not {"livenessProbe", "startupProbe"} & container.keys()
    worst = Policy().stop_grace + 2 * Policy().kill_grace
    assert worst < spec["terminationGracePeriodSeconds"] == 10


def test_both_clusters_run_the_same_container() -> None:
    """Only placement, update and SELinux differ."""
    [(_, one)], [(_, other)] = (
        list(manifests.pod_specs(manifests.kustomize(each))) for each in OVERLAYS
    )
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
        found[overlay] = manifests.find(manifests.kustomize(overlay), "ConfigMap")["data"]
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
    old = old_reading.read(environment, NODE)
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
    made = manifests.kustomize(str(tmp_path))
    for each in made:
        validate(each)
    service = manifests.find(made, "Service")
    assert "None" == service["spec"]["clusterIP"]
    assert service["spec"]["publishNotReadyAddresses"]
    [workload] = [each for each in made if each["kind"] in {"DaemonSet", "Deployment"}]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    pod = workload["spec"]["template"]["spec"]
    assert (True, "ClusterFirstWithHostNet") == (pod["hostNetwork"], pod["dnsPolicy"])
    names = settings.parse(manifests.find(made, "ConfigMap")["data"]).unicast_peer_names
    place = service["metadata"]
    assert (f"{place['name']}.{place['namespace']}.svc.cluster.local",) == names


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_doctor_can_be_added_as_an_init_container(overlay: str, tmp_path: Path) -> None:
    """With the rights, the variables and the image of the agent, and options that exist."""
    made = manifests.kustomize_with(overlay, "doctor", tmp_path)
    for each in made:
        validate(each)
    [(_, spec)] = manifests.pod_specs(made)
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
