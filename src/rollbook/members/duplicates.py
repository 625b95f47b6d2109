"""Possible duplicates: members who may be one person, found after each merge and decided by hand.

A merge knows people by their ID number. Who has two of them is two members: a typing error that is
another right number, a passport and later an ID number. A round of a worker looks for pairs among
the members whom a merge has written, in blocks that are small, and compares names in them.

Nothing is ever joined by itself. "Not the same" is remembered.
"""

from __future__ import annotations

import asyncio
import unicodedata
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import structlog
from psycopg.types.json import Jsonb

from rollbook.accounts import audit
from rollbook.backends.database import (
    exclusive,
    execute,
    fetch_all,
    fetch_listed,
    fetch_one,
    lock,
    queries,
    unbounded,
)
from rollbook.errors import ConflictError, NotFoundError
from rollbook.members import correct, history, index, profile
from rollbook.uploads.undo import RECORDS_LOCK, lock_of_undo

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.backends.database import Connection, Listed, Paging, Row
    from rollbook.model import Scope, User
    from rollbook.service.system import System

Why = Literal["name_and_birth", "one_digit", "phone"]
Status = Literal["open", "joined", "different"]

#: Held by the process that looks for duplicates.
LOCK: Final = "duplicates"
#: A phone number that more members have says nothing of one of them: an office's, a school's.
MOST_PER_PHONE: Final = 20
#: Likewise for a birth date with the beginning of a name.
MOST_PER_BLOCK: Final = 200
#: Groups of members that are looked at together: reading all members costs the same for one group
#: and for fifty, which are a million members.
GROUPS_AT_ONCE: Final = 50
#: Candidates that are in memory.
CANDIDATES_AT_ONCE: Final = 20_000
#: Digits of an ID number that aren't its check digit, which differs with any other.
_SAID: Final = 12
#: Two ID numbers of one birth date that differ in a digit are a stronger sign than the date alone,
#: so the names may differ more.
_LOOSER: Final = 10

#: Who is locked, in the sentence about it.
_OF_PAIR: Final = "A member of the two"

_SQL = queries("duplicates")
log = structlog.get_logger(__name__)


class Pair(NamedTuple):
    """Two members who may be one person."""

    #: The keys, in their order.
    one: str
    other: str
    why: Why
    #: How alike the names are, 0 to 100.
    score: float


async def run_once(system: System) -> int:
    """Look at all members who are due, one transaction after the other; returns the pairs found.

    Another process that is looking at this moment is left to it.
    """
    total = 0
    while (found := await _step(system)) is not None:
        total += found
    await execute(system.pool, _SQL["forget_old_joins"], {"days": system.settings.undo_days})
    if total:
        log.info("possible duplicates found", pairs=total)
    return total


async def _step(system: System) -> int | None:
    async with exclusive(system.pool, LOCK) as connection:
        if connection is None:
            return None
        due = await fetch_one(connection, _SQL["due"], {"most": GROUPS_AT_ONCE})
        if due is None or due["groups"] is None:
            return None
        unbounded(connection)
        await execute(connection, _SQL["bound"])
        pairs = await _pairs(connection, due["groups"], system.settings.duplicates_threshold)
        await execute(connection, _SQL["close_joined"], {"groups": due["groups"]})
        await execute(connection, _SQL["forget_open"], {"groups": due["groups"]})
        if pairs:
            columns = dict(zip(Pair._fields, zip(*pairs, strict=True), strict=True))
            found = {n: list(v) for n, v in columns.items()}
            await execute(connection, _SQL["note"], found)
            await execute(connection, _SQL["place_again"], found)
        await execute(connection, _SQL["done"], {"groups": due["groups"]})
        return len(pairs)


async def _pairs(connection: Connection, groups: list[int], threshold: float) -> list[Pair]:
    """The pairs of these groups, each once; candidates are in memory a few at a time."""
    asked = {
        "groups": groups,
        "most_per_phone": MOST_PER_PHONE,
        "most_per_block": MOST_PER_BLOCK,
    }
    found: dict[tuple[str, str], Pair] = {}
    async with connection.cursor(name="candidates") as cursor:
        await cursor.execute(_SQL["candidates"], asked)
        while rows := await cursor.fetchmany(CANDIDATES_AT_ONCE):
            for pair in await asyncio.to_thread(compared, rows, threshold):
                _keep_strongest(found, pair)
    return list(found.values())


