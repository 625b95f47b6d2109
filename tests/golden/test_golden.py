"""Small files, each with what must become of it: see the .toml files, and ``make.py``."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import fastexcel
import pytest

from rollbook.model import EVERYWHERE, OUTCOMES, Scope
from rollbook.pipeline import problems
from rollbook.spreadsheets.kinds import ENDINGS
from tests.golden import make
from tests.libre_office import SOFFICE, saved

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from tests.desk import Desk
    from tests.pipeline_run import Done, Site

_SUFFIXES = {f".{ending}" for ending in ENDINGS}
CASES: dict[str, dict[str, Any]] = {
    path.stem: tomllib.loads(path.read_text(encoding="utf-8"))
    for path in sorted(make.FOLDER.glob("*.toml"))
}
#: The first file of each case, and the others, which say the same in other formats.
RUNS = [(case, expected["files"][0]) for case, expected in CASES.items()]
OTHERS = [(run[1], other) for run in RUNS for other in CASES[run[0]]["files"][1:]]


@pytest.mark.parametrize(("case", "file"), RUNS, ids=str)
def test_what_becomes_of_the_file(case: str, file: str, site: Site) -> None:
    check(site, CASES[case], make.FOLDER / file)


@pytest.fixture(scope="module")
def firsts() -> dict[str, tuple[Any, ...]]:
    """What is known of the first file of each case, of those that were read."""
    return {}


@pytest.mark.parametrize(("first", "other"), OTHERS)
def test_the_same_in_another_format_is_read_the_same(
    first: str, other: str, desk: Desk, firsts: dict[str, tuple[Any, ...]]
) -> None:
    if first not in firsts:
        firsts[first] = taken(desk, make.FOLDER / first)
    assert taken(desk, make.FOLDER / other) == firsts[first]


@pytest.mark.skipif(SOFFICE is None, reason="no LibreOffice (Debian: libreoffice-calc-nogui)")
def test_a_file_that_libreoffice_saved_is_the_same(desk: Desk, tmp_path: Path) -> None:
    source = make.FOLDER / "same_openpyxl.xlsx"
    filters = {
        "xlsx": ("Calc MS Excel 2007 XML", ""), "xls": ("MS Excel 97", ""), "ods": ("calc8", ""),
        "fods": ("OpenDocument Spreadsheet Flat XML", ""),
        "csv": ("Text - txt - csv (StarCalc)", "59,34,76,1"),
    }  # fmt: skip
    expected = taken(desk, source)
    for ending, path in saved(source, tmp_path, filters).items():
        assert taken(desk, path) == expected, ending


def test_every_problem_of_the_catalogue_is_in_some_file() -> None:
    found = {code for expected in CASES.values() for _, _, code in expected["problems"]}
    # A person is erased by a request, which no file makes.
    folders = (make.FOLDER / "cases", make.FOLDER.parent / "integration" / "members")
    texts = [path.read_text("utf-8") for one in folders for path in one.glob("test_*.py")]
    found |= {code for code in problems.catalogue() if any(f'"{code}"' in text for text in texts)}
    assert found == set(problems.catalogue())


def test_every_outcome_is_in_some_file() -> None:
    assert {name for case in CASES.values() for name in case["outcomes"]} == set(OUTCOMES)


@pytest.mark.parametrize("file", make.FILES)
def test_the_file_is_what_its_script_makes(file: str) -> None:
    committed = make.FOLDER.joinpath(file).read_bytes()
    assert make.contents(committed) == make.contents(make.FILES[file]())


def test_every_file_and_every_expectation_is_used() -> None:
    used = {file for case in CASES.values() for file in case["files"]}
    used |= {case["before"] for case in CASES.values() if "before" in case}
    there = {path.name for path in make.FOLDER.iterdir() if path.suffix in _SUFFIXES}
    assert used == there == set(make.FILES)


def taken(desk: Desk, path: Path) -> tuple[Any, ...]:
    """All that is known of a file's rows before the database, and of what was read."""
    done = desk.send(path.read_bytes(), path.name)
    reading = done.upload["reading"]
    return (
        done.rows,
        desk.members(),
        # A format may have no dates but as numbers or texts.
        done.table.drop("Date Joined", strict=False).rows(named=True),
        {name: reading[name] for name in ("columns_used", "columns_not_read", "notes")},
        {name: reading[name] for name in ("header_row", "hidden_rows", "hidden_columns")},
    )


def check(site: Site, expected: Mapping[str, Any], path: Path) -> None:
    """Send the file, after the one that comes before it, and compare all that is expected."""
    if "before" in expected:
        before = make.FOLDER.joinpath(expected["before"])
        first = site.send(before.read_bytes(), before.name)
        assert first.outcomes["inserted"] == first.upload["rows_total"] > 0
    done = site.send(
        path.read_bytes(),
        path.name,
        scope=Scope(**expected["office"]) if "office" in expected else EVERYWHERE,
        **expected.get("options", {}),
    )
    assert rows_of(done) == expected["rows"]
    assert done.outcomes == dict.fromkeys(OUTCOMES, 0) | expected["outcomes"]
    assert problems_of(done) == sorted(map(tuple, expected["problems"]))
    check_members(site, expected["members"])
    check_report(done, expected)


def rows_of(done: Done) -> dict[str, str]:
    """The outcomes as the .toml files write them."""
    return {
        str(row["row_number"]): row["outcome"]
        + (f" of {row['duplicate_of']}" if row["duplicate_of"] else "")
        for row in done.rows
    }


def problems_of(done: Done) -> list[tuple[int, str, str]]:
    return sorted(
        (row["row_number"], problem["column"] or "", problem["code"])
        for row in done.rows
        for problem in row["problems"] or ()
    )


def check_members(site: Site, expected: Mapping[str, Mapping[str, str]]) -> None:
    """There are these members, with these values; an empty text means null."""
    found = site.members()
    assert set(found) == set(expected)
    for number, values in expected.items():
        assert {field: as_text(found[number][field]) for field in values} == values, number


def check_report(done: Done, expected: Mapping[str, Any]) -> None:
    for wanted in expected.get("report", ()):
        rows = {row["Row"]: row for row in done.sheet(wanted["sheet"]).iter_rows(named=True)}
        row = rows[str(wanted["row"])]
        assert {header: as_text(row[header]) for header in wanted["cells"]} == wanted["cells"]
    if done.refused is None:
        assert not expected.get("refused")
    else:
        refused = table(done.refused)
        assert refused.height == sum(
            done.outcomes[name] for name in ("invalid", "duplicate", "out_of_scope")
        )
        for cells in expected.get("refused", ()):
            rows_like = refused.select(*cells).fill_null("").rows(named=True)
            assert dict(cells) in rows_like
    summary = done.sheet("Summary")
    said = {name: as_text(value) for name, value, *_ in summary.iter_rows()}
    wanted_summary = expected.get("summary", {})
    assert {name: said.get(name) for name in wanted_summary} == wanted_summary


def table(path: Path) -> pl.DataFrame:
    return fastexcel.read_excel(path).load_sheet(0, dtypes="string").to_polars()


def as_text(value: object) -> str:
    return "" if value is None else str(value)
