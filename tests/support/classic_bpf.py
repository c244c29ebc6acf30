"""A reference interpreter of classic BPF, written after the kernel's documentation.

Source: Documentation/networking/filter.rst and linux/filter.h; only what packet filters use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

LONGEST = 4096  # BPF_MAXINSNS
_CELLS = 16  # BPF_MEMWORDS
_ANCILLARY = -0x1000  # SKF_AD_OFF
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1}
_OPERATIONS: dict[int, Callable[[int, int], int]] = {
    0x00: lambda a, b: a + b,
    0x10: lambda a, b: a - b,
    0x40: lambda a, b: a | b,
    0x50: lambda a, b: a & b,
    0x60: lambda a, b: a << b,
    0x70: lambda a, b: a >> b,
}
_TESTS: dict[int, Callable[[int, int], bool]] = {
    0x10: lambda a, b: a == b,
    0x20: lambda a, b: a > b,
    0x30: lambda a, b: a >= b,
    0x40: lambda a, b: bool(a & b),
}


class OutsideError(Exception):
    """The program read behind the end of the frame: the kernel drops it."""


def verify(program: Sequence[tuple[int, int, int, int]]) -> None:
    """Fail unless the kernel would take the program."""
    assert 0 < len(program) <= LONGEST
    for at, (code, jt, jf, k) in enumerate(program):
        assert 0 <= code <= 0xFFFF
        assert 0 <= jt <= 0xFF
        assert 0 <= jf <= 0xFF
        assert 0 <= k <= 0xFFFFFFFF
        if code & 7 == 5:
            furthest = k if code == 0x05 else max(jt, jf)
            assert at + 1 + furthest < len(program)
    assert program[-1][0] & 7 == 6


def run(
    program: Sequence[tuple[int, int, int, int]],
    frame: bytes,
    *,
    vlan_tag: int | None = None,
    packet_type: int = 0,
) -> int:
    """Return how many bytes of the frame pass.

    Args:
        program: code, jt, jf, k each.
        frame: from its Ethernet header on.
        vlan_tag: the tag that was taken off the frame, None without one.
        packet_type: PACKET_HOST and so on, linux/if_packet.h.
    """
    known = {4: packet_type, 44: vlan_tag or 0, 48: int(vlan_tag is not None)}
    machine = _Machine(frame, known)
    try:
        return machine.run(program)
    except OutsideError:
        return 0


class _Machine:
    def __init__(self, frame: bytes, known: dict[int, int]) -> None:
        self.frame = frame
        self.known = known
        self.a = self.x = 0
        self.cells = [0] * _CELLS

    def run(self, program: Sequence[tuple[int, int, int, int]]) -> int:
        at = 0
        while True:
            code, jt, jf, k = program[at]
            at += 1
            match code & 7:
                case 0:
                    self.a = self.load(code, k)
                case 1:
                    self.x = self.load(code, k)
                case 2:
                    self.cells[k] = self.a
                case 4:
                    operand = self.x if code & 8 else k
                    self.a = _OPERATIONS[code & 0xF0](self.a, operand) & 0xFFFFFFFF
                case 5 if code == 0x05:
                    at += k
                case 5:
                    operand = self.x if code & 8 else k
                    at += jt if _TESTS[code & 0xF0](self.a, operand) else jf
                case 6:
                    return k
                case 7 if code & 0x80:
                    self.a = self.x
                case _:
                    self.x = self.a

    def load(self, code: int, k: int) -> int:
        match code & 0xE0:
            case 0x00:
                return k
            case 0x60:
                return self.cells[k]
            case 0x20:
                signed = k - (1 << 32) if k >> 31 else k
                if signed < 0:
                    return self.known[signed - _ANCILLARY]
                return self.read(signed, _SIZES[code & 0x18])
            case 0x40:
                return self.read((self.x + k) & 0xFFFFFFFF, _SIZES[code & 0x18])
            case _:
                raise AssertionError(f"unknown mode {code:#x}")

    def read(self, offset: int, size: int) -> int:
        if offset + size > len(self.frame):
            raise OutsideError
        return int.from_bytes(self.frame[offset : offset + size], "big")
