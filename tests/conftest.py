"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# Machines are shared: an example that takes long says nothing. pytest's timeout bounds them all.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")
