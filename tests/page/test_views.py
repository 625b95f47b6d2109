"""Every view, light and dark, wide and narrow: accessible, fitting, and kept as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Page, expect

from tests.files import HEADERS, csv_file, member, members
from tests.page.conftest import NARROW, WIDE
from tests.page.site import OPERATOR, Site, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SCREENSHOTS = Path("build/screenshots")
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SIZES = {"wide": WIDE, "narrow": NARROW}
FIRST = 200_000


@pytest.fixture(scope="module")
def uploads(site: Site) -> Iterator[dict[str, str]]:
    """Uploads in every state, by state; one goes on running, and one waiting, until the end."""
    good = members(180, start=FIRST)
    refused = [
        *(member(FIRST + 200 + n, **{"ID Number": "80010112345"}) for n in range(9)),
        *(member(FIRST + 300 + n, Surname="") for n in range(5)),
        member(FIRST + 400, **{"ID Number": "80O1015009087"}),
        *good[:6],
    ]
    with site.api() as api:

        def send(
            name: str, rows: list[dict[str, str]], headers: Sequence[str] = HEADERS, **options: str
        ) -> str:
            files = {"file": (name, csv_file(rows, headers=headers))}
            answer = api.post("/bulk-upload/process", files=files, data=options)
            return str(answer.json()["data"]["job_id"])

        def status(job_id: str) -> str:
            return str(api.get(f"/bulk-upload/status/{job_id}").json()["data"]["status"])

        found = {"completed": send("Gauteng branches, November.csv", [*good, *refused])}
        until(lambda: status(found["completed"]) == "completed", "an upload is through")
        found["dry run"] = send("Renewals to check.csv", members(40, start=FIRST), dry_run="true")
        until(lambda: status(found["dry run"]) == "completed", "a dry run is through")
        found["failed"] = send("Minutes of the meeting.csv", [{"Decision": "Tea"}], ["Decision"])
        until(lambda: status(found["failed"]) == "failed", "an upload has failed")
        with site.held():
            found["processing"] = send("Soweto.csv", members(30, start=FIRST + 1000))
            other = send("Ekurhuleni.csv", members(30, start=FIRST + 2000))
            until(
                lambda: {status(found["processing"]), status(other)} == {"processing"},
                "both slots are in use",
            )
            found["waiting"] = send("Tshwane.csv", members(30, start=FIRST + 3000))
            found["cancelled"] = send("A mistake.csv", members(3, start=FIRST + 4000))
            api.post(f"/bulk-upload/cancel/{found['cancelled']}")
            yield found
        until(lambda: status(found["waiting"]) == "completed", "the last upload is through")


def flaws(page: Page, name: str) -> list[str]:
    """Violations of accessibility, and what is wider than the window; keeps a picture."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    wider = [f"{name}: {width[0]} pixels wide"] if width[0] > width[1] else []
    options = {"runOnly": {"type": "tag", "values": AXE_TAGS}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    return wider + [
        f"{name}: {violation['id']}: {[node['html'][:200] for node in violation['nodes']]}"
        for violation in found
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_view_is_accessible_and_fits(
    open_page: Callable[..., Page], uploads: dict[str, str], scheme: str, size: str
) -> None:
    page = open_page(None, scheme=scheme, size=SIZES[size])

    found: list[str] = []

    def keep(view: str) -> None:
        found.extend(flaws(page, f"{view}-{size}-{scheme}"))

    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    keep("sign-in")
    page.get_by_label("E-mail address").fill(OPERATOR)
    page.get_by_label("Password", exact=True).fill("a long enough password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".upload", has_text="Tshwane.csv")).to_contain_text("Place 1")
    expect(page.locator(".live")).to_have_text("Live")
    keep("uploads")

    base = page.url.partition("#")[0]
    for name, job_id in uploads.items():
        page.goto(f"{base}#/uploads/{job_id}")
        expect(page.locator(".timeline")).to_be_visible()
        if name == "completed":
            expect(page.locator(".rows tbody tr").first).to_be_visible()
        keep(f"upload-{name.replace(' ', '-')}")

    page.goto(f"{base}#/upload")
    page.locator("input[type=file]").set_input_files(
        [
            FilePayload(name=n, mimeType="text/csv", buffer=csv_file(members(30, start=FIRST + s)))
            for n, s in (("Tshwane again.csv", 3000), ("Mangaung.csv", 5000))
        ]
    )
    expect(page.locator(".file")).to_have_count(2)
    keep("upload-chosen")
    page.get_by_role("button", name="Remove Mangaung.csv").click()
    page.get_by_role("button", name="Send 1 file").click()
    expect(page.get_by_text("This file was sent before")).to_be_visible()
    keep("upload-sent-before")

    page.goto(f"{base}#/queue")
    expect(page.locator(".slot.busy").nth(1)).to_contain_text("%")
    expect(page.locator(".upload").first).to_be_visible()
    keep("queue")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    keep("question")
    page.get_by_role("button", name="Back").click()

    page.goto(f"{base}#/statistics")
    expect(page.get_by_role("figure", name="How long each stage takes")).to_be_visible()
    keep("statistics")
    page.goto(f"{base}#/who")
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    keep("who")
    page.context.set_offline(True)
    page.goto(f"{base}#/nowhere")
    expect(page.get_by_text("There is nothing here")).to_be_visible()
    keep("nowhere")
    assert found == []
