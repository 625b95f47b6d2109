"""Search: members by parts of names, phone numbers, e-mail addresses, places and states.

What a search misses because it isn't indexed yet is part of its result (``index.behind``).
"""

from __future__ import annotations

import re
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from psycopg import sql
from psycopg.errors import QueryCanceled

from rollbook import places
from rollbook.backends.database import fetch_one, fetch_row, queries
from rollbook.errors import InvalidRequestError, ServerLimitError
from rollbook.members import index, position

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Iterator

    from rollbook.backends.database import Connection, Row
    from rollbook.members.position import Position
    from rollbook.model import Scope, User
    from rollbook.service.system import System

Sort = Literal[
    "name", "-name", "expiry_date", "-expiry_date", "date_joined", "-date_joined",
    "last_payment", "-last_payment", "changed_at", "-changed_at",
]  # fmt: skip
#: What the voter roll says of a member; ``not_asked``: nothing yet.
Roll = Literal[
    "registered", "without_district", "not_registered", "deceased", "international", "not_asked"
]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)

#: A word of this many letters also finds the words that it begins. A shorter one would find every
#: tenth member, which takes seconds with ten million.
_PREFIX: Final = 3
#: Surnames that a word begins, from which on it is found by its first letters instead, and compared
#: with the members found: who has a word that this one begins are gathered one by one.
_FREQUENT: Final = 5_000
#: A number of this many digits is the beginning of a phone number.
_PHONE: Final = 4
#: No ID number begins with 00 and a month after December: such digits are a phone number with
#: the country's code, as in 0027.
_ID_NUMBER: Final = re.compile(r"(?!00(?:1[3-9]|[2-9]))[0-9]{13}")
#: Words of a search; more narrow nothing.
_MOST_WORDS: Final = 10
#: No letter comes after it.
_LAST: Final = chr(sys.maxunicode)
_PHONE_SIGNS: Final = re.compile(r"[\s()./\-\u2010-\u2015]")

_SQL = queries("member_search")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which members; None in a field leaves it open."""

    #: Words of a name, the beginning of a phone number or of an e-mail address; all must fit.
    search: str | None = None
    #: The whole ID number.
    id_number: str | None = None
    #: The whole number of a passport, of any country, in capital letters without spaces.
    passport_number: str | None = None
    #: A province or municipality by any of its usual names.
    province: str | None = None
    municipality: str | None = None
    ward: str | None = None
    status: str | None = None
    roll: Roll | None = None
    #: Members whose membership ends before this day.
    expires_before: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of members."""

    #: Rows of the table ``members``.
    rows: list[Row]
    #: How many there are, up to ROLLBOOK_MEMBERS_MOST_FOUND.
    total: int
    #: There are more; what is sorted is then only a part of them.
    has_more: bool
    behind: index.Behind
    #: What gives the page that follows (``position``); None on the last one, and where a number is
    #: searched for.
    following: str | None


