"""The storm's own waits: each ends, says what it waited for, and knows how busy the machine was."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from benchmarks.storm import bounds, page
from benchmarks.storm.bounds import BrokenPromiseError, Late, Waits, verdict

from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


def waits(said: list[str] | None = None) -> closing[Waits]:
    return closing(Waits(lambda: "nobody works", (said or []).append))


def test_a_wait_that_does_not_end_is_given_up_with_what_it_waited_for() -> None:
    with waits() as own, pytest.raises(BrokenPromiseError, match="rain") as caught:
        own.until(lambda: False, "rain", 0.05)
    assert "not within 0.2 s" in str(caught.value)
    assert "nobody works" in str(caught.value)


def test_a_step_that_hangs_in_a_call_of_its_own_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "HANGS_S", 0.1)
    said: list[str] = []
    hanging, done = threading.Event(), threading.Event()
    own = Waits(lambda: "nobody works", said.append)

    def hang() -> None:
        with own.step("a call that hangs", 0.05):
            hanging.set()
            done.wait(bounds.DESCRIBE_S * 4)

    with closing(own):
        thread = threading.Thread(target=hang, daemon=True)
        thread.start()
        until(lambda: said, "the run is given up")
        done.set()
        thread.join(10)
    assert "hanging: a call that hangs" in said[0]
    assert "done.wait" in said[0]


def test_a_description_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "DESCRIBE_S", 0.1)
    done = threading.Event()
    with closing(Waits(lambda: str(done.wait(30)), lambda _: None)) as own:
        assert own.describe() == "the record says nothing in 0.1 s"
    done.set()


@pytest.mark.parametrize(("share", "is_excused"), [(0.9, True), (0.1, False)])
def test_a_late_end_is_excused_by_a_loaded_machine_alone(
    monkeypatch: pytest.MonkeyPatch, share: float, is_excused: bool
) -> None:
    began = time.monotonic()
    monkeypatch.setattr(
        bounds, "pressure_us", lambda: int((time.monotonic() - began) * share * 1e6)
    )
    with waits() as own, own.step("a file is through", 0.05):
        threading.Event().wait(0.2)
    [late] = own.late
    assert (late.what, late.is_excused) == ("a file is through", is_excused)
    assert verdict(None, own.late)[0] == (2 if is_excused else 1)


def test_a_broken_promise_is_broken_on_any_machine() -> None:
    busy = Late("a file is through", 1, 2, 0.99)
    code, report = verdict("a file is lost", [busy])
    assert (code, report["verdict"]) == (1, "a promise is broken")
    assert verdict(None, [])[0] == 0
    assert verdict(None, [Late("a file is through", 1, 2, None)])[0] == 1


def test_the_figures_of_a_long_run_have_their_place_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "guarantees.md"
    copy.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", copy)
    figures = {
        "minutes": 30.0, "seed": 7, "date": "2026-11-29", "machine": "2 cores, Linux",
        "uploads": 1_234, "rows": 56_789, "undone": 12, "held": 34_567, "attempts_again": 89,
        "sent_again": 10,
        "until_normal_s": {"redis restored": {"times": 2, "median": 1.5, "longest": 12.0}},
    }  # fmt: skip
    for _ in range(2):  # the second run's take the place of the first one's
        page.write(figures, is_in_time=True)
    text = copy.read_text(encoding="utf-8")
    assert text.count("| redis restored | 2 | 1.5 s | 12 s |") == 1
    assert "1,234 uploads with 56,789 rows" in text
    assert "has not been made" not in text
