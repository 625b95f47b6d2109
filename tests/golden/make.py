"""Makes the workbooks of this folder: ``python -m tests.golden.make``.

They are committed, so that a file of yesterday's writers stays what it was; a test makes them anew
and compares. What must become of each is written by hand in the .toml of its name. All people are
made up; today is 24 November 2026 in the tests.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from xml.sax.saxutils import escape

import openpyxl
import xlsxwriter
import xlwt

from tests.binary_workbook import BinarySheet, binary_workbook
from tests.golden import books
from tests.open_document import flat_document, open_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Row: TypeAlias = "Sequence[Any]"

FOLDER: Final = Path(__file__).parent
#: In the properties of every workbook and the directory of every archive.
MADE: Final = dt.datetime(2026, 11, 24, 8, 0)  # noqa: DTZ001 - the writers take no zone

#: Every column that Rollbook knows.
ALL_HEADERS: Final = (
    "ID Number", "Firstname", "Surname", "Cell Number", "Landline Number", "Email",
    "Residential Address", "Age", "Gender", "Race", "Citizenship", "Language", "Occupation",
    "Qualification", "Province", "Region", "Municipality", "Ward", "Voting Station",
    "Voting District", "Date Joined", "Last Payment", "Expiry Date", "Subscription",
    "Membership Amount", "Status",
)  # fmt: skip
NAMES: Final = ("ID Number", "Firstname", "Surname")


# --- the files -----------------------------------------------------------------------------------


def clean() -> bytes:
    """Nothing is wrong: text, numbers and dates as a careful office keeps them."""
    return with_openpyxl({"Members": [ALL_HEADERS, *_CLEAN]})


_CLEAN: Final[Sequence[Row]] = (
    ("8001015009087", "Ayanda", "Nkosi", "0821234567", "0112345678", "ayanda@example.org",
     "1 Main Road\nTown", 46, "Male", "African", "Citizen", "isiZulu", "Teacher", "Degree", "GP",
     "Johannesburg", "City of Johannesburg", "79800001", "Town Hall", "32840012",
     dt.date(2020, 5, 17), dt.date(2026, 1, 31), dt.date(2027, 1, 31), "Annual", 10, "Active"),
    ("8502140123180", "Lerato", "van der Merwe", "+27 83 765 4321", None, "L.VDM@Example.org",
     "2 Side Street, Village", 41, "F", "Coloured", "Permanent resident", "Afrikaans", "Nurse",
     "Diploma", "Western Cape", "Boland", "Drakenstein", 10203001, "School", 97120034,
     dt.date(2019, 2, 28), dt.date(2024, 2, 29), None, "Annual", 20.5, "Active"),
    ("0001015010083", "Zoë", "O'Neill", None, None, None, None, None, None, None, None, None, None,
     None, "KwaZulu-Natal", None, "eThekwini", None, None, None, None, None, None, None, None,
     None),
)  # fmt: skip


def messy() -> bytes:
    """Titles above the headers, other sheets before it, headers as people write them."""
    return with_xlsxwriter(
        {
            "Cover": [("Branch report",), ("Made by", "the branch secretary")],
            "Totals": [("Ward", "Members"), ("79800001", 3)],
            "Members 2026": [
                ("MEMBERS OF THE BRANCH",),
                (),
                ("Updated by", "the secretary", None, "March 2026"),
                ("No.", " ID  NUMBER", "Voornaam", "SURNAME ", "Cel Number", "e-mail address",
                 "Muncipality", "Shoe size", "Ward", None, "Memebership Amount", "Ward"),
                (1, " 8001015009087 ", "  Ayanda   Thandi ", "Nkosi", "082 123 4567 ", "A@X.CO.ZA",
                 "City of  Johannesburg", 7, 79800001, None, "R 1 200,50", "second"),
                (),
                (2, "8502140123081", "Lerato", "Mokoena", "(083) 765-4321", None, "Emfuleni", None,
                 None, "?", "R10.00", None),
                (None, None, "  ", None, None, None, None, None, None, None, None, None),
                ("No.", "ID NUMBER", "Voornaam", "SURNAME", "Cel Number", "e-mail address",
                 "Muncipality", "Shoe size", "Ward", None, "Memebership Amount", "Ward"),
                (3, "9006305500082", "Sipho", "Dlamini", 721234567, "-", "Emfuleni", 9,
                 "79800002.0", None, "-", None),
                ("Total", None, None, None, None, None, None, None, None, None, 1210.5, None),
            ],
            "Old": [NAMES, ("9202290077083", "Never", "Read")],
        }
    )  # fmt: skip


def lost_zeros() -> bytes:
    """ID numbers that a spreadsheet program took for numbers."""
    return with_openpyxl(
        {
            "Sheet1": [
                NAMES,
                (1015010083, "Three", "Zeros"),
                (102030044089, "One", "Zero"),
                ("911125123081", "As", "Text"),
                (8001015009087, "Nought", "Lost"),
                ("850214 0123 08 1", "With", "Spaces"),
                ("900630-5500-082", "With", "Hyphens"),
                ("'9202290077083", "With", "Apostrophe"),
                (1015010084, "Wrong", "Digit"),
                (132034408, "Too", "Short"),
                ("7.5123E+12", "In", "Powers"),
                (102290044084, "No", "Such day"),
                ("00003059001085", "Too", "Long"),
            ]
        }
    )


def problems() -> bytes:
    """Every error and every warning of the catalogue."""
    extra = ("Cell Number", "Landline Number", "Email", "Gender", "Citizenship", "Province",
             "Voting District", "Date Joined", "Last Payment", "Expiry Date",
             "Membership Amount")  # fmt: skip
    rows: list[Row] = [
        (None, "No", "Number"),
        ("80010150090", "Eleven", "Digits"),
        ("80010150O9087", "Letter", "O"),
        ("8013325009087", "Month", "Thirteen"),
        ("0102290044084", "No leap", "Year"),
        ("8013325009088", "Month", "And digit"),
        ("8001015009384", "Citizenship", "Three"),
        ("8001015009086", "Check", "Digit"),
        ("8001015009087", None, "Nofirst"),
        ("8001015009087", "Nosurname", " "),
        ("x", None, None),
        (102030044089, "Zeros", "Back"),
        ("8502140123081", "Unclear", "Cells", "12345", "none", "a at b", "?", "Martian", "Atlantis",
         "1234", "soon", "31/02/2024", "2024-13-01", "ten rand"),
        ("9006305500082", "Contradicts", "The number", None, None, None, "Female", "Refugee"),
        ("9202290077083", "Day", "Or month", None, None, None, None, None, None, None, "03/04/2024",
         "4.3.2024", "05-06-2025"),
        ("7512314999084", "Several", None, "12345", None, None, "Male", None, "Atlantis"),
    ]  # fmt: skip
    return with_xlsxwriter({"Sheet1": [(*NAMES, *extra), *rows]})


def doubts() -> bytes:
    """Every warning about a value that was read or left out with a doubt."""
    headers = ("ID Number", "First Name", "Surname", "Full Name", "Age", "Cell Number",
               "Cell Number", "Email", "Citizenship", "Ward", "Address", "Date Joined",
               "Last Payment", "Expiry Date", "Amount")  # fmt: skip
    rows: list[dict[str, str]] = [
        {"ID Number": "8.00102E+12", "First Name": "Shortened", "Surname": "Number"},
        {"Full Name": "Mpho Van der Merwe", "Age": "17", "Cell Number": "0821234567/0837654321",
         "Email": "a@x.co.za, b@x.co.za", "Citizenship": "Martian", "Ward": "8001",
         "Address": "12 Caf\ufffd St", "Date Joined": "12/25/2020", "Last Payment": "2099-01-01",
         "Expiry Date": "Lifetime", "Amount": "1,200"},
        {"First Name": "T", "Surname": "Test", "Age": "old", "Cell Number": "082 123 4567 (wife)",
         "Email": "a@x.co.za (home)", "Ward": "7.98E+07", "Date Joined": "1960-01-01",
         "Last Payment": "2025-01-31", "Expiry Date": "31/02/2027", "Amount": "1.200"},
        {"First Name": "Nomsa", "Surname": "Dube", "Cell Number": "8.21235E+08",
         "Cell Number 2": "0831234567", "Date Joined": "Mon 3 May 2024",
         "Last Payment": "2024-05-02T22:00:00Z", "Expiry Date": "2024-01-31", "Amount": "(10.00)"},
        {"First Name": "Sipho", "Surname": "Cele", "Cell Number": "0821234567",
         "Cell Number 2": "0831234567", "Date Joined": "May 2024", "Last Payment": "24/05/13",
         "Amount": "10.12345"},
        {"First Name": "Lerato", "Surname": "Moloi", "Date Joined": "24/12/2020",
         "Amount": "R20 p.a."},
    ]  # fmt: skip
    numbers = ("8502140123081", "9006305500082", "9202290077083", "7512314999084", "6907075000083")
    for row, number in zip(rows[1:], numbers, strict=True):
        row["ID Number"] = number
    names = ["Cell Number 2" if n == 6 else name for n, name in enumerate(headers)]
    lines = [headers, *([row.get(name, "") for name in names] for row in rows)]
    return "".join(";".join(line) + "\r\n" for line in lines).encode()


#: As the writer is to show it; what the cell holds is a number of days.
_DATES: Final[Sequence[Row]] = (
    (*NAMES, "Date Joined", "Last Payment", "Expiry Date"),
    ("8001015009087", "Real", "Cells", dt.date(2024, 3, 5), dt.date(2024, 2, 29), None),
    ("8502140123081", "With", "Time", dt.datetime(2024, 3, 5, 13, 45), None,  # noqa: DTZ001
     dt.date(2030, 12, 31)),
    ("9006305500082", "Serial", "Numbers", 45356, 45356.75, "45356"),
    ("9202290077083", "Year", "First", "2024-03-05", "2024/3/5", "20240305"),
    ("7512314999084", "Day", "First", "25/03/2024", "25.3.2024", "25-03-2024"),
    ("6907075000083", "Either", "Way", "05/03/2024", "5.3.2024", "05-05-2024"),
    ("8808082468081", "In", "Words", "5 March 2024", "5-Mar-2024", "05 mar 2024"),
    ("9604156001083", "With text", "Time", "2024-03-05 00:00:00", "2024-03-05T23:59:59", None),
    ("8309223131084", "No", "Dates", "soon", "31/02/2024", 0),
    ("7105038080081", "Nothing", "Said", None, " ", None),
)  # fmt: skip


def dates_xlsx() -> bytes:
    """Dates of every kind."""
    return with_xlsxwriter({"Sheet1": _DATES})


def dates_xls() -> bytes:
    """The same in the old format."""
    return with_xlwt({"Sheet1": _DATES})


def cell_types() -> bytes:
    """Formulas, errors, rich text, formats that hide what a cell holds, hidden rows and columns."""
    target = io.BytesIO()
    with xlsxwriter.Workbook(target) as book:
        book.set_properties({"created": MADE})
        bold, thirteen, rand, day, time = (
            book.add_format({"bold": True} if form is None else {"num_format": form})
            for form in (None, "0000000000000", '"R"#,##0.00', "dd mmmm yyyy", "hh:mm")
        )
        sheet = book.add_worksheet("Sheet1")
        headers = (*NAMES, "Cell", "Date Joined", "Amount", "Ward", "Notes")
        sheet.write_row(0, 0, headers)
        sheet.write_formula(1, 0, '="800101"&"5009087"', None, "8001015009087")
        sheet.write_rich_string(1, 1, "Aya", bold, "nda")
        sheet.write_formula(1, 2, "=B2", None, "Nkosi")
        sheet.write_row(1, 3, (821234567.0,))
        sheet.write_datetime(1, 4, dt.datetime(2024, 3, 25), day)  # noqa: DTZ001
        sheet.write_number(1, 5, 1200.5, rand)
        sheet.write_formula(1, 6, "=NA()", None, "#N/A")
        sheet.write_boolean(1, 7, True)  # noqa: FBT003 - a cell's value
        sheet.write_number(2, 0, 1015010083, thirteen)
        sheet.write_row(2, 1, ("Zoë", "Zeros", 27831234567))
        sheet.write_datetime(2, 4, dt.time(13, 5), time)
        sheet.write_number(2, 5, 0.1 + 0.2, rand)
        sheet.write_row(3, 0, (8502140123081.0, "Error"))
        sheet.write_formula(3, 2, "=1/0", None, "#DIV/0!")
        sheet.write_row(4, 0, (9006305500082, "Hidden", "Row", None, "05/03/0024", 1234567.891))
        sheet.set_row(4, None, None, {"hidden": True})
        sheet.set_column(2, 2, None, None, {"hidden": True})
        sheet.write_formula(5, 0, '=""', None, "")
    return target.getvalue()


#: Nothing in the first rows and columns, where some readers begin to count.
_OFFSET: Final[Sequence[Row]] = (
    (), (), (),
    (None, None, *NAMES, None, "Ward"),
    (None, None, "8001015009087", "Ayanda", "Nkosi", None, 79800001),
    (), (),
    (None, None, "8001015009087", "Ayanda", "Nkosi", None, 79800001),
    (None, "note", None, None, None, None, None),
)  # fmt: skip


def offset_xlsx() -> bytes:
    """A table that doesn't begin in the first cell."""
    return with_openpyxl({"Empty": [], "Sheet2": _OFFSET})


