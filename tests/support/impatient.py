"""The agent with seconds where it waits minutes: ``python -m tests.support.impatient run``.

It asks once in two seconds for each address that another node holds.
"""

from ipfailover_agent.entry import hold_signals, main


def become_impatient() -> None:
    """Have the agent ask often."""
    from ipfailover_agent.conflict.answer_monitor import AnswerMonitor  # noqa: PLC0415 - likewise
    from ipfailover_agent.conflict.answering import AnsweringPolicy  # noqa: PLC0415 - signals come first

    AnswerMonitor.policy = AnsweringPolicy(
        interval=2.0, settle=0.5, timeout=0.5, tick=0.2, report_interval=1.0
    )


if __name__ == "__main__":
    hold_signals()
    become_impatient()
    main()