def compared(candidates: list[Row], threshold: float) -> list[Pair]:
    """The pairs whose names are alike enough; each once, by its strongest sign.

    Args:
        candidates: rows of the query ``candidates``.
        threshold: the least likeness of two names, 0 to 100.
    """
    # A few megabytes, which only this needs.
    from rapidfuzz.distance import OSA  # noqa: PLC0415

    found: dict[tuple[str, str], Pair] = {}
    # Members of a block are in many of its pairs.
    folded: dict[str, str] = {}
    for row in candidates:
        one, other, block = row["one"], row["other"], row["block"]
        names = row["one_name"], row["other_name"]
        for name in names:
            if name not in folded:
                folded[name] = _folded(name)
        # Few candidates are so near that their numbers matter.
        loosest = threshold - _LOOSER if block == "birth" else threshold
        first, second = (folded[name] for name in names)
        # In either order of the words. A letter that is wrong, missing, too many or swapped counts
        # once, so that names which differ by a syllable are less alike.
        score = 100 * max(
            OSA.normalized_similarity(first, second),
            OSA.normalized_similarity(_sorted(first), _sorted(second)),
        )
        if score < loosest:
            continue
        is_near = _differ_in_one_digit(one, other)
        least = loosest if is_near else threshold
        if score < least or (block == "number" and not is_near):
            continue
        why: Why = "phone" if block == "phone" else "name_and_birth"
        pair = Pair(one, other, "one_digit" if is_near else why, round(score, 1))
        _keep_strongest(found, pair)
    return list(found.values())


def _keep_strongest(found: dict[tuple[str, str], Pair], pair: Pair) -> None:
    before = found.get((pair.one, pair.other))
    if before is None or _STRENGTH[pair.why] > _STRENGTH[before.why]:
        found[pair.one, pair.other] = pair


#: Which sign of a pair is shown, where it has several.
_STRENGTH: Final[dict[Why, int]] = {"phone": 0, "name_and_birth": 1, "one_digit": 2}


def _differ_in_one_digit(one: str, other: str) -> bool:
    if len(one) != len(other) or len(one) != _SAID + 1:
        return False
    return sum(a != b for a, b in zip(one[:_SAID], other[:_SAID], strict=True)) == 1


def _sorted(name: str) -> str:
    return " ".join(sorted(name.split()))


def _folded(name: str) -> str:
    """A name in small letters without accents, signs and initials."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = (c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    words = "".join(letters).split()
    longer = [word for word in words if len(word) > 1]
    return " ".join(longer if len(longer) > 1 else words)


async def page(
    system: System, user: User, paging: Paging, *, status: Status, why: Why | None
) -> Listed:
    """A page of the pairs in the reader's scope.

    The likeliest come first; of joins, the latest. Joins are those that can be taken back.
    """
    asked = {"status": status, "why": why, **user.scope.parameters()}
    query = "joined_page" if status == "joined" else "page"
    parts = {
        "why": _SQL["any_why" if why is None else "this_why"],
        "place": _SQL[_place(user.scope)],
    }
    asking = {name: _SQL[name].format(**parts) for name in (query, f"{query}_counted")}
    most = system.settings.list_most_counted
    return await fetch_listed(system.pool, asking, query, asked, paging, most=most)


def _place(scope: Scope) -> str:
    """The query that narrows pairs to an office's place, by an index."""
    if scope.municipality is not None:
        return "this_municipality"
    return "any_place" if scope.province is None else "this_province"


async def is_behind(system: System) -> bool:
    """Whether members of a merge are still to be looked at."""
    found = await fetch_one(system.pool, _SQL["behind"])
    return found is not None and found["groups"] > 0


async def are_different(system: System, user: User, pair_id: UUID) -> None:
    """Remember that two members are different people: the pair isn't found again.

    Raises:
        NotFoundError: there is no such open pair in the reader's scope.
        BusyError: a merge has locked a member for too long.
    """
    async with profile.changing(system, _OF_PAIR) as connection:
        rows = await _locked(connection, user, pair_id)
        await _decide(connection, user, pair_id, "different")
        for row in rows:
            await _record(connection, "members_differ", user, row, pair_id)
    log.info("members are different", pair_id=str(pair_id))


async def join(
    system: System, user: User, pair_id: UUID, *, keep: UUID, reason: str
) -> dict[str, list[Any]]:
    """Join two members by hand: one keeps the number and gets the fields that only the other has.

    Args:
        system: the opened parts.
        user: who decides; both members are in the scope.
        pair_id: which two.
        keep: the member who stays; the other one's record goes.
        reason: for the history.

    Returns:
        The fields that were filled, with ``[before, after]``.

    Raises:
        NotFoundError: there is no such open pair in the reader's scope, or ``keep`` is of another.
        BusyError: a merge has locked a member for too long.
    """
    async with profile.changing(system, _OF_PAIR) as connection:
        rows = await _locked(connection, user, pair_id)
        kept = next((row for row in rows if row["record"]["member_id"] == str(keep)), None)
        if kept is None:
            raise NotFoundError("The member to keep is none of the two. Nothing was changed.")
        gone = next(row for row in rows if row is not kept)
        scope = user.scope.parameters()
        filled = _missing(kept["record"], gone["record"])
        if filled:
            columns = dict(filled)
            if history.OWN in filled:
                columns[history.OWN] = {
                    **kept["record"].get(history.OWN, {}),
                    **filled[history.OWN],
                }
            row = await profile.write(connection, user, kept["id_number"], columns)
            await profile.note_correction(connection, user, row, reason, _changes(filled))
        values: dict[str, Any] = {
            "id": pair_id,
            "kept": kept["id_number"],
            "gone": gone["id_number"],
            "record": Jsonb(gone["record"]),
            "filled": Jsonb(filled),
        }
        await execute(connection, _SQL["hand_over"], {"id": pair_id})
        await execute(connection, _SQL["note_join"], values)
        await execute(connection, _SQL["remove_gone"], {**values, **scope})
        await _decide(connection, user, pair_id, "joined")
        for row in rows:
            await _record(connection, "join_members", user, row, pair_id)
        await index.write(connection, [int(row["id_number"]) for row in rows])
    log.info("members joined", pair_id=str(pair_id), fields=list(filled))
    return _changes(filled)


