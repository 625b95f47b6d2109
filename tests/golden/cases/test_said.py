"""What the sender is warned of: mappings, expiry dates, repeats that differ, another name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastexcel
import polars as pl
import pytest
from psycopg.types.json import Json

from rollbook.errors import MissingColumnsError, NoSuchHeaderError, RowsRefusedError
from rollbook.model import Scope
from rollbook.pipeline.doubts import is_other_person
from tests.golden.test_golden import table as table_of

if TYPE_CHECKING:
    from tests.pipeline_run import Done, Site

FOLDER = Path(__file__).parent
ANN, BEN = "8001015009087", "9002280101087"


def send(site: Site, name: str, **columns: Any) -> Done:
    return site.send(FOLDER.joinpath(name).read_bytes(), name, **columns)


def remembered(site: Site) -> list[dict[str, str | None]]:
    found = site.connection.execute("SELECT columns FROM column_mappings").fetchall()
    site.connection.commit()
    return [row["columns"] for row in found]


def used(done: Done) -> dict[str, tuple[str, str]]:
    return {
        one["header"]: (one["field"], one["how"]) for one in done.upload["reading"]["columns_used"]
    }


def test_a_mapping_of_a_header_that_is_not_in_the_file_is_refused(site: Site) -> None:
    mapping = Json({"Selfoon Nr": "cell_number"})
    with pytest.raises(NoSuchHeaderError, match=r"no column 'Selfoon Nr'.*'Cell'"):
        send(site, "mapping_of_no_header.csv", columns=mapping)
    assert remembered(site) == []
    done = send(site, "mapping_of_no_header.csv")
    assert site.members()[ANN]["cell_number"] == "+27821234567"
    assert used(done)["Cell"] == ("cell_number", "known")


def test_only_a_completed_upload_that_is_no_dry_run_teaches(site: Site) -> None:
    name = "mapping_other_meaning_1.csv"
    mapping = {"Lid No": "id_number", "Roepnaam": "firstname", "Van": "surname", "Code": "ward"}
    send(site, name, columns=Json(mapping), dry_run=True)
    with pytest.raises(RowsRefusedError):
        site.send(
            FOLDER.joinpath(name).read_bytes().replace(b",Aa,", b",,"), name,
            columns=Json(mapping), all_or_nothing=True,
        )  # fmt: skip
    with pytest.raises(MissingColumnsError):
        send(site, name, columns=Json({**mapping, "Van": None}))
    assert remembered(site) == []
    send(site, name, columns=Json(mapping))
    assert remembered(site) == [mapping]


def test_the_mapping_that_was_used_is_in_status_and_report(site: Site) -> None:
    mapping = {"Lid No": "id_number", "Roepnaam": "firstname", "Code": "ward"}
    first = send(site, "mapping_other_meaning_1.csv", columns=Json(mapping))
    second = send(site, "mapping_other_meaning_2.csv")
    assert used(first)["Code"] == ("ward", "given")
    assert used(second) == {
        "Lid No": ("id_number", "remembered"),
        "Roepnaam": ("firstname", "remembered"),
        "Van": ("surname", "known"),
        "Code": ("ward", "remembered"),
    }
    said = {name: value for name, value, *_ in second.sheet("Summary").iter_rows()}
    assert "Code: Ward (as in an earlier upload)" in str(said["Columns that were read"])


def problems_of(done: Done, code: str) -> list[tuple[int, str, str, str | None]]:
    """Row, column, the cell's text and what was kept, of the problems of one code."""
    return [
        (row["row_number"], problem["column"], problem["value"], problem["kept"])
        for row in done.rows
        for problem in row["problems"] or ()
        if problem["code"] == code
    ]


def expiry(site: Site, number: str = ANN) -> tuple[str, str, bool | None]:
    member = site.members()[number]
    return (
        str(member["last_payment"]), str(member["expiry_date"]), member["expiry_is_derived"],
    )  # fmt: skip


def test_an_expiry_date_that_is_not_understood_is_said(site: Site) -> None:
    done = send(site, "expiry_not_understood.csv")
    assert expiry(site) == ("2026-01-15", "2028-01-15", True)
    assert problems_of(done, "expiry_unclear") == [(2, "Expiry Date", "31/02/2027", "2028-01-15")]
    # A word for a membership without an end is the last day that there is.
    assert expiry(site, BEN) == ("2026-01-15", "9999-12-31", False)
    assert problems_of(done, "expiry_lifetime") == [(3, "Expiry Date", "Lifetime", "9999-12-31")]
    assert done.upload["rows_with_warnings"] == done.upload["rows_needing_attention"] == 2
    assert done.upload["warnings"] == {"expiry_unclear": 1, "expiry_lifetime": 1}


