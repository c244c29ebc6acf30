"""The right to make namespaces: as root, or as an ordinary user in a user namespace."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from pathlib import Path

from tests.lab.kit.namespaces import LabError, NetworkNamespace, base_environment, run

_TOOLS = {
    "ip": "iproute2",
    "keepalived": "keepalived",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
_MARK = "IPFAILOVER_LAB_USER_NAMESPACE"
_USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
_RESTRICTIONS = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ("kernel/unprivileged_userns_clone", "0"),
    ("user/max_user_namespaces", "0"),
)


@functools.cache
def why_impossible() -> str | None:
    """Return in one sentence why this process cannot run the lab, or None when it can."""
    missing = missing_tools()
    if missing:
        return missing
    try:
        _try_everything()
    except (LabError, OSError) as error:
        hint = "" if os.environ.get(_MARK) else f"; {how_without_root()}"
        return f"cannot make the lab's namespaces: {error}{hint}"
    return None


def missing_tools() -> str | None:
    """Return which programs have to be installed, or None."""
    path = base_environment()["PATH"]
    missing = [name for name in _TOOLS if shutil.which(name, path=path) is None]
    if not missing:
        return None
    packages = " ".join(sorted({_TOOLS[name] for name in missing}))
    return f"not found: {', '.join(missing)} (in Debian: apt-get install {packages})"


def how_without_root() -> str:
    """Return what to do: the command that gets the right, or what the kernel forbids."""
    done = run([*_USER_NAMESPACE, "true"], check=False)
    if done.returncode == 0:
        return "run it as root, or as `python -m tests.lab.kit.privileged -- pytest ...`"
    settings = [
        f"{name.replace('/', '.')} is {value}"
        for name, value in _RESTRICTIONS
        if (file := Path("/proc/sys", name)).exists() and file.read_text().strip() == value
    ]
    because = f" ({', '.join(settings)})" if settings else ""
    said = done.stderr.strip().removeprefix("unshare: ")
    return f"run it as root: this kernel gives ordinary users no namespaces{because}: {said}"


def ensure_privileges() -> None:
    """Return when the lab can run; else start this program again in a user namespace.

    LabError, one sentence, where neither is possible.
    """
    reason = why_impossible()
    if reason is None:
        return
    if os.environ.get(_MARK) or missing_tools():
        raise LabError(reason)
    if run([*_USER_NAMESPACE, "true"], check=False).returncode != 0:
        raise LabError(reason)
    environment = {**os.environ, _MARK: "1", "PATH": base_environment()["PATH"]}
    command = [*_USER_NAMESPACE, "--", sys.executable, *sys.orig_argv[1:]]
    sys.stdout.flush()
    os.execvpe(command[0], command, environment)  # noqa: S606 - its own command line


def _try_everything() -> None:
    """Do once what every lab does. LabError or OSError where something is not allowed."""
    namespace = NetworkNamespace("probe")
    try:
        namespace.set_sysctls({"ipv6/conf/default/accept_dad": "0"})
        namespace.ip(["link add br0 type bridge", "link add n1 type veth peer name n2"])
        namespace.run(["nft", "-f", "-"], text="table bridge lab\ntable inet lab\n")
        container = ["unshare", "--pid", "--mount", "--fork", "--mount-proc"]
        namespace.run([*container, "mount", "-t", "tmpfs", "lab", "/run"])
    finally:
        namespace.close()
