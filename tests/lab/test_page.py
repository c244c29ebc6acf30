"""The page of an agent that really serves, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, variables
from tests.lab.test_http import metric, wait_for_probe
from tests.support.browser import Browser
from tests.support.waiting import wait_until

_LISTEN = {"IPFAILOVER_LISTEN": "0.0.0.0:63000"}
_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_BACK = "getComputedStyle(document.body).backgroundColor"
_TEXT = "document.body.innerText"


def page_of(node: Node) -> str:
    """Return the address of a node's page, as seen from elsewhere.

    From the node itself a browser gives up whenever an address comes or goes.
    """
    return f"http://{node.ip}:63000/"


@pytest.mark.slow
def test_the_page_of_a_master_in_a_real_browser(pair: Lab, tmp_path: Path) -> None:
    """It says what is so, fits a phone, is dark where one wants that, and complains of nothing.

    Its pictures stay beside what else the test leaves.
    """
    first, second = pair.nodes
    addresses = (pair.virtual(1), pair.virtual6(1))
    first.start({**variables(*addresses, PRIORITY="250"), **_LISTEN})
    pair.wait_for_each(addresses, timeout=ELECTION, among=[first])
    second.start(variables(*addresses, PRIORITY="210"))
    wait_for_probe(first, 200, "ready")
    wait_for_probe(second, 200, "ready")
    backs = {}
    with Browser(tmp_path / "profile", pair.client.network.argv) as browser:
        for width, is_dark in ((1280, False), (1280, True), (360, False), (320, True)):
            browser.look(width, is_dark=is_dark)
            browser.visit(page_of(first))
            name = f"master-{width}-{'dark' if is_dark else 'light'}"
            browser.picture(tmp_path / f"{name}.png")
            assert 0 == browser.evaluate(_OVERFLOW), name
            backs[width, is_dark] = browser.evaluate(_BACK)
        text = browser.evaluate(_TEXT)
        for part in ("● MASTER", *addresses, "✓ ready", "holds 2 of 2"):
            assert part in text
        assert re.search(r"^took [\d.]+ m?s$", text, re.MULTILINE)  # the check
        assert backs[1280, False] == backs[360, False] != backs[1280, True] == backs[320, True]
        assert 2 == browser.evaluate("document.querySelectorAll('svg path.master').length")

        first.application.stop()
        pair.wait_for_each(addresses, timeout=ELECTION, among=[second])
        wait_for_probe(first, 200, "in FAULT, the check fails")
        browser.visit(page_of(first))
        text = browser.evaluate(_TEXT)
        browser.picture(tmp_path / "fault-320-dark.png")
        assert 0 == browser.evaluate(_OVERFLOW)
        for part in ("▲ FAULT", "MASTER → FAULT", "check failed: cannot reach port", "failing"):
            assert part in text
        assert [] == browser.complaints


@pytest.mark.slow
def test_a_page_of_many_stays_where_one_reads(make_lab: MakeLab, tmp_path: Path) -> None:
    """It reloads itself every few seconds; nothing that one opened is closed by that."""
    lab = make_lab(1, applications=False)
    [node] = lab.nodes
    values = variables("198.51.100.1-20", VRRP_ID_OFFSET="0", MONITOR_PORT="0")
    node.start({**values, **_LISTEN})
    wait_until(
        lambda: sum(metric(node, "ipfailover_address_held").values()) == 20,
        ELECTION,
        "all 20 are held",
    )
    wait_for_probe(node, 200, "ready")
    # Whether it is where one reads: what is above may need a line more or less after a while.
    is_seen = "Math.abs(document.querySelector('#i17').getBoundingClientRect().top) < 600"
    with Browser(tmp_path / "profile", lab.client.network.argv) as browser:
        browser.look(320)
        browser.visit(page_of(node))
        assert 0 == browser.evaluate(_OVERFLOW)
        assert 20 == browser.evaluate("document.querySelectorAll('main ol').length")
        assert f"this node ({node.ip}, priorit" in browser.evaluate(_TEXT)
        assert not browser.evaluate(is_seen)
        browser.evaluate("document.querySelector('nav a[href=\"#i17\"]').click()")
        wait_until(lambda: browser.evaluate(is_seen), 5, "it goes there")
        browser.reload_by_itself()
        wait_until(lambda: browser.evaluate(is_seen), 5, "it is still there")
        browser.picture(tmp_path / "many-320.png")
        assert [] == browser.complaints
