"""Which header means which field."""

from __future__ import annotations

import time

import pytest

from rollbook.pipeline.columns import (
    date_order,
    fingerprint,
    is_surname_first,
    key,
    map_headers,
    missing_hint,
    own,
    suggested,
    unique_headers,
    variants,
)


def test_no_variant_stands_for_two_fields() -> None:
    fields: dict[str, set[str]] = {}
    for field, names in variants().items():
        for name in names:
            fields.setdefault(key(name), set()).add(field)
    assert {name: found for name, found in fields.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("ID Number", "id_number"),
        ("  id_NUMBER ", "id_number"),
        ("Identity No.", "id_number"),
        ("Memebership Amount", "membership_amount"),
        ("Name", "firstname"),
        ("First Name(s)", "firstname"),
        ("E-mail", "email"),
        ("Selfoonnommer", "cell_number"),
        ("Naam", "firstname"),
        ("Ifani", "surname"),
        ("Vóórnaam", "firstname"),
        ("VD Number", "voting_district"),
    ],
)
def test_a_header_is_known_by_any_of_its_names(header: str, field: str) -> None:
    assert map_headers([header]).known == {header: field}


def test_the_plainer_of_two_headers_for_one_field_is_kept_and_does_not_count() -> None:
    # A database writes "ID" for its own running number, and an office "Name" for the whole name.
    columns = map_headers(["ID", "Shoe size", "ID Number", "Name", "First Name", "RSA ID"])
    assert columns.known == {
        "ID Number": "id_number", "First Name": "firstname", "RSA ID": "id_number",
    }  # fmt: skip
    assert columns.headers["id_number"] == ("ID Number", "RSA ID")
    assert columns.unknown == ("ID", "Shoe size", "Name")
    assert columns.header("id_number") == "ID Number"
    assert columns.header("ward") is None
    assert map_headers(["ID", "Name", "Identity Number", "Voornaam"]).known == {
        "Identity Number": "id_number",
        "Voornaam": "firstname",
    }


def test_the_first_of_two_equal_headers_counts_first_and_the_senders_word_alone() -> None:
    assert map_headers(["ID-Number", "ID Number"]).header("id_number") == "ID-Number"
    given = {"Old ID": "id_number", "x": "id_number"}
    found = map_headers(["ID Number", "x", "Old ID"], given)
    assert found.headers == {"id_number": ("x", "Old ID")}
    assert found.unknown == ("ID Number",)


def test_what_every_member_needs_is_asked_for() -> None:
    assert map_headers(["ID Number", "Surname"]).missing == ("firstname",)
    assert map_headers(["ID Number", "Name", "Surname"]).missing == ()


def test_headers_without_latin_letters_are_told_apart() -> None:
    headers = ["ID Number", "Αριθμός", "№?", "#", "!", "姓"]
    assert len({key(header) for header in headers}) == len(headers)
    known = map_headers(headers, {"#": "firstname", "姓": "surname"}).known
    assert known == {"ID Number": "id_number", "#": "firstname", "姓": "surname"}
    assert fingerprint(["ID Number", "#"]) != fingerprint(["ID Number", "!"])


def test_columns_without_a_header_at_either_end_change_no_fingerprint() -> None:
    named = ["ID Number", "Column 2", "Name"]
    assert fingerprint(["Column 1", "ID Number", "Column 3", "Name", "Column 5"]) == fingerprint(
        named
    )
    assert fingerprint(["ID Number", "Name"]) != fingerprint(named)


