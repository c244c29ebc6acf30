"""What holds for all tests."""

import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.support import order, program

# Machines are shared: an example that takes long says nothing. pytest's timeout bounds them all.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")

# A shell that runs something in the background has it ignore Ctrl-C, and so would every program
# that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Name the keepalived that the tests run, and its version."""
    return f"keepalived: {program.KEEPALIVED}, version {'.'.join(map(str, program.version()))}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have every worker begin with its share of the slow tests."""
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    items[:] = order.slow_first(
        items, lambda each: each.get_closest_marker("slow") is not None, workers
    )
