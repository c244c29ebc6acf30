"""The kernel's word on listeners, from real sockets."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from ipfailover_agent.health import listener_socket
from ipfailover_agent.health.listener_socket import ListenerSocket
from ipfailover_agent.keepalived.instance_states import InstanceState, InstanceStates
from ipfailover_agent.linux.loop import Loop, Woken
from ipfailover_agent.model import PortCheck, PortProbes, VrrpState
from tests.support.checking import Checking, no_descriptors
from tests.support.netns import NetworkNamespace
from tests.support.rights import as_nobody
from tests.support.waiting import wait_until
from tests.unit.test_instance_states import instance

pytestmark = pytest.mark.netns

V4, V6 = ip_address("127.0.0.1"), ip_address("::1")
ELIGIBLE = InstanceStates(entries=(InstanceState(instance=instance(1), state=VrrpState.BACKUP),))
HELD = InstanceStates(entries=(InstanceState(instance=instance(1), state=VrrpState.FAULT),))


def numbers(port: int, *addresses: str) -> list[int]:
    """Return what the kernel says of a port at each address."""
    ports = [PortCheck(address=ip_address(each), port=port) for each in addresses]
    with closing(ListenerSocket(ports)) as asker:
        asker.has_changed()
        return list(asker.answers().values())


def listening(host: str, device: str = "", *, only: bool = True) -> socket.socket:
    """Listen on a port of an address; ``only``: one of IPv6 takes no IPv4."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if ":" in host:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only))
    if device:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    made.bind((host, 0))
    made.listen(8)
    return made


# --- what the kernel says -----------------------------------------------------------------------


def test_a_listener_is_found_wherever_a_client_would_find_it(namespace: NetworkNamespace) -> None:
    """At its address, at all, on both families, bound to an interface; and nowhere else."""
    namespace.ip("address", "add", "192.0.2.11/24", "dev", "lo")
    own, other = "192.0.2.11", "127.0.0.1"
    none = errno.ENOENT
    with ExitStack() as stack:

        def found(host: str, device: str = "", *, only: bool = True) -> list[int]:
            made = stack.enter_context(listening(host, device, only=only))
            return numbers(made.getsockname()[1], own, other, "::1")

        assert [0, none, none] == found(own)
        assert [0, 0, none] == found("0.0.0.0")
        assert [0, 0, 0] == found("::", only=False)
        assert [none, none, 0] == found("::1")
        assert [0, 0, none] == found("0.0.0.0", "lo")


@pytest.mark.parametrize("device", ["", "lo", "veth8"])
@pytest.mark.parametrize(
    ("host", "only"), [("0.0.0.0", True), ("192.0.2.11", True), ("::", True), ("::", False)]
)
def test_what_the_kernel_says_is_what_a_connection_meets(
    namespace: NetworkNamespace, host: str, device: str, *, only: bool
) -> None:
    """However the application listens, so that the watch and the check never disagree for long."""
    namespace.join("veth8", "veth9")
    for each in ("192.0.2.11/24", "2001:db8::11/64"):
        namespace.ip("address", "add", each, "dev", "veth8", *(["nodad"] if ":" in each else []))
    with listening(host, device, only=only) as made:
        port = made.getsockname()[1]
        asked = [
            PortCheck(address=ip_address(each), port=port, interface=interface)
            for each, interface in (
                ("192.0.2.11", "veth8"),
                ("2001:db8::11", "veth8"),
                ("127.0.0.1", ""),
                ("::1", "lo"),
            )
        ]
        # An address can be used a moment after the kernel has taken it, and a route to it.
        refused = errno.ECONNREFUSED
        wait_until(lambda: connected("2001:db8::11", 9) == refused, 5, "a way to the address")
        with closing(ListenerSocket(asked)) as asker:
            asker.has_changed()
            found = {each: number == 0 for each, number in asker.answers().items()}
        assert {each: connected(str(each.address), port) == 0 for each in asked} == found


def connected(host: str, port: int) -> int:
    """Return the error number of a connection, 0 where there is one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.settimeout(0.2)
        return made.connect_ex((host, port))


def test_a_connection_is_no_listener(application: socket.socket) -> None:
    """One that outlives the listener does not hide that it is gone."""
    address = application.getsockname()
    with socket.create_connection(address) as client:
        application.setblocking(True)  # noqa: FBT003 - the standard library's signature
        served, _ = application.accept()
        assert [0] == numbers(address[1], "127.0.0.1")
        application.close()
        assert [errno.ENOENT] == numbers(address[1], "127.0.0.1")
        client.sendall(b"x")
        assert b"x" == served.recv(1)
        served.close()


def test_no_right_is_needed_and_the_application_sees_nothing(application: socket.socket) -> None:
    """Neither a capability nor root; nothing waits to be accepted."""
    port = application.getsockname()[1]
    assert [0] == as_nobody(lambda: numbers(port, "127.0.0.1"))
    assert "" == as_nobody(listener_socket.refusal)
    with pytest.raises(BlockingIOError):
        application.accept()


def test_the_control_is_found_with_both_families(namespace: NetworkNamespace) -> None:
    """So the kernel's word is worth something here."""
    del namespace
    asker = ListenerSocket([PortCheck(address=V4, port=1), PortCheck(address=V6, port=1)])
    assert "" == asker.control()
    asker.close()
    assert "" == listener_socket.refusal()


