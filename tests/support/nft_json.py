"""Chains and rules as nft prints them, for tests of what is made of those."""

from __future__ import annotations

import json
from typing import Any

from ipfailover_agent.firewall.ruleset import Entry, read

DROP: dict[str, Any] = {"drop": None}
ACCEPT: dict[str, Any] = {"accept": None}
L4 = {"meta": {"key": "l4proto"}}


def text_of(*objects: object) -> str:
    """Return objects as nft prints them."""
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *objects]})


def entries(*objects: object) -> list[Entry]:
    """Return what is read of objects."""
    return [each for each in read(text_of(*objects)) if each is not None]


def chain(name: str = "input", family: str = "inet", **more: object) -> dict[str, object]:
    """Return a chain; a base chain of the input hook unless told."""
    base = {"type": "filter", "hook": "input", "prio": 0, "policy": "accept"}
    return {"chain": {"family": family, "table": "t", "name": name, "handle": 1, **base, **more}}


def side(name: str, family: str = "inet") -> dict[str, object]:
    """Return a chain that only jumps lead to."""
    return {"chain": {"family": family, "table": "t", "name": name, "handle": 2}}


def rule(
    *statements: object,
    chain: str = "input",
    family: str = "inet",
    handle: int = 7,
    comment: str | None = None,
) -> dict[str, object]:
    """Return a rule."""
    words = {} if comment is None else {"comment": comment}
    place = {"family": family, "table": "t", "chain": chain, "handle": handle}
    return {"rule": {**place, **words, "expr": list(statements)}}


def jump(target: str) -> dict[str, object]:
    """Return the statement that has a chain looked at, and what follows after it."""
    return {"jump": {"target": target}}


def match(left: object, right: object, op: str = "==") -> dict[str, object]:
    """Return a match statement."""
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> dict[str, object]:
    """Return the left side of a match on a header field."""
    return {"payload": {"protocol": protocol, "field": field}}
