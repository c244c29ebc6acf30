#!/usr/bin/python3 -ISs
"""A keepalived that does what a script says, faults included.

``FakeKeepalived.install`` of ``agent_process`` puts a copy of this file on PATH under the name
``keepalived``. Beside it lie ``scenario.json``, read anew at each start, and ``journal``, where
every start and signal is noted as a line of JSON. Nothing but the standard library is imported.

scenario: ``{"test": {...}, "runs": [{...}, ...]}``; the last run serves for all later ones.
test: ``exit`` code, ``output`` lines, ``shows`` the configuration, ``hangs``, ``flood`` bytes,
  ``leaves_child`` (that keeps the output open), ``removes`` a file, ``delay`` seconds before it
  ends.
run: ``says`` lines at start, ``transitions`` (FIFO lines at start), ``flood`` bytes of log lines,
  ``exit`` code or ``kill`` signal with ``after`` seconds, ``term``: ``exit`` or ``ignore``,
  ``stop_takes`` seconds, ``hup``: ``complete``, ``silent`` or ``die`` (exit 2, addresses stay),
  or a list of them, of which the last serves for all later ones, ``dump``: it answers questions,
  ``delay`` seconds late (a list: before the first SIGHUP, after it and so on), and says of all its
  instances that they are in ``state`` (2: MASTER),
  ``orphan``: ``group`` or ``away`` (a child that outlives it and ignores TERM, in its process
  group or in one of its own; ends by itself after ``orphan_ends`` seconds), ``holds``: addresses
  that it puts on an interface (``[address/length, interface, label]``) and removes at its
  stop.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any, NoReturn

DUMP_SIGNAL = signal.SIGRTMIN + 2
HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - start-up time


def main() -> None:
    """Test or run, whichever the command line asks for."""
    with open(f"{HERE}/scenario.json", encoding="utf-8") as file:  # noqa: PTH123 - as above
        scenario: dict[str, Any] = json.load(file)
    if "--signum=JSON" in sys.argv:
        if not any("dump" in each for each in scenario.get("runs", [])):
            sys.exit(1)
        print(int(DUMP_SIGNAL))
        return
    config = sys.argv[sys.argv.index("--use-file") + 1]
    if "--config-test" in sys.argv:
        test(config, scenario.get("test", {}))
    runs = scenario.get("runs") or [{}]
    number = sum('"what": "start"' in line for line in journal_lines())
    Run(config, runs[min(number, len(runs) - 1)]).go()


def journal_lines() -> list[str]:
    """Return what was noted so far."""
    try:
        with open(f"{HERE}/journal", encoding="utf-8") as file:  # noqa: PTH123 - as above
            return file.readlines()
    except FileNotFoundError:
        return []


def note(what: str, config: str) -> None:
    """Append a line to the journal."""
    entry = {
        "what": what,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "at": time.monotonic(),
        "digest": digest(config),
        "argv": sys.argv[1:],
    }
    fd = os.open(f"{HERE}/journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, json.dumps(entry).encode() + b"\n")
    os.close(fd)


def digest(path: str) -> str:
    """Return the SHA-256 of the file's text, empty where there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return ""


def test(config: str, how: dict[str, Any]) -> NoReturn:
    """Play ``keepalived --config-test``."""
    note("test", config)
    for line in how.get("output", []):
        print(line, flush=True)
    if how.get("shows"):
        with open(config, encoding="utf-8") as file:  # noqa: PTH123 - start-up time
            print(file.read(), flush=True)
    if how.get("flood"):
        flood(how["flood"])
    if how.get("leaves_child") and os.fork() == 0:
        note("left", config)
        sleep_for_ever()
    if how.get("hangs"):
        sleep_for_ever()
    if how.get("removes"):
        os.unlink(how["removes"])  # noqa: PTH108 - start-up time
    time.sleep(how.get("delay", 0))
    sys.exit(how.get("exit", 0))


