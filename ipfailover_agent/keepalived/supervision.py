"""The types of supervision: phases, events, actions, delays and what is remembered.

``lifecycle`` decides with them, ``Supervisor`` dispatches events and carries out actions.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.errors import ExitCode

if TYPE_CHECKING:
    import signal


class AgentPhase(enum.Enum):
    """Where the agent is; the values are shown to operators."""

    PREPARING = "preparing"  # a first candidate is being built and tested
    WAITING = "waiting"  # for the node, or for a configuration that can be used
    STARTING = "starting"  # keepalived was started and has not spoken yet
    RUNNING = "running"
    RESTARTING = "restarting"  # keepalived is about to end, and will be started anew
    CLEARING = "clearing"  # keepalived ended; what is left of its group is being ended
    BACKOFF = "backoff"
    STOPPING = "stopping"
    KILLING = "killing"
    STOPPED = "stopped"


class Reload(enum.Enum):
    """How far a reload has come."""

    NONE = "none"
    PREPARING = "preparing"
    APPLYING = "applying"
    VERIFYING = "verifying"  # keepalived has read its file; does it do that?
    ROLLING_BACK = "rolling back"  # keepalived does not, and is about to end


class CandidateVerdict(enum.Enum):
    """What became of a candidate."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    NOT_READY = "not ready"


class ReloadVerdict(enum.Enum):
    """What became of a reload; the values are shown to operators."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"  # it is in place, and keepalived has not confirmed it


class SupervisionPolicy(Struct, frozen=True, kw_only=True):
    """Every delay by name, in seconds, and every limit.

    The sum of ``stop_grace`` and twice ``kill_grace`` stays below the ten seconds that
    ``docker stop`` grants; keepalived needs about 1 s to stop, 3 s with 254 instances.
    """

    okay_delay: float = 10.0  # after so long without a report, keepalived counts as running
    stop_grace: float = 5.0
    kill_grace: float = 1.0
    clear_grace: float = 1.5
    clear_interval: float = 0.1
    waiting_interval: float = 1.0
    test_grace: float = 10.0  # keepalived -t needs 9 ms, some 60 ms with 254 instances
    reload_grace: float = 10.0
    verify_grace: float = 10.0
    first_step_grace: float = (
        2.5  # for either, of a first step: less than others need to take over
    )
    backoff_initial: float = 0.5
    backoff_factor: float = 2.0
    backoff_limit: float = 30.0
    stable_after: float = 60.0
    attempts: int = 12
    source_interval: float = 2.0
    node_interval: float = 5.0


# --- events -------------------------------------------------------------------------------------


class Occurrence(enum.Enum):
    """An event that has no fields."""

    AGENT_STARTED = enum.auto()  # the agent is set up
    KEEPALIVED_READY = enum.auto()  # keepalived reported that it has started
    RELOAD_COMPLETED = enum.auto()  # keepalived reported that it has read its file again
    GROUP_GONE = enum.auto()  # no process of keepalived's group is left
    RELOAD_REQUESTED = enum.auto()  # SIGHUP
    INPUTS_CHANGED = enum.auto()  # something else that a plan depends on changed: peers by name
    STOP_REQUESTED = enum.auto()  # SIGTERM or SIGINT
    DEADLINE_PASSED = enum.auto()  # ``Lifecycle.deadline`` has passed


class PreparationEnded(Struct, frozen=True, kw_only=True):
    """A candidate was built and tested, or was not.

    Attributes:
        verdict: what became of it.
        lines: what it changes, or what is wrong with it.
        signals: how many SIGHUPs apply it to a running keepalived (0: only scripts changed).
        may_change: the variables come from a source that may be mended while the agent waits.
        exit_code: with REFUSED, what the agent exits with if it has nothing else to run.
    """

    verdict: CandidateVerdict
    lines: tuple[str, ...] = ()
    signals: int = 1
    may_change: bool = False
    exit_code: ExitCode = ExitCode.CONFIG


class Spawned(Struct, frozen=True, kw_only=True):
    """keepalived was started."""

    pid: int


class SpawnFailed(Struct, frozen=True, kw_only=True):
    """keepalived could not be started."""

    exit_code: ExitCode


class VerificationEnded(Struct, frozen=True, kw_only=True):
    """keepalived and the kernel show what was planned; else these name what they show.

    Attributes:
        difference: what is proven to be otherwise.
        doubt: why it could not be seen within the time there is.
    """

    difference: str = ""
    doubt: str = ""


class KeepalivedEnded(Struct, frozen=True, kw_only=True):
    """keepalived's parent process was reaped: ``exit_code``, or None after a signal.

    ``host_changed``: the node is no longer as it was when the file was tested.
    """

    exit_code: int | None
    host_changed: bool = False


class RestartWanted(Struct, frozen=True, kw_only=True):
    """keepalived cannot do its work as it runs, through no fault of its own: start it anew.

    The sender repeats the event: while a reload is under way it is ignored.
    """

    reason: str


Event = (
    Occurrence
    | PreparationEnded
    | Spawned
    | SpawnFailed
    | VerificationEnded
    | KeepalivedEnded
    | RestartWanted
)


# --- actions ------------------------------------------------------------------------------------


class Order(enum.Enum):
    """An action that has no fields."""

    PREPARE = enum.auto()  # build and test a candidate; answer with PreparationEnded
    ABANDON_PREPARATION = (
        enum.auto()
    )  # forget the candidate under way; no PreparationEnded is wanted
    ACTIVATE = enum.auto()  # have all services apply the candidate, whose files are in place
    PLACE_STEP = enum.auto()  # put the next file of a reload in place; its signal follows
    VERIFY = enum.auto()  # look whether keepalived does what its file says: VerificationEnded
    CONCLUDE_VERIFICATION = enum.auto()  # the time for that is up; answer by what is known by now
    RESTORE = enum.auto()  # put the active configuration's files in place again
    ROLL_BACK = enum.auto()  # make the previous configuration the active one again
    SPAWN = enum.auto()  # start keepalived; answer with Spawned or SpawnFailed
    CHECK_GROUP = enum.auto()  # answer with GROUP_GONE if no process of keepalived's group is left
    RELEASE_ADDRESSES = enum.auto()  # remove this node's addresses that are still on an interface


class SignalKeepalived(Struct, frozen=True, kw_only=True):
    """Send a signal to keepalived's parent process."""

    signal: signal.Signals


