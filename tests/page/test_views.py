"""Every view, light and dark, wide and narrow: accessible, fitting, and kept as a picture."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyotp
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Page, Route, expect

from rollbook import clock
from rollbook.api.monitor import WatcherState
from rollbook.contract import VoterRollStanding
from rollbook.voter_roll.outlook import Outlook
from tests.conftest import PASSWORD
from tests.files import csv_file, member, members
from tests.page.conftest import NARROW, NARROWEST, WIDE, sign_in
from tests.page.site import ETHEKWINI, GAUTENG, OPERATOR, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    OpenPage = Callable[..., Page]

SCREENSHOTS = Path("build/screenshots")
AXE = Axe()
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SIZES = {"wide": WIDE, "narrow": NARROW}
#: The other looks are for ``make page``; what is too wide is looked for at the narrowest size too.
HAS_ALL_LOOKS = "ROLLBOOK_PAGE_LOOKS" in os.environ
ALL_LOOKS = [(scheme, size) for scheme in ("light", "dark") for size in SIZES]
LOOKS = pytest.mark.parametrize(
    ("scheme", "size"), ALL_LOOKS if HAS_ALL_LOOKS else [("dark", "narrow")]
)
FIRST = 200_000
#: What a watcher says when a share isn't there.
PROBLEM = "The folder /srv/rollbook/incoming can't be read: it isn't mounted. Files are safe."
#: As offices name their files.
LONG_NAME = "Ekurhuleni_Metropolitan_Municipality_renewals_2026-11_FINAL_checked by Nomvula (2).csv"


def named(row: dict[str, str], number: int) -> dict[str, str]:
    """The row with names that raise no doubt, so that the pictures show what is refused."""
    first, last = ("Thandi", "Sipho", "Johan", "Aisha", "Lerato"), ("Nkosi", "Botha", "Naidoo")
    return row | {"Firstname": first[number % 5], "Surname": last[number % 3]}


@pytest.fixture(scope="module")
def uploads(site: Site) -> Iterator[dict[str, str]]:
    """Uploads in every state, by state; one keeps running, and one waiting, until the end."""
    good = [named(row, n) for n, row in enumerate(members(180, start=FIRST))]
    refused = [
        *(named(member(FIRST + 200 + n, **{"ID Number": "80010112345"}), n) for n in range(9)),
        *(named(member(FIRST + 300 + n), n) | {"Surname": ""} for n in range(5)),
        named(member(FIRST + 400, **{"ID Number": "80O1015009087"}), 400),
        *good[:6],
    ]

    def edit(start: int) -> None:
        site.execute(
            "UPDATE members SET surname = 'Edited' WHERE id_number = %(id_number)s",
            id_number=member(start)["ID Number"],
        )

    def of(rows: int, *, start: int) -> bytes:
        return csv_file(members(rows, start=FIRST + start))

    found = {
        "completed": site.uploaded(csv_file([*good, *refused]), "Gauteng branches, November.csv"),
        "dry run": site.uploaded(of(40, start=0), "Renewals to check.csv", dry_run="true"),
        "failed": site.sent(b"Decision\nTea\n", "Minutes of the meeting.csv"),
        "undone": site.uploaded(of(4, start=6000), "Sent by mistake.csv"),
    }
    site.wait_for("failed", found["failed"])
    edit(FIRST + 6000)
    with site.api() as api:
        answer = api.post(f"/bulk-upload/undo/{found['undone']}", json={"dry_run": False})
        assert answer.is_success, answer.text
        edit(FIRST + 1)
        site.idle()  # or another test's upload would hold one of the two slots as well
        with site.held():
            found["processing"] = site.sent(of(30, start=1000), "Soweto.csv")
            found["long"] = site.sent(of(30, start=2000), LONG_NAME)
            site.wait_for("processing", found["processing"], found["long"])
            found["waiting"] = site.sent(of(30, start=3000), "Tshwane.csv")
            found["cancelled"] = site.sent(of(3, start=4000), "A mistake.csv")
            api.post(f"/bulk-upload/cancel/{found['cancelled']}")
            yield found
    site.wait_for("completed", found["waiting"])


#: The rows of a table have one markup: in the gate axe looks at the first ones.
MORE_ROWS = "tbody tr:nth-child(n+9)"
#: What axe finds, and the width that the view needs; null where axe isn't loaded yet.
#: What is loaded again is dimmed for a moment, and an event of the queue can begin that.
LOOK = """async ([exclude, options]) => {
  if (typeof axe === "undefined") return null;
  if (!document.adoptedStyleSheets.length) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(".stale { opacity: 1 }");
    document.adoptedStyleSheets = [sheet];
  }
  const { violations } = await axe.run({ exclude }, options);
  return { violations, width: document.documentElement.scrollWidth };
}"""


def flaws(page: Page, name: str, *, sees_colours: bool = True) -> list[str]:
    """Violations of accessibility, and what is wider than the window.

    Contrasts take axe most of its time. Without ``sees_colours``, which is for a view whose colours
    are seen elsewhere in the gate, only ``make page`` looks at them; it keeps a picture as well.
    """
    if HAS_ALL_LOOKS:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    wider = too_narrow(page, name)
    options = {
        "runOnly": {"type": "tag", "values": AXE_TAGS},
        "resultTypes": ["violations"],
        "rules": {"color-contrast": {"enabled": sees_colours or HAS_ALL_LOOKS}},
    }
    left_out = [] if HAS_ALL_LOOKS else [[MORE_ROWS]]
    found = page.evaluate(LOOK, [left_out, options])
    if found is None:
        # The script has half a megabyte: once for each document.
        page.evaluate(AXE.axe_script)
        found = page.evaluate(LOOK, [left_out, options])
    return [
        *wider,
        *_too_wide(page, name, found["width"]),
        *(
            f"{name}: {violation['id']}: {[_described(node) for node in violation['nodes']]}"
            for violation in found["violations"]
        ),
    ]


def too_narrow(page: Page, name: str) -> list[str]:
    """That the view is wider than the narrowest window, if it is."""
    size = page.viewport_size
    assert size is not None
    is_wider = size["width"] > NARROWEST
    if is_wider:
        page.set_viewport_size({"width": NARROWEST, "height": size["height"]})
    found = _too_wide(page, name, page.evaluate("document.documentElement.scrollWidth"))
    if is_wider:
        page.set_viewport_size(size)
    return found


def _too_wide(page: Page, name: str, needed: int) -> list[str]:
    """That the view, which needs so many pixels, is wider than the window, if it is."""
    size = page.viewport_size
    assert size is not None
    width = size["width"]
    return [f"{name}: takes {needed} pixels of {width}"] if needed > width else []


def _described(node: dict[str, Any]) -> str:
    """Where a violation is, and the figures that make it one."""
    figures = [one["data"] for one in node["any"] if one.get("data")]
    return f"{node['html'][:200]} {figures}"


@pytest.mark.parametrize(("scheme", "size"), ALL_LOOKS if HAS_ALL_LOOKS else [("light", "wide")])
def test_every_view_of_uploads_is_accessible_and_fits(
    open_page: OpenPage, uploads: dict[str, str], scheme: str, size: str
) -> None:
    page = open_page(None, scheme=scheme, size=SIZES[size])
    found: list[str] = []

    def keep(view: str, *, sees_colours: bool = True) -> None:
        found.extend(flaws(page, f"{view}-{size}-{scheme}", sees_colours=sees_colours))

    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    keep("sign-in")
    sign_in(page, OPERATOR)
    expect(page.locator(".upload", has_text="Tshwane.csv")).to_contain_text("Position 1")
    expect(page.locator(".live")).to_have_text("Live")
    keep("uploads")
    for name, job_id in uploads.items():
        go(page, f"uploads/{job_id}")
        expect(page.locator(".timeline")).to_be_visible()
        if name == "completed":
            expect(page.locator(".rows tbody tr").first).to_be_visible()
        # The one with a long name has the colours of another that is processed.
        keep(f"upload-{name.replace(' ', '-')}", sees_colours=name != "long")
        if name == "completed":
            page.get_by_role("button", name="Preview the undo").click()
            expect(page.get_by_text("1 member would be kept")).to_be_visible()
            keep("upload-undo")
    assert found == []


@LOOKS
@pytest.mark.usefixtures("uploads")
def test_keys_and_webhooks_are_made_shown_once_and_ended(
    open_page: OpenPage, site: Site, scheme: str, size: str
) -> None:
    page = open_page(OPERATOR, scheme=scheme, size=SIZES[size])
    found: list[str] = []

    def keep(view: str) -> None:
        found.extend(flaws(page, f"{view}-{size}-{scheme}"))

    go(page, "who")
    page.get_by_role("link", name="Keys").click()
    page.get_by_label("What it is for").fill("nightly import")
    page.get_by_label("Only for this province").fill("GP")
    keep("keys")
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_label("Key", exact=True)).to_have_value(re.compile(r"^rbk_.{43}$"))
    keep("keys-made")
    page.get_by_role("button", name="I have copied it").click()
    page.get_by_role("button", name="Revoke nightly import").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.locator(".note")).to_have_text(re.compile("The key is revoked."))
    expect(page.locator(".ledger .badge", has_text="Revoked").first).to_be_visible()
    page.locator(".note").get_by_role("button").click()
    go(page, "who")
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_label("Address", exact=True).fill("https://127.0.0.1/hook")
    page.get_by_role("button", name="Add the webhook").click()
    expect(page.get_by_role("alert")).to_contain_text("private")
    page.get_by_label("Address", exact=True).fill("https://hooks.invalid/rollbook")
    page.get_by_role("button", name="Add the webhook").click()
    expect(page.get_by_label("Secret", exact=True)).to_have_value(re.compile(r"^whsec_.{44}$"))
    keep("webhooks-made")
    page.get_by_role("button", name="I have copied it").click()
    job_id = site.sent(csv_file(members(1, start=FIRST + 7000)), "To a webhook.csv")
    with site.api() as api:
        api.post(f"/bulk-upload/cancel/{job_id}")
    page.get_by_role("button", name="Deliveries").click()
    expect(page.locator(".ledger .badge", has_text="Waiting").first).to_be_visible()
    keep("webhooks")
    page.get_by_role("button", name="Send again").first.click()
    # Or a worker has just claimed it.
    said = re.compile("sent again within seconds|being made at this moment")
    expect(page.locator(".note")).to_have_text(said)
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator(".note")).to_have_text(re.compile("The webhook is removed"))
    assert found == []


@LOOKS
@pytest.mark.usefixtures("uploads")
def test_a_person_is_invited_by_a_link_changed_reset_and_closed(
    open_page: OpenPage, scheme: str, size: str
) -> None:
    page = open_page(GAUTENG, scheme=scheme, size=SIZES[size])
    found: list[str] = []
    email = f"zanele.{scheme}.{size}@example.org"

    def keep(view: str, of: Page = page) -> None:
        found.extend(flaws(of, f"{view}-{size}-{scheme}"))

    def shown_link() -> str:
        field = page.get_by_label("Link", exact=True)
        expect(field).to_have_value(re.compile(r"^http://127\.0\.0\.1:\d+/#/link/.{43}$"))
        return field.input_value()

    go(page, "who")
    page.get_by_role("link", name="Accounts").click()
    invite(page, email, "Emfulini")
    expect(page.get_by_role("alert")).to_contain_text("The nearest are Emfuleni")
    keep("accounts")
    invite(page, email, "Emfuleni")
    link = shown_link()
    keep("accounts-invited")
    page.get_by_role("button", name="I have copied it").click()
    line = page.locator(".ledger tbody tr", has_text=email)
    expect(line).to_contain_text("Invited")

    def opened() -> Page:
        view = f"#{link.partition('#')[2]}"
        return open_page(None, scheme=scheme, size=SIZES[size], view=view)

    invited = opened()
    expect(invited.get_by_text(f"Your account is {email}.")).to_be_visible()
    choose(invited, "aaaaaaaaaaaa")
    expect(invited.get_by_role("alert")).to_contain_text("too easy to guess")
    keep("link", invited)
    choose(invited, "seven quiet pelicans")
    expect(invited.get_by_role("link", name="Your account")).to_be_visible()
    assert "link" not in invited.url
    used = opened()
    expect(used.get_by_role("alert")).to_contain_text("it was used before")
    keep("link-used", used)
    page.get_by_role("searchbox").fill(email)
    expect(line).to_contain_text("Active")
    line.get_by_role("button", name="Change").click()
    page.get_by_role("dialog").get_by_label("Municipality").fill("Midvaal")
    keep("accounts-change")
    page.get_by_role("dialog").get_by_role("button", name="Change the account").click()
    expect(page.locator(".note")).to_have_text(re.compile("The account is changed."))
    expect(line).to_contain_text("Midvaal")
    line.get_by_role("button", name="New link").click()
    assert shown_link() != link
    page.get_by_role("button", name="I have copied it").click()
    line.get_by_role("button", name="Close").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(line).to_contain_text("Closed")
    expect(invited.get_by_role("heading", name="Sign in")).to_be_visible()
    line.get_by_role("button", name="Open again").click()
    expect(line).to_contain_text("Active")
    assert found == []


def set_up_second_factor(page: Page, keep: Callable[[str], None]) -> list[str]:
    """Set up a second factor, with a wrong password and a wrong code first; the recovery codes."""
    page.get_by_role("button", name="Set up a second factor").click()
    page.get_by_label("Your password").fill("wrong")
    page.get_by_role("button", name="Set up a second factor").click()
    expect(page.get_by_role("alert")).to_contain_text("password is wrong")
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Set up a second factor").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    secret = page.locator("code.code").inner_text().replace(" ", "")
    keep("factor-image")
    page.get_by_label("The code that the app shows now").fill("000000")
    page.get_by_role("button", name="Switch it on").click()
    expect(page.get_by_role("alert")).to_contain_text("The code doesn't fit")
    page.get_by_label("The code that the app shows now").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Switch it on").click()
    expect(page.get_by_role("heading", name="Your recovery codes")).to_be_focused()
    codes = page.locator(".codes li").all_inner_texts()
    assert len(codes) == 10
    keep("factor-codes")
    page.get_by_role("button", name="I have copied it").click()
    return codes


def reset_second_factor(admin: Page, email: str, keep: Callable[[str], None]) -> None:
    """Reset a person's second factor as who manages the account."""
    go(admin, "who/accounts")
    admin.get_by_role("searchbox").fill(email)
    admin.get_by_role("button", name="Reset second factor").click()
    keep("accounts-factor")
    admin.get_by_role("dialog").get_by_role("button", name="Reset second factor").click()
    expect(admin.locator(".note")).to_have_text(re.compile("The second factor is removed"))


