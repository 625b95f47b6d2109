"""Values that can be read and are probably something else: flagged, kept or left out."""

from __future__ import annotations

import datetime as dt
from itertools import zip_longest
from typing import TYPE_CHECKING

import pytest

from tests.files import id_number, one_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.desk import Answer_co, Desk, Place, Sent
    from tests.pipeline_run import Site

NOW = dt.datetime(2026, 11, 28, 8, 0, tzinfo=dt.UTC)
MAY_3, JULY_12 = dt.datetime(2024, 5, 3), dt.datetime(2024, 7, 12)  # noqa: DTZ001 - a cell has no zone
Cell = str | float | dt.datetime | None


def send(place: Place[Answer_co], headers: Sequence[str], *rows: Sequence[Cell]) -> Answer_co:
    """Send rows of a workbook, each with an ID number of its own in front."""
    cells = [(id_number(number), *row) for number, row in enumerate(rows)]
    return place.send(one_sheet([("ID Number", *headers), *cells]), "list.xlsx")


def codes(done: Sent, header: str | None = None) -> list[set[str]]:
    """The codes of each row, or only those about the column with that header."""
    return [
        {one["code"] for one in row["problems"] or () if header in {None, one["column"]}}
        for row in done.rows
    ]


#: Files, each with cells of some columns, and the doubts that they have.
PROBABLY_ANOTHER: list[dict[tuple[str, str], dict[Cell, str | None]]] = [
    {
        ("Cell", "cell_number"): {
            "0821234567": None, "0600000000": "phone_doubtful", "0123456789": "phone_doubtful",
            "0800123456": "phone_doubtful", "0861 234 567": "phone_doubtful",
            "0875501234": None, "0811234567": None,
        },
        ("Ward", "ward"): {
            "79800012": None, "74201012": None, "12": None, "32871234": "ward_implausible",
            "79800000": "ward_implausible", "79800151": "ward_implausible",
            "12345678": "ward_implausible", "0": "ward_implausible",
        },
        ("Subscription", "subscription"): {
            "Annual": None, "24 months": None, "2026": None, "R 10": None, "R20": None,
            "20.00": None, "10,50": None, "1.2.24": "text_unlikely", "a@b.co.za": "text_unlikely",
        },
        ("Region", "region"): {"R1": None, "R 12": None, MAY_3: "text_unlikely"},
        ("Occupation", "occupation"): {"R56": "text_unlikely", "20.00": "text_unlikely"},
        ("Address", "residential_address"): {
            "R56": None, "R 101": None, "R56.00": "text_unlikely", "10,50": "text_unlikely",
        },
        ("Email", "email"): {
            "a@gmail.com": None, "a@b.co.za": None, "a@gmail.con": "email_doubtful",
            "a@gmial.com": "email_doubtful", "none@none.com": "email_doubtful",
            "a@b.coza": "email_doubtful", "na@na.co.za": "email_doubtful",
            "x@x.com": "email_doubtful", "n/a@gmail.com": "email_doubtful",
            "no-name@b.co.za": "email_doubtful", "nancy@b.co.za": None, "nolan@nolan.co.za": None,
        },
        ("Amount", "membership_amount"): {
            "R200": None, "20240503": "amount_implausible", "2024": "amount_implausible",
        },
        ("Race", "race"): {"African": None, "Xhosa": "value_unknown"},
        ("Language", "language"): {"Zulu": None, "Shona": "value_unknown"},
        ("Expiry Date", "expiry_date"): {
            "2027/01/31": None, "9999-12-31": None, "Lifetime": "expiry_lifetime",
            "2044/12/31": "expiry_far",
        },
        ("Date Joined", "date_joined"): {
            "2024/05/03": None, "1980/01/01": "date_in_childhood",
            "1988/06/01": "date_in_childhood",
        },
    },
    {
        ("Intekening", "subscription"): {"R20": None, "20.00": None},
        ("Address", "residential_address"): {
            "12/3 Main St": None, "R101 Farm": None, "Same St 1": None,
            "12/3/2024": "text_unlikely", "1.2.24": "text_unlikely", "Same": "text_unlikely",
            "same as wife": "text_unlikely",
        },
    },
    {
        ("Address", "residential_address"): {
            "1 Long St": None, MAY_3: "text_unlikely", "8001015009087": "text_unlikely",
            "a@b.co.za": "text_unlikely", "true": "text_unlikely",
        },
    },
]  # fmt: skip


