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
        '#!/bin/sh\necho cut off > "${2#--file=}"\n',
        encoding="utf-8",
    )
    (broken / "pg_dump").chmod(0o755)
    environment["PATH"] = f"{broken}:{environment['PATH']}"
    before = databases(database_url)
    done = back_up(environment)
    assert done.returncode != 0
    assert list((tmp_path / "backup").iterdir()) == []
    assert databases(database_url) == before
