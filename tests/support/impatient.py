"""The agent with seconds where it waits minutes: ``python -m tests.support.impatient run``.

It asks for addresses that others hold once in two seconds.
"""

from ipfailover_agent.core.rivalry.questions import AnsweringPolicy
from ipfailover_agent.entry import hold_signals, main

hold_signals()


def impatient() -> None:
    """Have the agent ask often."""
    from ipfailover_agent.protection.answers import Answers  # noqa: PLC0415 - signals come first

    Answers.policy = AnsweringPolicy(
        interval=2.0, settle=0.5, patience=0.5, burst=5, tick=0.2, report_interval=1.0
    )


if __name__ == "__main__":
    impatient()
    main()
