"""What a rendered keepalived.conf really says, held against the plan."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from ipfailover_agent.config.lint import problems
from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.templating import render
from ipfailover_agent.model import Settings
from ipfailover_agent.paths import RunPaths
from tests.support.cases import PATHS as CASE_PATHS
from tests.support.cases import Case, load_cases
from tests.support.vectors import host_facts

FACTS = host_facts({"ens3": ["192.168.55.10/24", "fd00:55::10/64"]})
PATHS = RunPaths(directory="/run/x", config="/x")
ADDRESSES = tuple(map(ip_address, ("10.0.0.1", "10.0.0.2", "fd00::1")))
CONFIG = plan(Settings(virtual_addresses=ADDRESSES, config_name="x", address_groups=2), FACTS)
TEXT = render(CONFIG, PATHS).config.text
FIRST, ID, HELD = 'vrrp_instance "x_VIP_1"', "virtual_router_id 11", "10.0.0.2/32"
WEIGHT, HURTS = 'check.track"\n    weight 0', 'check.track"\n    weight -20'
TRACK = "/run/x/check.track"
ONE, TWO, CHECK = "vrrp_instance 'x_VIP_1'", "vrrp_instance 'x_VIP_2'", "track_file 'chk_x'"
BOTH = """
vrrp_track_file chk_x { file "/run/x/check.track" # ours
weight 0 }
vrrp_instance "x_VIP_1"
{
  virtual_router_id 11
  virtual_ipaddress { 10.0.0.1/32 dev ens3 label "ens3:vip"
  10.0.0.2 ! the second
} track_file
{ held
"chk_x"
} } vrrp_instance x_VIP_2{
  virtual_router_id "12"  # "ids { in
  track_script
  {
    check
  }
  track_file { chk_x weight 0 }
  virtual_ipaddress {
    fd00:0::1/128 }
}
"""


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_what_our_templates_render_lacks_nothing(case: Case) -> None:
    """So that only a user's templates need to be looked at."""
    assert () == problems(case.rendering().config.text, case.config(), CASE_PATHS)


def test_excluded_addresses_are_looked_for_in_their_own_block() -> None:
    """An advert mentions the others only."""
    many = tuple(ip_address("10.0.0.0") + number for number in range(256))
    config = plan(Settings(virtual_addresses=many, config_name="x", address_groups=1), FACTS)
    text = render(config, PATHS).config.text
    assert () == problems(text, config, PATHS)
    where = "in vrrp_instance 'x_VIP_1'"
    merged = re.sub(r"    }\n.*\n    virtual_ipaddress_excluded {\n", "", text)
    assert (
        f"renders '10.0.0.255/32' in virtual_ipaddress {where}, which the settings do not say",
        f"renders no 10.0.0.255 in virtual_ipaddress_excluded {where}",
    ) == problems(merged, config, PATHS)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BOTH, id="braces on lines of their own or in the middle"),
        pytest.param("static_routes {\n 10.0.0.1 dev lo\n}\n" + TEXT, id="more blocks"),
        pytest.param(
            TEXT + "vrrp_instance mine {\n virtual_ipaddress {\n 10.0.9.9\n}\n}\n",
            id="an instance of its own",
        ),
        pytest.param("{\n}\n}\n" + TEXT, id="braces without a word"),
    ],
)
def test_a_template_may_write_it_differently_and_add_to_it(text: str) -> None:
    """Layout, comments, quotes, further blocks."""
    assert () == problems(text, CONFIG, PATHS)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (FIRST, "vrrp_instance other", [f"renders no {ONE}"]),
        (FIRST, "#vrrp_instance x_VIP_1", [f"no {ONE}"]),
        (FIRST, "!vrrp_instance x_VIP_1", [f"no {ONE}"]),
        (FIRST, "@a vrrp_instance x_VIP_1", [f"no {ONE}"]),
        ("x_VIP_2", "x_VIP_1", [f"{ONE} 2 times", f"no {TWO}"]),
        (ID, "virtual_router_id 99", [f"virtual_router_id 99 instead of 11 in {ONE}"]),
        (ID, "#", ["virtual_router_id none instead of 11"]),
        (ID, f"{ID}\nvirtual_router_id 9", ["virtual_router_id 11 and 9 instead of 11"]),
        (HELD, "# 10.0.0.2/32", [f"renders no 10.0.0.2 in virtual_ipaddress in {ONE}"]),
        (HELD, "10.0.0.2/24", ["renders 10.0.0.2/24 in virtual_ipaddress", "10.0.0.2/32"]),
        (HELD, "10.0.0.2/32 dev ens3\n10.0.0.3", ["renders '10.0.0.3' in virtual"]),
        (HELD, "10.0.0.2/32 dev ens3\n$MORE", ["renders '$MORE' in virtual_ipaddress"]),
        (
            "    track_file {",
            "    track_script {",
            [f"renders no 'chk_x' in track_file in {each}" for each in (ONE, TWO)],
        ),
        (TRACK, "/elsewhere", [f"renders no {CHECK} of {TRACK}, by which"]),
        (WEIGHT, HURTS, [f"renders weight -20 of {CHECK} in {ONE} instead of 0: "]),
        (WEIGHT, 'check.track"', [f"renders weight 1 of {CHECK} in {TWO} instead of 0: "]),
        (
            '        "chk_x"\n',
            '        "chk_x" weight 0 reverse\n',
            [f"renders weight 0 reverse of {CHECK} in {ONE} instead"],
        ),
        ('track_file "chk_x"', 'vrrp_script "chk_x"', ["no track_file 'chk_x' of /run/x/check"]),
        ("virtual_ipaddress {", "virtual_routes {", ["renders no 10.0.0.1 in", "no 10.0.0.2 in"]),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_missing_or_different_is_said(old: str, new: str, said: list[str]) -> None:
    """Which instance, what is there and what should be."""
    found = "; ".join(problems(TEXT.replace(old, new), CONFIG, PATHS))
    assert old in TEXT
    for each in said:
        assert each in found


def test_an_address_of_ours_in_a_strange_instance_is_refused() -> None:
    """keepalived would hold it twice, under two ids."""
    strange = "vrrp_instance mine {\n virtual_ipaddress {\n 10.0.0.1\n 10.0.9.9\n}\n}\n"
    said = "renders 10.0.0.1 in vrrp_instance 'mine' too"
    assert (said,) == problems(TEXT + strange, CONFIG, PATHS)


def test_long_lists_are_cut() -> None:
    """One mistake in a loop is one mistake."""
    many = tuple(ip_address("10.0.0.1") + number for number in range(100))
    config = plan(Settings(virtual_addresses=many, config_name="x"), FACTS)
    found = problems("# nothing\n", config, PATHS)
    assert (6, "has 96 more faults like that") == (len(found), found[-1])
