"""People are invited by a list; one of them opens the link, chooses a password and uploads."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import openpyxl
from playwright.sync_api import FilePayload, Page, expect

from rollbook import clock
from tests.files import HEADERS, csv_file
from tests.page.conftest import NARROW
from tests.page.site import GAUTENG, OPERATOR, Site
from tests.page.test_members import INDEXED
from tests.page.test_page import fresh, outcomes, send, state
from tests.page.test_views import choose as choose_password
from tests.page.test_views import flaws, go

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenPage = Callable[..., Page]

LIST = """E-mail,Name,Role,Province,Municipality
naledi@example.org,=HYPERLINK("x"),municipality_admin,GP,{municipality}
<b>bold</b>,"محمد ""Quote"" O'Neil 🦩",municipality_admin,GP,Emfulini
"""


def test_an_office_is_invited_by_a_list_signs_in_and_uploads(
    open_page: OpenPage, site: Site
) -> None:
    rows = fresh(2)
    page = open_page(OPERATOR, size=NARROW, scheme="dark")
    go(page, "who/accounts")
    page.get_by_text("Invite people by a list").click()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Download the template").click()
    assert saving.value.suggested_filename == "accounts-template.xlsx"
    content = LIST.format(municipality=rows[0]["Municipality"]).encode()
    page.get_by_label("List of people").set_input_files(
        FilePayload(name="offices.csv", mimeType="text/csv", buffer=content)
    )
    page.get_by_role("button", name="Check the list").click()
    expect(page.get_by_role("heading", name="What is in offices.csv")).to_be_focused()
    expect(page.get_by_text("2 rows: 1 right, 1 at fault.")).to_be_visible()
    wrong = page.locator(".invitations tbody tr", has_text="To correct")
    expect(wrong).to_contain_text("'<b>bold</b>' is not an e-mail address.")
    expect(wrong).to_contain_text("The nearest are Emfuleni")
    expect(wrong).to_contain_text("""محمد "Quote" O'Neil 🦩""")
    assert flaws(page, "invitations-checked-narrow-dark") == []
    page.get_by_role("button", name="Invite only 1 person of a right row").dblclick()
    expect(page.get_by_role("heading", name="1 person is invited")).to_be_focused()
    assert flaws(page, "invitations-done-narrow-dark") == []
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save the result with the links").click()
    stored = Path(saving.value.path()).read_text(encoding="utf-8-sig")
    invited, refused = csv.DictReader(io.StringIO(stored))
    assert invited["name"] == """'=HYPERLINK("x")"""
    assert (refused["state"], refused["link"]) == ("at_fault", "")
    page.get_by_role("button", name="Done").click()
    page.get_by_role("dialog").get_by_role("button", name="Close it").click()
    expect(page.locator(".ledger tbody tr", has_text="naledi@example.org")).to_contain_text(
        "Invited"
    )

    office = open_page(None, f"#{invited['link'].partition('#')[2]}")
    expect(office.get_by_text("Your account is naledi@example.org.")).to_be_visible()
    choose_password(office, "seven quiet pelicans")
    expect(office.get_by_role("link", name="Your account")).to_be_visible()
    send(office, csv_file(rows), "our members.csv")
    expect(state(office)).to_have_text("Completed")
    assert outcomes(office) == {"Inserted": 2}
    assert site.ask("SELECT province FROM uploads WHERE file_name = 'our members.csv'") == ["GP"]


def test_the_members_are_shown_as_charts_tables_and_a_workbook(
    open_page: OpenPage, site: Site
) -> None:
    today = f"{clock.now():%Y-%m-%d}"
    rows = fresh(3, **{"Cell Number": "0829990001", "Date Joined": today})
    content = csv_file(rows, headers=(*HEADERS, "Date Joined"))
    site.uploaded(content, "for the report.csv", GAUTENG)
    site.until(INDEXED, id=rows[-1]["ID Number"])
    page = open_page(GAUTENG)
    page.get_by_role("link", name="Members", exact=True).click()
    page.get_by_role("link", name="Report of the members").click()
    expect(page.get_by_role("heading", name="Report of the members")).to_be_focused()
    shown = page.locator(".tiles dd").inner_text().replace(",", "")
    assert int(shown) >= len(rows)
    charts = page.locator(".charts .card")
    expect(charts).to_have_count(6)
    place = charts.filter(has_text=rows[0]["Municipality"]).first
    expect(place).to_be_visible()
    assert flaws(page, "members-report-wide-light") == []
    # Each chart is a table too.
    months = charts.filter(has_text="Joined and renewed by month")
    months.locator("summary").click()
    expect(months.get_by_role("table")).to_be_visible()
    phone = page.get_by_role("link", name="+27829990001")
    expect(page.locator("section tr", has=phone)).to_contain_text("3")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Download as a workbook").click()
    book = openpyxl.load_workbook(io.BytesIO(Path(saving.value.path()).read_bytes()))
    assert any(
        cell.value == int(shown) for sheet in book for line in sheet.iter_rows() for cell in line
    )
    phone.click()
    expect(page.get_by_text("3 members.")).to_be_visible()
