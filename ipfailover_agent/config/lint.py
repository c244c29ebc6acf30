"""The content of a rendered keepalived.conf, read back and compared with the plan.

keepalived -t passes a file without instances, and the addresses of a reload that loses one are
dropped without an error. A template of the user's may add what it likes; what the plan holds must
be there, and nothing else of that kind in the plan's instances. Where the agent makes the check
itself, its verdict has to reach every one of them: else a node whose service is dead would hold
addresses.

Reads as keepalived 2.2.7 does: ``#`` and ``!`` begin a comment outside of double quotes, braces
are words of their own wherever they stand, a statement ends with its line. What follows ``@ID``
(a condition) or comes with ``include`` is not counted as there.
"""

from __future__ import annotations

import re
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from msgspec import Struct, field

from ipfailover_agent.model import family_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfailover_agent.model import IPAddress, KeepalivedConfig, VrrpInstance
    from ipfailover_agent.paths import RunPaths

    _TrackFiles = dict[str, dict[str, str]]  # the statements of each, by their first words

_TOKEN = re.compile(r'("[^"\n]*"?)|([{}])|[#!].*|([^\s"#!{}]+)|(\n)')
_INSTANCE = "vrrp_instance"
_ADVERTISED, _EXCLUDED = "virtual_ipaddress", "virtual_ipaddress_excluded"
_TRACK_FILES = (["track_file"], ["vrrp_track_file"])  # the second is its name of old
_USUAL_WEIGHT, _FAULT_WEIGHT = "1", "0"  # of a track_file: keepalived.conf(5)
_SHOWN = 5  # problems; one template makes the same mistake for every instance


class _Found(Struct):
    """One vrrp_instance block: ids and addresses as they are written, duplicates included."""

    name: str
    identifiers: list[str] = field(default_factory=list)
    advertised: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    tracked: dict[str, str] = field(default_factory=dict)  # the weight of each, empty: its own


def problems(text: str, config: KeepalivedConfig, paths: RunPaths) -> tuple[str, ...]:
    """Return what ``text`` lacks of ``config`` or has otherwise, as ends of sentences.

    Each goes on after the name of the file: ``renders no vrrp_instance 'x_VIP_1'``. At most five,
    and one that counts the rest. Empty where all is there.
    """
    found, track_files = _read(text)
    said = [
        *_differences(found, config.instances),
        *_misplaced(found, config),
        *_unheard(found, track_files, config, paths.check_track),
    ]
    if len(said) > _SHOWN:
        said[_SHOWN:] = [f"has {len(said) - _SHOWN} more faults like that"]
    return tuple(said)


def _differences(found: list[_Found], wanted: Iterable[VrrpInstance]) -> Iterator[str]:
    by_name: dict[str, list[_Found]] = {}
    for block in found:
        by_name.setdefault(block.name, []).append(block)
    for each in wanted:
        blocks = by_name.get(each.name, [])
        if not blocks:
            yield f"renders no vrrp_instance {each.name!r}"
        elif len(blocks) > 1:
            yield f"renders vrrp_instance {each.name!r} {len(blocks)} times"
        else:
            yield from _difference(blocks[0], each)


def _difference(found: _Found, wanted: VrrpInstance) -> Iterator[str]:
    where = f"in vrrp_instance {wanted.name!r}"
    expected = str(wanted.virtual_router_id)
    if found.identifiers != [expected]:
        have = " and ".join(found.identifiers) or "none"
        yield f"renders virtual_router_id {have} instead of {expected} {where}"
    for block, written, held in (
        (_ADVERTISED, found.advertised, wanted.virtual_addresses),
        (_EXCLUDED, found.excluded, wanted.excluded_addresses),
    ):
        have_addresses = dict(map(_address, written))
        want = {each.address for each in held}
        for address in sorted(want - have_addresses.keys(), key=int):
            yield f"renders no {address} in {block} {where}"
        for found_address, as_written in have_addresses.items():
            if found_address is None or found_address not in want:
                yield f"renders {as_written!r} in {block} {where}, which the settings do not say"
                continue
            host = family_of(found_address).host_prefix_length
            if ip_interface(as_written).network.prefixlen != host:
                yield f"renders {as_written} in {block} {where} instead of {found_address}/{host}"


