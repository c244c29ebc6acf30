"""Addresses that are here while another node is MASTER of them: when they have to go."""

from __future__ import annotations

from ipaddress import ip_address

from ipfailover_agent.conflict import strays
from ipfailover_agent.conflict.strays import StrayAddresses, StrayClaim
from ipfailover_agent.model import VrrpState

FIRST, SECOND = ip_address("10.0.0.5"), ip_address("fd00::5")
RIVAL = "10.0.0.12"


def claim(at: float = 11.0, instance: str = "A") -> StrayClaim:
    return StrayClaim(address=FIRST, instance=instance, rival=RIVAL, at=at)


def present(*claims: StrayClaim) -> StrayAddresses:
    return StrayAddresses(present=frozenset({FIRST}), claims=claims, looked_at=10.0)


def test_a_look_is_due_before_the_first_claim_and_then_now_and_then() -> None:
    """What is known of the interface grows old."""
    assert StrayAddresses().is_old(10.0)
    assert not present().is_old(10.8)
    assert present().is_old(10.9)


def test_only_what_is_on_the_interface_is_claimed_and_once() -> None:
    """keepalived is asked when the first claim comes, not at each advert."""
    state, is_asked = strays.on_advert(present(), "A", (FIRST, SECOND), RIVAL, 11.0)
    assert (present(claim()), True) == (state, is_asked)
    assert (state, False) == strays.on_advert(state, "A", (FIRST, SECOND), RIVAL, 12.0)
    assert (present(), False) == strays.on_advert(present(), "A", (SECOND,), RIVAL, 11.0)


def test_what_has_gone_is_claimed_no_more() -> None:
    """Somebody else removed it, or keepalived did."""
    after = strays.looked(present(claim()), (SECOND,), 12.0)
    assert StrayAddresses(present=frozenset({SECOND}), looked_at=12.0) == after


def test_a_claim_is_judged_by_an_answer_to_a_later_question() -> None:
    """BACKUP or FAULT: it has to go. MASTER: it is ours."""
    state = present(claim())
    for told in (VrrpState.BACKUP, VrrpState.FAULT):
        assert (present(), (claim(),)) == strays.answered(state, {"A": told}, 11.1)
    assert (present(), ()) == strays.answered(state, {"A": VrrpState.MASTER}, 11.1)


def test_an_answer_that_says_nothing_of_a_claim_leaves_it() -> None:
    """The question is older than the claim, or keepalived does not know the instance yet."""
    state = present(claim())
    assert (state, ()) == strays.answered(state, {"A": VrrpState.BACKUP}, 11.0)
    assert (state, ()) == strays.answered(state, {"B": VrrpState.BACKUP}, 11.1)
