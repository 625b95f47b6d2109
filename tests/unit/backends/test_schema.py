"""The migrations are one line of numbers, and the code needs the newest one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from rollbook.backends import schema
from rollbook.backends.database import SCHEMA_REVISION

VERSIONS = Path(schema.__file__).parent / "migrations" / "versions"
_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
_BEFORE = re.compile(r'^down_revision = (?:"(\w+)"|None)$', re.MULTILINE)


def test_the_code_needs_the_newest_migration() -> None:
    newest = ScriptDirectory.from_config(schema._config()).get_current_head()
    assert newest == SCHEMA_REVISION


def test_the_migrations_are_numbered_without_gap_or_duplicate() -> None:
    assert faults(VERSIONS) == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"0001_a.py": ("0001", None), "0002_b.py": ("0002", "0001")}, []),
        (
            {"0001_a.py": ("0001", None), "0003_b.py": ("0003", "0001")},
            ["0003_b.py: expected number 0002"],
        ),
        (
            {
                "0001_a.py": ("0001", None),
                "0002_b.py": ("0002", "0001"),
                "0002_c.py": ("0002", "0001"),
            },
            [
                "0002_c.py: expected number 0003",
                "0002_c.py: its down_revision is 0001, and 0002 is before it",
            ],
        ),
        (
            {"0001_a.py": ("0001", None), "0002_b.py": ("0003", "0001")},
            ["0002_b.py: its revision is 0003"],
        ),
        ({"0001_a.py": ("0001", None), "b.py": ("0002", "0001")}, ["b.py: no number in its name"]),
    ],
    ids=["in order", "a gap", "a number twice", "another revision", "no number"],
)
def test_a_fault_in_the_numbers_is_named(
    tmp_path: Path, files: dict[str, tuple[str, str | None]], found: list[str]
) -> None:
    for name, (revision, before) in files.items():
        quoted = f'"{before}"' if before else "None"
        (tmp_path / name).write_text(f'revision = "{revision}"\ndown_revision = {quoted}\n')
    assert faults(tmp_path) == found


def faults(folder: Path) -> list[str]:
    """What is wrong with the numbers of the migrations in a folder; read without running them.

    Two branches that each add the next number merge without a conflict in git, since their files
    have different names. Alembic then has two heads, or finds a revision twice.
    """
    found = []
    before: str | None = None
    for number, file in enumerate(sorted(folder.glob("*.py")), start=1):
        named = re.match(r"(\d{4})_\w+\.py$", file.name)
        if named is None:
            found.append(f"{file.name}: no number in its name")
            continue
        if named[1] != f"{number:04d}":
            found.append(f"{file.name}: expected number {number:04d}")
        text = file.read_text(encoding="utf-8")
        [revision], [down] = _REVISION.findall(text), _BEFORE.findall(text)
        if revision != named[1]:
            found.append(f"{file.name}: its revision is {revision}")
        if (down or None) != before:
            found.append(f"{file.name}: its down_revision is {down}, and {before} is before it")
        before = named[1]
    return found
