"""The page as an office and an operator use it, in a real browser before a running installation."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from playwright.sync_api import Error, FilePayload, Page, Route, WebSocketRoute, expect
from redis import Redis

from rollbook.model import Role, Scope
from rollbook.pipeline.problems import sentence
from tests.files import HEADERS, csv_file, member, workbook
from tests.page.conftest import sign_in
from tests.page.site import ETHEKWINI, GAUTENG, LIMPOPO, OPERATOR, Site
from tests.waiting import join, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    OpenPage = Callable[..., Page]

#: As if that office had sent as many other files.
TWENTY_ONE_MORE = """
INSERT INTO uploads OVERRIDING SYSTEM VALUE
SELECT other.*
FROM (SELECT * FROM uploads WHERE file_name = 'office 00.csv') AS first
CROSS JOIN generate_series(1, 21) AS number
CROSS JOIN LATERAL jsonb_populate_record(NULL::uploads, to_jsonb(first) || jsonb_build_object(
    'id', gen_random_uuid(),
    'ordinal', nextval(pg_get_serial_sequence('uploads', 'ordinal')),
    'file_name', format('office %s.csv', lpad(number::text, 2, '0'))
)) AS other
"""
#: Note in ``said`` what the page says to a screen reader.
NOTE_WHAT_IS_SAID = """() => {
  window.said = [];
  const place = document.getElementById("said");
  new MutationObserver(() => said.push(place.textContent)).observe(
    place, { childList: true, characterData: true, subtree: true },
  );
}"""
_starts = itertools.count(1, 500)


def fresh(rows: int, **changes: str) -> list[dict[str, str]]:
    """So many members whom no other test has."""
    start = next(_starts)
    return [member(start + n, **changes) for n in range(rows)]


def choose(page: Page, content: bytes, name: str = "members.csv") -> None:
    """Go to the upload view and choose a file there."""
    page.get_by_role("link", name="Upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(
        FilePayload(name=name, mimeType="application/octet-stream", buffer=content)
    )


def send(page: Page, content: bytes, name: str = "members.csv") -> None:
    """Send a file, and follow it to its own view."""
    choose(page, content, name)
    page.get_by_role("button", name=re.compile(r"^(Send|Try) 1 file")).click()
    page.locator(".file", has_text=name).last.get_by_role("link", name="Follow progress").click()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


def outcomes(page: Page) -> dict[str, int]:
    """The outcomes and their numbers, as the upload's view shows them."""
    found = {}
    for line in page.locator(".outcomes > div").all():
        name = line.locator("dt").inner_text()
        number = re.match(r"[\d,]+", line.locator("dd").inner_text())
        assert number is not None
        found[name] = int(number[0].replace(",", ""))
    return {name: number for name, number in found.items() if number}


def state(page: Page) -> Any:
    """The upload's state, beside its name."""
    return page.locator(".title .badge").first


def test_a_person_signs_in_stays_so_over_a_reload_and_signs_out_and_no_address_has_the_token(
    open_page: OpenPage,
) -> None:
    page = open_page(None)
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.on("websocket", lambda socket: addresses.append(socket.url))
    page.get_by_label("E-mail address").fill(GAUTENG)
    page.get_by_label("Password", exact=True).fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("password")
    sign_in(page, GAUTENG)
    page.reload()
    expect(page.get_by_role("heading", name="Uploads")).to_be_visible()
    send(page, csv_file(fresh(2)))
    expect(state(page)).to_have_text("Completed")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the report").click()
    assert download.value.suggested_filename == "members-report.xlsx"
    assert Path(download.value.path()).stat().st_size > 1000
    token = page.evaluate("JSON.parse(sessionStorage.getItem('rollbook.session')).token")
    assert len(token) > 20
    page.get_by_role("link", name="Your account").click()
    expect(page.locator(".facts")).to_contain_text("Province administrator")
    expect(page.locator(".facts")).to_contain_text("GP")
    expect(page.get_by_role("navigation", name="Main")).not_to_contain_text("Queue")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert len(addresses) > 10
    assert [address for address in addresses if token in address] == []


