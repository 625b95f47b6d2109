"""The doctor: what it finds wrong with servers and store, and with which nothing starts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import subprocess
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from redis import Redis
from structlog.testing import capture_logs
from typer.testing import CliRunner

from rollbook import cli
from rollbook.api.limits import RequestLimits
from rollbook.backends.database import make_pool
from rollbook.cli import processes
from rollbook.engines.valkey import _binary as valkey
from rollbook.errors import ConfigurationError
from rollbook.service import doctor, doctor_store
from rollbook.service.system import open_system
from tests.closing import closing, served
from tests.faults.test_retries import small_disk
from tests.files import csv_file, members
from tests.integration.worker.test_worker import ended, sent, working
from tests.pooler import pooled
from tests.waiting import kill, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.findings import Finding
    from rollbook.service.system import System


pytestmark = pytest.mark.usefixtures("log_of_the_tests")


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {f"{one.part}: {one.check}": one for one in findings}


async def test_what_is_in_order_is_ok(system: System) -> None:
    # The embedded engines of the tests save no commit on a disk, which the doctor says.
    found = by_check(await doctor.examine(system.settings))
    wrong = {name: one for name, one in found.items() if one.level == "error"}
    assert set(wrong) == {"PostgreSQL: durability"}
    assert "fsync" in wrong["PostgreSQL: durability"].found
    assert found["PostgreSQL: sessions"].found == "its own"
    assert found["Redis: maxmemory-policy"].found == "noeviction"
    await doctor.refuse_unsafe(system.settings)


async def test_each_server_that_does_not_answer_is_named_with_its_reason(
    settings: Settings,
) -> None:
    away = settings.model_copy(
        update={
            "database_url": SecretStr(settings.database_address.replace("/test_", "/no_such_")),
            "redis_url": SecretStr("redis://127.0.0.1:1/0"),
        }
    )
    found = by_check(await doctor.examine(away))
    assert "does not exist" in found["PostgreSQL: connection"].found
    assert found["Redis: connection"].level == "error"
    await doctor.refuse_unsafe(away)  # processes wait for a server that is away


@pytest.mark.parametrize(
    ("was", "becomes", "remedy"),
    [
        ("/test_", "/no_such_", "createdb"),
        ("rollbook@", "no_such_role@", "createuser"),
        ("@/", "@127.0.0.1:1/", "Is it started"),
        ("@/", "@no-such-host.invalid/", "Correct the host"),
        ("@/", "@127.0.0.1:odd/", "postgresql://user:password@host:5432/database"),
    ],
)
async def test_what_to_do_fits_the_reason(
    was: str, becomes: str, remedy: str, settings: Settings
) -> None:
    base = settings.database_address
    address = base.replace(was, becomes, 1)
    if "127.0.0.1" in becomes or "invalid" in becomes:
        address = address.partition("?")[0]
    pointed = settings.model_copy(update={"database_url": SecretStr(address)})
    [found] = await doctor.postgresql(pointed)
    assert found.level == "error"
    assert remedy in found.remedy


async def test_a_wrong_password_is_said_and_stands_nowhere(settings: Settings) -> None:
    with pooled(settings.database_address, mode="session", password="right") as address:
        wrong = address.replace(":right@", ":wr0ng@")
        pointed = settings.model_copy(update={"database_url": SecretStr(wrong)})
        [found] = await doctor.postgresql(pointed)
    assert "Correct the password" in found.remedy
    assert "wr0ng" not in repr(found)


# --- poolers --------------------------------------------------------------------------------------


async def test_a_pooler_by_session_serves_every_kind_of_connection(
    settings: Settings,
) -> None:
    with pooled(settings.database_address, mode="session") as address:
        behind = settings.model_copy(update={"database_url": SecretStr(address)})
        found = by_check(await doctor.postgresql(behind))
        assert found["PostgreSQL: sessions"].level == "ok"
        # Or the locks of a machine that is gone would stay.
        assert "tcp_keepidle" in found["PostgreSQL: sessions"].remedy
        async with make_pool(address) as pool, pool.connection() as connection:
            row = await (await connection.execute("SHOW tcp_keepalives_idle")).fetchone()
            assert row is not None


async def test_a_pooler_by_transaction_is_refused(settings: Settings) -> None:
    with pooled(settings.database_address, mode="transaction") as address:
        behind = settings.model_copy(update={"database_url": SecretStr(address)})
        with pytest.raises(ConfigurationError, match="pool_mode = session"):
            await doctor.refuse_unsafe(behind)


# --- PostgreSQL's own settings --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "check", "level", "is_fatal"),
    [
        ("statement_timeout = '30s'", "statement_timeout", "warning", False),
        ("default_transaction_read_only = on", "changes", "error", True),
        ("synchronous_commit = off", "durability", "error", False),
    ],
)
async def test_a_setting_of_the_database_is_found(
    setting: str, check: str, level: str, is_fatal: bool, settings: Settings
) -> None:
    name = settings.database_address.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(settings.database_address, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET {setting}")
    found = by_check(await doctor.postgresql(settings))[f"PostgreSQL: {check}"]
    assert (found.level, found.is_fatal) == (level, is_fatal)
    assert found.remedy


async def test_connections_that_do_not_suffice_for_these_settings_are_said(
    settings: Settings,
) -> None:
    many = settings.model_copy(update={"concurrency": 500})
    assert by_check(await doctor.postgresql(settings))["PostgreSQL: max_connections"].level == "ok"
    found = by_check(await doctor.postgresql(many))["PostgreSQL: max_connections"]
    assert found.level == "warning"
    assert "501 more" in found.remedy
    with psycopg.connect(settings.database_address, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 25").format(name))
    found = by_check(await doctor.postgresql(settings))["PostgreSQL: max_connections"]
    assert (found.level, found.found) == ("warning", "25")


@pytest.fixture
def another_database(settings: Settings) -> Iterator[Callable[[str], Settings]]:
    """Makes a database beside the test's own, with these options, and removes it."""
    name = f"other_{secrets.token_hex(4)}"

    def make(options: str) -> Settings:
        with psycopg.connect(settings.database_address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        address, question, rest = settings.database_address.partition("?")
        url = f"{address.rpartition('/')[0]}/{name}{question}{rest}"
        return settings.model_copy(update={"database_url": SecretStr(url)})

    yield make
    with psycopg.connect(settings.database_address, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def test_a_database_that_cannot_hold_names_is_refused(
    another_database: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = another_database("ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'")
    found = by_check(await doctor.postgresql(own))["PostgreSQL: encoding"]
    assert (found.level, found.found, found.is_fatal) == ("error", "SQL_ASCII", True)
    monkeypatch.setenv("DATABASE_URL", own.database_address)
    monkeypatch.setenv("REDIS_URL", own.redis_address)
    with pytest.raises(ConfigurationError, match="ENCODING 'UTF8'"):
        await asyncio.to_thread(processes.migrate, as_json=True)


async def test_a_locale_that_knows_no_letters_is_an_error(
    another_database: Callable[[str], Settings],
) -> None:
    own = another_database("ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C'")
    found = by_check(await doctor.postgresql(own))["PostgreSQL: locale"]
    assert (found.level, found.found, found.is_fatal) == ("error", "C: only a to z", False)
    assert "C.UTF-8" in found.remedy


async def test_a_role_that_may_not_read_the_tables_is_said(settings: Settings) -> None:
    role = f"reader_{secrets.token_hex(4)}"
    with psycopg.connect(settings.database_address, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        try:
            url = settings.database_address.replace("//rollbook@", f"//{role}@", 1)
            own = settings.model_copy(update={"database_url": SecretStr(url)})
            [found] = await doctor.postgresql(own)
        finally:
            connection.execute(f"DROP ROLE {role}")
    assert (found.check, found.level) == ("privileges", "error")
    assert "owner" in found.remedy


async def test_a_schema_that_is_missing_or_old_is_said(settings: Settings) -> None:
    with psycopg.connect(settings.database_address, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        old = by_check(await doctor.postgresql(settings))["PostgreSQL: schema"]
        connection.execute("DROP TABLE alembic_version")
        missing = by_check(await doctor.postgresql(settings))["PostgreSQL: schema"]
    assert (old.level, missing.level) == ("error", "error")
    assert "rollbook migrate" in old.remedy
    assert "rollbook migrate" in missing.remedy


# --- Redis' own settings --------------------------------------------------------------------------


@pytest.fixture
def own_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a server of this test, started with the options of its parameter."""
    path = tmp_path / "redis.sock"
    options: dict[str, str | Path] = {
        "--port": "0",
        "--save": "",
        "--dir": tmp_path,
        "--unixsocket": path,
    }
    process = subprocess.Popen(
        [valkey(), *[part for option in options.items() for part in option], *request.param],
        stdout=subprocess.DEVNULL,
    )
    try:
        with Redis(unix_socket_path=str(path)) as client:
            until(client.ping, "Valkey answers", not_yet=(Exception,))
        yield f"unix://{path}"
    finally:
        kill(process)


@pytest.mark.parametrize(
    ("own_redis", "check", "level", "is_fatal"),
    [
        (["--cluster-enabled", "yes"], "mode", "error", True),
        (["--maxmemory-policy", "allkeys-lru"], "maxmemory-policy", "error", True),
        (["--maxmemory-policy", "volatile-lru"], "maxmemory-policy", "warning", False),
        (["--replicaof", "127.0.0.1 1"], "role", "error", True),
        (["--appendonly", "no"], "persistence", "warning", False),
    ],
    indirect=["own_redis"],
)
async def test_a_setting_of_redis_is_found(
    own_redis: str, check: str, level: str, is_fatal: bool, settings: Settings
) -> None:
    pointed = settings.model_copy(update={"redis_url": SecretStr(own_redis)})
    found = by_check(await doctor.redis(pointed))[f"Redis: {check}"]
    assert (found.level, found.is_fatal) == (level, is_fatal)
    assert found.remedy
    if is_fatal:
        with pytest.raises(ConfigurationError, match=f"Redis, {check}"):
            await doctor.refuse_unsafe(pointed)


@pytest.mark.parametrize("own_redis", [[]], indirect=True)
async def test_a_user_who_may_not_look_is_said(own_redis: str, settings: Settings) -> None:
    with Redis.from_url(own_redis) as client:
        client.acl_setuser("default", enabled=True, nopass=True, commands=["-info"])
    pointed = settings.model_copy(update={"redis_url": SecretStr(own_redis)})
    found = by_check(await doctor.redis(pointed))
    assert found["Redis: settings"].level == "warning"


@pytest.mark.parametrize(
    ("rules", "check", "remedy"),
    [
        (["+@all", "~bull:*", "on", ">right"], "connection", "Correct the user and the password"),
        (["+@all", "~other:*", "on", ">wr0ng"], "queue", "~bull:*"),
        (["+@all", "-eval", "-evalsha", "~*", "on", ">wr0ng"], "queue", "~bull:*"),
        (["+@all", "-xadd", "~*", "on", ">wr0ng"], "queue", "~bull:*"),
    ],
)
@pytest.mark.parametrize("own_redis", [[]], indirect=True)
async def test_a_user_who_may_not_change_the_queue_is_refused(
    own_redis: str, rules: list[str], check: str, remedy: str, settings: Settings
) -> None:
    with Redis.from_url(own_redis) as client:
        client.execute_command("ACL", "SETUSER", "rollbook", *rules)
    address = own_redis.replace("unix://", "unix://rollbook:wr0ng@")
    pointed = settings.model_copy(update={"redis_url": SecretStr(address)})
    found = by_check(await doctor.redis(pointed))[f"Redis: {check}"]
    assert found.level == "error"
    assert remedy in found.remedy
    assert "wr0ng" not in repr(found)
    assert found.is_fatal == (check == "queue")


@pytest.mark.usefixtures("long_minute")  # limits that wait for a slow Redis, too
@pytest.mark.parametrize("own_redis", [[]], indirect=True)
async def test_what_the_doctor_says_to_allow_is_enough_for_all_that_redis_is_used_for(
    own_redis: str, settings: Settings, make_user: Callable[[], Awaitable[User]]
) -> None:
    rules = doctor.REDIS_RIGHTS.partition("SETUSER rollbook ")[2].split()
    with Redis.from_url(own_redis) as client:
        client.execute_command("ACL", "SETUSER", "rollbook", *rules)
    address = own_redis.replace("unix://", "unix://rollbook:password@")
    pointed = settings.model_copy(update={"redis_url": SecretStr(address)})
    assert {one.level for one in await doctor.redis(pointed)} <= {"ok", "warning"}
    with Redis.from_url(own_redis) as client:
        assert client.keys() == []
    user = await make_user()
    async with open_system(pointed) as system:
        await system.queue.epoch_ms()  # of live messages
        with capture_logs() as said:
            await RequestLimits(pointed, system.redis).count(user)
        assert said == []
        async with working(system):
            await ended(system, user, await sent(system, user, csv_file(members(3))))
    with Redis.from_url(own_redis) as client:
        keys = [str(key) for key in client.scan_iter()]
    assert len(keys) > 4
    assert [key for key in keys if not key.startswith(f"b'bull:{pointed.queue_name}:")] == []


@pytest.mark.parametrize("own_redis", [["--maxmemory", "1"]], indirect=True)
async def test_a_redis_without_memory_is_an_error_that_passes(
    own_redis: str, settings: Settings
) -> None:
    pointed = settings.model_copy(update={"redis_url": SecretStr(own_redis)})
    found = by_check(await doctor.redis(pointed))["Redis: queue"]
    assert (found.level, found.is_fatal) == ("error", False)
    assert "Raise maxmemory" in found.remedy
    await doctor.refuse_unsafe(pointed)  # processes wait until it has some


# --- the file store -------------------------------------------------------------------------------


async def test_a_store_that_cannot_be_written_is_an_error(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    broken = settings.model_copy(update={"store_url": (tmp_path / "file").as_uri()})
    found = by_check(await doctor.examine(broken))
    assert found["file store: write and read"].level == "error"


async def test_a_store_in_which_the_mark_cannot_be_written_is_an_error(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "installations").write_text("no folder", encoding="utf-8")
    broken = settings.model_copy(update={"store_url": tmp_path.as_uri()})
    found = by_check(await doctor.examine(broken))
    assert found["file store: write and read"].level == "error"


async def test_a_default_store_that_is_not_made_yet_is_not_made(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = settings.model_copy(update={"store_url": None, "data_dir": tmp_path / "new" / "data"})
    [found] = await doctor_store.store_findings(new, None)
    assert found.level == "ok"
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    [found] = await doctor_store.store_findings(new, None)
    assert (found.level, str(tmp_path) in found.remedy) == ("error", True)
    assert not (tmp_path / "new").exists()


async def test_a_full_disk_of_the_store_is_said(settings: Settings, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16):
        full = settings.model_copy(update={"store_url": (tmp_path / "disk").as_uri()})
        with contextlib.suppress(OSError):
            (tmp_path / "disk" / "big").write_bytes(bytes(2**15))
        [found] = await doctor_store.store_findings(full, None)
    assert "Make room" in found.remedy


@pytest.mark.parametrize(
    ("status", "content", "remedy"),
    [
        (403, "<Code>InvalidAccessKeyId</Code>", "AWS_ACCESS_KEY_ID"),
        (403, "<Code>SignatureDoesNotMatch</Code>", "AWS_SECRET_ACCESS_KEY"),
        (403, "<Code>AccessDenied</Code>", "Allow these keys"),
        (404, "<Code>NoSuchBucket</Code>", "Make the bucket"),
        (400, "<Code>AuthorizationHeaderMalformed</Code>", "AWS_REGION"),
    ],
)
async def test_what_a_bucket_says_leads_to_what_to_do(
    status: int, content: str, remedy: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = f"<Error>{content}</Error>"
        head = f"HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: {len(body)}"
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"{head}\r\n\r\n{body}".encode())
            await writer.drain()

    changes = {"store_url": "s3://bucket/folder", "store_allow_http": True, "store_retry_s": 0.2}
    async with served(answer) as port:
        in_s3(monkeypatch, f"http://127.0.0.1:{port}")
        pointed = settings.model_copy(update=changes)
        [found] = await doctor_store.store_findings(pointed, None)
    assert found.level == "error"
    assert remedy in found.remedy
    assert "sy-secret" not in repr(found)


@pytest.mark.parametrize(
    ("endpoint", "allow_http", "remedy"),
    [
        ("http://127.0.0.1:1", True, "Is it started"),
        ("http://127.0.0.1:1", False, "ROLLBOOK_STORE_ALLOW_HTTP"),
        ("http://no-such-host.invalid", True, "No such host"),
    ],
)
async def test_a_bucket_that_is_not_reached_leads_to_what_to_do(
    endpoint: str,
    allow_http: bool,
    remedy: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_s3(monkeypatch, endpoint)
    changes = {"store_url": "s3://b/f", "store_allow_http": allow_http, "store_retry_s": 0.2}
    [found] = await doctor_store.store_findings(settings.model_copy(update=changes), None)
    assert remedy in found.remedy


def in_s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "synthetic")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sy-secret")
    monkeypatch.setenv("AWS_REGION", "af-south-1")


async def test_the_check_of_the_store_leaves_nothing(system: System) -> None:
    await doctor.examine(system.settings)
    assert [stored async for stored in system.store.each()] == []


async def test_another_installations_store_is_an_error(system: System) -> None:
    async with system.pool.connection() as connection:
        await connection.execute("INSERT INTO store_mark DEFAULT VALUES")
    found = by_check(await doctor.examine(system.settings))
    assert found["file store: installation"].level == "error"


# --- the command ----------------------------------------------------------------------------------


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setenv("DATABASE_URL", settings.database_address)
    monkeypatch.setenv("REDIS_URL", settings.redis_address)
    monkeypatch.setenv("ROLLBOOK_DATA_DIR", str(settings.data_dir))
    return CliRunner().invoke(cli.app, ["doctor", *arguments])


def test_the_command_says_what_to_do_and_ends_with_1(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLBOOK_CONCURENCY", "8")
    monkeypatch.setenv("ROLLBOOK_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("ROLLBOOK_SMTP_PORT", "1")
    monkeypatch.setenv("ROLLBOOK_SMTP_FROM", "rollbook@example.org")
    result = run(settings, monkeypatch, "--json")
    findings = json.loads(result.stdout.splitlines()[-1])
    found = {f"{one['part']}: {one['check']}": one for one in findings}
    assert found["settings: ROLLBOOK_CONCURENCY"]["remedy"] == "Did you mean ROLLBOOK_CONCURRENCY?"
    assert found["mail server: sign-in"]["level"] == "error"
    assert found["settings: longest answer"]["level"] == "ok"
    assert result.exit_code == 1


def test_without_engines_the_doctor_makes_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROLLBOOK_DATA_DIR", str(tmp_path / "data"))
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert "none run in" in result.stdout
    assert result.exit_code == 1
    assert not (tmp_path / "data").exists()
