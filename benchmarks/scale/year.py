"""A year of a large organisation: its record made by SQL, then every page and route timed.

``python -m benchmarks.scale.year --uploads 200000``: two hundred thousand uploads of 262 offices,
three entries of the audit trail each, and the outcomes of rows of the newest ones. The figures go
to their section of docs/explanation/scaling.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from psycopg import sql

from benchmarks import sections
from rollbook import clock
from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends import schema
from rollbook.backends.database import connect, execute, fetch_all
from rollbook.config import Settings
from rollbook.engines import Addresses, Engines
from rollbook.model import User
from rollbook.service import store_proof
from rollbook.service.system import open_system
from rollbook.telemetry import logs
from rollbook.uploads import days, retention

if TYPE_CHECKING:
    from fastapi import FastAPI
    from psycopg import Connection

    from rollbook.backends.database import Row

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "scaling.md"
BEGIN = "<!-- a year: written by `make bench-year` -->"
END = "<!-- end of a year -->"
#: Times that each route is asked, after one that isn't counted.
ROUNDS = 20
#: Promised: no route takes longer at p95, in milliseconds.
PROMISED_MS = 150
PROVINCES = ("EC", "FS", "GP", "KZN", "LP", "MP", "NC", "NW", "WC")
#: One account of each scope that is measured.
READERS = {
    "national": "national@example.org",
    "province": "gp@example.org",
    "municipality": "gp-1@example.org",
}
FILL: dict[str, str] = {
    # One national account, one for each province, 28 municipalities in each.
    "users": """
        INSERT INTO users (id, email, role, province, municipality, password_hash)
        SELECT gen_random_uuid(), 'national@example.org', 'national_admin', NULL, NULL, ''
        UNION ALL SELECT gen_random_uuid(), lower(p) || '@example.org', 'province_admin', p,
                         NULL, ''
        FROM unnest(%(provinces)s::text[]) AS p
        UNION ALL SELECT gen_random_uuid(), lower(p) || '-' || m || '@example.org',
                         'municipality_admin', p, p || ' Town ' || m, ''
        FROM unnest(%(provinces)s::text[]) AS p, generate_series(1, 28) AS m
    """,
    "uploads": """
        INSERT INTO uploads (id, owner_id, province, municipality, file_name, file_kind, file_bytes,
            file_sha256, priority, status, attempt, rows_total, rows_done, inserted, unchanged,
            invalid, stage_seconds, error_code, error, reading, report_key, created_at, started_at,
            finished_at)
        SELECT gen_random_uuid(), u.id, u.province, u.municipality,
            'members of branch ' || n %% 4000 || '.xlsx', 'xlsx', 50000 + n, md5(n::text), 10,
            CASE WHEN n %% 50 = 0 THEN 'failed' WHEN n %% 97 = 0 THEN 'cancelled'
                 ELSE 'completed' END,
            1, 1500, 1500, 700, 750, 50, json_build_object('read', 0.2 + n %% 7 / 10.0,
                'normalise', 0.1, 'validate', 0.1, 'match', 0.2, 'verify', 0.0,
                'merge', 0.5 + n %% 13 / 10.0, 'report', 0.4),
            CASE WHEN n %% 50 = 0 THEN 'no_id_column' END,
            CASE WHEN n %% 50 = 0 THEN 'No column holds ID numbers.' END,
            jsonb_build_object('columns_used', (SELECT jsonb_agg(jsonb_build_object('header',
                'Column ' || c, 'field', 'firstname', 'how', 'known'))
                FROM generate_series(1, 19) AS c)),
            CASE WHEN n %% 50 <> 0 AND n %% 97 <> 0 THEN gen_random_uuid() || '/report-1.xlsx' END,
            at, at + interval '5 s', at + make_interval(secs => 6 + n %% 31 / 10.0)
        FROM generate_series(1, %(uploads)s) AS n
        JOIN (SELECT *, row_number() OVER (ORDER BY email) - 1 AS place FROM users
              WHERE NOT is_system) AS u
          ON u.place = n * 7919 %% (SELECT count(*) FROM users WHERE NOT is_system)
        CROSS JOIN LATERAL (SELECT now() - interval '1 hour'
            - (%(uploads)s - n) * interval '365 days' / %(uploads)s AS at) AS sent
        ORDER BY n
    """,
    "audit": """
        INSERT INTO audit_entries (act, outcome, user_id, email, role, province, municipality,
                                   job_id, at)
        SELECT act, 'done', users.id, users.email, users.role, users.province,
               users.municipality, uploads.id, uploads.created_at
        FROM uploads JOIN users ON users.id = owner_id,
             unnest(ARRAY['upload', 'download_report', 'sign_in']) AS act
        ORDER BY uploads.ordinal
    """,
    "rows": """
        INSERT INTO upload_rows (upload_id, row_number, outcome, problems)
        SELECT id, n, CASE WHEN n %% 30 = 0 THEN 'invalid' ELSE 'inserted' END,
               CASE WHEN n %% 30 = 0 THEN '[{"column": "Cell Number", "value": null, "kept": null,
                    "code": "phone_not_valid", "severity": "error"}]'::jsonb END
        FROM (SELECT id FROM uploads WHERE status = 'completed'
              ORDER BY ordinal DESC LIMIT %(with_rows)s) AS newest,
             generate_series(2, 1501) AS n
    """,
    "before_values": """
        INSERT INTO member_changes (upload_id, id_number, before)
        SELECT id, lpad((row_number() OVER ())::text, 13, '0'), '{"firstname": "Former"}'
        FROM (SELECT id FROM uploads WHERE status = 'completed'
              ORDER BY ordinal LIMIT %(with_rows)s) AS oldest, generate_series(1, 100)
    """,
}
#: What the page and clients ask, with the reader's newest upload for ``{id}``.
ROUTES = (
    "bulk-upload/history",
    "bulk-upload/history?page=50",
    "bulk-upload/history?status=failed",
    "bulk-upload/history?search=branch 3999",
    "bulk-upload/queue/jobs",
    "bulk-upload/queue/stats",
    "bulk-upload/stats",
    "bulk-upload/stats/over-time?days=30",
    "bulk-upload/stats/over-time?days=366",
    "bulk-upload/audit",
    "bulk-upload/audit?act=upload",
    "bulk-upload/audit/mine",
    "bulk-upload/reports",
    "bulk-upload/status/{id}",
    "bulk-upload/rows/{id}",
    "bulk-upload/rows/{id}?attention=any",
    "bulk-upload/problems/{id}",
    "bulk-upload/changes/{id}",
    "bulk-upload/undo/{id}/kept",
    "bulk-upload/mappings",
    "bulk-upload/rate-limit-status",
    "bulk-upload/queue/workers",
    "bulk-upload/reports/stats",
    "bulk-upload/can-upload",
    "bulk-upload/aliases",
    "bulk-upload/monitor/status",
    "members",
    "members?search=Thandi",
    "members/fields",
    "members/report",
    "members/duplicates",
    "users",
    "offices",
    "keys",
    "webhooks",
    "auth/me",
    "auth/sessions",
    "auth/second-factor",
)
#: What isn't asked: files, streams, redirects to a provider, what needs an id of its own, a report
#: or the cells of refused rows (`make bench-fixes` times those).
NOT_ASKED = frozenset(
    {
        "auth/oidc",
        "auth/oidc/callback",
        "auth/oidc/start",
        "bulk-upload/events",
        "bulk-upload/facets/{id}",
        "bulk-upload/failed-rows/{id}",
        "bulk-upload/mend/{id}",
        "bulk-upload/report/{id}",
        "bulk-upload/reports/{id}",
        "bulk-upload/template",
        "bulk-upload/undo/{id}/kept.csv",
        "members/erasures/{id}",
        "members/files/{id}",
        "members/files/{id}/content",
        "members/report/content",
        "members/{id}",
        "users/template",
        "webhooks/{id}/deliveries",
    }
)


def main() -> None:
    """Fill, measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=200_000)
    parser.add_argument("--with-rows", type=int, default=1_000, help="uploads that have rows")
    parser.add_argument("--explain", help="queries of this noun.name, comma-separated")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rb-") as name, Engines(Path(name) / "e") as addresses:
        found = asyncio.run(_measure(options, addresses, Path(name)))
    text = json.dumps(found, indent=1)
    sys.stdout.write(text + "\n")
    if options.out:
        options.out.write_text(text + "\n")
    sections.replace(PAGE, BEGIN, END, section(found))
    slow = [
        f"{scope} {route}"
        for scope, routes in found["routes"].items()
        for route, times in routes.items()
        if isinstance(times, list) and times[1] > PROMISED_MS
    ]
    if slow:
        raise SystemExit(f"over {PROMISED_MS} ms at p95: {', '.join(slow)}")


