"""What holds for every file, with any content.

Three examples of each in the gate, twelve in ``make properties``.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

import openpyxl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Json

from rollbook.errors import FileProblemError, NoIdColumnError
from rollbook.model import EVERYWHERE, OUTCOMES, Scope
from tests.examples import few
from tests.files import HEADERS as HEADERS_OF_FILES
from tests.files import id_number, member, workbook
from tests.pipeline_run import Done, Site, open_site
from tests.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Row: TypeAlias = dict[str, str]

#: Headers of every meaning, one that nobody knows, and one that the report has too.
HEADERS = (
    "ID Number", "Firstname", "Surname", "Cell Number", "Email", "Residential Address", "Gender",
    "Citizenship", "Province", "Municipality", "Ward", "Voting District", "Date Joined",
    "Last Payment", "Membership Amount", "Age", "Race", "Notes", "Outcome",
)  # fmt: skip
#: The database is this test's own and is emptied before each example.
FEW = settings(
    max_examples=few(3, more=12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

#: So few people that files repeat them.
NUMBERS = tuple(id_number(n) for n in range(6))
PLACES = (
    ("Gauteng", "Emfuleni"), ("Gauteng", "Midvaal"), ("Limpopo", "Polokwane"), ("", ""),
    ("Gauteng", ""), ("", "Emfuleni"), ("Atlantis", "emfuleni"),
)  # fmt: skip
KNOWN = ("Gauteng", "Limpopo")


#: Any character at all but halves of one.
ANYTHING = st.characters(codec="utf-8")
#: What a person gets wrong in a row: "" is nothing, and a column's name is a cell left empty.
MISTAKES = ("", "ID Number", "Firstname", "Surname", "twin", "check digit", "too short")


def any_text(*, by_hand: bool) -> st.SearchStrategy[str]:
    """Any text that a cell can hold; more of what people type, if it is by hand."""
    # What XML can't hold can't be in a workbook.
    controls = "".join(map(chr, (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)))
    anything = st.text(st.characters(codec="utf-8", exclude_characters=controls), max_size=12)
    if not by_hand:
        return anything
    odd = (
        "", " ", "-", "0", "1e5", "NaN", "inf", "null", "\\.", "a\n\\.\nb", '"', '""', ",", ";",
        "\\N", "a\rb", "a\r\nb", "\u00a0", "=1+1", "'", "{}", "[]", "\\", "\\u0000", "%s", "{0}",
        "٣", "12345678901234567890", "1.0", "45356", "80000", "99999", "5/3/2024", "2024-02-30",
        "99999999999", "999999999.999", "R1,50", "0.005", "Male", "F", "Refugee", "GP", "Limpopo",
        "0821234567", "27821234567", "a@b.co", "ID Number", "32840012", "99999.0",
    )  # fmt: skip
    return st.one_of(anything, st.sampled_from(odd))


def any_number() -> st.SearchStrategy[str]:
    """ID numbers: mostly good ones of few people, else some mistake or any text."""
    good = st.sampled_from(NUMBERS)
    wrong = st.sampled_from(
        ("", "123", "8001015009086", "8013325009087", "1015010083", "0001015010083", "x" * 13)
    )
    return st.one_of(good, good, good, wrong, any_text(by_hand=True))


def any_rows(headers: Sequence[str] = HEADERS) -> st.SearchStrategy[list[Row]]:
    """Tables of any cells, most of whose rows have the names and the number of a person."""
    cells = {header: any_text(by_hand=True) for header in headers}
    name = st.one_of(st.just("Name"), st.just("Name"), any_text(by_hand=True))
    cells |= {"ID Number": any_number(), "Firstname": name, "Surname": name}
    return st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=12)


def good_rows(*, are_members: bool = False) -> st.SearchStrategy[list[Row]]:
    """Tables of which every row could become a member; or has, under places of the register."""
    of_members = [place for place in PLACES if place == ("", "") or place[0] in KNOWN]
    row = st.builds(
        lambda number, name, place, ward: {
            "ID Number": number, "Firstname": name, "Surname": name,
            "Province": place[0], "Municipality": place[1], "Ward": ward,
        },
        st.sampled_from(NUMBERS),
        st.sampled_from(("Ayanda", "Lerato", "Zoë")),
        st.sampled_from(of_members if are_members else PLACES),
        st.sampled_from(("79800001", "79800002", "")),
    )  # fmt: skip
    key = (lambda made: made["ID Number"]) if are_members else None
    return st.lists(row, min_size=1, max_size=8, unique_by=key)


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    with open_site(database_url, tmp_path) as opened:
        yield opened


@FEW
@given(
    rows=any_rows(),
    kind=st.sampled_from(["xlsx", "csv"]),
    before=good_rows(are_members=True),
    office=st.sampled_from([EVERYWHERE, Scope("GP")]),
)
def test_any_table_gives_a_partition_and_changes_nothing_when_it_comes_again(
    site: Site, rows: list[Row], kind: str, before: list[Row], office: Scope
) -> None:
    site.clean()
    recorded(site, *before)
    content = as_file(rows, kind)
    first = site.send(content, f"members.{kind}", scope=office)
    assert_partition(first)
    assert set(first.by_row) == set(numbered(rows))
    members = site.members()
    assert set(members) >= {row["ID Number"] for row in before}
    event(f"outcomes: {sum(1 for count in first.outcomes.values() if count)}")
    second = site.send(content, f"members.{kind}", scope=office)
    assert second.by_row == {
        number: "unchanged" if outcome in {"inserted", "updated"} else outcome
        for number, outcome in first.by_row.items()
    }
    assert site.members() == members


@FEW
@given(text=st.text(ANYTHING, max_size=20), cells=st.lists(st.text(ANYTHING), max_size=20))
def test_a_text_of_anything_is_refused_in_words_or_gives_a_partition(
    site: Site, text: str, cells: list[str]
) -> None:
    """As a CSV that nobody made with care: no quotes, any number of fields."""
    site.clean()
    lines = ["ID Number,Name,Surname", *(f"{NUMBERS[0]},{text},{cell}" for cell in cells)]
    try:
        done = site.send("\n".join(lines).encode(), "members.csv")
    except FileProblemError as error:
        event(error.code)
        assert site.members() == {}
    else:
        assert_partition(done)


@FEW
@given(data=st.data(), rows=any_rows(), before=good_rows(are_members=True))
def test_the_order_of_rows_decides_only_which_twin_is_the_duplicate(
    site: Site, data: st.DataObject, rows: list[Row], before: list[Row]
) -> None:
    order = data.draw(st.permutations(range(len(rows))))

    site.clean()
    recorded(site, *before)

    def outcomes(order: Sequence[int]) -> list[str]:
        # Each order finds the same members: a dry run changes none.
        content = workbook([rows[n] for n in order], headers=HEADERS)
        done = site.send(content, "members.xlsx", dry_run=True)
        by_row = [done.by_row.get(number, "blank") for number in range(2, len(rows) + 2)]
        return [by_row[list(order).index(n)] for n in range(len(rows))]

    one, other = outcomes(range(len(rows))), outcomes(order)
    numbers = [meant_number(row) for row in rows]
    for number in set(numbers):
        same = [n for n, other_number in enumerate(numbers) if other_number == number]
        refused = [[n for n in same if found[n] in {"invalid", "blank"}] for found in (one, other)]
        assert refused[0] == refused[1]
        twins = [[found[n] for n in same if n not in refused[0]] for found in (one, other)]
        if len(twins[0]) < 2:
            assert twins[0] == twins[1]
            continue
        # All but the first are duplicates; what the first brings may differ from what another does.
        assert twins[0].count("duplicate") == twins[1].count("duplicate") == len(twins[0]) - 1


@FEW
@given(
    mistakes=st.lists(st.sampled_from(MISTAKES), min_size=1, max_size=10),
    kind=st.sampled_from(["xlsx", "csv"]),
)
def test_the_refused_rows_mended_and_sent_again_complete_the_upload(
    site: Site, mistakes: list[str], kind: str
) -> None:
    site.clean()
    meant = [
        {
            "Key": str(n), "ID Number": id_number(n), "Firstname": f"First{n}",
            "Surname": f"Last{n}", "Ward": "79800001", "Notes": " =n\n; , | 007",
        }
        for n in range(len(mistakes) + 1)
    ]  # fmt: skip
    typed = [row | mistake(row, what) for row, what in zip(meant, ["", *mistakes], strict=True)]
    headers = tuple(meant[0])
    first = site.send(as_file(typed, kind, headers), f"members.{kind}", scope=Scope("GP"))
    accepted = site.members()
    assert len(accepted) == 1 + mistakes.count("")
    if first.refused is None:
        assert set(mistakes) == {""}
        return
    mended = mend(first.refused, meant, headers)
    second = site.send(mended, "refused.xlsx", scope=Scope("GP"))
    assert second.outcomes["inserted"] == second.upload["rows_total"] == len(meant) - len(accepted)
    members = site.members()
    assert {number: row["firstname"] for number, row in members.items()} == {
        row["ID Number"]: row["Firstname"] for row in meant
    }
    assert all(members[number] == row for number, row in accepted.items())


def test_refused_rows_sent_again_without_being_mended_are_refused_again(site: Site) -> None:
    rows = [member(1), member(2, Surname=""), member(3, **{"ID Number": "123"})]
    first = site.send(workbook(rows), "members.xlsx")
    assert first.refused is not None
    second = site.send(first.refused.read_bytes(), "refused.xlsx")
    assert second.by_row == {2: "invalid", 3: "invalid"}
    assert second.refused is not None
    found = openpyxl.load_workbook(second.refused)
    assert found.active is not None
    assert [cell.value for cell in found.active[1]] == [
        *HEADERS_OF_FILES, "Row in your file", "Errors",
    ]  # fmt: skip
    # The rows of the first file are named, however often they are sent.
    assert [found.active.cell(row, len(HEADERS_OF_FILES) + 1).value for row in (2, 3)] == ["3", "4"]
    found.close()


def test_a_column_mapping_is_remembered_for_the_refused_rows_of_its_file(site: Site) -> None:
    headers = ("Lidnr", "Firstname", "Surname", "", "Ward", "Ward")
    lines = [headers, (id_number(1), "A", "B"), (id_number(2), "A", "")]
    content = "\n".join(",".join(line) for line in lines).encode()
    mapping = Json({"Lidnr": "id_number"})
    first = site.send(content, "members.csv", scope=Scope("GP"), columns=mapping)
    assert first.refused is not None
    book = openpyxl.load_workbook(first.refused)
    assert book.active is not None
    book.active["C2"] = "B"
    mended = io.BytesIO()
    book.save(mended)
    book.close()
    second = site.send(mended.getvalue(), "refused.xlsx", scope=Scope("GP"))
    assert second.by_row == {2: "inserted"}
    with pytest.raises(NoIdColumnError):
        site.send(mended.getvalue(), "refused.xlsx", scope=Scope("LP"))


@FEW
@given(
    before=good_rows(are_members=True),
    rows=good_rows(),
    office=st.sampled_from([Scope("GP"), Scope("GP", "Emfuleni"), Scope("LP")]),
    policy=st.sampled_from(["update", "fill", "skip"]),
)
def test_an_office_changes_no_member_of_another_and_brings_in_only_its_own(
    site: Site, before: list[Row], rows: list[Row], office: Scope, policy: str
) -> None:
    site.clean()
    recorded(site, *before)
    members = site.members()
    done = site.send(workbook(rows), "members.xlsx", scope=office, existing=policy)
    assert_partition(done)
    after = site.members()
    for number, row in members.items():
        if not belongs(row, office, nobodys=True):
            assert after[number] == row
    for number, row in after.items():
        if row != members.get(number):
            assert belongs(row, office)
            assert row["changed_by_upload"] == done.upload["id"]
    changed = sum(row != members.get(number) for number, row in after.items())
    assert changed == done.outcomes["inserted"] + done.outcomes["updated"]
    assert set(members) <= set(after)


def assert_partition(done: Done) -> None:
    """Every row of the file has exactly one outcome, and the counts are theirs."""
    upload = done.upload
    assert upload["status"] == "completed"
    numbers = [row["row_number"] for row in done.rows]
    assert len(set(numbers)) == len(numbers) == upload["rows_total"]
    assert sum(done.outcomes.values()) == upload["rows_total"]
    counts = Counter(row["outcome"] for row in done.rows)
    assert done.outcomes == {name: counts[name] for name in OUTCOMES}
    by_number = done.by_row
    for row in done.rows:
        errors = {
            problem["code"] for problem in row["problems"] or () if problem["severity"] == "error"
        }
        assert bool(errors - {"other_office"}) == (row["outcome"] == "invalid")
        assert "other_office" not in errors or row["outcome"] == "out_of_scope"
        assert (row["duplicate_of"] is not None) == (row["outcome"] == "duplicate")
        if row["duplicate_of"] is not None:
            assert row["duplicate_of"] < row["row_number"]
            assert by_number[row["duplicate_of"]] not in {"invalid", "duplicate"}
    assert done.sheet("All Uploaded Rows").height == upload["rows_total"]


def as_file(rows: list[Row], kind: str, headers: Sequence[str] = HEADERS) -> bytes:
    if kind == "xlsx":
        return workbook(rows, headers=headers)
    target = io.StringIO(newline="")
    writer = csv.DictWriter(target, headers, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode()


def meant_number(row: Row) -> str:
    """The ID number without separators and with its zeros: who is meant, however it is written."""
    return re.sub(r"[\s.\-']", "", row["ID Number"]).zfill(13)


def numbered(rows: list[Row]) -> list[int]:
    """The numbers of the rows that aren't empty."""
    return [n for n, row in enumerate(rows, start=2) if any(cell.strip() for cell in row.values())]


