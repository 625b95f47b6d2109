"""People whom a passport names in place of a South African ID number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from rollbook.contract import RowProblem
from rollbook.errors import AttemptError, FileProblemError, NoIdColumnError
from rollbook.model import Scope
from rollbook.pipeline import documents, problems
from rollbook.pipeline.documents import country_of, key_of
from tests.golden.cases.test_said import problems_of

if TYPE_CHECKING:
    from tests.desk import Answer_co, Desk, Place, Sent
    from tests.pipeline_run import Site

ANN = "8001015009087"
HEAD = "ID Number,Passport No,Passport Country,Firstname,Surname,Gender,Cell"


def send(
    place: Place[Answer_co], *rows: str, head: str = HEAD, accepts: bool = True, **more: Any
) -> Answer_co:
    content = "\n".join([head, *rows]).encode()
    return place.send(content, "members.csv", accepts_passports=accepts, **more)


def identities(site: Site) -> set[tuple[Any, ...]]:
    names = ("identity_kind", "identity_country", "identity_number")
    return {tuple(member[name] for name in names) for member in site.members().values()}


def codes(done: Sent) -> dict[int, list[str]]:
    return {row["row_number"]: [p["code"] for p in row["problems"] or ()] for row in done.rows}


def test_a_passport_with_its_country_takes_the_place_of_an_id_number(site: Site) -> None:
    done = send(
        site, f"{ANN},,,Ann,Aa,,", ",fn 123-456,Zimbabwe,Ben,Bb,F,0821234567",
        "N/A,FN123456,MOZ,Cid,Cc,,", ",123456789,us,Dan,Dd,,",
    )  # fmt: skip
    assert set(done.by_row.values()) == {"inserted"}
    assert identities(site) == {
        (None, None, None), ("passport", "ZWE", "FN123456"), ("passport", "MOZ", "FN123456"),
        ("passport", "USA", "123456789"),
    }  # fmt: skip
    ben = site.members()[key_of("passport:ZWE:FN123456")]
    assert (ben["gender"], ben["date_of_birth"], ben["cell_number"]) == (
        "female", None, "+27821234567",
    )  # fmt: skip
    assert done.upload["rows_with_warnings"] == 0
    [note] = done.upload["reading"]["notes"]
    assert (note["code"], note["rows"]) == ("passports", 3)
    assert "voter roll" in note["message"]


def test_another_upload_finds_the_same_person_under_any_spelling(site: Site) -> None:
    send(site, ",FN123456,Zimbabwe,Ben,Bb,,")
    again = send(site, ",fn-123 456,ZWE,Ben,Bb,,")
    assert again.by_row == {2: "unchanged"}
    changed = send(site, ",FN123456,Zimbabwean,Ben,Bb,,0821234567")
    assert changed.by_row == {2: "updated"}
    assert changed.rows[0]["changes"] == {"cell_number": [None, "+27821234567"]}
    other = send(site, ",FN123456,Zambia,Cid,Cc,,")
    assert other.by_row == {2: "inserted"}
    assert len(site.members()) == 2


def test_a_repeat_within_the_file_is_one(site: Site) -> None:
    done = send(site, ",FN123456,ZW,Ben,Bb,,", ",fn123456,ZWE,Ben,Bc,,", ",FN123456,ZM,Cid,Cc,,")
    assert done.by_row == {2: "inserted", 3: "duplicate", 4: "inserted"}
    assert problems_of(done, "repeat_differs") == [(3, "Surname", "Bc", "Bb")]


def test_a_passport_that_cannot_be_taken_refuses_the_row_with_its_reason(desk: Desk) -> None:
    cases = [
        ("FN123456", "", "passport_country_missing"),
        ("FN123456", "Atlantis", "passport_country_unknown"),
        ("A12345678", "South Africa", "passport_south_african"),
        (ANN, "ZW", "passport_is_id"),
        ("1234", "ZW", "passport_unclear"),
        ("ABCDEFG", "ZW", "passport_unclear"),
        ("FN12345\N{CYRILLIC SMALL LETTER A}", "ZW", "passport_unclear"),
        ("A1" * 8, "ZW", "passport_unclear"),
    ]
    done = send(desk, *(f",{number},{country},Ben,Bb,," for number, country, _ in cases))
    assert codes(done) == {row: [code] for row, (*_, code) in enumerate(cases, start=2)}
    assert set(done.by_row.values()) == {"invalid"}


def test_an_id_number_counts_before_a_passport_and_the_row_says_so(site: Site) -> None:
    done = send(site, f"{ANN},FN123456,ZW,Ann,Aa,,", "8001015009088,FN123457,ZW,Ben,Bb,,")
    assert done.by_row == {2: "inserted", 3: "invalid"}
    assert codes(done) == {2: ["passport_not_needed"], 3: ["id_check_digit", "passport_not_needed"]}
    assert problems_of(done, "passport_not_needed")[0] == (2, "Passport No", "FN123456", None)
    assert identities(site) == {(None, None, None)}


def test_a_combined_column_holds_both(desk: Desk) -> None:
    head = "ID number/Passport,Passport Country,Firstname,Surname"
    done = send(
        desk, f"{ANN},,Ann,Aa", "FN123456,Zimbabwe,Ben,Bb", "fn-123457,ZW,Cid,Cc",
        "123456789,ZW,Dan,Dd", "FN123457,,Eve,Ee", head=head,
    )  # fmt: skip
    assert codes(done) == {
        2: [], 3: [], 4: [], 5: ["id_length"], 6: ["passport_country_missing"],
    }  # fmt: skip
    assert len(desk.members()) == 3


def test_a_plain_column_of_id_numbers_takes_no_passport_without_a_country(desk: Desk) -> None:
    done = send(desk, "FN123456,,,Ben,Bb,,")
    assert codes(done) == {2: ["id_characters", "id_length"]}


@pytest.mark.parametrize(
    ("head", "row"),
    [(HEAD, ",FN123456,ZW,Ben,Bb,,"), ("ID number/Passport,Firstname,Surname", "FN123456,Ben,Bb")],
)
def test_without_the_setting_the_row_is_refused_and_says_whom_to_ask(
    desk: Desk, head: str, row: str
) -> None:
    done = send(desk, row, head=head, accepts=False)
    assert (done.by_row, codes(done)) == ({2: "invalid"}, {2: ["passport_not_accepted"]})


def test_a_dry_run_foresees_it_and_batches_change_nothing(site: Site) -> None:
    rows = [f",P{n:06},ZW,N{n},S{n},," for n in range(40)]
    assert set(send(site, *rows, dry_run=True).by_row.values()) == {"inserted"}
    assert site.members() == {}
    assert set(send(site, *rows, batch_rows=30).by_row.values()) == {"inserted"}
    assert set(send(site, *rows).by_row.values()) == {"unchanged"}


def test_the_office_rules_hold_for_people_with_passports(site: Site) -> None:
    send(site, ",FN123456,ZW,Ben,Bb,,", scope=Scope("GP", None))
    done = send(site, ",FN123456,ZW,Ben,Bx,,", scope=Scope("WC", None))
    assert done.by_row == {2: "out_of_scope"}


def test_two_columns_of_passports_that_differ_are_flagged(site: Site) -> None:
    head = "ID Number,Passport No,Foreign Passport,Passport Country,Firstname,Surname"
    done = send(site, ",FN123456,FN999999,ZW,Ben,Bb", head=head)
    assert problems_of(done, "passport_differs") == [
        (2, "Foreign Passport", "FN999999", "FN123456")
    ]
    assert identities(site) == {("passport", "ZWE", "FN123456")}


def test_the_voter_roll_is_asked_about_nobody_with_a_passport(site: Site) -> None:
    asks = {
        "voter_roll_enabled": True,
        "voter_roll_url": "http://127.0.0.1:9",
        "voter_roll_username": "account",
        "voter_roll_password": SecretStr("of nobody"),
    }
    done = send(site, f"{ANN},,,Ann,Aa,,", ",FN123456,ZW,Ben,Bb,,", settings=asks)
    asked = site.connection.execute("SELECT id_number FROM verifications").fetchall()
    questions = site.connection.execute("SELECT id_number FROM voter_roll_questions").fetchall()
    site.connection.commit()
    assert asked == questions == [{"id_number": ANN}]
    assert done.upload["roll_pending"] == 1
    rows = done.sheet("All Uploaded Rows")
    assert rows["IEC Registered"].to_list() == ["Pending", "not asked"]


def test_a_key_of_two_documents_stops_the_merge(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(site, ",FN123456,ZW,Ben,Bb,,")
    one = key_of("passport:ZWE:FN123456")
    monkeypatch.setattr(documents, "key_of", lambda _: one)
    for rows in ([",FN123457,ZW,Cid,Cc,,"], [",FN123456,ZW,Ben,Bb,,", ",FN123457,ZW,Cid,Cc,,"]):
        with pytest.raises(AttemptError, match="same key"):
            send(site, *rows)
    assert identities(site) == {("passport", "ZWE", "FN123456")}


def test_a_key_has_more_digits_than_an_id_number_and_fits_a_bigint() -> None:
    keys = {key_of(f"passport:ZWE:FN{n:06}") for n in range(5_000)}
    assert len(keys) == 5_000
    assert all(13 < len(key) < 20 and int(key) < 2**63 for key in keys)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ZW", "ZWE"), ("zwe", "ZWE"), ("Zimbabwe", "ZWE"), ("DRC", "COD"), ("Swaziland", "SWZ"),
        ("Ivory Coast", "CIV"), ("Duitsland", "DEU"), ("Mozambique", "MOZ"), ("Mosambiek", "MOZ"),
        ("Saudi Arabia", "SAU"), ("KSA", "SAU"), ("sau", "SAU"), ("SA", None), ("Congo", None),
        ("Atlantis", None), ("", None),
    ],
)  # fmt: skip
def test_countries_have_their_names_in_english_and_afrikaans(text: str, code: str | None) -> None:
    assert country_of(text) == code


@pytest.mark.parametrize("code", ["passport_not_accepted", "passport_not_needed"])
def test_the_api_masks_a_passports_number(code: str) -> None:
    problem = {"column": "Passport No", "value": "FN123456", "code": code, "severity": "error"}
    shown = RowProblem.of(problem, "...").value
    assert shown is not None
    assert "N12345" not in shown


def test_a_passport_of_digits_is_read_as_programs_write_it(site: Site) -> None:
    numbers = ("123456789.0", "123456789,00", "'123456789", "123 456 789")
    done = send(site, *(f',"{number}",ZW,Ben,Bb,,' for number in numbers))
    assert list(done.by_row.values()) == ["inserted", *["duplicate"] * 3]
    assert identities(site) == {("passport", "ZWE", "123456789")}


@pytest.mark.parametrize("accepts", [True, False])
def test_parts_are_never_joined_into_another_passport(desk: Desk, accepts: bool) -> None:
    numbers = (
        "1.23456789E8", "1.23457E+08", "123E-45", "123456789E8", "FN123456/AB1234",
        "FN123456 AB1234", "FN123456-FN123457", "FN123456.5", "FN.123456", "123456.789",
        "2024-05-01", "01/05/2024", "01.05.2024", "1 May 1990", "1990-05-01 00:00:00",
        "FN123456 and AB1234",
    )  # fmt: skip
    done = send(desk, *(f",{number},ZW,Ben,Bb,," for number in numbers), accepts=accepts)
    code = "passport_unclear" if accepts else "passport_not_accepted"
    rows = range(2, len(numbers) + 2)
    assert codes(done) == {row: [code] for row in rows}
    assert set(done.by_row.values()) == {"invalid"}


def test_the_column_of_id_numbers_joins_no_passports_either(site: Site) -> None:
    head = "ID number/Passport,Passport Country,Firstname,Surname"
    done = send(
        site, "FN123456/AB1234,ZW,Ben,Bb", "FN 123-456,ZW,Cid,Cc", "2024-05-01,ZW,Dan,Dd",
        "8001015009O87,ZW,Eve,Ee", "8.001015E+15,ZW,Fay,Ff", head=head,
    )  # fmt: skip
    assert codes(done)[2] == ["passport_unclear"]
    assert done.by_row == {2: "invalid", 3: "inserted", 4: "invalid", 5: "invalid", 6: "invalid"}
    assert all(code.startswith("id_") for n in (4, 5, 6) for code in codes(done)[n])
    assert identities(site) == {("passport", "ZWE", "FN123456")}


@pytest.mark.parametrize("accepts", [True, False])
def test_digits_in_the_column_of_id_numbers_follow_the_rules_of_id_numbers(
    desk: Desk, accepts: bool
) -> None:
    numbers, countries = ("80010150090", "123456789", "8" * 15), ("South Africa", "ZW", "NA", "")
    rows = [f"{number},,{country},Ben,Bb,," for number in numbers for country in countries]
    done = send(desk, *rows, accepts=accepts)
    assert codes(done) == {row: ["id_length"] for row in range(2, len(rows) + 2)}
    assert set(done.by_row.values()) == {"invalid"}


@pytest.mark.parametrize("accepts", [True, False])
def test_a_south_african_passport_is_refused_with_its_reason_under_any_setting(
    desk: Desk, accepts: bool
) -> None:
    done = send(desk, ",A12345678,South Africa,Ben,Bb,,", "123,?1,ZW,Cid,Cc,,", accepts=accepts)
    assert codes(done) == {2: ["passport_south_african"], 3: ["id_length"]}


def test_a_country_that_may_be_two_is_none(desk: Desk) -> None:
    done = send(
        desk, *(f",FN123456,{country},Ben,Bb,," for country in ("SA", "sa", "S.A.", "Congo"))
    )
    assert codes(done) == {row: ["passport_country_unknown"] for row in range(2, 6)}
    assert "Write the country's name" in problems.catalogue()["passport_country_unknown"].sentence


def test_the_code_of_namibia_is_a_value(site: Site) -> None:
    countries = ("NA", "na", "Na", "Namibia")
    done = send(site, *(f",FN12345{n},{name},Ben,Bb,," for n, name in enumerate(countries)))
    assert set(done.by_row.values()) == {"inserted"}
    assert identities(site) == {("passport", "NAM", f"FN12345{n}") for n in range(4)}


def test_not_applicable_is_no_country(desk: Desk) -> None:
    assert codes(send(desk, ",FN123456,N/A,Ben,Bb,,")) == {2: ["passport_country_missing"]}


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        (
            "ID Number,Passport Number,Passport Country,First Name,Surname,Address",
            [
                ',FN123456,ZWE,Tendai,Moyo,"12 Main', ",FN222222,ZWE,Rudo,Ncube,5 Oak",
                ',FN333333,ZWE,Tino,Dube,9 Elm"',
            ],
        ),
        (
            "ID number/Passport,Passport Country,First Name,Surname,Address",
            [
                'FN 123456,ZWE,Tendai,Moyo,"12 Main', "FN222222,ZWE,Rudo,Ncube,5 Oak",
                'FN333333,ZWE,Tino,Dube,9 Elm"',
            ],
        ),
    ],
)  # fmt: skip
def test_an_open_quotation_mark_swallows_nobody_with_a_passport(
    desk: Desk, head: str, rows: list[str]
) -> None:
    with pytest.raises(FileProblemError, match="Row 2 opens a quotation mark in cell"):
        send(desk, *rows, head=head)


def test_an_address_of_several_lines_is_no_row(desk: Desk) -> None:
    head = "ID Number,Passport Number,Passport Country,First Name,Surname,Address"
    done = send(
        desk, ',FN123456,ZWE,Tendai,Moyo,"12 Main', 'Flat 3, Unit12, Joburg, 2001"', head=head
    )
    assert done.by_row == {2: "valid"}


def test_a_row_with_a_passport_is_no_total(desk: Desk) -> None:
    head = "Firstname,Surname,Passport Number,Passport Country,ID Number"
    done = send(desk, "Som Prakash,,Z1234567,India,", "Total,,,,", head=head)
    assert codes(done) == {2: ["surname_missing"]}
    assert [note["code"] for note in done.upload["reading"]["notes"]][:1] == ["total_rows"]


@pytest.mark.parametrize("code", ["passport_country_unknown", "passport_south_african"])
def test_the_api_shows_the_country_that_is_wrong(code: str) -> None:
    for value, is_shown in (("Atlantis Republic", True), ("FN123456", False)):
        problem = {"column": "Country", "value": value, "code": code, "severity": "error"}
        assert (RowProblem.of(problem, "...").value == value) is is_shown


def test_a_file_of_passports_without_a_column_of_id_numbers_is_read(site: Site) -> None:
    head = "Passport No,Passport Country,Firstname,Surname"
    rows = ("FN123456,Zimbabwe,Ben,Bb", head, ",Zimbabwe,Cid,Cc")
    done = send(site, *rows, head=head)
    assert done.by_row == {2: "inserted", 4: "invalid"}
    assert codes(done)[4] == ["id_missing"]
    assert identities(site) == {("passport", "ZWE", "FN123456")}
    with pytest.raises(NoIdColumnError):
        send(site, *rows, head=head, accepts=False)
