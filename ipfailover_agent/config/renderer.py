"""Configurations made into the text of keepalived.conf and of the scripts it starts.

Templates come from outside. They hold the wording and nothing else: they get one frozen object and
contain loops and ifs. Every text goes through a filter that quotes it for where it stands, or
refuses it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from typing import TYPE_CHECKING

import jinja2
from msgspec.structs import asdict

from ipfailover_agent.errors import SettingsError, TemplateError, no_word
from ipfailover_agent.model import RenderedFile, Rendering, TrackScript

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from ipfailover_agent.model import KeepalivedConfig
    from ipfailover_agent.paths import RunPaths

_CONFIG, _CHECK, _NOTIFY = "keepalived.conf.j2", "check.sh.j2", "notify.sh.j2"
# Inside double quotes keepalived still reads backslashes and $NAME; none of these has a meaning.
_TEXT = re.compile(r"[A-Za-z0-9._:@+=%,/-]+", re.ASCII)
_MARGIN = 100_000  # microseconds in which bash starts and gives its reason before it is killed


class CheckPage(TrackScript, frozen=True, kw_only=True):
    """What the template of the check script gets."""

    @property
    def limit(self) -> int:
        """Return how long all probes may take, in microseconds."""
        return self.timeout * 1_000_000 - _MARGIN

    @property
    def cannot_run(self) -> str:
        """Return what to say when the user's command cannot even be started."""
        return f"OPENSHIFT_HA_CHECK_SCRIPT: cannot run {self.command[0]}"

    @property
    def tls_options(self) -> tuple[str, ...]:
        """Return curl's options for the certificate; none for http."""
        if self.url_insecure:
            return ("--insecure",)
        return () if self.url_ca_file is None else ("--cacert", self.url_ca_file)

    @property
    def limit_seconds(self) -> str:
        """Return the limit in seconds as people write it."""
        return seconds(self.limit / 1_000_000)


def render(
    config: KeepalivedConfig, paths: RunPaths, environment: jinja2.Environment, *, are_ours: bool
) -> Rendering:
    """Render every file of a configuration.

    ``paths`` has the scripts and the FIFO; ``are_ours``: no template is the user's.

    Raises:
        SettingsError: a path of ``paths`` has characters that keepalived.conf gives a meaning to.
        TemplateError: a template cannot be read or rendered; names it and the line. Or the
            user's templates leave out what the configuration holds.
    """
    if not _TEXT.fullmatch(paths.directory):
        raise SettingsError((no_word("IPFAILOVER_RUN_DIR", paths.directory),))
    track = config.track_script
    check = None if track is None else CheckPage(**asdict(track))
    page: Mapping[str, object] = {"config": config, "paths": paths, "check": check}
    main = RenderedFile(path=paths.config, text=_fill(environment, _CONFIG, page))
    wanted = ((_CHECK, paths.check, check), (_NOTIFY, paths.notify, config.notify_command))
    scripts = tuple(
        RenderedFile(path=path, text=_fill(environment, name, page), mode=0o700)
        for name, path, content in wanted
        if content
    )
    if not are_ours:
        # The packaged ones are proven by tests; reading back a file of 254 instances takes 50 ms.
        from ipfailover_agent.config import lint  # noqa: PLC0415 - for own templates only

        if found := lint.problems(main.text, config, paths):
            template = environment.get_template(_CONFIG).filename or _CONFIG
            raise TemplateError(f"{template} {'; '.join(found)}")
    return Rendering(config=main, scripts=scripts, digest=_digest((main, *scripts)))


# --- filters: each writes a value so that it stays one word where it stands --------------------


def text(value: str) -> str:
    """Quote one word for keepalived.conf.

    Raises:
        ValueError: it has characters that keepalived gives a meaning to even in quotes.
    """
    if not _TEXT.fullmatch(value):
        message = f"{value!r} cannot be written to keepalived.conf as one word"
        raise ValueError(message)
    return f'"{value}"'


def script(path: str) -> str:
    """Return a script line's command: through bash, since noexec makes any script succeed.

    keepalived 2.3 follows no link on the way to a script, and /bin is one.
    """
    return f'"/usr/bin/bash {text(path)[1:-1]}"'


def seconds(value: float) -> str:
    """Write seconds as keepalived reads them: decimal, no exponent, no needless zeros."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


_FILTERS = {
    "text": text,
    "script": script,
    "words": shlex.join,
    "word": shlex.quote,
    "seconds": seconds,
}


# --- the engine ---------------------------------------------------------------------------------


def environment_of(
    loader: jinja2.BaseLoader, compiled: jinja2.BytecodeCache | None
) -> jinja2.Environment:
    """Return what templates are compiled by and find their filters in."""
    environment = jinja2.Environment(
        loader=loader,
        bytecode_cache=compiled,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - not HTML: filters quote for keepalived.conf and bash
    )
    environment.filters.update(_FILTERS)
    return environment


def _fill(environment: jinja2.Environment, name: str, page: Mapping[str, object]) -> str:
    try:
        template = environment.get_template(name)
        text = template.render(page)
    except jinja2.TemplateSyntaxError as error:
        where = f"{error.filename or error.name or name}, line {error.lineno}"
        raise TemplateError(f"cannot render {where}: {error.message}") from error
    except jinja2.TemplateNotFound as error:
        raise TemplateError(f"cannot render {name}: no template {error.name}") from error
    except Exception as error:
        # A template is a user's code: whatever it raises is the user's to mend, with the line.
        where = _line(error.__traceback__, name)
        reason = str(error) or type(error).__name__
        raise TemplateError(f"cannot render {where}: {reason}") from error
    if not text.strip():
        # bash calls an empty check a success, and keepalived runs without an instance.
        raise TemplateError(f"{template.filename or name} renders nothing")
    return text


def _line(traceback: TracebackType | None, name: str) -> str:
    """Return the innermost line of a template that a traceback went through."""
    where = name
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if filename.endswith(".j2"):
            where = f"{filename}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return where


def _digest(files: Iterable[RenderedFile]) -> str:
    digest = hashlib.sha256()
    for each in files:
        head = f"{each.path}\0{each.mode:o}\0{len(each.text)}\0"
        digest.update((head + each.text).encode())
    return digest.hexdigest()
