"""What operators see of acts, take back, and control beside the queue; and each user's own acts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, get_args

from playwright.sync_api import Locator, Page, expect

from rollbook.accounts import audit
from rollbook.masking import masked
from tests.files import csv_file, member
from tests.page.site import GAUTENG, OPERATOR, Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    OpenPage = Callable[..., Page]

#: As if an upload were so many days younger.
CHANGE_AGE = """
UPDATE uploads SET finished_at = finished_at + %(days)s::int * interval '1 day',
    created_at = created_at + %(days)s::int * interval '1 day'
WHERE id = %(id)s
"""
#: Below these are the members of the other modules.
_starts = itertools.count(400_000, 100)


def fresh(rows: int) -> list[dict[str, str]]:
    """So many members of Gauteng whom no other test has."""
    start = next(_starts)
    return [member(start + n) for n in range(rows)]


def surnames(site: Site, rows: list[dict[str, str]]) -> list[str]:
    """The surnames that these members have by now."""
    return site.ask(
        "SELECT surname FROM members WHERE id_number = ANY(%(ids)s) ORDER BY id_number",
        ids=[row["ID Number"] for row in rows],
    )


def go(page: Page, view: str) -> None:
    """Go to a view by its address."""
    page.goto(f"{page.url.partition('#')[0]}#/{view}")


def test_an_act_stands_in_the_audit_view_at_once_and_an_office_reads_its_own_only(
    open_page: OpenPage, site: Site
) -> None:
    # Or the end of another test's upload, or the worker's daily purge, would be the newest act.
    site.idle()
    site.until("SELECT 1 FROM audit_entries WHERE act = 'purge'")
    page = open_page(OPERATOR)
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("heading", name="Audit")).to_be_focused()
    first = page.locator(".ledger tbody tr").first
    expect(first).to_contain_text("Sign in")
    expect(first).to_contain_text(OPERATOR)
    expect(first).to_contain_text("127.0.0.1")
    job_id = site.uploaded(csv_file(fresh(2)), "of Gauteng.csv", GAUTENG)
    expect(first).to_contain_text("End an upload")
    expect(first).to_contain_text("A worker")
    page.get_by_label("Search by job id").fill(job_id[:20])
    expect(page.get_by_text("A job id has 36 characters")).to_be_visible()
    expect(page.locator(".ledger")).to_have_count(0)
    page.get_by_label("Search by job id").fill(job_id)
    lines = page.locator(".ledger tbody tr")
    expect(page.get_by_text("3 entries")).to_be_visible()
    expect(lines.last).to_contain_text("Send a file")
    expect(lines.last).to_contain_text(GAUTENG)
    acts = page.get_by_label("Act").locator("option")
    values = acts.evaluate_all("options => options.map((option) => option.value)")
    assert sorted(values) == sorted(["", *get_args(audit.Act)])
    page.get_by_label("Act").select_option("Begin an attempt")
    expect(page.get_by_text("1 entry")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Act")).to_have_value("start")
    expect(page.get_by_text("1 entry")).to_be_visible()
    lines.first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1, name="of Gauteng.csv")).to_be_visible()
    page.get_by_role("link", name="Audit trail").click()
    expect(page.get_by_text("3 entries")).to_be_visible()

    theirs = site.uploaded(csv_file(fresh(1)), "of the operator.csv", OPERATOR)
    office = open_page(GAUTENG, f"#/uploads/{job_id}")
    expect(office.get_by_role("heading", level=1, name="of Gauteng.csv")).to_be_visible()
    expect(office.get_by_role("heading", name="Undo")).to_have_count(0)
    expect(office.get_by_role("navigation", name="Main")).not_to_contain_text("Audit")
    office.get_by_role("link", name="Your account").click()
    office.get_by_role("link", name="What was done in your name").click()
    expect(office.get_by_role("heading", name="What was done in your name")).to_be_focused()
    expect(office.locator(".ledger tbody tr").first).to_contain_text("Sign in")
    office.get_by_label("Search by job id").fill(theirs)
    expect(office.get_by_text("0 entries")).to_be_visible()
    go(office, "audit")
    expect(office.get_by_text("Page not found")).to_be_visible()


def test_undoing_is_counted_first_then_asked_for_and_done(open_page: OpenPage, site: Site) -> None:
    rows = fresh(4)
    job_id = site.uploaded(csv_file(rows), "wrong.csv", GAUTENG)
    later = site.uploaded(csv_file([{**rows[0], "Surname": "Later"}]), "later.csv", GAUTENG)
    page = open_page(OPERATOR, f"#/uploads/{job_id}")
    undo = page.get_by_role("region", name="Undo")
    undo.get_by_role("button", name="Preview the undo").click()
    expect(undo.locator(".tile", has_text="Removed")).to_contain_text("3")
    expect(undo).to_contain_text("1 member would be kept as it is.")
    kept = undo.locator("tbody tr")
    expect(kept).to_contain_text(masked(rows[0]["ID Number"]))
    expect(kept).to_contain_text("Changed or confirmed by a later upload")
    expect(kept.get_by_role("link")).to_have_attribute("href", f"#/uploads/{later}")
    with page.expect_download() as download:
        undo.get_by_role("button", name="Download the kept members").click()
    assert download.value.suggested_filename == f"kept-{job_id}.csv"
    assert rows[0]["ID Number"] in download.value.path().read_text(encoding="utf-8")
    undo.get_by_role("button", name="Undo for real").click()
    page.get_by_role("dialog").get_by_role("button", name="Back").click()
    assert len(surnames(site, rows)) == 4
    undo.get_by_role("button", name="Undo for real").click()
    expect(page.get_by_role("dialog")).to_contain_text("To be removed: 3.")
    page.get_by_role("dialog").get_by_role("button", name="Undo for real").click()
    expect(undo).to_contain_text("The upload is undone: 3 members removed")
    expect(undo.get_by_role("heading", name="Undo")).to_be_focused()
    expect(undo).to_contain_text("1 member was kept as it is.")
    expect(page.locator(".title")).to_contain_text("Undone")
    expect(page.get_by_text(f"by {OPERATOR}. The outcomes say")).to_be_visible()
    expect(undo.get_by_role("button", name="Undo for real")).to_have_count(0)
    assert surnames(site, rows) == ["Later"]
    page.get_by_role("link", name="Uploads", exact=True).click()
    expect(page.locator(".upload", has_text="wrong.csv").first).to_contain_text("Undone")


def test_what_cant_be_undone_is_said_in_the_sentence_of_the_api(
    open_page: OpenPage, site: Site
) -> None:
    job_id = site.uploaded(csv_file(fresh(1)), "too late.csv", GAUTENG)
    site.execute(CHANGE_AGE, id=job_id, days="-40")
    page = open_page(OPERATOR, f"#/uploads/{job_id}")
    undo = page.get_by_role("region", name="Undo")
    preview = undo.get_by_role("button", name="Preview the undo")
    preview.click()
    expect(undo.get_by_role("alert")).to_contain_text("can be undone within 30 days")
    expect(undo.get_by_role("button", name="Undo for real")).to_have_count(0)

    site.execute(CHANGE_AGE, id=job_id, days="40")
    preview.click()
    expect(undo.get_by_role("button", name="Undo for real")).to_be_visible()
    with site.api() as api:
        assert api.post(f"/bulk-upload/undo/{job_id}", json={"dry_run": False}).is_success
    undo.get_by_role("button", name="Undo for real").click()
    page.get_by_role("dialog").get_by_role("button", name="Undo for real").click()
    expect(undo.get_by_role("alert")).to_contain_text("This upload was undone at")
    expect(undo).to_contain_text("This upload is undone.")
    expect(page.locator(".title")).to_contain_text("Undone")


def test_the_watched_folder_is_stopped_and_started_from_the_queue_view(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page(OPERATOR)
    site.start("watch")
    try:
        page.get_by_role("link", name="Queue").click()
        folder = page.get_by_role("region", name="Watched folder")
        expect(folder).to_contain_text("The folder is being watched.")
        expect(folder).to_contain_text(str(site.watched))
        answer(page, folder.get_by_role("button", name="Stop"), "Stop")
        expect(folder).to_contain_text("No file is taken.")
        expect(folder).to_contain_text(f"Stopped by {OPERATOR}")
        put(site.watched / "from the share.csv", csv_file(fresh(2)))
        expect(folder).to_contain_text("0 files were waiting")
        answer(page, folder.get_by_role("button", name="Start"), "Start")
        expect(folder).to_contain_text("1 taken")
        expect(page.locator(".upload", has_text="from the share.csv")).to_be_visible()
    finally:
        site.stop("watch")


def put(path: Path, content: bytes) -> None:
    """Put a file there at once, as a program that renames it at the end."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.rename(path)


def answer(page: Page, button: Locator, name: str) -> None:
    """Press a button, and say yes to what it asks."""
    button.click()
    page.get_by_role("dialog").get_by_role("button", name=name).click()
