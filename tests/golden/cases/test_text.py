"""Text files that came out wrong once, end to end: members, rows, and what is said of the file."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.errors import SecondTableError, UnreadableFileError

if TYPE_CHECKING:
    from tests.desk import Answer_co, Desk, Place, Sent

FOLDER = Path(__file__).parent
NOW = dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC)
ANN, BOB, CAT = "8001015009087", "9002280101087", "8506155204082"


def send(place: Place[Answer_co], name: str, **columns: Any) -> Answer_co:
    return place.send((FOLDER / name).read_bytes(), name, **columns)


def names(desk: Desk) -> dict[str, tuple[str, str]]:
    """First name and surname by ID number."""
    return {
        number: (member["firstname"], member["surname"])
        for number, member in desk.members().items()
    }


def notes(done: Sent) -> dict[str, int | None]:
    """Rows by the code of each note about the file."""
    return {note["code"]: note["rows"] for note in done.upload["reading"]["notes"]}


def problems(done: Sent) -> list[tuple[int, str | None, str]]:
    return [
        (row["row_number"], problem["column"], problem["code"])
        for row in done.rows
        for problem in row["problems"] or ()
    ]


def text(*lines: str, end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


# --- quotation marks ------------------------------------------------------------------------------


def test_quotation_marks_inside_cells_are_text(desk: Desk) -> None:
    send(desk, "two_quotes_in_cells.csv")
    assert names(desk) == {
        ANN: ("Mary", 'O"Brian'), BOB: ("Bennet", 'L"Etoile'), CAT: ("Sipho", "Dube"),
    }  # fmt: skip


def test_an_inch_mark_is_text(desk: Desk) -> None:
    send(desk, "inch_mark.csv")
    assert desk.members()[ANN]["residential_address"] == '5" Pipe Rd'
    assert names(desk)[BOB] == ("Sipho", "Dube")


def test_a_row_that_a_backslash_reads_in_two_ways_is_refused(desk: Desk) -> None:
    """Five cells if the backslashes are text, and five others if they make the marks text."""
    content = text(
        "ID Number,Firstname,Surname,Residential Address,Occupation",
        f'{ANN},Thandi,"\\",",\\",x',
        f"{BOB},Sipho,Dube,4 Long St,y",
    )
    done = desk.send(content, "members.csv")
    assert (2, None, "backslash_unclear") in problems(done)
    assert names(desk) == {BOB: ("Sipho", "Dube")}


@pytest.mark.parametrize("name", ["leading_quoted_word.csv", "leading_quoted_word_tabs.csv"])
def test_a_cell_may_begin_with_a_word_in_quotation_marks(name: str, desk: Desk) -> None:
    send(desk, name)
    assert names(desk) == {ANN: ("Tee Thandi", "Mokoena"), BOB: ("Sipho", "Dube")}


def test_a_space_before_a_quotation_mark_is_none_of_the_cell(desk: Desk) -> None:
    send(desk, "space_before_quote.csv")
    member = desk.members()[ANN]
    assert (member["firstname"], member["surname"]) == ("Thandi", "Mokoena")
    assert member["residential_address"] == "1 Long St, Cape Town"


def test_a_backslash_makes_a_quotation_mark_text(desk: Desk) -> None:
    send(desk, "backslash_quotes.csv")
    found = {number: each["residential_address"] for number, each in desk.members().items()}
    assert found == {ANN: 'Flat "B", 3 St', BOB: "4, St"}


@pytest.mark.parametrize("ids", ["apostrophe", "spaced", "zero_lost"])
def test_a_quotation_mark_that_swallows_rows_is_refused_with_its_cell(ids: str, desk: Desk) -> None:
    with pytest.raises(UnreadableFileError, match=r"Row 2 opens .* in cell D2 .* doesn't close"):
        send(desk, f"open_quote_ids_{ids}.csv")


def test_a_row_that_can_be_read_in_two_ways_is_refused(desk: Desk) -> None:
    content = text(
        "ID Number,Firstname,Surname,Cell",
        f'{ANN},"Ann,Aa",0821234567',
        f"{BOB},Bob,Bb,0837654321",
    )
    done = desk.send(content, "members.csv")
    assert (2, None, "quotes_unclear") in problems(done)
    assert names(desk) == {BOB: ("Bob", "Bb")}


def test_a_last_cell_that_may_be_two_is_doubtful(desk: Desk) -> None:
    content = text(
        "ID Number,Firstname,Surname,Address,Ward",
        f'{ANN},Ann,Aa,"1 Long St, Cape Town"',
        f"{BOB},Bob,Bb,2 St,79800001",
    )
    done = desk.send(content, "members.csv")
    assert problems(done) == [(2, None, "last_cell_doubtful")]
    assert desk.members()[ANN]["residential_address"] == "1 Long St, Cape Town"


def test_a_cell_whose_lines_have_the_form_of_rows_is_doubtful(desk: Desk) -> None:
    content = text(
        "ID Number,Firstname,Surname,Address",
        f'{ANN},Ann,Aa,"1 Long St',
        'Gardens, Cape Town, South Africa, 8001"',
        f"{BOB},Bob,Bb,2 St",
    )
    done = desk.send(content, "members.csv")
    assert problems(done) == [(2, None, "rows_in_cell")]
    assert done.verdicts["valid"] == 2


def test_a_quotation_mark_that_is_never_closed_is_text_and_said(desk: Desk) -> None:
    done = desk.send(
        text("ID Number,Firstname,Surname", f'{ANN},"Ann,Aa', f"{BOB},Bob,Bb"), "members.csv"
    )
    assert done.verdicts["valid"] == 2
    assert notes(done) == {"quotes_as_text": 1}


# --- rows -----------------------------------------------------------------------------------------


def test_a_row_with_an_empty_cell_too_many_is_refused(desk: Desk) -> None:
    done = send(desk, "row_shift_empty_last.csv")
    assert problems(done) == [(2, None, "cells_beyond_headers")]
    assert names(desk) == {BOB: ("Bob", "Bb")}


def test_a_wider_header_row_below_adds_its_columns(desk: Desk) -> None:
    done = send(desk, "second_header_wider.csv")
    assert names(desk) == {ANN: ("Ann", "Aa"), BOB: ("Bob", "Bb")}
    member = desk.members()[BOB]
    assert (member["cell_number"], member["email"]) == ("+27821234567", "b@example.org")
    assert done.upload["rows_total"] == 2
    assert notes(done) == {"header_repeated": 1}


def test_headers_in_another_order_further_below_are_another_table(desk: Desk) -> None:
    content = text(
        "ID Number,Firstname,Surname", f"{ANN},Ann,Aa", "ID Number,Surname,Firstname",
        f"{BOB},Bb,Bob",
    )  # fmt: skip
    with pytest.raises(SecondTableError, match=r"Row 3 .* column B is 'Surname' there and"):
        desk.send(content, "members.csv")


def test_a_last_row_without_its_end_is_refused(desk: Desk) -> None:
    rows = [f"80010150{n:05},Ann,Aa,x" for n in range(20)]
    content = text("ID Number,Firstname,Surname,Address", *rows) + f"{BOB},Bo".encode()
    done = desk.send(content, "members.csv")
    assert (22, None, "row_cut_off") in problems(done)
    assert BOB not in desk.members()


def test_a_file_that_was_never_written_to_its_end_is_refused(desk: Desk) -> None:
    with pytest.raises(UnreadableFileError, match="isn't whole"):
        send(desk, "nul_tail.csv")


# --- encodings and kinds --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "encoding", "note"),
    [
        ("macroman.csv", "mac-roman", "encoding_unsure"),
        ("double_utf8.csv", "utf-8", "text_encoded_twice"),
    ],
)
def test_letters_with_marks_are_read_right_and_what_was_guessed_is_said(
    name: str, encoding: str, note: str, desk: Desk
) -> None:
    done = send(desk, name)
    assert names(desk) == {ANN: ("Zoë", "Cronjé")}
    assert done.upload["reading"]["encoding"] == encoding
    assert list(notes(done)) == [note]


def test_utf_16_is_known_without_a_byte_order_mark(desk: Desk) -> None:
    done = send(desk, "utf16_no_bom.csv")
    assert names(desk) == {ANN: ("Zoë", "Aa")}
    assert done.upload["reading"]["encoding"] == "utf-16-le"
    assert not notes(done)


def test_the_end_mark_of_old_programs_is_in_no_name(desk: Desk) -> None:
    send(desk, "control_characters.csv")
    assert names(desk) == {ANN: ("Ann", "Aa")}


@pytest.mark.parametrize("ending", ["tsv", "txt"])
def test_text_files_of_other_names_are_read_by_their_content(ending: str, desk: Desk) -> None:
    done = send(desk, f"plain.{ending}")
    assert done.verdicts["valid"] == len(desk.members()) == 12
    assert done.upload["reading"]["delimiter"] == "\t"
    assert names(desk)["7707241152084"] == ("Mpho", "Van der Merwe")


def test_the_line_that_says_the_delimiter_is_no_row(desk: Desk) -> None:
    content = text("sep=;", "ID Number;Firstname;Surname;Amount", f"{ANN};Ann;Aa;10,50", end="\r\n")
    done = desk.send(content, "members.csv")
    assert [row["row_number"] for row in done.rows] == [2]
    assert str(desk.members()[ANN]["membership_amount"]) == "10.50"