def test_where_a_node_has_no_ipv6_the_control_of_ipv4_stands_for_both(
    namespace: NetworkNamespace,
) -> None:
    """As for a URL of localhost, which may mean either."""
    namespace.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    with socket.create_server(("127.0.0.1", 8080)):
        ports = [PortCheck(address=each, port=8080) for each in (V4, V6)]
        asker = ListenerSocket(ports)
        assert "" == asker.control()
        asker.has_changed()
        assert [0, errno.ENOENT] == list(asker.answers().values())
        asker.close()


def test_a_look_says_whether_anything_is_new(application: socket.socket) -> None:
    """So that nothing has to be made of most answers."""
    asker = ListenerSocket([PortCheck(address=V4, port=application.getsockname()[1])])
    assert [True, False, False] == [asker.has_changed() for _ in range(3)]
    application.close()
    assert [True, False] == [asker.has_changed() for _ in range(2)]
    asker.close()
    assert [True, False] == [asker.has_changed() for _ in range(2)]
    assert [-1] == list(asker.answers().values())


# --- what follows -------------------------------------------------------------------------------


class Watching(Checking):
    """Probes that are made every 60 s, of ports whose listeners are watched every 50 ms."""

    def watch(
        self, *ports: PortCheck, instance_states: InstanceStates = ELIGIBLE, **more: float
    ) -> None:
        wanted = PortProbes(
            name="chk_x",
            interval=more.get("interval", 60),
            timeout=1,
            rise=1,
            fall=1,
            ports=() if "script" in more else ports,
            listeners=ports,
            watch=0.05,
        )
        self.begin(wanted, instance_states)

    @property
    def is_watching(self) -> bool:
        return self.probes.listeners.is_watching


@pytest.fixture
def watching(tmp_path: Path, namespace: NetworkNamespace) -> Iterator[Watching]:
    del namespace
    with Loop(()) as loop:
        made = Watching(tmp_path, loop)
        yield made
        made.probes.close()


def at(application: socket.socket) -> PortCheck:
    return PortCheck(address=V4, port=application.getsockname()[1])


def test_a_listener_that_is_closed_has_the_port_probed_at_once(
    watching: Watching, application: socket.socket
) -> None:
    """keepalived is told before the round that tells people begins; the log names the cause."""
    watching.watch(at(application))
    assert ("0\n", ["check.passed"]) == (watching.said[0], watching.events)
    assert [] == watching.turn()
    port = at(application).port
    application.close()
    assert [Woken()] == watching.turn(5)
    assert "1\n" == watching.said[0]
    told = watching.until_told("check.failed")
    assert (f"listener of port {port} is gone", f"port {port} of 127.0.0.1: refused") == (
        told["cause"],
        told["reason"],
    )
    assert not watching.is_watching


def test_a_listener_that_is_killed_with_its_process_is_gone(watching: Watching) -> None:
    """The kernel closes what a process leaves."""
    text = "import socket, time; made = socket.create_server(('127.0.0.1', 8080)); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", text]) as child:
        wait_until(lambda: numbers(8080, "127.0.0.1") == [0], 10, "nothing listens")
        watching.watch(PortCheck(address=V4, port=8080))
        child.kill()
        assert "listener of port 8080 is gone" == watching.until_told("check.failed")["cause"]


def test_after_a_reload_the_new_ports_are_watched_and_the_old_ones_are_not(
    watching: Watching, application: socket.socket
) -> None:
    """A listener that nothing checks any more may go."""
    watching.watch(at(application))
    watching.turn()
    with socket.create_server(("127.0.0.1", 0)) as new:
        port = new.getsockname()[1]
        watching.watch(PortCheck(address=V4, port=port))
        application.close()
        assert [] == watching.turn()
        assert ("0\n", True) == (watching.said[0], watching.is_watching)
    assert f"listener of port {port} is gone" == watching.until_told("check.failed")["cause"]


def test_what_went_while_the_agent_stood_still_is_found_at_its_first_look(
    watching: Watching, application: socket.socket
) -> None:
    """It makes up for nothing: one look, one check."""
    watching.watch(at(application))
    watching.turn()
    application.close()
    time.sleep(1.5)  # as if it were frozen
    assert [Woken()] == watching.turn(5)
    assert ["check.passed", "check.failed"] == watching.events