@pytest.mark.parametrize("columns", PROBABLY_ANOTHER)
def test_a_value_that_is_probably_another_is_kept_and_flagged(
    columns: dict[tuple[str, str], dict[Cell, str | None]], desk: Desk
) -> None:
    rows = zip_longest(*columns.values())
    headers = ("Firstname", "Surname", *(header for header, _ in columns))
    done = send(desk, headers, *(("Nomsa", "Dube", *cells) for cells in rows))
    members = list(desk.members().values())
    for (header, field), cells in columns.items():
        found = codes(done, header)
        expected = {cell: {code} if code else set() for cell, code in cells.items()}
        assert dict(zip(cells, found, strict=False)) == expected, header
        assert not any(found[len(cells) :]), header
        assert all(member[field] is not None for member in members[: len(cells)]), header
    said = {one["column"] for row in done.rows for one in row["problems"] or ()}
    assert said <= {header for header, _ in columns}


#: Cells of columns that are not read, and whether they say that the person has left.
OF_LEAVING: dict[str, dict[Cell, bool]] = {
    "Remarks": {
        "Deceased": True, "oorlede 3 Mei": True, "Resigned in 2023": True, "late": True,
        "please delete": True, "ushonile": True, "no longer a member": True,
        "paid late": False, "moved to Cape Town": True, "deadline missed": False,
        "left hand injured": False, "member of the Left Club": False, None: False,
        "Widow (husband passed away)": False, "father deceased": False,
        "husband resigned; deceased": True, "joined DA": True, "joined ANC in 1994": False,
        "do not renew": True, "wrong number": True, "ID belongs to someone else": True,
        "akasasebenzi": True, "not deceased": False, "RIP": True, "tripped": False,
        "unpaid": False, "opted out of SMS": False, "hlokofetše": True,
    },
    "Active?": {
        "Y": False, "N": True, "No": True, None: False, "-": False, "not active": True,
        "Active": False, "Inactive": True, "Not yet known": False,
    },
    "Active Member": {"Yes": False, "No": True},
    "Aktief": {"Ja": False, "Nee": True},
    "In good standing": {"Y": False, "N": True},
    "Still a member? (Y/N)": {"Y": False, "N": True},
    "Remove?": {"x": True, None: False, "No": False},
    "Delete": {"x": True, "0": False},
    "Suspended": {"Yes": True, "No": False},
    "Date Left": {MAY_3: True, None: False},
    "Reason for leaving": {"Work": True, "n/a": False},
    "Left hand": {"Yes": False},
    "Active citizen": {"No": False},
    "Deceased?": {
        "Yes": True, "x": True, MAY_3: True, "No": False, "N": False, "-": False, "0.00": False,
        "not deceased": False, "n.a.": False, "Lewend": False, "#N/A": False,
    },
    "Deceased (Y/N)": {"Y": True, "N": False},
    "Death benefit": {"R5000": False, "Yes": False},
    "Beneficiary in case of death": {"Thabo Nkosi": False},
    "Spouse deceased": {"Yes": False},
    "Date of death": {MAY_3: True, "2024": True, None: False},
}  # fmt: skip


def test_words_of_leaving_in_a_column_that_is_not_read_are_flagged(desk: Desk) -> None:
    headers = ("Firstname", "Surname", *OF_LEAVING)
    rows = zip_longest(*OF_LEAVING.values())
    done = send(desk, headers, *(("Nomsa", "Dube", *cells) for cells in rows))
    for header, cells in OF_LEAVING.items():
        found = codes(done, header)
        expected = {cell: {"may_have_left"} if left else set() for cell, left in cells.items()}
        assert dict(zip(cells, found, strict=False)) == expected, header
        assert not any(found[len(cells) :]), header
    said = {one["column"] for row in done.rows for one in row["problems"] or ()}
    assert said <= OF_LEAVING.keys()
    assert len(desk.members()) == len(done.rows)


