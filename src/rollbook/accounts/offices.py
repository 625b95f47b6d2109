"""Offices: the places of the register, with the people who have an account there."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rollbook import places
from rollbook.backends.database import fetch_all, queries
from rollbook.model import EVERYWHERE, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rollbook.backends.database import Pool, Row
    from rollbook.model import User

#: People that an office shows; ``accounts`` counts all.
SHOWN: Final = 20

_SQL = queries("people")


@dataclass(frozen=True, slots=True)
class Office:
    """A place in the reader's scope."""

    #: The register's code; None: the national office, or a place that isn't in the register.
    code: str | None
    name: str
    place: Scope
    #: False: accounts are there from before the register, or of the provider.
    is_known: bool
    #: The number of open accounts.
    accounts: int
    #: The first of them.
    people: Sequence[Row]


async def listed(
    pool: Pool,
    reader: User,
    *,
    search: str | None = None,
    province: str | None = None,
    has_account: bool | None = None,
) -> list[Office]:
    """The offices of the reader's scope: national, then each province with its municipalities.

    ``search`` is a part of the name, or the whole code; ``province`` is a code or a name.
    """
    rows = await fetch_all(pool, _SQL["offices"], reader.scope.parameters())
    people = defaultdict(list)
    for row in rows:
        people[_key(Scope(row["province"], row["municipality"]))].append(row)
    found = [
        _office(code, name, place, people.pop(_key(place), []), is_known=True)
        for code, name, place in _register()
        if reader.scope.includes(place)
    ]
    for there in people.values():
        place = Scope(there[0]["province"], there[0]["municipality"])
        found.append(_office(None, str(place), place, there, is_known=False))
    code = places.find_province(province) if province else None
    wanted = code.place.code if code else province
    return [
        one
        for one in found
        if (wanted is None or one.place.province == wanted)
        and (has_account is None or has_account == bool(one.accounts))
        and (not search or _is_like(one, search.strip().casefold()))
    ]


def _register() -> Iterator[tuple[str | None, str, Scope]]:
    yield None, str(EVERYWHERE), EVERYWHERE
    for code, province in places.provinces().items():
        yield code, province.name, Scope(code)
        within = [one for one in places.municipalities().values() if one.province == code]
        for one in sorted(within, key=lambda one: one.name):
            yield one.code, one.name, Scope(code, one.name)


def _office(
    code: str | None, name: str, place: Scope, people: Sequence[Row], *, is_known: bool
) -> Office:
    return Office(code, name, place, is_known, len(people), people[:SHOWN])


def _is_like(office: Office, text: str) -> bool:
    return text in office.name.casefold() or text == (office.code or "").casefold()


def _key(place: Scope) -> tuple[str | None, str | None]:
    return place.province, place.municipality and place.municipality.casefold()
