"""Has nft carry out what ``core.network.accept_rules`` decides: beside the loop, or at once.

Beside the loop nft is a child whose output goes to memory files: nothing has to be read while it
runs, and it cannot be blocked. The ruleset's generation, one cheap question to the kernel, shows
whether looking again is worth a process at all.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.errors import AgentError
from ipfailover_agent.core.network import accept_rules
from ipfailover_agent.system import process
from ipfailover_agent.system.nftables import owned_tables, read_generation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from ipfailover_agent.core.model import IPAddress

_NFT: Final = "nft"
_LOOK_INTERVAL: Final = 10.0  # seconds at most, whatever the generation is
_ASK_INTERVAL: Final = 1.0  # seconds between two questions for the generation
_LOOK_SHARE: Final = 30  # looks take at most a 30th of the time: rules may change all day
_RUN_LIMIT: Final = 10.0  # seconds that nft gets beside the loop; 20000 rules take it 1.5 s
_WAIT_LIMIT: Final = 3.0  # seconds that it gets while nothing else is done: a stop has to end
_OUTPUT_LIMIT: Final = 1 << 26  # bytes of it that are read
_LEGACY_TABLES: Final = ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names")


class NftRun:
    """One run of nft; everything is known once it was reaped."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        with contextlib.ExitStack() as opened:
            self._files = tuple(
                opened.enter_context(open(os.memfd_create(name), "rb"))  # noqa: PTH123
                for name in ("nft-output", "nft-errors")
            )
            output, errors = (each.fileno() for each in self._files)
            self.pid = process.spawn(
                [_NFT, *arguments], environment=environment, stdout=output, stderr=errors
            )
            self._opened = opened.pop_all()

    def kill(self) -> None:
        """End it, and wait until it has; the agent is the only reaper."""
        process.signal_group(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.take(None)

    def take(self, exit_code: int | None) -> accept_rules.Output:
        """Return its output; the run is over."""
        with self._opened:
            text, errors = (
                os.pread(each.fileno(), _OUTPUT_LIMIT, 0).decode("utf-8", "backslashreplace")
                for each in self._files
            )
        if exit_code is None and not errors:
            errors = "nft was killed"
        return accept_rules.Output(exit_code=exit_code, text=text, errors=errors)


class Firewall:
    """Keeps the rules in place beside the loop; ``report`` is called for everything that it does.

    Its owner calls :meth:`tick` when ``deadline`` has passed and :meth:`child_exited` for every
    child that was reaped. One failure is reported once, until it is another or was mended.
    """

    def __init__(
        self,
        *,
        tag: str,
        environment: Mapping[str, str],
        report: Callable[[accept_rules.Report], None],
    ) -> None:
        self._tag = tag
        self._environment = environment
        self._tell = report
        self._wanted: frozenset[IPAddress] = frozenset()
        self._look: Generator[accept_rules.Step, accept_rules.Answer, None] | None = None
        self._run: NftRun | None = None
        self._began = 0.0
        self._generation: int | None = None
        self._next_look = 0.0
        self._failures: dict[str, str] = {}
        self._failing: set[str] = set()
        self._is_wanted_anew = False
        self.deadline: float | None = None
        self.is_active: bool | None = None
        """Whether the last look found or put everything in place; None before it."""

    @property
    def is_looking(self) -> bool:
        """Return whether a look is under way."""
        return self._look is not None

    @property
    def has_none(self) -> bool:
        """Return whether no rule is wanted, and the last look has left none of the agent's."""
        is_idle = self._look is None and not self._is_wanted_anew
        return is_idle and not self._wanted and self.is_active is True

    def want(self, addresses: frozenset[IPAddress], now: float) -> None:
        """Have the rules for these addresses from now on, and no others of the agent."""
        self._wanted = addresses
        self._is_wanted_anew = True
        self.is_active = None
        if self._look is None:
            self.deadline = now

    def tick(self, now: float) -> None:
        """Do what is due: begin a look, go on with one, or end a run that takes too long."""
        if self.deadline is None or now < self.deadline:
            return
        if self._run is not None:
            process.signal_group(self._run.pid, signal.SIGKILL)
            self.deadline = now + _RUN_LIMIT
        elif self._look is not None:
            self._go_on(None, now)
        elif self._is_due(now):
            self._begin(now)
        else:
            self.deadline = now + _ASK_INTERVAL

    def child_exited(self, child: process.ChildExit, now: float) -> bool:
        """Handle the end of a child; return whether it was this nft."""
        if self._run is None or self._run.pid != child.pid:
            return False
        run, self._run = self._run, None
        self._go_on(run.take(child.exit_code), now)
        return True

    def remove_all(self) -> None:
        """Remove every rule of the agent at once; after the loop, as it waits for processes."""
        self.deadline = None
        self._look = None
        if self._run is not None:
            run, self._run = self._run, None
            run.kill()
        remove_all(self._tag, self._environment, self._tell)

    def _is_due(self, now: float) -> bool:
        if self._is_wanted_anew:
            return True
        if now < self._next_look:
            return False
        # Failed: whatever was missing (nft itself, a permission) changes no generation.
        return (
            bool(self._failures)
            or self._generation is None
            or (read_generation() != self._generation)
        )

    def _begin(self, now: float) -> None:
        self._is_wanted_anew = False
        self._failing = set()
        self._began = now
        self._generation = read_generation()
        self._look = accept_rules.look(self._wanted, self._tag)
        self._go_on(None, now)

    def _go_on(self, answer: accept_rules.Answer, now: float) -> None:
        """Go on with the look until it needs nft, or takes long."""
        if self._look is None:
            return
        while True:
            try:
                step = self._look.send(answer)
            except StopIteration:
                self._end(now)
                return
            answer = None
            match step:
                case accept_rules.Run(arguments=arguments):
                    try:
                        self._run = NftRun(arguments, self._environment)
                    except (AgentError, OSError) as error:
                        answer = accept_rules.Output(exit_code=None, errors=str(error))
                    else:
                        self.deadline = now + _RUN_LIMIT
                        return
                case accept_rules.Pause():
                    self.deadline = now
                    return
                case accept_rules.AskGeneration():
                    answer = read_generation()
                case accept_rules.AskOwned():
                    answer = owned_tables()
                case _:
                    self._report(step)

    def _report(self, report: accept_rules.Report) -> None:
        if isinstance(report, accept_rules.LookFailed):
            self._failing.add(report.table)
            if self._failures.get(report.table) == report.reason:
                return
            self._failures[report.table] = report.reason
        self._tell(report)

    def _end(self, now: float) -> None:
        self._look = None
        self._failures = {
            table: reason for table, reason in self._failures.items() if table in self._failing
        }
        self.is_active = not self._failures
        pause = min(max((now - self._began) * _LOOK_SHARE, _ASK_INTERVAL), _LOOK_INTERVAL)
        if self._failures or self._generation is None:
            pause = _LOOK_INTERVAL
        self._next_look = now + pause
        self.deadline = now if self._is_wanted_anew else self._next_look


def remove_all(
    tag: str, environment: Mapping[str, str], report: Callable[[accept_rules.Report], None]
) -> None:
    """Remove every rule with this tag and wait for it; the agent is the only reaper.

    Without nft, or without the right to use it, ``report`` gets the reason.
    """
    look = accept_rules.look(frozenset(), tag)
    answer: accept_rules.Answer = None
    with contextlib.suppress(StopIteration):
        while True:
            step = look.send(answer)
            answer = None
            match step:
                case accept_rules.Run(arguments=arguments):
                    answer = run_and_wait(arguments, environment)
                case accept_rules.Pause():
                    pass
                case accept_rules.AskGeneration():
                    answer = read_generation()
                case accept_rules.AskOwned():
                    answer = owned_tables()
                case _:
                    report(step)


def run_and_wait(
    arguments: tuple[str, ...], environment: Mapping[str, str]
) -> accept_rules.Output:
    """Run nft and wait for it, for 3 seconds at most."""
    import subprocess  # noqa: PLC0415 - seldom needed

    try:
        program = process.find_program(_NFT, environment.get("PATH"))
        done = subprocess.run(
            [program, *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=_WAIT_LIMIT,
            check=False,
        )
    except (AgentError, OSError, subprocess.TimeoutExpired) as error:
        return accept_rules.Output(exit_code=None, errors=str(error))
    return accept_rules.Output(exit_code=done.returncode, text=done.stdout, errors=done.stderr)


def legacy_tables() -> tuple[str, ...]:
    """Return the tables of iptables-legacy in which VRRP can be dropped: nft shows none of them.

    A table exists from the first look at it on, also without a rule.
    """
    found: dict[str, None] = {}
    for path in _LEGACY_TABLES:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as names:  # noqa: PTH123
            found |= dict.fromkeys(names.read().split())
    return tuple(each for each in found if each != "nat")
