"""Where the agent's HTTP listens: the grammar of IPFAILOVER_LISTEN."""

from __future__ import annotations

import re
from typing import NoReturn

from ipfailover_agent.errors import Problem, SettingsError
from ipfailover_agent.model import HIGHEST_PORT, ListenAddress, address_of

VARIABLE = "IPFAILOVER_LISTEN"
DEFAULT = "127.0.0.1:63000"
OFF = "off"

_SHAPE = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^\[\]:]*)):(?P<port>[0-9]{1,5})")
_EXAMPLES = (
    f"write ADDRESS:PORT such as {DEFAULT} or [::1]:63000, :PORT for all addresses, or {OFF}"
)


def parse(text: str | None) -> ListenAddress | None:
    """Return where to listen, or None for nowhere; nothing written is the default.

    Host names are refused: their resolution could take for ever, and could mean any address.

    Raises:
        SettingsError: this is no such place; names what to write instead.
    """
    written = (text or "").strip() or DEFAULT
    if written.lower() == OFF:
        return None
    found = _SHAPE.fullmatch(written)
    if found is None:
        if address_of(written):
            shown = f"[{written}]" if ":" in written else written
            _refuse(written, "has no port", f"write {shown}:63000")
        host, _, port_text = written.rpartition(":")
        if address_of(host):  # $(NODE_IP):63000 on a node that has IPv6
            _refuse(written, "is no address and port", f"write [{host}]:{port_text}")
        _refuse(written, "is no address and port", _EXAMPLES)
    port = int(found["port"])
    if not 1 <= port <= HIGHEST_PORT:
        _refuse(written, f"the port must be from 1 to {HIGHEST_PORT}", _EXAMPLES)
    host = found["bracketed"] if found["plain"] is None else found["plain"]
    if found["plain"] != "" and address_of(host) is None:
        _refuse(written, f"{host!r} is no address of a node (names are not looked up)", _EXAMPLES)
    if found["bracketed"] is not None and ":" not in host:
        _refuse(written, "only an IPv6 address goes into brackets", f"write {host}:{port}")
    return ListenAddress(host=host, port=port)


def _refuse(element: str, reason: str, instead: str) -> NoReturn:
    raise SettingsError((Problem(VARIABLE, element, reason, instead),))