def test_an_upload_is_watched_to_its_end_without_a_reload_and_milestones_are_said_aloud(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page(GAUTENG)
    page.evaluate(NOTE_WHAT_IS_SAID)
    rows = [*fresh(5), *fresh(1, **{"ID Number": "123"})]
    rows.append(rows[0])
    with site.held():
        send(page, workbook(rows), "November.xlsx")
        expect(state(page)).to_have_text("Processing")
        moved = re.compile("[1-9]")
        expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", moved)
        expect(page.locator(".timeline [aria-current=step]")).to_have_count(1)
        stage = "said.some((text) => /November.xlsx: [A-Z].*ing/.test(text))"
        until(lambda: page.evaluate(stage), "a stage is said")
    expect(state(page)).to_have_text("Completed, 2 rows need attention")
    expect(page.locator(".big")).to_have_text("7 rows")
    [finished] = site.ask(
        "SELECT to_char(finished_at AT TIME ZONE 'Africa/Johannesburg', 'HH24:MI')"
        " FROM uploads WHERE file_name = 'November.xlsx'"
    )
    expect(page.locator(".timeline")).to_contain_text(f"{finished} SAST")
    assert outcomes(page) == {"Inserted": 5, "Invalid": 1, "Duplicate": 1}
    expect(page.locator(".timeline")).to_contain_text(
        re.compile(r"Merging.*\d m?s.*Reporting.*\d m?s")
    )
    expect(page.locator("#said")).to_have_text("November.xlsx is completed: 7 rows, 2 refused.")
    page.get_by_role("link", name="Uploads", exact=True).click()
    line = page.locator(".upload", has_text="November.xlsx")
    expect(line).to_contain_text("2 refused")
    # What was noted is still there: it is the same document.
    said = page.evaluate("said")
    assert "1 file chosen." in said
    assert "November.xlsx was accepted." in said
    assert not any("%" in text for text in said)
    assert len(said) == len(set(said)) < 16


def test_refused_rows_are_seen_filtered_corrected_and_sent_again(
    open_page: OpenPage, site: Site
) -> None:
    good = fresh(30)
    rows = [
        *good[:2],
        *[{**row, "ID Number": "12345"} for row in good[2:29]],
        {**good[29], "Surname": ""},
    ]
    job_id = site.uploaded(workbook(rows), "refused.xlsx", GAUTENG)
    page = open_page(GAUTENG, f"#/uploads/{job_id}")
    expect(state(page)).to_have_text("Completed, 28 rows need attention")
    table = page.get_by_role("region", name="Rows that need attention", exact=True).locator(
        "tbody tr"
    )
    expect(table).to_have_count(25)
    expect(table.first).to_contain_text("ID Number")
    expect(table.first).to_contain_text("12345")
    expect(table.first).to_contain_text(sentence("id_length"))
    page.get_by_role("button", name="Next").click()
    expect(table).to_have_count(3)
    page.get_by_label("Show").select_option(label=f"{sentence('surname_missing')} (1)")
    expect(table).to_have_count(1)
    expect(table).to_contain_text("31")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the refused rows").click()
    mended = mend(Path(download.value.path()).read_bytes(), good[2:])
    send(page, mended, download.value.suggested_filename)
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Inserted": 28}


def test_doubtful_rows_what_was_not_read_and_what_would_change_are_on_the_page(
    open_page: OpenPage, site: Site
) -> None:
    rows = fresh(5)
    site.uploaded(csv_file(rows[3:]), "first.csv", GAUTENG)
    rows[0]["Cell Number"] = "12345"
    rows[1]["Surname"] = ""
    rows[2].update({"Province": "Limpopo", "Municipality": "", "Ward": ""})
    rows[3:] = [{**row, "Ward": "79800002", "Shoe size": "41"} for row in rows[3:]]
    content = csv_file(rows, headers=[*HEADERS, "Shoe size"])
    page = open_page(GAUTENG, f"#/uploads/{site.uploaded(content, 'second.csv', GAUTENG)}")
    expect(state(page)).to_have_text("Completed, 3 rows need attention")
    table = page.get_by_role("region", name="Rows that need attention", exact=True).locator(
        "tbody tr"
    )
    expect(table).to_have_count(3)
    shown = page.get_by_label("Show")
    shown.select_option(label="Doubtful rows")
    expect(table).to_have_count(1)
    expect(table).to_contain_text("12345")
    expect(table).to_contain_text("left out")
    shown.select_option(label="Rows with a cell left out")
    expect(table).to_have_count(1)
    shown.select_option(label="Refused rows")
    expect(table).to_have_count(2)
    # The cell that says that a row is another office's.
    expect(table.last).to_contain_text("Province")
    expect(table.last).to_contain_text("Limpopo")
    reading = page.locator("section", has=page.get_by_role("heading", name="How the file was read"))
    expect(reading).to_contain_text("were not read: Shoe size")
    changes = page.get_by_role("region", name="What changed", exact=True).locator("tbody tr")
    expect(changes).to_have_count(2)
    expect(changes.first).to_contain_text("Ward")
    expect(changes.first).to_contain_text("79800001")
    expect(changes.first).to_contain_text("79800002")


def mend(content: bytes, right: list[dict[str, str]]) -> bytes:
    """Write the right ID numbers and surnames into the workbook of refused rows."""
    book = openpyxl.load_workbook(io.BytesIO(content))
    sheet = book.active
    assert sheet is not None
    headers = [cell.value for cell in sheet[1]]
    by_name = {row["Firstname"]: row for row in right}
    for cells in sheet.iter_rows(min_row=2):
        row = dict(zip(headers, cells, strict=True))
        known = by_name[str(row["Firstname"].value)]
        row["ID Number"].value = known["ID Number"]
        row["Surname"].value = known["Surname"]
    target = io.BytesIO()
    book.save(target)
    book.close()
    return target.getvalue()


def test_a_dry_run_changes_nothing_until_it_is_run_for_real_and_a_file_sent_before_is_said(
    open_page: OpenPage, site: Site
) -> None:
    content = csv_file(fresh(3))
    page = open_page(GAUTENG)
    page.get_by_role("link", name="Upload", exact=True).click()
    page.get_by_role("switch", name="Dry run").check()
    send(page, content, "first a try.csv")
    expect(page.get_by_text("This was a dry run")).to_be_visible()
    assert outcomes(page) == {"Inserted": 3}
    tried = page.url
    page.get_by_role("button", name="Run it for real").click()
    page.wait_for_url(lambda url: url != tried)
    # First: the address is another one before the view is, and the dry run is completed, too.
    expect(page.get_by_text("This was a dry run")).to_have_count(0)
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Inserted": 3}
    earlier = page.url.partition("#")[2]
    with site.api(GAUTENG) as api:
        newest = api.get("/bulk-upload/history").json()["data"]["items"][:2]
    assert [upload["dry_run"] for upload in newest] == [False, True]

    choose(page, content, "first a try.csv")
    page.get_by_role("switch", name="Dry run").uncheck()
    expect(page.get_by_text("This file was sent before")).to_be_visible()
    expect(page.get_by_role("link", name="See the earlier upload")).to_have_attribute(
        "href", f"#{earlier}"
    )
    page.get_by_role("button", name="Send anyway").click()
    page.locator(".file").last.get_by_role("link", name="Follow progress").click()
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Unchanged": 3}


def test_a_running_upload_is_cancelled_and_a_failed_one_is_retried(
    open_page: OpenPage, site: Site
) -> None:
    with site.held():
        job_id = site.sent(csv_file(fresh(3)), "cancelled.csv", GAUTENG)
        page = open_page(OPERATOR, f"#/uploads/{job_id}")
        expect(state(page)).to_have_text("Processing")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Back").click()
        expect(state(page)).to_have_text("Processing")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel the upload").click()
        expect(state(page)).to_have_text("Cancelled")
    expect(page.get_by_text("No member was changed by it.").first).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)

    with site.broken():
        page.goto(f"{site.url}/#/uploads/{site.sent(csv_file(fresh(3)), 'failed.csv')}")
        expect(page.get_by_role("heading", level=1, name="failed.csv")).to_be_visible()
        expect(state(page)).to_have_text("Failed")
        expect(page.locator(".notice.bad")).to_contain_text("This upload failed")
    page.get_by_role("button", name="Retry").click()
    expect(state(page)).to_have_text("Completed")
    assert outcomes(page) == {"Inserted": 3}


