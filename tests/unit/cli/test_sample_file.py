"""The sample is what it says: read back by other readers, counted by another validator."""

from __future__ import annotations

import csv
import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import fastexcel
import openpyxl
import phonenumbers
import pytest
from stdnum.za import idnr

from rollbook import clock
from rollbook.cli import sample as command
from rollbook.cli import sample_file
from rollbook.cli.sample_file import MOST_ROWS, SampleFacts, write_sample
from rollbook.errors import ConflictError, InvalidRequestError, UnsupportedFileError

if TYPE_CHECKING:
    from pathlib import Path

TODAY = dt.date(2026, 3, 1)
DATES = ("Date Joined", "Last Payment", "Expiry Date")
ID = "  ID Number "

Row = dict[str, Any]
Sample = tuple["Path", SampleFacts, list[Row]]


def read(path: Path) -> list[Row]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            lines: list[list[Any]] = [[cell or None for cell in line] for line in csv.reader(file)]
    else:
        sheet = openpyxl.load_workbook(path).active
        lines = [list(line) for line in sheet.iter_rows(values_only=True)]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def id_number(row: Row) -> str | None:
    """The row's ID number if it is valid, with zeros only restored where that makes it valid."""
    text = str(row[ID] or "").replace(" ", "")
    return next((n for n in (text, text.zfill(13)) if text and idnr.is_valid(n)), None)


def lost_zeros(row: Row) -> bool:
    cell = str(row[ID] or "")
    return cell.isdigit() and len(cell) < 13 and id_number(row) is not None


def is_text_date(cell: object) -> bool:
    return isinstance(cell, str) and bool(re.fullmatch(r"\d\d/\d\d/\d{4}|\d{4}-\d\d-\d\d", cell))


def count(rows: list[Row]) -> SampleFacts:
    valid = []
    for row in rows:
        number = id_number(row)
        if number and str(row["Firstname"] or "").strip() and str(row["SURNAME"] or "").strip():
            valid.append(number)
    return SampleFacts(
        rows=len(rows),
        invalid=len(rows) - len(valid),
        duplicates=len(valid) - len(set(valid)),
        lost_zero=sum(lost_zeros(row) for row in rows),
        text_dates=sum(is_text_date(row[name]) for row in rows for name in DATES),
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    path = tmp_path_factory.mktemp("sample") / "members.xlsx"
    facts = write_sample(path, 2_000, today=TODAY)
    return path, facts, read(path)


def test_the_facts_are_what_an_independent_validator_counts(sample: Sample) -> None:
    _, facts, rows = sample
    assert count(rows) == facts
    assert facts.expected == {"inserted": 1_900, "invalid": 60, "duplicate": 40}


@pytest.mark.parametrize(
    ("invalid", "duplicate"), [(0.0, 0.0), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (0.3, 0.1)]
)
@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_the_facts_are_exact_for_any_shares(
    tmp_path: Path, suffix: str, invalid: float, duplicate: float
) -> None:
    path = tmp_path / f"members{suffix}"
    facts = write_sample(
        path, 60, seed=2, invalid_share=invalid, duplicate_share=duplicate, today=TODAY
    )
    assert count(read(path)) == facts
    assert facts.invalid == 60 * invalid
    # The first valid row has nothing to repeat.
    assert facts.duplicates == min(60 * duplicate, max(59 - facts.invalid, 0))


def test_the_facts_are_exact_over_several_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_file, "CHUNK", 1_000)
    path = tmp_path / "members.csv"
    facts = write_sample(path, 3_001, invalid_share=0.1, duplicate_share=0.1, today=TODAY)
    rows = read(path)
    assert count(rows) == facts
    assert {len(row) for row in rows} == {27}


def test_a_csv_has_the_same_rows_and_facts_as_a_workbook(sample: Sample, tmp_path: Path) -> None:
    _, facts, rows = sample
    path = tmp_path / "members.csv"
    assert write_sample(path, 2_000, today=TODAY) == facts
    texts = read(path)
    assert count(texts) == facts
    for row, text in zip(rows, texts, strict=True):
        shown = {
            name: f"{cell:%Y/%m/%d}" if isinstance(cell, dt.datetime) else cell and str(cell)
            for name, cell in row.items()
        }
        assert text == shown


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    tmp_path: Path, suffix: str
) -> None:
    files = [tmp_path / f"{name}{suffix}" for name in ("one", "two", "other")]
    for path, seed in zip(files, (7, 7, 8), strict=True):
        write_sample(path, 50, seed=seed, today=TODAY)
    one, two, other = (path.read_bytes() for path in files)
    assert one == two
    assert one != other