STATUSES: dict[Cell, str | None] = {
    "Active": None, "Paid": None, "Lapsed": None, "Y": None, "Chairperson": None,
    "Deceased": "may_have_left", "oorlede": "may_have_left", "Resigned": "may_have_left",
    "N": "may_have_left", "Inactive": "may_have_left", "Married": "value_unknown",
    "Divorced": "value_unknown", "Unemployed": "value_unknown", "Student": "value_unknown",
    "?": "value_unknown", "see notes": "value_unknown", "Active/Lapsed": "value_unknown",
    "1": "value_unknown", "0821234567": "text_unlikely", "A": None, "D": "value_unknown",
    "DEC": "may_have_left", "Present": "value_unknown", "Apology": "value_unknown",
    "Not on voters' roll": "value_unknown", "Contract": "value_unknown",
}  # fmt: skip


def test_a_status_that_is_another_or_says_that_a_person_left_is_kept_and_flagged(
    desk: Desk,
) -> None:
    headers = ("Firstname", "Surname", "Status")
    done = send(desk, headers, *(("Nomsa", "Dube", cell) for cell in STATUSES))
    flagged = {cell: {code} if code else set() for cell, code in STATUSES.items()}
    assert dict(zip(STATUSES, codes(done), strict=True)) == flagged
    assert [member["status"] for member in desk.members().values()] == list(STATUSES)


def test_beside_b_for_black_an_a_may_be_asian(desk: Desk) -> None:
    for others, kept, said in (("BWI", "A", {"value_unknown"}), ("CWI", "African", set[str]())):
        rows = (("Nomsa", "Dube", race) for race in ("A", *others))
        done = send(desk, ("Firstname", "Surname", "Race"), *rows)
        assert codes(done) == [said, set(), set(), set()]
        assert desk.members()[id_number(0)]["race"] == kept


def test_a_payment_of_nothing_is_flagged(desk: Desk) -> None:
    rows = [("0", "2026-03-01"), ("R0.00", "2026-03-01"), ("10", "2026-03-01"), ("0", None)]
    headers = ("Firstname", "Surname", "Amount Paid", "Date Paid")
    done = send(desk, headers, *(("Nomsa", "Dube", *row) for row in rows))
    assert codes(done, "Amount Paid") == [{"payment_failed"}, {"payment_failed"}, set(), set()]


def test_a_ditto_mark_is_left_out_and_refuses_a_row_that_needs_its_value(desk: Desk) -> None:
    done = send(
        desk,
        ("Firstname", "Surname", "Address", "Province"),
        ("Nomsa", "Dube", "1 Long St", "Gauteng"),
        ("Sipho", "Cele", '"', "do"),
        ("Lerato", "Moloi", "Ditto", "-do-"),
        ("Ann", "''", "as above", "''"),
    )
    assert codes(done) == [
        set(),
        {"ditto_left_out"},
        {"ditto_left_out"},
        {"ditto_value", "ditto_left_out"},
    ]
    members = desk.members()
    assert [members[id_number(n)]["residential_address"] for n in range(3)] == [
        "1 Long St", None, None,
    ]  # fmt: skip


def test_names_under_each_others_headers_are_flagged(site: Site) -> None:
    rows = [("Mokoena", "Thandi"), ("van der Merwe", "Jan"), ("Ann", "Smith"), ("Nkosi", "Dlamini")]
    done = send(site, ("Firstname", "Surname"), *rows)
    assert codes(done) == [{"names_swapped"}, {"names_swapped"}, set(), set()]
    # The record has it the other way round.
    done = send(site, ("Surname", "Firstname"), *[rows[2]] * 3)
    assert codes(done)[2] == {"names_swapped"}