def test_the_queue_is_paused_resumed_and_cleaned_and_slots_show_what_they_hold(
    open_page: OpenPage, site: Site
) -> None:
    site.idle()  # or another test's upload would have a place in the queue, or a slot
    page = open_page(OPERATOR)
    page.get_by_role("link", name="Queue").click()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_text("The queue is paused.", exact=True)).to_be_visible()
    for position, name in enumerate(("waits.csv", "mistake.csv"), start=1):
        page.goto(f"{site.url}/#/uploads/{site.sent(csv_file(fresh(2)), name)}")
        expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
        expect(page.locator(".now")).to_contain_text(f"Position {position} in the queue")
    page.get_by_role("link", name="Queue").click()
    page.get_by_role("button", name="Cancel mistake.csv").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the upload").click()
    mistake = page.locator(".upload", has_text="mistake.csv")
    expect(mistake.locator(".badge")).to_have_text("Cancelled")
    with site.held():
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("dialog").get_by_role("button", name="Resume").click()
        expect(page.locator(".levers").first).to_contain_text("The queue is running.")
        expect(page.locator(".slot.busy")).to_contain_text("waits.csv")
        expect(page.locator(".slot")).to_have_count(2)
    line = page.locator(".upload", has_text="waits.csv")
    expect(line.locator(".badge")).to_have_text("Completed")
    expect(page.locator(".slot.busy")).to_have_count(0)
    # The queue forgets what has ended, and the history keeps it.
    completed = page.locator(".tile", has_text="Completed").locator("dd")
    expect(completed).to_have_text(re.compile("^[1-9]"))
    page.get_by_role("button", name="Clean").click()
    page.get_by_role("dialog").get_by_label("Hours since their end").fill("0")
    page.get_by_role("dialog").get_by_role("button", name="Clean").click()
    expect(completed).to_have_text("0")
    page.get_by_role("link", name="Uploads", exact=True).click()
    expect(page.get_by_role("link", name="waits.csv")).to_be_visible()


