"""One attempt at a file, stage by stage, inside the child process.

The first three stages alternate, batch by batch, and write every batch to PostgreSQL and to local
disk; the others work on the file as a whole. Everything happens in one transaction, whose last
statement sets the upload's final state. The report is in the store before the merge is committed,
so a completed upload has its report, and an attempt that ends before the commit changes nothing.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Json, Jsonb

from rollbook import clock, fields
from rollbook.accounts import audit, tokens
from rollbook.backends import files as keys
from rollbook.backends.database import queries
from rollbook.errors import (
    AttemptError,
    FencedError,
    RowsRefusedError,
    SourceDamagedError,
    VoterRollPendingError,
)
from rollbook.languages import asked_for, phrase, speak, speaking
from rollbook.model import REFUSED, Progress, Scope
from rollbook.notifications import outbox
from rollbook.pipeline import removal, renewals, report, summary
from rollbook.pipeline.aliases import aliases_of
from rollbook.pipeline.aliases import remember as remember_aliases
from rollbook.pipeline.doubts import add_doubts
from rollbook.pipeline.emptied import count_emptied, fields_of
from rollbook.pipeline.erased import Erased
from rollbook.pipeline.fixable import TAKEN, Grid, keep_cells
from rollbook.pipeline.match import People, match, staging
from rollbook.pipeline.merge import count, foreseen, keep_rows, merge, outcomes, renew_changes
from rollbook.pipeline.merge_rule import merge_rule
from rollbook.pipeline.prefetch import prefetch
from rollbook.pipeline.read import BATCH_ROWS, ROW_NUMBER, Wanted, read
from rollbook.pipeline.spill import Spill
from rollbook.pipeline.staged import Staged
from rollbook.pipeline.stages import Stages
from rollbook.pipeline.tally import Tally, tally
from rollbook.pipeline.verify import Verification
from rollbook.spreadsheets.inspect.archive import Limits

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from uuid import UUID

    import polars as pl
    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.backends.files import FileStore
    from rollbook.config import Settings
    from rollbook.pipeline.dates import Orders
    from rollbook.pipeline.read import Sheet

_SQL, _MAPPINGS, _CLOCK = queries("uploads"), queries("mappings"), queries("clock")
_MEMBERS, _FIXES, _REMOVAL = queries("members"), queries("fixes"), queries("removal")


def process(
    connection: Connection[Row],
    store: FileStore,
    settings: Settings,
    *,
    upload_id: UUID,
    attempt: int,
    report_progress: Callable[[Progress], None],
    report_stages: Callable[[Stages], None] = lambda _: None,
    batch_rows: int = BATCH_ROWS,
) -> dict[str, Any]:
    """Process the upload's file in all stages and commit the result.

    Only this attempt uses the connection; ``attempt`` is its fence. Each stage's duration is
    reported at the end, also after an error.

    Returns:
        ``rows_total`` and the counts by outcome.

    Raises:
        FencedError: the upload is no longer this attempt's; nothing was written.
        FileProblemError: the file can't be processed; nothing was merged.
        VoterRollPendingError: the upload waits for the voter roll before it merges anything.
    """
    upload = _upload(connection, upload_id, attempt)
    with (
        speaking(upload["language"]),
        Stages(report_progress, file_bytes=upload["file_bytes"]) as stages,
        tempfile.TemporaryDirectory(prefix="rollbook-") as name,
    ):
        attempt_ = _Attempt(connection, store, settings, upload, stages, Path(name))
        try:
            with fields.using(removal.own_fields_for(upload)):
                return attempt_.run(batch_rows)
        finally:
            stages.end()
            report_stages(stages)


class _Attempt:
    """The parts that the stages of one attempt share."""

    def __init__(
        self,
        connection: Connection[Row],
        store: FileStore,
        settings: Settings,
        upload: Row,
        stages: Stages,
        folder: Path,
    ) -> None:
        self._connection, self._store, self._settings = connection, store, settings
        self._upload, self._stages, self._folder = upload, stages, folder
        cache_days = settings.voter_roll_cache_days if settings.asks_voter_roll else None
        self._verification = Verification(connection, upload, cache_days=cache_days)
        self._erased = Erased.read(connection, tokens.erasure_keys(settings))
        self._is_removal = upload["kind"] == removal.KIND
        #: See ``renewals.count``.
        self._renewals: dict[str, int] | None = None
        self._scope = Scope(upload["province"], upload["municipality"])
        self._aliases = aliases_of(connection, self._scope)
        #: Of the upload whose rows this one fixes.
        self._grid = Grid.of(upload["grid"]) if upload["mends"] else None

    def run(self, batch_rows: int) -> dict[str, Any]:
        stages, connection, upload = self._stages, self._connection, self._upload
        stages.begin("read")
        source = self._folder / f"source.{upload['file_kind']}"
        if self._store.fetch(upload["source_key"], source) != upload["file_sha256"]:
            raise SourceDamagedError(
                f"The file store gave {source.stat().st_size} bytes that are not the "
                f"{upload['file_bytes']} bytes that were received, so nothing was merged. Send the "
                "file again as a new upload if this persists, and inform the operator: files in "
                "the store may be damaged."
            )
        mappings = remembered(connection, self._scope)
        wanted = Wanted(
            upload["sheet"],
            upload["columns"],
            mappings,
            self._settings.accepts_passports,
            self._is_removal,
            file_name=upload["file_name"],
            office=self._scope,
        )
        if self._grid is not None:
            wanted = self._grid.wanted(accepts_passports=self._settings.accepts_passports)
        with connection.transaction():
            batches = read(
                source,
                upload["file_kind"],
                wanted,
                batch_rows=batch_rows,
                limits=Limits.of(self._settings),
                needs_names=not self._is_removal,
            )
            if self._grid is not None:
                batches = self._grid.applied(batches)
            done = self._take_in(batches)
        if done is None:
            raise VoterRollPendingError("Rows wait for an answer of the voter roll.")
        counts, is_refused = done
        total = sum(counts.values())
        if is_refused:
            refused = sum(counts[name] for name in REFUSED)
            raise RowsRefusedError(phrase("refusal.rows_refused", refused=refused, n=total))
        return {"rows_total": total, "outcomes": counts}

    def _take_in(self, batches: Iterator[Sheet]) -> tuple[dict[str, int], bool] | None:
        """Everything that is one transaction.

        Returns:
            The counts by outcome, and whether all rows or none were asked for and it is none. None
            when the upload waits for the voter roll: only the questions to it were written.
        """
        stages, connection, upload = self._stages, self._connection, self._upload
        table, ledger, staged = self._stage(batches)
        emptied, has_documents = fields_of(staged.emptied), staged.documents > 0
        total = ledger.height
        stages.begin("match", rows_total=total)
        if self._is_removal:
            removal.check_size(total, self._settings.removal_most)
            rule = removal.rule(self._scope, upload)
            header = table.last.columns.header("id_number")
            ledger = removal.refuse_unknown(connection, ledger, table.spill, header)
        else:
            rule = merge_rule(
                self._scope,
                upload["existing"],
                upload["id"],
                emptied,
                has_documents=has_documents,
                has_own=staged.has_own,
            )
            if self._settings.deceased == "refuse":
                header = table.last.columns.header("id_number")
                ledger = renewals.refuse_deceased(connection, ledger, table.spill, header)
        if has_documents:
            self._check_keys()
        if emptied:
            connection.execute(sql.SQL(_MEMBERS["note_emptied"]).format(**rule))
        columns, day = table.last.columns, today(connection)
        rule = {**rule, "dates": renewals.flags(columns, rule, day)}
        people = People(ledger)
        existing = (_REMOVAL if self._is_removal else _MEMBERS)["existing"]
        ledger, known = match(connection, ledger, people, rule, table.spill, existing=existing)
        merged = known.filter(~known[ROW_NUMBER].is_in(_repeats(ledger).implode()))
        if not self._is_removal:
            self._renewals = renewals.count(connection, columns, rule, day, merged)
        add_doubts(table.spill, table.last.columns, takes_file=upload["existing"] == "update")
        stages.begin("verify", rows_total=total)
        said = outcomes(ledger, foreseen(ledger, known))
        if not self._verification.prepare(said, is_refused=self._is_refused(said)):
            return None
        stages.begin("merge", rows_total=total)
        is_refused, files, lines, counted, lost, grid = self._merge_and_report(
            table, ledger, people, rule, said, merged
        )
        stored = _stored(self._store, upload, files, keeps_tables=not is_refused)
        stages.end()
        # A dry run is an experiment, and a refused file may be refused for its mapping.
        if not (upload["dry_run"] or is_refused):
            _remember(connection, upload, table.last.fingerprint)
        counts = count(lines)
        final = {
            "id": upload["id"],
            "attempt": upload["attempt"],
            "rows_total": total,
            **counts,
            "stage_seconds": Json(stages.seconds),
            "reading": Jsonb(table.last.reading.as_json()),
            "rows_with_warnings": counted.rows_with_warnings,
            "rows_needing_attention": counted.rows_needing_attention,
            "warnings": Jsonb(counted.warnings),
            "emptied": Jsonb(lost),
            "grid": Jsonb(grid),
            "renewals": None if self._renewals is None else Jsonb(self._renewals),
            **stored,
        }
        last_write = "note_report" if is_refused else "complete"
        if connection.execute(_SQL[last_write], final).rowcount != 1:
            _discard(self._store, stored.values())
            raise FencedError("Another attempt has the upload now, or it was cancelled.")
        if not is_refused:
            connection.execute(*audit.of_attempt("end", upload))
            channels = self._settings.notification_channels
            connection.execute(*outbox.entry(upload["id"], "completed", channels))
        self._verification.count(tables_key=stored["tables_key"])
        return counts, is_refused

    def _check_keys(self) -> None:
        """Check that no two documents have one key: it is a hash of 63 bits.

        Raises:
            AttemptError: two of them have.
        """
        found = self._connection.execute(_MEMBERS["same_key"]).fetchone()
        if found is not None and found["keys"]:
            raise AttemptError(
                "Two different passports have the same key, so nothing of the file was merged. "
                "Please report it: it was expected never to happen."
            )

    def _stage(self, batches: Iterator[Sheet]) -> tuple[_Table, pl.DataFrame, Staged]:
        """Take every batch through ``read``, ``normalise`` and ``validate`` and stage its rows.

        Returns:
            What is known of the file, its ledger (see ``match.LEDGER``), and what staging its rows
            has found.

        Raises:
            ShortenedNumbersError: most of its ID numbers are.
        """
        stages = self._stages
        spill = Spill(self._folder)
        staged = Staged(
            self._upload,
            self._settings,
            today(self._connection),
            erased=self._erased,
            aliases=self._aliases,
            orders=None if self._grid is None else self._grid.orders,
        )
        with staging(self._connection) as stage:
            for sheet in prefetch(batches):
                stages.note_rows(sheet.frame.height, expected=sheet.rows_expected)
                stages.begin("normalise")
                normalised = staged.normalise(sheet)
                stages.begin("validate")
                validated = staged.validate(normalised, sheet)
                stage(validated.rows)
                spill.add(sheet.frame, validated.problems)
                stages.begin("read")
        stages.begin("normalise")
        staged.read_again(self._connection, spill)
        staged.check_numbers()
        notes = (*sheet.reading.notes, *staged.notes())
        sheet = replace(sheet, reading=replace(sheet.reading, notes=notes))
        return _Table(sheet, spill, staged.orders), staged.ledger(), staged

    def _merge_and_report(
        self,
        table: _Table,
        ledger: pl.DataFrame,
        people: People,
        rule: Mapping[str, sql.Composable],
        said: pl.DataFrame,
        known: pl.DataFrame,
    ) -> tuple[bool, report.Files, pl.DataFrame, Tally, dict[str, int], dict[str, Any] | None]:
        """Merge, and write the report beside it from what the merge is foreseen to do: ``said``.

        PostgreSQL merges while this process writes the report, so they run in parallel. If another
        merge comes in between, the expected outcomes are wrong, and the report is written again.

        Returns:
            Whether all rows or none were asked for and it is none, the files, the ledger with the
            outcomes, how many rows have which problem, how many members lose which field, and the
            grid of the rows that can be fixed.
        """
        connection, upload, stages = self._connection, self._upload, self._stages
        with (
            ThreadPoolExecutor(
                1, thread_name_prefix="report", initializer=speak, initargs=(asked_for(),)
            ) as beside,
            self._report_writer(table) as writer,
        ):
            writing = beside.submit(self._write_rows, writer, table, said)
            connection.execute("SAVEPOINT unmerged")
            answers = self._merge(ledger, people, rule)
            lines = outcomes(ledger, answers)
            is_refused = self._is_refused(lines)
            is_renewed = renew_changes(
                connection, rule, upload_id=upload["id"], known=known, spill=table.spill
            )
            if upload["dry_run"] or is_refused:
                connection.execute("ROLLBACK TO SAVEPOINT unmerged")
            stages.begin("report", rows_total=ledger.height)
            if not is_refused:
                spilled = table.spill.batches("problems", "existing", beside=lines)
                keep_rows(connection, spilled, upload_id=upload["id"])
            grid = None if is_refused else self._keep_fixable(table, lines)
            self._verification.settle(lines, is_refused=is_refused)
            counted = tally(table.spill.batches("problems", beside=lines))
            lost = self._emptied(table, lines)
            writing.result()
            facts = summary.Facts(
                upload,
                table.last.sheet_name,
                count(lines),
                counted,
                stages.seconds,
                clock.now(),
                is_refused=is_refused,
                roll=self._verification.counts(lines, is_refused=is_refused),
                not_asked_because=self._verification.not_asked_because,
                reading=table.last.reading,
                emptied=lost,
                time_zone=self._settings.time_zone,
                renewals=self._renewals,
            )
            if lines.equals(said) and not is_renewed:
                return is_refused, writer.finish(facts), lines, counted, lost, grid
        with self._report_writer(table) as writer:
            self._write_rows(writer, table, lines)
            return is_refused, writer.finish(facts), lines, counted, lost, grid

    def _keep_fixable(self, table: _Table, lines: pl.DataFrame) -> dict[str, Any]:
        """Store the cells of the rows that can be fixed, and which rows this upload has fixed.

        Returns:
            The grid to be stored.
        """
        connection, upload, spill = self._connection, self._upload, table.spill
        grid = Grid.of_file(table.last, table.orders)
        counted = count(lines)
        rows, left_out = keep_cells(
            connection,
            spill.batches("rows", "problems", beside=lines),
            upload_id=upload["id"],
            headers=grid.headers,
            most=self._settings.fixable_rows,
            refused=sum(counted[name] for name in REFUSED),
        )
        if upload["mends"]:
            connection.execute(_FIXES["note_fixed"], {"upload_id": upload["id"], "taken": TAKEN})
        return grid.as_json(rows=rows, left_out=left_out)

    def _merge(
        self, ledger: pl.DataFrame, people: People, rule: Mapping[str, sql.Composable]
    ) -> pl.Series:
        """What becomes of each row's person; see ``merge``."""
        connection, upload, rows = self._connection, self._upload, ledger.height
        if self._is_removal:
            removes = upload["new_status"] is None
            return removal.carry_out(connection, rule, removes=removes, rows=rows, people=people)
        existing = upload["existing"]
        return merge(
            connection, rule, scope=self._scope, existing=existing, rows=rows, people=people
        )

    def _emptied(self, table: _Table, lines: pl.DataFrame) -> dict[str, int]:
        """How many members lose which field on purpose."""
        if self._upload["empty_text"] is None:
            return {}
        return count_emptied(table.spill.batches("existing", beside=lines))

    def _is_refused(self, lines: pl.DataFrame) -> bool:
        """Were all rows or none asked for, and is it none?"""
        counted = count(lines)
        return self._upload["all_or_nothing"] and any(counted[n] for n in REFUSED)

    def _report_writer(self, table: _Table) -> report.ReportWriter:
        return report.ReportWriter(
            self._folder,
            upload=self._upload,
            headers=table.last.frame.columns[1:],
            created=clock.now(),
            keeps_tables=self._verification.leaves_pending,
            asks_about_repeats=any(
                frame["code"].is_in(report.UNDECIDED).any()
                for (frame,) in table.spill.batches("problems")
            ),
        )

    def _write_rows(self, writer: report.ReportWriter, table: _Table, lines: pl.DataFrame) -> None:
        """Give every batch to the report, with what became of its rows."""
        is_refused = self._is_refused(lines)
        spilled = table.spill.batches("rows", "existing", "problems", beside=lines)
        for some, rows, existing, problems in spilled:
            known = some.join(existing, on=ROW_NUMBER, how="left", maintain_order="left")
            verified = self._verification.of_rows(known, is_refused=is_refused)
            writer.add(rows, verified, problems)


