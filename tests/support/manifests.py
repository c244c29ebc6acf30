"""The manifests in examples/, as data, and what validates them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OVERLAYS = ("kubernetes", "openshift")

Manifest = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    """Return the YAML documents of a file."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def manifest_files() -> list[Path]:
    """Return every file of examples/ that is for a cluster."""
    return sorted(each for each in EXAMPLES.rglob("*.yaml") if each.name != "compose.yaml")


def kustomize(overlay: str) -> list[Manifest]:
    """Return what ``kubectl apply -k`` would send to a cluster, by the real kustomize."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [str(kubectl), "kustomize", str(EXAMPLES / overlay)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [each for each in yaml.safe_load_all(done.stdout) if each]


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