def test_another_province_sees_none_of_it(open_page: OpenPage, site: Site) -> None:
    told: list[str] = []

    def listen(page: Page) -> None:
        page.on("websocket", lambda ws: ws.on("framereceived", lambda text: told.append(str(text))))

    theirs = open_page(LIMPOPO, before=listen)
    expect(theirs.locator(".live")).to_have_text("Live")
    with site.held():
        job_id = site.sent(csv_file(fresh(2)), "only in Gauteng.csv", GAUTENG)
        site.wait_for("processing", job_id)
    site.wait_for("completed", job_id)
    # What comes later has all that came before it.
    own = site.sent(csv_file([member(91_000, Province="Limpopo")]), "of Limpopo.csv", LIMPOPO)
    expect(theirs.locator(".upload", has_text="of Limpopo.csv")).to_contain_text("Completed")
    assert [text for text in told if own in text]
    assert [text for text in told if job_id in text or "only in Gauteng" in text] == []
    theirs.get_by_label("Search by file").fill("Gauteng")
    expect(theirs.get_by_text("0 uploads found")).to_be_visible()
    assert "Gauteng.csv" not in theirs.content()
    theirs.goto(f"{site.url}/#/uploads/{job_id}")
    expect(theirs.get_by_role("alert")).to_contain_text("no such upload")
    theirs.goto(f"{site.url}/#/queue")
    expect(theirs.get_by_text("have access to it")).to_be_visible()


def test_the_page_comes_back_by_itself_after_the_api_was_restarted_mid_job(
    open_page: OpenPage, site: Site
) -> None:
    with site.held():
        job_id = site.sent(csv_file(fresh(3)), "restart.csv", GAUTENG)
        page = open_page(GAUTENG, f"#/uploads/{job_id}")
        page.evaluate("window.isTheSame = true")
        expect(state(page)).to_have_text("Processing")
        expect(page.locator(".live")).to_have_text("Live")
        site.stop("serve")
        expect(page.get_by_text("Not live.", exact=True)).to_be_visible()
        expect(state(page)).to_have_text("Processing")
        site.start("serve")
        site.ready()
    expect(state(page)).to_have_text("Completed")
    expect(page.locator(".live")).to_have_text("Live")
    expect(page.get_by_text("Not live.", exact=True)).to_have_count(0)
    assert outcomes(page) == {"Inserted": 3}
    assert page.evaluate("window.isTheSame")


