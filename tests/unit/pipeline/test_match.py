"""Which rows repeat another, and what the merge is foreseen to do."""

from __future__ import annotations

import datetime as dt

import polars as pl

from rollbook.pipeline.match import EXISTING, LEDGER, find_repeats, ledger_of
from rollbook.pipeline.merge import TAKEN, WRITTEN, count, foreseen, outcomes
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.validate import validate
from rollbook.scope import EVERYWHERE, Scope
from rollbook.uploads import OUTCOMES
from tests.files import id_number, member
from tests.unit.pipeline.sheets import sheet_of


def ledger(*rows: dict[str, str], scope: Scope = EVERYWHERE) -> pl.DataFrame:
    sheet = sheet_of(rows)
    return ledger_of(validate(normalise(sheet, dt.date(2026, 11, 24)), sheet, scope).rows)


def existing(*lines: tuple[int, bool, bool]) -> pl.DataFrame:
    """People by number, with whether another office has them and whether they would change."""
    nothing = (None,) * (len(EXISTING) - 3)
    return pl.DataFrame(
        [(int(id_number(n)), *nothing, taken, changes) for n, taken, changes in lines],
        schema=EXISTING,
        orient="row",
    )


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
    lines = find_repeats(
        ledger(broken, member(1), member(2), member(1), member(1, Firstname=""), member(1))
    )
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
        lines = find_repeats(ledger(*rows, scope=Scope("GP")))
        assert set(lines.select("verdict", "duplicate_of").rows()) == {
            ("valid", None),
            ("out_of_scope", None),
        }


def test_what_is_foreseen_is_what_the_merge_answers_when_it_comes_alone() -> None:
    lines = find_repeats(ledger(*(member(n) for n in (1, 2, 3, 4, 1))))
    known = existing((2, False, True), (3, False, False), (4, True, False))
    written, taken = foreseen(lines, known)
    assert written.schema == pl.Schema(WRITTEN)
    assert taken.schema == pl.Schema(TAKEN)
    assert set(written.rows()) == {(int(id_number(1)), "inserted"), (int(id_number(2)), "updated")}
    assert taken.rows() == [(int(id_number(4)),)]
    done = outcomes(lines, written, taken)
    assert done["outcome"].to_list() == [
        "inserted", "updated", "unchanged", "out_of_scope", "duplicate",
    ]  # fmt: skip


def test_every_outcome_is_counted_and_nobody_twice() -> None:
    lines = find_repeats(ledger(member(1), member(1), member(2, Surname="")))
    done = outcomes(lines, *foreseen(lines, existing()))
    assert count(done) == dict.fromkeys(OUTCOMES, 0) | {"inserted": 1, "duplicate": 1, "invalid": 1}
