"""The pipeline without queue, worker and child: record an upload, claim it and process it here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import fastexcel
from psycopg import sql
from pydantic import SecretStr

from rollbook.backends import files as keys
from rollbook.backends.database import connect, queries
from rollbook.backends.files import FileStore
from rollbook.config import Settings
from rollbook.errors import FileProblemError
from rollbook.model import EVERYWHERE, OUTCOMES, Scope
from rollbook.pipeline.read import BATCH_ROWS
from rollbook.pipeline.run import process
from rollbook.spreadsheets.kinds import kind_of
from rollbook.uploads import control, lookup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from uuid import UUID

    import polars as pl
    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.model import Progress, User
    from rollbook.service.system import System

_SQL = queries("uploads")
#: All that an upload leaves in the record; its owner stays.
_TABLES = "members, member_changes, undo_kept, upload_claims, upload_rows, uploads, column_mappings"


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome of an upload."""

    #: The row of the table ``uploads``.
    upload: Row
    #: The rows of the table ``upload_rows`` in the order of the file.
    rows: list[Row]
    report: Path
    #: None when no row was refused.
    refused: Path | None

    @property
    def outcomes(self) -> dict[str, int]:
        """The upload's own counts of rows."""
        return {name: self.upload[name] for name in OUTCOMES}

    @property
    def by_row(self) -> dict[int, str]:
        """The outcome of each row."""
        return {row["row_number"]: row["outcome"] for row in self.rows}

    def sheet(self, name: str) -> pl.DataFrame:
        """A sheet of the report as text, with its first row as headers."""
        book = fastexcel.read_excel(self.report)
        return book.load_sheet(name, dtypes="string").to_polars()


@dataclass(slots=True)
class Site:
    """A database, a file store and somebody who sends files."""

    connection: Connection[Row]
    store: FileStore
    folder: Path
    owner_id: UUID
    settings: Settings

    def send(
        self,
        content: bytes,
        name: str,
        *,
        scope: Scope = EVERYWHERE,
        batch_rows: int = BATCH_ROWS,
        report_progress: Callable[[Progress], None] = lambda _: None,
        accepts_passports: bool = False,
        settings: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> Done:
        """Record a file as its office's upload, claim it and take it through the pipeline.

        Args:
            content: of the file.
            name: of the file; its ending says which kind it is.
            scope: the office that sends it.
            batch_rows: how many rows go through together.
            report_progress: hears how far it is.
            accepts_passports: as the setting.
            settings: other ones of the installation.
            columns: of the table ``uploads``, such as ``dry_run``.

        Raises:
            FileProblemError: the file can't be processed.
        """
        upload_id = uuid4()
        identities = "za_id,passport" if accepts_passports else "za_id"
        kind = kind_of(name)
        source = self.folder / f"sent.{kind}"
        source.write_bytes(content)
        key = keys.source_key(upload_id, kind)
        self.store.put(key, source)
        self._record(
            id=upload_id, owner_id=self.owner_id, province=scope.province,
            municipality=scope.municipality, file_name=name, file_kind=kind,
            file_bytes=len(content), file_sha256=hashlib.sha256(content).hexdigest(), priority=1,
            source_key=key, **columns,
        )  # fmt: skip
        attempt = _claimed(self.connection, upload_id)
        try:
            process(
                self.connection,
                self.store,
                self.settings.model_copy(update={"identities": identities, **(settings or {})}),
                upload_id=upload_id,
                attempt=attempt,
                report_progress=report_progress,
                batch_rows=batch_rows,
            )
        finally:
            # As a connection that is closed would: nothing half done is left to the next upload.
            self.connection.rollback()
        upload = self._one(self.connection.execute(_SQL["by_id"], {"id": upload_id}).fetchone())
        rows = self.connection.execute(
            "SELECT * FROM upload_rows WHERE upload_id = %s ORDER BY row_number", (upload_id,)
        ).fetchall()
        self.connection.commit()
        report = self._fetched(upload["report_key"])
        assert report is not None
        return Done(upload, rows, report, self._fetched(upload["refused_key"]))

    def members(self) -> dict[str, Row]:
        """Every member by ID number, with all columns."""
        found = self.connection.execute("SELECT * FROM members ORDER BY id_number").fetchall()
        self.connection.commit()
        return {row["id_number"]: row for row in found}

    def clean(self) -> None:
        """Forget all uploads and members."""
        self.connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(_TABLES)))
        self.connection.commit()

    def kept(self) -> Callable[[], None]:
        """Keep the record's rows as they are now; what is returned brings them back.

        A test of many orders or cases gets the same record for each, in 10 ms.
        """
        # Entries of the audit trail stay: nobody may delete them.
        found = self.connection.execute(
            "SELECT relname AS name, 'kept_' || relname AS copy FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace AND relname !~ '^audit_'"
        ).fetchall()
        tables = [{key: sql.Identifier(name) for key, name in row.items()} for row in found]
        for table in tables:
            copying = sql.SQL("CREATE TEMP TABLE {copy} AS TABLE {name}")
            self.connection.execute(copying.format(**table))
        self.connection.commit()

        def bring_back() -> None:
            again = sql.SQL("INSERT INTO {name} OVERRIDING SYSTEM VALUE TABLE {copy}")
            with self.connection.transaction():
                self.connection.execute("SET LOCAL session_replication_role = replica")
                for table in tables:
                    self.connection.execute(sql.SQL("DELETE FROM {name}").format(**table))
                    self.connection.execute(again.format(**table))

        return bring_back

    def _record(self, **columns: Any) -> None:
        statement = sql.SQL("INSERT INTO uploads ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(sql.Placeholder, columns)),
        )
        self.connection.execute(statement, columns)
        self.connection.commit()

    def _fetched(self, key: str | None) -> Path | None:
        if key is None:
            return None
        path = self.folder / key.replace("/", "-")
        self.store.fetch(key, path)
        return path

    @staticmethod
    def _one(row: Row | None) -> Row:
        assert row is not None
        return row


