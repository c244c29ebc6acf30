"""``run``: the agent itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ipfailover_agent.errors import AgentError, ExitCode
from ipfailover_agent.linux.files import TERMINATION_LOG, write_termination_message
from ipfailover_agent.linux.output import LineSink, secure_standard_streams
from ipfailover_agent.status import logs
from ipfailover_agent.status.reporter import problems_of

if TYPE_CHECKING:
    from ipfailover_agent.agent import Agent
    from ipfailover_agent.config.prepare import Options
    from ipfailover_agent.keepalived.lifecycle import SupervisionPolicy


def run(
    options: Options,
    log_format: str,
    log_level: str,
    *,
    policy: SupervisionPolicy | None = None,
    termination_log: str = TERMINATION_LOG,
) -> int:
    """Serve until the end; return the exit code. A bug ends with its traceback in the log."""
    from ipfailover_agent import agent as agents  # noqa: PLC0415 - after the cheap imports

    secure_standard_streams()
    chosen = logs.LogFormat(log_format)
    notice = logs.drop_notice(chosen)
    output, errors = LineSink(1, notice=notice), LineSink(2, notice=notice)
    log = logs.configure(errors, log_format=chosen, level=log_level)
    try:
        agent = agents.Agent(
            environment=dict(os.environ),
            options=options,
            log=log,
            output=output,
            errors=errors,
            wrap=logs.line_wrapper(chosen),
            policy=policy,
            last_words=lambda text: write_termination_message(termination_log, text),
        )
        return _tell_end(agent, agent.run(), termination_log)
    except AgentError as error:
        write_termination_message(termination_log, "\n".join(problems_of(error)))
        log.error("agent.failed", exit_code=int(error.exit_code), problems=problems_of(error))
        return int(error.exit_code)
    except Exception as error:
        said = f"a bug: {type(error).__name__}: {error}"
        write_termination_message(termination_log, f"{said}\nthe log has the traceback")
        log.exception("agent.crashed", exit_code=int(ExitCode.BUG))
        return int(ExitCode.BUG)
    finally:
        for sink in (output, errors):
            sink.drain(0.2)
            sink.close()


def _tell_end(agent: Agent, code: int, termination_log: str) -> int:
    if code:
        write_termination_message(termination_log, "\n".join(agent.failure))
    return code