def offset_xls() -> bytes:
    """The same in the old format."""
    return with_xlwt({"Empty": [], "Sheet2": _OFFSET})


def duplicates() -> bytes:
    """Numbers that come several times, the first of them in a row that is refused."""
    return as_csv(
        [
            (*NAMES, "Ward"),
            ("8001015009087", "Ayanda", None, "79800001"),
            ("8001015009087", "Ayanda", "Nkosi", "79800002"),
            ("8502140123081", "Lerato", "Mokoena", "79800001"),
            ("8001015009087", "Ayanda", "Nkosi", "79800003"),
            ("800101 5009 087", "Ayanda", "Nkosi", "79800002"),
            ("8001015009087", None, "Nkosi", "79800002"),
            ("0102030044089", "Sipho", "Dlamini", None),
            ("102030044089", "Sipho", "Dlamini", None),
            ("123", "Two", "Wrong", None),
            ("123", "Two", "Wrong", None),
        ]
    )


def shifted() -> bytes:
    """Commas in cells, in quotes and without."""
    lines = (
        "ID Number,Firstname,Surname,Address,Ward",
        '8001015009087,Ayanda,Nkosi,"12 Main Rd, Soweto",79800001',
        "8502140123081,Lerato,Mokoena,12 Main Rd, Soweto,79800002",
        "0102030044089,Sipho,Dlamini,12 Main Rd,79800003,,",
    )
    return "\n".join(lines).encode()


