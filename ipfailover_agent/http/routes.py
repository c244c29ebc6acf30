"""What is answered to which path. Runs in the HTTP thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ipfailover_agent import codec
from ipfailover_agent.http import messages
from ipfailover_agent.status import readiness

if TYPE_CHECKING:
    from ipfailover_agent.http.messages import HttpRequest, HttpResponse
    from ipfailover_agent.status.exchange import Exchange, StatusView

_FRESH: Final = 1.0  # seconds for which one look answers every client
_USABLE: Final = 2.0  # seconds after which a look is too old to be shown
_STANDS_STILL: Final = 10.0  # seconds without a round of the loop; the watchdog waits for more


class Routes:
    """The pages; each is made once from a look and kept until the next."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._look: StatusView | None = None
        self._made: dict[str, HttpResponse] = {}

    def answer(self, request: HttpRequest, now: float, *, may_wait: bool) -> HttpResponse | None:
        """Return the answer, or None to be asked again once there is a newer look.

        Args:
            request: what is asked for.
            now: monotonic seconds.
            may_wait: False: this is the last time, answer from what is there.
        """
        path, config, name = request.path, request.config, self._exchange.name
        # Before the first configuration the agent has no name.
        if path in {"/livez", "/readyz"} and config is not None and name not in {None, config}:
            other = f"not of {config[:100]!r}: give each its own port"
            return _probe(path, f"this is the agent of {name!r}, {other}")
        if path == "/livez":
            # A keepalived that hangs is restarted by the agent, not by the platform.
            still = now - self._exchange.beat
            late = f"the agent's loop has been standing still for {still:.0f} s"
            return _probe(path, *([late] if still >= _STANDS_STILL else []))
        if path not in {"/", "/metrics", "/readyz", "/status"}:
            return messages.refusal(404)
        look = self._exchange.look
        age = None if look is None else now - look.at
        if look is None or age is None or age > (_FRESH if may_wait else _USABLE):
            return None if may_wait else _stale(age)
        if look is not self._look:
            self._look, self._made = look, {}
        if path == "/readyz":
            return _probe(path, *look.status.reasons, notes=look.status.notes)
        if path not in self._made:
            self._made[path] = _make(path, look)
        return self._made[path]


def _probe(path: str, *reasons: str, notes: tuple[str, ...] = ()) -> HttpResponse:
    """Return the answer of /livez or /readyz: a word, the reasons against it, and notes."""
    good = "live" if path == "/livez" else "ready"
    lines = readiness.first((*reasons, *notes))
    return messages.text(503 if reasons else 200, f"not {good}" if reasons else good, *lines)


def _stale(age: float | None) -> HttpResponse:
    since = "" if age is None else f" for {age:.0f} s"
    return messages.text(503, f"stale: the agent has not looked at the node{since}")


def _make(path: str, look: StatusView) -> HttpResponse:
    match path:
        case "/status":
            body = codec.encode(look.status).encode()
            return messages.HttpResponse(body=body, content_type="application/json")
        case "/metrics":
            # 20 ms and 3 MB that only a scrape costs
            from ipfailover_agent.http import metrics  # noqa: PLC0415 - not always needed

            return metrics.response(look)
        case _:
            from ipfailover_agent.http import page  # noqa: PLC0415 - likewise

            return page.response(look)