def _repeats(ledger: pl.DataFrame) -> pl.Series:
    """The numbers of the rows that repeat another."""
    return ledger.filter(ledger["duplicate_of"].is_not_null())[ROW_NUMBER]


@dataclass(frozen=True, slots=True)
class _Table:
    """The facts about the file that are known once all its batches were read and staged."""

    #: The last batch, which has all columns.
    last: Sheet
    spill: Spill
    #: Of its dates.
    orders: Orders


def today(connection: Connection[Row]) -> dt.date:
    """The day by PostgreSQL's clock: what is in the future must not depend on a worker's."""
    row = connection.execute(_CLOCK["today"]).fetchone()
    assert row is not None
    day: dt.date = row["today"]
    return day


def _stored(
    store: FileStore, upload: Row, files: report.Files, *, keeps_tables: bool
) -> dict[str, str | None]:
    """Put the workbooks, and the tables of the report, into the store; returns their keys."""
    found: dict[str, str | None] = {}
    for name, path, key_of in (
        ("report_key", files.report, keys.report_key),
        ("refused_key", files.refused, keys.refused_key),
        ("tables_key", files.tables if keeps_tables else None, keys.report_tables_key),
    ):
        found[name] = None
        if path is not None:
            found[name] = key = key_of(upload["id"], upload["attempt"])
            store.put(key, path)
    return found