_EXISTING_HEADERS: Final = (
    *NAMES, "Cell", "Email", "Province", "Municipality", "Ward", "Voting District", "Last Payment",
    "Expiry Date", "Amount",
)  # fmt: skip


def existing_before() -> bytes:
    """What the record knows before ``existing``."""
    return as_csv(
        [
            _EXISTING_HEADERS,
            ("8001015009087", "Ayanda", "Nkosi", "0821234567", "a@example.org", "GP", "Emfuleni",
             "79800001", "32840012", "2024-03-05", None, "R10"),
            ("8502140123081", "Lerato", "Mokoena", "0831234567", None, "GP", "Emfuleni", "79800001",
             None, None, None, None),
            ("9006305500082", "Sipho", "Dlamini", None, None, None, None, None, None, None, None,
             None),
            ("9202290077083", "Not", "Sent", None, None, None, None, None, None, None, None, None),
            ("7512314999084", "Pieter", "Botha", "0841234567", None, "GP", "Emfuleni", "79800001",
             None, None, None, None),
        ]
    )  # fmt: skip


def existing() -> bytes:
    """Members that are known already: the same in other words, empty cells, new values."""
    return with_openpyxl(
        {
            "Sheet1": [
                _EXISTING_HEADERS,
                ("8001015009087", " Ayanda ", "Nkosi", "+27 82 123 4567", "A@EXAMPLE.ORG",
                 "Gauteng", "Emfuleni", 79800001, 32840012, dt.date(2024, 3, 5), None, 10),
                ("8502140123081", "Lerato", "Mokoena", None, " ", None, None, None, None, None,
                 None, None),
                ("9006305500082", "Sipho", "Dlamini-Zulu", "0721234567", None, "Gauteng", None,
                 None, None, None, None, "5,50"),
                ("7512314999084", "Pieter", "Botha", "no phone", None, None, None, 79800002, None,
                 None, None, None),
                ("6907075000083", "Brand", "New", None, None, None, None, None, None, None, None,
                 None),
            ]
        }
    )  # fmt: skip


