"""A real Chromium before a running installation. One of each serves all tests of the page."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import PASSWORD, emptied_redis
from tests.databases import own_database
from tests.page.site import OPERATOR, Site, site_settings
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rollbook.engines import Addresses

#: The first one that is there: the shell draws for no screen and takes half of the processor.
CHROMIUM = (
    "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome",
    "google-chrome-stable",
)  # fmt: skip
#: Milliseconds that a browser gets for what it is to show, as other waits of the tests.
PATIENCE_MS = 1000 * PATIENCE_S
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
    # A page lives for seconds: what makes its scripts quick costs more than it saves.
    "--js-flags=--no-opt --no-maglev --single-threaded",
]  # fmt: skip
#: Everything must be readable at this width without scrolling to the side (WCAG 1.4.10).
NARROWEST = 320
NARROW = (NARROWEST, 740)
#: A file of the page without a script: a tab is there before the test and after it.
BESIDE = "/page/0/icon.svg"
KEEP_SESSION = "session => sessionStorage.setItem('rollbook.session', JSON.stringify(session))"
#: Sign in on the page that is loaded already, and go to a view.
ENTER = """async ([session, view]) => {
  const { session: current } = await import(document.querySelector("link[href$='/api.js']").href);
  history.replaceState(null, "", location.pathname + view);
  dispatchEvent(new HashChangeEvent("hashchange"));
  sessionStorage.setItem("rollbook.session", JSON.stringify(session));
  current.value = session;
}"""
#: Sign out as a person does who leaves a computer to the next one. False: the page must be loaded
#: for the next test, since it is in another language, or a test has put something into its window.
LEAVE = """async (names) => {
  const isAsLoaded = Object.keys(window).every((name) => name === "axe" || names.includes(name));
  if (!isAsLoaded || document.documentElement.lang !== "en") return false;
  const file = (name) => import(document.querySelector(`link[href$='/${name}.js']`).href);
  (await file("api")).signOut();
  (await file("said")).dismiss();
  history.replaceState(null, "", location.pathname);
  dispatchEvent(new HashChangeEvent("hashchange"));
  scrollTo(0, 0);
  return true;
}"""


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
            "apt-get install chromium-headless-shell. Elsewhere: set PAGE_CHROMIUM to the path of "
            "a Chromium or Chrome."
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


@pytest.fixture(scope="package")
def tabs(browser: Browser) -> Iterator[BrowserContext]:
    """What the tabs of most tests share, such as the page's files that are loaded already."""
    context = _new_context(browser)
    yield context
    if browser.is_connected():
        context.close()


@pytest.fixture(scope="package")
def free_tabs() -> list[Page]:
    """Tabs that earlier tests have left: a new one takes as long as it takes to load the page."""
    return []


@pytest.fixture(scope="package")
def names() -> list[str]:
    """What is in the page's window when it is loaded."""
    return []


@pytest.fixture
def open_page(
    browser: Browser,
    tabs: BrowserContext,
    free_tabs: list[Page],
    names: list[str],
    site: Site,
    complaints: list[str],
) -> Iterator[Callable[..., Page]]:
    """Open the page in a tab, signed in: ``open_page(GAUTENG, "#/upload")``.

    None stays at the sign-in. The tab is used again by a later test, when what it keeps is
    forgotten, and shares the loaded files with others. The page in it is signed out by then, and
    the next person signs in on it, which takes a third of the work of loading it. One that is
    ``apart`` is closed: for a test that changes more than the page and its routes, such as the
    sockets. One that is ``elsewhere``, with a language that is preferred there, shares nothing, as
    if it were in another browser: for a test that changes the clock or the line too. ``before``
    gets the tab when the page isn't loaded yet, which would cost as much again afterwards.
    """
    opened: list[Page] = []
    closed: list[Page] = []

    def open_as(
        email: str | None = OPERATOR,
        view: str = "",
        *,
        size: tuple[int, int] = WIDE,
        scheme: Literal["light", "dark"] = "light",
        apart: bool = False,
        elsewhere: str = "",
        before: Callable[[Page], object] | None = None,
    ) -> Page:
        if elsewhere:
            page = _new_tab(_new_context(browser, elsewhere), site, complaints)
        elif free_tabs and not apart:
            page = free_tabs.pop()
        else:
            page = _new_tab(tabs, site, complaints)
        (closed if apart else opened).append(page)
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme=scheme)
        _show(page, site, email, view, before)
        if not names and page.context is tabs and not apart:
            names.extend(page.evaluate("Object.keys(window)"))
        return page

    yield open_as
    sharing = [page for page in (*opened, *closed) if page.context is tabs]
    for page in sharing:
        page.unroute_all(behavior="ignoreErrors")
        is_left = page in opened and _is_loaded(page, site) and page.evaluate(LEAVE, names)
        if not is_left:
            page.goto(f"{site.url}{BESIDE}")
    _forget(site, tabs, sharing)
    for page in (*opened, *closed):
        if page.context is not tabs:
            page.context.close()
        elif page in closed:
            page.close()
        else:
            free_tabs.append(page)