@pytest.mark.parametrize("how", ["reuse port", "handed over", "activated", "began anew"])
def test_a_listener_that_another_takes_the_place_of_moves_nothing(
    watching: Watching, how: str
) -> None:
    """A second one of the port; one that a child has too, as systemd has; a quick start anew."""
    with ExitStack() as stack:
        first = stack.enter_context(socket.socket())
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        first.bind(("127.0.0.1", 8080))
        first.listen()
        watching.watch(at(first))
        target = at(first)
        if how == "reuse port":
            second = stack.enter_context(socket.socket())
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            second.bind(("127.0.0.1", 8080))
            second.listen()
        elif how == "handed over":
            stack.enter_context(socket.socket(fileno=os.dup(first.fileno())))
        elif how == "activated":
            words = [sys.executable, "-c", "import time; time.sleep(60)"]
            child = subprocess.Popen(words, pass_fds=(first.fileno(),))
            stack.callback(child.wait)
            stack.callback(child.kill)
        watching.turn()
        first.close()
        if how == "began anew":
            stack.enter_context(socket.create_server(("127.0.0.1", 8080)))
        for _ in range(3):
            watching.turn()
        assert [0] == numbers(target.port, "127.0.0.1")
        assert ("0\n", ["check.passed"]) == (watching.said[0], watching.events)
        assert watching.is_watching


def test_one_of_many_is_named(watching: Watching) -> None:
    """With both families."""
    with (
        socket.create_server(("127.0.0.1", 8080)),
        socket.create_server(("::1", 8081), family=socket.AF_INET6) as other,
    ):
        watching.watch(PortCheck(address=V4, port=8080), PortCheck(address=V6, port=8081))
        watching.turn()
        other.close()
        told = watching.until_told("check.failed")
        assert "listener of port 8081 is gone" == told["cause"]
        assert "port 8081 of ::1: refused" == told["reason"]


def test_a_node_that_is_held_watches_nothing(
    watching: Watching, application: socket.socket
) -> None:
    """Nothing would follow; when it is let go, it goes on from what is there."""
    watching.watch(at(application), instance_states=HELD)
    is_watching = [watching.is_watching]
    for instance_states in (ELIGIBLE, HELD):
        watching.probes.on_instance_states(instance_states, time.monotonic())
        is_watching.append(watching.is_watching)
    assert [False, True, False] == is_watching
    application.close()
    assert [] == watching.turn()
    watching.probes.on_instance_states(ELIGIBLE, time.monotonic())
    assert [] == watching.turn()
    assert ["check.passed"] == watching.events


def test_a_listener_that_was_there_over_a_rest_is_missed_after_it(
    watching: Watching, application: socket.socket
) -> None:
    """The first look after a rest says what is there, though nothing is new to the kernel."""
    watching.watch(at(application))
    for instance_states in (HELD, ELIGIBLE):
        watching.turn()
        watching.probes.on_instance_states(instance_states, time.monotonic())
    watching.turn()
    application.close()
    told = watching.until_told("check.failed")
    assert "listener of port" in str(told["cause"])


def test_what_a_look_began_to_wait_for_has_its_timeout(
    watching: Watching, namespace: NetworkNamespace, application: socket.socket
) -> None:
    """The loop returns for it: until then it knows the next round's time only."""
    watching.watch(at(application))
    watching.turn()
    rule = f"tcp dport {application.getsockname()[1]} drop"
    chain = "chain input {\n type filter hook input priority 0"
    namespace.nft(f"table ip silent {{\n {chain}\n{rule}\n}}\n}}\n")
    application.close()
    began = time.monotonic()
    assert (Woken(),) == watching.loop.wait(began + 30)
    assert "timed out after 1 s" in str(watching.until_told("check.failed")["reason"])
    assert 1 <= time.monotonic() - began < 15


def test_a_port_that_something_else_answers_for_is_named_once(
    watching: Watching, namespace: NetworkNamespace, application: socket.socket
) -> None:
    """As kube-proxy does for a node port: only the periodic check tells of it."""
    rule = f"tcp dport 30080 redirect to :{application.getsockname()[1]}"
    chain = "chain output {\n type nat hook output priority -100"
    namespace.nft(f"table ip nodeport {{\n {chain}\n{rule}\n}}\n}}\n")
    watching.watch(PortCheck(address=V4, port=30080), interval=0.2)
    told = watching.until_told("listener.unknown")
    assert 30080 == told["port"]
    for _ in range(4):
        watching.turn()
    assert ["check.passed", "listener.unknown"] == watching.events
    namespace.run("nft", "flush", "ruleset")
    assert "cause" not in watching.until_told("check.failed")


