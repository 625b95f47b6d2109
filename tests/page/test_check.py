"""Files are checked as they are chosen, and what is doubtful is decided on before they are sent."""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import openpyxl
import pytest
from playwright.sync_api import Page, Route, expect

from rollbook.pipeline.columns import variants
from tests.files import HEADERS, csv_file, workbook
from tests.page.conftest import NARROW
from tests.page.site import GAUTENG, Site
from tests.page.test_page import choose, fresh, outcomes, state
from tests.page.test_views import flaws

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenPage = Callable[..., Page]

PAGE = Path("src/rollbook/page")
UNKNOWN = {"ID Number": "Lid", "Firstname": "Roepnaam", "Surname": "Van", "Ward": "Kode"}


def unknown_headers(rows: int) -> bytes:
    """A file of which Rollbook knows one header."""
    renamed = [{new: row[old] for old, new in UNKNOWN.items()} for row in fresh(rows)]
    return csv_file(renamed, headers=list(UNKNOWN.values()))


def sheets(**rows: list[dict[str, str]]) -> bytes:
    """A workbook of these sheets; one whose name begins with ``Old`` is hidden."""
    book = openpyxl.Workbook()
    del book["Sheet"]
    for name, members in rows.items():
        sheet = book.create_sheet(name)
        sheet.append(list(members[0]))
        for row in members:
            sheet.append(list(row.values()))
        if name.startswith("Old"):
            sheet.sheet_state = "hidden"
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def send_chosen(page: Page, button: str, name: str) -> None:
    """Send the file that is chosen, and go to its view."""
    page.get_by_role("button", name=button).click()
    page.locator(".file", has_text=name).last.get_by_role("link", name="Follow progress").click()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