def _discard(store: FileStore, written: Iterable[str | None]) -> None:
    """Remove what a fenced attempt has stored: no record will ever name it."""
    for key in filter(None, written):
        store.discard(key)


def remembered(connection: Connection[Row], scope: Scope) -> dict[str, Mapping[str, str | None]]:
    """This office's column mappings from earlier files, by the fingerprint of the headers."""
    office = {"province": scope.province, "municipality": scope.municipality}
    found = connection.execute(_MAPPINGS["remembered"], office).fetchall()
    connection.commit()
    return {row["fingerprint"]: row["columns"] for row in found}


def _remember(connection: Connection[Row], upload: Row, fingerprint: str) -> None:
    """Keep for the office's next files what the sender has said of this one."""
    if upload["mends"]:
        remember_aliases(connection, upload)
    if not upload["columns"]:
        return
    connection.execute(
        _MAPPINGS["remember"],
        {
            "province": upload["province"],
            "municipality": upload["municipality"],
            "fingerprint": fingerprint,
            "columns": Json(upload["columns"]),
            "upload_id": upload["id"],
        },
    )


def _upload(connection: Connection[Row], upload_id: UUID, attempt: int) -> Row:
    upload = connection.execute(_SQL["by_id_and_owner"], {"id": upload_id}).fetchone()
    connection.commit()
    if upload is None or upload["attempt"] != attempt or upload["status"] != "processing":
        raise FencedError("Another attempt has the upload now, or it was cancelled.")
    return upload
