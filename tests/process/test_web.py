"""HTTP as the loop sees it, where nothing can be had to begin with."""

from __future__ import annotations

import os
import resource
import signal
import time
from typing import TYPE_CHECKING, cast

from ipfailover_agent.http import routes, server
from ipfailover_agent.http.service import Web
from ipfailover_agent.linux.loop import Loop
from tests.support.services import common
from tests.unit.test_reporter import Told

if TYPE_CHECKING:
    from pathlib import Path

    from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog

LOADED = (
    server,
    routes,
)  # by now: a module is a file too, and there is to be no descriptor for it


def test_no_descriptor_to_begin_with_costs_no_agent(tmp_path: Path) -> None:
    """It is told once and tried again, and nothing is lost with each attempt."""
    told = Told(tmp_path)
    log = told.reporter.log
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Loop([signal.SIGHUP]) as loop:
        web = Web(
            common(log=log, loop=loop, changed=told.reporter.touch),
            "127.0.0.1:63999",
            reporter=told.reporter,
            keepalived_watchdog=cast("KeepalivedWatchdog", None),
        )
        web.begin()
        next_free = os.dup(0)
        os.close(next_free)
        for room in (0, 1, 2):
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_free + room, hard))
            try:
                web.tick(time.monotonic() + 60 * (room + 1))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert web.deadline is not None
        after = os.dup(0)
        os.close(after)
        web.tick(time.monotonic() + 600)
        web.close()
    assert next_free == after
    assert ["status.unavailable"] == told.events
