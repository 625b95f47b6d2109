"""Normalises and validates a file's rows for the staging table, batch by batch.

The meaning of a date may depend on the whole column, and a batch sees only the column up to itself.
So each batch is read with the evidence up to it, and those that the whole file's evidence reads
differently are read again at the end, from local disk. Most files need no second reading, and none
needs more memory than a batch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from rollbook.errors import ShortenedNumbersError
from rollbook.languages import phrase
from rollbook.model import Scope
from rollbook.pipeline import own_fields, removal
from rollbook.pipeline.aliases import key_of
from rollbook.pipeline.aliases import note as note_on_aliases
from rollbook.pipeline.apart import Apart
from rollbook.pipeline.birth_dates import Differing
from rollbook.pipeline.counting import Counting
from rollbook.pipeline.dates import Orders
from rollbook.pipeline.filled_down import FilledDown
from rollbook.pipeline.groups import Groups
from rollbook.pipeline.match import ledger_of, staging, unstage
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.reading import Note
from rollbook.pipeline.shared_contacts import SharedContacts
from rollbook.pipeline.shifted import Ends
from rollbook.pipeline.turned import Turned
from rollbook.pipeline.validate import validate

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.pipeline.aliases import Aliases
    from rollbook.pipeline.erased import Erased
    from rollbook.pipeline.normalise import Normalised
    from rollbook.pipeline.read import Sheet
    from rollbook.pipeline.spill import Spill
    from rollbook.pipeline.validate import Validated


class Staged:
    """Normalises and validates batches, and remembers what is needed to do so again."""

    def __init__(
        self,
        upload: Row,
        settings: Settings,
        today: dt.date,
        *,
        erased: Erased,
        aliases: Aliases,
        orders: Orders | None = None,
    ) -> None:
        """``erased`` are people whose rows are refused; ``aliases`` are the office's words.

        ``orders`` of the dates are given where another file has shown them.
        """
        self._upload, self._settings, self._today = upload, settings, today
        self._erased, self._aliases = erased, aliases
        self._scope = Scope(upload["province"], upload["municipality"])
        self._empty_text = key_of(upload["empty_text"])
        self._is_removal = upload["kind"] == removal.KIND
        #: Rows that were read by an alias, by field and alias.
        self._aliased: Counter[tuple[str, str]] = Counter()
        #: What only many rows together show.
        least = settings.shared_phone_rows
        shared = (SharedContacts("cell_number", least), SharedContacts("email", least))
        self._apart = Apart()
        names = (Turned(), FilledDown())
        self._seen = (Differing(), *shared, Groups(), *names, self._apart, Counting())
        #: Rows that name their person by a passport.
        self.documents = 0
        #: Whether the file has columns of own fields.
        self.has_own = False
        #: Bits of the fields that any row empties; see ``emptied``.
        self.emptied = 0
        self.orders = orders or Orders()
        #: Of each batch: the sheet without its rows, how its dates were read, and its ledger.
        self._batches: list[tuple[Sheet, Normalised]] = []
        self._ledgers: list[pl.DataFrame] = []
        self._shortened = 0
        self.ends = Ends()

    def notes(self) -> Iterator[Note]:
        """The notes on the file that its rows together show."""
        for found in (self.ends, *self._seen):
            yield from found.notes()
        if self.documents:
            yield Note("passports", self.documents, {"n": self.documents})
        if self._aliased:
            yield note_on_aliases(self._aliased, self._aliases)

    def normalise(self, sheet: Sheet) -> Normalised:
        """Normalise the next batch by what the file says up to it."""
        if self._is_removal:
            sheet = removal.only_identity(sheet)
        normalised = self._normalised(sheet)
        self.has_own = self.has_own or bool(own_fields.of_sheet(sheet.columns.headers))
        self._aliased.update(normalised.aliased)
        for seen in self._seen:
            seen.add(normalised)
        self._apart.add_titles(sheet, normalised.frame)
        self._shortened += int((normalised.faults["code"] == "id_shortened").sum())
        self._batches.append(
            (
                replace(sheet, frame=sheet.frame.clear()),
                replace(
                    normalised,
                    frame=normalised.frame.clear(),
                    raw=normalised.raw.clear(),
                    warnings=normalised.warnings.clear(),
                    faults=normalised.faults.clear(),
                ),
            )
        )
        return normalised

    def validate(self, normalised: Normalised, sheet: Sheet) -> Validated:
        """Validate the batch that was normalised last."""
        validated = self._validated(normalised, sheet)
        if self._empty_text is not None:
            self.emptied |= int(validated.rows.select(pl.col("emptied").bitwise_or()).item() or 0)
        if self._settings.accepts_passports:
            valid = validated.rows.filter(verdict="valid")["document"]
            self.documents += len(valid) - valid.null_count()
        if not self._is_removal:
            self.ends.add(normalised, validated)
        self._ledgers.append(ledger_of(validated.rows))
        return validated

    def _normalised(self, sheet: Sheet) -> Normalised:
        return normalise(
            sheet,
            self._today,
            self.orders,
            empty_text=self._empty_text,
            accepts_passports=self._settings.accepts_passports,
            aliases=self._aliases,
            counts_from_joining=self._settings.expiry_from_joining,
        )

    def read_again(self, connection: Connection[Row], spill: Spill) -> None:
        """Read and stage again the batches whose dates the whole file's evidence reads differently.

        The transaction is the attempt's, with all valid rows staged. The spill has all batches, and
        takes the problems of those that are read again.
        """
        self.orders.is_final = True
        again = [
            number
            for number, (_, normalised) in enumerate(self._batches)
            if self.orders.differs(normalised.date_orders)
        ]
        for number in again:
            sheet = replace(self._batches[number][0], frame=spill.of("rows", number))
            validated = self._validated(self._normalised(sheet), sheet)
            unstage(connection, sheet.frame)
            with staging(connection, is_new=False) as stage:
                stage(validated.rows)
            spill.replace("problems", number, validated.problems)
            self._ledgers[number] = ledger_of(validated.rows)

    def _validated(self, normalised: Normalised, sheet: Sheet) -> Validated:
        if self._is_removal:
            validated = removal.validated(normalised, sheet, self._upload["new_status"])
        else:
            validated = validate(normalised, sheet, self._scope)
        return self._erased.refuse(validated, normalised.headers.get("id_number"))

    def check_numbers(self) -> None:
        """Refuse a file most of whose ID numbers lost digits, or lie beside others' names.

        Raises:
            ShiftedColumnError: see ``shifted.Ends.check``.
            ShortenedNumbersError: more than half of the rows have such a number.
        """
        self.ends.check()
        rows = sum(ledger.height for ledger in self._ledgers)
        if self._shortened * 2 > rows:
            raise ShortenedNumbersError(
                phrase("refusal.file.shortened", shortened=self._shortened, rows=rows)
            )

    def ledger(self) -> pl.DataFrame:
        """The ledger of the whole file; see ``match.LEDGER``."""
        return pl.concat(self._ledgers, rechunk=True)