def test_a_refresh_and_a_laptop_that_slept_lead_back_to_the_true_state(
    open_page: OpenPage, site: Site
) -> None:
    asleep = False

    def carry(ours: WebSocketRoute) -> None:
        server = ours.connect_to_server()
        server.on_message(lambda message: None if asleep else ours.send(message))

    def prepare(page: Page) -> None:
        page.clock.install()
        page.route_web_socket(re.compile("/ws$|/ws[?]"), carry)
        page.route("**/status/*", lambda route: route.abort() if asleep else route.continue_())

    with site.held():
        job_id = site.sent(csv_file(fresh(3)), "slept.csv", GAUTENG)
        page = open_page(GAUTENG, f"#/uploads/{job_id}", elsewhere="en-ZA", before=prepare)
        expect(state(page)).to_have_text("Processing")
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.locator(".live")).to_have_text("Live")
        page.evaluate("window.isTheSame = true")
        asleep = True
    site.wait_for("completed", job_id)
    expect(state(page)).to_have_text("Processing")
    asleep = False
    page.clock.fast_forward("05:00")
    expect(state(page)).to_have_text("Completed")
    expect(page.locator(".live")).to_have_text("Live")
    assert page.evaluate("window.isTheSame")


def test_a_file_that_could_not_be_sent_goes_on_by_itself_and_is_taken_once(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page(GAUTENG, elsewhere="en-ZA")
    choose(page, csv_file(fresh(2)), "cut line.csv")
    expect(page.locator(".checked")).to_be_visible()
    page.context.set_offline(True)
    page.get_by_role("button", name="Send 1 file").click()
    expect(page.locator(".file")).to_contain_text("goes on where it stopped")
    page.context.set_offline(False)
    page.get_by_role("link", name="Follow progress").click()
    expect(state(page)).to_have_text("Completed")
    with site.api(GAUTENG) as api:
        found = api.get("/bulk-upload/history", params={"search": "cut line"}).json()["data"]
    assert found["total"] == 1


def test_without_live_messages_the_page_asks_instead_and_says_so(
    open_page: OpenPage, site: Site
) -> None:
    def cut_messages(page: Page) -> None:
        page.route_web_socket(re.compile("/ws"), lambda socket: socket.close())

    with site.held():
        job_id = site.sent(csv_file(fresh(2)), "asked for.csv", GAUTENG)
        page = open_page(GAUTENG, f"#/uploads/{job_id}", apart=True, before=cut_messages)
        expect(page.locator(".live")).to_have_text("Not live")
        expect(state(page)).to_have_text("Processing")
    expect(state(page)).to_have_text("Completed")
    expect(page.get_by_text("the page polls")).to_be_visible()


def test_a_file_is_sent_and_followed_with_the_keyboard_alone(
    open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(GAUTENG)
    file = tmp_path / "keyboard.csv"
    file.write_bytes(csv_file(fresh(2)))

    def tab_to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            focused = page.evaluate("document.activeElement.innerText?.trim()")
            if focused.startswith(name):
                return
        raise AssertionError(f"Tab never came to {name!r}")

    tab_to("Upload")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Upload members")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        tab_to("Choose files")
        page.keyboard.press("Enter")
    chooser.value.set_files(file)
    expect(page.locator(".file .checked")).to_be_visible()
    tab_to("Send 1 file")
    page.keyboard.press("Space")
    expect(page.get_by_role("link", name="Follow progress")).to_be_visible()
    page.get_by_role("heading", level=1).focus()
    tab_to("Follow progress")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="keyboard.csv")).to_be_focused()
    expect(state(page)).to_have_text("Completed")