def test_a_given_expiry_date_is_not_replaced_by_a_derived_one(site: Site) -> None:
    send(site, "expiry_derived_1.csv")
    assert expiry(site) == ("2020-01-15", "2099-12-31", False)
    done = send(site, "expiry_derived_2.csv")
    assert expiry(site) == ("2024-01-15", "2099-12-31", False)
    assert done.rows[0]["changes"] == {"last_payment": ["2020-01-15", "2024-01-15"]}


def payment(date: str, expires: str = "") -> bytes:
    return payments((ANN, date, expires))


def payments(*given: tuple[str, str, str]) -> bytes:
    """A file with the ID number, the last payment and the expiry date of each person."""
    rows = [f"{number},Ann,Aa,{date},{expires}" for number, date, expires in given]
    return "\n".join(["ID Number,Firstname,Surname,Last Payment,Expiry", *rows, ""]).encode()


def test_an_older_payment_takes_no_expiry_date_back(site: Site) -> None:
    site.send(payment("2024-01-15"), "a.csv")
    done = site.send(payment("2020-01-15"), "b.csv")
    assert expiry(site) == ("2020-01-15", "2026-01-15", True)
    assert problems_of(done, "payment_older") == [
        (2, "Last Payment", "2020-01-15", "2020-01-15 (before: 2024-01-15)")
    ]
    # A later one moves it on; a given date always counts.
    site.send(payment("2025-02-01"), "c.csv")
    assert expiry(site) == ("2025-02-01", "2027-02-01", True)
    site.send(payment("2025-02-01", "2026-06-30"), "d.csv")
    assert expiry(site) == ("2025-02-01", "2026-06-30", False)
    again = site.send(payment("2025-02-01", "2026-06-30"), "d.csv")
    assert again.by_row == {2: "unchanged"}


def test_the_dates_tell_whether_an_older_version_derived_an_expiry_date(site: Site) -> None:
    expires = {ANN: "2026-01-15", BEN: "2099-12-31"}
    before = [(number, "2024-01-15", day) for number, day in expires.items()]
    site.send(payments(*before), "a.csv")
    forget_derived(site)
    assert site.send(payments(*before), "a.csv").by_row == {2: "updated", 3: "unchanged"}
    forget_derived(site)
    site.send(payments(*((number, "2025-01-15", "") for number in expires)), "b.csv")
    assert (expiry(site)[1], expiry(site, BEN)[1]) == ("2027-01-15", "2099-12-31")


def forget_derived(site: Site) -> None:
    """As older versions had it."""
    site.connection.execute("UPDATE members SET expiry_is_derived = NULL")
    site.connection.commit()


def test_a_member_who_has_paid_and_expired_is_said(site: Site) -> None:
    send(site, "expiry_fill_1.csv")
    done = send(site, "expiry_fill_2.csv", existing="fill")
    assert expiry(site) == ("2026-01-15", "2025-12-31", False)
    expected = [(2, "Last Payment", "2026-01-15", "2026-01-15 (expires 2025-12-31)")]
    assert problems_of(done, "payment_after_expiry") == expected
    # Also when it is sent again, and in one row of a file.
    again = send(site, "expiry_fill_2.csv", existing="fill")
    assert again.by_row == {2: "unchanged"}
    assert problems_of(again, "payment_after_expiry") == expected
    site.clean()
    done = site.send(payment("2026-01-15", "2025-12-31"), "a.csv")
    assert problems_of(done, "expiry_before_payment") == [(2, "Expiry", "2025-12-31", "2025-12-31")]


def test_filling_derives_the_expiry_date_from_the_payment_that_is_kept(site: Site) -> None:
    site.send(payment("2024-01-15"), "a.csv")
    site.connection.execute("UPDATE members SET expiry_date = NULL, expiry_is_derived = NULL")
    site.connection.commit()
    site.send(payment("2025-01-15"), "b.csv", existing="fill")
    assert expiry(site) == ("2024-01-15", "2026-01-15", True)


def test_a_repeat_that_differs_says_in_what(site: Site) -> None:
    done = send(site, "repeat_with_other_values.csv")
    assert done.by_row == {2: "inserted", 3: "duplicate", 4: "invalid"}
    assert problems_of(done, "repeat_differs") == [
        (3, "Surname", "New", "Old"),
        (3, "Cell", "0837654321", "+27821234567"),
    ]
    assert done.upload["rows_needing_attention"] == 2
    [row] = done.sheet("Duplicates").iter_rows(named=True)
    assert "Surname: The row repeats an earlier one with another value here" in row["Problems"]
    assert "Kept: Old." in row["Problems"]


