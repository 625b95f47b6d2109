"""Fields that the sender empties on purpose, by a text that means "empty this"."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.errors import InvalidRequestError
from rollbook.model import Scope
from rollbook.uploads.options import Options
from tests.golden.cases.test_said import problems_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.pipeline_run import Done, Site

ANN, BEN, CID = "8001015009087", "9002280101087", "8502140123180"
FULL: Mapping[str, str] = {
    "ID Number": ANN, "Firstname": "Ann", "Surname": "Aa", "Cell": "0821234567",
    "Email": "ann@example.org", "Address": "1 Main Road", "Gender": "Male", "Ward": "12",
    "Last Payment": "2026-01-15", "Expiry Date": "", "Occupation": "Teacher", "Amount": "10",
}  # fmt: skip


def rows(*changed: Mapping[str, str]) -> bytes:
    lines = [",".join(FULL), *(",".join({**FULL, **one}.values()) for one in changed)]
    return "\n".join(lines).encode() + b"\n"


def send(site: Site, *changed: Mapping[str, str], **columns: Any) -> Done:
    return site.send(rows(*changed), "members.csv", **{"empty_text": "[empty]", **columns})


def said(done: Done) -> dict[str, str]:
    return {str(name): str(value) for name, value, *_ in done.sheet("Summary").iter_rows()}


def test_without_the_option_or_in_a_dry_run_no_text_empties_a_field(site: Site) -> None:
    send(site, {})
    done = send(site, {"Cell": "[empty]", "Occupation": ""}, empty_text=None)
    assert done.by_row == {2: "unchanged"}
    assert problems_of(done, "phone_unclear") == [(2, "Cell", "[empty]", None)]
    assert "Text that empties a field" not in said(done)
    # A dry run counts what the upload would empty.
    done = send(site, {"Cell": "[empty]"}, dry_run=True)
    assert (done.by_row, done.upload["emptied"]) == ({2: "updated"}, {"cell_number": 1})
    assert site.members()[ANN]["cell_number"] == "+27821234567"


@pytest.mark.parametrize("batch_rows", [50_000, 30])
def test_the_text_empties_fields_of_every_type(site: Site, batch_rows: int) -> None:
    others = [{"ID Number": "", "Firstname": f"N{n}"} for n in range(40)]
    send(site, {})
    done = send(
        site, *others,
        {"Cell": "[empty]", "Email": " [EMPTY] ", "Address": '"[Empty]"', "Ward": "[empty]",
         "Amount": "[empty]", "Occupation": ""},
        batch_rows=batch_rows,
    )  # fmt: skip
    member = site.members()[ANN]
    emptied = ("cell_number", "email", "residential_address", "ward", "membership_amount")
    assert {member[name] for name in emptied} == {None}
    assert (member["occupation"], str(member["expiry_date"])) == ("Teacher", "2028-01-15")
    assert done.by_row[42] == "updated"
    assert done.rows[-1]["changes"] == {
        "cell_number": ["+27821234567", None], "email": ["ann@example.org", None],
        "residential_address": ["1 Main Road", None], "ward": ["12", None],
        "membership_amount": ["10.00", None],
    }  # fmt: skip
    assert done.upload["emptied"] == dict.fromkeys(emptied, 1)
    assert done.upload["rows_with_warnings"] == 0
    summary = said(done)
    assert summary["Text that empties a field"] == "[empty]"
    assert "Cell Number: 1, Email: 1" in summary["Members whose field was emptied"]
    changes = done.sheet("Changes").filter(Field="Cell Number").row(0)
    assert changes[-2:] == ("+27821234567", None)


def test_a_new_member_has_the_field_empty_and_nothing_is_counted(site: Site) -> None:
    done = send(site, {"Cell": "[empty]"})
    assert (done.by_row, done.upload["emptied"]) == ({2: "inserted"}, {})
    assert site.members()[ANN]["cell_number"] is None
    again = send(site, {"Cell": "[empty]"})
    assert (again.by_row, again.upload["emptied"]) == ({2: "unchanged"}, {})


def test_a_needed_field_is_never_emptied_and_the_row_says_so(site: Site) -> None:
    needed = ("ID Number", "Firstname", "Surname")
    send(site, {})
    done = send(site, *({header: "[empty]", "Cell": "[empty]"} for header in needed))
    for row, header in zip(done.rows, needed, strict=True):
        assert row["outcome"] == "invalid"
        [problem] = row["problems"]
        assert (problem["code"], problem["column"], problem["value"]) == (
            "needed_not_emptied", header, "[empty]",
        )  # fmt: skip
    assert site.members()[ANN]["cell_number"] == "+27821234567"


def test_a_field_that_is_said_elsewhere_is_kept_and_flagged(site: Site) -> None:
    office = Scope("GP", "Emfuleni")
    content = (
        "ID Number,Firstname,Surname,Gender,Municipality,Cell,Mobile\n"
        f"{ANN},Ann,Aa,[empty],[empty],[empty],0821234567\n"
        f"{BEN},Ben,Bb,,,0831234567,[empty]\n"
    ).encode()
    done = site.send(content, "members.csv", scope=office, empty_text="[empty]")
    assert problems_of(done, "not_emptied") == [
        (2, "Cell", "[empty]", "+27821234567"), (2, "Gender", "[empty]", "male"),
        (2, "Municipality", "[empty]", "Emfuleni"), (3, "Mobile", "[empty]", "+27831234567"),
    ]  # fmt: skip
    assert done.upload["warnings"] == {"not_emptied": 2}
    assert site.members()[ANN]["gender"] == "male"


def test_an_expiry_date_goes_with_the_payment_it_follows_from_and_a_given_one_stays(
    site: Site,
) -> None:
    given = {"Expiry Date": "2030-01-01"}
    send(site, {}, {"ID Number": BEN, **given}, {"ID Number": CID, **given})
    done = send(
        site, {"Last Payment": "[empty]"}, {"ID Number": BEN, "Last Payment": "[empty]"},
        {"ID Number": CID, "Expiry Date": "[empty]"},
    )  # fmt: skip
    names = ("last_payment", "expiry_date", "expiry_is_derived")
    found = {number: [one[name] for name in names] for number, one in site.members().items()}
    assert found == {
        ANN: [None, None, None],
        BEN: [None, dt.date(2030, 1, 1), False],
        # One that was emptied isn't derived again.
        CID: [dt.date(2026, 1, 15), None, None],
    }
    assert done.upload["emptied"] == {"last_payment": 2, "expiry_date": 2}


def test_a_repeat_that_empties_what_the_first_row_says_differs(site: Site) -> None:
    done = send(site, {}, {"Cell": "[empty]"}, {"ID Number": BEN, "Cell": "[empty]"},
                {"ID Number": BEN, "Cell": "[empty]"})  # fmt: skip
    assert done.by_row == {2: "inserted", 3: "duplicate", 4: "inserted", 5: "duplicate"}
    assert problems_of(done, "repeat_differs") == [(3, "Cell", "[empty]", "+27821234567")]
    assert site.members()[ANN]["cell_number"] == "+27821234567"


def test_another_offices_member_loses_nothing(site: Site) -> None:
    site.send(rows({}), "members.csv", scope=Scope("GP", None))
    done = send(site, {"Cell": "[empty]"}, scope=Scope("WC", None))
    assert (done.by_row, done.upload["emptied"]) == ({2: "out_of_scope"}, {})
    assert site.members()[ANN]["cell_number"] == "+27821234567"


@pytest.mark.parametrize("text", ["a" * 41, "12", '""', "\N{ZERO WIDTH SPACE}", "a\tb"])
def test_a_text_that_cells_cannot_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="empty_text"):
        Options.of(empty_text=text)


@pytest.mark.parametrize("existing", ["fill", "skip"])
def test_only_an_upload_that_updates_members_empties_fields(existing: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"empty_text: .*existing={existing}"):
        Options.of(empty_text="[empty]", existing=existing)