async def _measure(
    options: argparse.Namespace, addresses: Addresses, folder: Path
) -> dict[str, Any]:
    settings = Settings(
        database_url=addresses.database_url,
        redis_url=addresses.redis_url,
        data_dir=folder / "data",
        secret_key=secrets.token_hex(),
        log_level="warning",
        _env_file=None,
    )
    logs.configure(settings, component="benchmark")
    schema.migrate(settings.database_address)
    async with open_system(settings) as system:
        await store_proof.prove(system)  # before the record has files that the store lacks
    with connect(settings.database_address) as connection:
        fill(connection, options.uploads, options.with_rows)
    found: dict[str, Any] = {
        "uploads": options.uploads,
        "date": clock.now().date().isoformat(),
        "load": round(os.getloadavg()[0], 1),
        "routes": {},
    }
    async with open_system(settings) as system:
        began = time.perf_counter()
        summed_up = await days.run_once(system)
        found["summed_up"] = {"days": summed_up, "seconds": round(time.perf_counter() - began, 1)}
        await execute(system.pool, "ANALYZE upload_days")
        sys.stderr.write(f"{found['summed_up']}\n")
    app = create_app(settings)
    _check_routes(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client,
    ):
        for scope, email in READERS.items():
            with connect(settings.database_address) as connection:
                user = connection.execute(
                    "SELECT * FROM users WHERE email = %s", [email]
                ).fetchone()
            assert user is not None
            client.headers["Authorization"] = f"Bearer {issue_token(settings, User.from_row(user))}"
            found["routes"][scope] = await _timed(client)
    async with open_system(settings) as system:
        began = time.perf_counter()
        purged = await retention.run_once(system)
        assert purged is not None
        taken = time.perf_counter() - began
        found["retention"] = {
            "uploads": purged.reports,
            "before_values": purged.before_values,
            "seconds": round(taken, 1),
            "uploads_per_second": round(purged.reports / taken),
        }
        found["sizes"] = await _sizes(system.pool)
    return found


