"""Places as offices write them, end to end: one spelling in the record, and every doubt said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollbook.model import Scope
from tests.files import csv_file, id_number, member

if TYPE_CHECKING:
    from tests.desk import Desk, Sent
    from tests.pipeline_run import Site

FOLDER = Path(__file__).parent
EMFULENI = Scope("GP", "Emfuleni")


def problems(done: Sent) -> dict[int, list[str]]:
    """The codes of each row's problems of places."""
    found = {
        row["row_number"]: [
            problem["code"] for problem in row["problems"] or () if problem["column"] in PLACES
        ]
        for row in done.rows
    }
    return {row: codes for row, codes in found.items() if codes}


PLACES = ("Province", "Municipality", "Ward")


def test_provinces_are_understood_as_offices_write_them(desk: Desk) -> None:
    """All rows of the file have one ID number; here each is another person."""
    header, *rows = (FOLDER / "province_names.csv").read_text().splitlines()
    people = [f"{id_number(n)};{row.partition(';')[2]}" for n, row in enumerate(rows)]
    done = desk.send("\n".join([header, *people]).encode(), "people.csv")
    assert [found["province"] for found in desk.members().values()] == [
        "KZN", "KZN", "GP", "NC", "LP", "EC", "EC", "NW", "MP", "WC", "LP", "KZN", "FS",
    ]  # fmt: skip
    assert problems(done) == {6: ["place_former_name"], 12: ["place_near"]}


def test_an_offices_own_name_in_any_spelling_is_the_offices(site: Site) -> None:
    content = (FOLDER / "municipality_names.xlsx").read_bytes()
    done = site.send(content, "municipality_names.xlsx", scope=EMFULENI)
    assert set(done.by_row.values()) == {"inserted"}
    assert {found["municipality"] for found in site.members().values()} == {"Emfuleni"}
    assert problems(done) == {}


#: What a row says of its place, what is kept of it, and the doubts.
PLACED: list[tuple[dict[str, str], tuple[str | None, str | None, str | None], list[str]]] = [
    ({"Municipality": "Pretoria"}, ("GP", "City of Tshwane", None), ["place_town"]),
    ({"Municipality": "Randfontein"}, ("GP", "Rand West City", None), ["place_former_name"]),
    ({"Municipality": "Emfulini LM"}, ("GP", "Emfuleni", None), ["place_near"]),
    ({"Municipality": "Sedibeng"}, ("GP", "Sedibeng", None), ["municipality_is_district"]),
    ({"Municipality": "Branch 4"}, ("GP", "Branch 4", None), ["municipality_unknown"]),
    ({"Municipality": "eThekwini"}, ("GP", "eThekwini", None),
     ["municipality_in_other_province"]),
    ({"Province": "", "Municipality": "eThekwini"}, ("KZN", "eThekwini", None), []),
    ({"Municipality": "Emfuleni", "Ward": "79800001"}, ("GP", "Emfuleni", "79800001"),
     ["ward_in_other_place"]),
    ({"Municipality": "", "Ward": "79800001"},
     ("GP", "City of Johannesburg", "79800001"), []),
    ({"Province": "", "Municipality": "", "Ward": "79800001"},
     ("GP", "City of Johannesburg", "79800001"), []),
    ({"Province": "", "Municipality": "Branch 4", "Ward": "79800001"},
     (None, "Branch 4", "79800001"), ["municipality_unknown"]),
    ({"Municipality": "", "Ward": "52205003"}, ("GP", None, "52205003"),
     ["ward_in_other_place"]),
    ({"Municipality": "Emfuleni", "Ward": "12"}, ("GP", "Emfuleni", "12"), []),
]  # fmt: skip


def test_a_place_has_one_spelling_and_a_doubt_is_said(site: Site) -> None:
    plain = {"Province": "Gauteng", "Municipality": "", "Ward": ""}
    rows = [member(n) | plain | place for n, (place, *_) in enumerate(PLACED)]
    said = problems(site.send(csv_file(rows), "members.csv"))
    members = site.members()
    for n, (place, kept, doubts) in enumerate(PLACED):
        found = members[id_number(n)]
        assert (found["province"], found["municipality"], found["ward"]) == kept, place
        assert said.get(n + 2, []) == doubts, place


def test_a_row_that_names_another_municipality_alone_is_another_offices(site: Site) -> None:
    row = member(1) | {"Province": "", "Municipality": "eThekwini", "Ward": ""}
    done = site.send(csv_file([row]), "members.csv", scope=Scope("GP"))
    assert done.by_row == {2: "out_of_scope"}


def test_a_ward_elsewhere_takes_no_row_from_the_office_and_is_said(site: Site) -> None:
    row = member(1) | {"Province": "Gauteng", "Municipality": "", "Ward": "79800001"}
    done = site.send(csv_file([row]), "members.csv", scope=EMFULENI)
    assert done.by_row == {2: "inserted"}
    assert problems(done) == {2: ["ward_in_other_place"]}
    [found] = site.members().values()
    assert found["municipality"] == "Emfuleni"
