"""A slice of the made office files: no wrong cell without a word, few needless questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.corpus.cells import Stance
from benchmarks.corpus.check import recognised
from benchmarks.corpus.judge import judge
from benchmarks.corpus.maker import make
from benchmarks.corpus.run import run

from tests.pipeline_run import open_site

if TYPE_CHECKING:
    from pathlib import Path

#: Numbers of the files, with one of every kind; ``make bench-corpus`` runs a thousand.
SEEDS = (*range(13), 19)
#: Of the right rows that are merged without a question.
LEAST_SHARE = 0.98


def test_no_cell_of_a_made_office_file_is_wrong_without_a_word(
    database_url: str, tmp_path: Path
) -> None:
    with open_site(database_url, tmp_path) as site:
        found = run(site, SEEDS)
    assert found.untold == []
    assert found.merged_share >= LEAST_SHARE, found.questions
    assert found.counts["right rows"] > 10 * len(SEEDS)


def test_the_check_takes_no_column_of_a_made_office_file_for_another_field() -> None:
    counts, wrong = recognised(SEEDS)
    assert wrong == []
    assert counts["open"] == counts["refused"] == 0
    assert counts["right"] >= LEAST_SHARE * counts.total() > 0


def test_the_judge_sees_a_wrong_cell_and_a_needless_warning(
    database_url: str, tmp_path: Path
) -> None:
    """A judge that sees nothing would pass everything."""
    made = next(made for made in map(make, SEEDS) if made.name.endswith(".xlsx"))
    with open_site(database_url, tmp_path) as site:
        done = site.send(made.content, made.name)
        members = site.members()
    row = next(row for row in made.rows if row.is_right)
    number = row.truth["id_number"]
    assert number is not None
    wrong = {**members, number: {**members[number], "surname": "Another"}}
    assert [text.partition(": ")[2] for text in judge(made, done, wrong).untold] == [
        f"surname is 'Another', right is {row.truth['surname']!r}"
    ]
    there = next(each for each in done.rows if each["row_number"] == row.number)
    there["problems"] = [{"column": None, "code": "needless"}]
    assert any("needless" in text for text in judge(made, done, members).questions)
    assert row.stance is Stance.PLAIN
