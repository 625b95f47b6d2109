"""How far an attempt is, reported while its stages say nothing."""

from __future__ import annotations

import threading

from rollbook.model import STAGES, Progress
from rollbook.pipeline import stages
from rollbook.pipeline.stages import Stages


class Listener:
    """Keeps what is reported, and says when that is enough."""

    def __init__(self, enough: int) -> None:
        self.heard: list[Progress] = []
        self._enough = enough
        self._reached = threading.Event()

    def __call__(self, progress: Progress) -> None:
        self.heard.append(progress)
        if len(self.heard) >= self._enough:
            self._reached.set()

    def wait_for_enough(self) -> None:
        assert self._reached.wait(timeout=30)


def test_a_stage_that_says_nothing_is_told_of_all_the_same() -> None:
    listener = Listener(enough=4)
    with Stages(listener, file_bytes=1000) as going:
        going.begin("read")
        listener.wait_for_enough()
    percents = [progress.percent for progress in listener.heard]
    assert percents == sorted(percents)
    assert percents[-1] > percents[0] == STAGES["read"]
    assert percents[-1] < STAGES["match"]
    assert {progress.rows_total for progress in listener.heard} == {None}


def test_rows_are_counted_by_the_work_that_is_done() -> None:
    listener = Listener(enough=3)
    with Stages(listener, file_bytes=1000) as going:
        going.begin("read")
        going.begin("merge", rows_total=1000)
        listener.wait_for_enough()
    last = listener.heard[-1]
    assert (last.stage, last.rows_total) == ("merge", 1000)
    assert 10 * STAGES["merge"] <= last.rows_done < 10 * STAGES["report"]
    assert last.rows_per_second is not None
    assert last.rows_per_second > 0


def test_it_is_told_at_least_twice_a_second() -> None:
    assert stages.TICK_S < 0.5


def test_nothing_is_told_before_the_first_stage_nor_after_the_end() -> None:
    listener = Listener(enough=1)
    with Stages(listener, file_bytes=1000) as going:
        assert listener.heard == []
        for stage in STAGES:
            going.begin(stage, rows_total=5)
        going.end()
    told = [progress.stage for progress in listener.heard]
    assert list(dict.fromkeys(told)) == list(STAGES)
    assert set(going.seconds) == set(STAGES)
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_progress_never_goes_back_from_stage_to_stage() -> None:
    begins = list(STAGES.values())
    assert begins == sorted(begins)
    listener = Listener(enough=1)
    with Stages(listener, file_bytes=1000) as going:
        for stage in ("read", "normalise", "validate", "read", "normalise", "validate", "match"):
            going.begin(stage)
    percents = [progress.percent for progress in listener.heard]
    assert percents == sorted(percents)


def test_a_stage_that_is_taken_up_again_goes_on_counting_its_seconds() -> None:
    with Stages(lambda _: None, file_bytes=1000) as going:
        going.begin("read")
        going.begin("normalise")
        first = going.seconds["read"]
        going.begin("read")
        going.end()
    assert going.seconds["read"] >= first
    assert list(going.seconds) == ["read", "normalise"]


def test_rows_that_were_read_are_told_before_it_is_known_how_many_there_are() -> None:
    listener = Listener(enough=1)
    with Stages(listener, file_bytes=1000) as going:
        for stage in ("read", "normalise", "validate", "read", "match"):
            going.begin(stage, rows_total=20_000 if stage == "match" else None)
            going.note_rows(10_000 if stage == "read" else 0)
    done = [progress.rows_done for progress in listener.heard]
    assert done == sorted(done)
    assert done[1] > 0
    assert listener.heard[1].rows_total is None


def test_what_a_file_says_of_its_rows_is_corrected_and_nothing_goes_back() -> None:
    """One that says far too much, one that says too little."""
    for expected in (1_000_000, 15_000):
        listener = Listener(enough=1)
        with Stages(listener, file_bytes=1000) as going:
            for stage in ("read", "normalise", "read", "normalise", "read"):
                going.begin(stage)
                going.note_rows(10_000 if stage == "read" else 0, expected=expected)
            for stage in ("match", "merge", "report"):
                going.begin(stage, rows_total=30_000)
        told = listener.heard
        assert [p.percent for p in told] == sorted(p.percent for p in told)
        assert [p.rows_done for p in told] == sorted(p.rows_done for p in told)
        assert all(p.rows_done <= (p.rows_total or 0) for p in told if p.rows_done)
        assert told[1].rows_total == expected
        assert told[-1].rows_total == 30_000
        assert told[-1].rows_done <= 30_000
