"""A member is found, corrected, exported, and erased, on an accessible page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

from tests.files import csv_file, member
from tests.page.conftest import NARROW
from tests.page.site import ETHEKWINI, OPERATOR, Site
from tests.page.test_views import flaws, go
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    OpenPage = Callable[..., Page]

#: No other module's members.
START = 700_000
SEARCH = "Name, phone number, e-mail address or ID number"


def planted(site: Site) -> None:
    """Two members, who are indexed."""
    rows = [member(START, Firstname="Zoë", Surname="Müller-Page"), member(START + 1)]
    with site.api() as api:
        api.post("/bulk-upload/process", files={"file": ("planted.csv", csv_file(rows))})

        def is_there() -> bool:
            found = api.post("/members/search", json={"search": "zoe muller"}).json()["data"]
            return bool(found["total"])

        until(is_there, "the members are indexed")


def test_a_member_is_found_corrected_exported_and_erased(
    open_page: OpenPage, site: Site, tmp_path: Path
) -> None:
    planted(site)
    page = open_page(OPERATOR)
    page.get_by_role("link", name="Members").click()
    expect(page.get_by_role("heading", name="Members")).to_be_focused()
    page.get_by_label(SEARCH).fill(member(START)["ID Number"])
    expect(page.get_by_text("1 member.")).to_be_visible()
    assert member(START)["ID Number"] not in page.url
    page.get_by_label(SEARCH).fill("page zoe")
    found = page.get_by_role("link", name="Müller-Page, Zoë")
    page.wait_for_url("**search=page*")
    expect(page.locator(".ledger:not(.stale)")).to_be_visible()
    expect(found).to_be_visible()
    assert flaws(page, "members-wide-light") == []
    with page.expect_download() as saving:
        page.get_by_role("button", name="Export to CSV").click()
    saving.value.save_as(tmp_path / "export.csv")
    assert member(START)["ID Number"] in (tmp_path / "export.csv").read_text("utf-8-sig")

    found.press("Enter")
    expect(page.get_by_role("heading", name="Müller-Page, Zoë")).to_be_visible()
    expect(page.get_by_text("row 2 of an upload").first).to_be_visible()
    page.get_by_role("button", name="Show the whole number").click()
    expect(page.get_by_text(member(START)["ID Number"])).to_be_visible()
    page.get_by_label("New value").fill("no number")
    page.get_by_label("Reason, for the history").fill("by phone")
    page.get_by_role("button", name="Correct", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("phone number")
    page.get_by_label("New value").fill("083 555 0101")
    page.get_by_role("button", name="Correct", exact=True).click()
    expect(page.get_by_text("+27835550101").first).to_be_visible()
    expect(page.get_by_text("by phone").first).to_be_visible()
    page.get_by_role("button", name="Close").click()
    assert flaws(page, "member-wide-light") == []

    page.get_by_label("Reason for erasing").fill("asked for it in writing")
    page.get_by_role("button", name="Erase this person").click()
    page.get_by_role("dialog").get_by_role("button", name="Erase this person").click()
    expect(page.get_by_role("heading", name="Members")).to_be_visible()
    page.get_by_label(SEARCH).fill("page zoe")
    expect(page.get_by_text("0 members.")).to_be_visible()


def test_an_office_sees_its_own_members_in_the_dark_on_a_phone(
    open_page: OpenPage, site: Site
) -> None:
    rows = [member(START + 9, Province="KwaZulu-Natal", Municipality="eThekwini", Ward="59500001")]
    with site.api() as api:
        api.post("/bulk-upload/process", files={"file": ("durban.csv", csv_file(rows))})
    page = open_page(ETHEKWINI, scheme="dark", size=NARROW)
    go(page, "members")
    name = f"Last{START + 9}, First{START + 9}"
    expect(page.get_by_role("link", name=name)).to_be_visible()
    expect(page.get_by_role("link", name=f"Last{START + 1},")).to_have_count(0)
    assert flaws(page, "members-narrow-dark") == []
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.get_by_role("button", name="Erase this person")).to_have_count(0)
    assert flaws(page, "member-narrow-dark") == []
