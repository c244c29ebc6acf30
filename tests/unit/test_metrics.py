"""The metrics of a look at a node, as Prometheus reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from ipfailover_agent.http import metrics
from ipfailover_agent.status import status_model
from ipfailover_agent.status.exchange import StatusView
from tests.support.markdown import code, section, table
from tests.support.observed import WHOLE, instance, observation
from tests.support.promtool import promtool

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
HOLDER = "ipfailover_instance_holder"

#: What keepalived-exporter calls its metrics: name, type and labels (its internal/collector).
EXPORTER = {
    "keepalived_up": ("gauge", ()),
    "keepalived_vrrp_state": ("gauge", ("iname", "intf", "ip_address", "vrid")),
    "keepalived_script_status": ("gauge", ("name",)),
    "keepalived_script_state": ("gauge", None),
    **{
        f"keepalived_{name}_total": ("counter", ("iname", "intf", "vrid"))
        for name in (
            *("advertisements_received", "advertisements_sent", "become_master"),
            *("release_master", "packet_length_errors", "advertisements_interval_errors"),
            *("ip_ttl_errors", "invalid_type_received", "address_list_errors"),
            *("authentication_invalid", "authentication_mismatch", "authentication_failure"),
            *("priority_zero_received", "priority_zero_sent", "gratuitous_arp_delay"),
        )
    },
}


def with_part(**fields: object) -> StatusView:
    """Return the whole look, of services that show something else."""
    return replace(WHOLE, part=replace(WHOLE.part, **fields))


def text_of(seen: StatusView) -> str:
    return metrics.response(seen).body.decode()


def samples(seen: StatusView) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return every sample by its name and its labels' values, in the order of the names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text_of(seen))
        for sample in family.samples
    }


def test_the_exporters_names_types_and_labels_are_kept() -> None:
    """Dashboards and alerts that were made for it work."""
    types = dict(re.findall(r"^# TYPE (keepalived_\S+) (\S+)$", text_of(WHOLE), re.MULTILINE))
    assert types == {name: kind for name, (kind, _) in EXPORTER.items()}
    for family in text_string_to_metric_families(text_of(WHOLE)):
        for sample in family.samples:
            if sample.name in EXPORTER:
                assert EXPORTER[sample.name][1] == tuple(sorted(sample.labels))


def test_the_operations_guide_lists_every_metric() -> None:
    """With its type, and no other."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text_of(WHOLE), re.MULTILINE))
    listed = {
        name: row[1] for row in table(section(OPERATIONS, "Metrics")) for name in code(row[0])
    }
    assert types == listed


def test_every_counter_of_keepalived_has_its_own_metric() -> None:
    """Each value is another one, so that none can stand for its neighbour."""
    found = samples(WHOLE)
    labels = ("edge_VIP_2", "br-ex", "12")
    values = [found[f"keepalived_{name}_total", labels] for name, _, _ in metrics.COUNTERS]
    assert [2000 + each for each in range(14)] == values


def test_states_are_numbers_by_address() -> None:
    """As in vrrp.h."""
    found = samples(WHOLE)
    for number, state in ((1, 2), (2, 1), (3, 3)):
        labels = (f"edge_VIP_{number}", "br-ex", f"10.0.0.{number + 1}", f"1{number}")
        assert state == found["keepalived_vrrp_state", labels]


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("keepalived_up", (), 1),
        ("keepalived_script_status", ("chk_edge",), 0),
        ("ipfailover_build_info", ("2.2.7", "3.11.2", "1.2.3"), 1),
        ("ipfailover_ready", (), 1),
        ("ipfailover_phase", ("running",), 1),
        ("ipfailover_phase", ("waiting",), 0),
        ("ipfailover_reloads_total", ("accepted",), 1),
        ("ipfailover_reloads_total", ("unchanged",), 2),
        ("ipfailover_reloads_total", ("refused",), 3),
        ("ipfailover_reloads_total", ("unconfirmed",), 4),
        ("ipfailover_contests_total", (), 5),
        ("ipfailover_holds_total", (), 6),
        ("ipfailover_keepalived_kills_total", (), 7),
        ("ipfailover_lease_lapses_total", (), 8),
        ("ipfailover_keepalived_restarts_total", (), 9),
        ("ipfailover_log_lines_dropped_total", (), 10),
        ("ipfailover_protection_active", ("lease",), 1),
        ("ipfailover_lease_seconds", (), 3),
        ("ipfailover_lease_lateness_seconds", (), 0.5),
        ("ipfailover_lease_worst_lateness_seconds", (), 0.75),
        ("ipfailover_check_success", (), 0),
        ("ipfailover_check_duration_seconds", (), 0.25),
        ("ipfailover_address_held", ("10.0.0.2", "edge_VIP_1"), 1),
        ("ipfailover_address_held", ("10.0.0.3", "edge_VIP_2"), 0),
        (f"{HOLDER}_info", ("10.0.0.11", "edge_VIP_1", "true"), 1),
        (f"{HOLDER}_info", ("10.0.0.12", "edge_VIP_2", "false"), 1),
        (f"{HOLDER}_priority", ("10.0.0.12", "edge_VIP_2"), 200),
        (f"{HOLDER}_last_advert_timestamp_seconds", ("10.0.0.12", "edge_VIP_2"), 1767268799.6),
        ("ipfailover_lease_remaining_seconds", ("edge_VIP_1",), 2.4),
        ("ipfailover_held", ("edge_VIP_1",), 0),
        ("ipfailover_held", ("edge_VIP_3",), 1),
        ("ipfailover_drained", ("edge_VIP_1",), 0),
        ("ipfailover_drained", ("edge_VIP_3",), 1),
        ("ipfailover_rivals", ("edge_VIP_3",), 1),
        ("ipfailover_address_unanswered", ("10.0.0.2", "edge_VIP_1"), 0),
        ("ipfailover_address_unanswered", ("10.0.0.3", "edge_VIP_2"), 1),
        ("ipfailover_transitions_total", ("silence", "edge_VIP_1", "MASTER"), 2),
        ("ipfailover_config_timestamp_seconds", (), 1767261600),
    ],
)
def test_the_agents_own_metrics(name: str, labels: tuple[str, ...], value: float) -> None:
    """One of each kind."""
    assert value == samples(WHOLE)[name, labels]


