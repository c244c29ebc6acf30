"""keepalived as a child of the agent: how it is started, and what it writes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived import protocol
from ipfailover_agent.linux import process
from ipfailover_agent.status.logs import Repeats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.supervisor.services import Runtime

SOURCE = "keepalived"
"""Of the loop's events about what it writes, before its pid."""


class Child:
    """Starts keepalived, again and again, and keeps the streams that it writes to.

    Lines of one that ended may still be there to read when its successor writes already: each
    has a stream of its own, whose name is the source of the loop's events.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._loop = runtime.loop
        self._log = runtime.log
        self._output = runtime.output
        self._wrap = runtime.wrap
        self._refusals = Repeats()
        self._outputs: dict[str, int] = {}  # by name of the stream, the newest one last

    @property
    def has_output(self) -> bool:
        """Return whether there may be lines to read."""
        return bool(self._outputs)

    def writes(self, source: str) -> bool:
        """Return whether an event's source is one of the streams."""
        return source in self._outputs

    def is_newest(self, source: str) -> bool:
        """Return whether a stream is that of the keepalived that was started last."""
        return source == next(reversed(self._outputs))

    def spawn(self, active: Candidate, environment: Mapping[str, str]) -> int:
        """Start keepalived with a configuration and return its pid.

        Raises:
            KeepalivedMissingError: keepalived or setpriv is not there or cannot be executed.
            SystemRefusedError: no process could be made.
        """
        for old in list(self._outputs)[:-1]:  # the last one may still have lines to read
            self.close(old)
        path = environment.get("PATH")
        read_end, write_end = process.make_output_pipe()
        try:
            argv = protocol.command(
                process.find_program("keepalived", path),
                process.find_program("setpriv", path),
                active.paths,
                active.config.keepalived_options,
            )
            pid = process.spawn(argv, environment=environment, stdout=write_end, stderr=write_end)
        except AgentError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        stream = f"{SOURCE} {pid}"
        self._outputs[stream] = read_end
        self._loop.watch_lines(read_end, stream)
        return pid

    def pass_on(self, line: bytes, *, is_alone: bool) -> None:
        """Pass a line of keepalived's on; what it says of each refused advert, once a minute.

        ``is_alone``: it sends to itself, and that it receives that is no news.
        """
        is_expected = is_alone and protocol.says_heard_itself(line)
        if is_expected or protocol.says_dumped(line):
            return
        refusal = protocol.refusal(line)
        if refusal is None:
            self._output.write_line(self._wrap(line))
            return
        repeated = self._refusals.seen(refusal, time.monotonic())
        if repeated is not None:
            self._output.write_line(self._wrap(line))
        if repeated:
            self._log.info("keepalived.repeats", line=refusal, repeated=repeated)

    def close(self, stream: str) -> None:
        """Let go of a stream that has ended."""
        fd = self._outputs.pop(stream)
        self._loop.unwatch(fd)
        os.close(fd)
