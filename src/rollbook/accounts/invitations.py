"""A list of accounts to invite: checked as a whole first, then invited all or the right rows only.

The rules are those of a single invitation (``people.invite``).
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from rollbook.accounts import passwords, people
from rollbook.accounts.users import is_address, place_of
from rollbook.backends.database import fetch_all, queries
from rollbook.errors import AccountsAtFaultError, InvalidRequestError, NotAllowedError
from rollbook.masking import masked, visible
from rollbook.model import EVERYWHERE, Role, Scope, User

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rollbook.accounts.links import Link
    from rollbook.backends.database import Connection, Pool
    from rollbook.config import Settings

MOST_EMAIL_CHARS: Final = 320
MOST_NAME_CHARS: Final = 200
#: Rows that a sentence names.
_MOST_NAMED: Final = 3
#: At the end of sentences about single invitations.
_UNCHANGED: Final = " Nothing was changed."
#: How roles are written, without case and signs.
_ROLES: Final[Mapping[str, Role]] = {
    written + ending: role
    for role, names in {
        Role.SUPER_ADMIN: ("super",),
        Role.NATIONAL_ADMIN: ("national",),
        Role.PROVINCE_ADMIN: ("province", "provincial"),
        Role.MUNICIPALITY_ADMIN: ("municipality", "municipal"),
    }.items()
    for written in names
    for ending in ("admin", "administrator")
}

_SQL = queries("people")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row of the list, as it was written."""

    row_number: int
    email: str
    name: str
    role: str
    province: str
    municipality: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A row with what it means, or why nobody can be invited by it."""

    wanted: Wanted
    #: None where the row is at fault.
    role: Role | None
    place: Scope
    #: A sentence each.
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Invited:
    """A row with the account that was added by it; None where the row is at fault."""

    checked: Checked
    user_id: UUID | None = None
    link: Link | None = None


def check_may(by: User) -> None:
    """Refuse a list of somebody who manages no accounts, before it is read.

    Raises:
        NotAllowedError: so it is.
    """
    if not by.role.is_operator and by.role is not Role.PROVINCE_ADMIN:
        raise NotAllowedError(
            "You may not add accounts. National administrators add accounts of at most their own "
            "role, a province's administrator those of its municipalities. Nothing was changed."
        )


async def check(pool: Pool, by: User, list_: Sequence[Wanted]) -> list[Checked]:
    """What each row means, and what is at fault in it; nobody is invited."""
    async with pool.connection() as connection:
        return await _checked(connection, by, list_)


async def invite(
    pool: Pool, settings: Settings, by: User, list_: Sequence[Wanted], *, only_right: bool
) -> list[Invited]:
    """Add the accounts of a list in one transaction, each with a link as in ``people.invite``.

    Args:
        pool: of the database.
        settings: of the installation.
        by: the administrator.
        list_: the rows.
        only_right: invite by the right rows although others are at fault.

    Returns:
        All rows in their order.

    Raises:
        AccountsAtFaultError: a row is at fault, and ``only_right`` isn't set; or all are.
        NotAllowedError: the administrator manages no accounts.
    """
    # Nobody knows this password, so all may have the same: a hash for each would take minutes.
    unknown = await passwords.hash_of(secrets.token_urlsafe(32))
    async with pool.connection() as connection:
        by = await people.acting(connection, by)
        check_may(by)
        checked = await _checked(connection, by, list_)
        if not only_right:
            refuse_faults(checked)
        made = [await _add(connection, settings, by, one, unknown) for one in checked]
        found = [one.checked for one in made]
        # The command line and the sign-in provider add accounts at any moment.
        if not only_right or all(one.faults for one in found):
            refuse_faults(found)
    return made


def refuse_faults(checked: Sequence[Checked]) -> None:
    """Refuse a list in which a row is at fault.

    Raises:
        AccountsAtFaultError: so it is; ``rows`` has the numbers and sentences.
    """
    bad = [one for one in checked if one.faults]
    if not bad:
        return
    first = "; ".join(
        f"row {one.wanted.row_number}: {' '.join(one.faults)}" for one in bad[:_MOST_NAMED]
    )
    more = f" and {len(bad) - _MOST_NAMED} more" if len(bad) > _MOST_NAMED else ""
    verb = "is" if len(bad) == 1 else "are"
    raise AccountsAtFaultError(
        f"{len(bad):,} of {len(checked):,} rows {verb} at fault, so nobody was invited. Correct "
        f"them and send the list again, or invite the right rows only. {first}{more}",
        rows=[
            {"row_number": one.wanted.row_number, "faults": [masked(text) for text in one.faults]}
            for one in bad
        ],
    )


async def _add(
    connection: Connection, settings: Settings, by: User, checked: Checked, unknown: str
) -> Invited:
    if checked.faults or checked.role is None:
        return Invited(checked)
    wanted = checked.wanted
    added = User(uuid4(), wanted.email, wanted.name, checked.role, checked.place)
    link = await people.add(connection, settings, by, added, unknown, ", by a list")
    if link is None:
        return Invited(replace(checked, faults=(_taken(wanted.email),)))
    return Invited(checked, added.id, link)


async def _checked(connection: Connection, by: User, list_: Sequence[Wanted]) -> list[Checked]:
    emails = [one.email for one in list_]
    found = await fetch_all(connection, _SQL["taken"], {"emails": emails})
    taken = {row["place"] for row in found}
    rows = defaultdict(list)
    for one in list_:
        rows[one.email.lower()].append(one.row_number)
    checked = []
    for place, one in enumerate(list_, start=1):
        others = [row for row in rows[one.email.lower()] if row != one.row_number]
        faults = [*_address_faults(one, others, is_taken=place in taken), *_name_faults(one)]
        role, scope, more = _office(by, one)
        faults += more
        checked.append(Checked(one, None if faults else role, scope, tuple(faults)))
    return checked


def _address_faults(one: Wanted, others: Sequence[int], *, is_taken: bool) -> list[str]:
    email = one.email
    if not email:
        return ["The e-mail address is missing."]
    if not is_address(email) or masked(email) != email or len(email) > MOST_EMAIL_CHARS:
        return [f"{_quoted(email)} is not an e-mail address."]
    faults = []
    if others:
        named = ", ".join(map(str, others[:_MOST_NAMED]))
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        faults.append(f"The address is also in row {named}{more}.")
    if is_taken:
        faults.append(_taken(email))
    return faults


def _taken(email: str) -> str:
    return f"There is already an account for {email}."


def _name_faults(one: Wanted) -> list[str]:
    if len(one.name) > MOST_NAME_CHARS:
        return [f"The name is longer than {MOST_NAME_CHARS} characters."]
    if not people.is_name(one.name):
        return ["A name is one line without a person's ID number."]
    return []


def _office(by: User, one: Wanted) -> tuple[Role | None, Scope, list[str]]:
    """The role and the place of a row, or what is at fault in them."""
    role = _ROLES.get("".join(filter(str.isalnum, one.role.casefold())))
    if role is None:
        said = f"There is no role {_quoted(one.role)}" if one.role else "The role is missing"
        return None, EVERYWHERE, [f"{said}. The roles are {', '.join(Role)}."]
    wanted = Scope(one.province or None, one.municipality or None)
    try:
        place = place_of(role, people.filled(role, wanted, by.scope))
    except InvalidRequestError as error:
        return None, EVERYWHERE, [error.message.removesuffix(_UNCHANGED)]
    if people.may_manage(by, role, place):
        return role, place, []
    if by.role.is_operator:
        fault = f"You may not add a {role.value}: that is more than your own role."
    elif role is Role.MUNICIPALITY_ADMIN:
        fault = f"{place} is outside your province."
    else:
        fault = f"You may not add a {role.value}, only the municipality_admin of your province."
    return None, EVERYWHERE, [fault]


def _quoted(text: str) -> str:
    return repr(masked(visible(text))[:100])
