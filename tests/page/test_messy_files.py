"""Messy files are brought to no avoidable refusal without leaving the page.

For ``make page``. In the gate, what is done to them is done to other files: columns are named and
sheets chosen in test_check.py, and cells fixed in test_fix.py. How the files are read is shown by
tests/golden and tests/integration/pipeline/test_corpus.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from benchmarks.corpus.cells import Stance
from benchmarks.corpus.maker import make
from playwright.sync_api import FilePayload, Page, expect

from tests.page.site import OPERATOR, Site
from tests.page.test_fix import fits, ready, typed
from tests.page.test_views import HAS_ALL_LOOKS

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = Path(__file__).parents[1] / "golden" / "cases"
#: Files of which every row is right, or can be made so on the page.
FIXABLE = [
    "five_wrong.xlsx", "two_member_sheets.xlsx", "unknown_headers.xlsx", "full_name.xlsx",
    "hidden_rows.xlsx", "hidden_sheet_first.xlsx", "inch_mark.csv", "two_tier_header.xlsx",
]  # fmt: skip
#: Numbers of made office files; the first has a row that only its office can correct.
MADE = [8, 0]
#: What is right for the wrong cells of ``five_wrong.xlsx``; of ID numbers without the check digit.
RIGHT = {
    "ID Number": ["680505606108", "680718606308", "800930606508"],
    "Surname": ["Mthembu"],
    "First Name": ["Bongani"],
}


@pytest.mark.skipif(not HAS_ALL_LOOKS, reason="views in every look, messy files: make page")
def test_messy_files_end_without_an_avoidable_refusal(
    open_page: Callable[..., Page], site: Site
) -> None:
    page = open_page(OPERATOR)
    made = [make(seed) for seed in MADE]
    contents = {name: (CASES / name).read_bytes() for name in FIXABLE}
    contents |= {one.name: one.content for one in made}
    page.get_by_role("link", name="Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(
        [
            FilePayload(name=name, mimeType="application/octet-stream", buffer=content)
            for name, content in contents.items()
        ]
    )
    expect(page.get_by_role("button", name="Dry run first")).to_be_enabled()
    for header, field in {"Roepnaam": "firstname", "Familienaam": "surname"}.items():
        page.get_by_label(f"Field for the column {header}").select_option(field)
    sheets = page.locator(".file", has_text="two_member_sheets.xlsx")
    sheets.get_by_role("radio", name="All sheets with members").check()
    page.get_by_role("button", name=f"Send {len(contents)} files").click()
    expect(page.locator(".file .badge", has_text="Completed")).to_have_count(len(contents))
    with site.api(OPERATOR) as api:
        history = api.get("/bulk-upload/history", params={"page_size": len(contents)})
        sent = history.json()["data"]["items"]
    refused = {
        upload["file_name"]: upload["outcomes"]["invalid"] + upload["outcomes"]["out_of_scope"]
        for upload in sent
    }
    assert refused == dict.fromkeys(FIXABLE, 0) | {"five_wrong.xlsx": 5} | {
        one.name: sum(row.stance is Stance.REFUSED for row in one.rows) for one in made
    }
    fix_five(page)
    page.get_by_role("link", name="It fixes rows of an earlier upload.").click()
    expect(page.locator(".fixed")).to_have_text("5 of 5 refused rows fixed")


def fix_five(page: Page) -> None:
    """Fix the five wrong cells in the grid, and send the rows."""
    file = page.locator(".file", has_text="five_wrong.xlsx")
    file.get_by_role("link", name="Follow progress").click()
    page.get_by_role("link", name="Fix here").click()
    grid = page.get_by_role("grid")
    for header, values in RIGHT.items():
        titles = grid.locator("[role=columnheader]", has_text=re.compile(f"^{header}$"))
        column = titles.get_attribute("data-head")
        wrong = grid.locator(f".grid-cell.error[data-at$=' {column}']")
        expect(wrong).to_have_count(len(values))
        for value in values:
            wrong.first.click()
            last = next(d for d in "0123456789" if fits(value + d)) if value.isdigit() else ""
            typed(page, "Delete", *value, *last, "Enter")
            expect(wrong).to_have_count(len(values) - values.index(value) - 1)
    expect(ready(page).filter(has_text="fixed")).to_have_count(5)
    page.get_by_role("button", name="Send 5 fixed rows").click()
    expect(page.get_by_role("heading", level=1, name="five_wrong-fixed.xlsx")).to_be_visible()
    expect(page.locator(".title .badge").first).to_contain_text("Completed")