def test_without_the_kernel_s_word_the_periodic_check_goes_on_alone(
    watching: Watching, application: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that has no such family; it is said once, and nobody relies on it."""
    monkeypatch.setattr("ipfailover_agent.linux.sock_diag.NETLINK_SOCK_DIAG", 31)
    watching.watch(at(application), interval=0.2)
    told = watching.until_told("protection.off")
    assert ("listener", "warning") == (told["kind"], told["log_level"])
    found = watching.probes.listeners.protection()
    assert (False, told["reason"]) == (found.active, found.reason)
    assert str(told["reason"]) == listener_socket.refusal()
    application.close()
    assert "cause" not in watching.until_told("check.failed")
    assert 1 == watching.events.count("protection.off")
    monkeypatch.undo()
    watching.probes.listeners.tick(time.monotonic() + 61)
    assert watching.probes.listeners.protection().active
    assert "listener.watched" in watching.events


def test_a_kernel_that_finds_nothing_is_not_believed(
    watching: Watching, application: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOENT for everything, as without tcp_diag: the control is not found either."""
    monkeypatch.setattr("ipfailover_agent.linux.sock_diag._TCP", 17)
    watching.watch(at(application))
    told = watching.until_told("protection.off")
    assert "the kernel" in str(told["reason"])
    application.close()
    assert [] == watching.turn()
    assert "0\n" == watching.said[0]


# --- a script -----------------------------------------------------------------------------------


def test_a_script_is_run_once_more_and_until_it_is_content(
    watching: Watching, application: socket.socket, tmp_path: Path
) -> None:
    """Its answer counts, with the reason that it wrote; keepalived's own runs go on beside it."""
    script, flag = Path(watching.paths.check), tmp_path / "fails"
    script.write_text(
        f"if [[ -e {flag} ]]; then echo 'cannot reach it' >{watching.paths.check_reason}; exit 1; "
        f"fi; echo x >>{tmp_path}/runs\n",
        encoding="ascii",
    )
    watching.watch(at(application), script=1, interval=0.5)
    assert ("0\n", []) == (watching.said[0], watching.events)
    application.close()  # the script is content: another one answers for the URL
    watching.until((tmp_path / "runs").exists)
    watching.turn()
    assert ("0\n", []) == (watching.said[0], watching.events)

    with socket.create_server(("127.0.0.1", 8081)) as another:
        watching.watch(at(another), script=1, interval=0.5)
        watching.turn()
        flag.touch()
    told = watching.until_told("check.failed")
    assert ("cannot reach it", "listener of port 8081 is gone") == (told["reason"], told["cause"])
    assert "1\n" == watching.said[0]
    watching.turn(1.2)
    flag.unlink()
    watching.until_told("check.passed")
    assert "0\n" == watching.said[0]
    runs = (tmp_path / "runs").read_text()
    watching.turn(1.2)
    assert runs == (tmp_path / "runs").read_text()


def test_a_script_that_hangs_is_given_up_at_the_timeout(
    watching: Watching, application: socket.socket
) -> None:
    """It has failed, and does not stay."""
    Path(watching.paths.check).write_text("exec sleep 60\n", encoding="ascii")
    watching.watch(at(application), script=1)
    application.close()
    told = watching.until_told("check.failed")
    assert "the check script fails" == told["reason"]
    watching.until(lambda: _children() == [])


def test_without_descriptors_the_script_is_left_to_keepalived(
    watching: Watching, application: socket.socket
) -> None:
    """That it cannot be run says nothing of the application, and ends nothing."""
    watching.watch(at(application), script=1)
    watching.turn()
    with no_descriptors():
        application.close()
        told = watching.until_told("check.inconclusive")
    assert "Too many open files" in str(told["reason"])
    assert ("0\n", ["check.inconclusive"]) == (watching.said[0], watching.events)


def test_a_reload_from_ports_to_a_script_and_back_changes_who_checks(
    watching: Watching, application: socket.socket
) -> None:
    """Though the same port is watched, every so many seconds."""
    port, script = at(application), Path(watching.paths.check)
    script.write_text("exit 1\n", encoding="ascii")
    watching.watch(port, interval=0.5)
    watching.until_told("check.passed")

    watching.watch(port, script=1, interval=0.5)
    watching.turn()
    application.close()
    told = watching.until_told("check.failed")
    assert "the check script fails" == told["reason"]

    watching.watch(port, interval=0.5)
    script.unlink()
    with socket.create_server((str(port.address), port.port)):
        watching.until_told("check.passed", 2)
        assert "0\n" == watching.said[0]
    assert "refused" in str(watching.until_told("check.failed", 2)["reason"])


def _children() -> list[str]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    found = [f"/proc/{each}/cmdline" for each in path.read_text(encoding="ascii").split()]
    return [each for each in found if b"sleep\x0060" in Path(each).read_bytes()]