def flood(size: int) -> None:
    """Write that many bytes of lines, dropping what does not fit, as keepalived does."""
    lines = (b"x" * 79 + b"\n") * 800
    for _ in range(size // len(lines)):
        try:
            os.write(1, lines)
        except (BlockingIOError, PermissionError):  # a full pipe, a file at its limit
            continue


def sleep_for_ever() -> NoReturn:
    """Stay, whatever signal of the polite kind comes."""
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    time.sleep(600)  # not for ever after all, should a test lose sight of it
    sys.exit(0)


class Run:
    """Plays keepalived itself."""

    def __init__(self, config: str, how: dict[str, Any]) -> None:
        self.config = config
        self.how = how
        self.reloads = 0

    def go(self) -> None:
        """Start, then obey signals until the end."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(each, lambda *_: None)
        if "dump" in self.how:
            signal.signal(DUMP_SIGNAL, lambda *_: None)
        note("start", self.config)
        if self.how.get("orphan"):
            self.leave_orphan()
        for held in self.how.get("holds", []):
            ip("add", held)
        for line in self.how.get("says", ["Startup complete"]):
            self.say(line)
        self.tell(self.how.get("transitions", []))
        flood(self.how.get("flood", 0))
        end = self.how.get("exit"), self.how.get("kill")
        if end != (None, None):
            time.sleep(self.how.get("after", 0))
            if end[1] is not None:
                os.kill(os.getpid(), end[1])
            sys.exit(end[0])
        while True:
            for number in dict.fromkeys(os.read(reading, 64)):
                self.obey(number)

    def obey(self, number: int) -> None:
        """Do what the scenario says of a signal."""
        if number == DUMP_SIGNAL:
            self.answer()
            return
        note(signal.Signals(number).name, self.config)
        if number == signal.SIGHUP:
            self.reload()
        elif self.how.get("term") != "ignore":
            self.stop()

    def reload(self) -> None:
        answer = self.at_this_reload(self.how.get("hup", "complete"))
        self.reloads += 1
        if answer == "die":
            sys.exit(2)
        if answer == "complete":
            self.say("Reload complete")

    def answer(self) -> None:
        """Write the dump that was asked for: every instance of the file that was read last."""
        how = self.how["dump"]
        time.sleep(self.at_this_reload(how.get("delay", 0)))
        with open(self.config, encoding="utf-8") as file:  # noqa: PTH123 - as above
            found = re.findall(
                r'vrrp_instance "?(\S+?)"? {.*?virtual_router_id (\d+)', file.read(), re.DOTALL
            )
        dump = [
            {
                "data": {
                    "iname": name,
                    "vrid": int(number),
                    "state": how.get("state", 1),
                    "adver_int": 1,
                },
                "stats": {"advert_rcvd": 0, "advert_sent": time.monotonic_ns() % 10**9},
            }
            for name, number in found
        ]
        path = os.environ["TMPDIR"] + "/keepalived.json"
        with open(f"{path}.new", "w", encoding="utf-8") as file:  # noqa: PTH123 - as above
            json.dump(dump, file)
        os.rename(f"{path}.new", path)  # noqa: PTH104 - as above
        note("dump", self.config)

    def at_this_reload(self, given: Any) -> Any:  # noqa: ANN401 - whatever the scenario has
        """Return what a list has for as many reloads as there were; anything else as it is."""
        return given[min(self.reloads, len(given) - 1)] if isinstance(given, list) else given

    def stop(self) -> NoReturn:
        for held in self.how.get("holds", []):
            ip("del", held)
        self.tell([line.replace("MASTER", "STOP") for line in self.how.get("transitions", [])])
        time.sleep(self.how.get("stop_takes", 0))
        self.say("Stopped")
        sys.exit(0)

    def say(self, line: str) -> None:
        """Write a log line as keepalived does with --log-console.

        What does not fit is dropped, as keepalived does it; an agent on a busy machine gets the
        time to read first.
        """
        for _ in range(200):
            try:
                os.write(1, f"Thu Jan  1 00:00:00 1970: {line}\n".encode())
            except BlockingIOError:
                time.sleep(0.005)
            else:
                return

    def tell(self, lines: list[str]) -> None:
        """Write lines to the FIFO that the configuration names."""
        with open(self.config, encoding="utf-8") as file:  # noqa: PTH123 - as above
            fifo = re.search(r'vrrp_notify_fifo "?([^"\s]+)', file.read())
        if fifo is None or not lines:
            return
        fd = os.open(fifo[1], os.O_RDWR | os.O_NONBLOCK)
        for line in lines:
            os.write(fd, line.encode() + b"\n")
        os.close(fd)

    def leave_orphan(self) -> None:
        """Fork a child that outlives this process; it ignores TERM unless asked otherwise."""
        if os.fork() == 0:
            if self.how["orphan"] == "away":
                os.setsid()
            for fd in (0, 1, 2):
                os.close(fd)
            note("orphan", self.config)
            if self.how.get("orphan_ends"):
                time.sleep(self.how["orphan_ends"])
                os._exit(0)
            sleep_for_ever()


def ip(what: str, held: list[str]) -> None:
    """Set or remove an address; one that is gone already is no error."""
    address, interface, *label = held
    words = ["label", label[0]] if label and what == "add" else []
    subprocess.run(
        ["ip", "address", what, address, "dev", interface, *words], check=False, timeout=10
    )


if __name__ == "__main__":
    main()
