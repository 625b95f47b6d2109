"""Sends files, records each estimate while they wait, and compares it with what happened."""

from __future__ import annotations

import asyncio
import datetime as dt
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

BASE = "/api/v1/bulk-upload"


@dataclass(frozen=True, slots=True)
class Sample:
    """An upload's estimate at one moment."""

    job_id: str
    at: dt.datetime
    #: Seconds to the start, as estimated.
    said_s: float


@dataclass(frozen=True, slots=True)
class Errors:
    """How far the estimates were from what happened."""

    uploads: int
    samples: int
    #: Of the absolute differences, in seconds.
    median_s: float
    p90_s: float
    #: Of the absolute differences as a part of the wait that was left, where that was 5 s or more.
    median_part: float
    #: Of the waits that were left.
    median_wait_s: float
    longest_wait_s: float


async def follow(
    api: httpx.AsyncClient, job_ids: Sequence[str], *, every_s: float, timeout_s: float
) -> tuple[list[Sample], dict[str, dt.datetime]]:
    """Ask for the waiting uploads' estimates until all have ended.

    Args:
        api: a signed-in client.
        job_ids: the uploads.
        every_s: seconds between two looks.
        timeout_s: seconds until all must have ended.

    Returns:
        What was said, and when each upload started.
    """
    samples: list[Sample] = []
    starts: dict[str, dt.datetime] = {}
    async with asyncio.timeout(timeout_s):
        while len(starts) < len(job_ids):
            answer = await api.get(f"{BASE}/history", params={"page_size": 500})
            now = dt.datetime.now(dt.UTC)
            for upload in answer.json()["data"]["items"]:
                if upload["job_id"] not in job_ids:
                    continue
                if upload["status"] == "pending" and upload["estimated_start_at"] is not None:
                    at = dt.datetime.fromisoformat(upload["estimated_start_at"])
                    samples.append(Sample(upload["job_id"], now, (at - now).total_seconds()))
                elif upload["status"] in {"completed", "failed"}:
                    starts[upload["job_id"]] = dt.datetime.fromisoformat(upload["started_at"])
            await asyncio.sleep(every_s)
    return samples, starts


def compared(samples: Sequence[Sample], starts: dict[str, dt.datetime]) -> Errors:
    """The differences between what was said and what happened."""
    pairs = [
        (one.said_s, left)
        for one in samples
        if (left := (starts[one.job_id] - one.at).total_seconds()) > 0
    ]
    off = sorted(abs(said - left) for said, left in pairs)
    long = [abs(said - left) / left for said, left in pairs if left >= 5]
    waits = [left for _, left in pairs]
    return Errors(
        uploads=len(starts),
        samples=len(pairs),
        median_s=round(statistics.median(off), 2),
        p90_s=round(off[int(len(off) * 0.9)], 2),
        median_part=round(statistics.median(long), 3) if long else 0.0,
        median_wait_s=round(statistics.median(waits), 1),
        longest_wait_s=round(max(waits), 1),
    )


async def send(api: httpx.AsyncClient, name: str, content: bytes) -> str:
    """Send a file; its job id."""
    answer = await api.post(f"{BASE}/process", files={"file": (name, content)})
    answer.raise_for_status()
    data: dict[str, Any] = answer.json()["data"]
    return str(data["job_id"])
