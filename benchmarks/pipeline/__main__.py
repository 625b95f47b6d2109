"""Measures the pipeline beside its peers: ``make bench-pipeline``."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from benchmarks.pipeline import (
    contestants,
    environments,
    files,
    ours,
    raw,
    report,
    results,
    writers,
)
from benchmarks.pipeline.tables import Tables
from benchmarks.queue import machine

from rollbook.backends import schema
from rollbook.cli.sample_file import write_sample
from rollbook.engines import Addresses, Engines

if TYPE_CHECKING:
    from collections.abc import Iterable

MILLION = 1_000_000
#: With a million members, and its preparation, a peer takes at most so much longer.
SLOWER = 1.25
#: Rollbook's own distributions that do the work.
_OURS = ("rollbook", "polars", "fastexcel", "psycopg", "isal", "bullmq")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    add = parser.add_argument
    add("--rows", type=int, default=100_000, help="of the file for all")
    add("--repetitions", type=int, default=3, help="of rollbook and of the limit")
    add("--peer-repetitions", type=int, default=1, help="of each peer")
    add("--usual", type=int, default=20, help="uploads of the usual size")
    who = "who is measured with a table of a million members too"
    add("--into-many", choices=("all", "ours", "none"), default="all", help=who)
    minutes = "leave out a peer with a million members that would end after so many minutes"
    add("--minutes", type=float, default=60, help=minutes)
    million = "send rollbook alone a file of a million rows (or ROWS) too"
    add("--million", type=int, nargs="?", const=MILLION, default=0, metavar="ROWS", help=million)
    long = "send rollbook alone a CSV file of so many rows too"
    add("--csv", type=int, default=0, metavar="ROWS", help=long)
    kept = "measure only rollbook and the limit anew, and keep what the last run found of the rest"
    add("--keep-rest", action="store_true", help=kept)
    parts = "measure only these anew, and keep what the last run found of the rest"
    names = ("node", "million", "csv", "report", "two")
    add("--only", nargs="+", choices=names, default=(), help=parts)
    report = "write the report alone too, by our writer and by the fastest others"
    add("--report", action="store_true", help=report)
    add("--render", action="store_true", help="only write the page anew")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


class Bench:
    """One run; what was found is saved after each step, so that a run may be cut short."""

    def __init__(
        self, options: argparse.Namespace, folder: Path, addresses: Addresses, office: ours.Office
    ) -> None:
        assert addresses.database_url is not None
        self._options = options
        self._folder = folder
        self._address = addresses.database_url
        self._office = office
        self._began = time.monotonic()
        self._before = results.load() if options.keep_rest or options.only else {}
        self.found: results.Results = {
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "machine": machine.describe()
            | {"postgres": _postgres_version(self._address), "node": environments.node_version()},
            "rows": options.rows,
            "tables": [],
        }

    async def run(self) -> None:
        """Measure everything that was asked for; peers last, because they take longest."""
        with Tables(self._address) as tables:
            if self._options.only:
                await self._only(tables)
                return
            file = self._file(tables, self._options.rows)
            sizes = [False] if self._options.into_many == "none" else [False, True]
            if True in sizes:
                tables.add_others()
            for many in sizes:
                await self._ours(tables, file, many=many)
            await self._usual(tables)
            if self._options.keep_rest:
                await self._two_at_once(tables, file.rows)
                self._keep_rest()
                return
            for many, here in zip(sizes, self.found["tables"], strict=True):
                if not many or self._options.into_many == "all":
                    self._peers(tables, file, here, contestants.PEERS, many=many)
            await self._two_at_once(tables, file.rows)
            if self._options.million:
                await self._million(tables)
            if self._options.csv:
                await self.long_csv(tables, self._options.csv)
            if self._options.report:
                self._report()

    async def _only(self, tables: Tables) -> None:
        """Measure some parts again, and replace those of the last run."""
        self.found |= {name: here for name, here in self._before.items() if name != "date"}
        if "report" in self._options.only:
            self._report()
        if "million" in self._options.only:
            await self._million(tables)
        if "two" in self._options.only:
            await self._two_at_once(tables, self._options.rows)
        if "csv" in self._options.only:
            await self.long_csv(tables, self._options.csv)
        if "node" in self._options.only:
            here = self.found["tables"][0]
            ours, *others = here["contestants"]
            by_node = [peer for peer in contestants.PEERS if peer.is_node]
            here["contestants"] = [ours]
            self._peers(tables, self._file(tables, self._options.rows), here, by_node)
            names = {peer.name for peer in by_node}
            here["contestants"] += [entry for entry in others if entry["name"] not in names]
            results.save(self.found)

    def _report(self) -> None:
        rows, repetitions = self._options.rows, self._options.repetitions
        self.found["report"] = writers.measure(self._folder, rows, repetitions)
        _say(f"report: {self.found['report']}")
        results.save(self.found)

    def _keep_rest(self) -> None:
        """Take over the peers' entries, and what takes long, from the last run's results."""
        for here, before in zip(self.found["tables"], self._before["tables"], strict=True):
            here["contestants"] += before["contestants"][1:]
        kept = ("million", "csv", "report", "lag_ms")
        self.found |= {name: self._before[name] for name in kept if name in self._before}
        results.save(self.found)

    def _file(self, tables: Tables, rows: int) -> files.File:
        _say(f"writing a file of {rows:,} rows")
        file = files.make(self._folder / f"members-{rows}.xlsx", rows)
        tables.expect(file)
        return file

    async def _ours(self, tables: Tables, file: files.File, *, many: bool) -> None:
        runs, limits = [], []
        for _ in range(self._options.repetitions):
            await self._office.send_usual()
            tables.fill("members", many=many)
            before = tables.count("members")
            runs.append(await self._office.send(file.path))
            _check("rollbook", runs[-1].outcomes, file)
            _say(f"rollbook into {before:,}: {runs[-1].seconds} s {runs[-1].stages}")
            tables.fill("plain_members", many=many)
            tables.without_existing(file)
            limits.append(raw.measure(self._address, file))
            _say(f"raw: {limits[-1]}")
        entry = results.entry(
            "rollbook",
            runs,
            method="the whole worker: queue, child process, progress, report",
            versions={name: metadata.version(name) for name in _OURS},
        )
        self.found["tables"].append(
            {"members": before, "raw": results.raw_entry(limits), "contestants": [entry]}
        )
        results.save(self.found)

    def _peers(
        self,
        tables: Tables,
        file: files.File,
        here: dict[str, Any],
        peers: Iterable[contestants.Peer],
        *,
        many: bool = False,
    ) -> None:
        for peer in peers:
            if many and self._is_too_late(peer):
                _say(f"{peer.name}: left out here, no time")
                continue
            runs = []
            for _ in range(self._options.peer_repetitions):
                tables.fill("plain_members", many=many)
                _say(f"{peer.name} into {here['members']:,}")
                runs.append(contestants.run(peer, file.path, self._address))
                _check(peer.name, runs[-1].outcomes, file)
                _say(f"{peer.name}: {runs[-1].seconds} s {runs[-1].stages}")
            versions = environments.versions(*peer.packages)
            entry = results.entry(peer.name, runs, method=peer.method, versions=versions)
            here["contestants"].append(entry)
            results.save(self.found)

    def _is_too_late(self, peer: contestants.Peer) -> bool:
        """Would it end after the time for all, by what it took without the other members?"""
        taken = next(
            entry["seconds"] * len(entry["runs_s"])
            for entry in self.found["tables"][0]["contestants"]
            if entry["name"] == peer.name
        )
        elapsed = time.monotonic() - self._began
        return bool(elapsed + taken * SLOWER > self._options.minutes * 60)

    async def _usual(self, tables: Tables) -> None:
        tables.fill("members", many=False)
        await self._office.send_usual()
        runs = [await self._office.send_usual() for _ in range(self._options.usual)]
        self.found["usual"] = results.usual_entry(ours.USUAL_ROWS, runs)
        _say(f"usual: {self.found['usual']}")
        results.save(self.found)

    async def _two_at_once(self, tables: Tables, rows: int) -> None:
        """Two files with nobody in common: each alone, then both at the same time.

        Files of two offices seldom have. A merge waits for another that has one of its people, and
        its report is then written anew, so a single person in both would make this another measure.
        """
        one, other = (
            files.make(self._folder / f"half-{half}-{rows}.xlsx", rows, half=half)
            for half in (0, 1)
        )
        tables.expect(one, other)
        alone, both = [], []
        for _ in range(self._options.repetitions):
            for file in (one, other):
                tables.fill("members", many=False)
                alone.append((await self._office.send(file.path)).seconds)
            tables.fill("members", many=False)
            began = time.perf_counter()
            await asyncio.gather(self._office.send(one.path), self._office.send(other.path))
            both.append(time.perf_counter() - began)
        self.found["two_at_once"] = {
            "one_s": round(statistics.median(alone), 2),
            "both_s": round(statistics.median(both), 2),
        }
        _say(f"two at once: {self.found['two_at_once']}")
        results.save(self.found)

    async def long_csv(self, tables: Tables, rows: int) -> None:
        """A CSV file that is longer than a worksheet may be."""
        path = self._folder / f"members-{rows}.csv"
        _say(f"writing a CSV file of {rows:,} rows")
        facts = write_sample(path, rows)
        tables.empty()
        run = await self._office.send(path)
        found = {name: count for name, count in run.outcomes.items() if count}
        if found != facts.expected:
            raise RuntimeError(f"{found} instead of {facts.expected}")
        entry = results.entry("rollbook", [run], method="", versions={})
        self.found["csv"] = {"rows": rows, "bytes": path.stat().st_size, **entry}
        path.unlink()
        _say(f"csv: {self.found['csv']}")
        results.save(self.found)

    async def lag(self, addresses: Addresses, path: Path) -> None:
        """The lag of a worker's event loop while it has a long file."""
        late = sorted(await ours.loop_lag(addresses, self._folder, path))
        self.found["lag_ms"] = {
            "p50": round(statistics.median(late), 2),
            "p99": round(late[int(len(late) * 0.99)], 2),
            "worst": round(late[-1], 1),
            "looks": len(late),
        }
        _say(f"lag: {self.found['lag_ms']}")
        results.save(self.found)

    async def _million(self, tables: Tables) -> None:
        file = self._file(tables, self._options.million)
        await self._office.send_usual()
        tables.fill("members", many=False)
        run = await self._office.send(file.path)
        _check("rollbook", run.outcomes, file)
        _say(f"rollbook alone: {run}")
        entry = results.entry("rollbook", [run], method="", versions={})
        self.found["million"] = {"rows": file.rows, **entry}
        results.save(self.found)


def _check(name: str, outcomes: dict[str, int], file: files.File) -> None:
    """Who does less than the others must not look faster."""
    if {outcome: count for outcome, count in outcomes.items() if count} != file.expected:
        raise RuntimeError(f"{name}: {outcomes} instead of {file.expected}")


def _postgres_version(address: str) -> str:
    with psycopg.connect(address) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    return str(row[0])


async def _measure(options: argparse.Namespace, folder: Path, addresses: Addresses) -> None:
    async with ours.office(addresses, folder) as office:
        bench = Bench(options, folder, addresses, office)
        await bench.run()
    if options.keep_rest or options.only:
        return
    longest = folder / f"members-{options.million or options.rows}.xlsx"
    await bench.lag(addresses, longest)


def main() -> None:
    """Measure, write the results and the page, print the table."""
    options = _arguments()
    if not options.render:
        environments.make_all()
        with tempfile.TemporaryDirectory(prefix="rb-") as name:
            folder = Path(name)
            with Engines(folder / "engines") as addresses:
                assert addresses.database_url is not None
                schema.migrate(addresses.database_url)
                asyncio.run(_measure(options, folder, addresses))
    found = results.load()
    report.write(found)
    sys.stdout.write(report.table(found))


if __name__ == "__main__":
    main()
