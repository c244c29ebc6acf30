"""Rendering: what the files say, and what becomes of templates that fail."""

from __future__ import annotations

import shlex
from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec import structs

from ipfailover_agent.config import renderer
from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.templating import render
from ipfailover_agent.errors import SettingsError, TemplateError
from ipfailover_agent.model import (
    KeepalivedConfig,
    PortCheck,
    PortProbes,
    Preemption,
    PreemptionMode,
    Settings,
)
from ipfailover_agent.paths import RunPaths
from tests.support.cases import PATHS
from tests.support.keepalived_conf import MalformedError, Statement, parse
from tests.support.vectors import host_facts

TEMPLATES = Path(__file__).parents[2] / "templates"
FACTS = host_facts({"ens3": ["192.168.55.10/24", "fd00:55::10/64"]})
SETTINGS = Settings(
    virtual_addresses=(ip_address("192.168.55.101"), ip_address("fd00:55::101")),
    notify_script="/bin/notify-me now",
    check_watch=0,
)
CONFIG = plan(SETTINGS, FACTS)


def parsed(config: KeepalivedConfig) -> Statement:
    return parse(render(config, PATHS).config.text)


def test_the_file_says_what_the_plan_says() -> None:
    """Every field of an instance is found where keepalived looks for it."""
    four, six = parsed(CONFIG).all("vrrp_instance")
    assert ("vrrp_instance", "OpenShift_IPFailover_VIP_1") == four.words
    names = ("state", "interface", "virtual_router_id", "version", "advert_int")
    assert ("BACKUP", "ens3", "11", "2", "1") == tuple(map(four.value, names))
    assert (("auth_type", "PASS"), ("auth_pass", "OpenShif")) == four.lines("authentication")
    assert (("192.168.55.101/32", "dev", "ens3", "label", "ens3:vip"),) == four.lines(
        "virtual_ipaddress"
    )
    assert "/usr/bin/bash /run/ipfailover-agent/notify" == four.value("notify")
    assert "3" == six.value("version")
    assert () == six.all("authentication")
    assert (("fd00:55::101/128", "dev", "ens3"),) == six.lines("virtual_ipaddress")


def test_scripts_are_started_through_bash() -> None:
    """Executed directly from a noexec mount, a failing script counts as succeeded."""
    (check,) = parsed(CONFIG).all("vrrp_script")
    assert "/usr/bin/bash /run/ipfailover-agent/check" == check.value("script")
    names = ("interval", "timeout", "rise", "fall")
    assert ("2", "2", "1", "1") == tuple(map(check.value, names))
    for each in parsed(CONFIG).all("vrrp_instance"):
        assert ((check.words[1],),) == each.lines("track_script")


def test_probes_of_the_agent_s_own_are_told_by_a_track_file() -> None:
    """Every instance follows it beside its own file; there is no script and none is generated."""
    probes = PortProbes(
        name="chk_x",
        interval=0.25,
        timeout=0.5,
        rise=1,
        fall=2,
        ports=(PortCheck(address=ip_address("192.0.2.11"), port=8080),),
    )
    config = structs.replace(CONFIG, track_script=None, port_probes=probes)
    result = render(config, PATHS)
    assert PATHS.check not in {each.path for each in result.scripts}
    root = parse(result.config.text)
    assert () == root.all("vrrp_script")
    (check,) = (each for each in root.all("track_file") if "chk_x" in each.words)
    assert "/run/ipfailover-agent/check.track" == check.value("file")
    assert "0" == check.value("weight")
    for each in root.all("vrrp_instance"):
        assert ((each.words[1],), ("chk_x",)) == each.lines("track_file")
        assert () == each.all("track_script")
    watched = {"listeners": probes.ports, "watch": 0.05}
    for other in ({"interval": 0.5}, watched, {**watched, "watch": 0.1}):
        changed = structs.replace(probes, **other)
        config = structs.replace(config, port_probes=changed)
        assert render(config, PATHS).digest != result.digest