def test_a_column_of_errors_of_the_files_own_is_kept_and_ours_has_another_name() -> None:
    headers = ["ID Number", "Errors", "Name"]
    sent_again = unique_headers([*own(headers), "Errors"])
    assert sent_again == ["ID Number", "Errors", "Name", "Errors (2)"]
    assert list(own(sent_again)) == headers
    assert fingerprint(sent_again) == fingerprint(headers)


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("ID Number (13 digits)", "id_number"), ("ID Number*", "id_number"),
        ("Identity Nr", "id_number"), ("ID NUMBER :", "id_number"), ("SA ID No.", "id_number"),
        ("ID number/Passport", "id_number"), ("ID/Passport No.", "id_number"),
        ("Identity Number / Passport Number", "id_number"), ("1. ID Number", "id_number"),
        ("ID Number (as per ID)", "id_number"), ("[ID Number]", "id_number"),
        ("Nomoro ya boitshupo", "id_number"), ("Inombolo yesazisi", "id_number"),
        ("Cell phone No.", "cell_number"), ("Cell Nr", "cell_number"), ("Cell #", "cell_number"),
        ("Tel (C)", "cell_number"), ("Cell (2)", "cell_number"), ("Phone (Mobile)", "cell_number"),
        ("Tel (H)", "landline_number"), ("Tel (W)", "landline_number"),
        ("Tel (Home)", "landline_number"),
        ("Branch", "ward"), ("Ward No.", "ward"), ("Ward #", "ward"), ("Wyk", "ward"),
        ("Leina", "firstname"), ("Sefane", "surname"), ("Xivongo", "surname"),
        ("Dzina", "firstname"),
        ("Ibizo", "firstname"), ("Sibongo", "surname"), ("Fane", "surname"), ("Vito", "firstname"),
        ("First Name / Voornaam", "firstname"), ("Surname/Van", "surname"),
        ("Member's Surname", "surname"), ("Your Email", "email"), ("E-Mail (if any)", "email"),
        ("Full Name", "full_name"), ("Name & Surname", "full_name"), ("Name/Surname", "full_name"),
        ("Surname, First Name", "full_name"), ("Naam en Van", "full_name"),
        ("Date Joined (dd/mm/yyyy)", "date_joined"), ("Gender (M/F)", "gender"),
        ("SA Citizen (Y/N)", "citizenship"), ("Amount (R)", "membership_amount"),
    ],
)  # fmt: skip
def test_a_header_is_known_however_it_is_written(header: str, field: str) -> None:
    assert map_headers([header]).known == {header: field}


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("Surnme", ("surname",)), ("Firstnam", ("firstname",)), ("Provnce", ("province",)),
        ("Emal", ("email",)), ("Munisipality", ("municipality",)), ("Gendre", ("gender",)),
        ("Roepnaam", ("firstname",)), ("Familienaam", ("surname",)),
        ("Nommer", ("cell_number", "id_number")), ("No", ("id_number", "cell_number")),
        ("ID Number (spouse)", ("id_number",)), ("Next of kin cell number", ("cell_number",)),
        ("Cell/Tel", ("cell_number", "landline_number")), ("Race/Gender", ("race", "gender")),
        ("Member Name", ("firstname", "full_name")), ("Member ID", ("id_number",)),
        ("Shoe size", ()), ("Vehicle", ()), ("Opmerkings", ()), ("", ()), ("Page", ()),
    ],
)  # fmt: skip
def test_a_header_that_may_mean_a_field_is_suggested_and_never_taken(
    header: str, fields: tuple[str, ...]
) -> None:
    assert map_headers([header]).known == {}
    assert suggested(header) == fields


def test_every_suggestion_is_a_field_and_no_known_header() -> None:
    for name in ("Roepnaam", "Code", "Date", "Paid", "Town", "Type", "Lid No"):
        assert set(suggested(name)) <= variants().keys()
        assert suggested(name)


def test_a_plain_header_counts_only_without_another_of_its_field() -> None:
    assert map_headers(["ID", "Branch", "Name", "Surname"]).unknown == ()
    columns = map_headers(["ID", "Branch", "Name", "ID Number", "Ward", "First Name", "Surname"])
    assert columns.unknown == ("ID", "Branch", "Name")


@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("Date (dd/mm/yyyy)", "dmy"), ("Date dd-mm-yy", "dmy"), ("DD/MM/YYYY", "dmy"),
        ("Date (mm/dd/yyyy)", "mdy"), ("Datum (jjjj/mm/dd)", "ymd"), ("Date (yy/mm/dd)", "ymd"),
        ("Date Joined", None), ("Comedy", None), ("yyyy", None),
    ],
)  # fmt: skip
def test_a_header_may_say_the_order_of_its_dates(header: str, order: str | None) -> None:
    assert date_order(header) == order


@pytest.mark.parametrize("header", ["Surname & Name", "Surname, First Name", "Van en Naam"])
def test_a_header_says_whether_the_surname_is_first(header: str) -> None:
    assert is_surname_first(header)
    assert not is_surname_first("Name & Surname")
    assert not is_surname_first("Full Name")


def test_a_missing_column_is_looked_for_among_the_unknown_headers() -> None:
    hint = missing_hint(map_headers(["ID Number", "Name", "Surnme", "Shoe size"]))
    assert hint.startswith(" 'Surnme' may be Surname")
    assert "'Name' may be Full Name" in missing_hint(map_headers(["ID Number", "Name"]))
    assert missing_hint(map_headers(["ID Number", "First Name"])) == ""


@pytest.mark.parametrize("other", ["Familienaam", "Agternaam", "Isibongo"])
def test_van_beside_tot_begins_a_period_where_another_column_has_the_surname(other: str) -> None:
    columns = map_headers(["ID Nommer", "Naam", other, "Van", "Tot"])
    assert columns.headers["surname"] == (other,)
    assert columns.unknown == ("Van", "Tot")
    assert map_headers(["Naam", "Van", "Tot"]).headers["surname"] == ("Van",)
    assert "Van" in map_headers(["Naam", other, "Van"]).headers["surname"]
    given = map_headers(["Naam", other, "Van", "Tot"], {"Van": "surname"})
    assert given.headers["surname"] == ("Van",)


def test_one_header_in_thousands_of_columns_is_numbered_soon() -> None:
    began = time.monotonic()
    names = unique_headers(["f"] * 20_000, taken={"f (3)"})
    assert names[:4] == ["f", "f (2)", "f (4)", "f (5)"]
    assert len(set(names)) == 20_000
    # Each from the first number on, it takes minutes.
    assert time.monotonic() - began < 30
