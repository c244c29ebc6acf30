"""What is answered to which path. Runs in the HTTP thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ipfailover_agent import codec
from ipfailover_agent.http import messages
from ipfailover_agent.status import probe_answers
from ipfailover_agent.status.readiness import Readiness

if TYPE_CHECKING:
    from ipfailover_agent.http.messages import HttpRequest, HttpResponse
    from ipfailover_agent.status.exchange import Exchange, StatusView

_FRESH: Final = 1.0  # seconds for which one look answers every client
_USABLE: Final = 2.0  # seconds after which a look is too old to be shown


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
        if request.path in {"/livez", "/readyz"}:
            other = probe_answers.foreign(self._exchange.name, request.config)
            if other is not None:
                return _probe("ready" if request.path == "/readyz" else "live", other)
        if request.path == "/livez":
            return _probe("live", probe_answers.live(self._exchange.beat, now))
        if request.path not in {"/", "/metrics", "/readyz", "/status"}:
            return messages.refusal(404)
        look = self._exchange.look
        age = None if look is None else now - look.at
        if look is None or age is None or age > (_FRESH if may_wait else _USABLE):
            return None if may_wait else _stale(age)
        if look is not self._look:
            self._look, self._made = look, {}
        if request.path == "/readyz":
            ready = Readiness(reasons=look.status.reasons, notes=look.status.notes)
            return _probe("ready", ready)
        if request.path not in self._made:
            self._made[request.path] = _make(request.path, look)
        return self._made[request.path]


def _probe(good: str, verdict: Readiness) -> HttpResponse:
    status = 200 if verdict.is_ready else 503
    return messages.text(status, *probe_answers.lines(verdict, good))


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
