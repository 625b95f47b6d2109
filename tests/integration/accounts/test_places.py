"""An account's place is one that there is, in one spelling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import alembic.command
import psycopg
import pytest

from rollbook.accounts.users import place_of
from rollbook.backends import schema
from rollbook.errors import InvalidRequestError
from rollbook.model import Role, Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.model import User

    MakeUser = Callable[..., Awaitable[User]]

#: The revision before the register's spellings.
BEFORE = "0017"
PROVINCE, MUNICIPALITY = Role.PROVINCE_ADMIN, Role.MUNICIPALITY_ADMIN


@pytest.mark.parametrize(
    ("role", "given", "place"),
    [
        (PROVINCE, Scope("Gauteng"), Scope("GP")),
        (PROVINCE, Scope("kzn"), Scope("KZN")),
        (MUNICIPALITY, Scope("GP", "emfuleni lm"), Scope("GP", "Emfuleni")),
        (MUNICIPALITY, Scope("Gauteng", "JHB"), Scope("GP", "City of Johannesburg")),
        (MUNICIPALITY, Scope("MP", "Emalahleni"), Scope("MP", "Emalahleni")),
        (Role.NATIONAL_ADMIN, Scope(), Scope()),
    ],
)
def test_a_place_is_taken_by_code_or_name(role: Role, given: Scope, place: Scope) -> None:
    assert place_of(role, given) == place


@pytest.mark.parametrize(
    ("role", "given", "nearest"),
    [
        (PROVINCE, Scope("Guateng"), "Gauteng"),
        (PROVINCE, Scope("Atlantis"), "nearest"),
        (PROVINCE, Scope("Natal"), "KwaZulu-Natal"),
        (MUNICIPALITY, Scope("GP", "Emfulini"), "Emfuleni"),
        (MUNICIPALITY, Scope("KZN", "Emfuleni"), "in KwaZulu-Natal"),
        (MUNICIPALITY, Scope("GP", "Sedibeng"), "no municipality"),
        (MUNICIPALITY, Scope("GP"), "needs a province"),
        (PROVINCE, Scope(), "needs a province"),
        (Role.SUPER_ADMIN, Scope("GP"), "neither"),
    ],
)
def test_another_place_is_refused_with_the_nearest_names(
    role: Role, given: Scope, nearest: str
) -> None:
    with pytest.raises(InvalidRequestError, match=nearest):
        place_of(role, given)


async def test_an_account_has_the_registers_spelling(make_user: MakeUser) -> None:
    user = await make_user(MUNICIPALITY, "Gauteng", "Johannesburg Metro")
    assert user.scope == Scope("GP", "City of Johannesburg")


def test_the_migration_gives_what_is_recorded_the_registers_spelling(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO users (id, email, role, province, municipality, password_hash)"
            " VALUES (gen_random_uuid(), 'a@example.org', 'municipality_admin', 'Gauteng',"
            " 'emfuleni local municipality', 'none'), (gen_random_uuid(), 'b@example.org',"
            " 'municipality_admin', 'GP', 'Somewhere', 'none')"
        )
        with schema._alembic(database_url) as (config, own):
            alembic.command.downgrade(config, BEFORE)
            own.commit()
        schema.migrate(database_url)
        found = connection.execute(
            "SELECT email, province, municipality FROM users WHERE email LIKE '%example.org'"
            " ORDER BY email"
        ).fetchall()
    assert found == [("a@example.org", "GP", "Emfuleni"), ("b@example.org", "GP", "Somewhere")]