def refused_as_csv(done: Done, **decisions: str) -> bytes:
    """The workbook of refused rows as a CSV file, with decisions by ID number."""
    assert done.refused is not None
    table = fastexcel.read_excel(done.refused).load_sheet(0, dtypes="string").to_polars()
    decided = [
        decisions.get(f"_{number}", decision)
        for number, decision in zip(table["ID Number"], table["Use this row"], strict=True)
    ]
    return table.with_columns(pl.Series("Use this row", decided)).write_csv().encode()


def test_a_repeat_that_comes_back_is_a_decision_and_not_the_next_truth(site: Site) -> None:
    done = send(site, "repeat_with_other_values.csv")
    again = site.send(refused_as_csv(done), "refused.csv")
    assert again.by_row == {2: "invalid", 3: "invalid"}
    assert problems_of(again, "repeat_undecided") == [(2, "Use this row", "no", None)]
    assert site.members()[ANN]["surname"] == "Old"
    assert again.upload["reading"]["columns_not_read"] == []
    # It is asked again, until someone has decided.
    third = site.send(refused_as_csv(again), "refused.csv")
    assert problems_of(third, "repeat_undecided") == [(2, "Use this row", "no", None)]
    last = site.send(refused_as_csv(third, **{f"_{ANN}": "yes"}), "refused.csv")
    assert last.by_row == {2: "updated", 3: "invalid"}
    assert site.members()[ANN]["surname"] == "New"


def test_a_repeat_that_says_the_same_or_less_is_no_question(site: Site) -> None:
    rows = [f"{ANN},Ann,Aa,0821234567", f"{ANN},Ann ,Aa,", f"{ANN},Ann,Aa,082 123 4567"]
    done = site.send("\n".join(["ID Number,Firstname,Surname,Cell", *rows]).encode(), "a.csv")
    assert done.by_row == {2: "inserted", 3: "duplicate", 4: "duplicate"}
    assert problems_of(done, "repeat_differs") == []
    assert done.refused is not None
    assert "Use this row" not in table_of(done.refused).columns


def test_another_name_for_a_known_id_number_is_said(site: Site) -> None:
    send(site, "mapping_of_no_header.csv")  # Ann Aa
    done = send(site, "other_name_same_id.csv")
    assert done.by_row == {2: "updated"}
    assert problems_of(done, "other_name") == [
        (2, "Firstname", "Sipho Dube", "Sipho Dube (before: Ann Aa)")
    ]
    filled = site.send(
        b"ID Number,Firstname,Surname\n8001015009087,Lerato,Nkosi\n", "b.csv", existing="fill"
    )
    assert problems_of(filled, "other_name") == [(2, "Firstname", "Lerato Nkosi", "Sipho Dube")]


@pytest.mark.parametrize(
    ("stored", "sent", "is_other"),
    [
        ("Ann Aa", "Sipho Dube", True),
        ("Thandi Mokoena", "Tandi Nkosi", False),  # a spelling, and a married surname
        ("Thandi Mokoena", "Mokoena Thandi", False),  # swapped
        ("Thandi Grace Mokoena", "Grace Nkosi", False),  # a second first name
        ("Zoë van der Merwe", "Pieter van der Walt", True),  # particles are no name in common
        ("Zoe Cronje", "Zoë Cronjé", False),
        ("T Mokoena", "Thandi Nkosi", False),  # an initial
        ("T Mokoena", "Lerato Nkosi", True),
        ("Van", "Van", False),
    ],
)
def test_what_a_wholly_other_name_is(stored: str, sent: str, *, is_other: bool) -> None:
    assert is_other_person(stored, sent) is is_other
    assert is_other_person(sent, stored) is is_other


def test_nothing_is_said_of_another_offices_member(site: Site) -> None:
    rows = "ID Number,Firstname,Surname,Province,Last Payment\n"
    site.send(f"{rows}{ANN},Ann,Aa,LP,2024-01-15\n".encode(), "a.csv")
    done = site.send(f"{rows}{ANN},Sipho,Dube,,2020-01-15\n".encode(), "b.csv", scope=Scope("GP"))
    assert done.by_row == {2: "out_of_scope"}
    [row] = done.rows
    assert (row["problems"], row["changes"], row["member_id"]) == (None, None, None)