#: Whether names hold more than their own or no letters.
NAMES: dict[tuple[str, str], bool] = {
    ("Ann Botha", "Botha"): True, ("Botha, Ann", "Botha"): True, ("BOTHA Ann", "Botha"): True,
    ("Ann-Mary", "Ann-Mary Botha"): True, ("Botha", "Botha"): True, ("S1pho", "Botha"): True,
    ("Ann", "B0tha"): True, ("\u0405ipho", "Botha"): True,
    ("B\u03bfb", "Botha"): True, ("Ann Mary", "Botha"): False, ("Ben", "Ben Ali"): False,
    ("Ann", "Ann Botha"): False, ("Zo\u00eb", "M\u00fcller"): False,
    ("Bothabo", "Botha"): False, ("Mary Jane", "Jane"): False,
    ("Sipho Themba", "Themba"): False,
    ("Jane", "Jane Botha"): True, ("Botha, Jane", "Botha"): True, ("Jane", "Jane"): True,
    ("\u0410\u043d\u043d\u0430", "\u0411\u043e\u0442\u0430"): False,
}  # fmt: skip


def test_names_that_hold_more_than_their_own_or_no_letters_are_told(desk: Desk) -> None:
    told = [
        "name_doubtful" in found for found in codes(send(desk, ("Firstname", "Surname"), *NAMES))
    ]
    assert dict(zip(NAMES, told, strict=True)) == NAMES
    assert [(m["firstname"], m["surname"]) for m in desk.members().values()] == list(NAMES)


def test_a_cell_has_one_doubt_of_a_kind(desk: Desk) -> None:
    names = [("Nkosi & Dlamini", "Dlamini"), ("Dlamini", "Nkosi & Dlamini")]
    rows = send(desk, ("Firstname", "Surname"), *names).rows
    doubted = [
        [one["column"] for one in row["problems"] if one["code"] == "name_doubtful"] for row in rows
    ]
    assert doubted == [["Firstname"], ["Surname"]]


def test_a_membership_that_expires_before_it_begins_is_told(desk: Desk) -> None:
    headers = ("Firstname", "Surname", "Date Joined", "Expiry Date")
    rows = [("Ann", "Aa", "2026-05-03", day) for day in ("2024-05-02", "2026-05-03", "2028-05-03")]
    assert codes(send(desk, headers, *rows)) == [{"expiry_before_joining"}, set(), set()]


def test_two_people_in_a_cell_of_several_lines_are_flagged(desk: Desk) -> None:
    done = send(
        desk, ("Firstname", "Surname"), ("Ann\nBob", "Aa"), ("Ann", "Aa\nBb"), ("Ann", "Aa")
    )
    assert codes(done) == [{"name_doubtful"}, {"name_doubtful"}, set()]


def test_date_cells_are_flagged_where_the_program_left_the_later_days_as_text(desk: Desk) -> None:
    headers = ("Firstname", "Surname", "Date Joined")
    days: list[Cell] = [MAY_3, JULY_12, dt.datetime(2024, 6, 6), "13/05/2024", "31/12/2023"]  # noqa: DTZ001
    done = send(desk, headers, *(("Nomsa", "Dube", day) for day in days))
    assert codes(done) == [{"date_cells_swapped"}] * 2 + [set()] * 3
    days[1] = dt.datetime(2024, 7, 21)  # noqa: DTZ001
    done = send(desk, headers, *(("Nomsa", "Dube", day) for day in days))
    assert codes(done) == [set()] * 5


def test_a_date_of_another_hand_does_not_clear_the_cells_that_the_program_took(desk: Desk) -> None:
    headers = ("Firstname", "Surname", "Date Joined")
    early: list[Cell] = [dt.datetime(2024, month, month - 1) for month in range(2, 10)]  # noqa: DTZ001
    left: list[Cell] = [f"{day}/05/2024" for day in range(13, 18)]
    typed: list[Cell] = [dt.datetime(2024, 3, 28), "03/04/2024", "05/14/2024"]  # noqa: DTZ001
    for one in typed:
        done = send(desk, headers, *(("Nomsa", "Dube", day) for day in [*early, *left, one]))
        flagged = [n for n, found in enumerate(codes(done)) if "date_cells_swapped" in found]
        assert flagged == list(range(8)), one
    # Of right dates, more than half have a day after the 12th.
    right = [dt.datetime(2024, month, 20) for month in range(2, 6)]  # noqa: DTZ001
    done = send(desk, headers, *(("Nomsa", "Dube", day) for day in [*early, *left, *right]))
    assert not any("date_cells_swapped" in found for found in codes(done))


