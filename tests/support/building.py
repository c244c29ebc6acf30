"""A strategy of hypothesis for the product's structs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

_Value = TypeVar("_Value")


def builds(
    kind: Callable[..., _Value],
    *positional: st.SearchStrategy[Any],
    **named: st.SearchStrategy[Any],
) -> st.SearchStrategy[_Value]:
    """Return what ``strategies.builds`` returns, without a look at the signature of ``kind``.

    A struct works its signature out of annotations, whose names only type checkers know.
    """

    def made(*values: Any, **more: Any) -> _Value:  # noqa: ANN401 - whatever the fields are
        return kind(*values, **more)

    return st.builds(made, *positional, **named)
