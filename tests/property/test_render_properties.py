"""No text in any variable becomes a statement, a comment, a block or a shell word."""

from __future__ import annotations

import shlex
import subprocess
from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.settings import parse
from ipfailover_agent.config.templating import render
from ipfailover_agent.config.variables import VARIABLES
from ipfailover_agent.errors import HostNotReadyError, SettingsError, TemplateError
from ipfailover_agent.model import Rendering, ScriptState, Settings
from tests.support import keepalived_conf
from tests.support.cases import PATHS, track_script
from tests.support.vectors import host_facts

FACTS = structs.replace(
    host_facts({"ens3": ["192.168.55.10/24", "fd00:55::10/64"]}),
    check_script=ScriptState.USABLE,
    notify_script=ScriptState.USABLE,
)
WANTED = Settings(virtual_addresses=(ip_address("10.0.0.1"),))
PLAN = plan(WANTED, FACTS)
BASE = {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.1,10.0.0.2,fd00::1"}
NAMES = [each.name for each in VARIABLES if not each.is_agent_option]

# Statements of each block of a file, whatever the values.
NAMES_IN = {
    "global_defs": """enable_script_security max_auto_priority notification_email
        notification_email_from router_id script_user smtp_connect_timeout smtp_helo_name
        smtp_server vrrp_garp_interval vrrp_garp_master_refresh vrrp_garp_master_refresh_repeat
        vrrp_gna_interval vrrp_higher_prio_send_advert vrrp_netlink_monitor_rcv_bufs
        vrrp_netlink_monitor_rcv_bufs_force vrrp_notify_fifo""",
    "vrrp_script": "fall interval rise script timeout",
    "track_file": "file weight",
    "vrrp_instance": """advert_int authentication interface mcast_src_ip nopreempt notify preempt
        preempt_delay priority state track_file track_script unicast_peer unicast_src_ip version
        virtual_ipaddress virtual_ipaddress_excluded virtual_router_id""",
}
# Words of each line of a block within them.
LENGTHS = {
    "notification_email": {1},
    "track_file": {1},
    "track_script": {1},
    "unicast_peer": {1},
    "authentication": {2},
    "virtual_ipaddress": {3, 5},
    "virtual_ipaddress_excluded": {3, 5},
}
PLAIN = "10.0.0.7 a 80 300 preempt_delay /bin/x notify fd00::5 ,"
NASTY = st.sampled_from(
    ["\n", "}", "{", "#", "!", '"', "'", "\\", "$", "`", ";", "$(id)", "\r", "\0", "~", "@", "*"]
)
text = st.lists(
    st.one_of(NASTY, st.text(max_size=6), st.sampled_from([" ", *PLAIN.split()])), max_size=8
).map("".join)


def rendered(env: dict[str, str]) -> Rendering | None:
    try:
        return render(plan(parse(env), FACTS), PATHS)
    except (SettingsError, HostNotReadyError):
        return None


def check_structure(config: str, instances: int | None = None) -> None:
    """See that the file has the statements it may have, each once, and no others."""
    root = keepalived_conf.parse(config)
    names = [each.name for each in root.block or ()]
    assert NAMES_IN.keys() >= set(names)
    assert 1 == names.count("global_defs")
    assert names.count("vrrp_script") <= 1
    if instances is not None:
        assert instances == names.count("vrrp_instance")
        # keepalived's check or the agent's, not both
        checks = names.count("track_file") - instances
        assert checks in {0, 1}
        assert checks + names.count("vrrp_script") <= 1
    for each in root.block or ():
        inner = [statement.name for statement in each.block or ()]
        assert set(NAMES_IN[each.name].split()) >= set(inner)
        assert len(inner) == len(set(inner))
        for statement in each.block or ():
            if statement.block is None:
                assert len(statement.words) <= 2
            else:
                assert {len(line.words) for line in statement.block} <= LENGTHS[statement.name]


def check_scripts(rendering: Rendering) -> None:
    """See that bash finds nothing wrong with any script."""
    for each in rendering.scripts:
        done = subprocess.run(
            ["bash", "-n", "-c", each.text], capture_output=True, timeout=20, check=False
        )
        assert (0, b"") == (done.returncode, done.stderr)


@given(name=st.sampled_from(NAMES), value=text)
@settings(max_examples=400, deadline=None)
def test_no_text_in_any_variable_adds_a_statement(name: str, value: str) -> None:
    """It is refused, or it stays where it belongs."""
    result = rendered({**BASE, name: value})
    if result is not None:
        check_structure(result.config.text)


@given(values=st.dictionaries(st.sampled_from(NAMES), text, max_size=4))
@settings(max_examples=200, deadline=None)
def test_no_texts_in_several_variables_add_a_statement(values: dict[str, str]) -> None:
    """Nor together."""
    result = rendered(BASE | values)
    if result is not None:
        check_structure(result.config.text)


words = st.lists(
    st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12),
    min_size=1,
    max_size=4,
)


