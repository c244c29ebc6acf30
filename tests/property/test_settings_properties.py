"""No text in any variable gets further than it should."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipfailover_agent.config import shell_reading, variables
from ipfailover_agent.config.settings import parse
from ipfailover_agent.errors import SettingsError
from ipfailover_agent.model import Settings
from tests.support.vectors import host_facts

NAMES = [each.name for each in variables.VARIABLES if not each.is_agent_option]
SCRIPTS = {"check_script", "notify_script"}  # rendered as quoted shell words
SENTENCES = {"warnings", "left_out"}  # logged, never rendered
DANGEROUS = set("'\"{}#!\\`")

FRAGMENTS = st.sampled_from(
    ["192.0.2.1", "2001:db8::1", "-5", "=5", "300", "0.5", "preempt_delay", "nopreempt", "true",
     "http://x/", "/bin/true", "a@b", "eth0", "-D", "\n", "\r", "\0", "\x1b", "\u2028", "\ud800",
     "'", '"', "{", "}", "#", "!", "$(id)", "`id`", ";", "|", "&", "\\", " ", "\t", ",",
     "\n}\nvrrp_instance X {\n", "include /etc/passwd", "@id", "~SEQ(a,1,2)", "$A=1"]
)  # fmt: skip
CHARACTERS = st.integers(0, 0x10FFFF).map(chr) | st.integers(0, 0xFF).map(chr)
TEXTS = st.lists(CHARACTERS, max_size=40).map("".join) | st.lists(FRAGMENTS, max_size=6).map(
    "".join
)
ENVIRONMENTS = st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=6)
NODE = host_facts({"ens3": ["192.0.2.200/24"]})


def strings_of(value: object) -> list[str]:
    """Return every string in a field, however deep."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for each in value for text in strings_of(each)]
    return []


def check_strings(parsed: Settings) -> None:
    """Assert that nothing in settings can end a line, a quote or a block of keepalived.conf."""
    for name in parsed.__struct_fields__:
        for text in strings_of(getattr(parsed, name)):
            assert text.isprintable(), name
            if name not in SCRIPTS | SENTENCES:
                assert not DANGEROUS & set(text), name


def outcome(environment: dict[str, str]) -> Settings | SettingsError:
    """Return what parsing comes to; anything but these two fails the test."""
    try:
        return parse(environment)
    except SettingsError as error:
        return error


@settings(max_examples=400)
@given(ENVIRONMENTS)
@example({"OPENSHIFT_HA_VIRTUAL_IPS": "192.0.2.1", "OPENSHIFT_HA_CONFIG_NAME": "x#y"})
def test_any_environment_is_parsed_safely_or_refused(environment: dict[str, str]) -> None:
    """Nothing but SettingsError is ever raised; its report prints, whatever was written."""
    result = outcome(environment)
    if isinstance(result, SettingsError):
        assert result.problems
        assert str(result).replace("\n", "").isprintable()
    else:
        check_strings(result)


@settings(max_examples=600)
@given(st.sampled_from(NAMES), TEXTS)
@example("OPENSHIFT_HA_PREEMPTION", "nopreempt\nstate MASTER")
def test_any_text_in_one_variable_is_safe(name: str, text: str) -> None:
    """Alone, so that no other variable's fault hides what this one lets through."""
    result = outcome({"OPENSHIFT_HA_VIRTUAL_IPS": "192.0.2.10", name: text})
    if isinstance(result, SettingsError):
        assert {each.variable for each in result.problems} == {name}
    else:
        check_strings(result)


@given(ENVIRONMENTS)
def test_parsing_twice_gives_the_same(environment: dict[str, str]) -> None:
    """Settings depend on nothing but the variables."""
    assert str(outcome(environment)) == str(outcome(environment))


@given(ENVIRONMENTS)
def test_the_old_reading_follows_any_environment(environment: dict[str, str]) -> None:
    """``check --compare-old`` works on whatever is refused."""
    for each in shell_reading.read(environment, NODE).instances:
        assert len(each.served) <= len(each.addresses)


@given(st.integers(1, 40), st.integers(0, 8), st.integers(0, 200), st.sets(st.integers(1, 255)))
def test_valid_input_is_read_alike(
    count: int, groups: int, offset: int, excluded: set[int]
) -> None:
    """Addresses, groups, offset and exclusions of valid input mean what they always meant."""
    environment = {
        "OPENSHIFT_HA_VIRTUAL_IPS": f"192.0.2.1-{count}",
        "OPENSHIFT_HA_VIP_GROUPS": str(groups),
        "OPENSHIFT_HA_VRRP_ID_OFFSET": str(offset),
        "HA_EXCLUDED_VRRP_IDS": " ".join(map(str, excluded)),
    }
    ours = parse(environment)
    old = shell_reading.read(environment, NODE).instances
    assert ours.virtual_addresses == tuple(address for each in old for address in each.served)
    assert len(old) == (min(groups, count) if groups else count)
    identifiers = [each.virtual_router_id for each in old]
    candidates = range(ours.virtual_router_id_offset + 1, 1000)
    skipped = set(ours.excluded_virtual_router_ids)
    assert identifiers == [each for each in candidates if each not in skipped][: len(old)]
