"""Counts how well the check of a file recognises its columns, before the file is sent."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.corpus.maker import make
from rollbook.errors import FileProblemError
from rollbook.model import EVERYWHERE
from rollbook.pipeline.preview import preview
from rollbook.pipeline.read import Wanted
from rollbook.spreadsheets.inspect.archive import Limits
from rollbook.spreadsheets.kinds import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

TODAY = dt.date(2026, 11, 28)


def recognised(seeds: Iterable[int]) -> tuple[Counter[str], list[str]]:
    """How the columns of made files are recognised.

    Returns:
        Columns that are ``right``, ``suggested`` (not taken, and the right field is offered),
        ``open`` (not taken) or ``wrong``, with ``refused`` files; and the wrong ones in words.
    """
    counts: Counter[str] = Counter()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            made = make(seed)
            path = Path(folder) / made.name
            path.write_bytes(made.content)
            try:
                found = preview(
                    path,
                    kind_of(made.name),
                    Wanted(),
                    scope=EVERYWHERE,
                    today=TODAY,
                    limits=Limits(),
                )
            except FileProblemError:
                counts["refused"] += 1
                continue
            for column in found["columns"]:
                # Of two tiers, the lower one is the header of the field.
                fields = [
                    field
                    for name, field in made.headers.items()
                    if column["header"].endswith(name.strip())
                ]
                if not fields:
                    continue
                if column["field"] in fields:
                    counts["right"] += 1
                elif column["field"]:
                    counts["wrong"] += 1
                    wrong.append(
                        f"{made.name}: {column['header']!r} is taken for {column['field']}"
                    )
                else:
                    is_offered = set(fields) & set(column["suggestions"])
                    counts["suggested" if is_offered else "open"] += 1
    return counts, wrong
