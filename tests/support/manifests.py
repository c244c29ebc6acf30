"""The manifests in examples/, as data, and what validates them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OVERLAYS = ("kubernetes", "openshift")
KUBECTL = Path(sys.executable).with_name("kubectl")

Manifest = dict[str, Any]

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}

#: The Prometheus operator's rule, as far as it is used here: its schema is in no package.
RULE_SCHEMA: Manifest = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "PrometheusRule"},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "namespace": {"type": "string"},
                "labels": _TEXTS,
            },
        },
        "spec": {
            "type": "object",
            "required": ["groups"],
            "additionalProperties": False,
            "properties": {
                "groups": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "rules"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "rules": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "required": ["alert", "expr", "labels", "annotations"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "alert": {"type": "string"},
                                        "expr": {"type": "string"},
                                        "for": {"type": "string", "pattern": "^[0-9]+[smh]$"},
                                        "labels": _TEXTS,
                                        "annotations": _TEXTS,
                                    },
                                },
                            },
                        },
                    },
                }
            },
        },
    },
}


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
SCC_SCHEMA: Manifest = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata"],
    "properties": {
        "apiVersion": {"const": "security.openshift.io/v1"},
        "kind": {"const": "SecurityContextConstraints"},
        "metadata": {"type": "object"},
        **{
            name: {"type": "boolean"}
            for name in (
                *("allowHostDirVolumePlugin", "allowHostIPC", "allowHostNetwork"),
                *("allowHostPID", "allowHostPorts", "allowPrivilegedContainer"),
                *("allowPrivilegeEscalation", "defaultAllowPrivilegeEscalation"),
                "readOnlyRootFilesystem",
            )
        },
        **{
            name: {"type": ["array", "null"], "items": {"type": "string"}}
            for name in (
                *("allowedCapabilities", "defaultAddCapabilities", "requiredDropCapabilities"),
                *("allowedUnsafeSysctls", "forbiddenSysctls", "seccompProfiles", "volumes"),
                *("users", "groups"),
            )
        },
        "allowedFlexVolumes": {"type": ["array", "null"]},
        "priority": {"type": ["integer", "null"]},
        "runAsUser": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["MustRunAs", "MustRunAsNonRoot", "MustRunAsRange", "RunAsAny"]},
                **{name: {"type": "integer"} for name in ("uid", "uidRangeMin", "uidRangeMax")},
            },
        },
        "seLinuxContext": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["MustRunAs", "RunAsAny"]},
                "seLinuxOptions": {"type": "object"},
            },
        },
        **{
            name: {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "type": {"enum": ["MustRunAs", "RunAsAny"]},
                    "ranges": {"type": "array"},
                },
            }
            for name in ("fsGroup", "supplementalGroups")
        },
    },
}

#: PodMonitor, group monitoring.coreos.com/v1: the fields that are used here, and no others.
POD_MONITOR_SCHEMA: Manifest = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "PodMonitor"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["selector", "podMetricsEndpoints"],
            "properties": {
                "selector": {"type": "object", "required": ["matchLabels"]},
                "podMetricsEndpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["port"],
                        "properties": {
                            **{name: {"type": "string"} for name in ("port", "path", "scheme")},
                            "interval": {"type": "string", "pattern": "^[0-9]+(s|m)$"},
                            "relabelings": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "properties": {
                                        "sourceLabels": {"type": "array"},
                                        "targetLabel": {"type": "string"},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
