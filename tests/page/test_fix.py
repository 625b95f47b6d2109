"""Refused and doubtful rows are fixed in a grid, and sent from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.sync_api import Locator, Page, Route, expect

from tests.files import csv_file
from tests.page.conftest import NARROW
from tests.page.site import GAUTENG, OPERATOR, Site
from tests.page.test_page import fresh, outcomes, state
from tests.page.test_views import flaws

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenPage = Callable[..., Page]


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the focus is there."""
    for _ in range(80):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("Tab doesn't lead there")


def active(page: Page) -> Locator:
    """The active cell."""
    return page.locator(".grid-cell.active")


def typed(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def ready(page: Page) -> Any:
    return page.locator(".grid-row .grid-head small")


def five_wrong() -> list[dict[str, str]]:
    """Five rows, each with another mistake in its first three columns."""
    good = fresh(5)
    number = good[0]["ID Number"]
    return [
        {**good[0], "ID Number": number[:-1] + str((int(number[-1]) + 1) % 10)},
        {**good[1], "Firstname": ""},
        {**good[2], "Surname": ""},
        {**good[3], "ID Number": good[3]["ID Number"][:-1]},
        {**good[4], "ID Number": good[4]["ID Number"].replace("8", "B", 1)},
    ]


def test_five_cells_are_fixed_with_the_keyboard_alone_and_another_office_sees_masked_numbers(
    open_page: OpenPage, site: Site
) -> None:
    rows = five_wrong()
    job_id = site.uploaded(csv_file([*rows, *fresh(2)]), "five wrong.csv", GAUTENG)
    other = open_page(OPERATOR, f"#/uploads/{job_id}/fix")
    expect(other.get_by_text("ID numbers are masked")).to_be_visible()
    expect(other.locator(".grid-cell").first).to_contain_text("••••••")
    assert rows[0]["ID Number"] not in other.content()
    page = open_page(GAUTENG, f"#/uploads/{job_id}")
    tab_to(page, page.get_by_role("link", name="Fix here"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Fix rows")).to_be_focused()
    grid = page.get_by_role("grid")
    expect(grid.locator(".grid-row")).to_have_count(5)
    tab_to(page, grid)
    assert flaws(page, "fix") == []
    grid.focus()
    right = rows[0]["ID Number"][:-1] + str((int(rows[0]["ID Number"][-1]) - 1) % 10)
    # The active cell is the first one, and it is wrong: F2 edits it.
    page.keyboard.press("F2")
    typed(page, "Backspace", right[-1], "Enter")
    expect(ready(page).nth(0)).to_have_text("fixed")
    # From marked cell to marked cell.
    typed(page, "Alt+ArrowDown", *"Thandi", "Enter", "Alt+ArrowDown", *"Nkosi", "Enter")
    expect(ready(page).nth(1)).to_have_text("fixed")
    expect(ready(page).nth(2)).to_have_text("fixed")
    page.keyboard.press("Alt+ArrowDown")
    expect(page.locator(".fix-about")).to_contain_text("An ID number has 13 digits.")
    wrong = rows[3]["ID Number"]
    typed(page, "Enter", *"99", "Tab")
    expect(ready(page).nth(3)).to_have_text("still refused")
    typed(page, "Control+z")
    expect(ready(page).nth(3)).to_have_text("refused")
    digit = next(d for d in "0123456789" if fits(wrong + d))
    typed(page, "ArrowLeft", "F2", digit, "Escape", "F2", digit, "Enter")
    expect(ready(page).nth(3)).to_have_text("fixed")
    typed(page, "Home")
    typed(page, "Delete", *rows[4]["ID Number"].replace("B", "8"), "Enter")
    expect(ready(page).nth(4)).to_have_text("fixed")
    button = page.get_by_role("button", name="Send 5 fixed rows")
    page.keyboard.press("Escape")
    tab_to(page, button)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="five wrong-fixed.xlsx")).to_be_visible()
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Inserted": 5}
    expect(page.get_by_role("link", name="Fix here")).to_have_count(0)  # there is nothing to fix
    page.get_by_role("link", name="It fixes rows of an earlier upload.").click()
    expect(page.locator(".fixed")).to_have_text("5 of 5 refused rows fixed")


def fits(number: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(number)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def test_a_value_is_replaced_in_400_rows_at_once_and_remembered(
    open_page: OpenPage, site: Site
) -> None:
    rows = fresh(400, Province="Joburg side", Municipality="")
    job_id = site.uploaded(csv_file(rows), "joburg.csv", GAUTENG)
    page = open_page(GAUTENG, f"#/uploads/{job_id}/fix", size=NARROW, scheme="dark")
    facet = page.locator(".facets li").first
    expect(facet).to_contain_text("400 rows say “Joburg side” in Province")
    assert flaws(page, "fix-narrow-dark", sees_colours=False) == []
    facet.get_by_role("textbox").fill("Gauteng")
    facet.get_by_label("Remember it for my office").check()
    facet.get_by_role("button", name="Replace in 400 rows").click()
    expect(page.locator(".grid-cell.edited").first).to_have_text("Gauteng")
    expect(ready(page).first).to_have_text("fixed")
    # What is in sight later is checked then.
    page.locator(".grid").evaluate("grid => { grid.scrollTop = grid.scrollHeight }")
    expect(page.locator(".grid-row").last.locator("strong")).to_have_text("401")
    expect(ready(page).last).to_have_text("fixed")
    page.get_by_role("button", name="Send 400 fixed rows").click()
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Inserted": 400}
    page.get_by_role("button", name="Close").click()
    page.goto(f"{site.url}/#/columns")
    line = page.locator(".ledger tr", has_text="joburg side")
    expect(line).to_contain_text("Gauteng")
    assert flaws(page, "aliases-narrow-dark") == []
    line.get_by_role("button", name="Forget joburg side").click()
    expect(page.get_by_text("No words are remembered.")).to_be_visible()


def test_a_check_is_made_again_and_a_row_whose_own_edit_is_refused_stays(
    open_page: OpenPage, site: Site
) -> None:
    rows = fresh(3, Province="Midrand side", Municipality="")
    job_id = site.uploaded(csv_file(rows), "midrand.csv", GAUTENG)
    page = open_page(GAUTENG, f"#/uploads/{job_id}/fix")
    # The server can't make the first check.
    busy = '{"success": false, "message": "The checks are busy.", "type": "busy", "status": 503}'
    page.route("**/mend/*/check", lambda route: route.fulfill(status=503, body=busy), times=1)
    facet = page.locator(".facets li").first
    facet.get_by_role("textbox").fill("Gauteng")
    facet.get_by_role("button", name="Replace in 3 rows").click()
    expect(page.locator(".note")).to_contain_text("The checks are busy.")
    expect(ready(page).first).to_have_text("fixed")
    page.locator(".grid-cell").first.click()
    typed(page, "Delete")
    expect(ready(page).first).to_have_text("still refused")
    page.get_by_role("button", name="Send 2 fixed rows").click()
    expect(state(page)).to_have_text("Completed")
    page.goto(f"{site.url}/#/uploads/{job_id}/fix")
    # It has both edits still, as its own.
    expect(ready(page)).to_have_text(["still refused"])
    expect(page.locator(".grid-cell.edited").last).to_have_text("Gauteng")


def test_edits_outlive_a_reload_and_blocks_are_pasted_also_far_away_and_beyond_the_table(
    open_page: OpenPage, site: Site
) -> None:
    rows = [{**row, "Surname": ""} for row in fresh(130)]  # more than are loaded at first
    job_id = site.uploaded(csv_file(rows), "no surnames.csv", GAUTENG)
    page = open_page(GAUTENG, f"#/uploads/{job_id}/fix")
    grid = page.get_by_role("grid")
    grid.get_by_text(rows[0]["Firstname"], exact=True).click()
    typed(page, "Shift+ArrowDown", "Shift+ArrowDown", "Control+c", "ArrowUp", "ArrowUp")
    typed(page, "ArrowRight", "Control+v")
    expect(page.locator(".grid-cell.edited")).to_have_count(3)
    expect(page.locator(".grid-cell.edited").nth(2)).to_have_text(rows[2]["Firstname"])
    expect(page.get_by_role("button", name="Send 3 fixed rows")).to_be_enabled()
    page.reload()
    expect(page.get_by_role("button", name="Send 3 fixed rows")).to_be_enabled()
    expect(page.locator(".grid-cell.edited")).to_have_count(3)
    # Another one has sent one of the rows meanwhile.
    with site.api(OPERATOR) as api:
        body = {"rows": [{"row_number": 3, "cells": {"Surname": "Mokoena"}}]}
        assert api.post(f"/bulk-upload/mend/{job_id}", json=body).status_code == 202
    page.get_by_role("button", name="Send 3 fixed rows").click()
    expect(page.locator(".note")).to_contain_text("Row 3 was sent by")
    page.get_by_role("button", name="Send 2 fixed rows").click()
    # Their surnames are their first names now.
    expect(state(page)).to_have_text("Completed, 2 rows need attention")
    assert outcomes(page) == {"Inserted": 2}
    page.goto(f"{site.url}/#/uploads/{job_id}/fix")
    expect(page.get_by_text("Nothing is changed yet.")).to_be_visible()

    column = grid.locator("[role=columnheader]", has_text="Surname").get_attribute("data-head")
    grid.locator(f"[data-at='0 {column}']").click()
    typed(page, "Control+Shift+ArrowDown")
    page.evaluate("navigator.clipboard.writeText('Mokoena')")
    typed(page, "Control+v")
    expect(page.get_by_role("button", name="Send 127 fixed rows")).to_be_enabled()
    page.evaluate("navigator.clipboard.writeText('Nkosi\\nBotha\\nNaidoo')")
    grid.locator(f"[data-at='126 {column}']").click()
    typed(page, "Control+v")
    expect(page.locator(".note")).to_contain_text("2 cells were not changed")
    expect(grid.locator(f"[data-at='126 {column}']")).to_have_text("Nkosi")


def test_what_was_fixed_in_a_dry_run_is_offered_for_the_real_run(
    open_page: OpenPage, site: Site
) -> None:
    [row] = fresh(1)
    content = csv_file([{**row, "Surname": ""}, *fresh(1)])
    job_id = site.sent(content, "tried.csv", GAUTENG, dry_run="true")
    page = open_page(GAUTENG, f"#/uploads/{job_id}")
    page.get_by_role("link", name="Fix here").click()
    expect(page.get_by_text("sending the fixed rows is a dry run too")).to_be_visible()
    grid = page.get_by_role("grid")
    expect(ready(page).first).to_be_visible()
    grid.locator(".grid-cell").nth(2).click()
    typed(page, *"Nkosi", "Enter")
    page.get_by_role("button", name="Send 1 fixed row").click()
    expect(state(page)).to_have_text("Completed")
    # Another file of that name and size isn't its real run.
    another = csv_file([{**fresh(1)[0], "Surname": ""}, *fresh(1)])
    other = site.uploaded(another, "tried.csv", GAUTENG)
    page.goto(f"{site.url}/#/uploads/{other}/fix")
    expect(page.get_by_text("Nothing is changed yet.")).to_be_visible()
    page.goto(f"{site.url}/#/uploads/{job_id}")
    page.get_by_role("button", name="Run it for real").click()
    expect(page.get_by_text("This was a dry run")).to_have_count(0)
    # Nothing moves the button while the rows come: a click on its way to it would miss it.
    held: list[Route] = []
    is_holding = True

    def hold(route: Route) -> None:
        if is_holding:
            held.append(route)
        else:
            route.continue_()

    page.route("**/mend/*attention=*", hold)
    page.get_by_role("link", name="Fix here").click()
    send = page.get_by_role("button", name="Send 1 fixed row")
    expect(send).to_be_enabled()
    place = send.bounding_box()
    is_holding = False
    for route in held:
        route.continue_()
    expect(ready(page).first).to_be_visible()
    assert send.bounding_box() == place
    send.click()
    expect(page.get_by_role("heading", level=1, name="tried-fixed.xlsx")).to_be_visible()
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Inserted": 1}
    assert site.ask(
        "SELECT surname FROM members WHERE id_number = %(id)s", id=row["ID Number"]
    ) == ["Nkosi"]
