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
from rollbook.pipeline import own_fields, removal
from rollbook.pipeline.apart import Apart
from rollbook.pipeline.birth_dates import Differing
from rollbook.pipeline.dates import Orders
from rollbook.pipeline.groups import Groups
from rollbook.pipeline.match import ledger_of, staging, unstage
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.shared_phones import SharedPhones
from rollbook.pipeline.shifted import Ends
from rollbook.pipeline.turned import Turned
from rollbook.pipeline.validate import validate

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.model import Scope
    from rollbook.pipeline.aliases import Aliases
    from rollbook.pipeline.erased import Erased
    from rollbook.pipeline.normalise import Normalised
    from rollbook.pipeline.read import Sheet
    from rollbook.pipeline.reading import Note
    from rollbook.pipeline.spill import Spill
    from rollbook.pipeline.validate import Validated


class Staged:
    """Normalises and validates batches, and remembers what is needed to do so again."""

    def __init__(
        self,
        today: dt.date,
        scope: Scope,
        erased: Erased,
        empty_text: str | None = None,
        *,
        accepts_passports: bool = False,
        aliases: Aliases | None = None,
        orders: Orders | None = None,
        list_: Row | None = None,
        counts_from_joining: bool = False,
        shared_phone_rows: int = 0,
    ) -> None:
        """``erased`` are people whose rows are refused; what follows is as for ``normalise``.

        ``orders`` of the dates are given where another file has shown them, and ``list_`` is the
        upload where it lists members to remove. ``shared_phone_rows`` is as for ``SharedPhones``.
        """
        self._aliases = aliases or {}
        #: Rows that were read by an alias, by field and alias.
        self.aliased: Counter[tuple[str, str]] = Counter()
        self.phones = SharedPhones(shared_phone_rows)
        self.births = Differing()
        #: What only many rows together show.
        self._seen = (self.births, self.phones, Groups(), Turned(), Apart())
        self._list = list_
        self._counts_from_joining = counts_from_joining
        self._empty_text = empty_text
        self._accepts_passports = accepts_passports
        #: Rows that name their person by a passport.
        self.documents = 0
        #: Whether the file has columns of own fields.
        self.has_own = False
        #: Bits of the fields that any row empties; see ``emptied``.
        self.emptied = 0
        self._today = today
        self._scope = scope
        self._erased = erased
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

    def normalise(self, sheet: Sheet) -> Normalised:
        """Normalise the next batch by what the file says up to it."""
        if self._list is not None:
            sheet = removal.only_identity(sheet)
        normalised = self._normalised(sheet)
        self.has_own = self.has_own or bool(own_fields.of_sheet(sheet.columns.headers))
        self.aliased.update(normalised.aliased)
        for seen in self._seen:
            seen.add(normalised)
        self._shortened += normalised.faults.filter(code="id_shortened").height
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
        if self._accepts_passports:
            valid = validated.rows.filter(verdict="valid")["document"]
            self.documents += len(valid) - valid.null_count()
        if self._list is None:
            self.ends.add(normalised, validated)
        self._ledgers.append(ledger_of(validated.rows))
        return validated

    def _normalised(self, sheet: Sheet) -> Normalised:
        return normalise(
            sheet,
            self._today,
            self.orders,
            empty_text=self._empty_text,
            accepts_passports=self._accepts_passports,
            aliases=self._aliases,
            counts_from_joining=self._counts_from_joining,
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
        if self._list is None:
            validated = validate(normalised, sheet, self._scope)
        else:
            validated = removal.validated(normalised, sheet, self._list["new_status"])
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