async def finished(system: System, user: User, upload_id: UUID) -> Row:
    """Take an upload that waits through the pipeline in this process, as a worker would elsewhere.

    Where the queue, the worker and its child aren't the subject, this takes half of their time.

    Returns:
        The upload, which has completed or failed.
    """
    await asyncio.to_thread(_processed, system, upload_id)
    await system.queue.remove(upload_id)
    upload = await lookup.get(system, user, upload_id)
    if upload["status"] == "completed" and not upload["dry_run"]:
        await control.forget_source(system, upload)
    return await lookup.get(system, user, upload_id)


def _processed(system: System, upload_id: UUID) -> None:
    with connect(system.settings.database_address) as connection:
        attempt = _claimed(connection, upload_id)
        try:
            process(
                connection,
                system.store,
                system.settings,
                upload_id=upload_id,
                attempt=attempt,
                report_progress=lambda _: None,
            )
        except FileProblemError as error:
            connection.rollback()
            ended = {"id": upload_id, "attempt": attempt, "uncounted": 0}
            said = {"error_code": error.code, "error": error.message}
            connection.execute(_SQL["fail"], {**ended, **said})


def _claimed(connection: Connection[Row], upload_id: UUID) -> int:
    """Claim an upload for an attempt; returns the attempt's number."""
    claim = {"id": upload_id, "worker": "tests"}
    claimed = connection.execute(_SQL["claim"], claim).fetchone()
    connection.commit()
    assert claimed is not None
    attempt: int = claimed["attempt"]
    return attempt


@contextlib.contextmanager
def open_site(database_url: str, folder: Path, settings: Settings | None = None) -> Iterator[Site]:
    """A site on an empty database, with a user of the national office."""
    key = SecretStr("another-key-that-only-the-tests-know")
    settings = settings or Settings(_env_file=None, secret_key=key)
    owner_id = uuid4()
    store = FileStore((folder / "store").as_uri())
    with contextlib.closing(connect(database_url)) as connection:
        connection.execute(
            "INSERT INTO users (id, email, role, password_hash)"
            " VALUES (%s, 'office@example.org', 'super_admin', 'none')",
            (owner_id,),
        )
        connection.commit()
        yield Site(connection, store, folder, owner_id, settings)
