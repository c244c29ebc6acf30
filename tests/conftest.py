"""What holds for all tests."""

import pytest
from hypothesis import HealthCheck, settings

from tests.support import program

# Machines are shared: an example that takes long says nothing. pytest's timeout bounds them all.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")


def pytest_report_header() -> str:
    """Name the keepalived that the tests run, and its version."""
    return f"keepalived: {program.KEEPALIVED}, version {'.'.join(map(str, program.version()))}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have every worker begin with its share of the slow tests.

    None of them then begins when the other workers have nothing left. Each worker gets the same
    number of tests in a row, and takes over others' when it has done them.
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    slow = [each for each in items if each.get_closest_marker("slow")]
    others = [each for each in items if not each.get_closest_marker("slow")]
    ordered: list[pytest.Item] = []
    for number in range(workers):
        share = (len(items) - len(ordered)) // (workers - number)
        first = slow[number::workers]
        count = max(share - len(first), 0)
        ordered += [*first, *others[:count]]
        del others[:count]
    items[:] = [*ordered, *others]
