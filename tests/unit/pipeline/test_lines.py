"""Lines between the members, and the places in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rollbook.languages import speaking
from rollbook.pipeline.read import ROW_NUMBER, Sheet, Wanted, read
from tests.files import id_number
from tests.unit.pipeline.sheets import read_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADERS = ("ID Number", "Firstname", "Surname", "Cell")
ANN, BOB, CAT, DAN = (
    (id_number(n), first, surname, f"08211111{n:02}")
    for n, (first, surname) in enumerate(
        [("Ann", "Aa"), ("Bob", "Bb"), ("Cat", "Cc"), ("Dan", "Dd")]
    )
)


def read_rows(
    folder: Path, *rows: Sequence[str], wanted: Wanted | None = None, batch_rows: int = 50_000
) -> Sheet:
    path = folder / "list.csv"
    path.write_text("\n".join(",".join(f'"{cell}"' for cell in row) for row in rows), "utf-8")
    return read_whole(path, "csv", wanted, batch_rows=batch_rows)


def carried(sheet: Sheet, field: str = "ward") -> dict[int, str | None]:
    """The carried place by row."""
    [name] = (name for name in sheet.columns.headers[field] if name.endswith("(line above)"))
    return dict(sheet.frame.select(ROW_NUMBER, name).iter_rows())


def notes(sheet: Sheet) -> dict[str, str]:
    return {note.code: note.message for note in sheet.reading.notes}


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        ((("WARD 12",), ("WARD 13",)), ("12", "13")),
        ((("", "Ward no. 12"), ("", "Ward no. 13")), ("12", "13")),
        ((("Ward", "12"), ("Ward:", "13")), ("12", "13")),
        ((("Wyk 12 - Soweto",), ("Wyk 13 (45 members)",)), ("12", "13")),
        ((("Ward 79800012", "Councillor: J Smith"), ("Iwadi 13",)), ("79800012", "13")),
        ((("W12",), ("Ward 13 - 2026",)), ("12", "13")),
        ((("Branch: Soweto",), ("Branch: Alex",)), ("Soweto", "Alex")),
    ],
)
def test_a_place_in_a_line_is_that_of_the_rows_below_it(
    lines: Sequence[Sequence[str]], values: Sequence[str], tmp_path: Path
) -> None:
    sheet = read_rows(tmp_path, HEADERS, lines[0], ANN, BOB, lines[1], CAT)
    assert carried(sheet) == {3: values[0], 4: values[0], 6: values[1]}
    assert sheet.frame.columns[:2] == [ROW_NUMBER, "Ward (line above)"]
    said = notes(sheet)["place_lines"]
    assert said.startswith("2 lines above their members name their place: row 2 '")
    assert "'Ward (line above)'" in said


@pytest.mark.parametrize(
    "line",
    [
        ("WARD 13", "Convenor: J Smith", "", "0821234567"),
        ("WARD 13", "Convenor: J Smith", "0821234567"), ("Wyk 13", "Sameroeper", "Jan", "Smit"),
        ("Ward: 13", "J Smith", "Secretary", "3 members"),
    ],
)  # fmt: skip
def test_a_place_may_have_a_person_beside_it(line: tuple[str, ...], tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, ("WARD 12",), ANN, line, BOB)
    assert carried(sheet) == {3: "12", 5: "13"}
    assert f"4 '{line[0]} {line[1]}" in notes(sheet)["place_lines"]


@pytest.mark.parametrize(
    "line",
    [
        ("Ward thirteen", "Convenor: J Smith", "", "0821234567"), ("13",),
        ("", "WARD 13", "Smith", "0821234567"), ("VD 7", "School", "Hall", "0821234567"),
    ],
)  # fmt: skip
def test_no_place_goes_on_below_what_may_be_another(line: tuple[str, ...], tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, ("WARD 12",), ANN, line, BOB)
    assert carried(sheet)[3] == "12"
    assert carried(sheet)[5] in {None, "13"}


@pytest.mark.parametrize(
    "row",
    [
        ("", "Ann", "Aa", "0821234567"), ("pending", "Ann", "Aa", "0821234567"),
        ("17", "Ann", "Aa", "0821234567"), ("", "Ward", "Nkosi", "0821234567"),
    ],
)  # fmt: skip
def test_a_place_goes_on_below_a_member_without_a_number(
    row: tuple[str, ...], tmp_path: Path
) -> None:
    sheet = read_rows(tmp_path, HEADERS, ("WARD 12",), ANN, row, BOB)
    assert carried(sheet) == {3: "12", 4: "12", 5: "12"}


def test_a_member_beside_the_place_of_the_line_above_is_no_line(tmp_path: Path) -> None:
    headers = ("Area", *HEADERS)
    member = ("Ward 12", "", "Cat", "Cc", "0821234567")
    sheet = read_rows(tmp_path, headers, ("WARD 12",), ("", *ANN), member, ("", *BOB))
    assert set(carried(sheet).values()) == {"12"}
    sheet = read_rows(tmp_path, headers, ("WARD 11",), ("", *ANN), member, ("", *BOB))
    assert list(carried(sheet).values()) == ["11", None, None]


def test_a_line_of_a_larger_place_ends_the_smaller_ones(tmp_path: Path) -> None:
    sheet = read_rows(
        tmp_path, HEADERS, ("Gauteng",), ("Emfuleni Local Municipality",), ("Ward 1",), ANN,
        ("Johannesburg",), BOB, ("Ward 3",), CAT,
    )  # fmt: skip
    assert carried(sheet) == {5: "1", 7: None, 9: "3"}
    assert carried(sheet, "municipality")[7] == "Johannesburg"
    assert set(carried(sheet, "province").values()) == {"Gauteng"}


def test_lines_below_their_members_are_no_titles(tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, ANN, BOB, ("WARD 12",), CAT, ("WARD 13",))
    assert "ward" not in sheet.columns.headers
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3, 5]
    assert notes(sheet)["place_lines_unused"].startswith("2 lines name a place: row 4 'WARD 12'")


@pytest.mark.parametrize("end", ["Total: 2", "RESIGNED", "Ward 12: 2 members"])
def test_a_total_or_another_line_ends_a_group(end: str, tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, ("Ward 12",), ANN, BOB, (end,), CAT, ("Ward 13",), DAN)
    assert carried(sheet) == {3: "12", 4: "12", 6: None, 8: "13"}
    assert notes(sheet)["place_lines_ended"].startswith("1 row below a total or another line")


@pytest.mark.parametrize(
    "row",
    [
        ("Area 13-2026-2027", "", "", ""), ("", "SOWETO", "", ""), ("", "Ward", "Nkosi", ""),
        ("Signed:", "J Smith", "", ""), ("W-13", "", "", ""),
    ],
)  # fmt: skip
def test_a_row_that_may_be_a_title_ends_a_group_and_is_refused(
    row: Sequence[str], tmp_path: Path
) -> None:
    sheet = read_rows(tmp_path, HEADERS, ("Ward 12",), ANN, row, BOB, ("Ward 14",), CAT)
    found = carried(sheet)
    assert list(found) == [3, 4, 5, 7]
    assert (found[3], found[5], found[7]) == ("12", None, "14")


@pytest.mark.parametrize(
    "row", [("", "", "", "0835550000"), ("", "Eve", "Ee", "0835550000"), ("x1", "Eve", "Ee", "")]
)
def test_a_row_that_goes_on_or_is_refused_for_its_number_ends_no_group(
    row: Sequence[str], tmp_path: Path
) -> None:
    sheet = read_rows(tmp_path, HEADERS, ("Ward 12",), ANN, row, BOB)
    assert carried(sheet) == {3: "12", 4: "12", 5: "12"}


def test_page_numbers_and_titles_that_come_again_end_no_group(tmp_path: Path) -> None:
    title = ("MEMBERS OF ABC",)
    rows = (
        title, HEADERS, ("Ward 12",), ANN, ("Page 1 of 2",), title, HEADERS, BOB, ("- 2 -",),
    )  # fmt: skip
    sheet = read_rows(tmp_path, *rows)
    assert carried(sheet) == {4: "12", 8: "12"}
    assert notes(sheet)["lines_left_out"].startswith("3 rows hold a line of text and no member")


def test_a_title_above_the_headers_is_the_first_groups_where_the_next_has_one(
    tmp_path: Path,
) -> None:
    sheet = read_rows(tmp_path, ("WARD 12",), HEADERS, ANN, BOB, ("WARD 13",), HEADERS, CAT)
    assert carried(sheet) == {3: "12", 4: "12", 7: "13"}
    assert "place_above" not in notes(sheet)
    sheet = read_rows(tmp_path, ("WARD 12",), HEADERS, ANN, BOB)
    assert "ward" not in sheet.columns.headers
    assert "place_above" in notes(sheet)


def test_the_own_column_of_a_place_counts_first(tmp_path: Path) -> None:
    headers = (*HEADERS, "Ward")
    sheet = read_rows(tmp_path, headers, ("WARD 12",), (*ANN, ""), (*BOB, "7"))
    assert sheet.columns.headers["ward"] == ("Ward", "Ward (line above)")


def test_the_sender_can_leave_the_places_of_lines_out(tmp_path: Path) -> None:
    wanted = Wanted(columns={"Ward (line above)": None})
    sheet = read_rows(tmp_path, HEADERS, ("WARD 12",), ANN, wanted=wanted)
    assert "ward" not in sheet.columns.headers
    assert "Ward (line above)" in sheet.columns.left_out
    assert sheet.frame[ROW_NUMBER].to_list() == [3]


def test_the_column_is_the_same_in_every_batch_and_recognised_when_it_is_sent_again(
    tmp_path: Path,
) -> None:
    people = [(id_number(n), "Ann", "Aa", "") for n in range(100)]
    rows = (HEADERS, ("WARD 12",), *people[:70], ("WARD 13",), *people[70:])
    path = tmp_path / "list.csv"
    path.write_text("\n".join(",".join(row) for row in rows), "utf-8")
    batches = list(read(path, "csv", batch_rows=30))
    assert len(batches) > 2
    assert len({tuple(batch.frame.columns) for batch in batches}) == 1
    found = carried(read_whole(path, "csv", batch_rows=30))
    assert [found[row] for row in (3, 72, 74, 103)] == ["12", "12", "13", "13"]
    for language in ("af", "zu", "xh", "en"):
        with speaking(language):
            [name] = (
                name for name in read_whole(path, "csv").columns.headers["ward"] if "(" in name
            )
        again = read_rows(tmp_path, (*HEADERS, name), (*ANN, "12"))
        assert again.columns.headers["ward"] == (name,)
        path.write_text("\n".join(",".join(row) for row in rows), "utf-8")


@pytest.mark.parametrize(
    "row",
    [
        ("", "Zinzi", "", ""), ("", "", "Nkosi", ""), ("A1234567", "", "", ""),
        ("AB 12345", "", "", ""), ("", "Joe Morolong", "", ""), ("", "", "", "0821111111"),
        ("#REF!", "", "", ""), ("#NOT_CALCULATED!", "", "", ""), ("12345", "", "", ""),
        (id_number(9), "", "", ""), ("Signed:", "J Smith", "", ""), ("", "Ward", "Nkosi", ""),
    ],
)  # fmt: skip
def test_a_row_that_may_be_a_person_is_no_line(row: Sequence[str], tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, ANN, BOB, row, CAT)
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3, 4, 5]
    assert not notes(sheet)


@pytest.mark.parametrize("line", ["NEW MEMBERS", "EXPELLED", "Branch committee", "Lede 2026"])
def test_a_title_in_a_column_of_names_is_left_out_and_named(line: str, tmp_path: Path) -> None:
    headers = ("Firstname", "Surname", "ID Number")
    people = [(first, surname, number) for number, first, surname, _ in (ANN, BOB)]
    sheet = read_rows(tmp_path, headers, people[0], (line,), people[1])
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 4]
    assert f"row 3 '{line}'" in notes(sheet)["lines_left_out"]
    sheet = read_rows(tmp_path, headers, people[0], ("Soweto",), people[1])
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3, 4]


@pytest.mark.parametrize(
    "line",
    ["NEW MEMBERS 2026", "* paid", "All 120 people above have paid R10 for 2026 and 2027 in cash"],
)
def test_a_line_of_text_is_left_out_and_named(line: str, tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, ANN, (line,), BOB)
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 4]
    assert f"row 3 '{line[:40]}'" in notes(sheet)["lines_left_out"]


def test_titles_of_columns_that_come_again_on_each_page_end_no_group(tmp_path: Path) -> None:
    groups = ("Person", "", "", "Contact", "", "Place")
    headers = (*HEADERS, "Email", "Shoe size")
    page = [(*ANN, "", ""), groups, headers]
    sheet = read_rows(tmp_path, groups, headers, ("Ward 12",), *page, (*BOB, "", ""))
    assert carried(sheet) == {4: "12", 7: "12"}
    assert notes(sheet)["lines_left_out"].startswith("A row holds a line of text and no member")


def test_rows_with_only_a_running_number_are_left_out_and_counted(tmp_path: Path) -> None:
    numbered = [(f"{n}.", *member) for n, member in enumerate((ANN, BOB), start=1)]
    empty = [(f"{n}.", "", "", "", "") for n in range(3, 11)]
    sheet = read_rows(tmp_path, ("No.", *HEADERS), *numbered, *empty)
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3]
    assert notes(sheet)["numbered_rows"].startswith("Rows 4, 5, 6, 7, 8 and 3 more have nothing")


def test_a_follow_up_has_no_lines(tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, ("WARD 12",), ANN, wanted=Wanted(has_lines=False))
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3]


def doubted(sheet: Sheet) -> list[int]:
    """The rows with the warning that they are below a line of people who are no members."""
    problems = sheet.row_problems.rows()
    return [row for row, code in problems if code == "below_no_members"]


def test_each_line_of_people_who_are_no_members_counts(tmp_path: Path) -> None:
    sheet = read_rows(
        tmp_path, HEADERS, ("WARD 1",), ANN, ("RESIGNED",), BOB, ("WARD 2",), CAT, ("RESIGNED",),
        DAN,
    )  # fmt: skip
    assert doubted(sheet) == [5, 9]
    assert carried(sheet) == {3: "1", 5: None, 7: "2", 9: None}
    title = ("RESIGNED MEMBERS",)
    assert doubted(read_rows(tmp_path, title, HEADERS, ANN, title, BOB)) == [3, 5]


@pytest.mark.parametrize(
    "line",
    [
        ("DECEASED", "", "", "2"), ("", "Resigned", "12"), ("2 members who resigned",),
        ("3 oorlede",), ("WARD 7 - DECEASED",), ("Ward 7 (resigned)",),
    ],
)  # fmt: skip
def test_such_a_line_may_have_a_count_or_a_ward(line: tuple[str, ...], tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, ANN, line, BOB)
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 4]
    assert doubted(sheet) == [4]


@pytest.mark.parametrize("line", [("ACTIVE", "", "", "2"), ("WARD 7",), ("12345",), ("Ann", "2")])
def test_a_count_a_ward_and_a_wrong_number_say_nothing_of_it(
    line: tuple[str, ...], tmp_path: Path
) -> None:
    assert doubted(read_rows(tmp_path, HEADERS, ANN, line, BOB)) == []


@pytest.mark.parametrize("title", ["ACTIVE MEMBERS", "Paid-up members (not suspended)"])
def test_a_title_of_members_that_comes_again_ends_the_doubt(title: str, tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, (title,), ANN, ("RESIGNED",), BOB, (title,), CAT)
    assert doubted(sheet) == [5]


def test_a_title_of_each_page_ends_no_doubt(tmp_path: Path) -> None:
    page = [("MEMBERS OF ABC",), HEADERS]
    sheet = read_rows(tmp_path, *page, ANN, ("RESIGNED",), BOB, *page, CAT)
    assert doubted(sheet) == [5, 8]


@pytest.mark.parametrize(
    "line",
    [
        "Not yet paid", "NON-MEMBERS", "No longer members", "Members not paid up", "Nie-lede",
        "Dead", "PROPOSED REMOVALS", "Left the area", "Moved to other wards",
        "Members who passed away in 2024", "Declined applications", "Refused", "VISITORS",
        "Afgestorwe", "Abarhoxileyo",
    ],
)  # fmt: skip
def test_a_line_says_that_people_are_no_members(line: str, tmp_path: Path) -> None:
    assert doubted(read_rows(tmp_path, HEADERS, ANN, (line,), BOB)) == [4]


@pytest.mark.parametrize(
    "line",
    [
        "Paid-up members (not suspended)", "Active members, none suspended",
        "Members: none resigned", "Members, paid and unpaid", "Dead Sea Branch",
        "Historical Monuments", "Abadala", "Members transferred in", "Refused rows",
    ],
)  # fmt: skip
def test_a_line_says_nothing_of_the_kind(line: str, tmp_path: Path) -> None:
    sheet = read_rows(tmp_path, HEADERS, ANN, (line,), BOB)
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 4]
    assert not doubted(sheet)


def test_the_second_row_of_an_address_is_no_place(tmp_path: Path) -> None:
    headers = ("ID Number", "Surname", "Firstname", "Residential Address")
    sheet = read_rows(
        tmp_path, headers, ("WARD 3",), ANN, ("", "", "", "Ward 12"), BOB, ("WARD 4",), CAT
    )
    assert carried(sheet) == {3: "3", 4: None, 5: None, 7: "4"}


def test_a_person_whose_surname_is_a_label_is_no_place(tmp_path: Path) -> None:
    headers = ("ID Number", "Surname", "Firstname", "Ward")
    sheet = read_rows(tmp_path, headers, ("", "Wyk", "", "12"), ANN)
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3]
    assert sheet.columns.headers["ward"] == ("Ward",)
    sheet = read_rows(tmp_path, headers, ("", "Wyk:", "", "12"), ANN)
    assert sheet.frame[ROW_NUMBER].to_list() == [3]


def test_a_list_of_removals_may_be_below_such_a_line(tmp_path: Path) -> None:
    rows = (HEADERS, ("WARD 1",), ANN, ("RESIGNED",), BOB)
    sheet = read_rows(tmp_path, *rows, wanted=Wanted(is_removal=True))
    assert not doubted(sheet)
    assert carried(sheet) == {3: "1", 5: None}


@pytest.mark.parametrize(
    "title",
    [
        ("LIST OF DECEASED MEMBERS 2023",), ("RESIGNED MEMBERS",), ("Waiting list 2024",),
        ("Oorlede lede",), ("List of non-members who attended",), ("Members transferred out",),
        ("TERMINATED MEMBERSHIPS",), ("Abashonile",), ("Applications (not yet approved)",),
        ("Members to be removed from voter roll",), ("EXPELLED MEMBERS WARD 5",),
        ("EXPELLED MEMBERS WARD NO: 5",), ("Removed members Ward 5",), ("DECEASED", "2023"),
        ("", "DECEASED MEMBERS", "Branch: Soweto"), ("*** DECEASED ***",), ("Deceased - 2023",),
        ("Please remove the following members",), ("Deceased members 2022-23",),
        ("Rejected applications",), ("RIP",), ("Status: Deceased",),
    ],
)  # fmt: skip
def test_a_title_above_the_headers_says_that_people_are_no_members(
    title: tuple[str, ...], tmp_path: Path
) -> None:
    rows = (("ABC UNION",), title, ("Printed on 2024-05-03",), HEADERS, ANN, ("WARD 1",), BOB)
    assert doubted(read_rows(tmp_path, *rows)) == [5, 7]
    assert doubted(read_rows(tmp_path, title, HEADERS, ANN)) == [3]
    assert not doubted(read_rows(tmp_path, *rows, wanted=Wanted(is_removal=True)))


@pytest.mark.parametrize(
    "title",
    [
        ("MEMBERS 2023",), ("Active and lapsed members",), ("Members (excluding deceased)",),
        ("Deceased: 3",), ("Deceased", "3"), ("D = deceased",), ("* deceased",),
        ("Please remove deceased members before sending",), ("Deceased members are marked in red",),
        ("Resigned members have been removed",), ("Former Transkei",), ("Old Location",),
        ("Key: R resigned, D deceased",), ("Members, paid and unpaid",),
        ("Active", "Lapsed", "Deceased", "Total"), ("Person", "", "", "Deceased"),
    ],
)  # fmt: skip
def test_a_text_above_the_headers_says_nothing_of_the_kind(
    title: tuple[str, ...], tmp_path: Path
) -> None:
    assert not doubted(read_rows(tmp_path, title, HEADERS, ANN, BOB))


def test_a_line_of_members_ends_what_the_title_says(tmp_path: Path) -> None:
    rows = (("RESIGNED MEMBERS",), HEADERS, ANN, ("ACTIVE MEMBERS",), BOB, ("WARD 1",), CAT)
    assert doubted(read_rows(tmp_path, *rows)) == [3]
    titles = ("RESIGNED SINCE MAY",), ("Active members",)
    assert not doubted(read_rows(tmp_path, *titles, HEADERS, ANN))
