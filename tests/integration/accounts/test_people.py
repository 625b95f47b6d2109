"""Accounts as administrators manage them: who may, what a link does, and what ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import sql

from rollbook import places
from rollbook.accounts import audit, keys, offices, people, sessions, users
from rollbook.accounts.users import issue_token
from rollbook.backends.database import Paging, fetch_all
from rollbook.errors import (
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
    RollbookError,
)
from rollbook.model import EVERYWHERE, Role, Scope, User
from tests.conftest import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

NEW = "seven quiet pelicans"
EMFULENI = Scope("GP", "Emfuleni")
WANTED = {
    "email": "thandi@example.org",
    "role": "municipality_admin",
    "province": "Gauteng",
    "municipality": "emfuleni",
}


def as_user(api: httpx.AsyncClient, system: System, user: User) -> httpx.AsyncClient:
    api.headers["Authorization"] = f"Bearer {issue_token(system.settings, user)}"
    return api


def token_of(address: str) -> str:
    return address.rpartition("#/link/")[2]


async def invited(
    system: System, by: User, role: Role = Role.MUNICIPALITY_ADMIN, place: Scope = EMFULENI
) -> tuple[Any, str]:
    """A new account and its link's token."""
    row, link = await people.invite(
        system.pool, system.settings, by,
        email="thandi@example.org", role=role, place=place, name="",
    )  # fmt: skip
    return row, token_of(link.address)


async def choose(api: httpx.AsyncClient, token: str, password: str = NEW) -> httpx.Response:
    return await api.post("/api/v1/auth/link/password", json={"token": token, "password": password})


async def acts(system: System, reader: User) -> list[tuple[str, str | None, str | None]]:
    found = (await audit.entries(system.pool, reader, paging=Paging(1, 200))).rows
    return [(entry["act"], entry["outcome"], entry["about"]) for entry in reversed(found)]


# --- invitations ----------------------------------------------------------------------------------


