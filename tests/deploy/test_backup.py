"""The backup of compose.yaml: a dump is kept only after it was restored, and the oldest ones go."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
import pytest

from rollbook.engines.postgres import programs
from tests.deploy.files import DEPLOY
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environment(database_url: str, tmp_path: Path) -> dict[str, str]:
    parts = urlsplit(database_url)
    return {
        "PATH": f"{programs()}:{os.environ['PATH']}",
        "PGHOST": unquote(parse_qs(parts.query)["host"][0]),
        "PGUSER": "rollbook",
        "PGDATABASE": parts.path.lstrip("/"),
        "BACKUP_FOLDER": str(tmp_path / "backup"),
        "BACKUP_KEEP": "2",
    }


def back_up(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", DEPLOY / "compose" / "backup.sh"],
        env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip


def databases(database_url: str) -> set[str]:
    with psycopg.connect(database_url) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_a_dump_is_restored_once_and_the_oldest_ones_go(
    environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()
    for name in ("20200101T000000Z.dump", "20200102T000000Z.dump", "notes.txt"):
        (folder / name).write_text("old", encoding="utf-8")
    before = databases(database_url)
    done = back_up(environment)
    assert done.returncode == 0, done.stderr
    assert "was restored to try it" in done.stdout
    assert databases(database_url) == before
    left = sorted(path.name for path in folder.iterdir())
    assert left[0] == "20200102T000000Z.dump"
    assert left[2] == "notes.txt"
    assert len(left) == 3
    assert (folder / left[1]).read_bytes().startswith(b"PGDMP")


def test_a_dump_that_cannot_be_restored_is_not_kept(
    environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    broken = tmp_path / "programs"
    broken.mkdir()
    (broken / "pg_dump").write_text(
        '#!/bin/sh\nfor last; do :; done\necho cut off > "${last#--file=}"\n',
        encoding="utf-8",
    )
    (broken / "pg_dump").chmod(0o755)
    environment["PATH"] = f"{broken}:{environment['PATH']}"
    before = databases(database_url)
    done = back_up(environment)
    assert done.returncode != 0
    assert list((tmp_path / "backup").iterdir()) == []
    assert databases(database_url) == before


#: Made-up people, who need no upload to be there.
MEMBERS = """
INSERT INTO members (id_number, firstname, surname, date_of_birth, created_by_upload,
                     changed_by_upload)
SELECT lpad(n::text, 13, '0'), 'A', 'Person', '2000-01-01', gen_random_uuid(), gen_random_uuid()
FROM generate_series(1, 3) AS n
"""


def test_what_comes_and_goes_meanwhile_makes_no_dump_wrong(
    environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    remove = "DELETE FROM members WHERE id_number LIKE '%1'"
    dump = [f'{programs()}/pg_dump "$@" || exit', f'psql --no-psqlrc --command "{remove}"']
    done = back_up_by(dump, environment, database_url, tmp_path)
    assert done.returncode == 0, done.stderr
    assert " 0 3." in done.stdout


def test_a_dump_that_lacks_a_row_is_not_kept(
    environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    dump = [f'{programs()}/pg_dump --exclude-table-data=members "$@"']
    done = back_up_by(dump, environment, database_url, tmp_path)
    assert done.returncode == 1
    assert "The dump was not kept" in done.stderr
    assert list((tmp_path / "backup").iterdir()) == []


def back_up_by(
    lines: list[str], environment: dict[str, str], database_url: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Back three members up, where ``pg_dump`` is a script of these lines."""
    with psycopg.connect(database_url) as connection:
        connection.execute(MEMBERS)
    programs = folder / "programs"
    programs.mkdir()
    (programs / "pg_dump").write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    (programs / "pg_dump").chmod(0o755)
    return back_up(environment | {"PATH": f"{programs}:{environment['PATH']}"})
