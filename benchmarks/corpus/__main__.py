"""Counts what is read wrong without a word: ``make bench-corpus``."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.pipeline_run import open_site

from benchmarks.corpus import report
from benchmarks.corpus.check import recognised
from benchmarks.corpus.judge import Verdict, judge_peer
from benchmarks.corpus.maker import make
from benchmarks.corpus.run import run
from benchmarks.pipeline import environments
from benchmarks.queue import machine
from rollbook.backends import schema
from rollbook.engines import Engines

if TYPE_CHECKING:
    from benchmarks.corpus.maker import OfficeFile

#: A peer's name, its tool in ``peers/read.py`` and its distributions.
PEERS: Final = (
    ("pandas", "pandas", ("pandas", "openpyxl", "python-calamine")),
    ("django-import-export", "django", ("django-import-export", "tablib", "openpyxl")),
)
_READ: Final = Path(__file__).parent / "peers" / "read.py"
#: Seconds for all files in a peer.
_PEER_S: Final = 1800
#: Files between two lines of progress.
_EVERY: Final = 100


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def ours(seeds: range, folder: Path) -> Verdict:
    """Rollbook's verdict, on a database of its own."""
    done = 0

    def after(made: OfficeFile, found: Verdict) -> None:
        nonlocal done
        done += 1
        for line in (*found.untold, *found.questions):
            _say(f"  {line} {made.oddities}")
        if done % _EVERY == 0:
            _say(f"{done} of {len(seeds)} files")

    with Engines(folder / "engines", valkey=False, fast_unsafe=True) as addresses:
        assert addresses.database_url is not None
        schema.migrate(addresses.database_url)
        with open_site(addresses.database_url, folder) as site:
            return run(site, seeds, after)


def peer(tool: str, files: list[OfficeFile], folder: Path) -> Verdict:
    """A peer's verdict."""
    command: list[str | Path] = [environments.PYTHON, _READ, tool, folder]
    said = subprocess.run(command, check=True, capture_output=True, timeout=_PEER_S)
    answers: dict[str, Any] = json.loads(said.stdout)
    whole = Verdict()
    for made in files:
        whole.add(judge_peer(made, answers[made.name]))
    return whole


def main() -> int:
    """Run, save and render; 1 if a cell came out wrong without a word."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="how many of them")
    parser.add_argument("--seed", type=int, default=0, help="number of the first file")
    parser.add_argument("--alone", action="store_true", help="leave out the peers and the page")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.files)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = ours(seeds, folder)
        entries = [report.entry("rollbook", found, "")]
        if not options.alone:
            environments.make_python()
            files = [make(seed) for seed in seeds]
            for made in files:
                (folder / made.name).write_bytes(made.content)
            headers = {made.name: made.headers for made in files}
            (folder / "headers.json").write_text(json.dumps(headers), "utf-8")
            for label, tool, packages in PEERS:
                _say(f"{label} reads the files")
                known = environments.python_versions(*packages)
                versions = ", ".join(f"{package} {version}" for package, version in known.items())
                entries.append(report.entry(label, peer(tool, files, folder), versions))
            today = dt.datetime.now(dt.UTC).date().isoformat()
            report.write(
                {"date": today, "machine": machine.describe(), "first": seeds.start,
                 "tools": entries}
            )  # fmt: skip
    counts, wrong = recognised(seeds)
    _say(f"{dict(found.counts)}; {len(found.untold)} wrong without a word")
    _say(f"columns as the check takes them: {dict(counts)}")
    for line in wrong:
        _say(f"  {line}")
    return 1 if found.untold or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
