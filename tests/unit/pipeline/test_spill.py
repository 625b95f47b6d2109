"""The batches of a file, in memory and on local disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from rollbook.pipeline import spill as spill_module
from rollbook.pipeline.match import EXISTING
from rollbook.pipeline.problem_table import PROBLEMS
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.spill import Spill

if TYPE_CHECKING:
    from pathlib import Path

#: The row numbers of each batch; rows without any value have none.
BATCHES = ((2, 3, 5), (6, 9), (10, 11, 12), (20,))


def known(*row_numbers: int) -> pl.DataFrame:
    names = (None,) * (len(EXISTING) - 1)
    return pl.DataFrame([(n, *names) for n in row_numbers], schema=EXISTING, orient="row")


@pytest.fixture(params=[spill_module.KEPT_BYTES, 60, 0], ids="{}_bytes_in_memory".format)
def spill(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spill:
    """A spill that keeps all frames, some or none in memory."""
    monkeypatch.setattr(spill_module, "KEPT_BYTES", request.param)
    return Spill(tmp_path)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [(2,)],
        [(20,)],
        [(2, 3, 5, 6, 9, 10, 11, 12, 20)],
        [(2,), (3,), (5, 6), (9,), (10,), (11,), (12,), (20,)],
        [(3, 11), (20,)],
        [(5,), (6, 20)],
    ],
)
def test_what_is_known_of_members_comes_with_the_batch_of_their_rows(
    pieces: list[tuple[int, ...]], spill: Spill
) -> None:
    for numbers in BATCHES:
        rows = pl.DataFrame({ROW_NUMBER: numbers}, schema={ROW_NUMBER: pl.UInt32})
        spill.add(rows, pl.DataFrame(schema=PROBLEMS))
    spill.add_pieces("existing", EXISTING, (known(*piece) for piece in pieces))
    given = {number for piece in pieces for number in piece}
    found = [frame[ROW_NUMBER].to_list() for (frame,) in spill.batches("existing")]
    assert found == [[n for n in numbers if n in given] for numbers in BATCHES]


def test_a_batch_is_replaced_wherever_it_is(spill: Spill) -> None:
    for numbers in BATCHES:
        rows = pl.DataFrame({ROW_NUMBER: numbers}, schema={ROW_NUMBER: pl.UInt32})
        spill.add(rows, pl.DataFrame(schema=PROBLEMS))
    for number in (0, 3):
        shorter = spill.of("rows", number)[:1]
        spill.replace("rows", number, shorter)
        spill.replace("rows", number, shorter)
    found = [frame[ROW_NUMBER].to_list() for (frame,) in spill.batches("rows")]
    assert found == [[2], [6, 9], [10, 11, 12], [20]]


def test_no_more_is_kept_in_memory_than_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pl.DataFrame({ROW_NUMBER: range(10)}, schema={ROW_NUMBER: pl.UInt32})
    monkeypatch.setattr(spill_module, "KEPT_BYTES", 2 * rows.estimated_size())
    spill = Spill(tmp_path)
    for _ in range(4):
        spill.add(rows, pl.DataFrame(schema=PROBLEMS))
    assert len([*tmp_path.glob("rows-*.arrow")]) == 2
    # What is replaced gives its room back.
    spill.replace("rows", 0, rows[:0])
    spill.replace("rows", 3, rows)
    assert [frame.height for (frame,) in spill.batches("rows")] == [0, 10, 10, 10]
    assert spill.of("rows", 3).equals(rows)


@pytest.mark.parametrize("times", [1, 100])
def test_a_frame_is_there_while_it_is_replaced(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is written by a thread while what it reads is renewed after another merge."""
    rows = pl.DataFrame({ROW_NUMBER: range(10)}, schema={ROW_NUMBER: pl.UInt32})
    monkeypatch.setattr(spill_module, "KEPT_BYTES", 2 * rows.estimated_size())
    spill = Spill(tmp_path)
    spill.add(rows, pl.DataFrame(schema=PROBLEMS))
    seen = []

    def read_before(step: Any) -> Any:
        def stepped(frame: pl.DataFrame, *given: Any, **named: Any) -> Any:
            seen.append(spill.of("rows", 0).height)
            return step(frame, *given, **named)

        return stepped

    for name in ("estimated_size", "write_ipc"):
        monkeypatch.setattr(pl.DataFrame, name, read_before(getattr(pl.DataFrame, name)))
    larger = pl.concat([rows] * times)
    spill.replace("rows", 0, larger)
    assert set(seen) == {10}
    assert spill.of("rows", 0).height == larger.height
