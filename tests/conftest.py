"""What holds for all tests."""

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
