"""Host facts: interfaces, routes, scripts, capabilities, processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ipfailover_agent.linux import host
from ipfailover_agent.model import DefaultRoute, Family, HostScope, InterfaceAddress, ScriptState
from tests.support.apart import mounted, run_code
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.waiting import wait_until


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    """Enter a fresh namespace with a pair of interfaces, ``one`` and ``two``."""
    with fresh_namespace() as made:
        made.ip("link", "add", "one", "type", "veth", "peer", "name", "two")
        made.ip("link", "set", "one", "up")
        with made.entered():
            yield made


def test_the_facts_are_what_was_set_up(namespace: NetworkNamespace) -> None:
    """Interfaces with state and addresses, routes by interface name, recorded addresses."""
    namespace.ip("link", "set", "two", "up")
    namespace.ip("link", "set", "two", "mtu", "9000")
    namespace.ip("link", "set", "lo", "down")
    namespace.ip("addr", "add", "10.9.0.1/24", "dev", "one")
    namespace.ip("addr", "add", "fd00:9::1/64", "dev", "one", "nodad")
    namespace.ip("route", "add", "default", "via", "10.9.0.254", "dev", "one", "metric", "5")
    recorded = (ip_address("10.9.0.7"),)
    facts = host.discover(HostScope(interfaces=("one",)), recorded=recorded)
    one = facts.interface("one")
    assert one is not None
    expected = [
        InterfaceAddress(address=ip_address("10.9.0.1"), prefix_length=24, label="one"),
        InterfaceAddress(address=ip_address("fd00:9::1"), prefix_length=64),
    ]
    assert expected == [each for each in one.addresses if not each.address.is_link_local]
    assert {"lo": False, "one": True, "two": True} == {
        each.name: each.is_up for each in facts.interfaces
    }
    assert {"one": 1500, "two": 9000} == {
        each.name: each.mtu for each in facts.interfaces if each.name != "lo"
    }
    gateway = ip_address("10.9.0.254")
    route = DefaultRoute(family=Family.IPV4, interface="one", metric=5, gateway=gateway)
    assert facts.default_routes == (route,)
    assert recorded == facts.recorded_addresses
    assert (facts.check_script, facts.notify_script) == (None, None)


def test_a_labelled_address_does_not_look_like_an_interface(namespace: NetworkNamespace) -> None:
    """getifaddrs(3) shows it under ``one:vip``; the agent shows it on ``one``."""
    namespace.ip("addr", "add", "10.9.0.1/32", "dev", "one", "label", "one:vip")
    facts = host.discover(HostScope(interfaces=("one",)))
    assert {"lo", "one", "two"} == {each.name for each in facts.interfaces}
    one = facts.interface("one")
    assert one is not None
    assert [each.label for each in one.addresses] == ["one:vip"]


def test_the_way_to_virtual_addresses_is_known_but_to_those_that_are_here(
    namespace: NetworkNamespace,
) -> None:
    """On the link of an interface, behind a router, or by no route."""
    namespace.ip_batch(
        "link set two up",
        "addr add 10.9.0.1/24 dev one",
        "addr add 10.9.0.100/32 dev one",
        "addr add fd00:9::1/64 dev two nodad",
        "route add 10.8.0.0/16 via 10.9.0.254 dev one",
        "route add 10.7.0.0/24 nexthop via 10.9.0.254 dev one nexthop via 10.9.0.253 dev one",
    )
    asked = ("10.9.0.5", "10.9.0.100", "10.8.0.5", "10.7.0.5", "fd00:9::5", "fd07::5")
    facts = host.discover(HostScope(virtual=tuple(map(ip_address, asked))))
    found = {str(each.address): (each.interface, each.is_on_link) for each in facts.approaches}
    assert {
        "10.9.0.5": ("one", True),
        "10.8.0.5": ("one", False),
        "10.7.0.5": ("one", False),
        "fd00:9::5": ("two", True),
        "fd07::5": ("", False),
    } == found


def test_an_interface_without_carrier_is_not_up(namespace: NetworkNamespace) -> None:
    """One end is up, the other is not: keepalived would be in FAULT."""
    one = host.discover(HostScope()).interface("one")
    assert one is not None
    assert not one.is_up
    assert namespace.name


SCRIPTS = {
    "executable": ("{tmp}/good", ScriptState.USABLE),
    "arguments": ("{tmp}/good --with 'an argument'", ScriptState.USABLE),
    "quoted": ('"{tmp}/good"', ScriptState.USABLE),
    "not executable": ("{tmp}/plain", ScriptState.NOT_EXECUTABLE),
    "directory": ("{tmp}", ScriptState.NOT_EXECUTABLE),
    "missing": ("{tmp}/missing", ScriptState.MISSING),
    "below a file": ("{tmp}/good/below", ScriptState.MISSING),
    "dangling link": ("{tmp}/dangling", ScriptState.MISSING),
    "link": ("{tmp}/link", ScriptState.USABLE),
    "on PATH": ("sh -c true", ScriptState.USABLE),
    "not on PATH": ("no-such-program-anywhere", ScriptState.MISSING),
    "odd quote": ("{tmp}/good it's", ScriptState.USABLE),
    "empty": ("", ScriptState.MISSING),
}


@pytest.mark.parametrize(("command", "expected"), SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_script_is_judged_by_its_first_word(
    tmp_path: Path, command: str, expected: ScriptState
) -> None:
    """Usable, there but not executable, or missing."""
    (tmp_path / "good").write_text("#!/bin/sh\n")
    (tmp_path / "good").chmod(0o755)
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    (tmp_path / "plain").chmod(0o644)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("good")
    assert expected is host.script_state(command.format(tmp=tmp_path))


def test_scripts_are_part_of_the_facts(tmp_path: Path) -> None:
    """Each of the two is looked at by itself."""
    facts = host.discover(HostScope(), check_script="sh", notify_script=str(tmp_path / "missing"))
    assert facts.check_script is ScriptState.USABLE
    assert facts.notify_script is ScriptState.MISSING


def test_a_script_on_a_noexec_mount_is_not_executable(tmp_path: Path) -> None:
    """It has its x bit and still cannot be run there."""
    with mounted(tmp_path, "noexec"):
        (tmp_path / "script").write_text("#!/bin/sh\n")
        (tmp_path / "script").chmod(0o755)
        assert host.script_state(f"{tmp_path}/script") is ScriptState.NOT_EXECUTABLE


def test_missing_capabilities_are_named() -> None:
    """A process that gave up root has neither of the two that keepalived needs."""
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to give up")
    script = (
        "import os\nfrom ipfailover_agent.linux import host\n"
        "print(host.missing_capabilities())\n"
        "os.setuid(65534)\n"
        "print(host.missing_capabilities())\n"
    )
    assert run_code(script) == "()\n('NET_ADMIN', 'NET_RAW')\n"


def test_a_process_is_known_by_when_it_started() -> None:
    """The start does not change while it runs, and differs from one that started later."""
    ours = host.process_started_at(os.getpid())
    assert ours is not None
    assert ours == host.process_started_at(os.getpid())
    time.sleep(0.02)  # two clock ticks, in which nothing can be waited for
    with subprocess.Popen(["sleep", "60"]) as child:
        theirs = host.process_started_at(child.pid)
        assert theirs is not None
        assert theirs > ours
        child.kill()


def test_a_process_that_is_dead_has_no_start() -> None:
    """Neither one that waits to be reaped nor one that is gone."""
    with subprocess.Popen(["sleep", "60"]) as child:
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert host.process_started_at(child.pid) is None
    assert host.process_started_at(child.pid) is None


def test_a_process_name_cannot_lead_astray(tmp_path: Path) -> None:
    """Blanks and parentheses in the command do not shift the fields."""
    program = tmp_path / ") Z 1 ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as child:
        name = Path(f"/proc/{child.pid}/comm")
        wait_until(lambda: name.read_text() == ") Z 1 (\n", 5, "the program did not start")
        found = host.process_started_at(child.pid)
        ours = host.process_started_at(os.getpid())
        child.kill()
    assert found is not None
    assert ours is not None
    assert found >= ours


# --- the CPU of the agent ----------------------------------------------------------------------


def control_group(root: Path, path: str, **files: str) -> None:
    """Write files of a control group, ``__`` in their names for a dot."""
    directory = root / path
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(f"{text}\n")


def limit_by(tmp_path: Path, membership: str) -> float | None:
    """Return the limit that is found below a directory."""
    (tmp_path / "membership").write_text(membership)
    return host.cpu_share(
        membership=str(tmp_path / "membership"), control_groups=str(tmp_path / "cgroup")
    ).limit


@pytest.mark.parametrize(
    ("own", "above", "expected"),
    [
        pytest.param("20000 100000", "max 100000", 0.2, id="ours"),
        pytest.param("max 100000", "150000 100000", 1.5, id="the pod's"),
        pytest.param("20000 100000", "10000 100000", 0.1, id="the lowest"),
        pytest.param("max 100000", "max 100000", None, id="none"),
        pytest.param("", "nonsense", None, id="unreadable"),
    ],
)
def test_the_cpu_limit_is_the_lowest_above_us(
    tmp_path: Path, own: str, above: str, expected: float | None
) -> None:
    """A container's own, or that of the pod around it (cgroup version 2)."""
    control_group(tmp_path / "cgroup", "pod/own", cpu__max=own)
    control_group(tmp_path / "cgroup", "pod", cpu__max=above)
    assert expected == limit_by(tmp_path, "0::/pod/own\n")