async def test_an_invited_person_chooses_a_password_once_and_is_signed_in(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    by = await make_user(Role.PROVINCE_ADMIN, "GP")
    answer = await as_user(api, system, by).post("/api/v1/users", json=WANTED)
    assert answer.status_code == 201, answer.text
    made = answer.json()["data"]
    assert (made["state"], made["province"], made["municipality"]) == ("invited", "GP", "Emfuleni")
    token = token_of(made["invitation"]["address"])
    assert len(token) == 43
    listed = await api.get("/api/v1/users")
    assert token not in listed.text
    del api.headers["Authorization"]
    shown = (await api.post("/api/v1/auth/link", json={"token": token})).json()["data"]
    assert (shown["kind"], shown["user"]["email"]) == ("invitation", "thandi@example.org")
    weak = await choose(api, token, "thandi@example.org")
    assert weak.status_code == 422
    signed_in = await choose(api, token)
    assert signed_in.status_code == 200, signed_in.text
    api.headers["Authorization"] = f"Bearer {signed_in.json()['data']['token']}"
    assert (await api.get("/api/v1/auth/me")).json()["data"]["email"] == "thandi@example.org"
    again = await choose(api, token, "eight odd pelicans")
    assert again.status_code == 404
    await users.sign_in(system.pool, system.settings, "thandi@example.org", NEW)
    boss = await make_user()
    assert [
        one for one in await acts(system, boss)
        if one[2] and "thandi" in one[2] and not one[2].startswith("user")
    ] == [
        ("user_add", "done", "thandi@example.org: municipality_admin, GP / Emfuleni"),
        ("user_password", "done", "thandi@example.org, by a one-time link"),
    ]  # fmt: skip


async def test_of_a_link_only_the_hash_is_stored(system: System, make_user: MakeUser) -> None:
    _, token = await invited(system, await make_user())
    async with system.pool.connection() as connection:
        tables = await fetch_all(
            connection,
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
        )
        for table in tables:
            name = sql.Identifier(table["table_name"])
            cursor = await connection.execute(
                sql.SQL("SELECT {name}::text AS row FROM {name}").format(name=name)
            )
            assert not [row for row in await cursor.fetchall() if token in row["row"]], table


async def test_two_who_use_a_link_at_once_set_one_password(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    _, token = await invited(system, await make_user())
    chosen = [NEW, "eight odd pelicans", "nine tall flamingos"]
    answers = await asyncio.gather(*(choose(api, token, one) for one in chosen))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404]
    [good] = [one for one, answer in zip(chosen, answers, strict=True) if answer.is_success]
    await users.sign_in(system.pool, system.settings, "thandi@example.org", good)


async def test_a_link_ends_by_its_time_by_a_newer_one_a_password_and_a_closed_account(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    by = await make_user()
    row, first = await invited(system, by)
    pool, settings, user_id = system.pool, system.settings, row["user_id"]

    async def renewed() -> str:
        _, link = await people.reset(pool, settings, by, user_id)
        return token_of(link.address)

    second = await renewed()
    assert (await choose(api, first)).status_code == 404
    async with pool.connection() as connection:
        await connection.execute("UPDATE account_links SET expires_at = now()")
    assert (await choose(api, second)).status_code == 404
    third = await renewed()
    await users.set_password(pool, "thandi@example.org", NEW)
    assert (await choose(api, third)).status_code == 404
    fourth = await renewed()
    await people.close(pool, by, user_id)
    assert (await choose(api, fourth)).status_code == 404
    with pytest.raises(ConflictError, match="closed"):
        await renewed()


async def test_a_reset_leaves_the_password_until_its_link_is_used(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    by, person = await make_user(), await make_user(Role.PROVINCE_ADMIN, "GP")
    before = issue_token(system.settings, person)
    row, link = await people.reset(system.pool, system.settings, by, person.id)
    assert (row["state"], link.kind) == ("active", "reset")
    await users.session(system.pool, system.settings, before)
    assert (await choose(api, token_of(link.address))).status_code == 200
    with pytest.raises(NotAuthenticatedError):
        await users.session(system.pool, system.settings, before)
    with pytest.raises(NotAuthenticatedError):
        await users.sign_in(system.pool, system.settings, person.email, PASSWORD)


async def test_the_address_of_a_link_is_whole_where_the_public_one_is_known(
    system: System, make_user: MakeUser
) -> None:
    by, person = await make_user(), await make_user(Role.PROVINCE_ADMIN, "GP")
    _, link = await people.reset(system.pool, system.settings, by, person.id)
    assert link.address.startswith("/#/link/")
    public = system.settings.model_copy(update={"public_url": "https://rollbook.example.org"})
    _, link = await people.reset(system.pool, public, by, person.id)
    assert link.address.startswith("https://rollbook.example.org/#/link/")


# --- who may manage whom --------------------------------------------------------------------------

MAKERS: dict[str, tuple[Any, ...]] = {
    "super": (Role.SUPER_ADMIN,),
    "national": (Role.NATIONAL_ADMIN,),
    "gauteng": (Role.PROVINCE_ADMIN, "GP"),
    "emfuleni": (Role.MUNICIPALITY_ADMIN, "GP", "Emfuleni"),
}
KINDS: dict[str, tuple[Role, Scope]] = {
    "super": (Role.SUPER_ADMIN, EVERYWHERE),
    "national": (Role.NATIONAL_ADMIN, EVERYWHERE),
    "gauteng": (Role.PROVINCE_ADMIN, Scope("GP")),
    "limpopo": (Role.PROVINCE_ADMIN, Scope("LP")),
    "emfuleni": (Role.MUNICIPALITY_ADMIN, EMFULENI),
    "polokwane": (Role.MUNICIPALITY_ADMIN, Scope("LP", "Polokwane")),
}
MANAGES = {
    "super": set(KINDS),
    "national": set(KINDS) - {"super"},
    "gauteng": {"emfuleni"},
    "emfuleni": set[str](),
}


@pytest.mark.parametrize("maker", MAKERS)
async def test_each_role_manages_exactly_the_accounts_below_it(
    system: System, make_user: MakeUser, maker: str
) -> None:
    by = await make_user(*MAKERS[maker])
    pool, settings = system.pool, system.settings
    for kind, (role, place) in KINDS.items():
        target = await make_user(role, place.province, place.municipality)

        async def all_of(target: User, role: Role, place: Scope) -> None:
            await people.invite(
                pool, settings, by, email=f"new.{target.email}", role=role, place=place, name=""
            )
            await people.reset(pool, settings, by, target.id)
            await people.change(pool, by, target.id, version=1, role=role, place=place)
            await people.close(pool, by, target.id)

        if kind in MANAGES[maker]:
            await all_of(target, role, place)
            assert not (await users.found(pool, target.id))[1]
            continue
        is_seen = by.scope.includes(target.scope)
        with pytest.raises(NotAllowedError):
            await people.invite(
                pool, settings, by, email="x@example.org", role=role, place=place, name=""
            )
        refusal: type[RollbookError] = NotAllowedError if is_seen else NotFoundError
        with pytest.raises(refusal):
            await people.reset(pool, settings, by, target.id)
        with pytest.raises(refusal):
            await people.change(pool, by, target.id, version=1, role=Role.MUNICIPALITY_ADMIN,
                                place=EMFULENI)  # fmt: skip
        with pytest.raises(refusal):
            await people.close(pool, by, target.id)
        assert (await users.found(pool, target.id))[1]
    rows = (await people.listed(pool, by, paging=Paging(1, 500))).rows
    assert all(by.scope.includes(Scope(row["province"], row["municipality"])) for row in rows)


async def test_nobody_raises_an_account_above_their_own_role_or_moves_it_elsewhere(
    system: System, make_user: MakeUser
) -> None:
    gauteng = await make_user(Role.PROVINCE_ADMIN, "GP")
    national = await make_user(Role.NATIONAL_ADMIN)
    target = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Emfuleni")
    for by, role, place in (
        (gauteng, Role.PROVINCE_ADMIN, Scope("GP")),
        (gauteng, Role.SUPER_ADMIN, EVERYWHERE),
        (gauteng, Role.MUNICIPALITY_ADMIN, Scope("LP", "Polokwane")),
        (national, Role.SUPER_ADMIN, EVERYWHERE),
    ):
        with pytest.raises(NotAllowedError):
            await people.change(system.pool, by, target.id, version=1, role=role, place=place)
    assert (await users.found(system.pool, target.id))[0] == target


async def test_of_two_super_admins_who_close_each_other_one_stays(
    system: System, make_user: MakeUser
) -> None:
    first, second = await make_user(), await make_user()
    pool = system.pool
    done = await asyncio.gather(
        people.close(pool, first, second.id), people.close(pool, second, first.id),
        people.change(pool, first, second.id, version=1, role=Role.NATIONAL_ADMIN),
        people.change(pool, second, first.id, version=1, role=Role.NATIONAL_ADMIN),
        return_exceptions=True,
    )  # fmt: skip
    assert all(isinstance(one, dict | RollbookError) for one in done), done
    rows = (await people.listed(pool, await make_user(), role=Role.SUPER_ADMIN)).rows
    states = {row["user_id"]: row["state"] for row in rows}
    assert [states.get(one.id) for one in (first, second)].count("active") == 1


async def test_nobody_closes_or_demotes_the_own_account(
    system: System, make_user: MakeUser
) -> None:
    only = await make_user()
    with pytest.raises(NotAllowedError, match="your own account"):
        await people.close(system.pool, only, only.id)
    with pytest.raises(NotAllowedError, match="your own account"):
        await people.change(system.pool, only, only.id, version=1, role=Role.NATIONAL_ADMIN)


async def test_accounts_of_the_system_and_of_keys_are_nobody_s_to_manage(
    system: System, make_user: MakeUser
) -> None:
    by = await make_user()
    made, _ = await keys.make(system.pool, system.settings, by, name="import", scopes=["read"])
    async with system.pool.connection() as connection:
        rows = await fetch_all(connection, "SELECT id FROM users WHERE is_system")
    assert len(rows) > 1
    for row in rows:
        with pytest.raises(NotFoundError):
            await people.close(system.pool, by, row["id"])
    found = (await people.listed(system.pool, by, paging=Paging(1, 500))).rows
    assert made["name"] not in {row["name"] for row in found}


async def test_no_key_opens_these_routes(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    _, key = await keys.make(
        system.pool, system.settings, await make_user(), name="import", scopes=["operate", "read"]
    )
    api.headers["Authorization"] = f"Bearer {key}"
    for answer in (
        await api.get("/api/v1/users"),
        await api.get("/api/v1/offices"),
        await api.post("/api/v1/users", json=WANTED),
    ):
        assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (403, "key_scope")


# --- changes --------------------------------------------------------------------------------------


async def test_another_place_ends_the_sessions_and_a_lost_update_is_refused(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    by = await make_user(Role.PROVINCE_ADMIN, "GP")
    target = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Emfuleni")
    session = await users.session(
        system.pool, system.settings, issue_token(system.settings, target)
    )
    path = f"/api/v1/users/{target.id}"
    as_user(api, system, by)
    # JSON has one kind of number.
    change = {"version": 1.0, "municipality": "Midvaal"}
    moved = await api.patch(path, json=change)
    assert moved.status_code == 200, moved.text
    data = moved.json()["data"]
    assert (data["province"], data["municipality"], data["version"]) == ("GP", "Midvaal", 2)
    assert await sessions.changed(system.pool, [session]) == {session}
    lost = await api.patch(path, json={**change, "municipality": "Emfuleni"})
    assert lost.status_code == 409
    assert (await api.delete(path, params={"version": 1})).status_code == 409
    # The command line counts too.
    await users.disable(system.pool, target.email)
    assert (await api.patch(path, json={"version": 2, "is_open": True})).status_code == 409
    opened = await api.patch(path, json={"version": 3, "is_open": True})
    assert opened.json()["data"]["state"] == "active"
    await users.sign_in(system.pool, system.settings, target.email, PASSWORD)


async def test_a_closed_account_s_sessions_and_keys_are_refused(
    system: System, make_user: MakeUser
) -> None:
    by, target = await make_user(), await make_user(Role.PROVINCE_ADMIN, "GP")
    pool, settings = system.pool, system.settings
    _, key = await keys.make(pool, settings, target, name="import", scopes=["read"])
    for credential in (key, token := issue_token(settings, target)):
        await sessions.session(pool, settings, credential)
    row = await people.close(pool, by, target.id)
    assert row["state"] == "closed"
    for credential in (key, token):
        with pytest.raises(NotAuthenticatedError):
            await sessions.session(pool, settings, credential)
    with pytest.raises(ConflictError, match="closed already"):
        await people.close(pool, by, target.id)


async def test_an_administrator_who_was_closed_meanwhile_changes_nothing(
    system: System, make_user: MakeUser
) -> None:
    by = await make_user()
    target = await make_user(Role.PROVINCE_ADMIN, "GP")
    await users.disable(system.pool, by.email)
    with pytest.raises(NotAuthenticatedError):
        await people.close(system.pool, by, target.id)
    with pytest.raises(NotAuthenticatedError):
        await invited(system, by)


async def test_a_role_of_the_provider_is_changed_there(system: System, make_user: MakeUser) -> None:
    by, target = await make_user(), await make_user(Role.PROVINCE_ADMIN, "GP")
    async with system.pool.connection() as connection:
        await connection.execute(
            "UPDATE users SET oidc_issuer = 'https://login.example.org', oidc_subject = 'a' "
            "WHERE id = %s", [target.id],
        )  # fmt: skip
    with pytest.raises(ConflictError, match="provider"):
        await people.change(system.pool, by, target.id, version=1, role=Role.NATIONAL_ADMIN)
    assert (await people.close(system.pool, by, target.id))["is_of_provider"]


async def test_what_does_not_fit_is_refused_with_a_sentence(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    as_user(api, system, await make_user())
    for change, sentence in (
        ({"municipality": "Emfulini"}, "The nearest are Emfuleni"),
        ({"province": "Guateng"}, "The nearest are Gauteng"),
        ({"role": "super_admin"}, "the other roles neither"),
        ({"email": "thandi"}, "is not an e-mail address"),
        ({"email": "8001015009087@example.org"}, "is not an e-mail address"),
        ({"name": "Thandi 8001015009087"}, "A name is one line"),
    ):
        answer = await api.post("/api/v1/users", json={**WANTED, **change})
        assert answer.status_code == 422, change
        assert sentence in answer.json()["message"], change
        assert (await api.get("/api/v1/users", params={"search": "thandi"})).json()["data"][
            "total"
        ] == 0


async def test_an_address_that_has_an_account_is_refused(
    system: System, make_user: MakeUser
) -> None:
    by = await make_user()
    await invited(system, by)
    with pytest.raises(ConflictError, match="already an account"):
        await invited(system, by)


async def test_a_refused_change_is_in_the_audit_trail(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    boss = await make_user()
    by = await make_user(Role.PROVINCE_ADMIN, "GP")
    as_user(api, system, by)
    assert (await api.post("/api/v1/users", json={**WANTED, "province": "LP",
                           "municipality": "Polokwane"})).status_code == 403  # fmt: skip
    assert (await api.delete(f"/api/v1/users/{boss.id}")).status_code == 404
    found = await acts(system, boss)
    assert ("user_add", "refused", None) in found
    assert ("user_disable", "refused", None) in found


# --- lists ----------------------------------------------------------------------------------------


async def test_the_list_has_pages_and_filters(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    by = await make_user()
    for municipality in ("Emfuleni", "Midvaal"):
        await make_user(Role.MUNICIPALITY_ADMIN, "GP", municipality)
    closed = await make_user(Role.PROVINCE_ADMIN, "LP")
    await people.close(system.pool, by, closed.id)
    await invited(system, by)
    as_user(api, system, by)

    async def found(**query: Any) -> list[str]:
        answer = await api.get("/api/v1/users", params=query)
        assert answer.status_code == 200, answer.text
        return [f"{one['municipality']} {one['state']}" for one in answer.json()["data"]["items"]]

    assert await found(municipality="Midvaal") == ["Midvaal active"]
    assert await found(province="gauteng", state="invited") == ["Emfuleni invited"]
    assert await found(state="closed") == ["None closed"]
    assert await found(search="THANDI@") == ["Emfuleni invited"]
    assert await found(search="100%") == []
    assert len(await found(role="municipality_admin")) == 3
    first, second = await found(page_size=4), await found(page_size=4, page=2)
    assert (len(first), second) == (4, ["None closed"])


async def test_offices_are_the_register_s_places_with_who_has_an_account(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    national = await make_user()
    gauteng = await make_user(Role.PROVINCE_ADMIN, "GP")
    emfuleni = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Emfuleni")
    every = await offices.listed(system.pool, national)
    assert len(every) == 1 + len(places.provinces()) + len(places.municipalities())
    with_account = await offices.listed(system.pool, national, has_account=True)
    assert [(one.name, one.accounts) for one in with_account] == [
        ("national", 1), ("Gauteng", 1), ("Emfuleni", 1),
    ]  # fmt: skip
    seen = await offices.listed(system.pool, gauteng)
    assert {one.place.province for one in seen} == {"GP"}
    [own] = await offices.listed(system.pool, emfuleni)
    assert (own.code, own.accounts) == ("GT421", 1)
    # A place from before the register isn't dropped.
    async with system.pool.connection() as connection:
        await connection.execute(
            "UPDATE users SET municipality = 'Old Town' WHERE id = %s", [emfuleni.id]
        )
    [old] = [one for one in await offices.listed(system.pool, gauteng) if not one.is_known]
    assert (old.name, old.accounts) == ("GP / Old Town", 1)
    answer = await as_user(api, system, national).get(
        "/api/v1/offices", params={"province": "GP", "search": "GT422"}
    )
    [midvaal] = answer.json()["data"]["items"]
    assert (midvaal["name"], midvaal["accounts"], midvaal["people"]) == ("Midvaal", 0, [])


async def test_a_national_account_gets_no_place(system: System, make_user: MakeUser) -> None:
    by, target = await make_user(), await make_user(Role.NATIONAL_ADMIN)
    with pytest.raises(InvalidRequestError, match="the other roles neither"):
        await people.change(system.pool, by, target.id, version=1, place=Scope("GP"))