def _show(
    page: Page, site: Site, email: str | None, view: str, before: Callable[[Page], object] | None
) -> None:
    """Show a view to a person: on the page that an earlier test has left, where that will do."""
    if email is not None and before is None and _is_loaded(page, site):
        page.evaluate(ENTER, [_session(site, email), view])
    else:
        if email is not None:
            page.evaluate(KEEP_SESSION, _session(site, email))
        if before is not None:
            before(page)
        page.goto(f"{site.url}/{view}")
    if email is not None:
        expect(page.get_by_role("link", name="Your account")).to_be_visible()


def _is_loaded(page: Page, site: Site) -> bool:
    """Is the page in this tab, with any view?"""
    return page.url.partition("#")[0] == f"{site.url}/"


def _forget(site: Site, tabs: BrowserContext, pages: list[Page]) -> None:
    """Clear what these tabs keep, and what all share, when they have left the page.

    One that is still at work would write to it.
    """
    for page in pages:
        page.evaluate("sessionStorage.clear(); localStorage.clear()")
    if pages:
        session = tabs.new_cdp_session(pages[0])
        kept = {"origin": site.url, "storageTypes": "cookies,indexeddb"}
        session.send("Storage.clearDataForOrigin", kept)
        session.detach()


def _session(site: Site, email: str) -> dict[str, Any]:
    """A session that the API has opened, as the page keeps it.

    The form is for the tests of signing in: it takes half a second of a processor to fill in.
    """
    opened = site.sign_in(email)
    now = time.time() * 1000
    return {
        "id": opened["token"][:32],
        "token": opened["token"],
        "user": opened["user"],
        "ends": now + opened["expires_in"] * 1000,
        "renewAt": now + opened["expires_in"] * 500,
    }


def _new_context(browser: Browser, locale: str = "en-ZA") -> BrowserContext:
    """A browser of its own, as far as a page can tell."""
    context = browser.new_context(
        locale=locale,
        timezone_id="America/New_York",  # the page gives times in the server's zone
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


def _new_tab(context: BrowserContext, site: Site, complaints: list[str]) -> Page:
    """A tab beside the page, whose complaints are noted."""
    page = context.new_page()
    _note_complaints(page, complaints)
    page.goto(f"{site.url}{BESIDE}")
    return page


def _note_complaints(page: Page, complaints: list[str]) -> None:
    """Note what the browser complains about in a tab."""

    def note_console(kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not text.startswith(ANSWERS):
            complaints.append(f"{kind}: {text}")

    page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    page.on("console", lambda said: note_console(said.type, said.text))


def sign_in(page: Page, email: str, password: str = PASSWORD, *, wait: bool = True) -> None:
    """Sign in as a person does; without ``wait``, something else may come than the page."""
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    if wait:
        expect(page.get_by_role("link", name="Your account")).to_be_visible()


expect.set_options(timeout=PATIENCE_MS)
