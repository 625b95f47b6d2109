"""An erased person is in no row, file or key afterwards, and isn't taken in again unseen."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zipfile import ZipFile

import openpyxl
import psycopg
import pytest
from pydantic import SecretStr

from rollbook import clock, fields, languages
from rollbook.accounts import users
from rollbook.backends import files
from rollbook.backends.database import connect
from rollbook.backends.files import FileStore
from rollbook.errors import BusyError, FileProblemError, ServiceUnavailableError
from rollbook.fields import file
from rollbook.members import duplicates, erase, erase_files, export, export_file, index
from rollbook.members.person import Person
from rollbook.model import Role, User
from rollbook.spreadsheets.workbook import WorkbookWriter
from rollbook.uploads import checks, receive
from rollbook.uploads import partial as partial_files
from rollbook.uploads.options import Options
from tests.files import HEADERS, csv_file, id_number, member, members, workbook
from tests.recorded import recorded
from tests.redis_content import everything
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System
    from tests.pipeline_run import Done, Site

    MakeUser = Callable[..., Awaitable[User]]
    AsUser = Callable[[User], httpx.AsyncClient]

BASE = "/api/v1/members"
ALL = (*HEADERS, "Email", "Status", "Nickname")
OWN = """
[fields.nickname]
headers = ["Nickname"]
"""
#: Texts that are nobody else's in the whole database cluster.
NAMES = {"Firstname": "Qwxzplant", "Surname": "Kjvqperson"}
PHONE = "0799988771"
PLANTED = member(
    77,
    **NAMES,
    **{"Cell Number": PHONE, "Email": "qwxzplant@example.org", "Nickname": "Zzownvalue"},
)
#: What the record has of the person where no own fields are defined.
RECORDED = {name: cell for name, cell in PLANTED.items() if name != "Nickname"}
#: What no byte of may be left.
TRACES = (id_number(77), "qwxzplant", "kjvqperson", "799988771", "zzownvalue")


def send(site: Site, *rows: dict[str, str], name: str = "list.csv", **more: Any) -> Any:
    content = (workbook if name.endswith("xlsx") else csv_file)(rows, headers=ALL)
    return site.send(content, name, **more)


async def erased(client: httpx.AsyncClient, site: Site, number: int = 77) -> str:
    path = f"{BASE}/{site.members()[id_number(number)]['member_id']}"
    body = {"reason": "asked for it in writing", "confirm": True}
    answer = await client.post(f"{path}/erase", json=body)
    assert answer.status_code == 202, answer.text
    receipt: str = answer.json()["data"]["receipt"]
    return receipt


def carry_out(settings: Settings, system: System, receipt: str, seconds: float = 60) -> bool:
    """As a worker's child does."""
    with connect(settings.database_address) as connection:
        done = erase_files.process(
            connection, system.store, erasure_id=UUID(receipt), seconds=seconds
        )
    is_done: bool = done["is_done"]
    return is_done


async def plant_unsent(system: System) -> None:
    """Leave the person in files that are checked, or coming in by parts, and not sent."""
    user = await users.acting(system.pool, None)
    content = csv_file([PLANTED], headers=ALL)
    other = csv_file(members(1, 90))
    for name, sent in (
        ("to check.csv", content),
        ("book.xlsx", workbook([PLANTED], headers=ALL)),
        ("Qwxzplant Kjvqperson.csv", other),
        ("others.csv", other),
    ):

        async def chunks(sent: bytes = sent) -> AsyncIterator[bytes]:
            yield sent

        stored = await receive.store_file(system, name, chunks())
        await checks.add(system, user, stored, Options.of(allow_duplicate="true"))
    # The ID number is in two parts.
    cut = content.index(id_number(77).encode()) + 5
    for name, parts in (
        ("parts.csv", (content[:cut], content[cut:-1])),
        ("parts.xlsx", (workbook([PLANTED], headers=ALL)[:-9],)),
        ("others.csv", (other[:-1],)),
    ):
        partial = await partial_files.create(system, user, name, sum(map(len, parts)) + 1)
        at = 0
        for part in parts:

            async def body(part: bytes = part) -> AsyncIterator[bytes]:
                yield part

            await partial_files.append(system, user, partial.id, body(), offset=at)
            at += len(part)


async def unsent(system: System) -> list[str]:
    """The names of the files that aren't sent."""
    async with system.pool.connection() as connection:
        rows = await connection.execute(
            "SELECT file_name FROM file_checks UNION ALL SELECT file_name FROM partial_files"
        )
        return [row["file_name"] for row in await rows.fetchall()]


