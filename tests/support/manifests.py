"""The manifests in examples/, as data, and what validates them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OVERLAYS = ("kubernetes", "openshift")
KUBECTL = Path(sys.executable).with_name("kubectl")

Manifest = dict[str, Any]

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _strict(*required: str, **properties: Manifest) -> Manifest:
    """Return the schema of an object that has these properties, and no others."""
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _listed(items: Manifest) -> Manifest:
    """Return the schema of an array of these items."""
    return {"type": "array", "items": items}


def _all(names: str, schema: Manifest) -> dict[str, Manifest]:
    """Return properties that have one schema, by their names."""
    return dict.fromkeys(names.split(), schema)


_TEXT: Manifest = {"type": "string"}

#: The Prometheus operator's rule, as far as it is used here: its schema is in no package.
RULE_SCHEMA = _strict(
    *("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "PrometheusRule"},
    metadata=_strict("name", name=_TEXT, namespace=_TEXT, labels=_TEXTS),
    spec=_strict(
        "groups",
        groups=_listed(
            _strict(
                *("name", "rules"),
                name=_TEXT,
                rules=_listed(
                    _strict(
                        *("alert", "expr", "labels", "annotations"),
                        **{"for": {**_TEXT, "pattern": "^[0-9]+[smh]$"}},
                        **_all("alert expr", _TEXT),
                        **_all("labels annotations", _TEXTS),
                    )
                ),
            )
        ),
    ),
)


def documents(path: Path) -> list[Manifest]:
    """Return the YAML documents of a file."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def manifest_files() -> list[Path]:
    """Return every file of examples/ that is for a cluster."""
    return sorted(each for each in EXAMPLES.rglob("*.yaml") if each.name != "compose.yaml")


def kustomize(overlay: str) -> list[Manifest]:
    """Return what ``kubectl apply -k`` would send to a cluster, by the real kustomize."""
    return _kustomize(EXAMPLES / overlay)


def _kustomize(directory: Path) -> list[Manifest]:
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(directory)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def kustomize_with(overlay: str, component: str, directory: Path) -> list[Manifest]:
    """Return what an overlay becomes with a component; ``directory`` is empty."""
    top = directory / "kustomization.yaml"
    relative = {
        name: os.path.relpath(EXAMPLES / name, directory.resolve())
        for name in (overlay, component)
    }
    kind = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    parts = {"resources": [relative[overlay]], "components": [relative[component]]}
    top.write_text(yaml.safe_dump({**kind, **parts, "namespace": "ipfailover"}), encoding="utf-8")
    return _kustomize(directory)


def find(manifests: list[Manifest], kind: str) -> Manifest:
    """Return the only manifest of that kind."""
    [found] = [each for each in manifests if each["kind"] == kind]
    return found


def namespace(manifests: list[Manifest]) -> str:
    """Return the name of the only namespace."""
    return str(find(manifests, "Namespace")["metadata"]["name"])


def variables(manifests: list[Manifest]) -> dict[str, str]:
    """Return what the only ConfigMap gives the agents."""
    return dict(find(manifests, "ConfigMap")["data"])


def pod(manifests: list[Manifest]) -> tuple[Manifest, Manifest]:
    """Return what the only kind of pod is made of, and its only container."""
    [(_, spec)] = pod_specs(manifests)
    [container] = spec["containers"]
    return spec, container


def pod_specs(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield what pods are made of, by kind and name."""
    for each in manifests:
        template = each.get("spec", {}).get("template")
        if template is not None:
            yield f"{each['kind']}/{each['metadata']['name']}", template["spec"]


def compose() -> Manifest:
    """Return the service of the compose file."""
    [whole] = documents(EXAMPLES / "compose" / "compose.yaml")
    service: Manifest = whole["services"]["ipfailover"]
    return service


def env_file(path: Path) -> dict[str, str]:
    """Read a file as docker's --env-file does."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


#: SecurityContextConstraints, group security.openshift.io/v1: its fields, and no others. No
#: package carries this schema; it is written after OpenShift's reference of the API.
SCC_SCHEMA = _strict(
    *("apiVersion", "kind", "metadata"),
    apiVersion={"const": "security.openshift.io/v1"},
    kind={"const": "SecurityContextConstraints"},
    metadata={"type": "object"},
    **_all(
        "allowHostDirVolumePlugin allowHostIPC allowHostNetwork allowHostPID allowHostPorts "
        "allowPrivilegedContainer allowPrivilegeEscalation defaultAllowPrivilegeEscalation "
        "readOnlyRootFilesystem",
        {"type": "boolean"},
    ),
    **_all(
        "allowedCapabilities defaultAddCapabilities requiredDropCapabilities "
        "allowedUnsafeSysctls forbiddenSysctls seccompProfiles volumes users groups",
        {"type": ["array", "null"], "items": _TEXT},
    ),
    allowedFlexVolumes={"type": ["array", "null"]},
    priority={"type": ["integer", "null"]},
    runAsUser=_strict(
        type={"enum": ["MustRunAs", "MustRunAsNonRoot", "MustRunAsRange", "RunAsAny"]},
        **_all("uid uidRangeMin uidRangeMax", {"type": "integer"}),
    ),
    seLinuxContext=_strict(
        type={"enum": ["MustRunAs", "RunAsAny"]}, seLinuxOptions={"type": "object"}
    ),
    **_all(
        "fsGroup supplementalGroups",
        _strict(type={"enum": ["MustRunAs", "RunAsAny"]}, ranges={"type": "array"}),
    ),
)

#: PodMonitor, group monitoring.coreos.com/v1: the fields that are used here, and no others.
POD_MONITOR_SCHEMA = _strict(
    *("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "PodMonitor"},
    metadata={"type": "object"},
    spec=_strict(
        *("selector", "podMetricsEndpoints"),
        selector={"type": "object", "required": ["matchLabels"]},
        podMetricsEndpoints={
            "minItems": 1,
            **_listed(
                _strict(
                    "port",
                    **_all("port path scheme", _TEXT),
                    interval={**_TEXT, "pattern": "^[0-9]+(s|m)$"},
                    relabelings=_listed(
                        _strict(sourceLabels={"type": "array"}, targetLabel={"type": "string"})
                    ),
                )
            ),
        },
    ),
)

#: By the kind of manifest.
SCHEMAS = {
    "SecurityContextConstraints": SCC_SCHEMA,
    "PodMonitor": POD_MONITOR_SCHEMA,
    "PrometheusRule": RULE_SCHEMA,
}