@LOOKS
def test_a_second_factor_is_set_up_asked_for_and_reset(
    open_page: OpenPage, site: Site, scheme: str, size: str
) -> None:
    """As the page of a role that needs one, which begins with setting it up."""
    found: list[str] = []
    email = f"busi.{scheme}.{size}@example.org"
    role = {"role": "municipality_admin", "province": "GP", "municipality": "Emfuleni"}
    with site.api() as api:
        made = api.post("/users", json={"email": email, **role}).json()["data"]["invitation"]
        token = made["address"].rpartition("/")[2]
        api.post("/auth/link/password", json={"token": token, "password": PASSWORD})
    page = open_page(None, scheme=scheme, size=SIZES[size])

    def keep(view: str, of: Page = page) -> None:
        found.extend(flaws(of, f"{view}-{size}-{scheme}"))

    def lacking(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["data"]["user"]["lacks_second_factor"] = True
        route.fulfill(response=answer, json=body)

    page.route("**/auth/login", lacking, times=1)
    sign_in(page, email, wait=False)
    expect(page.get_by_text("Your role needs a second factor")).to_be_visible()
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_count(0)
    keep("factor-needed")
    codes = set_up_second_factor(page, keep)
    # Everything is open now.
    go(page, "who")
    expect(page.get_by_role("heading", name="Where you are signed in")).to_be_visible()
    expect(page.get_by_text("Recovery codes left: 10")).to_be_visible()
    keep("who-sessions")

    other = open_page(None, scheme=scheme, size=SIZES[size])
    sign_in(other, email, wait=False)
    expect(other.get_by_label("Code")).to_be_focused()
    keep("sign-in-code", other)
    other.get_by_label("Code").fill("abcdef")
    other.get_by_role("button", name="Sign in").click()
    expect(other.get_by_role("alert")).to_contain_text("The code is wrong")
    other.get_by_label("Code").fill(codes[0])
    other.get_by_role("button", name="Sign in").click()
    expect(other.get_by_role("link", name="Your account")).to_be_visible()
    page.reload()
    # The third is the one of the invitation, by a program.
    lost = page.get_by_role("button", name="End this session Chrome on Linux")
    lost.click()
    expect(page.locator(".note")).to_have_text(re.compile("The session is ended"))
    expect(lost).to_have_count(0)
    other.reload()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()

    admin = open_page(GAUTENG, scheme=scheme, size=SIZES[size])
    reset_second_factor(admin, email, lambda view: keep(view, admin))
    sign_in(other, email)
    assert found == []


@LOOKS
@pytest.mark.usefixtures("uploads")
def test_every_other_view_is_accessible_and_fits(
    open_page: OpenPage, scheme: str, size: str
) -> None:
    page = open_page(OPERATOR, scheme=scheme, size=SIZES[size])
    found: list[str] = []

    def keep(view: str) -> None:
        found.extend(flaws(page, f"{view}-{size}-{scheme}"))

    go(page, "upload")

    def choose(*chosen: tuple[str, int]) -> None:
        page.locator("input[type=file]").set_input_files(
            [
                FilePayload(name=n, mimeType="text/csv", buffer=csv_file(members(30, start=s)))
                for n, s in chosen
            ]
        )

    choose(("Makhanda.csv", FIRST + 8000), ("Mangaung.csv", FIRST + 5000))
    expect(page.locator(".file")).to_have_count(2)
    for checked in (page.locator(".checked").nth(0), page.locator(".checked").nth(1)):
        expect(checked).to_contain_text("30 rows")
    keep("upload-chosen")
    under_way: list[Route] = []
    page.route("**/bulk-upload/process", lambda route: under_way.append(route))  # noqa: PLW0108
    page.get_by_role("button", name="Send 2 files").click()
    expect(page.get_by_text("Next in line")).to_be_visible()
    keep("upload-sending")
    page.get_by_role("button", name="Stop sending Mangaung.csv").click()
    page.get_by_role("button", name="Remove Mangaung.csv").click()
    under_way[0].abort()
    expect(page.locator(".file")).to_contain_text("can't be reached")
    page.unroute("**/bulk-upload/process")
    page.get_by_role("button", name="Remove").click()
    choose(("Tshwane again.csv", FIRST + 3000))
    expect(page.get_by_text("This file was sent before")).to_be_visible()
    keep("upload-sent-before")

    show_queue(page)
    keep("queue")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    keep("question")
    page.get_by_role("button", name="Back").click()

    go(page, "statistics")
    expect(page.get_by_role("figure", name="Median time of each stage")).to_be_visible()
    page.get_by_text("As a table").first.click()
    keep("statistics")
    go(page, "audit")
    expect(page.locator(".ledger tbody tr").nth(10)).to_be_visible()
    keep("audit")
    go(page, "audit/mine?act=cancel")  # the other acts are in the view before it
    expect(page.get_by_role("heading", name="What was done in your name")).to_be_visible()
    expect(page.locator(".ledger tbody tr").first).to_contain_text("Cancel")
    keep("audit-mine")
    go(page, "who")
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    keep("who")
    go(page, "%mistyped")
    expect(page.get_by_text("Page not found")).to_be_visible()
    keep("nowhere")
    assert found == []


@LOOKS
def test_a_newcomers_views_without_live_messages_are_accessible_and_fit(
    open_page: OpenPage, scheme: str, size: str
) -> None:
    page = open_page(ETHEKWINI, scheme=scheme, size=SIZES[size], apart=True, before=cut_messages)
    expect(page.get_by_text("Not live.", exact=True)).to_be_visible()
    expect(page.get_by_text("No file was sent yet.")).to_be_visible()
    found = flaws(page, f"uploads-empty-{size}-{scheme}")
    go(page, "statistics")
    expect(page.get_by_text("Nothing in this period.").first).to_be_visible()
    found += flaws(page, f"statistics-empty-{size}-{scheme}")
    assert found == []


def cut_messages(page: Page) -> None:
    """Let no live connection be made."""
    page.route_web_socket(re.compile("/ws"), lambda socket: socket.close())


def choose(page: Page, password: str) -> None:
    """Choose a password by a one-time link."""
    page.get_by_label("New password").fill(password)
    page.get_by_role("button", name="Set the password").click()


def invite(page: Page, email: str, municipality: str) -> None:
    """Fill in and send the form that adds an account."""
    form = page.locator("form").first
    form.get_by_label("E-mail address").fill(email)
    form.get_by_label("Municipality").fill(municipality)
    form.get_by_role("button").click()


def go(page: Page, view: str) -> None:
    """Go to a view by its address."""
    page.goto(f"{page.url.partition('#')[0]}#/{view}")


def show_queue(page: Page) -> None:
    """Go to the queue, with a voter roll and a watched folder, and wait until it has all."""
    page.route("**/bulk-upload/queue/stats", with_voter_roll)
    page.route("**/bulk-upload/monitor/status", with_folder)
    go(page, "queue")
    expect(page.get_by_role("meter", name="Requests used")).to_be_visible()
    expect(page.locator(".slot.busy").nth(1)).to_contain_text("%")
    expect(page.locator(".upload").first).to_be_visible()
    expect(page.get_by_text("3 files wait").first).to_be_visible()
    left_alone = page.get_by_text("23 files are not taken").first
    expect(left_alone).to_contain_text("minutes.pdf, gauteng/letter.docx and 21 more")
    page.get_by_text("Stored reports").click()
    expect(page.get_by_text("Without an upload")).to_be_visible()


def with_folder(route: Route) -> None:
    """Let the folder be watched by two, one of which can't take files."""
    answer = route.fetch()
    told = answer.json()
    well = WatcherState(
        name="branch-files-812-a1b2c3",
        host="branch-files",
        pid=812,
        folder="/srv/rollbook/incoming",
        has_events=True,
        waiting=3,
        taken=128,
        refused=2,
        problem=None,
        left_alone=["minutes.pdf", "gauteng/letter.docx"],
        left_alone_total=23,
        swept_at=clock.now(),
        started_at=clock.now(),
        heartbeat_at=clock.now(),
    )
    ill = well.model_copy(
        update={"name": "two", "has_events": False, "swept_at": None, "problem": PROBLEM}
    )
    told["message"] = f"Files that are put into the folder are taken. {PROBLEM}"
    told["data"]["watchers"] = [watcher.model_dump(mode="json") for watcher in (well, ill)]
    route.fulfill(response=answer, json=told)


def with_voter_roll(route: Route) -> None:
    """Let the queue's statistics have a voter roll, which this installation doesn't ask."""
    answer = route.fetch()
    told = answer.json()
    standing = VoterRollStanding.of(
        Outlook(
            state="warning",
            limit=10_000,
            window_s=3600,
            used=8_200,
            remaining=1_800,
            reset_at=clock.now(),
            reset_in_s=0,
            roll="up",
            roll_down_since=None,
            roll_probe_at=None,
            roll_error=None,
            roll_last_answer_at=clock.now(),
            pending=420,
            failing=0,
            pending_s=150,
        )
    )
    told["data"]["voter_roll"] = standing.model_dump(mode="json")
    route.fulfill(response=answer, json=told)
