"""What is stored of a file so that its refused rows can be fixed."""

from __future__ import annotations

import pytest

from rollbook.pipeline.columns import map_headers
from rollbook.pipeline.dates import Orders
from rollbook.pipeline.fixable import Grid

HEADERS = ("ID Number", "Firstname", "Surname", "Date of Birth", "Notes")


@pytest.mark.parametrize("given", [{}, {"Date of Birth": None}])
def test_a_follow_up_compares_birth_dates_where_the_first_file_did(
    given: dict[str, str | None],
) -> None:
    first = Grid(HEADERS, map_headers(HEADERS, given), Orders())
    stored = Grid.of(first.as_json(rows=1, left_out=0))
    assert stored.columns.left_out == set(given)
    wanted = stored.wanted(accepts_passports=False)
    said, _ = wanted.mapping(HEADERS)
    columns = map_headers(HEADERS, said)
    assert columns.left_out == {"Notes", *given}
