"""The page for people: what it says, and that nothing in it can act."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from ipfailover_agent.http import page
from ipfailover_agent.status import status_model
from ipfailover_agent.status.exchange import StatusView
from tests.support.observed import RIVAL, SILENT, WHOLE, ago, instance, observation


class Reader(HTMLParser):
    """Collects tags with attributes, and the text that a person sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data


def read(seen: StatusView) -> Reader:
    reader = Reader(page.response(seen).body.decode())
    assert [] == reader.open
    return reader


@pytest.mark.parametrize(
    "words",
    [
        "holds 1 of 3 addresses, stands by for 1, may not hold 1",
        "edge_VIP_1",
        "● MASTER",
        "○ BACKUP",
        "▲ FAULT",
        "10.0.0.2",
        "for 1m 5s · id 11 · priority 101 · lease 2.4 s left",
        "priority 103, now 0",
        "holder: this node (10.0.0.11, priority 101)",
        "holder: 10.0.0.12 (priority 200, heard 0.4 s ago)",
        "BACKUP → MASTER after 48m 55s",
        "no other node was heard for 3.6 s",
        "held: a firewall",
        "drained: by hand",
        "rival 10.0.0.12, 20s ago: a firewall drops it",
        (
            "for 30s: 10.0.0.12 advertises 10.0.0.3, but no host answers for it: usually port "
            "security"
        ),
        "on br-ex, from /etc/ipfailover",
        "digest 0123456789ab",
        "fingerprint fedcba987654",
        "▲ refused",
        "30s ago",
        "OPENSHIFT_HA_X: no",
        "▲ failing",
        "no answer",
        "took 0.25 s",
        "renewals late by 750 ms at worst",
        "lapsed 8 times",
        "restarted 9 times",
        "no NET_RAW",
        "2026-01-01 12:00:00 UTC",
    ],
)
def test_the_page_says_it(words: str) -> None:
    """Whatever somebody at night asks."""
    assert words in " ".join(read(WHOLE).words.split())


def test_a_full_node_says_at_the_top_who_holds_what() -> None:
    """This node first, then each other one; two holders, and none, stand out."""
    here, other = instance(1).holders, instance(1, "BACKUP").holders
    every = [
        *(instance(each) for each in range(1, 5)),
        *(instance(each, "BACKUP") for each in range(5, 13)),
        instance(13, "BACKUP", holders=()),
        instance(14, holders=(*other, *here)),
    ]
    made = page.Page(observation(*every), "n")
    assert [
        ("this node (10.0.0.11, priorities 101 to 104)", "4 addresses", "mute"),
        (
            "10.0.0.12 (priority 200, heard 0.4 s ago) and this node (10.0.0.11, priority 101)",
            "1 address",
            "fault",
        ),
        ("10.0.0.12 (priority 200, heard 0.4 s ago)", "8 addresses", "mute"),
        ("unknown, no master is heard", "1 address", "other"),
    ] == [
        (made.words(each.holders), made.size(each), page.holder_style(each.holders))
        for each in made.groups
    ]
    assert () == page.Page(observation(*every[:12]), "n").groups


def test_a_node_that_is_not_ready_says_so_first() -> None:
    """In words and in the title of the tab."""
    seen = observation(*WHOLE.status.instances, problems=("something was left out",))
    assert "▲ 1 of 3 on node1 · edge" == page.Page(seen, "node1").title
    words = read(seen).words
    assert -1 < words.index("▲ not ready") < words.index("something was left out")
    assert words.index("something was left out") < words.index("edge_VIP_1")


def test_a_node_without_a_configuration_has_a_page_too() -> None:
    """It is then that one looks."""
    seen = observation(
        config=None, phase="waiting", problems=("no eth0",), check=None, keepalived_pid=None,
        keepalived_version="", fingerprint="", lease=status_model.LeaseStatus(), protections=(),
        reload=status_model.ReloadStatus(started=0, ended=0, verdict=None, at=None, lines=()),
    )  # fmt: skip
    words = read(seen).words
    for each in ("serves nothing: waiting", "no eth0", "no configuration is in force", "none yet"):
        assert each in words


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&{{ 7 * 7 }}</style>"


