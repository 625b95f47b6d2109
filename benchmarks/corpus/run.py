"""Sends generated files through the pipeline and judges the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.corpus.judge import Verdict, judge, refused
from benchmarks.corpus.maker import make
from rollbook.errors import FileProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.pipeline_run import Site

    from benchmarks.corpus.maker import OfficeFile


def run(
    site: Site, seeds: Iterable[int], after: Callable[[OfficeFile, Verdict], None] | None = None
) -> Verdict:
    """The verdict on all files; ``after`` is called after each."""
    whole = Verdict()
    for seed in seeds:
        made = make(seed)
        site.clean()
        try:
            done = site.send(made.content, made.name)
        except FileProblemError as error:
            found = refused(made, str(error))
        else:
            found = judge(made, done, site.members())
        found.counts["files"] = 1
        whole.add(found)
        if after is not None:
            after(made, found)
    return whole