def test_files_are_dropped_and_removed_the_focus_stays_and_there_is_a_template(
    open_page: OpenPage,
) -> None:
    page = open_page(GAUTENG)
    page.get_by_role("link", name="Upload", exact=True).click()
    page.locator(".drop").evaluate(
        """(zone) => { const data = new DataTransfer();
        data.items.add(new File(["a"], "one.csv")); data.items.add(new File(["b"], "two.csv"));
        zone.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true})); }"""
    )
    expect(page.locator(".file")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the template").click()
    assert download.value.suggested_filename.endswith(".xlsx")
    page.get_by_role("button", name="Remove two.csv").press("Enter")
    expect(page.get_by_role("list", name="Chosen files")).to_be_focused()
    expect(page.get_by_role("button", name="Send 1 file")).to_be_enabled()
    page.get_by_role("button", name="Remove one.csv").press("Enter")
    expect(page.get_by_role("button", name="Choose files")).to_be_focused()


@pytest.mark.usefixtures("one_day")
def test_uploads_are_searched_filtered_and_paged_and_counted_in_figures_and_tables(
    open_page: OpenPage, site: Site
) -> None:
    first = csv_file([member(90_000, Province="Limpopo")])
    site.uploaded(first, "office 00.csv", LIMPOPO)
    site.execute(TWENTY_ONE_MORE)
    page = open_page(LIMPOPO, "#/uploads?search=office")
    lines = page.locator(".upload")
    expect(lines).to_have_count(20)
    expect(lines.first).to_contain_text("office 21.csv")
    page.get_by_role("button", name="Older").click()
    expect(lines).to_have_count(2)
    page.get_by_label("Search by file").fill("OFFICE 1")
    expect(page.get_by_text("10 uploads found")).to_be_visible()
    page.get_by_label("State").select_option("Failed")
    expect(page.get_by_text("0 uploads found")).to_be_visible()
    page.get_by_label("State").select_option("Completed")
    expect(page.get_by_text("10 uploads found")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Search by file")).to_have_value("OFFICE 1")
    expect(lines).to_have_count(10)
    page.get_by_role("link", name="Statistics").click()
    expect(page.locator(".tile", has_text="Success rate")).to_contain_text("%")
    figure = page.get_by_role("figure", name="Uploads by day")
    figure.get_by_text("As a table").click()
    expect(figure.locator("tbody tr").last.locator("td").first).to_have_text(re.compile(r"[1-9]"))
    page.get_by_role("figure", name="Rows by day").get_by_text("As a table").click()
    for name in ("Uploads by day", "Rows by day"):  # a region's name must tell it from the others
        expect(page.get_by_role("region", name=name)).to_be_visible()
    expect(page.get_by_role("figure", name="Median time of each stage")).to_contain_text("Merging")


@contextlib.contextmanager
def _used_up(redis: Redis, key: str) -> Iterator[None]:
    """A minute's worth of requests has just been made, and at each moment of this context.

    One more is let in soon after: said once, it may come too late on a busy machine.
    """
    is_over = threading.Event()

    def use_up() -> None:
        while not is_over.wait(0.002):
            redis.set(key, (time.time() + 60) * 1000, ex=120)

    using = threading.Thread(target=use_up)
    using.start()
    try:
        yield
    finally:
        is_over.set()
        join(using)


def test_who_asks_too_often_reads_why_and_goes_on_afterwards(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page(LIMPOPO)
    [user] = site.ask("SELECT id FROM users WHERE email = %(email)s", email=LIMPOPO)
    key = f"bull:{site.settings.queue_name}:rollbook:limits:user:{user}"
    with Redis.from_url(site.settings.redis_address) as redis:

        def ask_once_too_often(route: Route) -> None:
            with _used_up(redis, key):
                for _ in range(100):
                    answer = route.fetch()
                    if answer.status == 429:
                        break
            with contextlib.suppress(Error):  # the page has asked again meanwhile
                route.fulfill(response=answer)

        page.route("**/bulk-upload/stats*", ask_once_too_often)
        page.get_by_role("link", name="Statistics").click()
        expect(page.get_by_text("You have made too many requests").first).to_be_visible()
        page.unroute_all(behavior="wait")  # or a handler would use up the next minute's requests
        redis.delete(key)
    again = page.get_by_role("button", name="Try again")

    def is_over() -> bool:
        if again.count():  # each part of the view that was refused has one
            with contextlib.suppress(Error):  # it is gone where the page has already asked again
                again.first.click(timeout=3_000)
        return page.get_by_text("You have made too many requests").count() == 0

    until(is_over, "each part is shown")


def test_an_account_that_got_another_role_gets_its_views_without_a_reload(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page(ETHEKWINI)
    page.evaluate("window.isTheSame = true")
    expect(page.locator(".live")).to_have_text("Live")
    site.move(ETHEKWINI, Role.NATIONAL_ADMIN, Scope())
    try:
        page.get_by_role("link", name="Queue").click()
        expect(page.locator(".levers").first).to_contain_text("The queue is running.")
        expect(page.locator(".live")).to_have_text("Live")
        assert page.evaluate("window.isTheSame")
    finally:
        site.move(ETHEKWINI, Role.MUNICIPALITY_ADMIN, Scope("KZN", "eThekwini"))
