"""The queue played forward, with durations that are known."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import pytest

from rollbook.uploads.durations import Durations
from rollbook.uploads.forecast import Waiting, play, ranks


def waiting(number: int, takes_s: float = 10.0, **more: Any) -> Waiting:
    return Waiting(**{
        "id": UUID(int=number), "rank": (float(number), 0.0), "overdue_s": math.inf,
        "takes_s": takes_s, **more,
    })  # fmt: skip


def starts(slots: list[float], *jobs: Waiting) -> dict[int, float]:
    return {one.int: seconds for one, seconds in play(slots, jobs).items()}


def test_one_slot_takes_them_one_after_the_other() -> None:
    assert starts([0.0], waiting(2), waiting(1, 4.0), waiting(3)) == {1: 0.0, 2: 4.0, 3: 14.0}


def test_slots_of_all_workers_are_shared_and_what_runs_holds_its_slot() -> None:
    found = starts([5.0, 1.0, 0.0], *(waiting(number, 3.0) for number in range(1, 6)))
    assert found == {1: 0.0, 2: 1.0, 3: 3.0, 4: 4.0, 5: 5.0}


def test_an_upload_that_has_waited_too_long_by_then_goes_first() -> None:
    jobs = [waiting(1, 10.0), waiting(2, 10.0), waiting(3, 10.0, overdue_s=9.0)]
    assert starts([0.0], *jobs) == {1: 0.0, 3: 10.0, 2: 20.0}
    jobs.append(waiting(4, 10.0, overdue_s=5.0))
    assert starts([0.0], *jobs) == {1: 0.0, 4: 10.0, 3: 20.0, 2: 30.0}


def test_one_that_waits_for_another_attempt_comes_in_when_it_is_ready() -> None:
    jobs = [waiting(1, 4.0, ready_s=6.0), waiting(2, 5.0), waiting(3, 5.0)]
    assert starts([0.0], *jobs) == {2: 0.0, 3: 5.0, 1: 10.0}
    assert starts([0.0], waiting(1, ready_s=6.0)) == {1: 6.0}
    assert starts([0.0, 0.0], waiting(1, ready_s=6.0), waiting(2, 1.0, ready_s=2.0)) == {
        2: 2.0, 1: 6.0,
    }  # fmt: skip


def test_what_must_wait_for_an_unknown_time_has_no_start_and_the_others_have_one() -> None:
    found = starts([0.0, 0.0], waiting(1, math.inf), waiting(2, 3.0), waiting(3, 3.0))
    assert found == {1: 0.0, 2: 0.0, 3: 3.0}
    found = starts([0.0], waiting(1, math.inf), waiting(2), waiting(3, ready_s=7.0))
    assert found == {1: 0.0, 2: math.inf, 3: math.inf}


def test_without_a_slot_nothing_starts_and_without_uploads_either() -> None:
    assert starts([], waiting(1)) == {}
    assert starts([0.0]) == {}


def test_uploads_that_the_queue_does_not_know_are_ranked_by_their_priority() -> None:
    def upload(number: int, priority: int) -> dict[str, Any]:
        return {"id": UUID(int=number), "priority": priority}

    # By priority, as the record has them; the second and the last aren't in the queue.
    record = [upload(1, 1), upload(2, 1), upload(3, 5), upload(4, 10), upload(5, 10)]
    places = {str(UUID(int=number)): place for place, number in enumerate((4, 1, 3))}
    found = sorted(zip(ranks(record, places), (row["id"].int for row in record), strict=True))
    # 4 was moved to the front because it waited long; the queue's order counts.
    assert [number for _, number in found] == [4, 1, 2, 3, 5]


def recent(*seconds_by_size: tuple[int, float], kind: str = "xlsx") -> list[dict[str, Any]]:
    return [
        {"file_kind": kind, "file_bytes": size, "seconds": seconds}
        for size, seconds in seconds_by_size
    ]


def test_durations_come_from_files_of_the_same_kind_and_the_nearest_sizes() -> None:
    small = [(100_000 + n, 1.0) for n in range(20)]
    large = [(40_000_000 + n, 60.0) for n in range(20)]
    durations = Durations([*recent(*small, *large), *recent((100_000, 9.0), kind="csv")])
    assert durations.expected("xlsx", 100_005) == pytest.approx(1.0, rel=0.01)
    assert durations.expected("xlsx", 40_000_005) == pytest.approx(60.0, rel=0.01)
    # Larger than all: it takes longer in proportion.
    assert durations.expected("xlsx", 80_000_000) == pytest.approx(119, rel=0.03)
    # Too few of its own kind, or none: all kinds count.
    for kind in ("csv", "ods"):
        assert durations.expected(kind, 100_000) == pytest.approx(1.0, rel=0.01)


def test_a_few_files_of_a_near_size_count_more_than_many_others() -> None:
    small = [(40_000 + n, 0.3) for n in range(12)]
    durations = Durations(recent(*small, *[(12_600_000 + n, 12.0) for n in range(3)]))
    assert durations.expected("xlsx", 12_600_000) == pytest.approx(12.0, rel=0.01)
    assert durations.expected("xlsx", 40_000) == pytest.approx(0.3, rel=0.01)
    # Nothing is near: the nearest are adjusted, by ratio and not by bytes.
    assert durations.expected("xlsx", 4_200_000) == pytest.approx(5.2 * 12 / 13.6, rel=0.01)


def test_one_file_that_took_very_long_does_not_count() -> None:
    durations = Durations(recent(*[(1_000_000, 2.0)] * 6, (1_000_000, 600.0)))
    assert durations.expected("xlsx", 1_000_000) == 2.0


def test_without_a_recent_upload_the_duration_is_unknown() -> None:
    assert Durations([]).expected("xlsx", 1) is None
    assert Durations(recent((1_000_000, 2.0))).expected("xlsx", 1_000_000) == 2.0