class SignalGroup(Struct, frozen=True, kw_only=True):
    """Send a signal to every process of keepalived's group."""

    signal: signal.Signals


class EndReload(Struct, frozen=True, kw_only=True):
    """The reload is over: report it.

    ``reason`` is empty where it was carried out. ``lines`` are what it changes, or why it did not
    do that.
    """

    verdict: ReloadVerdict = ReloadVerdict.ACCEPTED
    reason: str = ""
    lines: tuple[str, ...] = ()


class LogRestart(Struct, frozen=True, kw_only=True):
    """keepalived is about to be ended and started anew: say why."""

    reason: str


class ScheduleRestart(Struct, frozen=True, kw_only=True):
    """keepalived will be started again after ``delay`` seconds: say so."""

    attempt: int
    delay: float


class Finish(Struct, frozen=True, kw_only=True):
    """End the agent; ``lines``: what is wrong, where no configuration was ever in force."""

    exit_code: ExitCode
    reason: str
    lines: tuple[str, ...] = ()


Action = Order | SignalKeepalived | SignalGroup | EndReload | LogRestart | ScheduleRestart | Finish


# --- the state ----------------------------------------------------------------------------------


class Lifecycle(Struct, frozen=True, kw_only=True):
    """Everything supervision remembers. Times are monotonic seconds.

    Attributes:
        deadline: when to send DEADLINE_PASSED, None for never.
        pid: keepalived's parent process, and its group, while either may live.
        has_active: a configuration has been accepted before.
        reload: how far a reload has come.
        reload_again: another reload was asked for meanwhile.
        lines: what the newest candidate changes, or what is wrong with it.
        signals_left: SIGHUPs that the reload being applied still needs.
        difference: why the reload is rolled back, empty where it is not.
        returns: the configuration before is the active one again, while the reload goes on.
        ready_at: when keepalived was ready, None before.
        attempts: starts in a row that did not last.
        clearing_since: when keepalived's parent ended.
        ended: how it ended, kept while its group is cleared.
        rolls_back: the previous configuration is to be restored after clearing.
        restarts: keepalived was ended to be started anew, which is no failed attempt.
        stops: TERM or INT was received.
    """

    phase: AgentPhase = AgentPhase.PREPARING
    deadline: float | None = None
    pid: int | None = None
    has_active: bool = False
    reload: Reload = Reload.NONE
    reload_again: bool = False
    lines: tuple[str, ...] = ()
    signals_left: int = 0
    difference: str = ""
    returns: bool = False
    ready_at: float | None = None
    attempts: int = 0
    clearing_since: float = 0.0
    ended: KeepalivedEnded | None = None
    rolls_back: bool = False
    restarts: bool = False
    stops: bool = False
