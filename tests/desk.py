"""A file as the first stages read it: no database, and so no merge and no report.

What a header, a row or a cell is taken for is decided in ``read``, ``normalise`` and ``validate``;
a case about that costs a fifth of one that goes through ``tests/pipeline_run.py``. What follows, it
can't show: what the record has already, repeats, outcomes, and the report.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import polars as pl
from pydantic import SecretStr

from rollbook import clock
from rollbook.config import Settings
from rollbook.model import EVERYWHERE, Scope
from rollbook.pipeline.erased import Erased
from rollbook.pipeline.read import BATCH_ROWS, ROW_NUMBER, Wanted, read
from rollbook.pipeline.staged import Staged
from rollbook.spreadsheets.inspect.archive import Limits
from rollbook.spreadsheets.kinds import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from rollbook.pipeline.validate import Validated

Answer_co = TypeVar("Answer_co", covariant=True)


class Sent(Protocol):
    """What a desk and a site both say of a file."""

    @property
    def upload(self) -> Mapping[str, Any]:
        """Of the upload's record: ``reading``, ``warnings`` and ``rows_total`` at least."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """``row_number`` and ``problems`` of each row, in the order of the file."""


class Place(Protocol[Answer_co]):
    """A desk or a site: somewhere to send files to."""

    @property
    def send(self) -> Callable[..., Answer_co]:
        """Send a file: its content, its name, and options as a site has them."""

    def members(self) -> dict[str, dict[str, Any]]:
        """The people by ID number."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the first stages make of a file."""

    #: ``reading``, ``warnings``, ``rows_with_warnings`` and ``rows_total`` of the upload's record.
    upload: dict[str, Any]
    #: ``row_number``, ``verdict`` and ``problems`` (None where there are none) of each row.
    rows: list[dict[str, Any]]
    #: ``row_number`` and the cells as texts, by the headers of the file.
    table: pl.DataFrame

    @property
    def by_row(self) -> dict[int, str]:
        """The verdict of each row: valid, invalid or out_of_scope."""
        return {row["row_number"]: row["verdict"] for row in self.rows}

    @property
    def verdicts(self) -> Counter[str]:
        """How many rows have which verdict."""
        return Counter(self.by_row.values())


@dataclass(slots=True)
class Desk:
    """Takes files in, one after the other; none leaves anything to the next."""

    folder: Path
    settings: Settings = field(
        default_factory=lambda: Settings(
            _env_file=None, secret_key=SecretStr("another-key-that-only-the-tests-know")
        )
    )
    _members: dict[str, dict[str, Any]] = field(default_factory=dict)

    def send(
        self,
        content: bytes,
        name: str,
        *,
        scope: Scope = EVERYWHERE,
        batch_rows: int = BATCH_ROWS,
        accepts_passports: bool = False,
        sheet: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        empty_text: str | None = None,
    ) -> Taken:
        """Take a file through the first stages; for the arguments see ``Site.send``.

        Raises:
            FileProblemError: the file can't be processed.
        """
        self._members = {}
        identities = "za_id,passport" if accepts_passports else "za_id"
        settings = self.settings.model_copy(update={"identities": identities})
        upload = {
            "province": scope.province, "municipality": scope.municipality,
            "empty_text": empty_text, "kind": "import", "new_status": None,
        }  # fmt: skip
        today = clock.now().date()
        staged = Staged(upload, settings, today, erased=Erased({}), aliases={})
        kind = kind_of(name)
        path = self.folder / f"taken.{kind}"
        path.write_bytes(content)
        wanted = Wanted(sheet, columns, {}, accepts_passports, file_name=name, office=scope)
        limits = Limits.of(settings)
        validated, orders, frames = [], [], []
        for batch in read(path, kind, wanted, batch_rows=batch_rows, limits=limits):
            normalised = staged.normalise(batch)
            orders.append(normalised.date_orders)
            frames.append(batch.frame)
            validated.append(staged.validate(normalised, batch))
        staged.orders.is_final = True
        # The database that has its rows is needed to read a batch again.
        assert not any(map(staged.orders.differs, orders)), "the dates need a site"
        staged.check_numbers()
        reading = replace(batch.reading, notes=(*batch.reading.notes, *staged.notes()))
        rows = [row for one in validated for row in _rows(one)]
        for one in validated:
            for row in one.rows.filter(verdict="valid").iter_rows(named=True):
                self._members.setdefault(row["id_number"], row)
        table = pl.concat(frames, how="diagonal")
        return Taken(_upload(reading.as_json(), rows), rows, table)

    def notes(self, content: bytes, name: str) -> dict[str, str]:
        """What is said of a file as soon as it is read: the message by the code of each note."""
        kind = kind_of(name)
        path = self.folder / f"read.{kind}"
        path.write_bytes(content)
        *_, last = read(path, kind, Wanted(file_name=name))
        return {note.code: note.message for note in last.reading.notes}

    def members(self) -> dict[str, dict[str, Any]]:
        """What the last file says of each person, by ID number; of repeats, the first row."""
        return self._members


def _rows(validated: Validated) -> Iterator[dict[str, Any]]:
    """The rows of a batch as ``upload_rows`` has them."""
    problems: dict[int, list[dict[str, Any]]] = {}
    for problem in validated.problems.iter_rows(named=True):
        problems.setdefault(problem.pop(ROW_NUMBER), []).append(problem)
    for number, verdict in validated.rows.select(ROW_NUMBER, "verdict").iter_rows():
        yield {ROW_NUMBER: number, "verdict": verdict, "problems": problems.get(number)}


def _upload(reading: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the record of the upload would have."""
    warned = [
        {one["code"] for one in row["problems"] or () if one["severity"] == "warning"}
        for row in rows
    ]
    return {
        "reading": reading,
        "rows_total": len(rows),
        "rows_with_warnings": sum(map(bool, warned)),
        "warnings": dict(Counter(code for codes in warned for code in codes)),
    }
