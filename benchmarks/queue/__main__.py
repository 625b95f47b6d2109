"""Measures our queue beside its peers: ``make bench-queue``, or ``python -m benchmarks.queue``."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.queue import crash, environments, machine, report, results, speed
from benchmarks.queue.peers import PEERS, Peer

from rollbook.engines import Engines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="rounds over all peers")
    parser.add_argument("--jobs", type=int, default=2000, help="empty jobs in each round")
    parser.add_argument("--adds", type=int, default=40, help="latencies taken in each round")
    parser.add_argument("--peers", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--watch", type=float, default=120, help="seconds to wait after a kill")
    kept = "kill no workers, and keep what the last run found of that"
    parser.add_argument("--no-crash", action="store_true", help=kept)
    parser.add_argument("--render", action="store_true", help="only write the page anew")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _speeds(
    peers: list[Peer], folder: Path, socket_url: str, options: argparse.Namespace
) -> dict[str, list[speed.Speed]]:
    """Round after round over all peers, each round beginning with another one."""
    found: dict[str, list[speed.Speed]] = {peer.name: [] for peer in peers}
    for number in range(options.repetitions):
        shift = number % len(peers)
        for peer in peers[shift:] + peers[:shift]:
            _say(f"round {number + 1} of {options.repetitions}: {peer.name}")
            here = folder / f"speed-{number}-{peers.index(peer)}"
            measured = speed.measure(peer, here, socket_url, jobs=options.jobs, adds=options.adds)
            found[peer.name].append(measured)
    return found


def _crashes(
    peers: list[Peer], folder: Path, socket_url: str, watch_s: float
) -> dict[str, list[crash.Crash]]:
    """All peers at once, each in a database of its own: they mostly wait."""
    found: dict[str, list[crash.Crash]] = {peer.name: [] for peer in peers}
    for tuned in (False, True):
        _say(f"killing workers, {'tuned' if tuned else 'default'} timings, {watch_s:.0f} s at most")
        chosen = [peer for peer in peers if peer.crashes and (peer.tuned or not tuned)]

        def provoke(database: int, peer: Peer, *, tuned: bool = tuned) -> crash.Crash:
            here = folder / f"crash-{tuned:d}-{database}"
            return crash.provoke(
                peer, here, socket_url, database=database, tuned=tuned, patience_s=watch_s
            )

        with ThreadPoolExecutor(len(chosen)) as threads:
            outcomes = threads.map(provoke, range(1, len(chosen) + 1), chosen)
            for peer, outcome in zip(chosen, outcomes, strict=True):
                found[peer.name].append(outcome)
    return found


def main() -> None:
    """Measure, write the results and the page, print the table."""
    options = _arguments()
    if not options.render:
        environments.make_all()
        peers = [p for p in PEERS if not options.peers or p.name in options.peers]
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            with Engines(folder / "data", postgres=False) as addresses:
                assert addresses.redis_url is not None
                speeds = _speeds(peers, folder, addresses.redis_url, options)
                crashes = (
                    {}
                    if options.no_crash
                    else _crashes(peers, folder, addresses.redis_url, options.watch)
                )
        entries = [
            results.sum_up(peer, speeds[peer.name], crashes.get(peer.name, [])) for peer in peers
        ]
        if options.no_crash:
            before = {entry["name"]: entry["crashes"] for entry in results.load()["peers"]}
            entries = [entry | {"crashes": before.get(entry["name"], [])} for entry in entries]
        results.save(
            {
                "date": dt.datetime.now(dt.UTC).date().isoformat(),
                "machine": machine.describe(),
                "repetitions": options.repetitions,
                "jobs": options.jobs,
                "adds": options.adds * options.repetitions,
                "peers": entries,
            }
        )
    found = results.load()
    report.write(found)
    sys.stdout.write(report.table(found))


if __name__ == "__main__":
    main()
