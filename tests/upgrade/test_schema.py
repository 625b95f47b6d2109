"""A release's database becomes this version's, and the release can go on working with it.

An upgrade without a pause (docs/how-to/upgrade.md) migrates first, while processes of the release
still run. Each release's schema is stored here as SQL, with some of its rows.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from psycopg import sql

from rollbook.backends import schema
from rollbook.backends.database import SCHEMA_REVISION
from rollbook.engines.postgres import programs
from tests.databases import named, own_database
from tests.upgrade.make import dumped
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.engines import Addresses

FOLDER = Path(__file__).parent
RELEASES = sorted(FOLDER.glob("*.sql"), key=lambda path: [int(n) for n in path.stem.split(".")])
MIGRATIONS = Path(schema.__file__).parent / "migrations" / "versions"
#: The rows of a table in a dump.
_ROWS = re.compile(
    r"^COPY (?:public\.)?(\w+) (\([^)]*\)) FROM stdin;\n(.*?)^\\\.$", re.MULTILINE | re.DOTALL
)
#: Each column: its type, and whether a row may be written without it.
_COLUMNS = """
    SELECT table_name || '.' || column_name, udt_name,
           is_nullable = 'YES' OR column_default IS NOT NULL OR is_identity = 'YES'
           OR is_generated = 'ALWAYS'
    FROM information_schema.columns WHERE table_schema = 'public'
"""
#: What the release can't live with, in a migration's way up.
FORBIDDEN = {
    "takes something away": r"\bDROP\s+(TABLE|COLUMN|VIEW|TYPE)\b",
    "gives something another name": r"\bRENAME\b",
    "needs a value that the release doesn't write": (
        r"\bSET\s+NOT\s+NULL\b|\bADD\s+COLUMN\s+(?:(?!DEFAULT|GENERATED)[^,;])*\bNOT\s+NULL\b"
        r"(?!\s+(DEFAULT|GENERATED))"
    ),
    "changes a type": r"\bALTER\s+(COLUMN\s+)?\w+\s+(SET\s+DATA\s+)?TYPE\b",
}


@pytest.fixture(scope="module", params=RELEASES, ids=lambda path: path.stem)
def release(request: pytest.FixtureRequest) -> Path:
    """The dump of a release."""
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def released(release: Path, engines: Addresses) -> Iterator[str]:
    """The release's database, which no test changes; its address."""
    with own_database(engines, "template0", "released") as address:
        subprocess.run(
            [
                programs() / "psql",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                f"--file={release}",
                address,
            ],
            check=True,
            timeout=PATIENCE_S,
            stdout=subprocess.DEVNULL,
        )
        yield address


@pytest.fixture(scope="module")
def upgraded(released: str, engines: Addresses) -> Iterator[str]:
    """A copy of the release's database, migrated to this version; its address."""
    assert released == named(engines, "released")
    with own_database(engines, "released", "upgraded") as address:
        assert schema.migrate(address) == SCHEMA_REVISION
        yield address


def rows_of(release: Path) -> dict[str, tuple[list[str], str]]:
    """The columns and rows that the release has written, by table."""
    found = _ROWS.findall(release.read_text(encoding="utf-8"))
    return {
        table: (re.findall(r"[\w]+", columns), rows)
        for table, columns, rows in found
        if table != "alembic_version"
    }


def test_there_is_a_release_to_upgrade_from() -> None:
    assert RELEASES
    assert rows_of(RELEASES[0])["members"][1].count("\n") == 4


def test_the_migrated_schema_is_that_of_a_new_installation(
    upgraded: str, database_url: str
) -> None:
    # Without the schema by which a test's database is emptied (tests/databases.py).
    options = ("--schema-only", "--exclude-schema=later")
    assert dumped(upgraded, *options) == dumped(database_url, *options)


def test_what_the_release_has_written_is_unchanged(release: Path, upgraded: str) -> None:
    with psycopg.connect(upgraded) as connection:
        for table, (columns, rows) in rows_of(release).items():
            statement = copying(table, columns, "TO STDOUT")
            with connection.cursor().copy(statement) as copy:
                now = "".join(bytes(part).decode() for part in copy)
            # Places get the register's spelling.
            before = rows.replace("\tJohannesburg\t", "\tCity of Johannesburg\t")
            assert sorted(now.splitlines()) == sorted(before.splitlines()), table


def test_the_release_can_write_what_it_writes(release: Path, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        # In which order the tables are filled is the release's business.
        connection.execute("SET session_replication_role = replica")
        for table, (columns, rows) in rows_of(release).items():
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            with connection.cursor().copy(copying(table, columns, "FROM STDIN")) as copy:
                copy.write(rows)


def copying(table: str, columns: list[str], where: LiteralString) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) ").format(sql.Identifier(table), names) + sql.SQL(where)


def test_every_column_of_the_release_is_there_and_no_new_one_needs_a_value(
    released: str, database_url: str
) -> None:
    before, now = columns_of(released), columns_of(database_url)
    assert {name: now[name][0] for name in before if name in now} == {
        name: kind for name, (kind, _) in before.items()
    }
    tables = {name.split(".")[0] for name in before}
    needed = {name for name, (_, is_optional) in now.items() if not is_optional}
    new = {name for name in needed - before.keys() if name.split(".")[0] in tables}
    assert not new


def columns_of(address: str) -> dict[str, tuple[str, bool]]:
    """The type of each column, and whether a row may leave it out."""
    with psycopg.connect(address) as connection:
        return {name: (kind, free) for name, kind, free in connection.execute(_COLUMNS.encode())}


def test_migrations_since_the_release_leave_it_what_it_needs(release: Path) -> None:
    [revision] = re.findall(
        r"^COPY public\.alembic_version .*\n(\d+)$", release.read_text(), re.MULTILINE
    )
    later = [path for path in sorted(MIGRATIONS.glob("*.py")) if path.stem[:4] > revision]
    for path in later:
        way_up = path.read_text().split("def downgrade")[0]
        for why, pattern in FORBIDDEN.items():
            found = [hit[0] for hit in re.finditer(pattern, way_up, re.IGNORECASE)]
            assert found == [], f"{path.name} {why}"


@pytest.mark.parametrize(
    ("statement", "is_forbidden"),
    [
        ("ALTER TABLE uploads ADD COLUMN origin text", False),
        ("ALTER TABLE uploads ADD COLUMN tries integer NOT NULL DEFAULT 0", False),
        ("CREATE TABLE new_ones (id uuid PRIMARY KEY, name text NOT NULL)", False),
        ("ALTER TABLE uploads ADD COLUMN tries integer NOT NULL", True),
        ("ALTER TABLE uploads DROP COLUMN tries", True),
        ("ALTER TABLE uploads RENAME COLUMN tries TO attempts", True),
        ("ALTER TABLE uploads ALTER COLUMN tries TYPE bigint", True),
        ("ALTER TABLE uploads ALTER COLUMN tries SET NOT NULL", True),
    ],
)
def test_the_rule_of_migrations_knows_what_it_forbids(statement: str, is_forbidden: bool) -> None:
    found = [why for why, pattern in FORBIDDEN.items() if re.search(pattern, statement)]
    assert bool(found) is is_forbidden, found