def test_a_script_that_the_agent_runs_as_well_is_followed_by_both_ways() -> None:
    """Either of the two keeps the node from holding addresses."""
    url = "http://192.168.55.10:8080/"
    config = plan(structs.replace(SETTINGS, check_watch=0.05, check_url=url), FACTS)
    root = parse(render(config, PATHS).config.text)
    (script,) = root.all("vrrp_script")
    name = f"{script.words[1]}_watch"
    (check,) = (each for each in root.all("track_file") if name in each.words)
    assert "/run/ipfailover-agent/check.track" == check.value("file")
    for each in root.all("vrrp_instance"):
        assert ((each.words[1],), (check.words[1],)) == each.lines("track_file")
        assert ((script.words[1],),) == each.lines("track_script")


def test_without_check_and_notify_script_neither_is_mentioned() -> None:
    """Nothing is rendered for what is not there."""
    config = structs.replace(CONFIG, track_script=None, notify_command=())
    result = render(config, PATHS)
    assert () == result.scripts
    assert () == parse(result.config.text).all("vrrp_script")
    for each in parse(result.config.text).all("vrrp_instance"):
        assert ((), ()) == (each.all("track_script"), each.all("notify"))


@pytest.mark.parametrize(
    ("preemption", "expected"),
    [
        (Preemption(mode=PreemptionMode.PREEMPT), ("preempt",)),
        (Preemption(mode=PreemptionMode.NEVER), ("nopreempt",)),
        (Preemption(mode=PreemptionMode.DELAYED, delay=300), ("preempt_delay", "300")),
    ],
    ids=lambda value: value.mode.value if isinstance(value, Preemption) else "",
)
def test_preemption_is_one_line(preemption: Preemption, expected: tuple[str, ...]) -> None:
    """And the state is never MASTER, which would clear it."""
    settings = structs.replace(SETTINGS, preemption=preemption)
    for each in parsed(plan(settings, FACTS)).all("vrrp_instance"):
        assert expected == each.one(expected[0]).words
        assert "BACKUP" == each.value("state")


def test_unicast_lists_source_and_peers() -> None:
    """One peer a line, of the instance's family."""
    settings = structs.replace(
        SETTINGS,
        unicast_source=ip_address("192.168.55.10"),
        unicast_peers=tuple(map(ip_address, ("192.168.55.11", "192.168.55.12", "fd00:55::11"))),
    )
    four, six = parsed(plan(settings, FACTS)).all("vrrp_instance")
    assert "192.168.55.10" == four.value("unicast_src_ip")
    assert (("192.168.55.11",), ("192.168.55.12",)) == four.lines("unicast_peer")
    assert "fd00:55::10" == six.value("unicast_src_ip")
    assert (("fd00:55::11",),) == six.lines("unicast_peer")


def test_a_multicast_source_is_given() -> None:
    """MULTICAST_SOURCE_IPADDRESS becomes mcast_src_ip."""
    settings = structs.replace(SETTINGS, multicast_source=ip_address("192.168.55.10"))
    four, six = parsed(plan(settings, FACTS)).all("vrrp_instance")
    assert "192.168.55.10" == four.value("mcast_src_ip")
    assert () == six.all("mcast_src_ip")


def test_excluded_addresses_have_their_own_block() -> None:
    """They are held, and no advert mentions them."""
    addresses = tuple(ip_address("10.0.0.0") + number for number in range(256))
    settings = structs.replace(SETTINGS, virtual_addresses=addresses, address_groups=1)
    (instance,) = parsed(plan(settings, FACTS)).all("vrrp_instance")
    assert 255 == len(instance.lines("virtual_ipaddress"))
    assert (("10.0.0.255/32", "dev", "ens3", "label", "ens3:vip"),) == instance.lines(
        "virtual_ipaddress_excluded"
    )


def test_global_settings_are_complete() -> None:
    """Without script user and security keepalived -t ends with 6."""
    settings = structs.replace(
        SETTINGS, admin_emails=("a@example.com", "b@example.com"), smtp_server="192.0.2.9"
    )
    found = parsed(plan(settings, FACTS)).one("global_defs")
    assert (("a@example.com",), ("b@example.com",)) == found.lines("notification_email")
    names = ("smtp_server", "script_user", "router_id", "vrrp_notify_fifo")
    expected = ("192.0.2.9", "root", "OpenShift_IPFailover", "/run/ipfailover-agent/notify.fifo")
    assert expected == tuple(map(found.value, names))
    assert ("enable_script_security",) == found.one("enable_script_security").words
    assert "10" == found.value("vrrp_garp_master_refresh")


