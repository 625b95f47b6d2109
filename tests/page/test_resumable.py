"""Files over slow and broken lines: they go on where they stopped, and a reload loses none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

from tests.files import HEADERS, csv_file
from tests.page.conftest import BESIDE, sign_in
from tests.page.site import GAUTENG, Site
from tests.page.slow_line import SlowLine
from tests.page.test_check import send_chosen
from tests.page.test_page import choose, fresh, outcomes, state
from tests.page.test_views import flaws
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    OpenPage = Callable[..., Page]

#: What a browser says of a request whose line was cut, or whose token has ended.
CUT = ("net::ERR_", "401")
#: Remember what the page says of a transfer, since each sentence is there for a moment only.
NOTE_TEXTS = """() => {
  window.said = [];
  new MutationObserver(() => {
    const shown = document.querySelectorAll(".file-foot span");
    window.said.push(...[...shown].map((span) => span.textContent));
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
#: End the session at the server, as an operator or another tab may.
END_SESSION = """async () => {
  const { token } = JSON.parse(sessionStorage.getItem("rollbook.session"));
  const headers = { Authorization: `Bearer ${token}` };
  await fetch("api/v1/auth/logout", { method: "POST", headers });
}"""

#: How many files the browser keeps.
COUNT_KEPT = """() => new Promise((resolve) => {
  const opening = indexedDB.open("rollbook", 1);
  opening.onsuccess = () => {
    const all = opening.result.transaction("files").objectStore("files").count();
    all.onsuccess = () => {
      opening.result.close();
      resolve(all.result);
    };
  };
})"""


def large(rows: int) -> bytes:
    """A file of ten kilobytes a row."""
    members = [{**row, "Notes": "n" * 10_000} for row in fresh(rows)]
    return csv_file(members, headers=[*HEADERS, "Notes"])


def expected(complaints: list[str]) -> None:
    """Take out what the browser says of lines that were cut."""
    complaints[:] = [one for one in complaints if not any(sign in one for sign in CUT)]


def test_an_upload_that_is_cut_three_times_goes_on_where_it_was(
    open_page: OpenPage, site: Site, complaints: list[str], tmp_path: Path
) -> None:
    content = large(500)
    file = tmp_path / "slow line.csv"
    file.write_bytes(content)
    with SlowLine(site.settings.port, bytes_a_second=2_000_000) as line:
        page = open_page(None, BESIDE[1:], elsewhere="en-ZA")
        page.goto(f"http://127.0.0.1:{line.port}/")
        sign_in(page, GAUTENG)
        page.goto(f"http://127.0.0.1:{line.port}/#/upload")
        before = line.sent
        line.cut_next(*(len(content) * quarter // 4 for quarter in (1, 2, 3)))
        page.evaluate(NOTE_TEXTS)
        # By its path: five megabytes as a message to the browser would cost a second.
        page.locator("input[type=file]").set_input_files(file)
        expect(page.locator(".checked summary").first).to_contain_text("500 rows")
        said = page.evaluate("window.said")
        assert any("of 5 MB, about" in text for text in said)
        assert any("goes on where it stopped" in text for text in said)
        assert line.times_cut == 3
        # A cut may cost the part under way three times: as it was cut, as the browser itself sends
        # it again, and where the server is asked before it has recorded what came of it.
        assert line.sent - before < 1.3 * len(content)
        send_chosen(page, "Send 1 file", "slow line.csv")
        expect(state(page)).to_have_text("Completed")
        assert outcomes(page) == {"Inserted": 500}
    expected(complaints)


def test_a_reload_and_the_end_of_a_session_lose_no_chosen_file_and_nothing_unwanted_stays(
    open_page: OpenPage, site: Site, complaints: list[str]
) -> None:
    page = open_page(GAUTENG)
    page.goto(f"{site.url}/#/upload")
    choose(page, csv_file(fresh(2)), "kept.csv")
    expect(page.locator(".checked")).to_be_visible()
    assert flaws(page, "upload-kept", sees_colours=False) == []
    page.reload()
    expect(page.locator(".file")).to_contain_text("kept.csv")
    expect(page.locator(".checked summary").first).to_contain_text("2 rows")
    page.evaluate(END_SESSION)
    page.goto(f"{site.url}/#/uploads")
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    expect(page.get_by_role("navigation", name="Main")).to_have_count(0)
    sign_in(page, GAUTENG)
    page.goto(f"{site.url}/#/upload")
    expect(page.locator(".checked summary").first).to_contain_text("2 rows")
    send_chosen(page, "Send 1 file", "kept.csv")
    expect(state(page)).to_have_text("Completed")
    page.goto(f"{site.url}/#/upload")
    page.reload()
    expect(page.locator(".drop")).to_be_visible()
    expect(page.locator(".file")).to_have_count(0)

    def choose_unwanted() -> None:
        choose(page, csv_file(fresh(1)), "unwanted.csv")
        expect(page.locator(".checked")).to_be_visible()
        until(lambda: page.evaluate(COUNT_KEPT) == 1, "the file is kept")

    choose_unwanted()
    page.get_by_role("button", name="Remove unwanted.csv").click()
    expect(page.locator(".file")).to_have_count(0)
    until(lambda: page.evaluate(COUNT_KEPT) == 0, "the file is forgotten")
    choose_unwanted()
    page.get_by_role("link", name="Your account").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    until(lambda: page.evaluate(COUNT_KEPT) == 0, "the file is forgotten")
    expected(complaints)
