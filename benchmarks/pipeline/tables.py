"""The tables in PostgreSQL: ``members`` for Rollbook, ``plain_members`` for all others.

``plain_members`` has the same columns and primary key without our provenance and before-values, so
the peers have less to write. Both are filled anew before each trial.
"""
# ruff: noqa: S608 - the names in the statements are our own

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

import psycopg

from rollbook.pipeline.match import MEMBER_COLUMNS

if TYPE_CHECKING:
    from benchmarks.pipeline.files import File

_COLUMNS: LiteralString = ", ".join(MEMBER_COLUMNS)

#: Members in the table that has others than those of the file.
MANY: LiteralString = "1000000"


class Tables:
    """Fills the tables to what a trial begins with."""

    def __init__(self, database_url: str) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True)

    def __enter__(self) -> Tables:
        self._run(
            f"""
            CREATE TABLE plain_members AS SELECT {_COLUMNS} FROM members WITH NO DATA;
            ALTER TABLE plain_members ADD PRIMARY KEY (id_number);
            CREATE UNLOGGED TABLE before AS SELECT {_COLUMNS} FROM members WITH NO DATA;
            CREATE UNLOGGED TABLE before_many AS SELECT {_COLUMNS} FROM members WITH NO DATA
            """
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def expect(self, *files: File) -> None:
        """Take the files' existing people for those whom the table is to have."""
        self._run("TRUNCATE before, before_many")
        names: LiteralString = f"COPY before ({_COLUMNS}) FROM STDIN (FORMAT csv)"
        with self._connection.cursor() as cursor, cursor.copy(names) as copy:
            for file in files:
                copy.write(file.existing.write_csv(include_header=False))

    def add_others(self) -> None:
        """Have others beside them, a million members in all, in no order (fewer for a small file).

        Their numbers lie all through the index. Digit 11 of an ID number is a citizenship from 0
        to 2, so a 5 makes them nobody's.
        """
        self._run(
            f"""
            INSERT INTO before_many SELECT {_COLUMNS} FROM before;
            INSERT INTO before_many
            SELECT left(id_number, 10) || '5' || lpad(copy::text, 2, '0'),
                   {", ".join(MEMBER_COLUMNS[1:])}
            FROM before,
                 generate_series(0, LEAST(99, {MANY} / (SELECT count(*) FROM before))) AS copy
            ORDER BY md5(id_number || copy) LIMIT {MANY} - (SELECT count(*) FROM before)
            """
        )

    def fill(self, table: LiteralString, *, many: bool) -> None:
        """Empty a table and fill it with what it has before a trial."""
        source: LiteralString = "before_many" if many else "before"
        if table == "members":
            more: LiteralString = ", gen_random_uuid(), gen_random_uuid()"
            names: LiteralString = f"{_COLUMNS}, created_by_upload, changed_by_upload"
            self._run("TRUNCATE members, member_changes, upload_rows")
        else:
            more, names = "", _COLUMNS
            self._run(f"TRUNCATE {table}")
        self._run(f"INSERT INTO {table} ({names}) SELECT {_COLUMNS}{more} FROM {source}")
        self.settle(table)

    def empty(self) -> None:
        """Have no members."""
        self._run("TRUNCATE members, member_changes, upload_rows")
        self.settle("members")

    def settle(self, table: LiteralString) -> None:
        """Let nothing of what was done before be left to do during the trial."""
        self._run(f"VACUUM (ANALYZE) {table}")
        self._run("CHECKPOINT")

    def without_existing(self, file: File) -> None:
        """Take a file's people out of ``plain_members``, so that they can be copied in."""
        self._run('CREATE TEMPORARY TABLE gone (id_number text COLLATE "C")')
        with self._connection.cursor() as cursor, cursor.copy("COPY gone FROM STDIN") as copy:
            copy.write("\n".join([*file.people["id_number"], ""]))
        self._run("DELETE FROM plain_members AS m USING gone WHERE gone.id_number = m.id_number")
        self._run("DROP TABLE gone")
        self.settle("plain_members")

    def count(self, table: LiteralString) -> int:
        """How many members there are."""
        [row] = self._connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        return int(row[0])

    def _run(self, statements: LiteralString) -> None:
        self._connection.execute(statements)
