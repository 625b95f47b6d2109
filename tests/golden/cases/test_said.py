"""What the sender is to be told: mappings, expiry dates, repeats that differ, another name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Json

from rollbook.errors import MissingColumnsError, NoSuchHeaderError, RowsRefusedError

if TYPE_CHECKING:
    from tests.pipeline_run import Done, Site

FOLDER = Path(__file__).parent
ANN = "8001015009087"


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