def office_before() -> bytes:
    """Members of several offices, before ``office``."""
    return as_csv(
        [
            (*NAMES, "Province", "Municipality", "Ward"),
            ("8001015009087", "Ours", "Already", "GP", "Emfuleni", "79800001"),
            ("8502140123081", "Limpopos", "Own", "LP", "Polokwane", "79800001"),
            ("9006305500082", "Nobodys", "Yet", None, None, None),
            ("9202290077083", "Neighbours", "Own", "GP", "Midvaal", "79800001"),
        ]
    )


def office() -> bytes:
    """An office's file with people of other offices in it."""
    return as_csv(
        [
            (*NAMES, "Province", "Municipality", "Ward"),
            ("8001015009087", "Ours", "Already", "Gauteng", "EMFULENI", "79800002"),
            ("8502140123081", "Limpopos", "Own", "Gauteng", "Emfuleni", "79800002"),
            ("9006305500082", "Nobodys", "Yet", None, None, "79800002"),
            ("9202290077083", "Neighbours", "Own", "Gauteng", "Emfuleni", "79800002"),
            ("7512314999084", "Says", "Limpopo", "Limpopo", "Polokwane", None),
            ("6907075000083", "Says", "Neighbour", "GT", "Midvaal", None),
            ("8808082468081", "Says", "Nothing", None, None, None),
            ("9604156001083", "Unknown", "Province", "Atlantis", "Emfuleni", None),
            ("8309223131084", None, "Invalid elsewhere", "Limpopo", "Polokwane", None),
        ],
        delimiter="|",
    )


