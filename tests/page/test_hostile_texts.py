"""Markup in a file's name, headers and cells is text to the page (ASVS 1.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

from tests.files import HEADERS, csv_file
from tests.page.site import OPERATOR, Site
from tests.page.test_page import fresh, send

if TYPE_CHECKING:
    from collections.abc import Callable

MARKUP = '<img src=x onerror="window.hacked = 1"><b>bold & more'
SCRIPT = "<script>window.hacked = 1<\N{DIVISION SLASH}script>"
NAME = f"{SCRIPT}{MARKUP}.csv"


def test_the_page_shows_markup_as_text(open_page: Callable[..., Page], site: Site) -> None:
    page = open_page(OPERATOR)
    rows = fresh(2, **{"ID Number": "<b>1</b>", MARKUP: MARKUP})
    send(page, csv_file(rows, headers=[*HEADERS, MARKUP]), NAME)
    table = page.get_by_role("region", name="Rows that need attention", exact=True)
    expect(table.get_by_text("<b>1</b>", exact=True).first).to_be_visible()
    # No column of ID numbers: the sentence quotes the headers.
    content = f'"{MARKUP.replace(chr(34), chr(39))}",x\n1,2\n'.encode()
    page.goto(f"{site.url}/#/uploads/{site.sent(content, f'2{NAME}')}")
    expect(page.get_by_text("<img src=x", exact=False).first).to_be_visible()
    for view in ("#/uploads", "#/queue", "#/audit"):
        page.goto(f"{site.url}/{view}")
        expect(page.locator("main").get_by_role("heading", level=1)).to_be_visible()
    page.goto(f"{site.url}/#/uploads")
    expect(page.get_by_text(NAME, exact=True).first).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0