def _misplaced(found: list[_Found], config: KeepalivedConfig) -> Iterator[str]:
    """Yield planned addresses that stand in an instance of the template's own."""
    ours = set(config.addresses)
    names = {each.name for each in config.instances}
    for block in found:
        if block.name in names:
            continue
        for word in (*block.advertised, *block.excluded):
            address, _ = _address(word)
            if address in ours:
                yield f"renders {address} in vrrp_instance {block.name!r} too"


def _unheard(
    found: list[_Found], track_files: _TrackFiles, config: KeepalivedConfig, path: str
) -> Iterator[str]:
    """Yield where the verdict of the agent's own check would get lost."""
    if config.port_probes is None:
        return
    name = config.port_probes.name
    track_file = track_files.get(name, {})
    if track_file.get("file") != path:
        yield f"renders no track_file {name!r} of {path}, by which the agent's own check counts"
    names = {each.name for each in config.instances}
    for block in found:
        if block.name not in names:
            continue
        where = f"in vrrp_instance {block.name!r}"
        if name not in block.tracked:
            yield f"renders no {name!r} in track_file {where}"
            continue
        weight = block.tracked[name] or track_file.get("weight", _USUAL_WEIGHT)
        if weight != _FAULT_WEIGHT:
            yield (
                f"renders weight {weight} of track_file {name!r} {where} instead of "
                f"{_FAULT_WEIGHT}: a check that fails would only change the priority"
            )


def _address(word: str) -> tuple[IPAddress | None, str]:
    """Return an address without its prefix length, None where it is none; and what was written."""
    try:
        return ip_interface(word).ip, word
    except ValueError:
        return None, word


# --- reading ------------------------------------------------------------------------------------


def _read(text: str) -> tuple[list[_Found], _TrackFiles]:
    """Return the vrrp_instance and track_file blocks at the top of the file."""
    found: list[_Found] = []
    track_files: _TrackFiles = {}
    opened = ""
    path: list[str] = []  # first words of the blocks that are open
    for words in _statements(text):
        if words == ["}"]:
            del path[-1:]
        elif words[-1] == "{":
            path.append(words[0])
            opened = " ".join(words[1:-1]) if len(path) == 1 else opened
            if path == [_INSTANCE]:
                found.append(_Found(opened))
        elif path and path[0] == _INSTANCE:
            _note(found[-1], path[1:], words)
        elif path in _TRACK_FILES:
            track_files.setdefault(opened, {})[words[0]] = " ".join(words[1:])
    return found, track_files


def _note(instance: _Found, path: list[str], words: list[str]) -> None:
    match path, words:
        case [], ["virtual_router_id", *rest]:
            instance.identifiers.append(" ".join(rest))
        case ["virtual_ipaddress"], [address, *_]:
            instance.advertised.append(address)
        case ["virtual_ipaddress_excluded"], [address, *_]:
            instance.excluded.append(address)
        case ["track_file"], [name, *rest]:
            instance.tracked[name] = " ".join(rest[1:]) if rest[:1] == ["weight"] else ""
        case _:
            pass  # what the plan does not decide


def _statements(text: str) -> Iterator[list[str]]:
    """Yield the words of each statement; one that opens a block ends with ``{``.

    The brace may stand on the next line. A closing one is a statement of its own.
    """
    words: list[str] = []
    is_at_end = False  # of a line: the words are a statement, unless a brace comes next
    for quoted, brace, word, newline in _TOKEN.findall(text):
        if newline:
            is_at_end = True
        elif brace:
            if brace == "{":
                words.append(brace)
            if words:
                yield words
            if brace == "}":
                yield [brace]
            words = []
        elif quoted or word:
            if is_at_end and words:
                yield words
                words = []
            words.append(quoted.strip('"') or word)
            is_at_end = False
