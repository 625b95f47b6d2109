"""Signing in with an outside provider: what an honest one opens, and what a hostile one doesn't."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from rollbook.accounts import users
from rollbook.accounts.provider import Provider
from rollbook.backends.database import connect
from rollbook.config import Settings
from rollbook.model import Role, Scope
from rollbook.service.system import open_system
from tests.closing import BRIEFLY
from tests.conftest import PASSWORD, emptied_redis
from tests.databases import own_database
from tests.listening import Site
from tests.page.site import NO_TLS
from tests.ports import free_port
from tests.security.provider import StandIn
from tests.waiting import PATIENCE_S, join, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rollbook.engines import Addresses

OIDC = "/api/v1/auth/oidc"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with StandIn().served() as served:
        yield served


@pytest.fixture(scope="module")
def settings(
    stand_in: StandIn,
    engines: Addresses,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    port = free_port()
    with own_database(engines, template, "oidc") as address:
        yield Settings(
            _env_file=None,
            database_url=SecretStr(address),
            redis_url=SecretStr(emptied_redis(engines)),
            data_dir=tmp_path_factory.mktemp("oidc"),
            secret_key=SecretStr("a key that only the tests know, 32 bytes"),
            queue_name="oidc",
            port=port,
            public_url=f"http://127.0.0.1:{port}",
            **stand_in.settings,
        )


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Any]:
    """One served API for all tests here."""
    site = Site(settings)
    ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with site:
            ready.set()
            await over.wait()  # no bound: until the fixture ends

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        until(lambda: ready.is_set() or not thread.is_alive(), "the API is served")
        assert ready.is_set()
        yield site.server.app
    finally:
        loop.call_soon_threadsafe(over.set)
        join(thread)
        loop.close()


@pytest.fixture
def provider(stand_in: StandIn, app: Any) -> StandIn:
    return honest(stand_in, app)


def honest(stand_in: StandIn, app: Any) -> StandIn:
    """Honest again, and not yet asked."""
    stand_in.begin_anew()
    stand_in.asked.clear()
    app.state.provider._found = None
    return stand_in


def new_browser(settings: Settings) -> httpx.Client:
    address = str(settings.public_url)
    return httpx.Client(base_url=address, verify=NO_TLS, timeout=PATIENCE_S, limits=BRIEFLY)


@pytest.fixture
def browser(settings: Settings) -> Iterator[httpx.Client]:
    with new_browser(settings) as client:
        yield client


@contextlib.contextmanager
def instead(app: Any, name: str, part: Any) -> Iterator[None]:
    """Let the API work with another part for a while."""
    before = getattr(app.state, name)
    setattr(app.state, name, part)
    try:
        yield
    finally:
        setattr(app.state, name, before)


def to_provider(browser: httpx.Client) -> str:
    """Begin, sign in there, and give where the browser is sent back to."""
    begun = browser.get(f"{OIDC}/start")
    assert begun.status_code == 303
    there = httpx.get(begun.headers["location"], verify=NO_TLS, timeout=PATIENCE_S)
    assert there.status_code == 303, there.text
    return str(there.headers["location"])


def end(browser: httpx.Client, callback: str) -> httpx.Response:
    """Come back, and exchange what is left for a token."""
    back = browser.get(callback)
    assert back.status_code == 303
    assert back.headers["location"].endswith("/?from=provider")
    return browser.post(f"{OIDC}/token")


def sign_in(browser: httpx.Client) -> httpx.Response:
    return end(browser, to_provider(browser))


def rows(settings: Settings, query: str, *values: Any) -> list[dict[str, Any]]:
    with connect(settings.database_address) as connection:
        return connection.execute(query.encode(), values).fetchall()


def account(settings: Settings, email: str) -> dict[str, Any] | None:
    found = rows(settings, "SELECT * FROM users WHERE email = %s", email)
    return found[0] if found else None


def last_entry(settings: Settings) -> tuple[str, str, str | None]:
    row = rows(settings, "SELECT act, outcome, code FROM audit_entries ORDER BY id DESC LIMIT 1")[0]
    return row["act"], row["outcome"], row["code"]


def test_the_providers_word_makes_an_account_and_keeps_it_up_to_date(
    browser: httpx.Client, provider: StandIn, settings: Settings
) -> None:
    assert browser.get(OIDC).json()["data"] == {"is_set": True, "name": "Example Members"}
    answer = sign_in(browser)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert (data["user"]["email"], data["user"]["role"]) == (
        provider.person["email"], "province_admin",
    )  # fmt: skip
    bearer = {"Authorization": f"Bearer {data['token']}"}
    assert browser.get("/api/v1/auth/me", headers=bearer).status_code == 200
    assert last_entry(settings) == ("sign_in", "done", None)
    # The exchange is good once.
    assert browser.post(f"{OIDC}/token").status_code == 401
    # The same person by another address, with another role: the old token ends.
    provider.person["email"] = provider.person["email"].upper()
    provider.person["realm_access"]["roles"].append("rollbook-town")
    provider.person["place"] = {"province": "GP", "municipality": ["City of Tshwane"]}
    assert sign_in(browser).json()["data"]["user"]["role"] == "province_admin"
    provider.person["realm_access"]["roles"].remove("rollbook-office")
    again = sign_in(browser).json()["data"]["user"]
    assert (again["role"], again["municipality"]) == ("municipality_admin", "City of Tshwane")
    assert browser.get("/api/v1/auth/me", headers=bearer).status_code == 401
    found = rows(
        settings, "SELECT * FROM users WHERE oidc_subject = %s", provider.person["sub"]
    )  # fmt: skip
    assert [row["email"] for row in found] == [provider.person["email"]]


def test_no_cookie_is_for_scripts_and_no_secret_in_an_address(
    browser: httpx.Client, provider: StandIn
) -> None:
    begun = browser.get(f"{OIDC}/start")
    callback = httpx.get(begun.headers["location"], verify=NO_TLS, timeout=PATIENCE_S).headers[
        "location"
    ]
    back = browser.get(callback)
    for answer in (begun, back):
        cookie = answer.headers.get_list("set-cookie")[-1]
        for part in ("HttpOnly", "SameSite=lax", f"Path={OIDC}"):
            assert part in cookie
    assert "Max-Age=600" in begun.headers["set-cookie"]
    assert "verifier" not in begun.headers["location"]
    assert provider.asked == ["discovery", "token", "keys"]


def test_behind_tls_a_cookie_is_sent_by_tls_alone_and_below_the_page_s_path(
    browser: httpx.Client,
    provider: StandIn,
    app: Any,
    settings: Settings,
) -> None:
    provider.twist = "away"
    secure = settings.model_copy(update={"public_url": "https://members.example.org/rollbook"})
    with instead(app, "system", replace(app.state.system, settings=secure)):
        begun = browser.get(f"{OIDC}/start")
    assert begun.headers["location"] == "https://members.example.org/rollbook/?from=provider"
    cookie = begun.headers.get_list("set-cookie")[-1]
    assert cookie.startswith("__Secure-")
    assert {"Secure", "HttpOnly", f"Path=/rollbook{OIDC}"} <= set(cookie.split("; "))


TWISTS = [
    "alg none", "HS256, the secret", "HS256, the public key", "another's key", "unknown key",
    "mixed up", "denied",
]  # fmt: skip


def test_what_isnt_signed_by_the_providers_key_opens_nothing(
    browser: httpx.Client, provider: StandIn, app: Any, settings: Settings
) -> None:
    for twist in TWISTS:
        honest(provider, app).twist = twist
        assert sign_in(browser).status_code == 401, twist
        assert account(settings, provider.person["email"]) is None, twist
        assert last_entry(settings) == ("sign_in", "refused", "not_authenticated"), twist


def test_an_id_token_for_another_use_or_time_opens_nothing(
    browser: httpx.Client, provider: StandIn, app: Any, settings: Settings
) -> None:
    for changes in (
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": ["rollbook-tests", "another"]},
        {"azp": "another"},
        {"iss": "https://other.example.org"},
        {"iat": time.time() - 3600},
        {"iat": time.time() + 3600},
        {"exp": time.time() - 120},
        {"exp": None},
        {"sub": None},
        {"sub": ""},
    ):
        honest(provider, app).changes = changes
        assert sign_in(browser).status_code == 401, changes
        assert account(settings, provider.person["email"]) is None, changes


def test_who_has_no_verified_address_role_and_place_gets_no_account(
    browser: httpx.Client, provider: StandIn, app: Any, settings: Settings
) -> None:
    wanted: tuple[tuple[dict[str, Any], str], ...] = (
        ({"email_verified": False}, "hasn't been verified"),
        ({"email_verified": None}, "hasn't been verified"),
        ({"email_verified": "true"}, "hasn't been verified"),
        ({"email": None}, "no e-mail address"),
        ({"realm_access": {"roles": ["other"]}}, "no role"),
        ({"realm_access": "rollbook-office"}, "no role"),
        ({"place": {}}, "no place was given"),
        ({"place": {"province": ["GP", "LP"]}}, "no place was given"),
        ({"place": {"province": "Guateng"}}, "The nearest are Gauteng"),
        ({"place": {"province": "Atlantis"}}, "There is no province"),
    )
    for changes, said in wanted:
        honest(provider, app).changes = changes
        answer = sign_in(browser)
        assert answer.status_code == 403, changes
        assert said in answer.json()["message"], changes
        assert account(settings, provider.person["email"]) is None, changes
        assert last_entry(settings) == ("sign_in", "refused", "not_allowed"), changes


def test_a_provider_that_is_away_or_odd_leaves_the_form_and_says_so(
    browser: httpx.Client, provider: StandIn, app: Any
) -> None:
    wanted: tuple[tuple[str, dict[str, Any]], ...] = (
        ("away", {}),
        ("endless", {}),
        ("no json", {}),
        ("redirect", {}),
        ("", {"issuer": "https://other.example.org"}),
        ("", {"token_endpoint": "http://other.example.org/token"}),
        ("", {"jwks_uri": None}),
    )
    for twist, document in wanted:
        honest(provider, app)
        provider.twist, provider.document = twist, document
        begun = browser.get(f"{OIDC}/start")
        assert begun.headers["location"].endswith("/?from=provider"), (twist, document)
        answer = browser.post(f"{OIDC}/token")
        assert answer.status_code == 503, (twist, document)
        assert "sign in with a password" in answer.json()["message"], (twist, document)
        assert browser.get(OIDC).status_code == 200


def test_a_state_is_good_once_and_in_its_own_browser_alone(
    browser: httpx.Client, provider: StandIn, settings: Settings
) -> None:
    callback = to_provider(browser)
    with new_browser(settings) as other:
        assert end(other, callback).status_code == 401
        to_provider(other)  # has begun one of its own
        assert end(other, callback).status_code == 401
    cookies = dict(browser.cookies)
    assert end(browser, callback).status_code == 200
    assert end(browser, callback).status_code == 401  # the cookie is gone
    browser.cookies.clear()
    browser.cookies.update(cookies)  # somebody kept it
    asked = len(provider.asked)
    answer = end(browser, callback)
    assert answer.status_code == 401
    assert "used before" in answer.json()["message"]
    assert len(provider.asked) == asked


def test_a_code_that_was_used_or_is_anothers_opens_nothing(
    browser: httpx.Client, provider: StandIn
) -> None:
    first, second = to_provider(browser), to_provider(browser)
    codes = [httpx.URL(url).params["code"] for url in (first, second)]
    # A code that was begun with another verifier, brought in under a good state.
    assert end(browser, second.replace(codes[1], codes[0])).status_code == 401
    assert codes[0] not in provider.codes


def test_keys_are_kept_until_the_provider_signs_with_another(
    browser: httpx.Client, provider: StandIn
) -> None:
    for _ in range(2):
        assert sign_in(browser).status_code == 200
    assert provider.asked.count("keys") == provider.asked.count("discovery") == 1
    provider.rotate()
    assert sign_in(browser).status_code == 200
    assert provider.asked.count("keys") == 2


@pytest.mark.filterwarnings("ignore:The RSA key")  # the provider signs with it anyway
@pytest.mark.parametrize(("bits", "status"), [(2048, 200), (1024, 401)])
def test_a_key_of_rsa_is_taken_unless_it_is_too_short(
    browser: httpx.Client, provider: StandIn, bits: int, status: int
) -> None:
    provider.rotate(rsa_bits=bits)
    assert sign_in(browser).status_code == status


@pytest.mark.parametrize(
    ("way", "secret", "document"),
    [
        ("post", True, {"token_endpoint_auth_methods_supported": ["client_secret_post"]}),
        ("none", False, {}),
    ],
    ids=["the secret in the form", "no secret"],
)
def test_the_program_says_who_it_is_as_the_provider_takes_it(
    browser: httpx.Client,
    provider: StandIn,
    app: Any,
    settings: Settings,
    way: str,
    secret: bool,
    document: dict[str, Any],
) -> None:
    provider.way, provider.document = way, document
    if not secret:
        settings = settings.model_copy(update={"oidc_client_secret": None})
    with instead(app, "provider", Provider(settings)):
        assert sign_in(browser).status_code == 200


def test_a_provider_that_takes_too_long_leaves_the_form_and_says_so(
    browser: httpx.Client,
    provider: StandIn,
    app: Any,
    settings: Settings,
) -> None:
    provider.twist = "slow"
    impatient = settings.model_copy(update={"oidc_timeout_s": 0.2})
    with instead(app, "provider", Provider(impatient)):
        begun = browser.get(f"{OIDC}/start")
    assert begun.headers["location"].endswith("/?from=provider")
    answer = browser.post(f"{OIDC}/token")
    assert answer.status_code == 503
    assert "can't be reached" in answer.json()["message"]


def test_a_closed_account_stays_closed(
    browser: httpx.Client, provider: StandIn, settings: Settings
) -> None:
    assert sign_in(browser).status_code == 200
    run(settings, lambda pool: users.disable(pool, provider.person["email"]))
    answer = sign_in(browser)
    assert answer.status_code == 401
    assert "closed" in answer.json()["message"]


def test_an_account_with_a_password_isnt_taken_over(
    browser: httpx.Client, provider: StandIn, settings: Settings
) -> None:
    email = provider.person["email"].upper()
    run(
        settings,
        lambda pool: users.add(
            pool, email=email, password=PASSWORD, role=Role.NATIONAL_ADMIN, scope=Scope()
        ),
    )
    before = account(settings, email)
    answer = sign_in(browser)
    assert answer.status_code == 409
    assert "already another account" in answer.json()["message"]
    assert account(settings, email) == before
    # Nor by a person at the provider whose address changes to it.
    provider.person["email"] = f"other.{email}"
    assert sign_in(browser).status_code == 200
    provider.person["email"] = email
    assert sign_in(browser).status_code == 409


def run(settings: Settings, act: Callable[[Any], Any]) -> None:
    async def whole() -> None:
        async with open_system(settings) as system:
            await act(system.pool)

    asyncio.run(whole())


def test_settings_with_which_it_wouldnt_be_safe_are_refused() -> None:
    good = {
        "oidc_issuer": "https://login.example.org",
        "oidc_client_id": "rollbook",
        "oidc_roles": {"all": "super_admin"},
        "public_url": "https://rollbook.example.org",
    }
    Settings(_env_file=None, **good)  # type: ignore[arg-type]
    wanted: tuple[dict[str, Any], ...] = (
        {"oidc_issuer": "http://login.example.org"},
        {"oidc_issuer": "https://login.example.org?x=1"},
        {"public_url": None},
        {"public_url": "http://rollbook.example.org"},
        {"oidc_client_id": None},
        {"oidc_roles": {}},
        {"oidc_roles": {"all": "god"}},
        {"oidc_scopes": "email"},
    )
    for changes in wanted:
        with pytest.raises(ValidationError):
            Settings(_env_file=None, **{**good, **changes})
