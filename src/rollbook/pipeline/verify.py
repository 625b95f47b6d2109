"""Verify: what the voter roll says of the rows, as far as that is known, and who is to be asked.

Nobody is asked about here: that takes as long as the roll's budget wants it to (``voter_roll``).
Rows whose answer is known get it at once, the others are ``pending`` and are merged all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from psycopg import sql

from rollbook.database import queries
from rollbook.errors import FencedError, VoterRollPendingError
from rollbook.pipeline.match import COPY_ROWS, copy_out

if TYPE_CHECKING:
    from psycopg import Connection

    from rollbook.database import Row

#: What ``results`` joins to the rows; null for rows that aren't to be verified.
RESULTS = {
    "row_number": pl.UInt32,
    "roll_result": pl.String,
    "roll_ward": pl.String,
    "roll_voting_district": pl.String,
}

_SQL = queries("verifications")


class Verification:
    """The verification of one attempt's rows.

    Args:
        connection: of the attempt.
        upload: the row of the table ``uploads``.
        cache_days: for how many days an answer is good; None when the roll isn't to be asked.
    """

    def __init__(self, connection: Connection[Row], upload: Row, *, cache_days: int | None) -> None:
        self._connection = connection
        self._upload = upload
        self._cache_days = cache_days
        self._is_prepared = False
        #: Why nobody is asked about; None when everybody is.
        self.not_asked_because: str | None = None
        if cache_days is None:
            self.not_asked_because = "verification is switched off"
        elif upload["dry_run"]:
            self.not_asked_because = "a dry run asks about nobody"

    def wait_for_answers(self, rows: pl.DataFrame) -> None:
        """Let an upload that is to be verified before its merge go on only with all answers.

        Args:
            rows: validated rows.

        Raises:
            VoterRollPendingError: somebody is still to be asked about, which is in the record now.
            FencedError: the upload is no longer this attempt's; nothing was written.
        """
        if self.not_asked_because or self._upload["verify"] != "before_merge":
            return
        with self._connection.transaction():
            self.prepare(rows)
            self._connection.execute(_SQL["ask"], {"id": self._upload["id"]})
            pending = self.count(tables_key=None)
        if pending:
            raise VoterRollPendingError(f"{pending} rows wait for an answer of the voter roll.")

    def prepare(self, rows: pl.DataFrame) -> None:
        """Note which rows are to be verified, each with its answer where there is a good one.

        Args:
            rows: validated rows.
        """
        if self.not_asked_because or self._is_prepared:
            return
        mergeable = rows.filter((pl.col("verdict") == "valid") & ~pl.col("elsewhere"))
        parameters = {"id": self._upload["id"], "cache_days": self._cache_days}
        with self._connection.cursor() as cursor:
            cursor.execute(_SQL["stage"])
            with cursor.copy(_SQL["fill"]) as copy:
                wanted = mergeable.select("row_number", "id_number", "ward")
                for piece in wanted.iter_slices(COPY_ROWS):
                    copy.write(piece.write_csv(include_header=False))
            cursor.execute(_SQL["analyze"])
            cursor.execute(_SQL["prepare"], parameters)
            cursor.execute(_SQL["forget_others"], parameters)
        self._is_prepared = True

    def settle(self, rows: pl.DataFrame, *, is_refused: bool) -> pl.DataFrame:
        """Pass the answers on to the members, and let the others be asked about.

        Args:
            rows: one per row of the file, with ``outcome``, after the merge.
            is_refused: the merge was taken back, so nobody is to be asked about after all.

        Returns:
            The rows with the columns of ``RESULTS``.
        """
        if is_refused and self.not_asked_because is None:
            self.not_asked_because = "nothing was merged"
        taken = rows.filter(pl.col("outcome") == "out_of_scope")["row_number"].to_list()
        parameters = {"id": self._upload["id"], "rows": taken}
        if self.not_asked_because:
            # An earlier attempt may have left some that were to be.
            self._connection.execute(_SQL["forget"], parameters)
        else:
            self._connection.execute(_SQL["forget_rows"], parameters)
            self._connection.execute(_SQL["tell_members"], parameters)
            self._connection.execute(_SQL["ask"], parameters)
        found = results(self._connection, self._upload)
        return rows.join(found, on="row_number", how="left", maintain_order="left")

    def count(self, *, tables_key: str | None) -> int:
        """Write the upload's counts by result; how many rows are pending.

        From here to the end of the transaction the upload's row is locked, its heartbeat with it.

        Args:
            tables_key: where the store has what the report is written from again.

        Raises:
            FencedError: the upload is no longer this attempt's.
        """
        if self.not_asked_because:
            return 0
        parameters = {
            "id": self._upload["id"],
            "attempt": self._upload["attempt"],
            "tables_key": tables_key,
        }
        counted = self._connection.execute(_SQL["count"], parameters).fetchone()
        if counted is None:
            raise FencedError("Another attempt has the upload now, or it was cancelled.")
        pending: int = counted["roll_pending"]
        return pending


def results(connection: Connection[Row], upload: Row) -> pl.DataFrame:
    """What the roll says of each row of an upload; see ``RESULTS``."""
    query = sql.SQL(_SQL["results"]).format(upload_id=sql.Literal(upload["id"]))
    return copy_out(connection, query, RESULTS)
