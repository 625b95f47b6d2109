"""Which rows repeat another, and what the merge is foreseen to do."""

from __future__ import annotations

import datetime as dt

import polars as pl

from rollbook.model import EVERYWHERE, OUTCOMES, Scope
from rollbook.pipeline.match import KNOWN, LEDGER, People, find_repeats, ledger_of
from rollbook.pipeline.merge import count, foreseen, outcomes
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.validate import validate
from tests.files import id_number, member
from tests.unit.pipeline.sheets import sheet_of


def ledger(*rows: dict[str, str], scope: Scope = EVERYWHERE) -> pl.DataFrame:
    sheet = sheet_of(rows)
    return ledger_of(validate(normalise(sheet, dt.date(2026, 11, 24)), sheet, scope).rows)


def marked(*rows: dict[str, str], scope: Scope = EVERYWHERE) -> pl.DataFrame:
    lines = ledger(*rows, scope=scope)
    return find_repeats(lines, People(lines))


def known(*lines: tuple[int, bool, bool]) -> pl.DataFrame:
    """Rows of members, with whether another office has them and whether they would change."""
    return pl.DataFrame([(*line, None, None) for line in lines], schema=KNOWN, orient="row")


def test_the_ledger_is_small_and_as_long_as_the_file() -> None:
    lines = ledger(member(1), member(2, Surname=""), member(3, Province="Limpopo"))
    assert lines.schema == pl.Schema(LEDGER)
    assert lines.rows() == [
        (2, "valid", int(id_number(1))),
        (3, "invalid", None),
        (4, "valid", int(id_number(3))),
    ]


def test_a_duplicate_names_the_first_valid_row_of_its_number() -> None:
    broken = member(1, Surname="")
    lines = marked(broken, member(1), member(2), member(1), member(1, Firstname=""), member(1))
    assert lines.select("row_number", "verdict", "duplicate_of").rows() == [
        (2, "invalid", None),
        (3, "valid", None),
        (4, "valid", None),
        (5, "valid", 3),
        (6, "invalid", None),
        (7, "valid", 3),
    ]


def test_a_row_of_another_office_is_nobodys_first_twin() -> None:
    own, other = member(1), member(1, Province="Limpopo")
    for rows in ((own, other), (other, own)):
        lines = marked(*rows, scope=Scope("GP"))
        assert set(lines.select("verdict", "duplicate_of").rows()) == {
            ("valid", None),
            ("out_of_scope", None),
        }


def test_a_person_is_found_where_the_file_has_them_first() -> None:
    people = People(ledger(member(3), member(1), member(2, Surname=""), member(3), member(1)))
    numbers = pl.Series([int(id_number(1)), int(id_number(3))])
    assert people.first_rows(numbers).tolist() == [1, 0]
    later, first = people.repeats()
    assert dict(zip(later.tolist(), first.tolist(), strict=True)) == {3: 0, 4: 1}


def test_what_is_foreseen_of_members_and_others_becomes_their_outcome() -> None:
    lines = marked(*(member(n) for n in (1, 2, 3, 4, 1)))
    done = outcomes(
        lines, foreseen(lines, known((3, False, True), (4, False, False), (5, True, False)))
    )
    assert done["outcome"].to_list() == [
        "inserted", "updated", "unchanged", "out_of_scope", "duplicate",
    ]  # fmt: skip
    assert done["taken"].to_list() == [None, False, False, True, None]


def test_a_row_that_repeats_another_is_about_the_same_member() -> None:
    lines = marked(member(1), member(2), member(2), member(1), member(2))
    done = outcomes(lines, foreseen(lines, known((2, False, True), (3, True, False))))
    assert done["outcome"].to_list() == ["updated", "out_of_scope", *["duplicate"] * 3]
    assert done["taken"].to_list() == [False, True, True, False, True]


def test_every_outcome_is_counted_and_nobody_twice() -> None:
    lines = marked(member(1), member(1), member(2, Surname=""))
    done = outcomes(lines, foreseen(lines, known()))
    assert count(done) == dict.fromkeys(OUTCOMES, 0) | {"inserted": 1, "duplicate": 1, "invalid": 1}


def test_what_stays_in_memory_of_a_row_is_less_than_forty_bytes() -> None:
    lines = marked(*(member(n) for n in range(1000)))
    done = outcomes(lines, foreseen(lines, known()))
    held = sum(frame.estimated_size() for frame in (lines, done, done))
    assert held / len(lines) + 12 < 40  # and ``People``