async def separate(system: System, user: User, pair_id: UUID, *, reason: str) -> bool:
    """Take a join back: the record that went comes back, and filled fields are emptied again.

    A field that was changed since then stays. If the member who was kept is gone since, only the
    record comes back. It stays away where the upload that created it was undone since and nothing
    else held it, as with the undoing of a removal.

    Returns:
        Whether the record came back.

    Raises:
        NotFoundError: there is no such join in the reader's scope, or it is too old.
        ConflictError: the person who went is a member again.
        BusyError: a merge has locked the member for too long.
    """
    scope = user.scope.parameters()
    async with profile.changing(system, _OF_PAIR) as connection:
        await lock(connection, RECORDS_LOCK, is_shared=True)
        for maker in await fetch_all(connection, _SQL["makers"], {"id": pair_id}):
            # Undoing it decides whether and how the record comes back, or sees that it has.
            await lock(connection, lock_of_undo(maker["id"]))
        await execute(connection, _SQL["lock_kept"], {"id": pair_id, **scope})
        found = await fetch_one(connection, _SQL["lock_join"], {"id": pair_id, **scope})
        if found is None:
            raise NotFoundError(
                "There is no such join that can be taken back. Its record is kept for "
                f"{system.settings.undo_days} days."
            )
        is_wanted = not found["is_unwanted"]
        if is_wanted and not await execute(
            connection, _SQL["bring_back"], {"id": pair_id, **scope}
        ):
            raise ConflictError(
                "The record that went is a member again, by a later file. Nothing was changed; "
                "look at both members."
            )
        emptied = _as_filled(found["filled"], found["now_"] or {})
        if emptied:
            changes = {name: [v, None] for name, v in history.flat(emptied).items()}
            columns: dict[str, Any] = dict.fromkeys(emptied)
            if history.OWN in emptied:
                own = found["now_"][history.OWN].items()
                left = {n: v for n, v in own if n not in emptied[history.OWN]}
                # As merges store it where there are none.
                columns[history.OWN] = left or None
            row = await profile.write(connection, user, found["kept"], columns)
            await profile.note_correction(connection, user, row, reason, changes)
        await execute(connection, _SQL["forget_join"], {"id": pair_id})
        if found["status"] != "different":
            await _decide(connection, user, pair_id, "open")
        await audit.record(
            connection,
            "separate_members",
            who=user,
            member_id=found["member_id"],
            about=f"pair {pair_id}",
        )
        await index.write(connection, [int(found["kept"]), int(found["gone"])])
    log.info("members separated", pair_id=str(pair_id), is_back=is_wanted)
    return is_wanted


async def _locked(connection: Connection, user: User, pair_id: UUID) -> list[Row]:
    """Both members of an open pair, locked.

    Raises:
        NotFoundError: there is no such pair, or one of them is another office's.
    """
    asked = {"id": pair_id, **user.scope.parameters()}
    await lock(connection, RECORDS_LOCK, is_shared=True)
    rows = await fetch_all(connection, _SQL["lock_pair"], asked)
    if len(rows) != 2:
        raise NotFoundError(
            "There is no such pair. Somebody may have decided it, or changed one of the members."
        )
    return rows


async def _decide(connection: Connection, user: User, pair_id: UUID, status: str) -> None:
    decided = {"id": pair_id, "status": status, "by": user.email}
    await execute(connection, _SQL["decide"], decided)


async def _record(
    connection: Connection, act: audit.Act, user: User, row: Row, pair_id: UUID
) -> None:
    member_id = row["record"]["member_id"]
    await audit.record(connection, act, who=user, member_id=member_id, about=f"pair {pair_id}")


def _missing(kept: dict[str, Any], gone: dict[str, Any]) -> dict[str, Any]:
    """The fields that only the record that goes has; own fields in their document."""
    found: dict[str, Any] = {n: gone[n] for n in correct.FIELDS if n in gone and n not in kept}
    had = kept.get(history.OWN, {})
    if own := {n: v for n, v in gone.get(history.OWN, {}).items() if n not in had}:
        found[history.OWN] = own
    if "expiry_date" in found:
        found["expiry_is_derived"] = gone.get("expiry_is_derived")
    return found


def _as_filled(filled: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Those of the filled fields that still have the value; own fields in their document."""
    found = {n: v for n, v in filled.items() if n != history.OWN and now.get(n) == v}
    has = now.get(history.OWN, {})
    if own := {n: v for n, v in filled.get(history.OWN, {}).items() if has.get(n) == v}:
        found[history.OWN] = own
    return found


def _changes(filled: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [None, value] for name, value in history.flat(filled).items()}