async def find(
    system: System,
    user: User,
    filters: Filters,
    *,
    sort: Sort,
    page: int,
    page_size: int,
    after: str | None = None,
) -> Found:
    """A page of the members in the reader's scope that fit the filters.

    Args:
        system: the opened parts.
        user: whose scope counts.
        filters: who.
        sort: the order; members that are equal in it are in the order of their ID numbers.
        page: from 1; counted from ``after``, or from the beginning.
        page_size: members on a page.
        after: ``following`` of an earlier page. Nobody who wasn't changed is shown twice or missed
            where members come and go meanwhile.

    Raises:
        InvalidRequestError: the search has nothing to search for, a place is unknown, the page
            is after the last one that is counted, or ``after`` is none of this order.
        ServerLimitError: the search took too long.
    """
    most = system.settings.members_most_found
    offset = (page - 1) * page_size
    if offset >= most and page > 1:
        raise InvalidRequestError(
            f"Only the first {most:,} members are shown page by page. Narrow the search, or export "
            "the members instead."
        )
    begin = None if after is None else position.read(system.settings, after, sort=sort)
    limit = min(page_size, most - offset)
    async with bounded(system) as connection:
        behind = await index.behind(connection)
        query = await text_query(connection, filters, user.scope)
        parts = {
            **{name: sql.Literal(value) for name, value in user.scope.parameters().items()},
            "filters": _all(_conditions(filters)),
            "limit": sql.Literal(limit),
            "offset": sql.Literal(offset),
        }
        if filters.id_number is not None or filters.passport_number is not None:
            rows, total = await _by_number(connection, filters, parts, offset=offset)
            has_more = False
        else:
            sorted_ = system.settings.members_most_sorted
            wanted = _Wanted(filters, user.scope, query, sort, begin, most, min(most, sorted_))
            rows, total, has_more = await _by_index(connection, wanted, parts)
    following = None
    if len(rows) == limit and "at" in rows[-1]:
        last = position.Position(sort, _key_text(rows[-1]["key"]), rows[-1]["at"])
        following = position.write(system.settings, last)
    # Who has moved to another office, or doesn't fit any more, isn't shown.
    shown = [row for row in rows if row["id_number"] is not None]
    return Found(shown, total, has_more, behind, following)


def _key_text(key: str | dt.date | None) -> str | None:
    return key if key is None or isinstance(key, str) else key.isoformat()


async def _by_number(
    connection: Connection, filters: Filters, parts: dict[str, Any], *, offset: int
) -> tuple[list[Row], int]:
    parts = {**parts, "number": _all(_numbers(filters))}
    rows = counted = await _rows(connection, "by_number", parts)
    if not rows and offset:
        first = {**parts, "limit": sql.Literal(1), "offset": sql.Literal(0)}
        counted = await _rows(connection, "by_number", first)
    return rows, counted[0]["found"] if counted else 0


#: What is searched, by the query that names it.
_Source = Literal["index_only", "found_first", "with_members"]


class _Wanted(NamedTuple):
    """What the index is asked for."""

    filters: Filters
    scope: Scope
    #: What ``text_query`` made of the filters.
    query: str | None
    sort: Sort
    #: After whom the page begins; None: at the first one.
    after: Position | None
    #: Members that are counted where an index has them in order, and those that are read to sort
    #: them.
    most: int
    most_sorted: int


async def _by_index(
    connection: Connection, wanted: _Wanted, parts: dict[str, Any]
) -> tuple[list[Row], int, bool]:
    """A page of members, how many there are, and whether there are more than are counted.

    Only the members of the page are read where neither a filter nor the order needs the others:
    a thousand members are on about as many pages of the disk. For another order, those who are
    sorted are read. A surname that more have is looked up in the index of names, because the index
    of texts reads all who have it; who has it as a first name isn't found then.
    """
    filters, scope, query, sort, after, most, most_sorted = wanted
    is_by_name = sort.removeprefix("-") == "name"
    is_filtered = (filters.status, filters.roll, filters.expires_before) != (None, None, None)
    place = list(_places(filters, scope))
    of_members = [sql.SQL(_SQL["in_reach"]).format(**parts), parts["filters"]]

    async def ask(
        name: str, text: list[sql.Composable], source: _Source, counted: int
    ) -> list[Row]:
        by_index = _all(iter([*place, *text]))
        found = {
            "index_only": by_index,
            "found_first": _all(iter(of_members)),
            "with_members": _all(iter([*place, *text, *of_members])),
        }[source]
        searched = sql.SQL(_SQL[source]).format(found=by_index, most=counted)
        asked = {"source": searched, "found": found, "most": counted, **_order(sort, after)}
        return await _rows(connection, name, {**parts, **asked})

    async def count(text: list[sql.Composable], source: _Source, most: int) -> int:
        [counted] = await ask("count", text, source, most)
        return int(counted["found"])

    counted_by: _Source = "with_members" if is_filtered else "index_only"
    text: list[sql.Composable] = []
    if query is not None:
        text = [await _text(connection, query, filters, scope)]
        names = [] if is_filtered else await _surnames(connection, filters)
        surnames = await count(names, "index_only", most) if names else 0
        has_more = surnames > most_sorted
        text = names if has_more else text
        if not (has_more and is_by_name):
            source = counted_by if is_by_name or is_filtered else "found_first"
            rows = await ask("matching", text, source, most_sorted)
            found = rows[0]["found"]
            rows = [row for row in rows if row["at"] is not None]
            return rows, min(found, most_sorted), has_more or found > most_sorted
        return await ask("listing", text, "index_only", most), min(surnames, most), True
    rows = await ask("listing", text, counted_by if is_by_name else "with_members", most)
    most = most_sorted if is_filtered else most
    found = await count(text, counted_by, most)
    return rows, min(found, most), found > most