#: One table for every maker of files: text, numbers, a date, letters from afar, long text.
_SAME: Final[Sequence[Row]] = (
    ("ID Number", "Name", "Surname", "Cell Number", "Municipality", "Ward", "Date Joined", "Amount",
     "Notes"),
    ("8001015009087", "Ayanda", "Nkosi", "0821234567", "Emfuleni", 79800001, dt.date(2024, 3, 25),
     10.5, "first; of, several|\tkinds"),
    ("0001015010083", "Zoë", "O'Neill", "+27831234567", "Tshwane", 79900002, dt.date(2019, 12, 31),
     100, 'says "yes"'),
    ("8502140123081", "Lerato", "Mokoena <&>", None, None, None, None, None, None),
    ("8001015009087", "Ayanda", "Nkosi", None, None, None, None, None, "again"),
    ("8001015009086", "Typing", "Error", None, None, None, None, None, None),
    (102030044089, "Sipho", "Dlamini", None, None, None, None, None, "a number lost its zero"),
    ("9006305500082", "Maria", None, "12", None, None, None, None, None),
)  # fmt: skip


def same_openpyxl() -> bytes:
    """The table by openpyxl."""
    return with_openpyxl({"Members": _SAME})


def same_xlsxwriter() -> bytes:
    """The table by xlsxwriter, which writes as Excel does."""
    return with_xlsxwriter({"Members": _SAME})


