"""An office that sends files over HTTP and, as a good client does, repeats until it is answered."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx

from tests.faults.site import PATIENCE_S

#: Seconds between two tries.
PAUSE_S = 0.1


@dataclass(frozen=True)
class Office:
    """A client of the API at a base address."""

    url: str
    token: str

    def answers(self) -> bool:
        """Does the API answer?"""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=PATIENCE_S).is_success
        except httpx.TransportError:
            return False

    def send(self, key: str, file: bytes) -> str:
        """Send a file under an idempotency key until it is accepted; gives the job's id."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                answer = httpx.post(
                    f"{self.url}/api/v1/bulk-upload/process",
                    headers={"Authorization": f"Bearer {self.token}", "Idempotency-Key": key},
                    files={"file": ("members.csv", file)},
                    timeout=PATIENCE_S,
                )
            except httpx.TransportError:
                time.sleep(PAUSE_S)
                continue
            if answer.is_server_error:
                time.sleep(PAUSE_S)
                continue
            assert answer.status_code == 202, answer.text
            return str(answer.json()["data"]["job_id"])
        raise AssertionError(f"the file {key} was not accepted within {PATIENCE_S} s")
