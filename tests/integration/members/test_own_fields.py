"""Own fields go the whole way of a built-in one: read, checked, merged, shown, exported, undone."""

from __future__ import annotations

import csv
import io
import time
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from psycopg.types.json import Jsonb

from rollbook import fields
from rollbook.fields import file
from rollbook.members import index
from rollbook.model import Scope
from rollbook.pipeline import template
from rollbook.pipeline.fixable import Grid
from tests.files import HEADERS, csv_file, id_number, member
from tests.integration.members.test_export import exported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System
    from tests.pipeline_run import Done, Site

BASE = "/api/v1/members"
FIELDS = """
[fields.shirt]
headers = ["Shirt size", "T-shirt"]
type = "choice"
choices = ["S", "M", "Extra large"]
[fields.branch_no]
headers = ["Branch number"]
type = "integer"
least = 1
most = 999
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
pattern = "[A-Z]{2}[0-9]{3}"
[fields.kin]
headers = ["Next of kin phone"]
type = "phone"
[fields.work]
headers = ["Work e-mail"]
type = "e-mail"
[fields.note]
headers = ["Note"]
most = 10
"""
OWN = ("Shirt size", "Branch number", "Pledge", "Trained", "Trained on", "Volunteer code",
       "Next of kin phone", "Work e-mail", "Note")  # fmt: skip
ALL = (*HEADERS, *OWN)
FULL = {
    "Shirt size": "extra-LARGE", "Branch number": "12.0", "Pledge": "1 200,5", "Trained": "Ja",
    "Trained on": "2001/02/03", "Volunteer code": "AB123", "Next of kin phone": "082 123 4567",
    "Work e-mail": "One@Example.org", "Note": 'say "é"',
}  # fmt: skip
STORED = {
    "shirt": "Extra large", "branch_no": 12, "pledge": "1200.50", "trained": "Yes",
    "trained_on": "2001-02-03", "code": "AB123", "kin": "+27821234567",
    "work": "one@example.org", "note": 'say "é"',
}  # fmt: skip


@pytest.fixture
def define(tmp_path: Path) -> Iterator[Any]:
    def install(text: str) -> None:
        path = tmp_path / "fields.toml"
        path.write_text(text, encoding="utf-8")
        fields.install(file.read(path))

    with fields.using(fields.current()):
        yield install


@pytest.fixture
def own(define: Any) -> None:
    define(FIELDS)


def send(site: Site, *rows: dict[str, str], **options: Any) -> Done:
    headers = [name for name in ALL if any(name in row for row in rows)]
    return site.send(csv_file(rows, headers=headers), "people.csv", **options)


def stored(site: Site, number: int = 1) -> Any:
    return site.members()[id_number(number)]["own_fields"]


def codes(done: Done, row: int = 2) -> dict[str, str]:
    found = next(one for one in done.rows if one["row_number"] == row)["problems"] or []
    return {problem["code"]: problem["severity"] for problem in found}


@pytest.mark.usefixtures("own")
def test_cells_of_every_type_are_read_stored_and_compared(site: Site) -> None:
    done = send(site, member(1, **FULL), member(2))
    assert (done.by_row, codes(done)) == ({2: "inserted", 3: "inserted"}, {})
    assert (stored(site), stored(site, 2)) == (STORED, None)
    again = {**FULL, "Shirt size": "Extra large", "Pledge": "1200.500", "Trained": "yes"}
    done = send(site, member(1, **again))
    assert done.by_row == {2: "unchanged"}
    # An empty cell, and a file without the columns, erase nothing.
    assert send(site, member(1, Note=""), member(2)).outcomes["unchanged"] == 2
    assert stored(site) == STORED
    done = send(site, member(1, **{"Branch number": "13", "Trained": "no"}))
    assert done.by_row == {2: "updated"}
    assert done.rows[0]["changes"] == {"own.branch_no": ["12", "13"], "own.trained": ["Yes", "No"]}
    assert stored(site) == {**STORED, "branch_no": 13, "trained": "No"}
    changes = done.sheet("Changes").rows()
    assert [row[2:] for row in changes] == [("Branch number", "12", "13"), ("Trained", "Yes", "No")]


