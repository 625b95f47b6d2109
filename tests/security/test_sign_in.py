"""Signing in: what guesses meet, how long a token is good, and what calls it back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import jwt
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr

from rollbook import clock
from rollbook.accounts import audit, failed_sign_ins, passwords, tokens, users
from rollbook.api.limits import RequestLimits
from rollbook.backends.database import connect
from rollbook.errors import InvalidRequestError, NotAuthenticatedError, TooManySignInsError
from rollbook.model import Role, Scope, User
from tests.conftest import PASSWORD
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

AUTH = "/api/v1/auth"
NEW = "seven quiet pelicans"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Three sign-ins of an account may fail, twelve from an address."""
    return settings.model_copy(update={"sign_in_failures": 3, "sign_in_failures_per_address": 12})


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Hold the clock, and let seconds pass: a wait of one second isn't over on a slow machine."""
    start, passed = clock.now(), [0.0]

    def go(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(clock, "now", lambda: start + dt.timedelta(seconds=passed[0]))
    return go


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def sign_in(api: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await api.post(f"{AUTH}/login", json={"email": email, "password": password})


async def opened(api: httpx.AsyncClient, email: str) -> str:
    answer = await sign_in(api, email)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["token"])


async def is_good(api: httpx.AsyncClient, token: str) -> bool:
    answer = await api.get(f"{AUTH}/me", headers=bearer(token))
    assert answer.status_code in {200, 401}
    return answer.status_code == 200


def acts(settings: Settings) -> list[tuple[str, str | None]]:
    with connect(settings.database_address) as connection:
        rows = connection.execute("SELECT act, code FROM audit_entries ORDER BY id").fetchall()
    return [(row["act"], row["code"]) for row in rows if row["act"] != "user_add"]


# --- passwords --------------------------------------------------------------------------------


async def test_the_real_figures_are_those_of_rfc_9106_and_weaker_hashes_are_renewed(
    system: System, settings: Settings, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()  # hashed cheaply, as by an older version

    def kept() -> str:
        with connect(settings.database_address) as connection:
            row = connection.execute(
                "SELECT password_hash FROM users WHERE id = %s", [user.id]
            ).fetchone()
        assert row is not None
        return str(row["password_hash"])

    assert "m=8,t=1,p=1" in kept()
    monkeypatch.setattr(passwords, "_hasher", PasswordHash((passwords.HASHER,)))
    await users.sign_in(system.pool, settings, user.email, PASSWORD)
    assert kept().startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    await users.sign_in(system.pool, settings, user.email, PASSWORD)


async def test_an_unknown_address_is_verified_like_a_known_one(
    system: System, settings: Settings, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    closed = await make_user()
    await users.disable(system.pool, closed.email)
    hasher, verified = PasswordHash((Argon2Hasher(1, 8, 1),)), []
    verify = hasher.verify_and_update

    def noted(password: str, known_hash: str) -> tuple[bool, str | None]:
        verified.append(known_hash.rpartition("$")[0].rpartition("$")[0])
        return verify(password, known_hash)

    monkeypatch.setattr(hasher, "verify_and_update", noted)
    monkeypatch.setattr(passwords, "_hasher", hasher)
    passwords._nobodys_hash.cache_clear()
    said = set()
    for email in (user.email, closed.email, "nobody@example.org", "folder"):
        with pytest.raises(NotAuthenticatedError) as refused:
            await users.sign_in(system.pool, settings, email, "not the password")
        said.add(refused.value.message)
    # One verification each, of the same cost, and one sentence.
    assert len(verified) == 4
    assert len(set(verified)) == len(said) == 1


THANDI = User(
    uuid4(),
    "thandi.nkosi@example.org",
    "Thandi Nkosi",
    Role.MUNICIPALITY_ADMIN,
    Scope("GP", "Johannesburg"),
)


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("short", "at least 12 characters"),
        ("x" * 1025, "at most 1024 characters"),
        ("8001015009087", "an ID number"),
        ("password1234", "a very common password"),
        ("P@ssw0rd1234!", "Predictable substitutions"),
        ("qwertyuiop123", "a very common password"),
        ("abcdefghijkl", "Sequences like"),
        ("aaaaaaaaaaaaa", "Repeats like"),
        ("a" * 500, "Repeats like"),
        ("1q2w3e4r5t6y", "a very common password"),
        ("thandi.nkosi2026", "Add another word or two"),
        ("Johannesburg1", "Capitalization"),
        ("Rollbook2026!", "too easy to guess"),
    ],
)
async def test_a_password_that_can_be_guessed_is_refused_with_advice(
    password: str, says: str
) -> None:
    with pytest.raises(InvalidRequestError, match="Nothing was changed") as refused:
        await passwords.check(password, THANDI)
    assert says in refused.value.message


@pytest.mark.parametrize(
    "password", [PASSWORD, NEW, "correct horse battery", "ümläute und mehr", "kgomo e nama metsi"]
)
async def test_no_kind_of_character_is_asked_for(password: str) -> None:
    await passwords.check(password, THANDI)


async def test_the_account_own_words_are_known_and_only_for_that_account() -> None:
    other = replace(THANDI, email="b@example.org", name="", scope=Scope())
    both = await asyncio.gather(
        *(
            passwords.check("thandi nkosi 26", user)
            for user in (THANDI, other, THANDI, other, THANDI, other)
        ),
        return_exceptions=True,
    )
    assert [error is None for error in both] == [False, True] * 3


async def test_a_setting_says_how_strong_a_password_must_be() -> None:
    await passwords.check("password1234", THANDI, strength=0)
    await passwords.check("a long password", THANDI)
    with pytest.raises(InvalidRequestError, match="too easy to guess"):
        await passwords.check("a long password", THANDI, strength=4)


async def test_a_hostile_password_is_rated_within_seconds_while_others_are_served() -> None:
    hostile = "4@8({[<369&#!1/|0$5+7%2" * 44
    rating = asyncio.create_task(passwords.check(hostile, THANDI))
    turns = 0
    async with asyncio.timeout(PATIENCE_S):  # unlimited, the rating takes hours
        while not rating.done():
            await asyncio.wait({rating}, timeout=0.001)
            turns += 1
        await rating
    assert turns > 3  # the event loop ran meanwhile


# --- the lock-out -----------------------------------------------------------------------------


@contextlib.contextmanager
def at(address: str) -> Iterator[None]:
    """Sign in from this address."""
    before = audit.origin.set(audit.Origin(address, None))
    try:
        yield
    finally:
        audit.origin.reset(before)


async def test_failures_make_an_account_wait_ever_longer_and_never_for_good(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Callable[[float], None]
) -> None:
    user = await make_user()
    waits = []
    for _ in range(3):
        assert (await sign_in(api, user.email, "wrong")).status_code == 401
    for _ in range(3):
        # The right password too: it isn't looked at. Another case is the same account.
        for email in (user.email, user.email.upper()):
            refused = await sign_in(api, email)
            assert refused.status_code == 429
        assert refused.json()["type"].endswith(":too_many_sign_ins")
        assert "Please wait" in refused.json()["message"]
        waits.append(int(refused.headers["Retry-After"]))
        later(waits[-1])
        assert (await sign_in(api, user.email, "wrong")).status_code == 401
    assert waits == [1, 2, 4]
    # One entry for each wait, however often it is tried.
    assert acts(settings).count(("sign_in", "too_many_sign_ins")) == 3
    assert acts(settings).count(("sign_in", "not_authenticated")) == 6
    later(settings.sign_in_longest_wait_s)
    assert (await sign_in(api, user.email)).status_code == 200
    # From here on it begins again.
    assert (await sign_in(api, user.email, "wrong")).status_code == 401
    assert (await sign_in(api, user.email)).status_code == 200


@pytest.mark.usefixtures("later")
async def test_a_strangers_failures_do_not_keep_an_account_out_where_it_signed_in_before(
    system: System, settings: Settings, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    few = settings.model_copy(update={"sign_in_failures_per_account": 6})
    with at("192.0.2.1"):
        await users.sign_in(system.pool, few, user.email, PASSWORD)
    for number in range(6):
        with at(f"198.51.100.{number}"), pytest.raises(NotAuthenticatedError):
            await users.sign_in(system.pool, few, user.email, "wrong")
    # All addresses together have guessed too often: another new one waits, the known one doesn't.
    with at("203.0.113.1"), pytest.raises(TooManySignInsError):
        await users.sign_in(system.pool, few, user.email, PASSWORD)
    monkeypatch.setattr(failed_sign_ins, "_PATIENCE_S", 0.0)  # and it doesn't wait either
    with at("192.0.2.1"):
        await users.sign_in(system.pool, few, user.email, PASSWORD)


async def test_failures_at_a_known_address_slow_the_right_password_down_and_do_not_refuse_it(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    brief = settings.model_copy(update={"sign_in_known_wait_s": 1})
    with at("192.0.2.1"):
        await users.sign_in(system.pool, brief, user.email, PASSWORD)
        for _ in range(4):
            with pytest.raises(NotAuthenticatedError):
                await users.sign_in(system.pool, brief, user.email, "wrong")
        await users.sign_in(system.pool, brief, user.email, PASSWORD)


@pytest.mark.usefixtures("later")
async def test_a_new_password_ends_the_wait_of_an_account(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    for _ in range(3):
        assert (await sign_in(api, user.email, "wrong")).status_code == 401
    assert (await sign_in(api, user.email)).status_code == 429
    await users.set_password(system.pool, user.email, NEW)
    assert (await sign_in(api, user.email, NEW)).status_code == 200


async def test_twenty_right_sign_ins_at_once_all_succeed(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    ends = await asyncio.gather(
        *(users.sign_in(system.pool, settings, user.email, PASSWORD) for _ in range(20))
    )
    assert {found.id for _, found in ends} == {user.id}


async def test_an_address_waits_too_and_another_one_does_not(
    system: System, settings: Settings, make_user: MakeUser, later: Callable[[float], None]
) -> None:
    user = await make_user()
    with at("2001:db8:1:2::1"):
        for number in range(12):
            with pytest.raises(NotAuthenticatedError):
                await users.sign_in(system.pool, settings, f"n{number}@example.org", "wrong")
    # The same subscriber's network of 64 bits, and an account of which nothing failed.
    with at("2001:db8:1:2::ffff"), pytest.raises(TooManySignInsError, match="from your address"):
        await users.sign_in(system.pool, settings, user.email, PASSWORD)
    with at("2001:db8:1:3::1"):
        await users.sign_in(system.pool, settings, user.email, PASSWORD)
    # What failed an hour ago is forgotten, and its rows go.
    later(settings.sign_in_forget_min * 60 + 1)
    with at("2001:db8:1:2::1"):
        await users.sign_in(system.pool, settings, user.email, PASSWORD)
        with pytest.raises(NotAuthenticatedError):
            await users.sign_in(system.pool, settings, "another@example.org", "wrong")
    with connect(settings.database_address) as connection:
        left = connection.execute("SELECT max(failures) AS most FROM sign_in_failures").fetchone()
    assert left == {"most": 1}


async def test_another_spelling_of_an_address_has_no_guesses_of_its_own(
    api: httpx.AsyncClient, system: System
) -> None:
    await users.add(
        system.pool, email="mini@example.org", password=PASSWORD,
        role=Role.SUPER_ADMIN, scope=Scope(),
    )  # fmt: skip
    for email in ("mİni@example.org", "minİ@example.org", "mİnİ@example.org"):
        assert (await sign_in(api, email)).status_code == 401
    assert (await sign_in(api, "MINI@example.org")).status_code == 200


@pytest.mark.usefixtures("later")
async def test_many_guesses_at_once_are_no_way_around_it(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    ends = await asyncio.gather(
        *(users.sign_in(system.pool, settings, user.email, "wrong") for _ in range(30)),
        return_exceptions=True,
    )
    tried = [end for end in ends if isinstance(end, NotAuthenticatedError)]
    assert len(tried) == settings.sign_in_failures
    assert sum(isinstance(end, TooManySignInsError) for end in ends) == 30 - len(tried)


# --- tokens and sessions ----------------------------------------------------------------------


async def test_a_renewed_token_goes_on_with_its_session_up_to_the_sessions_end(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Callable[[float], None]
) -> None:
    user = await make_user()
    token = users.issue_token(settings, user)
    first = tokens.read(settings, tokens.API, token, wants=["sid"])
    almost = settings.token_lifetime_min * 60 - 60
    gone = 0
    while gone + almost < settings.session_lifetime_min * 60:  # no bound: it counts
        later(almost)
        gone += almost
        answer = await api.post(f"{AUTH}/renew", headers=bearer(token))
        assert answer.status_code == 200
        data = answer.json()["data"]
        token = data["token"]
    renewed = tokens.read(settings, tokens.API, token, wants=["sid", "auth_time"])
    assert (renewed["sid"], renewed["auth_time"]) == (first["sid"], first["auth_time"])
    # What is left of the session, not half an hour.
    left = settings.session_lifetime_min * 60 - gone
    assert left - 1 <= data["expires_in"] <= left < almost
    later(left)
    assert (await api.post(f"{AUTH}/renew", headers=bearer(token))).status_code == 401


async def test_a_token_that_is_not_renewed_ends(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Callable[[float], None]
) -> None:
    token = users.issue_token(settings, await make_user())
    later(settings.token_lifetime_min * 60 - 10)
    assert await is_good(api, token)
    later(10)
    assert (await api.post(f"{AUTH}/renew", headers=bearer(token))).status_code == 401


async def test_signing_out_ends_this_session_with_all_its_tokens_and_no_other(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    here, elsewhere = await opened(api, user.email), await opened(api, user.email)
    renewed = (await api.post(f"{AUTH}/renew", headers=bearer(here))).json()["data"]["token"]
    assert (await api.post(f"{AUTH}/logout", headers=bearer(renewed))).status_code == 200
    assert [await is_good(api, one) for one in (here, renewed, elsewhere)] == [False, False, True]
    assert acts(settings)[-1] == ("sign_out", None)


async def test_a_new_password_signs_out_everywhere_else(
    api: httpx.AsyncClient, make_user: MakeUser
) -> None:
    user = await make_user()
    here, elsewhere = await opened(api, user.email), await opened(api, user.email)

    async def change(current: str, new: str) -> httpx.Response:
        body = {"current_password": current, "new_password": new}
        return await api.post(f"{AUTH}/password", headers=bearer(here), json=body)

    assert (await change("wrong", NEW)).status_code == 422
    assert (await change(PASSWORD, "password12345")).status_code == 422
    assert await is_good(api, here)
    changed = await change(PASSWORD, NEW)
    assert changed.status_code == 200
    assert not await is_good(api, here)
    assert not await is_good(api, elsewhere)
    assert await is_good(api, changed.json()["data"]["token"])
    assert (await sign_in(api, user.email)).status_code == 401
    assert (await sign_in(api, user.email, NEW)).status_code == 200


async def test_what_is_under_way_while_a_password_changes_is_signed_out_too(
    api: httpx.AsyncClient,
    system: System,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = await make_user()
    verify, count = passwords.verify, RequestLimits.count
    ours = [PASSWORD, NEW, "eight odd pelicans"]

    async def change() -> None:
        del ours[0]
        await users.set_password(system.pool, user.email, ours[0])

    async def verify_and_change(*given: Any) -> Any:
        answer = await verify(*given)
        await change()
        return answer

    async def count_and_change(*given: Any) -> None:
        await count(*given)
        await change()

    with monkeypatch.context() as patch:
        patch.setattr(passwords, "verify", verify_and_change)
        answer = await sign_in(api, user.email)
        assert answer.status_code == 401 or not await is_good(api, answer.json()["data"]["token"])
    token = (await sign_in(api, user.email, NEW)).json()["data"]["token"]
    with monkeypatch.context() as patch:
        patch.setattr(RequestLimits, "count", count_and_change)
        answer = await api.post(f"{AUTH}/renew", headers=bearer(token))
    assert answer.status_code == 401 or not await is_good(api, answer.json()["data"]["token"])


async def test_another_role_or_a_closed_account_signs_out(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    token = await opened(api, user.email)
    await users.set_role(system.pool, user.email, Role.PROVINCE_ADMIN, Scope("GP"))
    assert not await is_good(api, token)
    token = await opened(api, user.email)
    await users.disable(system.pool, user.email)
    assert not await is_good(api, token)


def forged(settings: Settings, user: User, **changes: Any) -> str:
    """A token with other claims, signed with the right key."""
    now = time.time()
    claims = {
        "sub": str(user.id),
        "sid": str(uuid4()),
        "auth_time": now,
        "iat": now,
        "iss": tokens.ISSUER,
        "aud": tokens.API,
        "exp": now + 600,
    }
    whole = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    key = tokens.signing_key(settings)
    return jwt.encode(whole, key, algorithm="HS256", headers={"kid": tokens.key_id(key)})


async def test_only_tokens_of_ours_for_this_use_and_this_time_are_good(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    good = forged(settings, user)
    assert await is_good(api, good)
    key = tokens.signing_key(settings)
    claims = jwt.decode(good, options={"verify_signature": False})
    kid = {"kid": tokens.key_id(key)}
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", **kid}).encode()).rstrip(b"=")
    bad = {
        "another issuer": forged(settings, user, iss="elsewhere"),
        "another use": forged(settings, user, aud="rollbook:other"),
        "over": forged(settings, user, exp=time.time() - 1),
        "from the future": forged(settings, user, iat=time.time() + 600),
        "no end": forged(settings, user, exp=None),
        "no session": forged(settings, user, sid=None),
        "a session that is no id": forged(settings, user, sid="1"),
        "nobody": forged(settings, user, sub=str(uuid4())),
        "another algorithm": jwt.encode(claims, key + "x" * 32, algorithm="HS512", headers=kid),
        "no algorithm": f"{none.decode()}.{good.split('.')[1]}.",
        "no key": jwt.encode(claims, key, algorithm="HS256"),
        "an unknown key": jwt.encode(claims, key, algorithm="HS256", headers={"kid": "other"}),
        "another's signature": jwt.encode(claims, "x" * 40, algorithm="HS256", headers=kid),
    }
    assert {why for why, token in bad.items() if await is_good(api, token)} == set()


async def test_a_former_key_is_read_and_signs_no_more(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    token = users.issue_token(settings, user)
    former = settings.secret_key
    assert former is not None
    only_new = settings.model_copy(update={"secret_key": SecretStr("the next key" * 4)})
    with pytest.raises(NotAuthenticatedError):
        await users.session(system.pool, only_new, token)
    # The tests' key has spaces in it, which part keys.
    plain = SecretStr("k" * 40)
    token = users.issue_token(settings.model_copy(update={"secret_key": plain}), user)
    both = only_new.model_copy(update={"former_secret_keys": SecretStr(f"{'o' * 40}, {'k' * 40}")})
    assert (await users.session(system.pool, both, token)).user == user
    newer = users.issue_token(both, user)
    assert (await users.session(system.pool, only_new, newer)).user == user


async def test_a_key_for_the_erased_opens_nothing_and_still_knows_them(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    leaked = settings.model_copy(update={"secret_key": SecretStr("k" * 40)})
    token = users.issue_token(leaked, await make_user())
    now = settings.model_copy(
        update={
            "secret_key": SecretStr("n" * 40),
            "former_secret_keys": SecretStr("o" * 40),
            "erasure_keys": SecretStr(f"{'k' * 40}, {'j' * 40}"),
        }
    )
    with pytest.raises(NotAuthenticatedError):
        await users.session(system.pool, now, token)
    assert [key[0] for key in tokens.erasure_keys(now)] == ["n", "o", "k", "j"]
