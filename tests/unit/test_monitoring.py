"""The alerts and the dashboard of the examples: they parse, and fire when they should."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.support.observed import WHOLE
from tests.support.promtool import promtool
from tests.unit.test_metrics import text_of

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "examples" / "monitoring"
CASES = ROOT / "tests" / "support" / "alert_cases.yaml"
OPERATIONS = ROOT / "docs" / "operations.md"


def groups() -> list[dict[str, Any]]:
    """Return the rule groups, as a rule file of Prometheus has them."""
    found = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    assert found["kind"] == "PrometheusRule"
    listed: list[dict[str, Any]] = found["spec"]["groups"]
    return listed


def alerts() -> list[dict[str, Any]]:
    """Return every alert."""
    return [rule for group in groups() for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    return found


def expressions() -> list[str]:
    """Return what the dashboard asks Prometheus, its variables filled in."""
    return [
        target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*")
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]


def test_every_alert_fires_when_it_should_and_not_else(tmp_path: Path) -> None:
    """An ordinary handover raises nothing; every fault raises its own."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}))
    (tmp_path / "cases.yaml").write_text(CASES.read_text())
    assert "SUCCESS" in promtool("check", "rules", "rules.yaml", directory=tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "cases.yaml", directory=tmp_path)


def test_every_alert_is_tried() -> None:
    """A rule that no case raises might never fire."""
    raised = {
        check["alertname"]
        for case in yaml.safe_load(CASES.read_text())["tests"]
        for check in case["alert_rule_test"]
        if check["exp_alerts"]
    }
    assert {each["alert"] for each in alerts()} == raised


def test_every_alert_has_a_runbook() -> None:
    """Its heading is where the annotation leads."""
    headings = set(re.findall(r"^#### (\w+)$", OPERATIONS.read_text(), re.MULTILINE))
    assert {each["alert"] for each in alerts()} == headings
    for each in alerts():
        expected = f"docs/operations.md#{each['alert'].lower()}"
        assert expected == each["annotations"]["runbook"]


def test_every_question_of_the_dashboard_parses(tmp_path: Path) -> None:
    """As a recording rule, since promtool reads those."""
    rules = [
        {"record": f"asked:{number}", "expr": each} for number, each in enumerate(expressions())
    ]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    )
    assert f"{len(rules)} rules found" in promtool(
        "check", "rules", "rules.yaml", directory=tmp_path
    )


def test_only_metrics_that_there_are_are_asked_for() -> None:
    """A typing error would be an alert that never fires, a panel that stays empty."""
    told = set(re.findall(r"^# TYPE (\S+) ", text_of(WHOLE), re.MULTILINE))
    asked = " ".join([*expressions(), *(each["expr"] for each in alerts())])
    assert set() == set(re.findall(r"\b(?:ipfailover|keepalived)_[a-z_]+", asked)) - told


def test_the_dashboard_is_laid_out_in_its_24_columns() -> None:
    """No panel lies on another, and ids are unique."""
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert taken.isdisjoint(cells)
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert sorted(set(ids)) == sorted(ids)