@pytest.mark.usefixtures("own")
def test_a_cell_that_breaks_its_rule_is_left_out_with_the_rule_in_words(site: Site) -> None:
    wrong = {
        "Shirt size": "XXL", "Branch number": "1000", "Pledge": "1,2345", "Trained": "maybe",
        "Trained on": "soon", "Volunteer code": "xAB123", "Next of kin phone": "12",
        "Work e-mail": "nobody", "Note": "x" * 11,
    }  # fmt: skip
    done = send(site, member(1, **wrong))
    assert done.by_row == {2: "inserted"}
    assert stored(site) is None
    found = codes(done)
    assert set(found.values()) == {"warning"}
    assert {
        "own.shirt.unclear", "own.branch_no.most", "own.pledge.unclear", "own.trained.unclear",
        "own.code.pattern", "own.note.most",
    } <= found.keys()  # fmt: skip
    assert len(found) == len(wrong)
    [said] = done.sheet("All Uploaded Rows")["Problems"]
    assert "Shirt size: Shirt size is one of S, M, Extra large." in said


def test_needed_fields_and_refusing_rules_refuse_the_row(site: Site, define: Any) -> None:
    define(
        "[fields.branch_no]\nheaders = ['Branch number']\ntype = 'integer'\nneeded = true\n"
        "[rules.date_of_birth]\nleast_age = 18\n[rules.cell_number]\nneeded = true\n"
        "[rules.ward]\nchoices = ['79800001']\n[rules.surname]\npattern = '[KL].*'\nrefuse = true"
    )
    child = member(1, **{"ID Number": "2501010001080", "Branch number": "1"})
    rows = [
        member(1, **{"Branch number": "7"}),
        member(2, **{"Branch number": ""}),
        member(3, **{"Branch number": "seven"}),
        member(4, **{"Branch number": "#N/A"}),
        member(5, **{"Branch number": "7", "Cell Number": ""}),
        member(6, **{"Branch number": "7", "Ward": "79800002"}),
        member(7, **{"Branch number": "7", "Surname": "Zulu"}),
        {**child, "ID Number": "2501015000080"},
    ]
    done = send(site, *rows)
    assert codes(done, 3) == {"own.branch_no.missing": "error"}
    assert codes(done, 4) == {"own.branch_no.unclear": "error"}
    assert codes(done, 5) == {"error_value": "error"}
    assert codes(done, 6) == {"cell_number.missing": "error"}
    assert codes(done, 7) == {"ward.choices": "warning"}
    assert codes(done, 8)["surname.pattern"] == "error"
    assert codes(done, 9)["date_of_birth.least_age"] == "error"
    after = ["invalid"] * 4
    assert list(done.by_row.values()) == ["inserted", *after, "inserted", *after[:2]]
    # A file without a needed column is refused as a whole.
    with pytest.raises(Exception, match="no column Branch number"):
        send(site, member(9))


@pytest.mark.usefixtures("own")
def test_own_fields_are_emptied_filled_and_compared_like_the_built_in_ones(site: Site) -> None:
    send(site, member(1, **FULL))
    emptied = {"Shirt size": "[empty]", "Note": "[empty]"}
    done = send(site, member(1, **emptied), empty_text="[empty]")
    assert done.rows[0]["changes"] == {
        "own.shirt": ["Extra large", None], "own.note": ['say "é"', None]
    }  # fmt: skip
    assert done.upload["emptied"] == {"own.shirt": 1, "own.note": 1}
    left = {name: value for name, value in STORED.items() if name not in {"shirt", "note"}}
    assert stored(site) == left
    done = send(site, member(1, Note="new", Trained="no"), existing="fill")
    assert stored(site) == {**left, "note": "new"}
    done = send(site, member(2, Note="a"), member(2, Note="b"))
    assert done.by_row == {2: "inserted", 3: "duplicate"}
    assert codes(done, 3) == {"repeat_differs": "warning"}
    # All of them emptied leave no document.
    send(site, member(2, Note="[empty]"), empty_text="[empty]")
    assert stored(site, 2) is None


@pytest.mark.usefixtures("own")
async def test_undoing_restores_own_fields_and_leaves_confirmed_ones(
    site: Site, client: httpx.AsyncClient
) -> None:
    send(site, member(1, Note="old"), member(2, Note="old"))
    changed = send(site, member(1, Note="new"), member(2, Note="new"))
    send(site, member(2, Note="new"))
    path = f"/api/v1/bulk-upload/undo/{changed.upload['id']}"
    undone = await client.post(path, json={"dry_run": False})
    assert (undone.json()["data"]["restored"], undone.json()["data"]["kept"]) == (1, 1), undone.text
    assert (stored(site), stored(site, 2)) == ({"note": "old"}, {"note": "new"})


