"""Which header stands for which field."""

from __future__ import annotations

import pytest

from rollbook.pipeline.columns import fingerprint, key, map_headers, own, unique_headers, variants


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