def fill(connection: Connection[Row], uploads: int, with_rows: int) -> None:
    """Make the record of a year, in this database."""
    parameters = {"provinces": list(PROVINCES), "uploads": uploads, "with_rows": with_rows}
    connection.execute("SET session_replication_role = replica")  # no trigger, no key
    for statement in FILL.values():
        connection.execute(statement, parameters)
    connection.execute("SET session_replication_role = DEFAULT")
    connection.commit()
    connection.autocommit = True
    for table in ("users", "uploads", "audit_entries", "upload_rows", "member_changes"):
        connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))
    connection.autocommit = False


def section(found: dict[str, Any]) -> str:
    """The section of the page: p95 of each route and reader."""
    routes, retention_ = found["routes"], found["retention"]

    def cell(scope: str, route: str) -> str:
        times = routes[scope][route]
        return f"{times[1]:.0f}" if isinstance(times, list) else str(times)

    rows = "\n".join(
        f"| `GET /{route}` | " + " | ".join(cell(scope, route) for scope in READERS) + " |"
        for route in ROUTES
        if any(isinstance(routes[scope][route], list) for scope in READERS)
    )
    sizes = ", ".join(f"`{name}` {size / 2**20:.0f} MB" for name, size in found["sizes"].items())
    return f"""
p95 of {ROUNDS} requests in milliseconds, with {found["uploads"]:,} uploads and three times as many entries of the audit trail. Measured
on {found["date"]}, {os.cpu_count()} cores, load {found["load"]} (`make bench-year`).

| route | national | province | municipality |
| --- | ---: | ---: | ---: |
{rows}

Retention worked through {retention_["uploads"]:,} uploads at {retention_["uploads_per_second"]:,} a second. The largest tables: {sizes}.
"""  # noqa: E501 - lines of the page


def _check_routes(app: FastAPI) -> None:
    """Check that each route is asked or named as one that isn't.

    Raises:
        SystemExit: one is forgotten.
    """
    known = {route.partition("?")[0] for route in ROUTES} | NOT_ASKED
    there = {
        re.sub(r"{\w+}", "{id}", path.removeprefix("/api/v1/"))
        for path, item in app.openapi()["paths"].items()
        if "get" in item and path.startswith("/api/v1/")
    }
    if forgotten := there - known:
        raise SystemExit(f"not asked: {', '.join(sorted(forgotten))}")


async def _timed(client: httpx.AsyncClient) -> dict[str, list[float] | str]:
    history = (await client.get("/api/v1/bulk-upload/history")).json()
    newest = next(one["job_id"] for one in history["data"]["items"] if one["status"] == "completed")
    found: dict[str, list[float] | str] = {}
    for route in ROUTES:
        times = []
        for _ in range(1 + ROUNDS):
            began = time.perf_counter()
            answer = await client.get("/api/v1/" + route.format(id=newest))
            times.append((time.perf_counter() - began) * 1000)
        if answer.status_code == 403:
            found[route] = "not allowed"
            continue
        if answer.status_code != 200:
            raise SystemExit(f"{route} answers {answer.status_code}: {answer.text[:200]}")
        counted = sorted(times[1:])
        p95 = counted[math.ceil(0.95 * len(counted)) - 1]
        found[route] = [round(statistics.median(counted), 1), round(p95, 1)]
        sys.stderr.write(f"{route}: {found[route]}\n")
    return found


async def _sizes(pool: Any) -> dict[str, int]:
    rows = await fetch_all(
        pool,
        "SELECT relname, pg_total_relation_size(oid) AS bytes FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC LIMIT 8",
    )
    return {row["relname"]: row["bytes"] for row in rows}


if __name__ == "__main__":
    main()
