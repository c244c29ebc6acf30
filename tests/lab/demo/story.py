"""The story of the demo: what is done to the nodes, what must come of it, what is said."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from tests.lab.demo.view import Screen, look
from tests.lab.kit.client import Watch
from tests.lab.kit.lab import Lab
from tests.lab.kit.namespaces import LabError
from tests.lab.kit.node import Node
from tests.lab.kit.privileges import ensure_privileges

_LOOK_EVERY = 0.05
_SHORT = 0.05
_LEASE_LIMIT = 5  # seconds: a lease of 3 and what the kernel rounds up, with room to spare


class NotShownError(Exception):
    """Something that the demo wanted to show did not happen; the message is a sentence."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """The lab, the client's view of every address, and the screen."""

    lab: Lab
    screen: Screen
    watches: dict[str, Watch] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    summary: list[tuple[str, float, str]] = field(default_factory=list)

    def look(self) -> None:
        """Show the present state."""
        self.screen.show(look(self.lab, self.watches, self.words))

    def until(self, predicate: Callable[[], bool], timeout: float, what: str) -> float:
        """Wait and keep the table alive; return seconds, or NotShownError."""
        start = time.monotonic()
        while not predicate():
            self.look()
            if time.monotonic() - start > timeout:
                message = f"not within {timeout:g} seconds: {what}"
                raise NotShownError(message)
            time.sleep(_LOOK_EVERY)
        self.look()
        return time.monotonic() - start

    def pause(self, seconds: float) -> None:
        """Let the reader read, and let things settle."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, seconds + 1, "time passes")

    def holder(self, address: str) -> Node | None:
        """Return the node that alone holds an address, None where none or two do."""
        holders = self.lab.recorder.holders(address)
        return self.lab.node(holders[0]) if len(holders) == 1 else None

    def serves(self, address: str, node: Node) -> bool:
        """Return whether this node alone holds the address and the client hears it."""
        return self.holder(address) is node and self.watches[address].answering() == node.name

    def outage(self, since: float) -> float:
        """Return the longest time any address was silent to the client."""
        return max(watch.worst_outage(since) for watch in self.watches.values())

    def note(self, event: str, outage: float, both: float = 0.0) -> None:
        """Put an event into the summary, with the seconds that two nodes held the address."""
        self.summary.append((event, outage, f"{both:.1f} s" if both > _SHORT else "-"))


def environment(lab: Lab) -> dict[str, str]:
    """Return the variables every node's agent gets: the documented contract, nothing else."""
    return {
        "OPENSHIFT_HA_CONFIG_NAME": "ipfailover",
        "OPENSHIFT_HA_VIRTUAL_IPS": "192.0.2.101-103",
        "OPENSHIFT_HA_NETWORK_INTERFACE": "eth0",
        "OPENSHIFT_HA_MONITOR_PORT": str(lab.port),
        "OPENSHIFT_HA_PREEMPTION": "preempt",
        "OPENSHIFT_HA_UNICAST_PEERS": ",".join(node.ip for node in lab.nodes),
    }


def open_stage(lab: Lab, screen: Screen) -> Stage:
    """Start the agents and wait until every address is served."""
    addresses = [lab.virtual(number) for number in (1, 2, 3)]
    stage = Stage(lab=lab, screen=screen)
    screen.say("Three nodes (n1, n2, n3) share three addresses. A client asks every address 50")
    screen.say("times a second for the name of the node that answers.")
    screen.say()
    screen.say("1. The agent starts on every node, and the nodes agree on the holders.")
    started = time.monotonic()
    for node in lab.nodes:
        node.start(environment(lab))
    stage.watches = {each: lab.client.watch(each) for each in addresses}
    stage.until(
        lambda: all(
            (node := stage.holder(each)) is not None and stage.serves(each, node)
            for each in addresses
        ),
        15,
        "every address is held by one node, and the client hears it",
    )
    seconds = time.monotonic() - started
    screen.say(f"   -> all addresses answer after {seconds:.1f} s.")
    return stage


def show_spread(stage: Stage) -> None:
    """Demand that every node got one address."""
    stage.until(
        lambda: (
            len({node.name for each in stage.watches if (node := stage.holder(each))})
            == len(stage.watches)
        ),
        5,
        "every address is on a node of its own",
    )
    stage.screen.say("   -> one address on each node: the load is spread.")
    stage.pause(1)


def kill_application(stage: Stage, address: str) -> None:
    """Kill the application on the holder, see the address leave; start it, see it come home."""
    owner = _holder(stage, address)
    stage.screen.say()
    stage.screen.say(f"2. The application on {owner.name}, which holds {address}, is killed.")
    since = time.monotonic()
    owner.application.stop()
    heir = _moved(stage, address, away_from=owner)
    stage.pause(0.5)
    outage = stage.outage(since)
    stage.screen.say(
        f"   -> {owner.name}'s check failed, so {heir.name} took over. {_heard(outage)}"
    )
    stage.note(f"the application on {owner.name} was killed", outage)
    stage.pause(1)

    stage.screen.say()
    stage.screen.say(f"3. The application on {owner.name} is started again.")
    since = time.monotonic()
    owner.application.start()
    stage.until(lambda: stage.serves(address, owner), 12, f"{address} is back on {owner.name}")
    stage.pause(0.5)
    outage = stage.outage(since)
    stage.screen.say(f"   -> {address} went home to {owner.name}. {_heard(outage)}")
    stage.note(f"the application on {owner.name} came back", outage)
    stage.pause(1)


