"""A real Chromium before a running installation. One of each serves all tests of the page."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import PASSWORD, emptied_redis
from tests.databases import own_database
from tests.page.site import OPERATOR, Site, site_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rollbook.engines import Addresses

CHROMIUM = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
    "chromium-headless-shell",
)  # fmt: skip
#: Milliseconds that a browser gets for what it is to show.
PATIENCE_MS = 20_000
#: What Chromium says of an answer that isn't a success, and of a server that isn't there.
ANSWERS = ("Failed to load resource: ", "WebSocket connection to ")
WIDE = (1280, 800)
#: It runs as root in a container, draws without a graphics card, and looks for nothing elsewhere.
FLAGS = [
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    # One process for all tabs and one for the rest, where each tab would start a new one.
    "--renderer-process-limit=1", "--disable-site-isolation-trials", "--in-process-gpu",
    "--disable-software-rasterizer",
]  # fmt: skip
NARROW = (360, 740)


@pytest.fixture(scope="package")
def chromium() -> str:
    """The path of the browser: PAGE_CHROMIUM, or one that is installed."""
    if named := os.environ.get("PAGE_CHROMIUM"):
        program = shutil.which(named)
        assert program, f"PAGE_CHROMIUM names {named}, and there is no such program."
        return program
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(
            "The tests of the page need Chromium, and there is none. On Debian: "
            "apt-get install chromium. Elsewhere: set PAGE_CHROMIUM to the path of a Chromium or "
            "Chrome."
        )
    return found


@pytest.fixture(scope="package")
def site(
    chromium: str,  # noqa: ARG001 - without a browser there is no need for it
    engines: Addresses,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The installation."""
    folder = tmp_path_factory.mktemp("page")
    with own_database(engines, template, "page") as address:
        opened = Site(folder, site_settings(address, emptied_redis(engines), folder))
        try:
            opened.open()
            yield opened
        finally:
            opened.close()


@pytest.fixture(scope="package")
def browser(
    chromium: str,
    site: Site,  # noqa: ARG001 - it opens with asyncio, before the browser
) -> Iterator[Browser]:
    """The browser."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="package")
def heard() -> list[str]:
    """What the browser has complained about since the test began."""
    return []


@pytest.fixture
def complaints(heard: list[str]) -> Iterator[list[str]]:
    """What the browser complained about; a test that expects something takes it out.

    When the test ends, there must be nothing: no error of a script, nothing that the policy
    refused.
    """
    heard.clear()
    yield heard
    assert heard == []


@pytest.fixture
def open_page(
    browser: Browser,
    site: Site,
    complaints: list[str],
) -> Iterator[Callable[..., Page]]:
    """Open the page as somebody: ``open_page(GAUTENG)``; None stays at the sign-in."""
    contexts: list[BrowserContext] = []

    def open_as(
        email: str | None = OPERATOR,
        *,
        size: tuple[int, int] = WIDE,
        scheme: str = "light",
        view: str = "",
    ) -> Page:
        page = _new_page(browser, complaints, size=size, scheme=scheme)
        contexts.append(page.context)
        page.goto(f"{site.url}/{view}")
        if email is not None:
            sign_in(page, email)
        return page

    yield open_as
    for context in contexts:
        context.close()


@pytest.fixture(scope="package")
def kept_pages(browser: Browser) -> Iterator[dict[str, Page]]:
    """The pages of ``signed_in``, by the account that is signed in."""
    pages: dict[str, Page] = {}
    yield pages
    if browser.is_connected():
        for page in pages.values():
            page.context.close()


@pytest.fixture
def signed_in(
    browser: Browser, site: Site, complaints: list[str], kept_pages: dict[str, Page]
) -> Iterator[Callable[..., Page]]:
    """The page, loaded again in a tab that is signed in: ``signed_in(GAUTENG, "upload")``.

    A new tab and a sign-in take 1.5 seconds of a processor, so the tab is kept for the next test.
    A test that ends the session, or changes more in the tab than the page, uses ``open_page``.
    """
    shown: list[Page] = []

    def show(email: str = OPERATOR, view: str = "uploads") -> Page:
        if (page := kept_pages.get(email)) is None:
            page = _new_page(browser, complaints)
            page.goto(f"{site.url}/")
            sign_in(page, email)
            kept_pages[email] = page
        shown.append(page)
        page.goto("about:blank")  # an address that differs only in its end would not be loaded
        page.goto(f"{site.url}/#/{view}")
        expect(page.get_by_role("link", name="Your account")).to_be_visible()
        return page

    yield show
    for page in shown:
        if page.url.startswith(site.url):  # the files that it has kept
            page.evaluate("indexedDB.deleteDatabase('rollbook')")
        page.goto("about:blank")


def _new_page(
    browser: Browser,
    complaints: list[str],
    *,
    size: tuple[int, int] = WIDE,
    scheme: str = "light",
) -> Page:
    """A new tab in a context of its own, whose complaints are noted."""

    def note_console(kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not text.startswith(ANSWERS):
            complaints.append(f"{kind}: {text}")

    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-ZA",
        timezone_id="America/New_York",  # the page gives times in the server's zone
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    page.on("console", lambda said: note_console(said.type, said.text))
    return page


def sign_in(page: Page, email: str, password: str = PASSWORD, *, wait: bool = True) -> None:
    """Sign in as a person does; without ``wait``, something else may come than the page."""
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    if wait:
        expect(page.get_by_role("link", name="Your account")).to_be_visible()


expect.set_options(timeout=PATIENCE_MS)