@given(command=words)
@settings(max_examples=40, deadline=None)
def test_the_words_of_a_script_reach_bash_as_they_are(command: list[str]) -> None:
    """Quoted by a user, split by us, quoted for bash: the same words come out."""
    names = ("OPENSHIFT_HA_CHECK_SCRIPT", "OPENSHIFT_HA_NOTIFY_SCRIPT")
    result = rendered(BASE | dict.fromkeys(names, shlex.join(command)))
    if result is None:
        return
    check_structure(result.config.text, instances=3)
    check_scripts(result)
    for each in result.scripts:
        # shlex reads like a shell without expansions: the line is one exec with these words
        lines = (line.lstrip() for line in each.text.splitlines())
        (line,) = [line for line in lines if line.startswith("exec ")]
        expected = ["exec", *command, "$@"] if each.path == PATHS.notify else ["exec", *command]
        assert expected == shlex.split(line)


@given(command=words)
@settings(max_examples=40, deadline=None)
def test_bash_itself_passes_the_words_on(command: list[str]) -> None:
    """Asked what it got, the user's program says the same words."""
    track = track_script(command=("/usr/bin/printf", "%s\\0", *command))
    (script,) = render(structs.replace(PLAN, track_script=track), PATHS).scripts
    done = subprocess.run(
        ["/bin/bash", "-c", script.text], capture_output=True, timeout=20, check=False
    )
    assert [each.encode() for each in command] == done.stdout.split(b"\0")[:-1]


@given(url=text, reason=text)
@settings(max_examples=40, deadline=None)
def test_urls_and_reasons_are_one_word_of_a_script(url: str, reason: str) -> None:
    """Even what no parser let through: filters quote whatever they get."""
    url, reason = (each.replace("\0", "") or "x" for each in (url, reason))
    for fields, value in (({"url": url}, url), ({"always_fails": reason}, reason)):
        result = render(structs.replace(PLAN, track_script=track_script(**fields)), PATHS)
        check_scripts(result)
        assert shlex.quote(value) in result.scripts[0].text


@given(
    value=text,
    field=st.sampled_from(["config_name", "smtp_server", "admin_emails", "address_label"]),
)
@settings(max_examples=200, deadline=None)
def test_the_files_do_not_rely_on_the_parser(value: str, field: str) -> None:
    """Settings made by hand: the filters of the templates refuse a text, or write one word."""
    changed: dict[str, Any] = {field: (value,) if field == "admin_emails" else value}
    try:
        config = render(plan(structs.replace(WANTED, **changed), FACTS), PATHS).config
    except TemplateError:
        return
    check_structure(config.text, instances=1)


def test_accepted_texts_are_not_rare() -> None:
    """The properties above would hold for a parser that refuses everything."""
    accepted = {
        "OPENSHIFT_HA_ADMIN_EMAILS": "a@example.com",
        "OPENSHIFT_HA_CHECK_SCRIPT": "/bin/x '$a' \"#\"",
        "OPENSHIFT_HA_CONFIG_NAME": "a.b-c_d",
        "OPENSHIFT_HA_MONITOR_PORT": "80",
        "OPENSHIFT_HA_CHECK_URL": "http://10.0.0.9/?a=b&c=%27d",
        "OPENSHIFT_HA_PREEMPTION": "preempt_delay 300",
    }
    for name, value in accepted.items():
        assert rendered({**BASE, name: value}) is not None, name
