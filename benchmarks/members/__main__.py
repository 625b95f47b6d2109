"""How fast members are found and exported, by how many there are.

Run from the root of the project: ``make bench-members``. It fills the table of members of a bundled
PostgreSQL, indexes them as a worker does, and searches and exports as the API and a child do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import psutil

from benchmarks import sections
from benchmarks.duplicates.__main__ import filled
from benchmarks.queue import machine
from rollbook.accounts import users
from rollbook.backends import schema
from rollbook.backends.database import connect
from rollbook.backends.files import FileStore
from rollbook.cli.session import engines
from rollbook.config import Settings
from rollbook.members import export_file, index, search
from rollbook.model import EVERYWHERE, Role
from rollbook.service.system import open_system

if TYPE_CHECKING:
    from rollbook.model import User
    from rollbook.service.system import System

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = ROOT / "docs/explanation/scaling.md"
BEGIN: Final = "<!-- members: written by `make bench-members` -->"
END: Final = "<!-- end of members -->"
#: Issue 22 of the project asks for these.
SEARCH_P95_S: Final = 0.1
EXPORT_S: Final = 30.0
#: Searches of each kind.
SEARCHES: Final = 60
PAGE_SIZE: Final = 50


async def searched(system: System, user: User, filters: search.Filters) -> float:
    """Seconds of one search, for its first page."""
    began = time.perf_counter()
    await search.find(system, user, filters, sort="name", page=1, page_size=PAGE_SIZE)
    return time.perf_counter() - began


async def searches(system: System, user: User, seed: int) -> dict[str, dict[str, float]]:
    """Seconds by kind of search: median and 95th percentile."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    async with system.pool.connection() as connection:
        rows = await connection.execute(
            "SELECT firstname, surname, cell_number, id_number FROM members LIMIT 5000"
        )
        people = rng.sample(await rows.fetchall(), SEARCHES)
    kinds: dict[str, Any] = {
        "two names": lambda one: {"search": f"{one['surname']} {one['firstname']}"},
        "a name": lambda one: {"search": one["surname"]},
        "three letters of a name": lambda one: {"search": one["surname"][:3]},
        "a phone number": lambda one: {"search": one["cell_number"]},
        "an ID number": lambda one: {"id_number": one["id_number"]},
        "all, the first page": lambda _: {},
    }
    found = {}
    for kind, asked in kinds.items():
        seconds = [await searched(system, user, search.Filters(**asked(one))) for one in people]
        found[kind] = {
            "p50_s": round(statistics.median(seconds), 4),
            "p95_s": round(statistics.quantiles(seconds, n=20)[18], 4),
        }
    return found


def exported(address: str, store: str, user: UUID, kind: str) -> dict[str, float]:
    """Seconds of an export of everybody, the processor's, and the child's greatest memory in MB."""
    program = "import sys; from benchmarks.members.__main__ import export; export(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, address, store, str(user), kind],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def export(address: str, store: str, user: str, kind: str) -> None:
    """What the child does; prints the figures."""
    file_id = uuid4()
    with connect(address) as connection:
        connection.execute(
            "INSERT INTO member_files (id, owner_id, kind, format, filters)"
            " VALUES (%s, %s, 'export', %s, '{}')",
            (file_id, UUID(user), kind),
        )
        connection.commit()
        began, cpu = time.perf_counter(), time.process_time()
        export_file.process(
            connection, FileStore(store), file_id=file_id, hours=1, report_progress=lambda _: None
        )
        figures = {
            "seconds": round(time.perf_counter() - began, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        }
    print(json.dumps(figures))


async def measured(settings: Settings, members: int, seed: int) -> dict[str, Any]:
    """The figures with so many members."""
    await asyncio.to_thread(filled, settings.database_address, members, seed)
    async with open_system(settings.model_copy(update={"duplicates": False})) as system:
        user = await users.add(
            system.pool, email=f"{members}@example.org", password=secrets.token_urlsafe(15),
            role=Role.SUPER_ADMIN, scope=EVERYWHERE,
        )  # fmt: skip
        async with system.pool.connection() as connection:
            await connection.execute("UPDATE member_index_state SET filled_to = ''")
        began = time.perf_counter()
        await index.run_once(system)
        indexed = time.perf_counter() - began
        async with system.pool.connection() as connection:
            await connection.execute("ANALYZE member_index")
        found = await searches(system, user, seed)
    store = settings.data_dir / "exports"
    store.mkdir(exist_ok=True)
    files = {
        kind: await asyncio.to_thread(
            exported, settings.database_address, store.as_uri(), user.id, kind
        )
        for kind in ("csv", "xlsx")
    }
    return {
        "members": members, "index_s": round(indexed, 1), "searches": found, "exports": files,
        "load": round(psutil.getloadavg()[0], 1),
    }  # fmt: skip


def section(found: dict[str, Any]) -> str:
    """The section of the page."""
    sizes = found["sizes"]
    heads = "".join(f" {one['members']:,} |" for one in sizes)
    lines = [f"| search by |{heads}", f"|---|{'---|' * len(sizes)}"]
    for kind in sizes[0]["searches"]:
        cells = (one["searches"][kind] for one in sizes)
        shown = "".join(
            f" {1000 * one['p50_s']:.0f} / {1000 * one['p95_s']:.0f} |" for one in cells
        )
        lines.append(f"| {kind} |{shown}")
    exports = [f"| export |{heads}", f"|---|{'---|' * len(sizes)}"]
    for kind in ("csv", "xlsx"):
        cells = (one["exports"][kind] for one in sizes)
        shown = "".join(
            f" {one['seconds']:.1f} s, {one['cpu_s']:.1f} s, {one['peak_mb']} MB |" for one in cells
        )
        exports.append(f"| .{kind} |{shown}")
    loads = ", ".join(f"{one['load']}" for one in sizes)
    table, files = "\n".join(lines), "\n".join(exports)
    return f"""
Milliseconds until the first {PAGE_SIZE} members are found, median / 95th percentile of {SEARCHES} searches, by the number of members:

{table}

A file of all members, made by one child process: seconds, those of the processor in the child, and its greatest memory:

{files}

Measured on {found["date"]}, {found["machine"]["processor"]}, {found["machine"]["cores"]} cores, while the load of the machine was
{loads}: with a load of 8, each process had a quarter of a core (`make bench-members`).
"""  # noqa: E501 - lines of the page


def main() -> None:
    """Measure, write the section and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sizes = []
    for members in given.members:
        with tempfile.TemporaryDirectory() as folder:
            ours = Settings(data_dir=Path(folder) / "data", _env_file=None)
            with engines(ours, own=True, make=True) as settings:
                schema.migrate(settings.database_address)
                sizes.append(asyncio.run(measured(settings, members, given.seed)))
        print(json.dumps(sizes[-1]), flush=True)
    found = {"sizes": sizes, "machine": machine.describe(), "date": time.strftime("%Y-%m-%d")}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sections.replace(PAGE, BEGIN, END, section(found))
    slowest = max(kind["p95_s"] for one in sizes for kind in one["searches"].values())
    longest = max(one["exports"][kind]["seconds"] for one in sizes for kind in ("csv", "xlsx"))
    if slowest > SEARCH_P95_S or longest > EXPORT_S:
        raise SystemExit(f"promised: {SEARCH_P95_S} s a search, {EXPORT_S} s an export")


if __name__ == "__main__":
    main()
