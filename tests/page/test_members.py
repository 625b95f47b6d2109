"""A member is found, corrected, exported, and erased, on an accessible page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

from tests.files import csv_file, member
from tests.page.conftest import NARROW
from tests.page.site import ETHEKWINI, OPERATOR, Site
from tests.page.test_views import flaws, go

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    OpenPage = Callable[..., Page]

#: No other module's members.
START = 700_000
SEARCH = "Name, phone number, e-mail address or ID number"

#: A member is found by a search.
INDEXED = "SELECT 1 FROM member_index WHERE id_number = %(id)s"
#: And duplicates of the member, as of all others, have been looked for.
LOOKED_AT = f"{INDEXED} AND NOT EXISTS (SELECT FROM duplicates_due)"


def planted(site: Site) -> None:
    """Two members, who are indexed."""
    rows = [member(START, Firstname="Zoë", Surname="Müller-Page"), member(START + 1)]
    site.sent(csv_file(rows), "planted.csv")
    site.until(INDEXED, id=rows[0]["ID Number"])


def give_status(page: Page, site: Site, left: Path) -> None:
    """Give the members of a file another status, in a dry run."""
    page.get_by_text("Remove members, or change their status").click()
    page.get_by_label("File with their ID numbers").set_input_files(left)
    page.get_by_label("Give them another status").check()
    page.get_by_label("New status").fill("   ")
    page.get_by_label("Reason for the removal").fill("moved away")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert")).to_have_text("Give the status that the members get.")
    page.get_by_label("New status").fill("Lapsed")
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/#/uploads/*")
    expect(page.get_by_text("A list of members who get the status Lapsed")).to_be_visible()
    with site.api() as api:
        upload = api.get(f"/bulk-upload/status/{page.url.rpartition('/')[2]}").json()["data"]
    found = [upload[name] for name in ("file_name", "kind", "new_status", "dry_run")]
    assert found == ["left.csv", "removal", "Lapsed", True]


def test_a_member_is_found_corrected_exported_and_erased_and_others_of_a_file_get_a_status(
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
    left = tmp_path / "left.csv"
    left.write_text(f"ID Number\n{member(START + 1)['ID Number']}\n")
    give_status(page, site, left)


def test_a_join_is_found_again_and_taken_back(open_page: OpenPage, site: Site) -> None:
    one, other = (
        member(n, Firstname="Nosipho", Surname="Takeback") for n in (START + 100, START + 101)
    )
    phone = {"Cell Number": "0829998877"}
    site.sent(csv_file([{**one, **phone}, {**other, **phone}]), "twice.csv")
    site.until(LOOKED_AT, id=one["ID Number"])
    with site.api() as api:
        items = api.get("/members/duplicates").json()["data"]["items"]
        [found] = (pair for pair in items if pair["members"][0]["surname"] == "Takeback")
        body = {"keep": found["members"][0]["member_id"], "reason": "same person"}
        api.post(f"/members/duplicates/{found['pair_id']}/join", json=body)
    page = open_page(OPERATOR)
    go(page, "duplicates")
    page.get_by_label("Which pairs").select_option("Joined")
    card = page.locator("section.card").filter(has_text="Takeback")
    expect(card.get_by_text("Joined to the other")).to_be_visible()
    assert flaws(page, "duplicates-joined-wide-light") == []
    card.get_by_label("Reason, for the history").fill("two people after all")
    card.get_by_role("button", name="Take back").click()
    expect(card).to_have_count(0)
    page.get_by_label("Which pairs").select_option("Not decided yet")
    expect(card).to_be_visible()


def test_an_office_sees_its_own_members_in_the_dark_on_a_phone(
    open_page: OpenPage, site: Site
) -> None:
    rows = [member(START + 9, Province="KwaZulu-Natal", Municipality="eThekwini", Ward="59500001")]
    site.sent(csv_file(rows), "durban.csv")
    site.until(INDEXED, id=rows[0]["ID Number"])
    page = open_page(ETHEKWINI, scheme="dark", size=NARROW)
    go(page, "members")
    name = f"Last{START + 9}, First{START + 9}"
    expect(page.get_by_role("link", name=name)).to_be_visible()
    expect(page.get_by_role("link", name=f"Last{START + 1},")).to_have_count(0)
    assert flaws(page, "members-narrow-dark", sees_colours=False) == []
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.get_by_role("button", name="Erase this person")).to_have_count(0)
    assert flaws(page, "member-narrow-dark", sees_colours=False) == []


def test_pages_of_members_go_on_where_the_last_one_ended(open_page: OpenPage, site: Site) -> None:
    """A page by its number would show the last one again when somebody comes before it."""
    names = [f"Paged{n:02}" for n in range(55)]
    rows = [member(START + 20 + n, Surname=name) for n, name in enumerate(names)]
    site.sent(csv_file(rows), "paged.csv")
    site.until(INDEXED, id=rows[-1]["ID Number"])
    page = open_page(OPERATOR)
    go(page, "members")
    page.get_by_label(SEARCH).fill("paged")
    expect(page.get_by_text("55 members.")).to_be_visible()
    pages = page.get_by_role("navigation", name="Pages of members")

    def shown(number: int) -> list[str]:
        expect(pages).to_contain_text(f"Page {number} of 3")
        expect(page.locator(".ledger:not(.stale)")).to_be_visible()
        lines = page.get_by_role("row").get_by_role("link")
        expect(lines).to_have_count(5 if number == 3 else 25)
        return [text.partition(",")[0] for text in lines.all_inner_texts()]

    seen = shown(1)
    pages.get_by_role("button", name="Next").click()
    expect(page.get_by_role("link", name="Paged00,")).to_have_count(0)
    seen += shown(2)
    first = member(START + 19, Surname="Paged")
    site.sent(csv_file([first]), "before.csv")
    site.until(INDEXED, id=first["ID Number"])
    pages.get_by_role("button", name="Next").click()
    expect(page.get_by_role("link", name="Paged49,")).to_have_count(0)
    assert seen + shown(3) == names
