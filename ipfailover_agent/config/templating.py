"""Finds templates, the user's before the packaged ones, and has ``renderer`` fill them."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from ipfailover_agent.config import renderer
from ipfailover_agent.errors import TemplateError

if TYPE_CHECKING:
    import jinja2

    from ipfailover_agent.model import KeepalivedConfig, Rendering
    from ipfailover_agent.paths import RunPaths

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def render(
    config: KeepalivedConfig, paths: RunPaths, *, template_directory: str | None = None
) -> Rendering:
    """Render every file of a configuration; raises as ``renderer.render`` does.

    ``template_directory`` has the user's templates; those that it lacks come from the package.
    """
    found = loader(template_directory)
    from ipfailover_agent.config import byte_code  # noqa: PLC0415 - it imports jinja2, as a loader does

    return renderer.render(
        config,
        paths,
        found,
        are_ours=template_directory is None,
        compiled=byte_code.ByteCode(byte_code.DIRECTORY),
    )


def loader(template_directory: str | None) -> jinja2.BaseLoader:
    """Return what finds templates, those of a directory before the packaged ones.

    Raises:
        TemplateError: it is no directory.
    """
    import jinja2  # noqa: PLC0415 - 40 ms that most commands need not spend

    directories = [str(packaged())]
    if template_directory is not None:
        if not pathlib.Path(template_directory).is_dir():
            raise TemplateError(f"cannot read templates: {template_directory!r} is no directory")
        directories.insert(0, template_directory)
    return jinja2.FileSystemLoader(directories)


def packaged() -> pathlib.Path:
    """Return the packaged templates, or those of the checkout the package is run from."""
    inside = _PACKAGE / "templates"
    return inside if inside.is_dir() else _PACKAGE.parent / "templates"
