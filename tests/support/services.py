"""What services are made with, for tests of one alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog
from msgspec.structs import replace

from ipfailover_agent.config.prepare import Options
from ipfailover_agent.keepalived.lifecycle import SupervisionPolicy
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.service import Common


def candidate(config: object, settings: object = None, **more: object) -> Any:  # noqa: ANN401
    """Return what services take of a candidate, for its ``configure``."""
    return SimpleNamespace(config=config, settings=settings, **more)


def common(directory: Path | str = "/nowhere", **more: Any) -> Common:  # noqa: ANN401 - any field
    """Return that, with what ``more`` names; there is no loop, and changes are for nobody."""
    anything: Any = None
    return replace(
        Common(
            environment={},
            options=Options(),
            paths=RunPaths(directory=str(directory), config="/nowhere/keepalived.conf"),
            policy=SupervisionPolicy(),
            log=structlog.get_logger(),
            history=anything,
            output=anything,
            errors=anything,
            wrap=anything,
            loop=anything,
            changed=lambda: None,
            dispatch=lambda _: None,
        ),
        **more,
    )
