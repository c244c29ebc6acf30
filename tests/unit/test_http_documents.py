"""What is written of HTTP is what is answered: metrics, paths, the schema of the status."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from ipfailover_agent import codec
from ipfailover_agent.http import messages
from ipfailover_agent.http.messages import HttpRequest
from ipfailover_agent.http.routes import Routes
from ipfailover_agent.status.exchange import Exchange, StatusView
from tests.support import status_schema
from tests.support.markdown import code, section, table
from tests.support.observed import WHOLE, observation
from tests.unit.test_metrics import text_of

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
SCHEMA = ROOT / "docs" / "status.schema.json"


def test_the_schema_of_the_status_is_that_of_the_code() -> None:
    """``python -m tests.support.status_schema > docs/status.schema.json`` writes it anew."""
    assert status_schema.text() == SCHEMA.read_text(encoding="utf-8")


@pytest.mark.parametrize("seen", [WHOLE, observation(config=None, check=None, listen=None)])
def test_a_status_fits_its_schema(seen: StatusView) -> None:
    """One with everything and one with nothing in it; a damaged one does not."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    data = json.loads(codec.encode(seen.status))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)
    damages: tuple[dict[str, object], ...] = (
        {"schema": 2},
        {"pid": "7"},
        {"instances": [{}]},
        {"lease": None},
    )
    for damage in damages:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data | damage, schema)


def test_the_operations_guide_lists_every_metric() -> None:
    """With its type, and no other."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text_of(WHOLE), re.MULTILINE))
    listed = {
        name: row[1] for row in table(section(OPERATIONS, "Metrics")) for name in code(row[0])
    }
    assert types == listed


def test_the_operations_guide_lists_every_path() -> None:
    """And what is listed is answered."""
    listed = {code(row[0])[0] for row in table(section(OPERATIONS, "HTTP"))}
    assert {"/livez", "/readyz", "/status", "/metrics", "/"} == listed
    exchange = Exchange()
    try:
        site = Routes(exchange)
        exchange.look = observation()
        answers = {
            path: site.answer(HttpRequest(path=path), exchange.look.at, may_wait=True)
            for path in listed
        }
        assert None not in answers.values()
        assert messages.refusal(404) == site.answer(HttpRequest(path="/other"), 0.0, may_wait=True)
    finally:
        exchange.close()