def same_xlwt() -> bytes:
    """The table in Excel's format of before 2007."""
    return with_xlwt({"Members": _SAME})


def same_semicolon() -> bytes:
    """The table as Excel saves CSV where the comma is the decimal sign: Windows-1252 and ``;``."""
    return as_csv(_SAME, delimiter=";", encoding="cp1252", line_end="\r\n")


def same_utf16() -> bytes:
    """The table as Excel saves "Unicode text": UTF-16 and tabs."""
    return as_csv(_SAME, delimiter="\t", encoding="utf-16-le", mark="\ufeff", line_end="\r\n")


def same_google() -> bytes:
    """The table as Google Sheets exports it: shared strings, dates as numbers without a style."""
    return by_hand(_SAME, inline=False)


def same_inline() -> bytes:
    """The table as reporting tools write it: the text in the cells, no addresses, no styles."""
    return by_hand(_SAME, inline=True)


def same_binary() -> bytes:
    """The table in Excel's binary format."""
    return binary_workbook([BinarySheet("Members", _SAME)])


def same_macros() -> bytes:
    """The table in a workbook with macros, or what looks like some: nobody reads them."""
    parts = _parts(same_openpyxl())
    return _archive([*parts.items(), ("xl/vbaProject.bin", b"\xd0\xcf\x11\xe0 no macros")])


def same_open() -> bytes:
    """The table as an OpenDocument spreadsheet."""
    return open_document([BinarySheet("Members", _SAME)])


def same_flat() -> bytes:
    """The table as an OpenDocument spreadsheet in one XML file."""
    return flat_document([BinarySheet("Members", _SAME)])


FILES: Final[Mapping[str, Callable[[], bytes]]] = {
    "clean.xlsx": clean,
    "messy.xlsx": messy,
    "lost_zeros.xlsx": lost_zeros,
    "problems.xlsx": problems,
    "doubts.csv": doubts,
    "cell_types.xlsx": cell_types,
    "offset.xlsx": offset_xlsx,
    "offset.xls": offset_xls,
    "dates.xlsx": dates_xlsx,
    "dates.xls": dates_xls,
    "duplicates.csv": duplicates,
    "shifted.csv": shifted,
    "existing_before.csv": existing_before,
    "existing.xlsx": existing,
    "office_before.csv": office_before,
    "office.csv": office,
    "same_openpyxl.xlsx": same_openpyxl,
    "same_xlsxwriter.xlsx": same_xlsxwriter,
    "same_xlwt.xls": same_xlwt,
    "same_semicolon.csv": same_semicolon,
    "same_utf16.csv": same_utf16,
    "same_google.xlsx": same_google,
    "same_inline.xlsx": same_inline,
    "same_binary.xlsb": same_binary,
    "same_macros.xlsm": same_macros,
    "same_open.ods": same_open,
    "same_flat.fods": same_flat,
    **books.FILES,
}


# --- the writers ---------------------------------------------------------------------------------


def with_openpyxl(sheets: Mapping[str, Sequence[Row]]) -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.remove(book.active)
    book.properties.creator = "openpyxl"
    book.properties.created = MADE
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    target = io.BytesIO()
    book.save(target)
    book.close()
    # Saving writes the present moment into the properties and the archive's directory.
    now = book.properties.modified
    return _archive(
        (name, part.replace(_w3c(now), _w3c(MADE)))
        for name, part in _parts(target.getvalue()).items()
    )