@pytest.mark.parametrize(
    ("active", "reason", "expected"),
    [(True, "", 1.0), (False, "cap_net_raw is missing", 0.0), (False, "", None)],
    ids=["works", "cannot", "not asked for"],
)
def test_a_protection_that_nobody_asked_for_is_not_told_of(
    *, active: bool, reason: str, expected: float | None
) -> None:
    """IPFailoverProtectionOff fires for each 0: for what was asked for and does not work."""
    protection = status_model.Protection(kind="conflict", active=active, reason=reason)
    seen = observation(instance(1), protections=(protection,))
    assert expected == samples(seen).get(("ipfailover_protection_active", ("conflict",)))


def test_a_holder_has_one_series_and_an_unknown_one_says_so() -> None:
    """Two are two; of this node no advert is heard."""
    [here], [other] = instance(1).holders, instance(1, "BACKUP").holders
    unknown = instance(2, "BACKUP", holder=status_model.UNKNOWN, holders=())
    found = samples(observation(instance(1, holders=(other, here)), unknown))
    assert {
        (f"{HOLDER}_info", ("10.0.0.12", "edge_VIP_1", "false")),
        (f"{HOLDER}_info", ("10.0.0.11", "edge_VIP_1", "true")),
        (f"{HOLDER}_info", ("unknown", "edge_VIP_2", "false")),
        (f"{HOLDER}_priority", ("10.0.0.12", "edge_VIP_1")),
        (f"{HOLDER}_priority", ("10.0.0.11", "edge_VIP_1")),
        (f"{HOLDER}_last_advert_timestamp_seconds", ("10.0.0.12", "edge_VIP_1")),
    } == {key for key in found if "_holder_" in key[0]}


def test_two_nodes_that_differ_have_other_labels() -> None:
    """Digest and fingerprint are on the metric of the configuration."""
    [labels] = [labels for name, labels in samples(WHOLE) if name == "ipfailover_config_info"]
    assert {"fedcba9876543210", "0123456789abcdef" * 4, "edge", "br-ex"} < set(labels)


@pytest.mark.parametrize(
    "seen",
    [
        observation(config=None, phase="waiting", check=None),
        with_part(dump_asked_ago=None),
        with_part(dump_asked_ago=60.0),
    ],
    ids=["waiting", "no answer yet", "hangs"],
)
def test_where_keepalived_gives_no_answer_it_is_down(seen: StatusView) -> None:
    """Old numbers are not passed off as new."""
    found = samples(seen)
    assert 0 == found["keepalived_up", ()]
    assert not [name for name, _ in found if name.startswith("keepalived_v")]


def test_what_the_kernel_does_not_tell_is_taken_from_keepalived() -> None:
    """Better than nothing."""
    found = samples(with_part(present=None))
    assert 1 == found["ipfailover_address_held", ("10.0.0.2", "edge_VIP_1")]


def test_a_hostile_name_stays_one_label() -> None:
    """Whatever is in it."""
    hostile = 'a"} 1\nfake_metric 1\\'
    found = samples(observation(instance(1, name=hostile)))
    assert 0 == found["ipfailover_held", (hostile,)]
    assert not [name for name, _ in found if name.startswith("fake")]


def test_a_source_whose_name_is_no_utf_8_is_told_all_the_same() -> None:
    """A file may be named by any bytes."""
    seen = observation(instance(1))
    config = seen.status.config
    assert config is not None
    odd = replace(config, source="/etc/\udcff")
    assert 'source="/etc/?"' in text_of(replace(seen, status=replace(seen.status, config=odd)))


def test_names_follow_the_conventions() -> None:
    """Counters end in _total and nothing else does; every metric has help and a base unit."""
    families = list(text_string_to_metric_families(text_of(WHOLE)))
    assert len(families) > 40
    for family in families:
        assert family.documentation, family.name
        assert re.fullmatch(r"(keepalived|ipfailover)(_[a-z]+)+", family.name), family.name
        is_counter = all(each.name.endswith("_total") for each in family.samples)
        assert not family.samples or is_counter == (family.type == "counter"), family.name
        assert not re.search(r"_(ms|milliseconds|minutes|gauge|counter)\b", family.name)


def test_promtool_has_nothing_to_say_of_the_agents_metrics() -> None:
    """Where it can be had."""
    assert "" == promtool("check", "metrics", text=text_of(WHOLE))


def test_a_full_node_is_told_in_less_than_a_megabyte() -> None:
    """254 instances."""
    assert len(text_of(observation(*(instance(each) for each in range(1, 255))))) < 1_000_000
