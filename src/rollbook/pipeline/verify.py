"""Verify: applies the voter roll's known answers to the rows and records the missing questions.

This stage doesn't ask the roll: ``voter_roll`` does that later, within the roll's budget. Rows with
a known answer get it at once; the others are ``pending`` and are merged nevertheless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from psycopg import sql

from rollbook.backends.database import queries
from rollbook.errors import FencedError
from rollbook.languages import phrase
from rollbook.pipeline.match import copy_out

if TYPE_CHECKING:
    from psycopg import Connection

    from rollbook.backends.database import Row

#: The columns that ``results`` adds to the rows; null for rows that need no verification.
RESULTS = {
    "row_number": pl.UInt32,
    "roll_result": pl.String,
    "roll_ward": pl.String,
    "roll_voting_district": pl.String,
}

_SQL = queries("verifications")


class Verification:
    """The verification of one attempt's rows.

    An answer is good for ``cache_days``; None when the roll isn't to be asked.
    """

    def __init__(self, connection: Connection[Row], upload: Row, *, cache_days: int | None) -> None:
        self._connection = connection
        self._upload = upload
        self._cache_days = cache_days
        self._found = pl.DataFrame(schema=RESULTS)
        #: The rows excluded from verification; None until ``prepare`` has noted the others.
        self._left_out: set[int] | None = None
        #: The reason why no questions are asked; None when they are.
        self.not_asked_because: str | None = None
        if upload["kind"] == "removal":
            self.not_asked_because = phrase("report.roll.removal")
        elif cache_days is None:
            self.not_asked_because = phrase("report.roll.switched_off")
        elif upload["dry_run"]:
            self.not_asked_because = phrase("report.roll.dry_run")

    def prepare(self, lines: pl.DataFrame, *, is_refused: bool) -> bool:
        """Note which rows are to be verified, each with its answer where there is a good one.

        Called with the rows staged, and nothing merged. The lines are of the whole file, with the
        expected ``outcome``: no questions are asked about another office's members, nor where
        ``is_refused``.

        Returns:
            Whether the merge may follow. If not, the upload asked for all answers before it, and
            the open questions are in the record: commit, and end the attempt.

        Raises:
            FencedError: the upload is no longer this attempt's.
        """
        if self.not_asked_because or is_refused:
            return True
        self._note(_taken(lines))
        if self._upload["verify"] != "before_merge" or not self.leaves_pending:
            return True
        self._connection.execute(_SQL["ask"], {"id": self._upload["id"]})
        return not self.count(tables_key=None)

    def _note(self, left_out: set[int]) -> None:
        parameters = {
            "id": self._upload["id"],
            "cache_days": self._cache_days,
            "rows": sorted(left_out),
        }
        self._lock_where_answers_come()
        self._connection.execute(_SQL["plan_for_sets"])
        self._connection.execute(_SQL["prepare"], parameters)
        self._connection.execute(_SQL["forget_others"], parameters)
        self._connection.execute(_SQL["forget_rows"], parameters)
        self._found = results(self._connection, self._upload)
        self._connection.execute(_SQL["plan_as_usual"])
        self._left_out = left_out

    def _lock_where_answers_come(self) -> None:
        """Lock the upload's row before its verifications, where an earlier attempt left some.

        Applying an answer locks them in this order (``update_member``); another order would
        deadlock. Without pending rows in the record no answer is applied to this upload, and its
        row stays free for heartbeats and cancelling.
        """
        self._connection.execute(_SQL["lock_pending"], {"id": self._upload["id"]})

    @property
    def leaves_pending(self) -> bool:
        """Is there a row without an answer yet?"""
        return "pending" in self._found["roll_result"]

    def of_rows(self, lines: pl.DataFrame, *, is_refused: bool) -> pl.DataFrame:
        """What the report says of rows with a ``row_number`` and an actual or expected ``outcome``.

        ``is_refused``: nothing is merged, so no questions are asked.

        Returns:
            The lines with the columns of ``RESULTS``: null in rows without a question.
        """
        found = self._found.clear() if is_refused else self._found
        names = list(RESULTS)[1:]
        columns = [pl.when(_is_asked()).then(pl.col(name)).alias(name) for name in names]
        joined = lines.join(found, on="row_number", how="left", maintain_order="left")
        return joined.with_columns(columns)

    def counts(self, lines: pl.DataFrame, *, is_refused: bool) -> dict[str, int]:
        """Those rows by result."""
        if is_refused or self._found.is_empty():
            return {}
        asked = lines.filter(_is_asked()).select("row_number")
        said = self._found.join(asked, on="row_number", how="semi")["roll_result"]
        return dict(said.value_counts().iter_rows())

    def settle(self, lines: pl.DataFrame, *, is_refused: bool) -> None:
        """Write the answers to the members, and record the questions about the others.

        ``lines`` are of the whole file, with ``outcome``, after the merge. ``is_refused``: the
        merge was rolled back, so no questions are asked.
        """
        if is_refused and self.not_asked_because is None:
            self.not_asked_because = phrase("report.roll.nothing_merged")
        if self.not_asked_because:
            # An earlier attempt may have left rows to verify.
            self._lock_where_answers_come()
            self._connection.execute(_SQL["forget"], {"id": self._upload["id"]})
            return
        taken = _taken(lines)
        parameters = {"id": self._upload["id"], "rows": sorted(taken)}
        if self._left_out is None or not self._left_out <= taken:
            # Another merge came in between, and more rows were merged than expected.
            self._note(taken)
        self._connection.execute(_SQL["forget_rows"], parameters)
        self._connection.execute(_SQL["plan_for_sets"])
        self._connection.execute(_SQL["update_members"], parameters)
        self._connection.execute(_SQL["ask"], parameters)
        self._connection.execute(_SQL["plan_as_usual"])

    def count(self, *, tables_key: str | None) -> int:
        """Write the upload's counts by result, and the tables' key; returns how many are pending.

        From here to the end of the transaction the upload's row is locked, its heartbeat with it.

        Raises:
            FencedError: the upload is no longer this attempt's.
        """
        parameters = {
            "id": self._upload["id"],
            "attempt": self._upload["attempt"],
            "tables_key": tables_key,
        }
        # An earlier attempt may have counted rows that need no verification now.
        query = "count_nobody" if self.not_asked_because else "count"
        counted = self._connection.execute(_SQL[query], parameters).fetchone()
        if counted is None:
            raise FencedError("Another attempt has the upload now, or it was cancelled.")
        pending: int = counted["roll_pending"]
        return pending


def _is_asked() -> pl.Expr:
    """Is the row's person in the table of members after the merge, for this office?"""
    return pl.col("outcome").is_in(["inserted", "updated", "unchanged"])


def _taken(lines: pl.DataFrame) -> set[int]:
    """The rows of another office's members."""
    return set(lines.filter(pl.col("outcome") == "out_of_scope")["row_number"].to_list())


def results(connection: Connection[Row], upload: Row) -> pl.DataFrame:
    """What the roll says of each row of an upload; see ``RESULTS``."""
    query = sql.SQL(_SQL["results"]).format(upload_id=sql.Literal(upload["id"]))
    return pl.concat([pl.DataFrame(schema=RESULTS), *copy_out(connection, query, RESULTS)])
