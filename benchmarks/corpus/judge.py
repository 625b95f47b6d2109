"""Compares the outcome of a file with its truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.corpus.cells import Stance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.pipeline_run import Done

    from benchmarks.corpus.maker import OfficeFile, Row

#: Notes on a file that say that its texts may be wrong.
_OF_TEXTS: Final = {"encoding_unsure", "encoding_mixed", "characters_lost", "text_encoded_twice"}
_TEXTS: Final = {"firstname", "surname", "residential_address", "email", "municipality"}
#: What is compared in a peer's values; it doesn't know one spelling of a place from another.
_OF_PEERS: Final = {
    "id_number", "firstname", "surname", "cell_number", "email", "date_joined", "last_payment",
    "membership_amount", "residential_address",
}  # fmt: skip
_MERGED: Final = {"inserted", "updated", "unchanged"}


@dataclass(slots=True)
class Verdict:
    """The outcomes of one file's rows, or of many files'."""

    counts: Counter[str] = field(default_factory=Counter)
    #: Each cell or row that came out wrong without a word.
    untold: list[str] = field(default_factory=list)
    #: Each right row that wasn't merged without a question.
    questions: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Count another file's too."""
        self.counts += other.counts
        self.untold += other.untold
        self.questions += other.questions

    @property
    def merged_share(self) -> float:
        """Of the right rows, those that were merged without a question."""
        return self.counts["right rows merged"] / max(1, self.counts["right rows"])


def judge(made: OfficeFile, done: Done, members: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """The outcome of a file that was read."""
    found = Verdict()
    reading = done.upload["reading"]
    notes = {note["code"] for note in reading["notes"]}
    said = {made.headers.get(header) for header in reading["columns_not_read"]}
    if notes & _OF_TEXTS:
        said |= _TEXTS
    if "backslashes_doubled" in notes:
        said.add("residential_address")
    by_row = {row["row_number"]: row for row in done.rows}
    known = {row.truth["id_number"] for row in made.rows}
    for number in sorted(set(members) - known):
        found.untold.append(f"{made.name}: a member {number} that the file doesn't have")
    for row in made.rows:
        there = by_row.get(row.number)
        if there is None:
            found.untold.append(f"{made.name} row {row.number}: isn't there")
        else:
            _judge_row(made, row, there, members.get(row.truth["id_number"] or ""), said, found)
        found.counts["rows"] += 1
        found.counts["right rows"] += row.is_right
    return found


def _judge_row(
    made: OfficeFile, row: Row, there: Any, stored: Mapping[str, Any] | None,
    said: set[str | None], found: Verdict,
) -> None:  # fmt: skip
    """Judge a row that has an outcome; ``said`` are the fields of which the file's notes warn."""
    where = f"{made.name} row {row.number}"
    problems = list(there["problems"] or ())
    codes = ", ".join(f"{each['column']}: {each['code']}" for each in problems)
    if there["outcome"] not in _MERGED:
        if row.is_right:
            found.questions.append(f"{where}: {there['outcome']} ({codes})")
        return
    found.counts["rows merged"] += 1
    if row.stance is Stance.REFUSED or stored is None:
        if not problems:
            found.untold.append(f"{where}: merged, and it is wrong")
        return
    told = said | {made.headers.get(each["column"] or "") for each in problems}
    is_told_whole = row.repeats or any(each["column"] is None for each in problems)
    differing = [
        f"{where}: {name} is {stored[name]!r}, right is {truth!r}"
        for name, truth in row.truth.items()
        if not (is_told_whole or name in told or same(truth, stored[name]))
    ]
    found.untold += differing
    if row.is_right and problems:
        found.questions.append(f"{where}: {codes}")
    found.counts["right rows merged"] += row.is_right and not problems and not differing


def refused(made: OfficeFile, sentence: str) -> Verdict:
    """The outcome of a file that was refused as a whole."""
    right = sum(row.is_right for row in made.rows)
    found = Verdict(Counter({"rows": len(made.rows), "files refused": 1}))
    if not made.may_be_refused:
        found.counts["right rows"] = right
        found.questions.append(f"{made.name} {made.oddities}: {sentence}")
    return found


def judge_peer(made: OfficeFile, found_there: Mapping[str, Any]) -> Verdict:
    """The outcome of a file in a tool that refuses rows and warns of nothing.

    Args:
        made: the file.
        found_there: ``error``, or ``members`` (fields by ID number).
    """
    right = sum(row.is_right for row in made.rows)
    found = Verdict(Counter({"files": 1, "rows": len(made.rows), "right rows": right}))
    if "error" in found_there:
        found.counts["files refused"] = 1
        return found
    members = found_there["members"]
    known = {row.truth["id_number"] for row in made.rows}
    for number in sorted(set(members) - known):
        found.untold.append(f"{made.name}: a member {number} that the file doesn't have")
    for row in made.rows:
        stored = members.get(row.truth["id_number"] or "")
        if stored is None or row.stance is Stance.REFUSED:
            continue
        differing = [
            f"{made.name} row {row.number}: {name} is {stored.get(name)!r}, right is {truth!r}"
            for name, truth in row.truth.items()
            if name in _OF_PEERS and not row.repeats and not _same(name, truth, stored.get(name))
        ]
        found.untold += differing
        found.counts["right rows merged"] += row.is_right and not differing
    return found


def _same(name: str, truth: str | None, stored: Any) -> bool:
    if name == "membership_amount" and truth is not None and stored is not None:
        return float(truth) == float(stored)
    return same(truth, stored)


def same(truth: str | None, stored: Any) -> bool:
    """Is it the value, apart from how runs of spaces are kept?"""
    if truth is None or stored is None:
        return truth is None and stored is None
    return " ".join(str(stored).split()) == truth
