"""Which header stands for which field."""

from __future__ import annotations

import pytest

from rollbook.pipeline.columns import key, map_headers, variants


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
        ("Vóórnaam", "firstname"),
        ("VD Number", "voting_district"),
    ],
)
def test_a_header_is_known_by_any_of_its_names(header: str, field: str) -> None:
    assert map_headers([header]).known == {header: field}


def test_the_first_of_two_headers_for_one_field_counts_and_the_other_is_kept() -> None:
    columns = map_headers(["ID", "Shoe size", "ID Number"])
    assert columns.known == {"ID": "id_number"}
    assert columns.unknown == ("Shoe size", "ID Number")
    assert columns.header("id_number") == "ID"
    assert columns.header("ward") is None


def test_what_every_member_needs_is_asked_for() -> None:
    assert map_headers(["ID Number", "Surname"]).missing == ("firstname",)
    assert map_headers(["ID Number", "Name", "Surname"]).missing == ()
