"""Byte code of templates, so that a start need not compile them: 20 ms of its 200.

It lies where Python keeps that of modules, and only the image is built with it. A template that
has none, or has changed, is compiled as ever: users' own are at every start.
"""

from __future__ import annotations

import marshal
import pathlib
import sys
from typing import TYPE_CHECKING

import jinja2

from ipfailover_agent import __version__

if TYPE_CHECKING:
    from jinja2.bccache import Bucket

DIRECTORY = pathlib.Path(__file__).parent / "__pycache__"


class ByteCode(jinja2.BytecodeCache):
    """Byte code that was made from the very text, by the very versions that run.

    Args:
        directory: where it is.
        keeps: byte code that is made is written there. A user that may run the agent need not be
            allowed to change it.
    """

    def __init__(self, directory: pathlib.Path, *, keeps: bool = False) -> None:
        self._directory = directory
        self._keeps = keeps

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the bucket its code, if there is any."""
        try:
            data = self._path(bucket).read_bytes()
        except OSError:
            return
        head = _head(bucket)
        if data.startswith(head):
            try:
                bucket.code = marshal.loads(data[len(head) :])  # noqa: S302 - trusted as modules are
            except (EOFError, ValueError, TypeError):
                bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Take what has been compiled."""
        if self._keeps:
            self._directory.mkdir(exist_ok=True)
            self._path(bucket).write_bytes(_head(bucket) + marshal.dumps(bucket.code))

    def _path(self, bucket: Bucket) -> pathlib.Path:
        """Return the file's path: the key of a bucket is made from that of its template."""
        return self._directory / f"{bucket.key}.j2c"


def _head(bucket: Bucket) -> bytes:
    """Return everything that the code depends on."""
    made_with = bucket.environment
    options = (
        made_with.trim_blocks,
        made_with.lstrip_blocks,
        made_with.keep_trailing_newline,
        made_with.autoescape,
        sorted(made_with.filters),
    )
    versions = f"{__version__} {jinja2.__version__} {sys.version}"
    return f"{versions} {options} {bucket.checksum}\n".encode()
