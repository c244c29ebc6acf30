"""A listener for a node's addresses: when its kernel last gave each one a lifetime."""

from __future__ import annotations

import os
import selectors
import threading
import time
from dataclasses import dataclass
from typing import Self

from ipfailover_agent.linux import rtnetlink
from tests.lab.kit.namespaces import NetworkNamespace
from tests.lab.kit.recorder import address_events


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """An address as the kernel reported it at ``time``, in monotonic seconds."""

    time: float
    held: rtnetlink.HeldAddress


class Renewals:
    """A thread that notes every address that is set or renewed; a context manager."""

    def __init__(self, namespace: NetworkNamespace) -> None:
        self.messages = 0
        self.cpu_seconds = 0.0
        self._latest: dict[str, Renewal] = {}
        self._lock = threading.Lock()
        self._socket = address_events(namespace)
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, name="lab-renewals", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._wake, b".")
        self._thread.join()
        self._socket.close()
        os.close(self._wake)
        os.close(self._woken)

    def latest(self, address: str) -> Renewal | None:
        """Return the last one of an address, None before the first."""
        with self._lock:
            return self._latest.get(address)

    def since(self, address: str, moment: float) -> Renewal | None:
        """Return the last one of an address with a lifetime, if it came after a moment."""
        found = self.latest(address)
        if found is None or found.time <= moment:
            return None
        return found if found.held.valid_seconds != rtnetlink.FOR_EVER else None

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._socket, selectors.EVENT_READ, self)
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    self._note(self._socket.recv(1 << 16), time.monotonic())
                    self.cpu_seconds = time.thread_time()

    def _note(self, data: bytes, now: float) -> None:
        for message in rtnetlink.split_messages(data):
            self.messages += 1
            if message.kind != rtnetlink.NEW_ADDRESS:
                continue
            held = rtnetlink.parse_address(message.payload)
            if held is not None:
                with self._lock:
                    name = str(held.address.address)
                    self._latest[name] = Renewal(time=now, held=held)