@pytest.mark.usefixtures("one_day")
def test_unknown_headers_are_named_in_drop_downs_sent_once_remembered_and_forgotten(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page(GAUTENG, size=NARROW, scheme="dark")
    sent: list[int] = []
    page.on(
        "request",
        lambda request: (
            sent.append(len(request.post_data_buffer or b""))
            if request.method == "POST" and "/bulk-upload/" in request.url
            else None
        ),
    )
    content = unknown_headers(300)
    choose(page, content, "unknown.csv")
    file = page.locator(".file")
    expect(file).to_contain_text("Missing: ID number, First name")
    expect(page.get_by_role("button", name="Dry run first")).to_be_visible()
    lid = page.get_by_label("Field for the column Lid")
    assert lid.locator("optgroup").first.locator("option").first.inner_text() == "ID number"
    assert flaws(page, "upload-check-narrow-dark") == []
    lid.focus()
    lid.select_option("ID number")
    expect(file).to_contain_text("First name is missing")
    expect(lid).to_be_focused()
    page.get_by_label("Field for the column Roepnaam").select_option("First name")
    page.get_by_label("Field for the column Kode").select_option("Ward")
    expect(file).not_to_contain_text("missing")
    expect(file.locator("thead")).to_contain_text("First nameRoepnaam")
    expect(page.get_by_role("button", name="Dry run first")).to_have_count(0)
    send_chosen(page, "Send 1 file", "unknown.csv")
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Inserted": 300}
    assert sum(sent) < 1.5 * len(content)
    [columns] = site.ask("SELECT columns FROM uploads WHERE file_name = 'unknown.csv'")
    assert columns == {"Lid": "id_number", "Roepnaam": "firstname", "Kode": "ward"}
    expect(page.get_by_text("Columns read as you said: Lid: ID number")).to_be_visible()
    # What it taught is seen, changed and forgotten.
    page.goto(f"{site.url}/#/columns")
    card = page.locator(".mapping", has_text="unknown.csv")
    expect(card).to_contain_text("SAST")
    card.get_by_label("Read “Kode” as").select_option(label="Don’t read this column")
    card.get_by_role("button", name="Save").click()
    expect(card).to_contain_text("Changed today")
    expect(card.get_by_label("Read “Kode” as")).to_have_value("leave")
    card.get_by_role("button", name="Forget").click()
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    expect(card).to_have_count(0)


def test_the_options_stay_while_other_views_are_shown_also_with_an_api_of_the_version_before(
    open_page: OpenPage, site: Site
) -> None:
    """While a server is upgraded, the page's files may come from another process than answers."""

    def without(name: str, route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        del body["data"][name]
        route.fulfill(response=answer, json=body)

    page = open_page(GAUTENG)
    page.route("**/bulk-upload/check/*", partial(without, "emptied"))
    page.route("**/bulk-upload/history?*", partial(without, "total_is_exact"))
    # Headers of its own: the office would remember for others that Ward is left out.
    rows = [{**row, "Surname": ""} for row in fresh(1)]
    choose(page, csv_file(rows, headers=[*HEADERS, "Stays"]), "stays.csv")
    expect(page.locator(".checked summary").first).to_contain_text("1 row")
    page.get_by_role("switch", name="Dry run").check()
    page.get_by_label("Existing members").select_option("skip")
    page.locator(".known summary").click()
    page.get_by_label("Field for the column Ward").select_option("leave")
    page.get_by_role("link", name="Uploads", exact=True).click()
    page.get_by_role("link", name="Upload", exact=True).click()
    expect(page.get_by_role("switch", name="Dry run")).to_be_checked()
    expect(page.get_by_label("Existing members")).to_have_value("skip")
    page.locator(".known summary").click()
    expect(page.get_by_label("Field for the column Ward")).to_have_value("leave")
    with page.expect_request("**/bulk-upload/process") as sending:
        page.get_by_role("button", name="Try 1 file").click()
    body = (sending.value.post_data_buffer or b"").decode()
    assert re.search(r'name="dry_run"\s+true', body)
    assert re.search(r'name="existing"\s+skip', body)
    assert re.search(r'name="columns"\s+{"Ward":null}', body)
    expect(page.get_by_role("link", name="Follow progress")).to_be_visible()
    page.goto(f"{site.url}/#/uploads")
    expect(page.locator(".count")).to_have_text(re.compile(r"^\s*\d+ uploads?$"))


def test_a_doubtful_file_is_tried_first_and_run_for_real_where_a_row_can_be_taken_in(
    open_page: OpenPage,
) -> None:
    page = open_page(GAUTENG)
    rows = fresh(3)
    choose(page, csv_file([*rows[:2], {**rows[2], "Surname": ""}]), "beside.csv")
    expect(page.locator(".warnings")).to_contain_text("1 row")
    page.get_by_role("button", name="Dry run first").click()
    file = page.locator(".file", has_text="beside.csv")
    expect(file).to_contain_text("Inserted 2 · Invalid 1")
    expect(page.get_by_role("list", name="Chosen files")).to_be_focused()
    file.get_by_role("button", name="Run it for real").click()
    expect(file.get_by_role("button")).to_have_count(0)
    expect(file.locator(".file-head")).not_to_contain_text("Dry run")
    expect(page.get_by_role("list", name="Chosen files")).to_be_focused()
    file.get_by_role("link", name="Follow progress").click()
    expect(state(page)).to_have_text("Completed, 1 row needs attention")
    expect(page.get_by_text("This was a dry run")).to_have_count(0)
    assert outcomes(page) == {"Inserted": 2, "Invalid": 1}

    choose(page, csv_file([{**row, "Surname": ""} for row in fresh(2)]), "hopeless.csv")
    send_chosen(page, "Dry run first", "hopeless.csv")
    expect(state(page)).to_have_text("Completed, all 2 rows were refused")
    expect(state(page)).to_have_class("badge failed")
    expect(page.get_by_role("link", name="Fix here")).to_be_visible()
    expect(page.get_by_role("button", name="Run it for real")).to_have_count(0)


def test_sheets_are_chosen_a_hidden_one_is_marked_and_one_that_nobody_chose_to_leave_is_said(
    open_page: OpenPage,
) -> None:
    page = open_page(GAUTENG)
    choose(page, sheets(East=fresh(2), West=fresh(3)), "overlooked.xlsx")
    send_chosen(page, "Send 1 file", "overlooked.xlsx")
    expect(state(page)).to_have_text("Completed, 1 sheet with members not read")
    expect(state(page)).to_have_class("badge pending")
    choose(page, sheets(East=fresh(2), West=fresh(3)), "decided.xlsx")
    page.get_by_role("radio", name="East").check()
    page.get_by_role("radio", name="West").check()
    send_chosen(page, "Send 1 file", "decided.xlsx")
    expect(state(page)).to_have_text("Completed")
    choose(page, sheets(November=fresh(2), December=fresh(3), OldOnes=fresh(4)), "sheets.xlsx")
    file = page.locator(".file", has_text="sheets.xlsx")
    tabs = file.locator(".tab")
    expect(tabs).to_have_count(4)
    expect(tabs.filter(has_text="OldOnes")).to_contain_text("hidden")
    expect(page.get_by_role("radio", name="November")).to_be_checked()
    expect(file.locator(".checked summary").first).to_contain_text("2 rows")
    page.get_by_role("radio", name="November").press("ArrowDown")
    expect(page.get_by_role("radio", name="December")).to_be_focused()
    expect(file.locator(".checked summary").first).to_contain_text("3 rows")
    page.get_by_role("radio", name="All sheets with members").check()
    expect(tabs.nth(3)).to_contain_text("hidden")
    send_chosen(page, "Send 1 file", "sheets.xlsx")
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Inserted": 5}


def test_a_file_is_sent_without_its_check_where_that_is_skipped_fails_or_is_gone(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page(GAUTENG)
    waiting: list[Route] = []
    page.route("**/bulk-upload/check/*", lambda route: waiting.append(route))  # noqa: PLW0108
    choose(page, csv_file(fresh(2)), "skipped.csv")
    page.get_by_role("button", name="Skip the check of skipped.csv").click()
    expect(page.get_by_text("This file is not checked.")).to_be_visible()
    send_chosen(page, "Send 1 file", "skipped.csv")
    expect(state(page)).to_have_text("Completed")
    page.unroute("**/bulk-upload/check/*")
    page.route("**/bulk-upload/check/*", lambda route: route.abort())
    choose(page, workbook(fresh(2), headers=[*HEADERS, "Failed"]), "failed check.xlsx")
    expect(page.locator(".notice")).to_contain_text("You can send it anyway.")
    page.get_by_text("Sheet and columns").click()
    page.get_by_text("Columns with other names").click()
    page.get_by_label("Header in the file").first.fill("Ward")
    page.get_by_label("Rollbook field").first.select_option("leave")
    with page.expect_request("**/bulk-upload/process") as sending:
        send_chosen(page, "Send 1 file", "failed check.xlsx")
    assert b'{"Ward":null}' in (sending.value.post_data_buffer or b"")
    expect(state(page)).to_have_text("Completed")
    page.unroute("**/bulk-upload/check/*")
    # One that is gone costs another transfer and nothing else.
    choose(page, csv_file(fresh(2)), "next day.csv")
    expect(page.locator(".file", has_text="next day.csv").locator(".checked")).to_be_visible()
    site.execute("DELETE FROM file_checks")
    send_chosen(page, "Send 1 file", "next day.csv")
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Inserted": 2}


def test_the_page_offers_every_field_that_a_column_can_be_read_as() -> None:
    script = PAGE.joinpath("fields.js").read_text("utf-8")
    found = re.search(r"const BUILT_IN = \[(.*?)\];", script, re.DOTALL)
    assert found is not None
    assert set(re.findall(r'"(\w+)"', found[1])) == set(variants())
