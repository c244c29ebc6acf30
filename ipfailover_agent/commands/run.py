"""``run``: the agent itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ipfailover_agent.core.errors import AgentError, ExitCode
from ipfailover_agent.report import logs
from ipfailover_agent.reporter import problems_of
from ipfailover_agent.system.output import LineSink, secure_standard_streams

if TYPE_CHECKING:
    from ipfailover_agent.core.supervision import Policy
    from ipfailover_agent.prepare import Options


def run(options: Options, log_format: str, log_level: str, *, policy: Policy | None = None) -> int:
    """Serve until the end; return the exit code. A bug ends with its traceback in the log."""
    from ipfailover_agent.agent import Agent  # noqa: PLC0415 - after the cheap imports

    secure_standard_streams()
    chosen = logs.LogFormat(log_format)
    notice = logs.drop_notice(chosen)
    output, errors = LineSink(1, notice=notice), LineSink(2, notice=notice)
    log = logs.configure(errors, log_format=chosen, level=log_level)
    try:
        agent = Agent(
            environment=dict(os.environ),
            options=options,
            log=log,
            output=output,
            errors=errors,
            wrap=logs.line_wrapper(chosen),
            policy=policy,
        )
        return agent.run()
    except AgentError as error:
        log.error("agent.failed", exit_code=int(error.exit_code), problems=problems_of(error))
        return int(error.exit_code)
    except Exception:
        log.exception("agent.crashed", exit_code=int(ExitCode.BUG))
        return int(ExitCode.BUG)
    finally:
        for sink in (output, errors):
            sink.drain(0.2)
            sink.close()
