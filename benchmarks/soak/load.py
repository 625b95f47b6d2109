"""What the runs with faults share: two APIs, threads that send, and an end at the first error."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.site import Site

#: Seconds that the senders get for their last files.
JOIN_S = 600.0


class Load:
    """A run on an installation; a subclass sends files and breaks parts."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.ports = [free_port(), free_port()]
        self.resent = 0
        self._content = threading.Lock()
        self._stopping = threading.Event()
        self._errors: list[BaseException] = []

    def _run(
        self,
        minutes: float,
        senders: Sequence[Callable[[], None]],
        break_until: Callable[[float], None],
        join_s: float = JOIN_S,
    ) -> None:
        """Run the senders, each in a thread, and break parts for so many minutes."""
        threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in senders
        ]
        for thread in threads:
            thread.start()
        try:
            break_until(time.monotonic() + minutes * 60)
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join(join_s)
        if self._errors:
            raise self._errors[0]
        assert not any(thread.is_alive() for thread in threads), "a sender has not come to its end"

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._errors.append(error)
            raise

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return all(
                httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=20).is_success
                for port in self.ports
            )
        return False

    def _wait_for_room(self, open_at_most: int) -> None:
        """Wait while more uploads than these are open, and half a second at least."""
        while not self._stopping.wait(0.5) and self._open() > open_at_most:
            pass

    def _open(self) -> int:
        with suppress(Exception):  # PostgreSQL may be away: then send anyway
            [row] = self.site.query(
                "SELECT count(*) AS n FROM uploads WHERE status IN ('pending', 'processing')"
            )
            return int(row["n"])
        return 0

    def _post(self, port: int, key: str, token: str, content: bytes) -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{port}/api/v1/bulk-upload/process",
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": key},
            files={"file": ("members.csv", content)},
            timeout=60,
        )
