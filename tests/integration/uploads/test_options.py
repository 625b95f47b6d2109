"""What a sender may ask for: a policy for existing members, all or nothing, a sheet, columns."""

from __future__ import annotations

import datetime as dt
import io
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import fastexcel
import openpyxl
import pytest

from rollbook.accounts.users import disable, issue_token
from rollbook.backends.database import Paging, connect
from rollbook.backends.files import source_key
from rollbook.errors import (
    ConflictError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotAllowedError,
    SourceGoneError,
)
from rollbook.model import Role
from rollbook.uploads import control, lookup, receive, retention
from rollbook.uploads.options import Choices, Options
from tests.files import csv_file, id_number, member
from tests.integration.worker.test_worker import downloaded, ended, in_members, sent, working
from tests.pipeline_run import finished
from tests.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

HEADERS = ("ID Number", "Firstname", "Surname", "Cell Number", "Email")


def person(sequence: int, **changes: str) -> dict[str, str]:
    return {header: member(sequence).get(header, "") for header in HEADERS} | changes


def file_of(*rows: dict[str, str]) -> bytes:
    return csv_file(rows, headers=HEADERS)


async def test_a_policy_decides_over_members_that_exist(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    policies = {
        "update": ("updated", "New", "new@example.org"),
        "fill": ("updated", "Last2", "new@example.org"),
        "skip": ("unchanged", "Last3", None),
    }
    user, uploads = await make_user(), {}
    async with working(system):
        first = await sent(system, user, file_of(*(person(n) for n in (1, 2, 3))))
        await ended(system, user, first)
        for number, existing in enumerate(policies, start=1):
            changed = person(number, Surname="New", Email="new@example.org")
            content = file_of(changed, person(10 + number))
            second = await sent(system, user, content, existing=existing)
            uploads[existing] = await ended(system, user, second)
    stored = {row["id_number"]: row for row in in_members(settings)}
    for number, (existing, (outcome, surname, email)) in enumerate(policies.items(), start=1):
        upload = uploads[existing]
        assert (upload[outcome], upload["inserted"]) == (1, 1), existing
        kept, new = stored[id_number(number)], stored[id_number(10 + number)]
        assert (kept["surname"], kept["email"], kept["cell_number"]) == (
            surname, email, f"+2782000000{number}",
        ), existing  # fmt: skip
        assert kept["created_by_upload"] == first, existing
        wrote = upload["id"] if outcome == "updated" else first
        assert kept["changed_by_upload"] == wrote, existing
        assert new["created_by_upload"] == upload["id"], existing


async def test_what_a_member_was_before_an_upload_is_kept(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    await finished(system, user, await sent(system, user, file_of(person(1), person(2))))
    before = in_members(settings)
    second = await sent(system, user, file_of(person(1, Surname="New"), person(2)))
    await finished(system, user, second)
    with connect(settings.database_address) as connection:
        changes = connection.execute("SELECT upload_id, id_number, before FROM member_changes")
        [change] = changes.fetchall()
    assert (change["upload_id"], change["id_number"]) == (second, id_number(1))
    former = {name: str(value) for name, value in before[0].items() if value is not None}
    del former["member_id"]  # which no upload changes
    kept = {name: str(value) for name, value in change["before"].items()}
    for name in ("created_at", "changed_at"):  # JSON leaves a fraction's last zeros out
        kept[name] = str(dt.datetime.fromisoformat(kept[name]))
    assert kept == former


async def test_all_or_nothing_takes_a_file_without_a_fault(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, file_of(person(1)), all_or_nothing=True)
    upload = await finished(system, user, upload_id)
    assert (upload["status"], upload["inserted"]) == ("completed", 1)
    assert len(in_members(settings)) == 1


async def test_all_or_nothing_merges_nothing_for_one_refused_row_and_reports_it(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    content = file_of(person(1), person(2, Surname=""), person(3))
    upload_id = await sent(system, user, content, all_or_nothing=True)
    upload = await finished(system, user, upload_id)
    assert (upload["status"], upload["error_code"]) == ("failed", "rows_refused")
    assert upload["error"].startswith("1 of the 3 rows were refused")
    assert in_members(settings) == []
    assert (await lookup.rows(system, upload, outcome=None, paging=Paging(1, 10))).total == 0
    report = fastexcel.read_excel(await downloaded(system, upload["report_key"]))
    summary = report.load_sheet("Summary", header_row=None, dtypes="string").to_polars()
    assert any("nothing was changed" in str(cell) for cell in summary.to_series())
    refused = fastexcel.read_excel(await downloaded(system, upload["refused_key"]))
    assert refused.load_sheet(0).height == 1


def two_sheets() -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "2024"
    for sheet, sequence in ((book.active, 1), (book.create_sheet("2025"), 2)):
        sheet.append(list(HEADERS))
        sheet.append(list(person(sequence).values()))
    target = io.BytesIO()
    book.save(target)
    book.close()
    return target.getvalue()


async def test_the_sheet_that_was_named_is_read(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    done = await sent(system, user, two_sheets(), "members.xlsx", sheet="2025")
    assert (await finished(system, user, done))["status"] == "completed"
    wrong = await sent(
        system, user, two_sheets(), "members.xlsx", sheet="2026", allow_duplicate=True
    )
    failed = await finished(system, user, wrong)
    assert [row["id_number"] for row in in_members(settings)] == [id_number(2)]
    assert failed["error_code"] == "no_such_sheet"
    assert "It has '2024', '2025'" in failed["error"]


def own_headers(sequence: int) -> bytes:
    row = member(sequence)
    own = {"Lid No": row["ID Number"], "Roepnaam": row["Firstname"], "Stam": row["Surname"]}
    return csv_file([{**own, "Surname": "not this"}], headers=(*own, "Surname"))


COLUMNS: dict[str, Any] = {
    "Lid No": "id_number", "Roepnaam": "firstname", "stam": "surname", "Surname": None,
}  # fmt: skip


async def test_columns_that_were_named_are_remembered_for_the_office(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    gauteng, other = await make_user(Role.PROVINCE_ADMIN, "GP"), await make_user()
    unknown = await finished(system, gauteng, await sent(system, gauteng, own_headers(1)))
    assert unknown["error_code"] == "no_id_column"
    named = await sent(system, gauteng, own_headers(1), columns=COLUMNS)
    assert (await finished(system, gauteng, named))["inserted"] == 1
    again = await sent(system, gauteng, own_headers(2))
    assert (await finished(system, gauteng, again))["inserted"] == 1
    elsewhere = await finished(system, other, await sent(system, other, own_headers(3)))
    assert elsewhere["error_code"] == "no_id_column"
    assert [row["surname"] for row in in_members(settings)] == ["Last1", "Last2"]


async def test_a_dry_run_is_run_for_real_without_a_second_upload(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    tried = await sent(
        system, user, file_of(*(person(n) for n in range(3))), dry_run=True, existing="fill"
    )
    dry_run = await finished(system, user, tried)
    assert (dry_run["inserted"], in_members(settings)) == (3, [])
    real = await receive.run_for_real(system, user, dry_run, Options())
    done = await finished(system, user, real["id"])
    assert (done["inserted"], done["existing"], done["dry_run"]) == (3, "fill", False)
    assert len(in_members(settings)) == 3
    with pytest.raises(ConflictError, match="Only a dry run"):
        await receive.run_for_real(system, user, done, Options())
    await control.forget_source(system, dry_run)
    gone = await lookup.get(system, user, tried)
    with pytest.raises(SourceGoneError):
        await receive.run_for_real(system, user, gone, Options(allow_duplicate=True))


async def test_a_dry_runs_text_that_empties_fields_counts_in_the_real_run(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    await finished(system, user, await sent(system, user, file_of(person(1))))
    emptying = file_of(person(1, **{"Cell Number": "[empty]"}))
    trial = await sent(system, user, emptying, dry_run=True, empty_text="[Empty]")
    tried = await finished(system, user, trial)
    recorded = await receive.run_for_real(system, user, tried, Options())
    done = await finished(system, user, recorded["id"])
    assert tried["emptied"] == done["emptied"] == {"cell_number": 1}
    assert in_members(settings)[0]["cell_number"] is None


async def test_a_colleagues_dry_run_runs_for_real_with_the_colleagues_place_and_owner(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    operator = await make_user()
    rows = [{**person(1), "Province": "GP"}, {**person(2), "Province": "WC"}]
    file = csv_file(rows, headers=[*HEADERS, "Province"])
    tried = await sent(system, office, file, dry_run=True)
    dry_run = await finished(system, office, tried)
    assert (dry_run["inserted"], dry_run["out_of_scope"]) == (1, 1)
    real = await receive.run_for_real(system, operator, dry_run, Options())
    done = await finished(system, office, real["id"])
    assert (done["inserted"], done["out_of_scope"]) == (1, 1)
    assert (done["owner_id"], done["province"]) == (office.id, "GP")
    with connect(settings.database_address) as connection:
        entry = connection.execute(
            "SELECT email FROM audit_entries WHERE act = 'upload' AND job_id = %s", (real["id"],)
        ).fetchone()
    assert entry == {"email": operator.email}


async def test_the_dry_run_of_a_closed_account_is_run_by_operators_alone(
    system: System, make_user: MakeUser
) -> None:
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    colleague = await make_user(Role.PROVINCE_ADMIN, "GP")
    tried = await sent(system, office, file_of(person(1)), dry_run=True)
    dry_run = await finished(system, office, tried)
    await disable(system.pool, office.email)
    with pytest.raises(NotAllowedError, match="account that sent this file is closed"):
        await receive.run_for_real(system, colleague, dry_run, Options())
    real = await receive.run_for_real(system, await make_user(), dry_run, Options())
    assert (await finished(system, office, real["id"]))["inserted"] == 1


async def test_retention_leaves_a_dry_runs_copy_alone_until_it_is_recorded(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    tried = await sent(system, user, file_of(person(1)), dry_run=True)
    dry_run = await finished(system, user, tried)
    source = settings.data_dir / "store" / dry_run["source_key"]
    three_days_ago = time.time() - 3 * 86400
    os.utime(source, (three_days_ago, three_days_ago))
    await system.store.copy(dry_run["source_key"], source_key(uuid4(), "csv"))
    assert (await retention.holdings(system)).orphans == 0


async def test_a_file_taken_in_is_on_the_disk_with_the_names_of_all_its_folders(
    system: System, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    upload_id = await sent(system, await make_user(), file_of(person(1)))
    store = (settings.data_dir / "store").resolve()
    own = store / str(upload_id)
    assert {str(own / "source.csv"), str(own), str(store)} <= set(synced)


async def test_a_dry_runs_key_is_not_taken_for_the_run_for_real(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    content = file_of(person(1))
    tried = await sent(system, user, content, dry_run=True, idempotency_key="november")
    dry_run = await finished(system, user, tried)
    with pytest.raises(IdempotencyConflictError, match="another dry_run"):
        await receive.run_for_real(system, user, dry_run, Options(idempotency_key="november"))
    with pytest.raises(IdempotencyConflictError, match="another dry_run"):
        await sent(system, user, content, idempotency_key="november")
    await sent(system, user, content, idempotency_key="december")
    with pytest.raises(IdempotencyConflictError, match="another dry_run"):
        await sent(system, user, content, dry_run=True, idempotency_key="december")
    # The same again is the same job, and of what was refused nothing is left.
    assert await sent(system, user, content, dry_run=True, idempotency_key="november") == tried
    assert len([file async for file in system.store.each()]) == 3  # two sources and a report


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "JSON object"), ("{", "JSON object"), ('{"Lid No": "shoe_size"}', "'shoe_size'"),
        ('{"Cell": "ward", "cell ": "email"}', "'cell ' is named twice"),
        ('{"Cell": "ward", "Cell": null}', "'Cell' is named twice"),
        ("[" * 4000, "JSON object"), ('{"Lid No": []}', "no field"), ('{"Lid No": {}}', "no field"),
    ],
)  # fmt: skip
def test_columns_that_make_no_sense_are_explained(text: str, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        Options.of(columns=text)


def test_columns_may_name_a_field_or_nothing() -> None:
    assert Options.of(columns='{"A": "ward", "B": null}').columns == {"A": "ward", "B": None}


def test_every_choice_that_cannot_be_used_is_named_at_once() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        Options.of(dry_run="perhaps", existing="overwrite", sheet="")
    assert [one["field"] for one in refused.value.members["errors"]] == ["dry_run", "existing"]
    assert "'update', 'fill' or 'skip'" in refused.value.message


#: Another value than the default of each choice.
OTHER: dict[str, Any] = {
    "dry_run": True,
    "existing": "fill",
    "all_or_nothing": True,
    "verify": "before_merge",
    "sheet": "Members",
    "columns": {"Lid No": "id_number"},
    "empty_text": "[empty]",
    "kind": "removal",
    "new_status": "Left",
    "reason": "moved",
}
#: Says only whether a repeat is accepted, and a key's repeat is the same upload: it isn't compared.
NOT_COMPARED = {"allow_duplicate"}


def test_every_choice_is_compared_when_a_key_comes_again() -> None:
    assert OTHER.keys() | NOT_COMPARED == Choices.model_fields.keys()


async def test_a_key_that_comes_again_with_another_option_is_refused_and_the_option_named(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    for number, name in enumerate(OTHER):
        content = file_of(person(number))
        removal = {"kind": "removal", "reason": "left"}
        # A removal has a reason, and only a removal has a status.
        usual = removal if name in {"new_status", "reason"} else {}
        other = removal if name == "kind" else {**usual, name: OTHER[name]}
        named = "kind and reason" if name == "kind" else name
        key: dict[str, Any] = {"idempotency_key": f"january {name}"}
        first = await sent(system, user, content, **key, **usual)
        refused = await refusal(sent(system, user, content, **key, **other))
        assert isinstance(refused, IdempotencyConflictError), name
        assert f"with another {named}. Nothing" in str(refused)
        assert await sent(system, user, content, **key, **usual) == first, name
        # The other way round, and the same again.
        key = {"idempotency_key": f"february {name}", "allow_duplicate": True}
        second = await sent(system, user, content, **key, **other)
        refused = await refusal(sent(system, user, content, **key, **usual))
        assert isinstance(refused, IdempotencyConflictError), name
        assert f"with another {named}. Nothing" in str(refused)
        assert await sent(system, user, content, **key, **other) == second, name
        assert second != first, name


async def test_a_key_that_comes_again_with_several_other_options_names_them_all(
    system: System, make_user: MakeUser
) -> None:
    user, content = await make_user(), file_of(person(1))
    first = await sent(system, user, content, existing="fill", idempotency_key="january")
    with pytest.raises(IdempotencyConflictError, match="another existing and sheet"):
        await sent(system, user, content, sheet="Members", idempotency_key="january")
    again: dict[str, Any] = {
        "idempotency_key": "january",
        "allow_duplicate": True,
        "existing": "fill",
    }
    assert await sent(system, user, content, **again) == first


async def test_a_key_whose_upload_failed_says_so_and_not_that_it_is_queued(
    system: System, make_user: MakeUser, api: httpx.AsyncClient, settings: Settings
) -> None:
    user = await make_user()
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    without_ids = csv_file([{"Name": "A"}], headers=("Name",))

    async def send() -> dict[str, Any]:
        answer = await api.post(
            "/api/v1/bulk-upload/process",
            files={"file": ("members.csv", without_ids)},
            headers={"Idempotency-Key": "january"},
        )
        assert answer.status_code == 202
        data: dict[str, Any] = answer.json()["data"]
        return data

    first = await send()
    assert (first["status"], "is queued" in first["message"]) == ("pending", True)
    async with working(system):
        assert (await ended(system, user, UUID(first["job_id"])))["status"] == "failed"
    again = await send()
    assert (again["job_id"], again["status"]) == (first["job_id"], "failed")
    assert "which is failed" in again["message"]
    assert "is queued" not in again["message"]
