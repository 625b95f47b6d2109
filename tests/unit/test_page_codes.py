"""What the page knows of the errors' codes and of the audit trail's acts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import rollbook
from rollbook.accounts import audit
from rollbook.errors import FileProblemError
from rollbook.languages import ENGLISH, own_texts

PAGE = Path(rollbook.__file__).with_name("page")


def test_the_page_offers_no_retry_of_any_problem_of_the_file() -> None:
    script = PAGE.joinpath("uploads.js").read_text("utf-8")
    found = re.search(r"const HOPELESS = new Set\((.*?)\);", script, re.DOTALL)
    assert found is not None
    kinds: list[type[FileProblemError]] = [FileProblemError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    named = {word for text in re.findall(r'"([^"]+)"', found[1]) for word in text.split()}
    assert named == {kind.code for kind in kinds}


def test_the_page_has_a_name_for_every_act_of_the_audit_trail() -> None:
    named = {key for key in own_texts(ENGLISH) if key.startswith("page.act.")}
    assert named == {f"page.act.{act}" for act in get_args(audit.Act)}


def test_every_text_that_the_page_asks_for_by_a_fixed_key_is_there() -> None:
    asked = {
        f"page.{key}"
        for script in PAGE.rglob("*.js")
        if "vendor" not in script.parts
        for key in re.findall(r'\bt\("([\w.]+)"', script.read_text("utf-8"))
    }
    assert len(asked) > 100
    assert asked - own_texts(ENGLISH).keys() == set()


def test_no_script_declares_a_name_twice() -> None:
    declared = re.compile(
        r"^(?:export )?(?:const|let|function\*?|async function|class) (\w+)", re.MULTILINE
    )
    for script in PAGE.rglob("*.js"):
        if "vendor" not in script.parts:
            names = declared.findall(script.read_text("utf-8"))
            assert sorted(names) == sorted(set(names)), script.name