def test_announcements_can_be_switched_off() -> None:
    """OPENSHIFT_HA_GARP_REFRESH=0 leaves the line out."""
    config = plan(structs.replace(SETTINGS, garp_refresh=0), FACTS)
    assert () == parsed(config).one("global_defs").all("vrrp_garp_master_refresh")


def test_comments_name_the_variables() -> None:
    """A reader of the file finds the variable to change."""
    text = render(CONFIG, PATHS).config.text
    for name in ("VIRTUAL_IPS", "VRRP_ID_OFFSET", "CONFIG_NAME", "PREEMPTION", "NOTIFY_SCRIPT"):
        assert f"# OPENSHIFT_HA_{name}" in text


def test_the_notify_script_gets_keepalived_s_words_last() -> None:
    """The user's own arguments come first."""
    scripts = {each.path: each for each in render(CONFIG, PATHS).scripts}
    last = scripts[PATHS.notify].text.splitlines()[-1]
    assert ["exec", "/bin/notify-me", "now", "$@"] == shlex.split(last)
    assert {0o700} == {each.mode for each in scripts.values()}
    assert 0o600 == render(CONFIG, PATHS).config.mode


def test_the_digest_follows_every_file() -> None:
    """Same inputs, same digest; a change of any file or path, another one."""
    first = render(CONFIG, PATHS).digest
    assert first == render(plan(SETTINGS, FACTS), PATHS).digest
    changes = (
        structs.replace(SETTINGS, notify_script="/bin/notify-me later"),
        structs.replace(SETTINGS, monitor_ports=(81,)),
        structs.replace(SETTINGS, priority=9),
    )
    elsewhere = RunPaths(directory=PATHS.directory, config="/tmp/other.conf")  # noqa: S108
    digests = {render(plan(each, FACTS), PATHS).digest for each in changes}
    digests |= {first, render(CONFIG, elsewhere).digest}
    assert 5 == len(digests)


@pytest.mark.parametrize(
    ("number", "expected"), [(1, "1"), (0.25, "0.25"), (40.0, "40"), (0.000787, "0.000787")]
)
def test_seconds_are_written_without_exponent(number: float, expected: str) -> None:
    """keepalived reads decimals only."""
    assert expected == renderer.seconds(number)


@pytest.mark.parametrize("value", ["", "a b", 'a"b', "a\\b", "$A", "a#b", "a\nb", "a!b", "{", "é"])
def test_a_text_that_is_no_word_is_never_written(value: str) -> None:
    """The last line of defence against a value that became a statement."""
    with pytest.raises(ValueError, match="cannot be written"):
        renderer.text(value)


def test_a_run_directory_that_is_no_word_is_refused() -> None:
    """Its path stands in the file."""
    with pytest.raises(SettingsError) as caught:
        render(CONFIG, RunPaths(directory="/run/a b", config="/x"))
    assert "IPFAILOVER_RUN_DIR" == caught.value.problems[0].variable


# --- templates ----------------------------------------------------------------------------------


