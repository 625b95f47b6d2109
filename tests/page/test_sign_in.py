"""Signing in, staying signed in and signing out, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from tests.conftest import PASSWORD
from tests.page.conftest import sign_in
from tests.page.site import ETHEKWINI, Site
from tests.security.provider import StandIn
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenPage = Callable[..., Page]

KEPT = "() => JSON.parse(sessionStorage.getItem('rollbook.session'))"
NEW = "seven quiet pelicans"


def is_good(site: Site, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{site.url}/api/v1/auth/me", headers=headers, timeout=PATIENCE_S).is_success


def test_the_page_renews_by_itself_changes_the_password_and_signs_out(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page(ETHEKWINI)
    expect(page.locator(".live")).to_have_text("Live")
    first = page.evaluate(KEPT)
    page.evaluate(
        """() => {
            const kept = JSON.parse(sessionStorage.getItem("rollbook.session"));
            sessionStorage.setItem("rollbook.session", JSON.stringify({ ...kept, renewAt: 0 }));
        }"""
    )
    sockets: list[str] = []
    sent: list[str] = []

    def listen(socket: object) -> None:
        sockets.append("opened")
        socket.on("framesent", lambda text: sent.append(str(text)))  # type: ignore[attr-defined]

    page.on("websocket", listen)
    with page.expect_response("**/auth/renew") as answer:
        page.reload()
    renewed = answer.value.json()["data"]["token"]
    page.wait_for_function(f"() => ({KEPT})().token === {renewed!r}")
    expect(page.locator(".live")).to_have_text("Live")
    assert page.evaluate(KEPT)["id"] == first["id"]
    # The connection that holds gets it; none is opened for it.
    assert len(sockets) == 1
    assert any(renewed in text for text in sent)

    elsewhere = open_page(ETHEKWINI).evaluate(KEPT)["token"]
    page.get_by_role("link", name="Your account").click()
    page.get_by_label("Current password").fill("not the password")
    page.get_by_label("New password").fill(NEW)
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("alert")).to_contain_text("current password is wrong")
    page.get_by_label("New password").fill("password1234")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("alert")).to_contain_text("Add another word or two.")
    page.get_by_label("New password").fill(NEW)
    try:
        page.get_by_label("Current password").fill(PASSWORD)
        page.get_by_role("button", name="Change the password").click()
        expect(page.get_by_text("Your password is changed")).to_be_visible()
        assert not is_good(site, elsewhere)
        token = page.evaluate(KEPT)["token"]
        assert is_good(site, token)
        with page.expect_response("**/auth/logout"):
            page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.evaluate(KEPT) is None
        assert not is_good(site, token)
        sign_in(page, ETHEKWINI, NEW)
    finally:
        body = {"current_password": NEW, "new_password": PASSWORD}
        with httpx.Client(base_url=f"{site.url}/api/v1", timeout=PATIENCE_S) as client:
            signed = client.post("/auth/login", json={"email": ETHEKWINI, "password": NEW})
            if signed.is_success:
                headers = {"Authorization": f"Bearer {signed.json()['data']['token']}"}
                client.post("/auth/password", json=body, headers=headers)


def test_the_button_signs_in_with_the_provider_and_a_refusal_is_read_on_the_page(
    open_page: OpenPage, site: Site
) -> None:
    before = site.settings
    with StandIn().served() as provider:
        changes = {**provider.settings, "public_url": site.url}
        changes["oidc_client_secret"] = SecretStr(changes["oidc_client_secret"])
        site.stop("serve")
        site.settings = before.model_copy(update=changes)
        try:
            site.start("serve")
            site.ready()
            provider.changes = {"realm_access": None}
            page = open_page(None)
            page.get_by_role("link", name="Sign in with Example Members").click()
            expect(page.get_by_role("alert")).to_contain_text("no role for Rollbook")
            assert page.url == f"{site.url}/"
            provider.changes = {}
            page.get_by_role("link", name="Sign in with Example Members").click()
            expect(page.get_by_role("link", name="Your account")).to_be_visible()
            assert "from=" not in page.url
            kept = page.evaluate(KEPT)
            assert kept["user"]["email"] == provider.person["email"]
            assert is_good(site, kept["token"])
        finally:
            site.stop("serve")
            site.settings = before
            site.start("serve")
            site.ready()