def test_the_headers_are_as_messy_as_in_real_files(sample: Sample) -> None:
    _, _, rows = sample
    headers = list(rows[0])
    assert headers[:6] == [
        "  ID Number ",
        "Firstname",
        "SURNAME",
        "Cell number",
        "Landline Number",
        "E-mail",
    ]
    assert {"Memebership Amount", "Voting District", *DATES, "Notes"} < set(headers)
    assert len(headers) == 27


def test_calamine_reads_the_rows_that_openpyxl_reads(sample: Sample) -> None:
    path, _, rows = sample
    frame = fastexcel.read_excel(path).load_sheet(0, dtypes="string").to_polars()
    assert frame.columns == list(rows[0])
    for name in ("Province", "SURNAME", ID, "Memebership Amount"):
        cells = [None if row[name] is None else str(row[name]) for row in rows]
        assert frame[name].to_list() == cells


def test_a_column_mixes_kinds_of_cells(sample: Sample) -> None:
    _, _, rows = sample
    for name in DATES:
        kinds = {type(row[name]) for row in rows}
        assert kinds == {dt.datetime, str, int, type(None)}
        real = sum(isinstance(row[name], dt.datetime) for row in rows)
        assert real > 1_000
    for name in (ID, "Cell number", "Ward", "Voting District", "Memebership Amount"):
        assert {type(row[name]) for row in rows} == {int, str, type(None)}


def test_lost_zeros_are_numbers_of_about_one_percent(sample: Sample) -> None:
    _, facts, rows = sample
    lost = [row[ID] for row in rows if lost_zeros(row)]
    assert {type(cell) for cell in lost} == {int}
    assert 20 <= facts.lost_zero <= 30


def test_repeats_and_ordinary_rows_spell_the_id_number_in_several_ways(sample: Sample) -> None:
    _, _, rows = sample
    texts = [row[ID] for row in rows if isinstance(row[ID], str)]
    assert any(re.fullmatch(r"\d{6} \d{4} \d{3}", text) for text in texts)
    first: dict[str, Row] = {}
    pairs = [
        (first[number], row)
        for row in rows
        if (number := id_number(row)) and first.setdefault(number, row) is not row
    ]
    assert len(pairs) == 40
    assert {str(one[ID]) == str(two[ID]) for one, two in pairs} == {True, False}
    assert {one["Cell number"] == two["Cell number"] for one, two in pairs} == {True, False}
    assert all(one["SURNAME"] == two["SURNAME"] for one, two in pairs)