async def _text(
    connection: Connection, query: str, filters: Filters, scope: Scope
) -> sql.Composable:
    """The condition of a text query, in which frequent words are found by their first letters."""
    looser = await text_query(connection, filters, scope, is_loose=True)
    condition = sql.SQL("entry.lexemes @@ {}::tsquery").format(sql.Literal(looser))
    if looser == query:
        return condition
    # COALESCE keeps it out of the index.
    compared = sql.SQL("COALESCE(entry.lexemes @@ {}::tsquery, false)").format(sql.Literal(query))
    return sql.SQL(" AND ").join([condition, compared])


async def _surnames(connection: Connection, filters: Filters) -> list[sql.Composable]:
    """The beginning of a surname as a range of the index of names; none where more is asked for."""
    text = (filters.search or "").strip()
    if filters.ward is not None or "@" in text or _is_phone(_PHONE_SIGNS.sub("", text)):
        return []
    row = await fetch_one(connection, _SQL["words"], {"text": text})
    assert row is not None
    if len(row["words"]) != 1 or len(row["words"][0]) < _PREFIX:
        return []
    [first] = row["words"]
    condition = sql.SQL("entry.name >= {} AND entry.name < {}")
    return [condition.format(sql.Literal(first), sql.Literal(first + _LAST))]


@asynccontextmanager
async def bounded(system: System) -> AsyncIterator[Connection]:
    """A transaction for searching.

    Raises:
        ServerLimitError: a statement took too long.
    """
    seconds = system.settings.members_timeout_s
    try:
        async with system.pool.connection() as connection:
            await connection.execute(_SQL["bound"], {"milliseconds": round(seconds * 1000)})
            yield connection
    except QueryCanceled as error:
        raise ServerLimitError(
            f"The search took longer than {seconds:g} seconds and was stopped. Narrow it with a "
            "place, or with more letters of a name, or sort by name."
        ) from error


def conditions(filters: Filters, query: str | None) -> sql.Composable:
    """The filters as a condition on ``members AS m``, and with a text query on ``entry``.

    ``query`` is what ``text_query`` made of them.
    """
    found = list(_conditions(filters))
    if query is not None:
        found.append(sql.SQL("entry.lexemes @@ {}::tsquery").format(query))
    return _all(iter([*found, *_numbers(filters)]))


async def _rows(connection: Connection, name: str, parts: dict[str, Any]) -> list[Row]:
    cursor = await connection.execute(sql.SQL(_SQL[name]).format(**parts))
    return await cursor.fetchall()


def _numbers(filters: Filters) -> Iterator[sql.Composable]:
    """The numbers that name a person."""
    if filters.id_number is not None:
        yield sql.SQL("m.id_number = {}").format(sql.Literal(filters.id_number))
    if filters.passport_number is not None:
        number = sql.Literal(filters.passport_number)
        yield sql.SQL("m.identity_kind = 'passport' AND m.identity_number = {}").format(number)


