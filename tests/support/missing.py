"""What becomes of a test where something that it needs is not to be had."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def skip(reason: str, required: str, *, loudly: str = "") -> NoReturn:
    """Skip the test, after ``loudly``; fail it where the variable ``required`` is 1."""
    if os.environ.get(required) == "1":
        pytest.fail(f"{required}=1, but {reason}", pytrace=False)
    pytest.skip(f"{loudly}{reason}")