async def plant(site: Site, client: httpx.AsyncClient, system: System, settings: Settings) -> None:
    """Leave the person everywhere that a person may be."""
    send(site, *members(2, 50), PLANTED)
    send(site, {**PLANTED, "Ward": "79800002"}, *members(2, 60), name="changes.xlsx")
    send(site, PLANTED | {"Ward": "79800002"}, name="confirms.csv")
    # A typing error in the number, and a row that repeats another with other values.
    send(site, {**PLANTED, "ID Number": "8001010077099"}, *members(1, 70), name="refused.xlsx")
    send(site, PLANTED, {**PLANTED, "Cell Number": "0831112222"}, name="repeats.csv")
    send(site, PLANTED, *members(1, 80), name="Kjvqperson Qwxzplant dry.xlsx", dry_run=True)
    with pytest.raises(FileProblemError):
        send(site, PLANTED, {**PLANTED, "ID Number": "1"}, name="all.csv", all_or_nothing=True)
    with site.connection.transaction():
        site.connection.execute(
            "UPDATE uploads SET status = 'failed', error = 'refused',"
            " finished_at = now() WHERE status = 'processing'"
        )
        site.connection.execute(
            "INSERT INTO voter_roll_answers (id_number, status, voting_district, asked_at)"
            " VALUES (%s, 'registered', '12345678', now())",
            (id_number(77),),
        )
        site.connection.execute(
            "INSERT INTO voter_roll_questions (id_number, upload_ordinal, row_number)"
            " VALUES (%s, 1, 2)",
            (id_number(77),),
        )
        site.connection.execute(
            "INSERT INTO verifications (upload_id, row_number, id_number, file_ward, result)"
            " SELECT id, 4, %s, '79800001', 'pending' FROM uploads WHERE file_name = 'list.csv'",
            (id_number(77),),
        )
        # Pairs, and a record that was joined to the person's; the person among those who are due.
        for other, status in ((id_number(78), "open"), (id_number(76), "joined")):
            site.connection.execute(
                "INSERT INTO member_duplicates (one, other, why, score, status)"
                " VALUES (LEAST(%(a)s, %(b)s), GREATEST(%(a)s, %(b)s), 'phone', 99, %(status)s)",
                {"a": id_number(77), "b": other, "status": status},
            )
        site.connection.execute(
            "INSERT INTO member_joins (id, kept, gone, record, filled)"
            " SELECT d.id, m.id_number, %s, to_jsonb(m), to_jsonb(m) FROM member_duplicates AS d,"
            " members AS m WHERE d.status = 'joined' AND m.id_number = %s",
            (id_number(76), id_number(77)),
        )
        site.connection.execute(
            "INSERT INTO duplicates_due (people) VALUES (ARRAY[%s]::bigint[])",
            (int(id_number(77)),),
        )
        # A cell in the wrong column that an office has remembered, or asked to.
        site.connection.execute(
            "INSERT INTO value_aliases (field, text, value, upload_id, created_by)"
            " SELECT 'province', 'kjvqperson qwxzplant', 'GP', id, 'x' FROM uploads"
            " WHERE file_name = 'list.csv'"
        )
        site.connection.execute(
            "UPDATE uploads SET mends = id, grid ="
            """ '{"aliases": [{"field": "province", "text": "qwxzplant kjvqperson"}]}'"""
            " WHERE file_name = 'all.csv'"
        )
    send(
        site, PLANTED, *members(1, 99), name="leave.xlsx", kind="removal", reason="they left",
        dry_run=True,
    )  # fmt: skip
    await plant_unsent(system)
    await index.run_once(system)
    path = f"{BASE}/{site.members()[id_number(77)]['member_id']}"
    version = (await client.get(path)).json()["data"]["version"]
    fields = {"residential_address": "1 Qwxzplant Street"}
    body = {"version": version, "reason": "moved", "fields": fields}
    assert (await client.patch(path, json=body)).status_code == 200
    for asked in (f"{BASE}/export", f"{path}/access"):
        answer = await client.post(asked, json={"format": "xlsx"})
        with connect(settings.database_address) as connection:
            export_file.process(
                connection, system.store, file_id=UUID(answer.json()["data"]["job_id"]),
                attempt=0, hours=24, report_progress=lambda _: None,
            )  # fmt: skip


def found_in(content: bytes) -> list[str]:
    """The traces in some bytes, in small letters."""
    small = content.lower()
    wide = [trace.encode("utf-16-le") for trace in TRACES]
    return [t for t, w in zip(TRACES, wide, strict=True) if t.encode() in small or w in small]


def in_store(folder: Path) -> dict[str, list[str]]:
    """The traces in each stored file; workbooks are unpacked."""
    traces = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".xlsx":
            with ZipFile(path) as parts:
                content += b"\n".join(parts.read(name) for name in parts.namelist())
        if found := found_in(content):
            traces[str(path.relative_to(folder))] = found
    return traces


#: Transactions that may still see what was deleted: it stays in the files for them.
OPEN = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)"
)


async def in_database(settings: Settings, *, is_compacted: bool = True) -> dict[str, list[str]]:
    """The traces in PostgreSQL's files of this database, but for its write-ahead log.

    Rows that were deleted stay in them until the files are compacted, which takes a second.
    """
    # On a thread: transactions of the application in this process come to their end meanwhile.
    return await asyncio.to_thread(_in_database, settings, is_compacted=is_compacted)