def _conditions(filters: Filters) -> Iterator[sql.Composable]:
    """The filters that the members themselves decide."""
    place = _place(filters)
    if place["province"] is not None:
        yield sql.SQL("m.province = {}").format(sql.Literal(place["province"]))
    if place["municipality"] is not None:
        name = sql.Literal(place["municipality"])
        yield sql.SQL("lower(m.municipality) = lower({})").format(name)
    if filters.ward is not None:
        yield sql.SQL("m.ward = {}").format(sql.Literal(filters.ward))
    if filters.status is not None:
        yield sql.SQL("lower(m.status) = lower({})").format(sql.Literal(filters.status))
    if filters.roll == "not_asked":
        yield sql.SQL("m.roll_status IS NULL")
    elif filters.roll is not None:
        yield sql.SQL("m.roll_status = {}").format(sql.Literal(filters.roll))
    if filters.expires_before is not None:
        yield sql.SQL("m.expiry_date < {}").format(sql.Literal(filters.expires_before))


def _places(filters: Filters, scope: Scope) -> Iterator[sql.Composable]:
    """The same for places, by the index: the filter's, and always the office's own."""
    place = _place(filters)
    for province in {place["province"], scope.province} - {None}:
        yield sql.SQL("entry.province = {}").format(sql.Literal(province))
    for municipality in {place["municipality"], scope.municipality} - {None}:
        name = sql.Literal(municipality)
        yield sql.SQL("entry.municipality = lower({})").format(name)


def _place(filters: Filters) -> dict[str, str | None]:
    """The filter's place by the register.

    Raises:
        InvalidRequestError: it has no such province.
    """
    province, municipality = filters.province, filters.municipality
    if province is not None:
        found = places.find_province(province)
        if found is None or found.how != "known":
            raise InvalidRequestError(
                "There is no such province. Give its code, such as GP, or its name."
            )
        province = found.place.code
    if municipality is not None:
        # Members may have one that the register doesn't know, as their file had it.
        one = places.find_municipality(municipality, province=province)
        municipality = one.place.name if one and one.how != "near" else municipality
    return {"province": province, "municipality": municipality}


async def text_query(
    connection: Connection, filters: Filters, scope: Scope, *, is_loose: bool = False
) -> str | None:
    """The filters as a query of the text index; None where they have no text and no ward.

    Args:
        connection: reads how texts are spelled in the index.
        filters: who.
        scope: the reader's.
        is_loose: find frequent words by their first letters, also in others' names.

    Raises:
        InvalidRequestError: there is a text, and nothing in it can be searched for.
    """
    terms = [term async for term in _terms(connection, filters.search, is_loose=is_loose)]
    if filters.search is not None and filters.search.strip() and not terms:
        raise InvalidRequestError(
            "There is nothing to search for: give letters of a name, digits of a phone number, or "
            "an e-mail address."
        )
    if filters.ward is not None:
        terms.append(_term("w", filters.ward, is_prefix=False))
    if not terms:
        return None
    place = _place(filters)
    if province := place["province"] or scope.province:
        terms.append(_term("p", province, is_prefix=False))
    if municipality := place["municipality"] or scope.municipality:
        folded = await fetch_one(connection, _SQL["lower"], {"text": municipality})
        assert folded is not None
        terms.append(_term("m", folded["lower"], is_prefix=False))
    return " & ".join(terms)


async def _terms(connection: Connection, text: str | None, *, is_loose: bool) -> AsyncIterator[str]:
    """Each word of a search as a term."""
    whole = _PHONE_SIGNS.sub("", text or "")
    # A phone number may be written in groups.
    parts = [whole] if _is_phone(whole) else (text or "").split()
    names: list[str] = []
    for part in parts[:_MOST_WORDS]:
        digits = _PHONE_SIGNS.sub("", part)
        if _is_phone(digits):
            yield _phone(digits)
        elif "@" in part:
            row = await fetch_row(connection, _SQL["folded"], {"text": part})
            yield _term("e", row["folded"], is_prefix=True)
        else:
            names += (await fetch_row(connection, _SQL["words"], {"text": part}))["words"]
    loosely = await _loosely(connection, names if is_loose else [])
    for name in names:
        # All words that three letters begin are one entry of the index.
        if len(name) == _PREFIX or name in loosely:
            yield _term("b", name[:_PREFIX], is_prefix=False)
        else:
            yield _term("n", name, is_prefix=len(name) > _PREFIX)


