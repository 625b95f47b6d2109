"""The second factor: what a sign-in needs besides, what guesses meet, and the list of sessions."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from xml.etree import ElementTree as ET

import httpx
import pyotp
import pytest

from rollbook import clock
from rollbook.accounts import second_factor
from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.database import connect
from rollbook.model import Role, User
from tests.conftest import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]
    Later = Callable[[float], None]

AUTH = "/api/v1/auth"
FACTOR = f"{AUTH}/second-factor"
NEW = "seven quiet pelicans"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"second_factor_failures": 3})


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Let seconds pass, from the middle of a code's period on: a test ends within one."""
    start = clock.now().replace(second=10, microsecond=0)
    passed = [0.0]

    def go(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(clock, "now", lambda: start + dt.timedelta(seconds=passed[0]))
    return go


def as_user(api: httpx.AsyncClient, settings: Settings, user: User) -> httpx.AsyncClient:
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    return api


def signed_in(api: httpx.AsyncClient, answer: httpx.Response) -> None:
    """Go on with the session of an answer."""
    api.headers["Authorization"] = f"Bearer {answer.json()['data']['token']}"


def code_of(secret: str, steps: int = 0) -> str:
    """The code that the app shows now, or so many periods from now."""
    at = int(clock.now().timestamp()) // second_factor.STEP_S + steps
    return pyotp.TOTP(secret).generate_otp(at)


async def enrolled(api: httpx.AsyncClient, settings: Settings, user: User) -> tuple[str, list[str]]:
    """Switch a second factor on; its secret and the recovery codes."""
    as_user(api, settings, user)
    begun = await api.post(FACTOR, json={"current_password": PASSWORD})
    assert begun.status_code == 200, begun.text
    secret = begun.json()["data"]["secret"]
    done = await api.post(f"{FACTOR}/confirm", json={"code": code_of(secret)})
    assert done.status_code == 200, done.text
    signed_in(api, done)
    return secret, done.json()["data"]["recovery_codes"]


async def sign_in(api: httpx.AsyncClient, user: User, code: str | None = None) -> httpx.Response:
    body = {"email": user.email, "password": PASSWORD}
    return await api.post(f"{AUTH}/login", json=body if code is None else {**body, "code": code})


def kind(answer: httpx.Response) -> str:
    return str(answer.json()["type"]).rpartition(":")[2]


async def acts(system: System, act: str) -> list[dict[str, Any]]:
    async with system.pool.connection() as connection:
        rows = await connection.execute(
            "SELECT outcome, code, about FROM audit_entries WHERE act = %s ORDER BY id", (act,)
        )
        return list(await rows.fetchall())


# --- signing in -----------------------------------------------------------------------------------


async def test_a_sign_in_takes_a_code_besides_the_password(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    assert (await sign_in(api, user)).status_code == 200
    secret, _ = await enrolled(api, settings, user)
    later(30)
    answer = await sign_in(api, user)
    assert (answer.status_code, kind(answer)) == (401, "second_factor_needed")
    wrong = await sign_in(api, user, "000000")
    assert (wrong.status_code, kind(wrong)) == (401, "not_authenticated")
    # A wrong password says nothing of the second factor.
    body = {"email": user.email, "password": "wrong", "code": code_of(secret)}
    assert kind(await api.post(f"{AUTH}/login", json=body)) == "not_authenticated"
    spaced = f"{code_of(secret)[:3]} {code_of(secret)[3:]}"
    assert (await sign_in(api, user, spaced)).status_code == 200


async def test_a_right_password_without_a_code_is_in_the_trail_and_clears_no_failures(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    secret, _ = await enrolled(api, settings, user)
    later(30)

    async def failures() -> int:
        async with system.pool.connection() as connection:
            rows = await connection.execute("SELECT min(failures) AS least FROM sign_in_failures")
            found = await rows.fetchone()
        assert found is not None
        return int(found["least"])

    wrong = {"email": user.email, "password": "wrong"}
    for _ in range(2):
        assert (await api.post(f"{AUTH}/login", json=wrong)).status_code == 401
    for code in (None, None, "000000"):
        assert (await sign_in(api, user, code)).status_code == 401
    assert await failures() == 2
    async with system.pool.connection() as connection:
        rows = await connection.execute("SELECT sum(under_way)::int AS n FROM sign_in_failures")
        assert await rows.fetchone() == {"n": 0}
        rows = await connection.execute("SELECT more FROM audit_refusals WHERE act = 'sign_in'")
        assert await rows.fetchall() == [{"more": 1}]
    refused = [row["code"] for row in await acts(system, "sign_in") if row["outcome"] == "refused"]
    # The second one without a code is only counted.
    assert refused == [*["not_authenticated"] * 2, "second_factor_needed", "not_authenticated"]
    assert (await sign_in(api, user, code_of(secret))).status_code == 200


async def test_a_right_password_with_a_wrong_code_clears_no_failures_of_who_is_signed_in(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    """Somebody with a stolen session could otherwise guess the password without a wait."""
    user = await make_user()
    secret, codes = await enrolled(api, settings, user)
    later(30)

    async def here() -> tuple[int, int]:
        async with system.pool.connection() as connection:
            rows = await connection.execute(
                "SELECT min(failures) AS least, sum(under_way)::int AS n FROM sign_in_failures"
            )
            found = await rows.fetchone()
        assert found is not None
        return int(found["least"]), int(found["n"])

    for path in ("/recovery-codes", "/off", ""):
        wrong = {"current_password": "wrong", "code": codes[0]}
        assert (await api.post(f"{FACTOR}{path}", json=wrong)).status_code == 422
    for code in (None, "000000"):
        body = {"current_password": PASSWORD, "code": code}
        assert (await api.post(f"{FACTOR}/recovery-codes", json=body)).status_code == 422
    assert await here() == (3, 0)
    right = {"current_password": PASSWORD, "code": code_of(secret)}
    assert (await api.post(f"{FACTOR}/recovery-codes", json=right)).status_code == 200
    assert await here() == (0, 0)


async def test_a_code_is_good_once_and_for_a_minute_and_a_half(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    secret, _ = await enrolled(api, settings, user)
    assert (await sign_in(api, user, code_of(secret))).status_code == 401  # it confirmed the secret
    assert (await sign_in(api, user, code_of(secret, 1))).status_code == 200
    assert (await sign_in(api, user, code_of(secret, 1))).status_code == 401
    assert (await sign_in(api, user, code_of(secret))).status_code == 401  # older than the last
    later(120)
    assert (await sign_in(api, user, code_of(secret, 2))).status_code == 401
    later(120)
    assert (await sign_in(api, user, code_of(secret, -1))).status_code == 200


async def test_one_code_signs_in_once_at_the_same_moment(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    secret, codes = await enrolled(api, settings, user)
    later(30)
    for code in (code_of(secret), codes[0]):
        answers = await asyncio.gather(*(sign_in(api, user, code) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 401, 401]


async def test_wrong_codes_wait_longer_and_longer_and_a_right_one_ends_that(
    api: httpx.AsyncClient,
    system: System,
    settings: Settings,
    make_user: MakeUser,
    later: Later,
) -> None:
    user = await make_user()
    secret, codes = await enrolled(api, settings, user)
    later(30)
    for _ in range(3):
        assert (await sign_in(api, user, "000000")).status_code == 401
    waited = []
    for _ in range(4):
        answer = await sign_in(api, user, code_of(secret))  # right, and not tried
        assert (answer.status_code, kind(answer)) == (429, "too_many_sign_ins")
        waited.append(int(answer.headers["Retry-After"]))
        later(waited[-1])
        assert (await sign_in(api, user, "000000")).status_code == 401
    assert waited == [1, 2, 4, 8]
    assert (await sign_in(api, user, codes[0])).status_code == 429
    later(3600)
    assert (await sign_in(api, user, code_of(secret))).status_code == 200
    assert (await sign_in(api, user, "000000")).status_code == 401
    assert (await sign_in(api, user, codes[0])).status_code == 200
    refused = [row["code"] for row in await acts(system, "sign_in") if row["outcome"] == "refused"]
    # One for each code that was tried, and one a minute for those that were not.
    assert (refused.count("not_authenticated"), refused.count("too_many_sign_ins")) == (8, 1)


async def test_a_recovery_code_is_good_once_and_is_stored_as_a_hash(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    del later
    user = await make_user()
    _, codes = await enrolled(api, settings, user)
    assert len(set(codes)) == second_factor.RECOVERY_CODES
    assert (await sign_in(api, user, codes[0].upper().replace("-", " "))).status_code == 200
    assert (await sign_in(api, user, codes[0])).status_code == 401
    state = (await api.get(FACTOR)).json()["data"]
    assert (state["is_on"], state["recovery_codes_left"]) == (True, 9)
    assert (await acts(system, "sign_in"))[0]["about"] == "with a recovery code"
    with connect(settings.database_address) as connection:
        [(stored,)] = connection.execute(
            "SELECT string_agg(to_jsonb(r)::text, ' ') FROM recovery_codes AS r"
        ).fetchall()
    assert not any(code.replace("-", "") in stored for code in codes)
    again = await api.post(
        f"{FACTOR}/recovery-codes", json={"current_password": PASSWORD, "code": codes[1]}
    )
    newer = again.json()["data"]["recovery_codes"]
    assert (await sign_in(api, user, codes[2])).status_code == 401
    assert (await sign_in(api, user, newer[0])).status_code == 200


# --- setting it up --------------------------------------------------------------------------------


async def test_the_secret_is_shown_as_text_address_and_image_and_counts_once_confirmed(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    del later
    user = await make_user()
    as_user(api, settings, user)
    assert (await api.post(FACTOR, json={"current_password": "wrong"})).status_code == 422
    assert (await api.post(f"{FACTOR}/confirm", json={"code": "000000"})).status_code == 409
    begun = (await api.post(FACTOR, json={"current_password": PASSWORD})).json()["data"]
    parsed = pyotp.parse_uri(begun["address"])
    assert (parsed.secret, parsed.name, parsed.issuer) == (begun["secret"], user.email, "Rollbook")
    image = ET.fromstring(begun["qr"])  # noqa: S314 - our own
    assert image.tag == "{http://www.w3.org/2000/svg}svg"
    assert (await sign_in(api, user)).status_code == 200  # it isn't asked for yet
    wrong = await api.post(f"{FACTOR}/confirm", json={"code": "000000"})
    assert wrong.status_code == 422
    done = await api.post(f"{FACTOR}/confirm", json={"code": code_of(begun["secret"])})
    assert done.status_code == 200
    assert (await sign_in(api, user)).status_code == 401


async def test_an_abandoned_set_up_ends_and_its_wrong_codes_delay_no_sign_in(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    secret, codes = await enrolled(api, settings, user)
    begin = {"current_password": PASSWORD, "code": codes[0]}
    newer = (await api.post(FACTOR, json=begin)).json()["data"]["secret"]
    for _ in range(3):
        answer = await api.post(f"{FACTOR}/confirm", json={"code": "000000"})
        assert answer.status_code == 422
    assert (await api.post(f"{FACTOR}/confirm", json={"code": "000000"})).status_code == 429
    later(60)
    assert (await sign_in(api, user, code_of(secret))).status_code == 200
    later(second_factor.SET_UP_S - 59)
    over = await api.post(f"{FACTOR}/confirm", json={"code": code_of(newer)})
    assert (over.status_code, kind(over)) == (409, "conflict")
    assert "begin again" in over.json()["detail"]
    # Somebody else's set-up deletes it.
    await second_factor.begin(system.pool, await make_user())
    async with system.pool.connection() as connection:
        rows = await connection.execute(
            "SELECT new_secret FROM second_factors WHERE user_id = %s", (user.id,)
        )
        assert await rows.fetchall() == [{"new_secret": None}]
    again = (await api.post(FACTOR, json=begin | {"code": codes[1]})).json()["data"]["secret"]
    later(second_factor.SET_UP_S - 1)
    assert (await api.post(f"{FACTOR}/confirm", json={"code": code_of(again)})).status_code == 200


async def test_a_second_factor_is_replaced_and_switched_off_by_password_and_code_only(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    secret, codes = await enrolled(api, settings, user)
    own = {"current_password": PASSWORD}
    for path in ("", "/recovery-codes", "/off"):
        answer = await api.post(f"{FACTOR}{path}", json=own)
        assert (answer.status_code, kind(answer)) == (422, "invalid_request")
        assert "code of your authenticator app" in answer.json()["detail"]
        wrong = await api.post(f"{FACTOR}{path}", json={"current_password": "no", "code": codes[0]})
        assert wrong.status_code == 422
    begun = await api.post(FACTOR, json={**own, "code": codes[0]})
    newer = begun.json()["data"]["secret"]
    later(60)
    assert (await sign_in(api, user, code_of(newer))).status_code == 401
    assert (await sign_in(api, user, code_of(secret))).status_code == 200
    done = await api.post(f"{FACTOR}/confirm", json={"code": code_of(newer)})
    signed_in(api, done)
    later(60)
    assert (await sign_in(api, user, code_of(secret))).status_code == 401
    off = await api.post(f"{FACTOR}/off", json={**own, "code": code_of(newer)})
    assert off.status_code == 200
    assert (await sign_in(api, user)).status_code == 200
    assert (await api.post(f"{FACTOR}/off", json=own)).status_code == 409


async def test_a_role_that_needs_one_can_only_set_it_up(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    del system
    app = create_app(settings.model_copy(update={"second_factor_roles": "super_admin"}))
    user, other = await make_user(Role.SUPER_ADMIN), await make_user(Role.NATIONAL_ADMIN)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as api,
    ):
        thief = (await sign_in(api, user)).json()["data"]["token"]
        begun_without = await sign_in(api, user)
        assert begun_without.json()["data"]["user"]["lacks_second_factor"] is True
        signed_in(api, begun_without)
        later(1)
        for path in ("/bulk-upload/history", "/users", "/auth/sessions", "/members"):
            answer = await api.get(f"/api/v1{path}")
            assert (answer.status_code, kind(answer)) == (403, "second_factor_required")
        assert (await api.get(f"{AUTH}/me")).json()["data"]["lacks_second_factor"] is True
        begun = await api.post(FACTOR, json={"current_password": PASSWORD})
        code = code_of(begun.json()["data"]["secret"])
        done = await api.post(f"{FACTOR}/confirm", json={"code": code})
        recovery = done.json()["data"]["recovery_codes"]
        # Sessions that began with the password only have ended, also the one that confirmed.
        for token in (thief, begun_without.json()["data"]["token"]):
            ended = await api.get(f"{AUTH}/me", headers={"Authorization": f"Bearer {token}"})
            assert ended.status_code == 401
        assert done.json()["data"]["user"]["lacks_second_factor"] is False
        signed_in(api, done)
        assert (await api.get("/api/v1/bulk-upload/history")).status_code == 200
        off = await api.post(
            f"{FACTOR}/off", json={"current_password": PASSWORD, "code": recovery[0]}
        )
        assert off.status_code == 403
        # A provider asks for its own, and a command needs shell access to the machine.
        for via in ("provider", "command"):
            token = issue_token(settings, other, via=via)
            api.headers["Authorization"] = f"Bearer {token}"
            assert (await api.get("/api/v1/bulk-upload/history")).status_code == 200


async def test_a_link_replaces_the_password_and_not_the_second_factor(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user, admin = await make_user(Role.NATIONAL_ADMIN), await make_user(Role.SUPER_ADMIN)
    secret, _ = await enrolled(api, settings, user)
    later(30)
    as_user(api, settings, admin)
    reset = await api.post(f"/api/v1/users/{user.id}/reset")
    token = reset.json()["data"]["invitation"]["address"].rpartition("/")[2]
    body = {"token": token, "password": NEW}
    refused = await api.post(f"{AUTH}/link/password", json=body)
    assert (refused.status_code, kind(refused)) == (401, "second_factor_needed")
    wrong = await api.post(f"{AUTH}/link/password", json={**body, "code": "000000"})
    assert wrong.status_code == 401
    good = await api.post(f"{AUTH}/link/password", json={**body, "code": code_of(secret)})
    assert good.status_code == 200


async def test_who_manages_an_account_resets_its_second_factor(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    del later
    user = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "City of Johannesburg")
    await enrolled(api, settings, user)
    path = f"/api/v1/users/{user.id}/second-factor"
    for role, place, status in (
        (Role.PROVINCE_ADMIN, ("LP",), 404),
        (Role.MUNICIPALITY_ADMIN, ("GP", "City of Johannesburg"), 403),
        (Role.PROVINCE_ADMIN, ("GP",), 200),
        (Role.PROVINCE_ADMIN, ("GP",), 409),
    ):
        as_user(api, settings, await make_user(role, *place))
        listed = (await api.get("/api/v1/users", params={"search": user.email})).json()["data"]
        assert [one["has_second_factor"] for one in listed["items"]] in ([], [status != 409])
        assert (await api.delete(path)).status_code == status
    assert (await sign_in(api, user)).status_code == 200
    done = [row for row in await acts(system, "second_factor_reset") if row["outcome"] == "done"]
    assert [row["about"] for row in done] == [user.email]


async def test_setting_one_up_or_replacing_it_ends_all_other_sessions(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    token = (await sign_in(api, user)).json()["data"]["token"]
    thief = {"Authorization": f"Bearer {token}"}
    later(1)
    _, codes = await enrolled(api, settings, user)
    assert (await api.get(f"{AUTH}/me", headers=thief)).status_code == 401
    assert (await api.post(f"{AUTH}/renew", headers=thief)).status_code == 401
    [own] = [one for one in (await api.get(f"{AUTH}/sessions")).json()["data"] if one["is_this"]]
    former = dict(api.headers)
    begun = await api.post(FACTOR, json={"current_password": PASSWORD, "code": codes[0]})
    later(60)
    code = code_of(begun.json()["data"]["secret"])
    signed_in(api, await api.post(f"{FACTOR}/confirm", json={"code": code}))
    assert (await api.get(f"{AUTH}/me", headers=former)).status_code == 401
    [new] = [one for one in (await api.get(f"{AUTH}/sessions")).json()["data"] if one["is_this"]]
    assert new["session_id"] != own["session_id"]


# --- sessions -------------------------------------------------------------------------------------


async def test_a_person_sees_their_sessions_and_ends_one(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user, other = await make_user(), await make_user()
    tokens = []
    for agent in ("office", "phone"):
        answer = await api.post(
            f"{AUTH}/login",
            json={"email": user.email, "password": PASSWORD},
            headers={"User-Agent": agent},
        )
        tokens.append({"Authorization": f"Bearer {answer.json()['data']['token']}"})
    office, phone = tokens
    strangers = await sign_in(api, other)
    found = (await api.get(f"{AUTH}/sessions", headers=office)).json()["data"]
    assert {(one["agent"], one["is_this"]) for one in found} == {("office", True), ("phone", False)}
    [lost] = [one["session_id"] for one in found if not one["is_this"]]
    foreign = {"Authorization": f"Bearer {strangers.json()['data']['token']}"}
    for headers, one in ((foreign, lost), (office, str(uuid4()))):
        answer = await api.delete(f"{AUTH}/sessions/{one}", headers=headers)
        assert answer.status_code == 404
    renewed = await api.post(f"{AUTH}/renew", headers={**phone, "User-Agent": "phone"})
    newer = {"Authorization": f"Bearer {renewed.json()['data']['token']}"}
    assert (await api.delete(f"{AUTH}/sessions/{lost}", headers=office)).status_code == 200
    for headers, status in ((phone, 401), (newer, 401), (office, 200)):
        assert (await api.get(f"{AUTH}/me", headers=headers)).status_code == status
    [left] = (await api.get(f"{AUTH}/sessions", headers=office)).json()["data"]
    assert left["agent"] == "office"
    assert "phone" in (await acts(system, "session_end"))[-1]["about"]
    del settings