def _in_database(settings: Settings, *, is_compacted: bool) -> dict[str, list[str]]:
    with psycopg.connect(settings.database_address, autocommit=True) as connection:
        if is_compacted:
            until(lambda: not connection.execute(OPEN).fetchall(), "no transaction is open")
            connection.execute("VACUUM FULL")
        connection.execute("CHECKPOINT")
        row = connection.execute(
            "SELECT current_setting('data_directory'), oid FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        folder = Path(row[0], "base", str(row[1]))
        traces = {}
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # such as a new session's cache, renamed
                traces[path.name] = found_in(path.read_bytes())
        names: dict[str, str] = dict(
            connection.execute("SELECT relfilenode::text, relname FROM pg_class").fetchall()
        )
    return {names.get(name, f"file {name}"): found for name, found in traces.items() if found}


@pytest.mark.usefixtures("own_field")
async def test_a_person_planted_everywhere_leaves_no_byte(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await plant(site, client, system, settings)
    store = settings.data_dir / "store"
    # Reports, refused rows, sent files, an export and the person's file.
    assert len(in_store(store)) >= 12
    assert await in_database(settings, is_compacted=False)
    receipt = await erased(client, site)
    assert carry_out(settings, system, receipt)

    assert in_store(store) == {}
    assert await in_database(settings) == {}
    assert found_in((await everything(settings)).encode()) == []
    logged = capsys.readouterr()
    assert "erasure completed" in logged.out + logged.err
    assert found_in((logged.out + logged.err).encode()) == []
    assert sorted(await unsent(system)) == ["others.csv", "others.csv"]
    data = (await client.get(f"{BASE}/erasures/{receipt}")).json()["data"]
    assert data["status"] == "completed"
    counts = data["counts"]
    assert counts["members"] == counts["voter_roll_answers"] == counts["corrections"] == 1
    assert counts["exports"] == 2
    assert counts["reports_rewritten"] >= 6
    assert counts["refused_rows_rewritten"] >= 1
    assert counts["files_removed"] >= 2
    # Of the row with the typing error, the repeats, and the dry run's.
    assert counts["row_cells"] >= 2
    assert counts["aliases"] == 2
    assert (counts["checked_files"], counts["partial_files"]) == (3, 2)
    assert (counts["possible_duplicates"], counts["joined_records"]) == (2, 1)
    audit = await client.get("/api/v1/bulk-upload/audit", params={"act": "erase_member"})
    (entry,) = audit.json()["data"]["items"]
    assert entry["about"] == f"receipt {receipt}"


@pytest.fixture
def own_field(tmp_path: Path) -> Iterator[None]:
    """The own field of a person's row."""
    path = tmp_path / "fields.toml"
    path.write_text(OWN)
    with fields.using(file.read(path)):
        yield


async def erased_by_number(client: httpx.AsyncClient, number: str) -> httpx.Response:
    body = {"id_number": number, "reason": "asked for it in writing", "confirm": True}
    return await client.post(f"{BASE}/erase", json=body)


async def test_somebody_who_was_removed_is_erased_without_being_brought_back(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    send(site, PLANTED, *members(1, 50))
    left = send(site, PLANTED, name="left.csv", kind="removal", reason="they left")
    await index.run_once(system)
    assert set(site.members()) == {id_number(50)}
    answer = await erased_by_number(client, id_number(77))
    assert answer.status_code == 202, answer.text
    assert carry_out(settings, system, answer.json()["data"]["receipt"])
    assert in_store(settings.data_dir / "store") == {}
    assert await in_database(settings) == {}
    path = f"/api/v1/bulk-upload/undo/{left.upload['id']}"
    undone = await client.post(path, json={"dry_run": False})
    assert undone.status_code == 200, undone.text
    assert set(site.members()) == {id_number(50)}
    assert send(site, PLANTED).by_row == {2: "invalid"}
    again = await erased_by_number(client, id_number(77))
    assert again.status_code == 404


async def test_the_last_person_of_a_table_leaves_no_statistics(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    """ANALYZE leaves the statistics of a table that is empty as they were."""
    send(site, PLANTED)
    await index.run_once(system)
    site.connection.execute("ANALYZE")  # as autovacuum does
    site.connection.commit()
    receipt = await erased(client, site)
    assert carry_out(settings, system, receipt)
    assert site.members() == {}
    assert await in_database(settings) == {}


async def test_somebody_who_was_joined_away_is_erased_without_being_brought_back(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    same = {"Firstname": "Thabo", "Surname": "Nkosi"}
    recorded(site, member(1, **same), member(2, **same))
    await index.run_once(system)
    await duplicates.run_once(system)
    (pair,) = (await client.get(f"{BASE}/duplicates")).json()["data"]["items"]
    numbers = {str(one["member_id"]): number for number, one in site.members().items()}
    keep, gone = (one["member_id"] for one in pair["members"])
    path = f"{BASE}/duplicates/{pair['pair_id']}"
    body = {"keep": keep, "reason": "the same person"}
    assert (await client.post(f"{path}/join", json=body)).status_code == 200
    answer = await erased_by_number(client, numbers[gone])
    assert answer.status_code == 202, answer.text
    assert carry_out(settings, system, answer.json()["data"]["receipt"])
    assert set(site.members()) == {numbers[keep]}
    assert (await client.post(f"{path}/separate", json={"reason": "two"})).status_code == 404
    assert site.connection.execute("SELECT FROM member_joins").fetchall() == []
    site.connection.rollback()


async def test_what_was_joined_to_an_erased_member_is_erased_with_it(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    rows = [member(n, Firstname="Kjvqperson", Surname="Nkosi") for n in (1, 2)]
    send(site, *rows, *members(1, 50))
    await index.run_once(system)
    await duplicates.run_once(system)
    (pair,) = (await client.get(f"{BASE}/duplicates")).json()["data"]["items"]
    keep = pair["members"][0]["member_id"]
    body = {"keep": keep, "reason": "the same person"}
    path = f"{BASE}/duplicates/{pair['pair_id']}/join"
    assert (await client.post(path, json=body)).status_code == 200
    asked = {"reason": "asked for it in writing", "confirm": True}
    answer = (await client.post(f"{BASE}/{keep}/erase", json=asked)).json()["data"]
    for receipt in (answer["receipt"], *answer["joined"]):
        assert carry_out(settings, system, receipt)
    assert in_store(settings.data_dir / "store") == {}
    assert await in_database(settings) == {}
    assert send(site, *rows).by_row == {2: "invalid", 3: "invalid"}
    assert set(site.members()) == {id_number(50)}


async def test_rows_of_an_upload_whose_report_is_gone_hold_nobody(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    """The person has another id since, and a row without a right ID number is found by none."""
    send(site, {**PLANTED, "Cell Number": "0821111111"}, *members(1, 50))
    typo = {**PLANTED, "ID Number": "12", "Email": "qwxzplant at example"}
    changed = send(site, PLANTED, typo)
    assert changed.by_row == {2: "updated", 3: "invalid"}
    path = f"/api/v1/bulk-upload/reports/{changed.upload['id']}"
    assert (await client.delete(path)).status_code == 200
    send(site, PLANTED, name="left.csv", kind="removal", reason="they left")
    send(site, PLANTED)
    await index.run_once(system)
    assert carry_out(settings, system, await erased(client, site))
    assert await in_database(settings) == {}


async def test_a_member_is_erased_by_number_too_and_a_number_of_nobody_is_not_found(
    site: Site, client: httpx.AsyncClient, as_user: AsUser, make_user: MakeUser, operator: User
) -> None:
    recorded(site, RECORDED)
    office = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    assert (await erased_by_number(office, id_number(77))).status_code == 403
    client = as_user(operator)
    assert (await erased_by_number(client, id_number(76))).status_code == 404
    body = {"id_number": id_number(77), "reason": "asked for it", "confirm": False}
    assert (await client.post(f"{BASE}/erase", json=body)).status_code == 422
    assert len(site.members()) == 1
    assert (await erased_by_number(client, id_number(77))).status_code == 202
    assert site.members() == {}


async def test_a_file_that_is_being_joined_from_its_parts_is_waited_for(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    recorded(site, RECORDED)
    await plant_unsent(system)
    await index.run_once(system)
    site.connection.execute("UPDATE partial_files SET joining_until = now() + interval '1 hour'")
    site.connection.commit()
    receipt = await erased(client, site)
    with pytest.raises(BusyError):
        carry_out(settings, system, receipt)
    site.connection.execute("UPDATE partial_files SET joining_until = NULL")
    site.connection.commit()
    assert carry_out(settings, system, receipt)
    assert in_store(settings.data_dir / "store") == {}


async def test_what_is_others_stays_and_reports_are_whole_workbooks(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    done = send(site, *members(2, 50), PLANTED, {**PLANTED, "Surname": "", "ID Number": "12"})
    namesake = member(51, **NAMES)
    other = send(site, namesake, name="namesake.csv")
    await index.run_once(system)
    assert carry_out(settings, system, await erased(client, site))
    assert set(site.members()) == {id_number(50), id_number(51)}
    folder = settings.data_dir / "store"
    rows = openpyxl.load_workbook(folder / done.upload["report_key"])["All Uploaded Rows"]
    numbers = {row[1] for row in rows.iter_rows(min_row=2, values_only=True) if row[1]}
    assert {id_number(50), id_number(51)} <= numbers
    assert id_number(77) not in numbers
    # The same names, and a right ID number of another person.
    text = str(
        list(
            openpyxl.load_workbook(folder / other.upload["report_key"])["All Uploaded Rows"].values
        )
    )
    assert NAMES["Surname"] in text


async def test_a_later_file_s_row_is_refused_until_the_person_is_readmitted(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    recorded(site, RECORDED)
    await index.run_once(system)
    assert carry_out(settings, system, await erased(client, site))
    done = send(site, PLANTED, *members(1, 50))
    assert done.by_row == {2: "invalid", 3: "inserted"}
    (problem,) = done.rows[0]["problems"]
    assert (problem["code"], problem["value"]) == ("person_erased", None)
    assert id_number(77) not in site.members()
    answer = await client.post(f"{BASE}/readmit", json={"id_number": id_number(77)})
    assert answer.status_code == 200
    assert send(site, PLANTED).by_row == {2: "inserted"}
    again = await client.post(f"{BASE}/readmit", json={"id_number": id_number(77)})
    assert again.status_code == 404


async def test_the_holder_of_a_passport_is_readmitted_by_it(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    def come() -> Done:
        content = b"Passport No,Passport Country,Firstname,Surname\nN123456,ZW,Tendai,Moyo\n"
        return site.send(content, "list.csv", accepts_passports=True)

    come()
    await index.run_once(system)
    (person,) = site.members().values()
    body = {"reason": "asked for it in writing", "confirm": True}
    answer = await client.post(f"{BASE}/{person['member_id']}/erase", json=body)
    assert carry_out(settings, system, answer.json()["data"]["receipt"])
    assert come().by_row == {2: "invalid"}
    path, passport = f"{BASE}/readmit", {"passport_number": "n 123456", "passport_country": "ZWE"}
    both = {**passport, "id_number": id_number(77)}
    for wrong in ({}, both, {"passport_number": "N123456"}, {"passport_country": "ZW"}):
        assert (await client.post(path, json=wrong)).status_code == 422, wrong
    nowhere = await client.post(path, json={**passport, "passport_country": "Atlantis"})
    assert nowhere.status_code == 422
    assert "country" in nowhere.json()["detail"]
    other = await client.post(path, json={**passport, "passport_country": "ZM"})
    assert other.status_code == 404
    assert (await client.post(path, json=passport)).status_code == 200
    assert come().by_row == {2: "inserted"}


async def test_a_worker_without_the_key_takes_no_file(
    site: Site, client: httpx.AsyncClient, system: System
) -> None:
    recorded(site, RECORDED)
    await index.run_once(system)
    await erased(client, site)
    other = {"secret_key": SecretStr("another-key-of-thirty-two-bytes-or-more")}
    site.settings = site.settings.model_copy(update=other)
    with pytest.raises(ServiceUnavailableError, match="ROLLBOOK_SECRET_KEY"):
        send(site, *members(1, 50))
    assert set(site.members()) == set()


@pytest.mark.parametrize("kept_as", ["former_secret_keys", "erasure_keys"])
async def test_a_changed_key_still_knows_who_was_erased(
    site: Site, client: httpx.AsyncClient, system: System, kept_as: str
) -> None:
    recorded(site, RECORDED)
    await index.run_once(system)
    await erased(client, site)
    changed = {
        "secret_key": SecretStr("another-key-of-thirty-two-bytes-or-more"),
        kept_as: site.settings.secret_key,
    }
    site.settings = site.settings.model_copy(update=changed)
    assert send(site, PLANTED).by_row == {2: "invalid"}


async def test_an_upload_under_way_can_t_bring_the_person_back(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    upload_id = recorded(site, RECORDED)
    await index.run_once(system)
    with site.connection.transaction():
        site.connection.execute(
            "UPDATE uploads SET status = 'processing', finished_at = NULL WHERE id = %s",
            (upload_id,),
        )
    receipt = await erased(client, site)
    with pytest.raises(BusyError):
        carry_out(settings, system, receipt)
    with site.connection.transaction():
        # It completes now, with the person.
        site.connection.execute(
            "UPDATE uploads SET status = 'completed', finished_at = now() WHERE id = %s",
            (upload_id,),
        )
        site.connection.execute(
            "INSERT INTO members (id_number, firstname, surname, date_of_birth, created_by_upload,"
            " changed_by_upload) VALUES (%s, 'Qwxzplant', 'Kjvqperson', '1980-01-01', %s, %s)",
            (id_number(77), upload_id, upload_id),
        )
    assert carry_out(settings, system, receipt)
    assert site.members() == {}


@pytest.mark.parametrize("tag", languages.available())
def test_a_sheet_with_numbers_of_rows_is_recognised_in_every_language(
    tmp_path: Path, tag: str
) -> None:
    with languages.speaking(tag):
        header = languages.phrase("report.column.row")
    source, target = tmp_path / "source.xlsx", tmp_path / "target.xlsx"
    with WorkbookWriter(source, title="x", fills={}, created=clock.now()) as book:
        book.add_cells("One", [[header, "Name"], [7, "Kjvqperson Qwxzplant"], [8, "Moyo"]])
        book.add_cells("Other", [[header, "Ward"], [7, "79800002"], [8, "79800003"]])
    person = Person(id_number(77), "Qwxzplant", "Kjvqperson")
    assert erase_files.rewrite(source, target, person) == {7}
    rows = [row[0] for sheet in openpyxl.load_workbook(target) for row in sheet.values if row[0]]
    assert rows == [header, 8, header, 8]


@pytest.mark.parametrize(
    ("country", "number", "about"),
    [(None, id_number(77), {2, 4}), ("ZWE", "N123456", {3, 5})],
    ids=["by ID number", "by passport"],
)
async def test_rows_are_found_in_a_report_in_another_language(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings,
    country: str | None, number: str, about: set[int],
) -> None:  # fmt: skip
    top = "ID Number,Passport No,Passport Country,Firstname,Surname,Ward\n"
    was = f"{id_number(77)},,,Qwxzplant,Oldname,79800001\n,N123456,ZW,Tendai,Oldmoyo,79800001\n"
    site.send((top + was).encode(), "was.csv", accepts_passports=True)
    # Each has changes, of which one line has a former name; and a row with a wrong number.
    rows = (
        f"{id_number(77)},,,Qwxzplant,Kjvqperson,79800002\n,N123456,ZW,Tendai,Moyo,79800002\n"
        "8001010077099,,,Qwxzplant,Kjvqperson,\n,n-123 456,,Tendai,Moyo,\n"
        f"{id_number(50)},,,Thabo,Nkosi,79800001\n8001010077098,,,Rudo,Ncube,\n"
    )
    done = site.send((top + rows).encode(), "is.csv", accepts_passports=True, language="zu")
    tables = files.report_tables_key(done.upload["id"], 1)
    site.store.put(tables, done.report)
    named = {"id": done.upload["id"], "key": tables}
    site.connection.execute(
        "UPDATE uploads SET report_tables_key = %(key)s WHERE id = %(id)s", named
    )
    fixable = "SELECT row_number FROM fixable_rows WHERE upload_id = %(id)s"
    before = {row["row_number"] for row in site.connection.execute(fixable, named).fetchall()}
    site.connection.commit()
    assert before == {4, 5, 7}
    await index.run_once(system)
    (person,) = (
        one for one in site.members().values()
        if (one["identity_country"], one["identity_number"] or one["id_number"])
        == (country, number)
    )  # fmt: skip
    body = {"reason": "asked for it in writing", "confirm": True}
    answer = await client.post(f"{BASE}/{person['member_id']}/erase", json=body)
    assert carry_out(settings, system, answer.json()["data"]["receipt"])

    folder = settings.data_dir / "store"
    left = {
        sheet.title: [row[0] for row in sheet.values]
        for sheet in openpyxl.load_workbook(folder / done.upload["report_key"])
    }
    with languages.speaking("zu"):
        every, changes = (languages.phrase(f"report.sheet.{name}") for name in ("all", "changes"))
        header = languages.phrase("report.column.row")
    assert left[every][0] == left[changes][0] == header != "Row"
    assert set(left[every][1:]) - {None} == set(range(2, 8)) - about
    assert set(left[changes][1:]) - {None} == {2, 3} - about
    stored = site.connection.execute(
        "SELECT row_number, problems, changes FROM upload_rows WHERE upload_id = %(id)s", named
    ).fetchall()
    has_values = {
        row["row_number"] for row in stored
        if row["changes"] or any(problem["value"] for problem in row["problems"] or [])
    }  # fmt: skip
    assert has_values == {2, 3, 4, 5, 7} - about
    after = {row["row_number"] for row in site.connection.execute(fixable, named).fetchall()}
    assert after == before - about
    site.connection.rollback()
    assert not (folder / tables).exists()


async def test_a_file_begun_after_the_erasure_was_asked_for_goes_on(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    send(site, PLANTED)
    await index.run_once(system)
    receipt = await erased(client, site)
    await plant_unsent(system)
    assert carry_out(settings, system, receipt)
    names = ["others.csv", "others.csv", "parts.csv", "parts.xlsx"]
    assert sorted(await unsent(system)) == names


async def test_unsent_files_are_gone_through_in_turns_and_outside_of_transactions(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send(site, PLANTED, name="dry.csv", dry_run=True)
    send(site, PLANTED)
    await plant_unsent(system)
    await index.run_once(system)
    receipt = await erased(client, site)
    fetch = FileStore.fetch
    states: list[Any] = []
    calls, is_done = 0, False
    while not is_done and calls < 20:
        with connect(settings.database_address) as connection:

            def watched(store: FileStore, key: str, target: Path, own: Any = connection) -> str:
                states.append(own.info.transaction_status)
                return fetch(store, key, target)

            monkeypatch.setattr(FileStore, "fetch", watched)
            answer = erase_files.process(
                connection, system.store, erasure_id=UUID(receipt), seconds=0
            )
        is_done = answer["is_done"]
        calls += 1
    # Two uploads, four checks and three files by parts, one a call; the last call finds nothing.
    assert calls == 10
    assert set(states) == {psycopg.pq.TransactionStatus.IDLE}
    assert in_store(settings.data_dir / "store") == {}
    assert sorted(await unsent(system)) == ["others.csv", "others.csv"]


async def test_a_checked_file_that_is_sent_meanwhile_is_looked_into(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded(site, RECORDED)
    await index.run_once(system)
    receipt = await erased(client, site)
    await plant_unsent(system)
    (check_id,) = (
        row["id"] for row in site.connection.execute(
            "SELECT id FROM file_checks WHERE file_name = 'to check.csv'"
        ).fetchall()
    )  # fmt: skip
    site.connection.rollback()
    key_of_check = files.source_key(check_id, "csv")
    fetch = FileStore.fetch
    sent: list[Any] = []

    def send_it(store: FileStore, key: str, target: Path) -> str:
        if key == key_of_check and not sent:
            sent.extend(
                site.connection.execute(
                    "INSERT INTO uploads (id, owner_id, file_name, file_kind, file_bytes,"
                    " file_sha256, priority, status, error, finished_at, source_key)"
                    " SELECT id, owner_id, file_name, file_kind, file_bytes, file_sha256, 1,"
                    " 'failed', 'refused', now(), %s FROM file_checks WHERE id = %s RETURNING id",
                    (key, check_id),
                ).fetchall()
            )
            site.connection.commit()
        return fetch(store, key, target)

    monkeypatch.setattr(FileStore, "fetch", send_it)
    assert carry_out(settings, system, receipt)
    assert sent
    assert not (settings.data_dir / "store" / key_of_check).exists()


async def test_rows_are_found_by_the_next_attempt_when_one_is_cut_off(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = ({**PLANTED, "ID Number": "8001010077099"}, member(50), PLANTED)
    done = send(site, *rows)
    await index.run_once(system)
    receipt = await erased(client, site)
    put = FileStore.put

    def put_and_end(store: FileStore, key: str, source: Path) -> None:
        put(store, key, source)
        raise ServiceUnavailableError("The process ends here.")

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, "put", put_and_end)
        with pytest.raises(ServiceUnavailableError):
            carry_out(settings, system, receipt)
    assert carry_out(settings, system, receipt)
    left = site.connection.execute(
        "SELECT problems->0->>'value' AS value FROM upload_rows"
        " WHERE upload_id = %s AND row_number = 2",
        (done.upload["id"],),
    ).fetchall()
    site.connection.rollback()
    assert left == [{"value": None}]


async def test_it_goes_on_where_it_was(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    for number in range(3):
        send(site, PLANTED, *members(1, 50 + number))
    await index.run_once(system)
    receipt = await erased(client, site)
    calls = 1
    while not carry_out(settings, system, receipt, seconds=0):
        calls += 1
        assert calls < 10
    assert calls == 4
    assert in_store(settings.data_dir / "store") == {}


async def exported(client: httpx.AsyncClient) -> str:
    answer = await client.post(f"{BASE}/export", json={"format": "csv"})
    file_id: str = answer.json()["data"]["job_id"]
    return file_id


def write_export(settings: Settings, system: System, file_id: str, attempt: int = 0) -> None:
    """As a worker's child does."""
    with connect(settings.database_address) as connection:
        export_file.process(
            connection, system.store, file_id=UUID(file_id), attempt=attempt, hours=24,
            report_progress=lambda _: None,
        )  # fmt: skip


async def test_exports_that_begin_after_the_record_is_removed_stay(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    for number in range(3):
        recorded(site, RECORDED, *members(1, 50 + number))
    await index.run_once(system)
    before = await exported(client)
    write_export(settings, system, before)
    receipt = await erased(client, site)
    assert not carry_out(settings, system, receipt, seconds=0)
    after, waiting = await exported(client), await exported(client)
    write_export(settings, system, after)
    with connect(settings.database_address) as connection:
        # A child has begun to make this one.
        connection.execute("UPDATE member_files SET tries = 1 WHERE id = %s", (waiting,))
    while not carry_out(settings, system, receipt, seconds=0):
        pass
    with connect(settings.database_address) as connection:
        found = {
            str(row["id"]): (row["status"], row["tries"])
            for row in connection.execute("SELECT id, status, tries FROM member_files")
        }
    assert found == {before: ("removed", 0), after: ("completed", 0), waiting: ("pending", 1)}
    assert (await client.get(f"{BASE}/files/{after}/content")).status_code == 200
    assert (await client.get(f"{BASE}/erasures/{receipt}")).json()["data"]["counts"]["exports"] == 1


async def test_a_withdrawn_export_is_removed_by_the_next_attempt_when_one_is_cut_off(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded(site, RECORDED, *members(2, 50))
    await index.run_once(system)
    write_export(settings, system, await exported(client))
    receipt = await erased(client, site)

    def end(_: FileStore, key: str) -> None:
        raise MemoryError(key)

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, "delete", end)
        with pytest.raises(MemoryError):
            carry_out(settings, system, receipt)
    assert in_store(settings.data_dir / "store") != {}
    assert carry_out(settings, system, receipt)
    assert in_store(settings.data_dir / "store") == {}


async def test_a_worker_carries_it_out_and_never_gives_up(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    recorded(site, RECORDED)
    await index.run_once(system)
    receipt = await erased(client, site)
    stop = asyncio.Event()
    faults: list[Exception] = [BusyError("away")] * export.TRIES + [ValueError("a cell")]

    async def work(erasure_id: UUID) -> bool:
        if faults:
            raise faults.pop()
        is_done = carry_out(settings, system, str(erasure_id))
        stop.set()
        return is_done

    async with asyncio.timeout(PATIENCE_S):
        await erase.carry_out_due(system, work, stop)
    assert (await erase.get(system, UUID(receipt)))["status"] == "completed"


async def test_nobody_is_erased_without_confirmation_and_a_reason_without_names(
    site: Site, client: httpx.AsyncClient
) -> None:
    recorded(site, RECORDED)
    before = site.members()
    path = f"{BASE}/{before[id_number(77)]['member_id']}/erase"
    for body in (
        {"reason": "asked for it"},
        {"reason": "asked for it", "confirm": False},
        {"reason": "", "confirm": True},
        {"reason": "Ms Kjvqperson, Qwxzplant asked for it", "confirm": True},
        {"reason": f"{id_number(77)} asked for it", "confirm": True},
        {"reason": "called from 079 998 8771", "confirm": True},
    ):
        answer = await client.post(path, json=body)
        assert answer.status_code == 422, (body, answer.text)
        assert site.members() == before, body


async def test_only_operators_erase(site: Site, as_user: AsUser, make_user: MakeUser) -> None:
    recorded(site, RECORDED)
    office = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    path = f"{BASE}/{site.members()[id_number(77)]['member_id']}/erase"
    body = {"reason": "asked for it", "confirm": True}
    assert (await office.post(path, json=body)).status_code == 403
    assert len(site.members()) == 1


@pytest.mark.parametrize(
    ("text", "is_his"),
    [
        ("8001010077089", True),
        ("800101 0077 089", True),
        ("800101-0077-08-9", True),
        ("Qwxzplant Kjvqperson", True),
        ("KJVQPERSON, Qwxzplant  8001010077099", True),
        ("Kjvqperson 079 998 8771", True),
        ("Kjvqperson +27799988771", True),
        ("Kjvqperson qwxzplant@example.org", True),
        ("079 998 8771", False),
        ("Qwxzplant", False),
        ("Qwxzplants Kjvqpersons", False),
        (f"Qwxzplant Kjvqperson {id_number(51)}", False),
        (f"1{id_number(77)}", False),
        (f"{id_number(77)}1", False),
    ],
)
def test_whose_a_row_is(text: str, is_his: bool) -> None:
    assert id_number(77) == "8001010077089"
    person = Person(
        id_number(77), "Qwxzplant", "Kjvqperson", ("+27799988771",), "qwxzplant@example.org"
    )
    assert person.is_in(text) == is_his


def test_a_number_is_found_in_every_kind_of_file(tmp_path: Path) -> None:
    person = Person(id_number(77), "Qwxzplant", "Kjvqperson")
    header, row = csv_file(1).splitlines(keepends=True)
    files = {
        "utf8.csv": csv_file([PLANTED]),
        "utf16.csv": csv_file([PLANTED]).decode().encode("utf-16"),
        "odd.csv": b"x" + csv_file([PLANTED]).decode().encode("utf-16-le"),
        "book.xlsx": workbook([PLANTED]),
        "number.xlsx": workbook([{**PLANTED, "ID Number": 8001010077089}]),  # type: ignore[dict-item]
        "far.csv": header + row * 20_000 + csv_file([PLANTED]),
    }
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert erase_files.is_in_file(path, person), name
    other = tmp_path / "other.csv"
    other.write_bytes(csv_file(members(2000)))
    assert not erase_files.is_in_file(other, Person("8001010077999", "A", "B"))


PASSPORT = Person("N123456", "Tendai", "Moyo", ("+27820000001",), "t@example.org")


@pytest.mark.parametrize(
    ("text", "is_theirs"),
    [
        ("2 N123456 ZWE Tendai Moyo", True),
        ("2 n123456 ZWE T Moyo", True),
        ("2 N/123456 ZWE Moyo", True),
        ("2 n-123 456 ZWE MOYO", True),
        ("2 Tendai Moyo 082 000 0001", True),
        ("2 FN123456 MOZ Tendai Moyo", False),
        ("2 N1234567 MOZ Tendai Moyo", False),
        ("2 N123456 ZMB Rudo Ncube", False),
        ("2 AB765432 ZWE Tendai Moyo 082 000 0001", False),
        ("2 765432198 ZWE Tendai Moyo", False),
        (f"2 {id_number(3)} Tendai Moyo N123456", False),
    ],
)
def test_a_passport_is_found_as_a_whole_and_with_the_surname(text: str, is_theirs: bool) -> None:
    assert PASSPORT.is_in(text) is is_theirs


@pytest.mark.parametrize(
    ("text", "is_theirs"),
    [
        ("2    12345    ZWE    Tendai    Moyo", True),
        ("2,12345,6,Tendai,Moyo", True),
        ("2    12345.0    ZWE    T    Moyo", True),
        ("2    123 45    ZWE    T    Moyo", True),
        ("2 Ward 12345 Rudo Ncube", False),
        ("2 Rudo Moyo 0821234500", False),
        ("2 Rudo Moyo 082 12345 00", False),
        ("2 Rudo Moyo R 12345.50", False),
        ("2 Rudo Moyo R 12345,50", False),
        ("2 Rudo Moyo R 123.45", False),
        ("2 Rudo Moyo R 12,345.00", False),
    ],
)
def test_a_passport_of_digits_is_no_part_of_a_phone_number_or_amount(
    text: str, is_theirs: bool
) -> None:
    assert Person("12345", "Tendai", "Moyo").is_in(text) is is_theirs


def test_a_file_and_its_name_hold_a_passport_with_the_surname_only(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    contents = (
        ("ID,Name\nN123456,Ncube", False), ("ID,Name\nFN123456,Moyo", False),
        ("ID,Name\nn 123456,Moyo", True),
    )  # fmt: skip
    for content, is_there in contents:
        path.write_text(content)
        assert erase_files.is_in_file(path, PASSPORT) is is_there
    path.write_bytes(struct.pack("<d", 12345.0))
    digits = Person("12345", "Tendai", "Moyo")
    assert not erase_files.is_in_file(path, digits)
    assert not digits.is_named_in("Ward 12345.csv")
    assert digits.is_named_in("Moyo 12345.csv")


async def test_erasing_a_passport_leaves_the_rows_of_other_people(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    content = (
        b"ID Number,Passport No,Passport Country,Firstname,Surname\n"
        b",N123456,ZW,Tendai,Moyo\n,N123456,ZM,Rudo,Ncube\n,FN123456,ZW,Tendai,Moyo\n"
        b",n-123 456,,Tendai,Moyo\n,FN123456,Atlantis,Tino,Dube\n,N123456,,Lindiwe,Dube\n"
    )
    done = site.send(content, "list.csv", accepts_passports=True)
    await index.run_once(system)
    (person,) = (
        one for one in site.members().values()
        if (one["identity_country"], one["identity_number"]) == ("ZWE", "N123456")
    )  # fmt: skip
    body = {"reason": "asked for it in writing", "confirm": True}
    path = f"{BASE}/{person['member_id']}/erase"
    named = await client.post(path, json={**body, "reason": "the holder of N123456"})
    assert named.status_code == 422
    answer = await client.post(path, json=body)
    assert carry_out(settings, system, answer.json()["data"]["receipt"])
    left = {(one["identity_country"], one["identity_number"]) for one in site.members().values()}
    assert left == {("ZMB", "N123456"), ("ZWE", "FN123456")}
    report = openpyxl.load_workbook(settings.data_dir / "store" / done.upload["report_key"])
    rows = {row[0] for row in report["All Uploaded Rows"].iter_rows(min_row=2, values_only=True)}
    assert rows & set(range(2, 8)) == {3, 4, 6, 7}
    with connect(settings.database_address) as connection:
        stored = connection.execute(
            "SELECT row_number, problems->0->>'value' AS value FROM upload_rows"
            " WHERE problems IS NOT NULL ORDER BY 1"
        ).fetchall()
    values = {row["row_number"]: row["value"] for row in stored}
    assert values == {5: None, 6: "Atlantis", 7: "N123456"}