def with_xlsxwriter(sheets: Mapping[str, Sequence[Row]]) -> bytes:
    target = io.BytesIO()
    with xlsxwriter.Workbook(target, {"default_date_format": "dd/mm/yyyy"}) as book:
        book.set_properties({"created": MADE})
        title = book.add_format({"bold": True, "font_size": 16})
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                if number == 0 and len(row) == 1:
                    sheet.merge_range(0, 0, 0, 5, row[0], title)
                else:
                    sheet.write_row(number, 0, row)
    return target.getvalue()


def with_xlwt(sheets: Mapping[str, Sequence[Row]]) -> bytes:
    book = xlwt.Workbook()
    day = xlwt.easyxf(num_format_str="yyyy-mm-dd")
    for name, rows in sheets.items():
        sheet = book.add_sheet(name)
        for number, row in enumerate(rows):
            for column, value in enumerate(row):
                style = (day,) if isinstance(value, dt.date) else ()
                sheet.write(number, column, value, *style)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def as_csv(
    rows: Iterable[Row],
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    mark: str = "",
    line_end: str = "\n",
) -> bytes:
    target = io.StringIO(newline="")
    target.write(mark)
    csv.writer(target, delimiter=delimiter, lineterminator=line_end).writerows(rows)
    return target.getvalue().encode(encoding)


def by_hand(rows: Sequence[Row], *, inline: bool) -> bytes:
    """A workbook of no more parts than it needs, with shared strings or with inline ones."""
    shared: list[str] = []
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = []
        for letter, value in zip("ABCDEFGHI", row, strict=True):
            place = "" if inline else f' r="{letter}{number}"'
            if value is None:
                # Without addresses the place in the row is the address.
                cells.append("<c/>" if inline else "")
            elif isinstance(value, str) and inline:
                text = escape(value)
                cells.append(f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>')
            elif isinstance(value, str):
                if value not in shared:
                    shared.append(value)
                cells.append(f'<c{place} t="s"><v>{shared.index(value)}</v></c>')
            else:
                cells.append(f"<c{place}><v>{_serial(value)}</v></c>")
        lines.append(f"<row>{''.join(cells)}</row>" if inline else
                     f'<row r="{number}">{"".join(cells)}</row>')  # fmt: skip
    strings = "".join(f'<si><t xml:space="preserve">{escape(text)}</t></si>' for text in shared)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_KIND}.worksheet+xml"/>'
        + ("" if inline else
           f'<Override PartName="/xl/sharedStrings.xml" ContentType="{_KIND}.sharedStrings+xml"/>')
        + "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}"><sheets>'
        '<sheet name="Members" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
        + ("" if inline else
           f'<Relationship Id="rId2" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/>')
        + "</Relationships>",
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_SHEET}"><sheetData>{"".join(lines)}'
        "</sheetData></worksheet>",
        "xl/sharedStrings.xml": f'<sst xmlns="{_SHEET}">{strings}</sst>',
    }  # fmt: skip
    if inline:
        del parts["xl/sharedStrings.xml"]
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    return _archive((name, (head + xml).encode()) for name, xml in parts.items())


_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_SHEET: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_KIND: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def _serial(value: float | dt.date) -> float:
    return (value - dt.date(1899, 12, 30)).days if isinstance(value, dt.date) else value


def _w3c(moment: dt.datetime) -> bytes:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}".encode()


def _parts(workbook: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(parts: Iterable[tuple[str, bytes]]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts:
            archive.writestr(zipfile.ZipInfo(name, MADE.timetuple()[:6]), content,
                             zipfile.ZIP_DEFLATED)  # fmt: skip
    return target.getvalue()


def contents(file: bytes) -> dict[str, bytes]:
    """What is to be compared of a file: of an archive the parts with cells, however packed."""
    if not file.startswith(b"PK"):
        return {"": file}
    named = ("xl/worksheets/", "xl/sharedStrings", "content.xml")
    return {name: part for name, part in _parts(file).items() if name.startswith(named)}


if __name__ == "__main__":
    for file_name, made in FILES.items():
        FOLDER.joinpath(file_name).write_bytes(made())
