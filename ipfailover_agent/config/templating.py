"""Finds templates, the user's before the packaged ones, and has ``renderer`` fill them.

Byte code of the packaged ones spares a start 20 ms of its 120. It lies where Python keeps that of
modules, and is written when Python writes that. A template that has none, or has changed, is
compiled as ever: users' own are at every start.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Final

import jinja2

from ipfailover_agent import __version__
from ipfailover_agent.config import renderer
from ipfailover_agent.errors import TemplateError

if TYPE_CHECKING:
    from jinja2.bccache import Bucket

    from ipfailover_agent.model import KeepalivedConfig, Rendering
    from ipfailover_agent.paths import RunPaths

_PACKAGE: Final = pathlib.Path(__file__).resolve().parents[1]
BYTE_CODE: Final = pathlib.Path(__spec__.cached or __file__).parent
_MODE: Final = 0o644  # at most, whatever the umask: root runs what is in the file


def render(
    config: KeepalivedConfig, paths: RunPaths, *, template_directory: str | None = None
) -> Rendering:
    """Render every file of a configuration; raises as ``renderer.render`` does.

    ``template_directory`` has the user's templates; those that it lacks come from the package.
    """
    are_ours = template_directory is None
    made = renderer.environment_of(loader(template_directory), byte_code(are_ours=are_ours))
    return renderer.render(config, paths, made, are_ours=are_ours)


def loader(template_directory: str | None) -> jinja2.BaseLoader:
    """Return what finds templates, those of a directory before the packaged ones.

    Raises:
        TemplateError: it is no directory.
    """
    own = [] if template_directory is None else [template_directory]
    if not all(pathlib.Path(each).is_dir() for each in own):
        raise TemplateError(f"cannot read templates: {template_directory!r} is no directory")
    return jinja2.FileSystemLoader([*own, str(packaged())])


def packaged() -> pathlib.Path:
    """Return the packaged templates, or those of the checkout the package is run from."""
    inside = _PACKAGE / "templates"
    return inside if inside.is_dir() else _PACKAGE.parent / "templates"


def byte_code(*, are_ours: bool) -> ByteCode:
    """Return what keeps the byte code of templates; that of users' own is not written."""
    return ByteCode(BYTE_CODE, keeps=are_ours and not sys.dont_write_bytecode)


class ByteCode(jinja2.BytecodeCache):
    """Byte code that was made from the very text, by the very versions that run.

    ``keeps``: what is made is written to the directory, if that can be. It need not be, as for
    modules: the root of a container may be read-only, or the directory another user's.
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
        """Take what has been compiled; agents that start at once each write a whole file."""
        if not self._keeps:
            return
        path = self._path(bucket)
        written = path.with_suffix(f".{os.getpid()}")
        try:
            self._directory.mkdir(0o755, parents=True, exist_ok=True)
            descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_head(bucket) + marshal.dumps(bucket.code))
            written.replace(path)
        except OSError:
            return  # a start goes on without
        finally:
            with contextlib.suppress(OSError):
                written.unlink()

    def _path(self, bucket: Bucket) -> pathlib.Path:
        """Return the file's path: the key of a bucket is made from that of its template."""
        return self._directory / f"{bucket.key}.{sys.implementation.cache_tag}.j2c"


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
