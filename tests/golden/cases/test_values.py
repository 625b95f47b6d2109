"""Values and headers that came out wrong once, end to end: what each cell is read as, and told."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.errors import ShortenedNumbersError
from rollbook.pipeline.columns import map_headers, suggested
from tests.files import id_number

if TYPE_CHECKING:
    from tests.desk import Answer_co, Desk, Place, Sent, Taken
    from tests.pipeline_run import Site

FOLDER = Path(__file__).parent
NOW = dt.datetime(2026, 11, 28, 8, 0, tzinfo=dt.UTC)
ANN, BOB, CAT, DAN = "8001015009087", "9002280101087", "8506155204082", "7503100300082"
MAY_3 = dt.date(2024, 5, 3)


def send(place: Place[Answer_co], name: str) -> Answer_co:
    return place.send((FOLDER / name).read_bytes(), name)


def codes(done: Sent) -> dict[int, set[str]]:
    """The codes of each row that has any."""
    found = {
        row["row_number"]: {problem["code"] for problem in row["problems"] or ()}
        for row in done.rows
    }
    return {number: those for number, those in found.items() if those}


def read_as(desk: Desk, name: str, field: str) -> list[tuple[str, Any, set[str]]]:
    """Each cell of a file's last column, what its row's member has, and the codes about it.

    The file repeats one ID number; here each row is another person, born in 1980 and called Nomsa
    Dube, so that every value is merged and nothing else is doubtful.
    """
    head, *lines = (FOLDER / name).read_text("utf-8").splitlines()
    cells = [line.split(";")[3] for line in lines]
    rows = [f"{id_number(n)};Nomsa;Dube;{cell}" for n, cell in enumerate(cells)]
    done = desk.send("\n".join([head, *rows]).encode(), name)
    members, said = desk.members(), codes(done)
    return [
        (cell, members[id_number(n)][field], said.get(n + 2, set())) for n, cell in enumerate(cells)
    ]


def test_short_dates_and_what_is_no_date(desk: Desk) -> None:
    found = {
        cell: (date, said) for cell, date, said in read_as(desk, "dates_short.csv", "last_payment")
    }
    old = {"date_before_birth"}
    assert found == {
        "24/05/03": (MAY_3, {"date_year_unclear"}),
        "15/02/62": (dt.date(1962, 2, 15), old),
        "15/02/2062": (dt.date(2062, 2, 15), {"date_future"}),
        "01/02/62": (dt.date(1962, 2, 1), old),
        "'2024/05/03": (MAY_3, set()),
        "2024-13-05": (None, {"date_unclear"}),
        "30/02/2024": (None, {"date_unclear"}),
        "2024": (None, {"date_incomplete"}),
        "May 2024": (None, {"date_incomplete"}),
        "45415": (MAY_3, set()),
        "0": (None, {"date_unclear"}),
        "00/00/0000": (None, {"date_unclear"}),
        "2204-05-03": (dt.date(2204, 5, 3), {"date_future"}),
        "3-May-24": (MAY_3, set()),
        "03-May-2024": (MAY_3, set()),
        "13-May-1998": (dt.date(1998, 5, 13), set()),
    }


def test_dates_in_every_form_are_dates(desk: Desk) -> None:
    found = {
        cell: (date, said) for cell, date, said in read_as(desk, "dates_forms.csv", "date_joined")
    }
    others = {
        "13/05/2024 08:15 PM": (dt.date(2024, 5, 13), set()),
        "5 Mei 2024": (dt.date(2024, 5, 5), set()),
        "05 Sept 2024": (dt.date(2024, 9, 5), set()),
        "1 Oktober 2023": (dt.date(2023, 10, 1), set()),
        "May 5, 2024": (dt.date(2024, 5, 5), set()),
        "5th May 2024": (dt.date(2024, 5, 5), set()),
        "12/31/2024": (dt.date(2024, 12, 31), {"date_month_first"}),
        "31.12.2024": (dt.date(2024, 12, 31), set()),
        # The column has dates of both orders.
        "03/05/2024 12:00:00 AM": (MAY_3, {"date_ambiguous"}),
    }
    assert found == {cell: others.get(cell, (MAY_3, set())) for cell in found}
    assert len(found) == 20


@pytest.mark.parametrize(("last", "expected", "code"), [
    ("2024/04/24", dt.date(2024, 2, 3), None),
    ("24/04/30", dt.date(2024, 2, 3), None),
    ("24/02/03", dt.date(2024, 2, 3), "date_year_unclear"),
    ("25/04/1999", dt.date(2003, 2, 24), None),
])  # fmt: skip
def test_the_last_batch_of_a_file_decides_what_the_first_one_means(
    last: str, expected: dt.date, code: str | None, site: Site
) -> None:
    # The first batch, of rows that could be read either way, was staged when the last one comes.
    open_dates = ["24/02/03"] * 35
    closed = [last] * 5
    rows = [
        f"{id_number(n)},Nomsa,{'Dube' if n else ''},{cell}"
        for n, cell in enumerate([*open_dates, *closed])
    ]
    content = "\n".join(["ID,Name,Surname,Date Joined", *rows]).encode()
    done = site.send(content, "many.csv", batch_rows=30)
    members = site.members()
    assert {members[id_number(n)]["date_joined"] for n in range(1, 35)} == {expected}
    assert codes(done).get(3, set()) == ({code} if code else set())
    assert done.by_row[2] == "invalid"
    assert done.outcomes["inserted"] == len(members) == len(rows) - 1
    assert done.sheet("All Uploaded Rows").height == len(rows)


def test_dates_that_cannot_be_are_told(desk: Desk) -> None:
    done = send(desk, "implausible_dates.csv")
    assert codes(done) == {2: {"date_future"}, 3: {"date_before_birth"}}
    members = desk.members()
    assert members[BOB]["last_payment"] == dt.date(1968, 1, 1)
    # Neither payment can be, so neither says when the membership ends.
    assert [members[number]["expiry_date"] for number in (ANN, BOB)] == [None, None]


def test_an_expiry_date_that_is_not_understood_is_counted_and_told(desk: Desk) -> None:
    done = send(desk, "expiry_not_understood.csv")
    assert codes(done) == {2: {"expiry_unclear"}, 3: {"expiry_lifetime"}}
    members = desk.members()
    assert members[ANN]["expiry_date"] == dt.date(2028, 1, 15)
    assert members[BOB]["expiry_date"] == dt.date(9999, 12, 31)


def test_what_is_no_name_refuses_the_row(desk: Desk) -> None:
    done = send(desk, "names_that_are_none.csv")
    assert codes(done) == {
        **{number: {"firstname_missing"} for number in range(2, 11)},
        11: {"name_initials"},
    }
    assert desk.members()[ANN]["firstname"] == "x"


def test_names_of_any_form_of_unicode_are_the_same(site: Site) -> None:
    assert codes(send(site, "unicode_names.csv")) == {}
    members = site.members()
    assert [members[number]["firstname"] for number in (ANN, BOB, CAT)] == ["Zo\u00eb"] * 3
    assert members[CAT]["surname"] == "Smith"
    other = "ID Number,Firstname,Surname\n" + "\n".join(
        f"{number},Zoe\u0308,{members[number]['surname']}" for number in (ANN, BOB, CAT)
    )
    assert site.send(other.encode(), "again.csv").outcomes["unchanged"] == 3


def test_phone_numbers_as_people_write_them(desk: Desk) -> None:
    number, none = "+27821234567", set[str]()
    ours, several, remark = (number, none), (number, {"phone_several"}), (number, {"phone_remark"})
    unclear = (None, {"phone_unclear"})
    rows = read_as(desk, "phones.csv", "cell_number")
    assert {cell: (found, said) for cell, found, said in rows} == {
        "+27 (0)82 123 4567": ours,
        "082-123-4567": ours,
        "0821234567 / 0837654321": several,
        "082 123 4567 (wife)": remark,
        "27821234567.0": ours,
        "8.21235E+08": (None, {"phone_shortened"}),
        "821234567": ours,
        "O821234567": unclear,
        "0027 82 1234567": ours,
        "+44 20 7946 0958": ("+442079460958", set()),
        "086 100 0000": ("+27861000000", {"phone_doubtful"}),
        "082123456": unclear,
        "tel:+27821234567": ours,
        "082 123 4567 x12": remark,
        "\u202a+27821234567\u202c": ours,
        "++27821234567": ours,
        "+2782 123 4567": ours,
    }


def test_amounts_as_people_write_them(desk: Desk) -> None:
    rows = read_as(desk, "amounts.csv", "membership_amount")
    rows += read_as(desk, "amount_thousands.csv", "membership_amount")
    assert {cell: (amount and str(amount), said) for cell, amount, said in rows} == {
        "R10.00": ("10.00", set()),
        "R 1 200,50": ("1200.50", set()),
        "1.200,50": ("1200.50", set()),
        "R10-00": ("10.00", set()),
        "10,5": ("10.50", set()),
        "ZAR 20": ("20.00", set()),
        "R20 p.a.": ("20.00", {"amount_remark"}),
        "(10.00)": (None, {"amount_negative"}),
        "R1\u00a0200.00": ("1200.00", set()),
        "10.005": (None, {"amount_ambiguous"}),
        "R10.00c": ("10.00", {"amount_remark"}),
        "1.200": (None, {"amount_ambiguous"}),
        "12,50": ("12.50", set()),
        "1,2,3": (None, {"amount_unclear"}),
    }
    assert all(amount is None or isinstance(amount, Decimal) for _, amount, _ in rows)


def test_shortened_id_numbers_refuse_the_file_with_one_sentence(desk: Desk) -> None:
    with pytest.raises(ShortenedNumbersError, match="in 2 of the 2 rows"):
        send(desk, "shortened_ids.csv")


def test_one_shortened_id_number_refuses_its_row(desk: Desk) -> None:
    rows = [f"{id_number(n)},Nomsa,Dube" for n in range(3)]
    content = "\n".join(["ID,Name,Surname", *rows, "8.00102E+12,Ann,Bosman"])
    done = desk.send(content.encode(), "one.csv")
    assert codes(done) == {5: {"id_shortened"}}
    assert done.verdicts["valid"] == 3


def test_an_age_that_contradicts_the_id_number_is_told(desk: Desk) -> None:
    said = codes(send(desk, "age_contradicts.csv"))
    assert all("age_contradicts_id" in said[number] for number in (2, 3))


def test_the_age_decides_the_century(desk: Desk) -> None:
    assert codes(send(desk, "century_by_age.csv")) == {}
    born = {number: member["date_of_birth"] for number, member in desk.members().items()}
    assert born == {
        "2505055000083": dt.date(1925, 5, 5),
        "2511284800087": dt.date(1925, 11, 28),
    }


#: People whose birth dates are 37 days apart.
BORN_APART = [id_number(n * 370_000) for n in range(6)]
BORN = [dt.datetime.strptime(number[:6], "%y%m%d") for number in BORN_APART]  # noqa: DTZ007


def with_birth_dates(desk: Desk, *said: str, header: str = "Date of Birth") -> Taken:
    """Send people with what the column says of their birth dates."""
    lines = [
        f"{number},Ann,Aa{chr(97 + n) * 3},{text}"
        for n, (number, text) in enumerate(zip(BORN_APART, said, strict=True))
    ]
    content = "\n".join([f"ID Number,Firstname,Surname,{header}", *lines])
    return desk.send(content.encode(), "list.csv")


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%y%m%d", "%Y%m%d", "%d.%m.%y", "%d %B %Y", "%Y", "", "?"],
)
def test_a_birth_date_as_in_the_id_number_needs_no_word(form: str, desk: Desk) -> None:
    done = with_birth_dates(desk, *(date.strftime(form) for date in BORN))
    assert done.verdicts["valid"] == len(BORN)
    assert not done.upload["rows_with_warnings"]


@pytest.mark.parametrize(
    "header",
    ["Date of Birth", "Member's DOB", "D.O.B. (dd/mm/yyyy)", "Geboortedatum", "Usuku lokuzalwa"],
)
def test_birth_dates_that_were_sorted_apart_from_the_id_numbers_are_told(
    header: str, desk: Desk
) -> None:
    said = [f"{date:%d/%m/%Y}" for date in (*BORN[:3], BORN[4], BORN[5], BORN[3])]
    done = with_birth_dates(desk, *said, header=header)
    told = {number for number, found in codes(done).items() if "birth_date_contradicts_id" in found}
    assert told == {5, 6, 7}
    assert done.upload["reading"]["columns_not_read"] == [header]


def notes(done: Sent) -> dict[str, str]:
    return {note["code"]: note["message"] for note in done.upload["reading"]["notes"]}


def test_a_column_of_birth_dates_most_of_which_differ_has_one_note(desk: Desk) -> None:
    said = [f"{date:%d/%m/%Y}" for date in (*BORN[1:], BORN[0])]
    done = with_birth_dates(desk, *said)
    assert not done.upload["rows_with_warnings"]
    assert notes(done)["birth_dates_differ"].startswith(
        "In 6 of 6 rows the date of birth in column 'Date of Birth' is not the one in the ID number"
    )


@pytest.mark.parametrize(
    ("headers", "columns"),
    [
        (("Spouse Name", "Date of Birth"), {}),
        (("Next of kin", "Relationship", "Date of Birth"), {}),
        (("Notes", "Date of Birth"), {"columns": {"Date of Birth": None}}),
    ],
)
def test_a_birth_date_of_another_person_or_one_that_is_left_out_is_not_compared(
    headers: tuple[str, ...], columns: dict[str, Any], desk: Desk
) -> None:
    lines = [
        ",".join([number, "Ann", f"Aa{chr(97 + n) * 3}", *["x"] * (len(headers) - 1), said])
        for n, (number, said) in enumerate(
            zip(BORN_APART, ["1950-01-01", *(f"{date:%Y-%m-%d}" for date in BORN[1:])], strict=True)
        )
    ]
    content = "\n".join([",".join(["ID Number", "Firstname", "Surname", *headers]), *lines])
    done = desk.send(content.encode(), "list.csv", **columns)
    assert not done.upload["rows_with_warnings"]
    assert done.upload["reading"]["columns_not_read"] == list(headers)


def test_the_birth_date_of_a_member_and_of_a_spouse_below_titles_are_told_apart(
    desk: Desk,
) -> None:
    content = "\n".join(
        [
            ",,,,Spouse,",
            "ID Number,Firstname,Surname,Date of Birth,Name,Date of Birth",
            f"{BORN_APART[0]},Ann,Aa,1980-01-02,Bob,1950-01-01",
        ]
    )
    done = desk.send(content.encode(), "list.csv")
    [problem] = done.rows[0]["problems"]
    assert (problem["code"], problem["value"]) == ("birth_date_contradicts_id", "1980-01-02")


def test_the_birth_date_of_a_spouse_is_not_the_members(desk: Desk) -> None:
    done = with_birth_dates(desk, *["1950-01-01"] * 6, header="Spouse Date of Birth")
    assert not done.upload["rows_with_warnings"]


@pytest.mark.parametrize("said", ["1925/05/05", "5 May 1925", "1925"])
def test_the_birth_date_decides_the_century(said: str, desk: Desk) -> None:
    number = "2505055000083"
    content = f"ID Number,Firstname,Surname,DOB,Date Joined\n{number},Ann,Aa,{said},2000-01-01"
    done = desk.send(content.encode(), "list.csv")
    assert done.verdicts["valid"] == 1
    assert desk.members()[number]["date_of_birth"] == dt.date(1925, 5, 5)
    # The date may have a typing error in its year.
    assert codes(done) == {2: {"birth_date_century"}}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("1900-01-01", {"birth_date_contradicts_id"}),
        ("1900", {"birth_date_contradicts_id"}),
        ("1905-03-06", {"birth_date_contradicts_id"}),
        ("06/03/1905", {"birth_date_contradicts_id"}),
        ("6 March 1905", {"birth_date_contradicts_id"}),
        ("19050306", {"birth_date_contradicts_id"}),
        ("2005-03-05", set()),
        ("", set()),
    ],
)
def test_another_birth_date_does_not_decide_the_century(
    said: str, told: set[str], desk: Desk
) -> None:
    number = "0503055009081"
    content = f"ID Number,Firstname,Surname,Date of Birth\n{number},Ann,Aaron,{said}"
    done = desk.send(content.encode(), "list.csv")
    assert desk.members()[number]["date_of_birth"] == dt.date(2005, 3, 5)
    assert codes(done) == ({2: told} if told else {})


@pytest.mark.parametrize("age", ["", "121"])
def test_a_birth_date_that_makes_a_person_old_is_told_unless_the_age_says_so_too(
    age: str, desk: Desk
) -> None:
    number = "0503055009081"
    content = f"ID Number,Firstname,Surname,DOB,Age\n{number},Ann,Aaron,1905-03-05,{age}"
    done = desk.send(content.encode(), "list.csv")
    assert desk.members()[number]["date_of_birth"] == dt.date(1905, 3, 5)
    assert codes(done) == ({} if age else {2: {"birth_date_century"}})


def test_a_file_without_ages_does_not_take_the_century_back(site: Site) -> None:
    send(site, "century_by_age.csv")
    before = site.members()
    content = "ID Number,Firstname,Surname\n2505055000083,Old,Person\n2511284800087,Old,Woman\n"
    assert site.send(content.encode(), "without.csv").outcomes["unchanged"] == 2
    assert site.members() == before


def test_the_first_of_two_columns_that_has_a_value_counts(desk: Desk) -> None:
    content = (
        "ID,Name,Surname,Cell Number,Cell,Nickname\n"
        f"{ANN},Ann,Bosman,0821234567,0837654321,x\n"
        f"{BOB},Bob,Botha,,083 765 4321,x\n"
        f"{CAT},Cat,Cele,0821234567,+27 82 123 4567,x\n"
        f"{DAN},Dan,Dube,12345,0837654321,x\n"
    )
    done = desk.send(content.encode(), "two.csv")
    assert codes(done) == {2: {"second_column_differs"}, 5: {"phone_unclear"}}
    told = done.rows[0]["problems"][0]
    assert (told["column"], told["value"]) == ("Cell", "0837654321")
    phones = {number: member["cell_number"] for number, member in desk.members().items()}
    assert phones == {
        ANN: "+27821234567", BOB: "+27837654321", CAT: "+27821234567", DAN: "+27837654321",
    }  # fmt: skip
    assert done.upload["reading"]["columns_not_read"] == ["Nickname"]


@pytest.mark.parametrize(
    ("header", "cell", "parts"),
    [
        ("Full Name", "Mpho Van der Merwe", ("Mpho", "Van der Merwe")),
        ("Surname & Name", "Van der Merwe Mpho", ("Mpho", "Van der Merwe")),
        ("Naam en Van", "Mpho van der Merwe", ("Mpho", "van der Merwe")),
        ("Name/Surname", "MERWE, Mpho", ("Mpho", "MERWE")),
    ],
)
def test_whole_names_under_any_of_their_headers(
    header: str, cell: str, parts: tuple[str, str], desk: Desk
) -> None:
    content = f'ID,{header}\n{ANN},"{cell}"\n{BOB},Madonna\n'
    done = desk.send(content.encode(), "whole.csv")
    assert codes(done)[2] == {"name_split"}
    assert done.by_row == {2: "valid", 3: "invalid"}
    member = desk.members()[ANN]
    assert (member["firstname"], member["surname"]) == parts


def test_a_whole_name_beside_a_surname_is_the_first_names(desk: Desk) -> None:
    content = f"ID,Full Names,Surname\n{ANN},Ann Mary,Bosman\n{BOB},Bob Botha,Botha\n"
    done = desk.send(content.encode(), "names.csv")
    assert codes(done) == {3: {"name_split"}}
    names = {number: (m["firstname"], m["surname"]) for number, m in desk.members().items()}
    assert names == {ANN: ("Ann Mary", "Bosman"), BOB: ("Bob", "Botha")}


def test_a_header_may_name_a_passport_beside_the_id_number(desk: Desk) -> None:
    assert send(desk, "header_id_or_passport.csv").verdicts["valid"] == 1
    assert desk.members()[ANN]["surname"] == "Mokoena"


def test_a_whole_name_in_one_column_is_split_and_told(desk: Desk) -> None:
    done = send(desk, "full_name.xlsx")
    members = desk.members()
    found = members["8108121192085"]
    assert (found["firstname"], found["surname"]) == ("Mpho", "Van der Merwe")
    assert done.verdicts["valid"] == len(members)
    assert all("name_split" in those for those in codes(done).values())
    assert codes(done).keys() == {row["row_number"] for row in done.rows}


def test_junk_around_an_address_goes_and_a_broken_one_is_left_out(desk: Desk) -> None:
    assert codes(send(desk, "email_junk.csv")) == {5: {"email_unclear"}}
    emails = {number: member["email"] for number, member in desk.members().items()}
    assert emails == {
        ANN: "ann@example.org", BOB: "bob@example.org", CAT: "cat@example.org", DAN: None,
    }  # fmt: skip


def test_wards_as_people_and_programs_write_them(desk: Desk) -> None:
    assert codes(send(desk, "ward_words.csv")) == {}
    wards = {number: member["ward"] for number, member in desk.members().items()}
    assert wards == {ANN: "12", BOB: "12", CAT: None, DAN: "79800012"}


def test_unknown_headers_are_offered_and_not_taken() -> None:
    headers = ["Lidnommer", "ID", "Roepnaam", "Familienaam", "Nommer", "Opmerkings"]
    assert map_headers(headers).known == {"ID": "id_number"}
    offered = [suggested(header)[:1] for header in headers[2:]]
    assert offered == [("firstname",), ("surname",), ("cell_number",), ()]


@pytest.mark.parametrize("cell", [f"ID: {ANN}", f"{ANN} (SA)"])
def test_a_label_or_remark_beside_an_id_number_goes_and_is_flagged(cell: str, desk: Desk) -> None:
    done = desk.send(f"ID Number,First Name,Surname\n{cell},Ann,Aa\n".encode(), "list.csv")
    assert set(desk.members()) == {ANN}
    assert codes(done) == {2: {"id_remark"}}
