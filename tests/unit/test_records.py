"""The record of the active configuration: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfailover_agent import codec
from ipfailover_agent.config.memory import ActiveRecord
from ipfailover_agent.model import KeepalivedConfig, Preemption, PreemptionMode
from tests.unit.test_change import PEERS, config


def record(of: KeepalivedConfig) -> ActiveRecord:
    """Return a record of a configuration."""
    return ActiveRecord(
        pid=1,
        agent_started_at=4711,
        environment=(("OPENSHIFT_HA_VIRTUAL_IPS", "10.0.0.1"),),
        start_only=(("KEEPALIVED_OPTIONS", ""),),
        source=None,
        template_directory="/templates",
        digest="d1",
        config=of,
    )


@pytest.mark.parametrize(
    "of",
    [
        pytest.param(config(1, 2), id="plain"),
        pytest.param(config(*range(1, 240)), id="many"),
        pytest.param(config(1, 2, 3, address_groups=2, unicast_peers=tuple(PEERS)), id="groups"),
        pytest.param(
            config(1, advert_interval=0.5, preemption=Preemption(mode=PreemptionMode.NEVER)),
            id="fractions",
        ),
    ],
)
def test_a_record_is_read_as_it_was_written(of: KeepalivedConfig) -> None:
    """Every field, enums, addresses and nested blocks included."""
    assert record(of) == codec.decode(codec.encode(record(of)), ActiveRecord, "record")


TEXT = codec.encode(record(config(1)))


def damaged(**fields: Any) -> str:  # noqa: ANN401 - whatever JSON has
    data = json.loads(TEXT)
    return json.dumps({**data, **fields})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="no object"),
        pytest.param("[" * 100_000, id="too deep"),
        pytest.param(damaged(schema=2), id="another version"),
        pytest.param(damaged(pid="1"), id="text for a number"),
        pytest.param(damaged(pid=True), id="truth for a number"),
        pytest.param(damaged(more=1), id="one field too many"),
        pytest.param(damaged(environment=[["a", "b", "c"]]), id="a triple for a pair"),
        pytest.param(damaged(environment="ab"), id="text for a list"),
        pytest.param(damaged(config=None), id="no configuration"),
        pytest.param(damaged(config={}), id="an empty configuration"),
        pytest.param(TEXT.replace("10.0.0.1/", "").replace("preempt", "x"), id="an unknown word"),
        pytest.param(TEXT.replace('"address":"10.0.0.1"', '"address":"x"'), id="no address"),
    ],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    """Of another version, cut off, or written by another program."""
    with pytest.raises(ValueError, match="it is no record"):
        codec.decode(text, ActiveRecord, "record")