def test_a_payment_long_before_the_joining_is_flagged(desk: Desk) -> None:
    done = send(
        desk,
        ("Firstname", "Surname", "Date Joined", "Last Payment"),
        ("Nomsa", "Dube", "2024/05/03", "2023/01/01"),
        ("Sipho", "Cele", "2024/05/03", "2024/05/01"),
    )
    assert codes(done) == [{"payment_before_joining"}, set()]


@pytest.mark.parametrize(
    ("whole", "first", "surname"),
    [
        ("Mokoena T", "T", "Mokoena"),
        ("Mokoena T.J.", "T.J.", "Mokoena"),
        ("Thandi Mokoena Jnr", "Thandi", "Mokoena Jnr"),
        ("Thandi Mokoena (Zulu)", "Thandi", "Mokoena (Zulu)"),
    ],
)
def test_initials_and_suffixes_of_a_whole_name_are_neither_surname_nor_first_name(
    whole: str, first: str, surname: str, desk: Desk
) -> None:
    send(desk, ("Full Name",), (whole,))
    [member] = desk.members().values()
    assert (member["firstname"], member["surname"]) == (first, surname)


def test_what_a_form_shows_where_nobody_chose_is_no_value(desk: Desk) -> None:
    cells = (
        "unknown", "Not given", "TBC", "to follow", "don't know", "Onbekend", "nie beskikbaar",
        "-- Select --", "Please select", "Select an option", "Choose an item.", "Kies...",
        "Click or tap here to enter text.", "." * 30,
    )  # fmt: skip
    texts = {
        "Address": "residential_address", "Occupation": "occupation", "Region": "region",
        "Voting Station": "voting_station", "Subscription": "subscription",
        "Qualification": "qualification", "Status": "status", "Municipality": "municipality",
    }  # fmt: skip
    rows = [("Nomsa", "Dube", *(cell,) * len(texts)) for cell in cells]
    done = send(desk, ("Firstname", "Surname", *texts), *rows)
    assert codes(done) == [set()] * len(cells)
    people = desk.members().values()
    assert {person[field] for person in people for field in texts.values()} == {None}


def test_marks_of_a_checklist_and_pointers_to_a_form_are_kept_and_flagged(desk: Desk) -> None:
    unlikely = {
        "Address": [
            "Y",
            "✓",
            "x",
            "none",
            "1804",
            "see form",
            "on file",
            "[Address]",
            "pending",
            "No fixed address",
        ],
        "Occupation": ["Yes", "√", "5", "as per form", "refused to give"],
        "Voting Station": ["N", "33", "geen", "sien vorm"],
        "Region": ["Yes", "ja", "outstanding"],
        "Qualification": ["Y", "see ID"],
    }
    likely = {
        "Address": ["12 Long St", "See View Flats", "No 5 Main Rd"], "Region": ["1", "R1"],
        "Occupation": ["None", "Nil"], "Qualification": ["12", "None"], "Status": ["Pending"],
        "Subscription": ["Yes", "100"],
    }  # fmt: skip
    headers = list(unlikely | likely)
    cells = [
        (header, cell) for said in (unlikely, likely) for header in said for cell in said[header]
    ]
    rows = [("Nomsa", "Dube", *(cell if one == header else "" for one in headers))
            for header, cell in cells]  # fmt: skip
    done = send(desk, ("Firstname", "Surname", *headers), *rows)
    flagged = sum(map(len, unlikely.values()))
    assert codes(done) == [{"text_unlikely"}] * flagged + [set()] * (len(cells) - flagged)


def test_an_apostrophe_by_which_a_program_knows_a_text_is_no_part_of_it(desk: Desk) -> None:
    headers = ("Firstname", "Surname", "Ward", "Address")
    done = send(
        desk,
        headers,
        ("'Thandi", "'Nkosi", "'12", "'12 Long St"),
        ("'Mamello", "'t Hooft", "12", "'n Plaas"),
    )
    assert codes(done) == [set(), set()]
    fields = ("firstname", "surname", "ward", "residential_address")
    assert [[person[field] for field in fields] for person in desk.members().values()] == [
        ["Thandi", "Nkosi", "12", "12 Long St"],
        ["'Mamello", "'t Hooft", "12", "'n Plaas"],
    ]