def test_a_container_that_sees_itself_as_the_root_has_a_limit_there(tmp_path: Path) -> None:
    """With a namespace of control groups of its own, and where its path leads nowhere."""
    control_group(tmp_path / "cgroup", "", cpu__max="30000 100000")
    assert limit_by(tmp_path, "0::/\n") == 0.3
    assert limit_by(tmp_path, "0::/kubepods/pod1\n") == 0.3


def test_odd_names_and_numbers_of_control_groups_raise_nothing(tmp_path: Path) -> None:
    """A line ends where the kernel ends it, and what is no number is not known."""
    control_group(tmp_path / "cgroup", "a\fb", cpu__max="20000 100000", cpu__stat="nr_throttled x")
    assert limit_by(tmp_path, "0::/a\fb\n") == 0.2
    membership, groups = str(tmp_path / "membership"), str(tmp_path / "cgroup")
    assert host.throttled(membership=membership, control_groups=groups) is None


def test_control_groups_of_version_1_have_limits_too(tmp_path: Path) -> None:
    """-1 is none there."""
    membership = "5:memory:/a\n3:cpu,cpuacct:/a\n0::/\n"
    control_group(tmp_path / "cgroup", "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert limit_by(tmp_path, membership) is None
    control_group(
        tmp_path / "cgroup", "cpu/a", cpu__cfs_quota_us="50000", cpu__cfs_period_us="200000"
    )
    assert limit_by(tmp_path, membership) == 0.25


def test_a_system_that_does_not_tell_has_no_limit(tmp_path: Path) -> None:
    """Nothing there, nothing raised; pressure is what this kernel says."""
    share = host.cpu_share(membership=str(tmp_path / "no"), control_groups=str(tmp_path))
    assert share.limit is None
    assert share.pressure is None or 0 <= share.pressure <= 100


def test_what_keeps_an_interface_from_serving_is_told(namespace: NetworkNamespace) -> None:
    """As keepalived sees it: gone, down, without carrier, without an address of the family."""
    four, six = Family.IPV4, Family.IPV6
    assert "interface nosuch0 is gone" == host.link_failure("nosuch0", four)
    assert "interface one is down" == host.link_failure("one", four)
    namespace.ip("link", "set", "one", "up")
    assert "interface one is down" == host.link_failure("one", four)
    namespace.ip("link", "set", "two", "up")
    wait_until(lambda: host.link_failure("one", six) is None, 5, "no carrier")
    assert "interface one has no IPv4 address" == host.link_failure("one", four)
    namespace.ip("addr", "add", "10.9.0.1/24", "dev", "one")
    assert host.link_failure("one", four) is None
    namespace.ip("-6", "addr", "flush", "dev", "one")
    assert "interface one has no link-local address" == host.link_failure("one", six)
    namespace.ip("addr", "add", "fd09::1/64", "dev", "one")
    assert "interface one has no link-local address" == host.link_failure("one", six)
    long = "x" * 40  # longer than the kernel takes
    assert f"interface {long} is gone" == host.link_failure(long, four)


def test_an_interface_has_a_link_while_it_is_up_and_has_its_carrier(
    namespace: NetworkNamespace,
) -> None:
    """One that is not there has none; addresses do not matter."""
    assert [False, False] == [host.has_link(each) for each in ("nosuch0", "one")]
    namespace.ip("link", "set", "one", "up")
    assert host.has_link("one") is False
    namespace.ip("link", "set", "two", "up")
    wait_until(lambda: host.has_link("one"), 5, "a carrier")
    namespace.ip("link", "set", "one", "down")
    assert host.has_link("one") is False


def test_a_vrf_is_told_by_the_kernel_s_word_for_the_master(tmp_path: Path) -> None:
    """As in /sys/class/net; a bridge is a master as well."""
    for name, kind in (("mgmt", "vrf"), ("br0", "bridge")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "uevent").write_text(f"DEVTYPE={kind}\nINTERFACE={name}\n")
    for name, master in (("eth0", "mgmt"), ("eth1", "br0"), ("eth2", None)):
        (tmp_path / name).mkdir()
        if master is not None:
            (tmp_path / name / "master").symlink_to(f"../{master}")
    root = str(tmp_path)
    found = [host.vrf_of(each, root=root) for each in ("eth0", "eth1", "eth2", "nosuch0")]
    assert ["mgmt", "", "", ""] == found


@pytest.mark.parametrize(
    ("first_line", "expected"),
    [
        ("#!/bin/sh\n", ""),
        ("#! /bin/sh -e\n", ""),
        ("#!/usr/bin/env sh\n", ""),
        ("#!/usr/bin/env -S sh -e\n", ""),
        ("exit 0\n", ""),
        ("#!/bin/sh\r\n", "/bin/sh\r"),
        ("#!/no/such/python\n", "/no/such/python"),
        ("#!/usr/bin/env no-such-python\n", "no-such-python"),
    ],
)
def test_an_interpreter_that_is_not_there_is_named(
    tmp_path: Path, first_line: str, expected: str
) -> None:
    """A script is there and executable, and cannot be run all the same."""
    script = tmp_path / "script"
    script.write_bytes(f"{first_line}exit 0\n".encode())
    script.chmod(0o755)
    assert expected == host.missing_interpreter(f"'{script}' an argument")
    script.write_bytes(b"#!/no/such\0thing\n")
    assert "/no/such" == host.missing_interpreter(str(script))
    assert "" == host.missing_interpreter(f"{tmp_path}/missing")
    assert "" == host.missing_interpreter(None)
    assert "" == host.missing_interpreter("sh -c 'exit 0'")


def test_what_a_check_needs_is_looked_for(tmp_path: Path) -> None:
    """A program on PATH, a file that can be read."""
    assert [True, False] == [host.is_on_path(each) for each in ("sh", "no-such-program")]
    found = [host.can_read(each) for each in (None, str(tmp_path), f"{tmp_path}/no")]
    assert [True, True, False] == found