def test_hostile_texts_stay_texts() -> None:
    """Wherever they come from: a name, a check, another node, a file."""
    transition = replace(instance(1).transitions[0], cause=HOSTILE, previous=HOSTILE)
    seen = observation(
        instance(1, name=HOSTILE, addresses=(HOSTILE,), held=HOSTILE, drained=HOSTILE,
                 rivals=(replace(RIVAL, rival=HOSTILE, cause=HOSTILE),),
                unanswered=(replace(SILENT, address=HOSTILE, holder=HOSTILE),),
                 transitions=(transition,), timeline=((ago(5), HOSTILE),)),
        config=status_model.ConfigStatus(
            name=HOSTILE, interface=HOSTILE, digest=HOSTILE, since=ago(1), source=HOSTILE
        ),
        reload=status_model.ReloadStatus(
            started=1, ended=1, verdict=HOSTILE, at=ago(1), lines=(HOSTILE,)
        ),
        check=status_model.CheckStatus(state=HOSTILE, reason=HOSTILE, since=None),
        protections=(status_model.Protection(kind=HOSTILE, active=False, reason=HOSTILE),),
        keepalived_version=HOSTILE, fingerprint=HOSTILE, version=HOSTILE, problems=(HOSTILE,),
    )  # fmt: skip
    plain, hostile = read(WHOLE), read(seen)
    assert {tag for tag, _ in plain.tags} >= {tag for tag, _ in hostile.tags}
    assert hostile.words.count("<script>alert(1)</script>") > 10
    for tag, attributes in hostile.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("style") is None


def test_nothing_is_fetched_and_only_its_own_style_is_allowed() -> None:
    """No script, no picture, no font; the policy names the style by its digest."""
    answer = page.response(WHOLE)
    reader = read(WHOLE)
    assert not {"script", "img", "link", "iframe", "form"} & {tag for tag, _ in reader.tags}
    assert {"/status", "/metrics"} == {
        value for _, attributes in reader.tags for value in [attributes.get("href")] if value
    }
    style = answer.body.decode().partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" == answer.style
    assert "url(http" not in style
    assert "@import" not in style
    assert ("meta", {"http-equiv": "refresh", "content": "5"}) in reader.tags


def test_the_last_hour_is_drawn_to_scale() -> None:
    """Each state at its height; what began before is cut off, what was short is still seen."""
    one = instance(1, timeline=(
        (ago(7200), "BACKUP"), (ago(1800), "MASTER"), (ago(1), "FAULT"), (ago(0), "INIT"),
    ))  # fmt: skip
    strips, summary = page.Page(observation(), "n").timeline(one)
    assert (
        ("backup", "M0 14h1800v8h-1800z"),
        ("master", "M1800 2h1799v20h-1799z"),
        ("fault", "M3594 2h6v20h-6z"),
    ) == strips
    assert "last hour: BACKUP 30m, MASTER 29m 59s, FAULT 1s" == summary
    empty = page.Page(observation(), "n").timeline(instance(1, timeline=()))
    assert ((), "last hour: nothing known") == empty


def test_a_full_node_has_an_overview_and_stays_small() -> None:
    """254 instances, each with a full history: less than a megabyte."""
    one = instance(1)
    long = tuple((ago(3600 - 110 * each), ("BACKUP", "MASTER")[each % 2]) for each in range(32))
    every = [
        instance(each, transitions=one.transitions[:1] * 5, timeline=long)
        for each in range(1, 255)
    ]
    answer = page.response(observation(*every))
    assert len(answer.body) < 1_000_000
    reader = Reader(answer.body.decode())
    links = [attributes.get("href") for tag, attributes in reader.tags if tag == "a"]
    assert "#i254" in links
    assert not [tag for tag, _ in reader.tags if tag == "details"]  # a reload would close them


def test_what_is_no_utf_8_is_shown_as_something_else() -> None:
    """A variable may hold any byte; the page comes all the same."""
    broken = observation(instance(1, held="held in favour of \udcff"))
    assert b"held in favour of ?" in page.response(broken).body