def mend(refused: Path, meant: list[Row], headers: Sequence[str]) -> bytes:
    """What a person makes of the workbook of refused rows, who changes only what is wrong."""
    book = openpyxl.load_workbook(refused)
    sheet = book.active
    assert sheet is not None
    own, *added = (len(headers), *(cell.value for cell in sheet[1][len(headers) :]))
    assert tuple(cell.value for cell in sheet[1][:own]) == headers
    assert added in (
        ["Row in your file", "Errors"], ["Use this row", "Row in your file", "Errors"],
    )  # fmt: skip
    for line in sheet.iter_rows(min_row=2):
        right = meant[int(line[0].value)]
        if added[0] == "Use this row" and line[own].value == "no":
            line[own].value = "yes"
        for cell, header in zip(line[:own], headers, strict=True):
            if (cell.value or "") != right[header]:
                # What wasn't wrong came back as it had been sent.
                assert header in MISTAKES
                cell.value = right[header]
    mended = io.BytesIO()
    book.save(mended)
    book.close()
    return mended.getvalue()


def mistake(row: Row, what: str) -> Row:
    """What somebody typed wrongly; the first row of a file is the twin."""
    number = row["ID Number"]
    wrong = {
        "": {},
        "twin": {"ID Number": id_number(0)},
        "check digit": {"ID Number": number[:-1] + str((int(number[-1]) + 1) % 10)},
        "too short": {"ID Number": number[:-1]},
    }
    return wrong.get(what, {what: ""})


def belongs(row: dict[str, Any], office: Scope, *, nobodys: bool = False) -> bool:
    """Is the member the office's, or, if that counts, nobody's yet?"""
    pairs = ((row["province"], office.province), (row["municipality"], office.municipality))
    return all(
        place is None
        or (nobodys and value is None)
        or (value is not None and value.lower() == place.lower())
        for value, place in pairs
    )