def kill_container(stage: Stage, address: str) -> None:
    """Kill the holder's container, see another node take over; start it, see it settle."""
    owner = _holder(stage, address)
    stage.screen.say()
    stage.screen.say(
        f"4. The whole container on {owner.name}, which holds {address}, is killed at"
    )
    stage.screen.say("   once (SIGKILL): no process is left there to clean up.")
    since = time.monotonic()
    owner.kill()
    heir = _moved(stage, address, away_from=owner, may_linger=True)
    stage.until(
        lambda: owner.name not in stage.lab.recorder.holders(address),
        _LEASE_LIMIT,
        f"the kernel of {owner.name} removes {address}",
    )
    stage.pause(1)
    outage = stage.outage(since)
    stage.screen.say(f"   -> {heir.name} took over. {_heard(outage)}")
    stage.screen.say(f"      No agent on {owner.name} renewed the lease of the address, so the")
    stage.screen.say(f"      kernel of {owner.name} removed the address.")
    killed, killed_outage = since, outage
    stage.pause(1)

    stage.screen.say()
    stage.screen.say(f"5. The container on {owner.name} is started again.")
    since = time.monotonic()
    owner.start()
    stage.until(lambda: stage.serves(address, owner), 15, f"{address} is back on {owner.name}")
    stage.pause(0.5)
    outage = stage.outage(since)
    stage.screen.say(f"   -> {address} went home to {owner.name}. {_heard(outage)}")
    both = stage.lab.recorder.seconds_with_two(address, since=killed)
    stage.note(f"the container on {owner.name} was killed", killed_outage, both)
    stage.note(f"the container on {owner.name} came back", outage)


def stop_everything(stage: Stage) -> None:
    """Stop the agents and demand that nothing is left."""
    stage.screen.say()
    stage.screen.say("6. All agents are stopped.")
    for watch in stage.watches.values():
        watch.stop()
    for node in stage.lab.nodes:
        if node.is_running:
            stage.words[node.name] = "stopped"
            node.terminate()
    codes = {node.name: node.wait() for node in stage.lab.nodes}
    stage.until(
        lambda: not any(stage.lab.recorder.holders(each) for each in stage.watches),
        3,
        "no address is left on any node",
    )
    if any(codes.values()):
        message = f"the agents ended with {codes} instead of 0"
        raise NotShownError(message)
    stage.screen.say("   -> no address is left on any node.")


def summarise(stage: Stage) -> None:
    """Write what the client noticed."""
    stage.screen.finish()
    stage.screen.say()
    width = max(len(event) for event, _, _ in stage.summary)
    stage.screen.say(f"   {'':<{width}}   the client heard   two nodes held")
    stage.screen.say(f"   {'what happened':<{width}}   nothing for        the address for")
    for event, outage, both in stage.summary:
        heard = f"{outage:.2f} s" if outage else "less than 0.1 s"
        stage.screen.say(f"   {event:<{width}}   {heard:<19}{both}".rstrip())


def play(lab: Lab, screen: Screen) -> None:
    """Run the whole story. NotShownError where something did not happen."""
    stage = open_stage(lab, screen)
    show_spread(stage)
    first, second, _ = stage.watches
    kill_application(stage, first)
    kill_container(stage, second)
    stop_everything(stage)
    summarise(stage)


def run(arguments: list[str]) -> int:
    """Run the demo and return the exit code; KeyboardInterrupt once everything is cleared away."""
    parser = argparse.ArgumentParser(prog="demo", description="Show addresses moving.")
    parser.add_argument("--live", action="store_true", help="stay until Ctrl-C; break things")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        ensure_privileges()
        return _run(live=options.live)
    except LabError as error:
        print(f"cannot run the demo: {error}", file=sys.stderr)
        return os.EX_NOPERM


def _run(*, live: bool) -> int:
    started = time.monotonic()
    with Lab(3) as lab:
        try:
            if live:
                from tests.lab.demo.live import live_screen, play_live  # noqa: PLC0415

                play_live(open_stage(lab, live_screen(sys.stdout)))
            else:
                play(lab, Screen(sys.stdout))
        except NotShownError as error:
            lab.keep_directory = True
            print(f"\nNOT SHOWN: {error}")
            for node in lab.nodes:
                print(f"{node.name} said last: {''.join(node.stderr().splitlines()[-1:])}")
            print(f"The nodes' logs are in {lab.directory}")
            return 1
        finally:
            # From here on a second Ctrl-C would only leave things lying about.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not live:
        print(f"\nEverything shown really happened, in {time.monotonic() - started:.0f} s.")
    return 0


def _holder(stage: Stage, address: str) -> Node:
    holder = stage.holder(address)
    if holder is None:
        message = f"{address} is held by one node"
        raise NotShownError(message)
    return holder


def _moved(stage: Stage, address: str, *, away_from: Node, may_linger: bool = False) -> Node:
    """Wait until another node serves the address and return it."""

    def heir() -> Node | None:
        holders = stage.lab.recorder.holders(address)
        others = [each for each in holders if each != away_from.name]
        alone = len(holders) == len(others) or may_linger
        heard = stage.watches[address].answering()
        return stage.lab.node(others[0]) if alone and others == [heard] else None

    stage.until(lambda: heir() is not None, 12, f"another node serves {address}")
    found = heir()
    if found is None:
        message = f"{address} stays on its new node"
        raise NotShownError(message)
    return found


def _heard(outage: float) -> str:
    if outage == 0:
        return "The client noticed nothing."
    return f"The client heard nothing for {outage:.2f} s."


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