@pytest.mark.usefixtures("own")
async def test_a_member_shows_own_fields_their_sources_and_corrections(
    site: Site, client: httpx.AsyncClient, system: System
) -> None:
    first = send(site, member(1, **FULL))
    send(site, member(1, Note="second"))
    await index.run_once(system)
    types = (await client.get(f"{BASE}/fields")).json()["data"]["items"]
    assert types[0] == {
        "field": "own.shirt", "title": "Shirt size", "type": "choice", "is_needed": False,
        "choices": ["S", "M", "Extra large"],
    }  # fmt: skip
    found = (await client.get(BASE)).json()["data"]["items"][0]["member_id"]
    shown = (await client.get(f"{BASE}/{found}")).json()["data"]
    values = {one["field"]: one["value"] for one in shown["own_fields"]}
    assert values["own.pledge"] == "1200.50"
    assert values["own.note"] == "second"
    assert shown["sources"]["own.pledge"]["job_id"] == str(first.upload["id"])
    assert shown["history"][0]["fields"] == {
        "own.note": {"before": 'say "é"', "after": "second"}
    }  # fmt: skip
    body = {
        "version": shown["version"], "reason": "asked",
        "fields": {"own.trained": "nee", "own.note": None, "own.branch_no": "14"},
    }  # fmt: skip
    wrong = {**body, "fields": {"own.branch_no": "0"}}
    refused = await client.patch(f"{BASE}/{found}", json=wrong)
    assert refused.status_code == 422
    assert "at least 1" in refused.text
    corrected = (await client.patch(f"{BASE}/{found}", json=body)).json()["data"]
    assert set(corrected["corrected"]) == {"own.trained", "own.note", "own.branch_no"}
    after = {k: v for k, v in STORED.items() if k != "note"} | {"trained": "No", "branch_no": 14}
    assert stored(site) == after
    assert corrected["sources"]["own.trained"]["how"] == "correction"
    again = {**body, "version": corrected["version"]}
    same = (await client.patch(f"{BASE}/{found}", json=again)).json()["data"]
    assert same["corrected"] == []


@pytest.mark.usefixtures("own")
async def test_an_export_has_own_fields_and_comes_back_unchanged(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings, tmp_path: Path
) -> None:
    send(site, member(1, **FULL), member(2, Note="=1+1"))
    for kind in ("csv", "xlsx"):
        content = await exported(client, system, settings, format=kind)
        assert site.send(content, f"again.{kind}").outcomes["unchanged"] == 2
    content = await exported(client, system, settings, format="csv")
    first = next(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert (first["Shirt size"], first["Next of kin phone"]) == ("Extra large", "0821234567")
    template.write_template(tmp_path / "template.xlsx", Scope())
    book = openpyxl.load_workbook(tmp_path / "template.xlsx")
    titles = [cell.value for cell in next(book["Members"].iter_rows())]
    assert titles[-len(OWN) :] == list(OWN)
    notes = {row[0].value: row[3].value for row in book["Notes"].iter_rows() if len(row) > 3}
    assert "Extra large" in notes["Shirt size"]


@pytest.mark.usefixtures("own")
def test_without_a_fields_file_own_fields_stay_in_the_record(site: Site) -> None:
    send(site, member(1, **FULL))
    with fields.using(fields.NONE):
        done = send(site, member(1, Note="other", Surname="New"))
        assert done.rows[0]["changes"] == {"surname": ["Last1", "New"]}
        assert done.upload["reading"]["columns_not_read"]
    assert stored(site) == STORED


def test_a_column_of_a_field_that_is_gone_is_not_read_and_named(site: Site, define: Any) -> None:
    """A retry, the office's next file and fixed rows name the field, which nobody defines now."""
    define(FIELDS)
    chosen = Jsonb({"Mystery": "own.shirt"})
    content = csv_file([{**member(1), "Mystery": "S"}], headers=[*HEADERS, "Mystery"])
    first = site.send(content, "people.csv", columns=chosen)
    assert stored(site) == {"shirt": "S"}
    grid = Grid.of(first.upload["grid"])
    assert grid.columns.known["Mystery"] == "own.shirt"
    define("")
    retried: dict[str, Any] = {"columns": chosen}
    for options in (retried, {}):
        done = site.send(content, "people.csv", **options)
        assert done.by_row == {2: "unchanged"}
        assert done.upload["reading"]["columns_not_read"] == ["Mystery"]
        assert stored(site) == {"shirt": "S"}
    grid = Grid.of(first.upload["grid"])
    assert "Mystery" in grid.columns.unknown
    assert "own.shirt" not in grid.columns.headers


def test_a_pattern_takes_no_longer_for_a_hostile_cell(site: Site, define: Any) -> None:
    define("[fields.note]\nheaders = ['Note']\npattern = '(a+)+b'\n")
    began = time.perf_counter()
    done = send(site, member(1, Note="a" * 1_900 + "c"))
    assert codes(done) == {"own.note.pattern": "warning"}
    assert time.perf_counter() - began < 60  # a backtracking engine would need years
