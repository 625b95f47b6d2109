"""What the page knows of the errors' codes."""

from __future__ import annotations

import re
from pathlib import Path

import rollbook
from rollbook.errors import FileProblemError


def test_the_page_offers_no_retry_of_any_problem_of_the_file() -> None:
    script = Path(rollbook.__file__).with_name("page").joinpath("uploads.js").read_text("utf-8")
    found = re.search(r"const HOPELESS = new Set\((.*?)\);", script, re.DOTALL)
    assert found is not None
    kinds: list[type[FileProblemError]] = [FileProblemError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    named = {word for text in re.findall(r'"([^"]+)"', found[1]) for word in text.split()}
    assert named == {kind.code for kind in kinds}
