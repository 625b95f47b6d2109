"""An export that LibreOffice has opened and saved comes back unchanged, whatever its texts are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stdnum import luhn

from rollbook import fields
from rollbook.fields import file
from tests.files import HEADERS, csv_file, member
from tests.integration.members.test_export import exported
from tests.libre_office import CSV, SOFFICE, saved

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System
    from tests.pipeline_run import Site

#: What LibreOffice saves an export as, by the export's format.
SAVED_AS = {
    "xlsx": {"xlsx": ("Calc MS Excel 2007 XML", ""), "csv": CSV},
    "csv": {"ods": ("calc8", "")},
}
FIELDS = """
[fields.shirt]
headers = ["Shirt size"]
type = "choice"
choices = ["S", "Extra large", "007"]
[fields.branch_no]
headers = ["Branch number"]
type = "integer"
[fields.pledge]
headers = ["Pledge"]
type = "decimal"
[fields.trained]
headers = ["Trained"]
type = "yes/no"
[fields.trained_on]
headers = ["Trained on"]
type = "date"
[fields.code]
headers = ["Volunteer code"]
[fields.kin]
headers = ["Next of kin phone"]
type = "phone"
[fields.work]
headers = ["Work e-mail"]
type = "e-mail"
"""
ADDRESSES = [
    "=1+1", '=HYPERLINK("https://example.org","x")', "+27 82 555 0100", "-1+1", "@SUM(1)",
    "'n Plaas by Vrede",
    "Straße 5, Łódź, Kwa-Müller",
    "12 Long Street\nFlat 3, \"The Oaks\"; Braamfontein", "A\tB", "_x0041_", "𝒳 \U0001f600",
    "long " * 300 + "end",
]  # fmt: skip
#: Texts that a spreadsheet program takes for numbers and dates when it opens a .csv.
LIKE_NUMBERS = ["007", "'007", "1/2", "2026-01-02", "1e5", "TRUE", "12%", "R 1,50"]
OWN = [
    {"Shirt size": "S", "Branch number": "12", "Pledge": "1200,5", "Trained": "Ja",
     "Trained on": "2001/02/03", "Volunteer code": "AB 12", "Next of kin phone": "0821234567",
     "Work e-mail": "one@example.org"},
    {"Shirt size": "Extra large", "Branch number": "-3", "Trained": "no",
     "Volunteer code": "=1+1", "Next of kin phone": "+44 20 7946 0958"},
    {"Volunteer code": "ê à ü"},
]  # fmt: skip
NAMES = [("Zoë", "Müller"), ("Jean-Pierre", "van der Merwe"), ("N'wa", "O'Brien")]


def people(*, in_csv: bool) -> list[dict[str, str]]:
    """Members with texts of every kind; in a CSV, none that a program takes for a number."""
    addresses, own, names = ADDRESSES, OWN, NAMES
    if not in_csv:
        addresses = [*addresses, *LIKE_NUMBERS]
        own = [*own, {"Volunteer code": "000123", "Shirt size": "007"}, {"Volunteer code": "12E4"}]
        names = [*names, ("True", "Null")]
    found = []
    for n, address in enumerate(addresses):
        first, last = names[n % len(names)]
        # From 2000 on, a number begins with a zero.
        body = f"{n % 2 * 80:02}0101{n:04}08"
        number = body + str(luhn.calc_check_digit(body))
        found.append(
            member(
                n, Firstname=first, Surname=last, Ward="0" * (n % 3) + "79800001"[n % 3 :],
                **{"ID Number": number, "Residential Address": address,
                   "Date Joined": f"20{n:02}-02-03",
                   "Last Payment": "2024-02-29" if n % 2 else "",
                   "Expiry Date": "2027-06-30" if n % 3 == 0 else "",
                   "Landline Number": "011 555 0101" if n % 2 else "+44 20 7946 0958",
                   "Membership Amount": "R 1 200,50" if n % 2 else "0.10",
                   "Status": "Active"},
                **(own[n] if n < len(own) else {}),
            )
        )  # fmt: skip
    return found


@pytest.mark.skipif(SOFFICE is None, reason="no LibreOffice (Debian: libreoffice-calc-nogui)")
@pytest.mark.parametrize("kind", ["xlsx", "csv"])
async def test_an_export_that_libreoffice_saved_changes_nothing(
    kind: str,
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    tmp_path: Path,
) -> None:
    (tmp_path / "fields.toml").write_text(FIELDS, encoding="utf-8")
    with fields.using(file.read(tmp_path / "fields.toml")):
        rows = people(in_csv=kind == "csv")
        headers = dict.fromkeys([*HEADERS, *(name for row in rows for name in row)])
        done = site.send(csv_file(rows, headers=tuple(headers)), "people.csv")
        assert done.outcomes["inserted"] == len(rows), done.rows
        before = site.members()
        export = tmp_path / f"members.{kind}"
        export.write_bytes(await exported(client, system, settings, format=kind))
        (tmp_path / "saved").mkdir()
        # Without a window, it doesn't look at the file's mark, which says that it is UTF-8.
        opener = CSV if kind == "csv" else None
        for ending, path in saved(export, tmp_path / "saved", SAVED_AS[kind], opener).items():
            done = site.send(path.read_bytes(), f"members.{ending}")
            changes = [row for row in done.rows if row["outcome"] != "unchanged"]
            assert [row["changes"] for row in changes] == [], ending
            assert done.upload["reading"]["columns_not_read"] == [], ending
            assert site.members() == before, ending
