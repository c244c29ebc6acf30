"""The services: what the agent's loop calls, in one order, whatever their subject is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from ipfailover_agent.status.status_model import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.config.prepare import Candidate, Options
    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.keepalived.dump import InstanceDump
    from ipfailover_agent.keepalived.instance_states import InstanceState, InstanceStates
    from ipfailover_agent.keepalived.lifecycle import Event, SupervisionPolicy
    from ipfailover_agent.linux.loop import Loop
    from ipfailover_agent.linux.output import LineSink
    from ipfailover_agent.linux.process import ChildExit
    from ipfailover_agent.model import VrrpState
    from ipfailover_agent.paths import RunPaths
    from ipfailover_agent.status.history import History
    from ipfailover_agent.status.status_model import StatusPart
    from ipfailover_agent.status.transition import Withholding
    from ipfailover_agent.vrrp.packets import Advert


class Runtime(Struct, frozen=True, kw_only=True):
    """What one agent runs with.

    Attributes:
        environment: the initial one; keepalived gets it too.
        options: the agent's own settings.
        paths: of the run directory.
        policy: every delay.
        log: where events go, through ``errors``.
        history: the events so far.
        output: where keepalived's lines go, as ``wrap`` makes them.
        errors: where the log goes.
        wrap: makes a line of output of a line of keepalived's.
        loop: watches descriptors; it runs from :meth:`Service.begin` on.
    """

    environment: Mapping[str, str]
    options: Options
    paths: RunPaths
    policy: SupervisionPolicy
    log: FilteringBoundLogger
    history: History
    output: LineSink
    errors: LineSink
    wrap: Callable[[bytes], bytes]
    loop: Loop


class Common(Runtime, frozen=True, kw_only=True):
    """What every service of one agent may use.

    Attributes:
        changed: called when the status has to be written.
        dispatch: called with an event for the state machine.
    """

    changed: Callable[[], None]
    dispatch: Callable[[Event], None]


class Service:
    """A part of the agent with a subject of its own.

    A service overrides what concerns it; here nothing is done. No method raises: a service that
    lacks a right or a device is off, and the log has the reason. Times are monotonic seconds.
    """

    source: ClassVar[str] = ""
    """Of the loop's events that are for this service: their source, up to a blank."""

    def __init__(self, common: Common) -> None:
        self._log = common.log
        self._loop = common.loop
        self._paths = common.paths
        self._environment = common.environment
        self._changed = common.changed
        self._dispatch = common.dispatch

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do."""
        return None

    def tick(self, now: float) -> None:
        """Do what is due; in every round of the loop."""

    @property
    def resume_at(self) -> float | None:
        """Return when to :meth:`resume`; that is no reason for a round of the loop."""
        return None

    def resume(self, now: float) -> bool:  # noqa: ARG002 - for those that override it
        """Do what is due many times a second; return whether a round has to follow."""
        return False

    def stalled(self, seconds: float) -> None:
        """Note that the loop did not run for so long; before anything else is done."""

    # --- the loop's events ----------------------------------------------------------------------

    def begin(self) -> None:
        """Begin: the loop is about to run."""

    def readable(self) -> object:
        """Read from the descriptor that has something to read."""
        return None

    def on_line(self, source: str, line: bytes) -> None:
        """Take a line of a stream."""

    def stream_closed(self, source: str) -> None:
        """Note the end of a stream."""

    def child_exited(self, child: ChildExit) -> bool:  # noqa: ARG002 - likewise
        """Take the end of a child; return whether it was one of this service's."""
        return False

    # --- configuration and keepalived -----------------------------------------------------------

    def configure(self, candidate: Candidate, instance_states: InstanceStates) -> None:
        """Apply the configuration in force, or about to be, with the node as it is now."""

    def on_instance_states(self, instance_states: InstanceStates, now: float) -> None:
        """Note the states of all instances, after a batch of transitions."""

    def on_transition(self, before: InstanceState, state: VrrpState) -> None:
        """Note that keepalived reported a transition of an instance."""

    def on_advert(self, name: str, advert: Advert, context: ContestContext) -> None:
        """Note an advert of another node for an instance's id, or one with an address of it."""

    def on_dump(self, instances: tuple[InstanceDump, ...], asked_at: float) -> None:
        """Note keepalived's answer to a question of ``asked_at``."""

    def rereading_began(self) -> None:
        """Note that keepalived got the signal to read its file again."""

    def rereading_ended(self) -> None:
        """Note that keepalived has read its file, or that the agent waits for that no longer."""

    def keepalived_ends(self) -> None:
        """Note that keepalived is about to end: what it holds must not outlive its adverts.

        One that hangs is killed only seconds later, when another node may have taken over.
        """

    def keepalived_ended(self, *, keeps_holds: bool) -> None:  # noqa: ARG002 - likewise
        """Note that keepalived ended: it holds nothing any more.

        ``keeps_holds``: it is started anew at once, and instances kept in FAULT stay so.
        """
        self.keepalived_ends()

    # --- for others -----------------------------------------------------------------------------

    def withholding(self, name: str) -> Withholding | None:  # noqa: ARG002 - likewise
        """Return why this service keeps an instance in FAULT, None where it does not."""
        return None

    def status(self) -> StatusPart:
        """Return what the status shows of this service at this moment."""
        return NOTHING

    def close(self) -> None:
        """Take back what must not outlive the agent; the loop has ended."""
