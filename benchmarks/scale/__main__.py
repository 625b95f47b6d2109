"""``make bench-scale``: measure, keep the figures, write the page and the picture."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.pipeline import ours
from benchmarks.queue import machine
from benchmarks.scale import report
from benchmarks.scale.crew import Crew
from rollbook.backends import schema
from rollbook.cli.sample_file import write_sample
from rollbook.engines import Addresses, Engines

RESULTS = Path(__file__).with_name("results.json")
WORKERS = (1, 2, 4)
ROWS = (1_000, 10_000, 100_000, 1_000_000)
MEMBERS = (0, 100_000, 1_000_000, 10_000_000)
#: Rows of the file that is sent to each size of the table.
FILE_ROWS = 10_000
#: Beyond so many rows, a file runs once; below, three times, and the median counts.
LONG = 200_000
#: Members whom no sample holds: digit 11 of theirs is a 5, which is no citizenship. Their birthdays
#: go round and round, so that they lie all through the index in no order.
FILL = """
INSERT INTO members (id_number, firstname, surname, date_of_birth, gender, citizenship,
    cell_number, province, municipality, ward, created_by_upload, changed_by_upload)
SELECT to_char(born, 'YYMMDD') || lpad((n / 27000)::text, 4, '0') || '500',
    'First' || n %% 5000, 'Last' || n %% 90000, born, 'female', 'south_african',
    '+2782' || lpad((n %% 10000000)::text, 7, '0'), 'GP', 'Johannesburg', '79800001', one, one
FROM (SELECT n, date '1940-01-01' + n %% 27000 AS born, gen_random_uuid() AS one
      FROM generate_series(%s::int, %s::int - 1) AS n) AS made
"""


def main() -> None:
    """Measure what was asked for."""
    options = _arguments()
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not options.render:
        found |= {"date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}", "machine": machine.describe()}
        with tempfile.TemporaryDirectory(prefix="rb-") as name:
            folder = Path(name)
            with Engines(folder / "engines") as addresses:
                asyncio.run(_measure(options, found, addresses, folder))
    report.write(found)
    sys.stdout.write(report.table(found))


async def _measure(
    options: argparse.Namespace, found: dict[str, Any], addresses: Addresses, folder: Path
) -> None:
    assert addresses.database_url is not None
    schema.migrate(addresses.database_url)
    found["machine"]["postgres"] = _one(addresses.database_url, "SHOW server_version")
    if "workers" in options.only:
        await _by_workers(options, found, addresses, folder)
    place = folder / "office"
    place.mkdir()
    async with ours.office(addresses, place) as office:
        if "rows" in options.only:
            await _by_rows(options, found, addresses.database_url, office, place)
        if "members" in options.only:
            await _by_members(options, found, addresses.database_url, office, place)


async def _by_workers(
    options: argparse.Namespace, found: dict[str, Any], addresses: Addresses, folder: Path
) -> None:
    found["workers"] = []
    for workers in WORKERS:
        place = folder / f"crew-{workers}"
        place.mkdir()
        crew = Crew(addresses, place, workers)
        rounds = await crew.rounds(3, options.files, options.rows_each)
        median = sorted(rounds, key=lambda one: float(one["seconds"]))[1]
        found["workers"].append({
            "workers": workers, "files": options.files, "rows": options.rows_each, **median,
            "runs_s": [one["seconds"] for one in rounds],
        })  # fmt: skip
        _keep(found, "workers")


async def _by_rows(
    options: argparse.Namespace,
    found: dict[str, Any],
    address: str,
    office: ours.Office,
    place: Path,
) -> None:
    found["rows"] = []
    for rows in (n for n in ROWS if n <= options.most_rows):
        path = place / f"rows-{rows}.xlsx"
        write_sample(path, rows, seed=7)
        runs = []
        for _ in range(1 if rows > LONG else 3):
            _empty(address)
            runs.append(await office.send(path))
        found["rows"].append({"rows": rows, "bytes": path.stat().st_size, **_middle(runs)})
        path.unlink()
        _keep(found, "rows")


async def _by_members(
    options: argparse.Namespace,
    found: dict[str, Any],
    address: str,
    office: ours.Office,
    place: Path,
) -> None:
    found["members"] = []
    _empty(address)
    have = 0
    for members in (n for n in MEMBERS if n <= options.most_members):
        _fill(address, have, members)
        have = members
        size = _one(address, "SELECT pg_total_relation_size('members')")
        runs = []
        for run in range(3):
            path = place / f"members-{members}-{run}.xlsx"
            write_sample(path, FILE_ROWS, seed=100 + run)
            runs.append(await office.send(path))
            _forget_sent(address)
        found["members"].append({
            "members": members, "rows": FILE_ROWS, "table_bytes": int(size), **_middle(runs),
        })  # fmt: skip
        _keep(found, "members")


def _middle(runs: list[ours.Run]) -> dict[str, Any]:
    median = sorted(runs, key=lambda run: run.seconds)[(len(runs) - 1) // 2]
    return {
        **{name: value for name, value in asdict(median).items() if name != "outcomes"},
        "peak_mb": max(run.peak_mb for run in runs),
        "runs_s": [run.seconds for run in runs],
        "others": round(statistics.fmean(run.others for run in runs), 2),
    }


def _fill(address: str, have: int, want: int) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        for start in range(have, want, 1_000_000):
            connection.execute(FILL, (start, min(start + 1_000_000, want)))
        connection.execute("VACUUM (ANALYZE) members")
        connection.execute("CHECKPOINT")


def _forget_sent(address: str) -> None:
    """The next file meets the same table: who came with the last one goes."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DELETE FROM members WHERE substr(id_number, 11, 1) <> '5'")
        connection.execute("TRUNCATE member_changes, upload_rows")
        connection.execute("VACUUM (ANALYZE) members")
        connection.execute("CHECKPOINT")


def _empty(address: str) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("TRUNCATE members, member_changes, upload_rows")
        connection.execute("CHECKPOINT")


def _one(address: str, query: str) -> str:
    with psycopg.connect(address) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def _keep(found: dict[str, Any], kind: str) -> None:
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stderr.write(f"{json.dumps(found[kind][-1])}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__)
    parser.add_argument("--most-rows", type=int, default=ROWS[-1])
    parser.add_argument("--most-members", type=int, default=MEMBERS[-1])
    parser.add_argument("--files", type=int, default=24, help="of the queue that workers empty")
    parser.add_argument("--rows-each", type=int, default=2_000, help="rows of each of them")
    kinds = ("workers", "rows", "members")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds, help="measure these")
    parser.add_argument("--render", action="store_true", help="write page and picture alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
