"""The program of a process in which inputs are tried: numbers come in, one line goes out for each.

Started as ``python -m tests.fuzz.child DATABASE_URL FOLDER WHOLE``; each WHOLEth input goes through
the whole pipeline, to its report, and the others through reading, normalising and validating.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollbook import clock
from rollbook.errors import FileProblemError
from rollbook.model import EVERYWHERE, OUTCOMES
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.read import read
from rollbook.pipeline.validate import validate
from tests.fuzz.inputs import Input, make
from tests.pipeline_run import Site, open_site

if TYPE_CHECKING:
    from typing import TextIO


def main() -> None:
    """Try what is asked for until there is no more."""
    database_url, folder, whole = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    # What a parser prints is not ours.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with open_site(database_url, folder) as site:
        _say(answers, ready=True)
        for line in sys.stdin:
            seed, begun = int(line), time.process_time()
            tried = _tried(site, make(seed), is_whole=seed % whole == 0)
            peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            cpu_s = time.process_time() - begun
            _say(answers, seed=seed, peak_mb=peak_kb / 1024, cpu_s=cpu_s, **tried)


def _tried(site: Site, given: Input, *, is_whole: bool) -> dict[str, Any]:
    """The result of an input: rows, a sentence, or a fault."""
    try:
        if is_whole:
            done = site.send(given.content, f"fuzz.{given.kind}")
            assert sum(done.outcomes.values()) == done.upload["rows_total"] == len(done.rows)
            assert set(done.outcomes) == set(OUTCOMES)
            assert done.report.stat().st_size
            return {"rows": len(done.rows), "whole": True}
        return {"rows": _read(site.folder, given)}
    except FileProblemError as error:
        return {"sentence": error.message}
    except BaseException as error:  # noqa: BLE001 - a panic of a parser is none of the usual ones
        return {"fault": f"{type(error).__name__}: {error}"[:500]}


def _read(folder: Path, given: Input) -> int:
    source = folder / f"source.{given.kind}"
    source.write_bytes(given.content)
    rows = 0
    for sheet in read(source, given.kind):
        validated = validate(normalise(sheet, clock.today()), sheet, EVERYWHERE)
        assert validated.rows.height == sheet.frame.height
        rows += sheet.frame.height
    return rows


def _say(answers: TextIO, **message: Any) -> None:
    answers.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    main()
