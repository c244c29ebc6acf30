"""The registry of variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ipfailover_agent.cli import main as cli
from ipfailover_agent.config import variables
from ipfailover_agent.model import Settings
from tests.support.vectors import load_vectors

CORE = Path(variables.__file__).parent


def test_every_name_is_registered_once() -> None:
    """Two entries of one name would make the README's table lie."""
    assert len(variables.VARIABLES) == len(variables.BY_NAME)


def test_every_variable_that_the_core_reads_is_registered() -> None:
    """A variable that is parsed and not registered would be called unknown."""
    named = {
        name
        for module in ("settings.py", "values.py", "shell_reading.py", "checks.py", "prepare.py")
        for name in re.findall(r'"([A-Z]+_[A-Z_]{3,})"', (CORE / module).read_text())
    }
    assert len(named) >= 25
    assert named <= set(variables.BY_NAME)


def test_every_registered_variable_of_the_contract_is_read() -> None:
    """Into a field, or for what it may be refused for; a field without a row is the agent's."""
    contract = [each for each in variables.VARIABLES if not each.is_agent_option]
    unused = {each.name.removeprefix("OPENSHIFT_HA_") for each in contract if not each.field}
    assert {"REPLICA_COUNT", "SELECTOR"} == unused
    assert {*Settings.__struct_fields__} - {"warnings", "left_out"} == {
        each.field for each in contract if each.field
    }
    assert all(
        each.name.startswith("IPFAILOVER_") for each in variables.VARIABLES if not each.parse
    )


def test_the_old_image_s_variables_are_known() -> None:
    """No recorded environment gives a warning about an unknown name."""
    names = {name for vector in load_vectors() for name in vector.env}
    assert not any(map(variables.is_unknown, names))


@pytest.mark.parametrize("variable", variables.VARIABLES, ids=lambda each: each.name)
def test_every_summary_is_a_sentence_of_a_table(variable: variables.Variable) -> None:
    """Summaries fit a table cell: one line, a full stop at the end, no bar."""
    assert re.fullmatch(r"[A-Z`][^\n|]+\.", variable.summary)
    assert len(variable.summary) < 250


def test_contract_and_agent_variables_are_told_apart() -> None:
    """Only the contract is taken from the source that IPFAILOVER_CONFIG names."""
    assert variables.is_contract("OPENSHIFT_HA_VIRTUAL_IPS")
    assert variables.is_contract("HA_EXCLUDED_VRRP_IDS")
    assert variables.is_contract("KEEPALIVED_OPTIONS")
    assert not variables.is_contract("IPFAILOVER_LISTEN")
    assert not variables.is_contract("OPENSHIFT_HA_VIRTUAL_IP")
    assert not variables.is_contract("PATH")


def test_the_agents_own_options_have_the_defaults_of_their_rows() -> None:
    """What ``run --help`` shows is what the table says."""
    shown = {
        each.envvar: str(each.default) if isinstance(each.default, str | bool) else ""
        for each in cli.run_command.params
    }
    own = {each.name: each.default for each in variables.VARIABLES if each.is_agent_option}
    assert own == {name: default.replace("True", "true") for name, default in shown.items()}


def test_what_only_a_start_can_change_is_marked() -> None:
    """A reload refuses these; everything else of the contract it applies."""
    marked = {
        each.name
        for each in variables.VARIABLES
        if each.takes_effect_at == "start" and not each.is_agent_option
    }
    assert marked == {"KEEPALIVED_OPTIONS", "KEEPALIVED_CONFIG"}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("OPENSHIFT_HA_VIRTUAL_IP", "OPENSHIFT_HA_VIRTUAL_IPS"),
        ("OPENSHIFT_HA_VIP_GROUP", "OPENSHIFT_HA_VIP_GROUPS"),
        ("OPENSHIFT_HA_CHECK_SCIRPT", "OPENSHIFT_HA_CHECK_SCRIPT"),
        ("OPENSHIFT_HA_check_interval", "OPENSHIFT_HA_CHECK_INTERVAL"),
        ("OPENSHIFT_HA_KEEPALIVED_OPTIONS", "KEEPALIVED_OPTIONS"),
        ("OPENSHIFT_HA_QQQQ", None),
        ("OPENSHIFT_HA_", None),
    ],
)
def test_an_unknown_name_has_a_nearest_one(name: str, known: str | None) -> None:
    """A typo is answered with what was probably meant, a stranger with nothing."""
    assert variables.is_unknown(name)
    assert known == variables.nearest(name)