def test_every_fault_occurs(tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    write_sample(path, 300, invalid_share=1, duplicate_share=0, today=TODAY)
    found = set()
    for row in read(path):
        text = str(row[ID] or "").replace(" ", "")
        if id_number(row):
            assert row["SURNAME"] is None
            found.add("no surname")
        elif not text:
            found.add("no id")
        elif not text.isdigit():
            found.add("letter")
        elif len(text) == 12:
            found.add("short")
        else:
            assert len(text) == 13
            try:
                idnr.validate(text)
            except idnr.InvalidComponent:
                found.add("birth date")
            except idnr.InvalidChecksum:
                found.add("check digit")
    assert found == {"no surname", "no id", "letter", "short", "birth date", "check digit"}


def test_age_gender_and_citizenship_agree_with_the_id_number(sample: Sample) -> None:
    _, _, rows = sample
    letters: dict[str, set[str]] = {"M": set(), "F": set()}
    for row in rows:
        number = id_number(row)
        if not number:
            continue
        letters[idnr.get_gender(number)].add(row["Gender"])
        born = idnr.get_birth_date(number)
        had_birthday = (TODAY.month, TODAY.day) >= (born.month, born.day)
        assert row["Age"] == TODAY.year - born.year - (not had_birthday)
        citizen = row["Citizenship"] in {"South African", "SA Citizen", "RSA", "south african"}
        assert citizen == (idnr.get_citizenship(number) == "citizen")
    assert letters == {
        "M": {"M", "Male", "male", "MALE"},
        "F": {"F", "Female", "female", "FEMALE"},
    }


def test_no_mail_address_is_outside_the_reserved_domains(sample: Sample) -> None:
    _, _, rows = sample
    addresses = [row["E-mail"] for row in rows if row["E-mail"]]
    assert len(addresses) > 500
    assert all(re.fullmatch(r"[a-z.]+\d+@example\.(org|com)", each) for each in addresses)


def test_phone_numbers_have_a_south_african_form(sample: Sample) -> None:
    _, _, rows = sample
    for name in ("Cell number", "Landline Number"):
        for cell in {row[name] for row in rows if row[name]}:
            assert phonenumbers.is_valid_number(phonenumbers.parse(str(cell), "ZA")), cell


def test_wards_and_voting_districts_have_eight_digits_and_none_is_a_special_code(
    sample: Sample,
) -> None:
    _, _, rows = sample
    special = {"22222222", "99999999", "11111111", "33333333"}
    for name in ("Ward", "Voting District"):
        cells = {str(row[name]) for row in rows if row[name]}
        assert all(re.fullmatch(r"\d{8}", cell) for cell in cells)
        assert not cells & special


def test_samples_of_different_halves_have_nobody_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # People of one year of birth are so few that without halves some would be the same.
    monkeypatch.setattr(sample_file, "OLDEST", sample_file.YOUNGEST + 1)
    people: list[set[str]] = []
    for seed, half in enumerate((0, 1, None, None)):
        path = tmp_path / f"{seed}.csv"
        write_sample(path, 5_000, seed=seed, half=half, invalid_share=0, today=TODAY)
        with path.open(encoding="utf-8") as file:
            cells = [row[ID] for row in csv.DictReader(file)]
        people.append({re.sub(r"\D", "", cell).zfill(13) for cell in cells})
    assert {len(each) for each in people} == {4_900}
    one, other, *without = people
    assert not one & other
    assert without[0] & without[1]


@pytest.mark.parametrize("province", ["KwaZulu-Natal", "kzn", " KZN "])
def test_a_province_by_name_or_code_restricts_every_row(tmp_path: Path, province: str) -> None:
    path = tmp_path / "members.csv"
    facts = write_sample(path, 100, province=province, today=TODAY)
    rows = read(path)
    assert {row["Province"] for row in rows} == {
        "KwaZulu-Natal",
        "KWAZULU-NATAL",
        "kwazulu natal ",
        "KZN",
    }
    assert {str(row["Ward"])[0] for row in rows if row["Ward"]} == {"5"}
    assert count(rows) == facts


def test_without_a_province_all_nine_occur(sample: Sample) -> None:
    _, _, rows = sample
    assert {str(row["Ward"])[0] for row in rows if row["Ward"]} == set("123456789")


def test_nothing_lies_in_the_future_but_expiry_dates(sample: Sample) -> None:
    _, _, rows = sample
    for row in rows:
        for name in ("Date Joined", "Last Payment"):
            if isinstance(row[name], dt.datetime):
                assert row[name].date() <= TODAY


@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".XLSX"])
@pytest.mark.parametrize("rows", [0, 1])
def test_a_sample_may_have_no_row_or_one(tmp_path: Path, suffix: str, rows: int) -> None:
    path = tmp_path / f"members{suffix}"
    facts = write_sample(path, rows, duplicate_share=0.9, invalid_share=0.1, today=TODAY)
    assert facts.expected == {"inserted": rows, "invalid": 0, "duplicate": 0}
    assert count(read(path)) == facts


def test_a_leap_day_is_a_day_like_another(tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    facts = write_sample(path, 200, today=dt.date(2024, 2, 29))
    assert count(read(path)) == facts


def test_the_day_is_the_clocks_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "today", lambda: TODAY)
    write_sample(tmp_path / "default.csv", 50)
    write_sample(tmp_path / "given.csv", 50, today=TODAY)
    assert (tmp_path / "default.csv").read_bytes() == (tmp_path / "given.csv").read_bytes()


@pytest.mark.parametrize("name", ["members.xls", "members.ods", "members"])
def test_another_suffix_is_refused_and_nothing_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsupportedFileError, match=r"ends in \.xlsx or \.csv"):
        write_sample(tmp_path / name, 10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rows", "others"),
    [
        (-1, {}),
        (MOST_ROWS[".xlsx"] + 1, {}),
        (10, {"seed": -1}),
        (10, {"invalid_share": -0.1}),
        (10, {"duplicate_share": -0.1}),
        (10, {"invalid_share": 0.6, "duplicate_share": 0.5}),
        (10, {"province": "Atlantis"}),
        (10, {"province": ""}),
        (10, {"half": 2}),
    ],
)
def test_an_argument_out_of_its_range_is_refused_and_nothing_written(
    tmp_path: Path, rows: int, others: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError):
        write_sample(tmp_path / "members.xlsx", rows, **others)
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_same_name_is_left_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "members.csv"
    mine.write_bytes(b"real members")
    with pytest.raises(ConflictError, match="was not changed"):
        command.sample(mine, rows=3)
    assert mine.read_bytes() == b"real members"