def packaged(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def failure(directory: Path, **templates: str) -> str:
    for name, text in templates.items():
        (directory / f"{name}.j2").write_text(text, encoding="utf-8")
    with pytest.raises(TemplateError) as caught:
        render(CONFIG, PATHS, template_directory=str(directory))
    return str(caught.value)


def test_a_users_template_replaces_ours_one_by_one(tmp_path: Path) -> None:
    """What the directory does not have comes from the package."""
    mine = "# mine: {{ config.router_id }}\n" + packaged("keepalived.conf.j2")
    (tmp_path / "keepalived.conf.j2").write_text(mine, "utf-8")
    result = render(CONFIG, PATHS, template_directory=str(tmp_path))
    ours = render(CONFIG, PATHS)
    assert "# mine: OpenShift_IPFailover\n" + ours.config.text == result.config.text
    assert ours.scripts == result.scripts


@pytest.mark.parametrize("name", ["keepalived.conf", "check.sh", "notify.sh"])
@pytest.mark.parametrize("text", ["", "\n \n", "{# only a comment #}\n"], ids=repr)
def test_a_template_that_renders_nothing_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """keepalived would drop every address, and bash calls an empty check a success."""
    assert failure(tmp_path, **{name: text}) == f"{tmp_path}/{name}.j2 renders nothing"


def test_a_template_that_leaves_an_instance_out_is_refused(tmp_path: Path) -> None:
    """keepalived -t passes it, and a reload would drop the addresses without a word."""
    every, first = "in config.instances %}", "in config.instances[:1] %}"
    text = packaged("keepalived.conf.j2").replace(every, first)
    said = "keepalived.conf.j2 renders no vrrp_instance 'OpenShift_IPFailover_VIP_2'"
    assert f"{tmp_path}/{said}" == failure(tmp_path, **{"keepalived.conf": text})


def test_a_template_that_only_has_global_definitions_is_refused(tmp_path: Path) -> None:
    """All instances are named."""
    text = packaged("keepalived.conf.j2").partition("{% if config.track_script %}")[0]
    message = failure(tmp_path, **{"keepalived.conf": text})
    assert "no vrrp_instance 'OpenShift_IPFailover_VIP_1'; renders no" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("\n{% if %}", "line 2: Expected an expression", id="syntax"),
        pytest.param("\n\n{{ config.no_such }}", "line 3: ", id="unknown name"),
        pytest.param("{{ nobody }}", "line 1: 'nobody' is undefined", id="unknown variable"),
        pytest.param(
            "{% for each in config.instances %}\n{{ each.name / 2 }}{% endfor %}",
            "line 2: unsupported operand",
            id="a fault in a loop",
        ),
        pytest.param("\n{{ 'a b' | text }}", "line 2: 'a b' cannot be written", id="no word"),
        pytest.param("\n{{ 1 | nofilter }}", "line 2: No filter named", id="unknown filter"),
        pytest.param("{% include 'nope.j2' %}", "no template nope.j2", id="missing template"),
        pytest.param("{{ 1 // 0 }}", "line 1: integer division", id="division by zero"),
    ],
)
def test_a_template_that_fails_is_named_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    """The message leads to the place to mend."""
    message = failure(tmp_path, **{"keepalived.conf": text})
    assert "keepalived.conf.j2" in message
    assert said in message


def test_the_line_is_that_of_the_included_template(tmp_path: Path) -> None:
    """The innermost template is the one to mend."""
    templates = {"keepalived.conf": "{% include 'part.j2' %}", "part": "\n\n{{ 1 // 0 }}"}
    message = failure(tmp_path, **templates)
    assert "part.j2, line 3" in message


def test_a_template_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Not every file is UTF-8."""
    (tmp_path / "keepalived.conf.j2").write_bytes(b"\xff\xfe")
    assert "keepalived.conf.j2" in failure(tmp_path)


def test_a_missing_template_directory_is_said(tmp_path: Path) -> None:
    """Rather than our templates taken in silence."""
    with pytest.raises(TemplateError, match="nowhere"):
        render(CONFIG, PATHS, template_directory=f"{tmp_path}/nowhere")


# --- the reader that other tests rest on --------------------------------------------------------


@pytest.mark.parametrize("text", ["a {\n", "}\n", "a { b }\n", 'a "b\n'])
def test_the_reader_refuses_what_is_no_configuration(text: str) -> None:
    """A reader that takes everything would prove nothing."""
    with pytest.raises(MalformedError):
        parse(text)


def test_the_reader_sees_comments_quotes_and_blocks() -> None:
    """What stands in quotes is one word, what follows # or ! is nothing."""
    found = parse('a "b # c" d # e\nx { ! y\n  z\n}\n')
    assert [("a", "b # c", "d"), ("x",)] == [each.words for each in found.block or ()]
    assert ("z",) == found.one("x").one("z").words