async def _loosely(connection: Connection, names: list[str]) -> frozenset[str]:
    """The frequent words of these, but for the longest: it says more than its first letters."""
    longest = max(names, key=len, default="")
    found = set()
    for name in names:
        if len(name) == _PREFIX + 1 or (len(name) > _PREFIX and name != longest):
            bounds = {"first": name, "last": name + _LAST, "most": _FREQUENT}
            if (await fetch_row(connection, _SQL["is_frequent"], bounds))["is_frequent"]:
                found.add(name)
    return frozenset(found)


def _is_phone(digits: str) -> bool:
    bare = digits.removeprefix("+")
    return bare.isascii() and bare.isdigit() and len(bare) >= _PHONE


def _phone(digits: str) -> str:
    """The beginning of a phone number as the index has it: with the country's code."""
    if digits.startswith("+"):
        return _term("t", digits[1:], is_prefix=True)
    if digits.startswith("00"):
        return _term("t", digits[2:], is_prefix=True)
    if digits.startswith("0"):
        return _term("t", f"27{digits[1:]}", is_prefix=True)
    # 27 82 ..., 82 ... or another country's code without a plus.
    either = (_term("t", number, is_prefix=True) for number in (digits, f"27{digits}"))
    return f"({' | '.join(either)})"


def _term(kind: str, value: str, *, is_prefix: bool) -> str:
    r"""A term of a text query: quoted, so that no sign in it is an operator.

    >>> _term("n", "o'b", is_prefix=True)
    "'no''b':*"
    """
    quoted = value[:200].replace("\\", "\\\\").replace("'", "''")
    return f"'{kind}{quoted}'{':*' if is_prefix else ''}"


def _order(sort: Sort, after: Position | None) -> dict[str, sql.Composable]:
    """The column to sort by, the order of queries that name it ``key``, and where a page begins."""
    name = sort.removeprefix("-")
    direction = sql.SQL("DESC" if sort.startswith("-") else "ASC")
    key = sql.Identifier("entry", "name") if name == "name" else sql.Identifier("m", name)
    nulls = sql.SQL("" if name == "name" else " NULLS LAST")

    def order(last: str) -> sql.Composable:
        parts = {"direction": direction, "nulls": nulls, "last": sql.Identifier(last)}
        return sql.SQL("key {direction}{nulls}, {last} {direction}").format(**parts)

    return {
        "key": key,
        "order": order("id_number"),
        "page_order": order("at"),
        "after": _after(after, key, sql.Identifier("entry", "id_number")),
        "after_found": _after(after, sql.Identifier("key"), sql.Identifier("id_number")),
    }


def _after(
    after: Position | None, key: sql.Composable, id_number: sql.Composable
) -> sql.Composable:
    """Who comes after a place in the order, as a condition."""
    if after is None:
        return sql.SQL("true")
    parts = {
        "key": key,
        "id_number": id_number,
        "value": sql.Literal(after.key),
        "last": sql.Literal(after.id_number),
        "follows": sql.SQL("<" if after.sort.startswith("-") else ">"),
    }
    if after.key is None:
        query = "({key} IS NULL AND {id_number} {follows} {last})"
    elif after.sort.removeprefix("-") == "name":
        query = "({key}, {id_number}) {follows} ({value}, {last})"
    else:
        query = "(({key}, {id_number}) {follows} ({value}, {last}) OR {key} IS NULL)"
    return sql.SQL(query).format(**parts)


def _all(conditions: Iterator[sql.Composable]) -> sql.Composable:
    found = list(conditions)
    return sql.SQL(" AND ").join(found) if found else sql.SQL("true")


def holds_id_number(text: str) -> bool:
    """Whether a search has a whole ID number in it, which belongs in no address."""
    return _ID_NUMBER.search(_PHONE_SIGNS.sub("", text)) is not None
