"""The page in each language: chosen before the sign-in, under the account, and by the browser."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from rollbook import languages
from rollbook.languages import phrase, speaking
from tests.conftest import PASSWORD
from tests.files import csv_file, member
from tests.page.conftest import NARROW, WIDE
from tests.page.site import LIMPOPO, OPERATOR, Site
from tests.page.test_views import HAS_ALL_LOOKS, flaws, go, too_narrow
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    OpenPage = Callable[..., Page]

OTHERS = [tag for tag in languages.available() if tag != languages.ENGLISH]
#: In the gate each language has one scheme, by turns.
EACH_IN_ONE = list(zip(OTHERS, itertools.cycle(["light", "dark"]), strict=False))
EACH_IN_BOTH = list(itertools.product(OTHERS, ["light", "dark"]))
LANGUAGE_OF = "SELECT language FROM users WHERE email = %(email)s"
#: What another language than English may still say in it.
CODES = re.compile(r"catalogue has no text|\{\w+\}|undefined|NaN")
CHOOSE_LANGUAGE = "tag => localStorage.setItem('rollbook.language', tag)"
#: A text of the page for none, one and two.
PLURAL_FORMS = """async () => {
  const first = document.querySelector("link[rel=modulepreload]").href;
  const { t } = await import(first.replace(/[^/]+$/, "words.js"));
  return [0, 1, 2].map((n) => t("check.rows", { n }));
}"""


@pytest.fixture
def no_choices(site: Site) -> Iterator[None]:
    """Nobody has chosen a language, and nobody will have."""
    yield
    site.execute("UPDATE users SET language = NULL")


def t(key: str, **values: object) -> str:
    """A text of the page in the spoken language."""
    return phrase(f"page.{key}", **values)


def sign_in_here(page: Page, email: str, *, wait: bool = True) -> None:
    """Sign in to a page in the spoken language; without ``wait``, another one may come."""
    page.get_by_label(t("sign_in.email")).fill(email)
    page.get_by_label(t("sign_in.password"), exact=True).fill(PASSWORD)
    page.get_by_role("button", name=t("sign_in.button"), exact=True).click()
    if wait:
        expect(page.get_by_role("link", name=t("nav.who", email=email))).to_be_visible()


@pytest.fixture(scope="module")
def upload(site: Site) -> str:
    """The job id of an upload with more refused rows than are shown at once."""
    rows = [member(4100)] + [{**member(4110 + n), "Surname": ""} for n in range(26)]
    return site.uploaded(csv_file(rows), "refused.csv", dry_run="true", allow_duplicate="true")


@pytest.mark.usefixtures("no_choices")
def test_a_language_chosen_before_the_sign_in_is_kept_with_the_account(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page(None)
    expect(page.locator("html")).to_have_attribute("lang", "en")
    picker = page.get_by_label("Language", exact=True)
    tags = picker.locator("option").evaluate_all("all => all.map(one => one.value)")
    assert tags == list(languages.available())
    expect(picker.locator("option[value=zu]")).to_have_text("isiZulu (machine translation)")
    picker.select_option("zu")
    expect(page.locator("html")).to_have_attribute("lang", "zu")
    with speaking("zu"):
        expect(page.get_by_role("heading", name=t("sign_in.title"))).to_be_visible()
        expect(page.get_by_text(t("language.unreviewed"))).to_be_visible()
        sign_in_here(page, LIMPOPO)
        until(lambda: site.ask(LANGUAGE_OF, email=LIMPOPO) == ["zu"], "it is kept")
        page.reload()
        expect(page.get_by_role("link", name=t("nav.uploads"), exact=True)).to_be_visible()
    # Another browser, which prefers Afrikaans: the account's choice comes first.
    other = open_page(None, elsewhere="af-ZA")
    expect(other.locator("html")).to_have_attribute("lang", "af")
    with speaking("af"):
        sign_in_here(other, LIMPOPO, wait=False)
    with speaking("zu"):
        expect(other.get_by_role("link", name=t("nav.who", email=LIMPOPO))).to_be_visible()
        other.goto(f"{site.url}/#/who")
        other.get_by_role("combobox", name=t("language.label")).select_option("en")
    expect(other.get_by_role("heading", name="Language")).to_be_visible()
    until(lambda: site.ask(LANGUAGE_OF, email=LIMPOPO) == ["en"], "it is kept")


@pytest.mark.parametrize(("language", "scheme"), EACH_IN_BOTH if HAS_ALL_LOOKS else EACH_IN_ONE)
@pytest.mark.usefixtures("no_choices")
def test_views_in_each_language_are_accessible_and_fit(
    open_page: OpenPage, upload: str, language: str, scheme: str
) -> None:
    size = WIDE if HAS_ALL_LOOKS else NARROW
    page = open_page(
        None, scheme=scheme, size=size, before=lambda tab: tab.evaluate(CHOOSE_LANGUAGE, language)
    )
    expect(page.locator("html")).to_have_attribute("lang", language)
    found: list[str] = []

    def keep(view: str) -> None:
        # How wide a view is depends on its words, and what axe sees hardly: in the gate,
        # tests/page/test_views.py sees it in English, and here one view is enough.
        name = f"{view}-{language}-{scheme}"
        if HAS_ALL_LOOKS or view == "one-upload":
            found.extend(flaws(page, name, sees_colours=False))
        else:
            found.extend(too_narrow(page, name))

    keep("sign-in")
    with speaking(language):
        assert page.evaluate(PLURAL_FORMS) == [t("check.rows", n=n) for n in (0, 1, 2)]
        sign_in_here(page, OPERATOR)
        for view, title in (
            ("uploads", "uploads.title"), ("upload", "upload.title"), ("members", "members.title"),
            ("queue", "nav.queue"), ("statistics", "statistics.title"), ("who", "who.title"),
            ("who/accounts", "accounts.title"),
        ):  # fmt: skip
            go(page, view)
            expect(page.locator("main h1").first).to_have_text(t(title))
            keep(view.replace("/", "-"))
        go(page, f"uploads/{upload}")
        refused = page.locator(".rows tbody")
        expect(refused).to_contain_text(phrase("problem.surname_missing"))
        expect(page.locator("main")).to_contain_text(t("outcomes.rows", n=27))
        expect(page.locator("main")).to_contain_text(t("rows.count", n=26))
        # The zone has one name in all languages, where a browser knows it in some only.
        expect(page.locator(".timeline")).to_contain_text("SAST")
        expect(page.locator("main")).not_to_contain_text("GMT")
        expect(page.get_by_role("button", name=t("pager.next")).first).to_be_visible()
        keep("one-upload")
        assert not CODES.search(page.locator("body").inner_text())
    assert found == []
