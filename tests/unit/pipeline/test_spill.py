"""The batches of a file on local disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

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
    pieces: list[tuple[int, ...]], tmp_path: Path
) -> None:
    spill = Spill(tmp_path)
    for numbers in BATCHES:
        rows = pl.DataFrame({ROW_NUMBER: numbers}, schema={ROW_NUMBER: pl.UInt32})
        spill.add(rows, pl.DataFrame(schema=PROBLEMS))
    spill.add_pieces("existing", EXISTING, (known(*piece) for piece in pieces))
    given = {number for piece in pieces for number in piece}
    found = [frame[ROW_NUMBER].to_list() for (frame,) in spill.batches("existing")]
    assert found == [[n for n in numbers if n in given] for numbers in BATCHES]
