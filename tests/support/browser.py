"""A real browser without a screen, steered over a pipe (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support import missing

_SECONDS = 30.0  # for one answer; the first one comes when it has started
#: The browser reads commands from descriptor 3 and answers on 4.
_WRAP = 'in=$1 out=$2; shift 2; exec "$@" 3<&"$in" 4>&"$out"'


def find() -> str:
    """Return the browser's program, or skip where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        missing.skip("chromium is not installed", "REQUIRE_BROWSER")
    return found


class Browser:
    """One page of a browser.

    Args:
        profile: a directory of its own.
        wrap: makes a command line that runs another one where the page can be reached.
    """

    def __init__(self, profile: Path, wrap: Callable[[Sequence[str]], list[str]] = list) -> None:
        self.complaints: list[str] = []
        self._number = 0
        self._received = bytearray()
        self._loaded = 0
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        words = [
            *(find(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--remote-debugging-pipe", "--disable-dev-shm-usage", f"--user-data-dir={profile}"),
        ]
        shell = ["bash", "-c", _WRAP, "bash", str(commands), str(answers), *words]
        try:
            self._child = subprocess.Popen(
                wrap(shell),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(commands, answers),
                start_new_session=True,
            )
        finally:
            os.close(commands)
            os.close(answers)
        self._session = ""
        try:
            made = self._ask("Target.createTarget", url="about:blank")
            attached = self._ask("Target.attachToTarget", targetId=made["targetId"], flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self._ask(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """End the browser."""
        self.close()

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        for each in (self._to, self._from):
            os.close(each)

    # --- what a test does with it ----------------------------------------------------------------

    def look(self, width: int, height: int = 900, *, is_dark: bool = False) -> None:
        """Have a screen of that many pixels, and a light or a dark scheme."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def visit(self, url: str) -> None:
        """Load a page."""
        loaded = self._loaded
        answer = self._ask("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self._until_loaded(loaded)

    def reload_by_itself(self) -> None:
        """Wait until the page has loaded itself again."""
        self._until_loaded(self._loaded)

    def _until_loaded(self, count: int) -> None:
        deadline = time.monotonic() + _SECONDS
        while self._loaded == count:
            self._take(deadline)

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever JavaScript returns
        """Return what an expression is in the page."""
        answer = self._evaluate(expression) or self._evaluate(expression)
        assert answer is not None, "the page is loaded again and again"
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _evaluate(self, expression: str) -> dict[str, Any] | None:
        """Return the answer, None where the page was just being loaded again."""
        with contextlib.suppress(AssertionError):
            return self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return None

    def picture(self, file: Path) -> None:
        """Write the whole page as it is seen to a PNG file."""
        answer = self._ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    # --- the pipe --------------------------------------------------------------------------------

    def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        command: dict[str, object] = {
            "id": self._number,
            "method": method,
            "params": parameters,
            **({"sessionId": self._session} if self._session else {}),
        }
        os.write(self._to, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + _SECONDS
        while True:
            message = self._take(deadline)
            if message.get("id") == self._number:
                assert "error" not in message, message
                found: dict[str, Any] = message["result"]
                return found

    def _take(self, deadline: float) -> dict[str, Any]:
        """Return the next message, having noted what complains."""
        while b"\0" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                pytest.fail("the browser does not answer")
            data = os.read(self._from, 1 << 20)
            if not data:
                pytest.fail("the browser ended")
            self._received += data
        text, _, rest = self._received.partition(b"\0")
        self._received = rest
        message: dict[str, Any] = json.loads(text)
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded += 1
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.complaints.append(json.dumps(message["params"]))
            case _:
                pass
        return message
