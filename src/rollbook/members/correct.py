"""Corrections of one member by hand: checked as a file's row is, with a reason, in the history."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from rollbook import fields
from rollbook.accounts import audit
from rollbook.backends.database import fetch_one, queries
from rollbook.errors import ConflictError, InvalidRequestError
from rollbook.fields.definition import PREFIX
from rollbook.members import history, index, profile
from rollbook.service import clocks

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from uuid import UUID

    from rollbook.accounts.audit import Act
    from rollbook.backends.database import Row
    from rollbook.model import User
    from rollbook.pipeline.correction import Corrected
    from rollbook.service.system import System

#: What the ID number says, and what follows from another field.
_FOLLOW: Final = ("date_of_birth", "gender", "citizenship", "expiry_is_derived")
#: The built-in fields that may be corrected.
FIELDS: Final = tuple(name for name in history.FIELDS if name not in _FOLLOW)

_SQL = queries("member_profile")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Correction:
    """What a correction has changed."""

    #: The row of the table ``members``, afterwards.
    member: Row
    #: The fields that differ now; none where the record said all of it before.
    changed: list[str]
    #: What was taken and is doubtful: ``(field, sentence)``.
    doubts: list[tuple[str, str]]


async def correct(
    system: System,
    user: User,
    member_id: UUID,
    *,
    version: int,
    reason: str,
    given: Mapping[str, str | None],
    act: Act = "correct_member",
) -> Correction:
    """Change fields of a member, who must be in the user's scope before and afterwards.

    ``version`` is that of the record that the user has seen; ``given`` has the new text by field,
    and None or an empty text empties it.

    Raises:
        NotFoundError: there is no member of this id in the reader's scope.
        InvalidRequestError: a field can't be corrected, or its text is refused; ``errors`` says
            which and why. Nothing was changed.
        ConflictError: the member has changed since this version.
        BusyError: a merge has locked the member for too long.
    """
    if unknown := [name for name in given if name not in correctable()]:
        raise InvalidRequestError(
            "Nothing was changed: a field of these can't be corrected.",
            errors=[{"field": name, "message": _why_not(name)} for name in unknown],
        )
    member = await profile.get(system.pool, user, member_id)
    _check_version(member, version)
    today = await clocks.today(system.pool)
    counts_from_joining = system.settings.expiry_from_joining
    read = await asyncio.to_thread(
        _read, member, given, today, user, counts_from_joining=counts_from_joining
    )
    if read.refused:
        raise InvalidRequestError(
            "Nothing was changed: a value can't be taken.",
            errors=[{"field": name, "message": said} for name, said in read.refused],
        )
    written, changed = await _write(system, user, member, read, reason=reason, act=act)
    if changed:
        log.info("member corrected", member_id=str(member_id), fields=changed)
    return Correction(written, changed, read.doubts)


async def _write(
    system: System, user: User, member: Row, read: Corrected, *, reason: str, act: Act
) -> tuple[Row, list[str]]:
    """Write the values, in one transaction with the history and the audit trail.

    Raises:
        ConflictError: the record isn't the one that was read.
    """
    async with profile.changing(system) as connection:
        own = {name: member[name] for name in ("id_number", "changed_at")}
        own |= user.scope.parameters()
        locked = await fetch_one(connection, _SQL["lock"], own)
        if locked is None:
            raise _changed_since()
        differing = _differing(member, read.values)
        if not differing:
            return member, []
        row = await profile.write(connection, user, member["id_number"], differing)
        before, after = history.flat(locked["state"]), history.flat(row.pop("state"))
        changes = {
            name: [before.get(name), after.get(name)]
            for name in history.names_of(before, after)
            if before.get(name) != after.get(name)
        }
        await profile.note_correction(connection, user, row, reason, changes)
        changed = ", ".join(changes)
        await audit.record(connection, act, who=user, member_id=member["member_id"], about=changed)
        await index.write(connection, [int(member["id_number"])])
    return row, list(changes)


def _read(
    member: Row,
    given: Mapping[str, str | None],
    today: dt.date,
    user: User,
    *,
    counts_from_joining: bool,
) -> Corrected:
    # With the first correction, since it takes a third of a second and 40 MB.
    from rollbook.pipeline.correction import corrected  # noqa: PLC0415

    return corrected(
        member,
        given,
        today=today,
        scope=user.scope,
        counts_from_joining=counts_from_joining,
    )


def correctable() -> tuple[str, ...]:
    """The fields that may be corrected, with the organisation's own."""
    return (*FIELDS, *fields.current().by_key)


def _differing(member: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a correction changes; the own fields are in one of them."""
    found = {
        name: value
        for name, value in values.items()
        if not name.startswith(PREFIX) and value != member[name]
    }
    own = {n.removeprefix(PREFIX): v for n, v in values.items() if n.startswith(PREFIX)}
    before = member[history.OWN] or {}
    after = {name: value for name, value in {**before, **own}.items() if value is not None}
    return {**found, history.OWN: after or None} if after != before else found


def _check_version(member: Row, version: int) -> None:
    if profile.version_of(member) != version:
        raise _changed_since()


def _changed_since() -> ConflictError:
    return ConflictError(
        "Somebody has changed this member since you opened it. Nothing was changed now; open the "
        "member again and decide with what it says now."
    )


def _why_not(name: str) -> str:
    if name in {"id_number", "date_of_birth", "gender", "citizenship"}:
        return "It is the ID number's own. Send a file with the right ID number."
    if name == "expiry_is_derived":
        return "It follows from whether an expiry date is given."
    return f"There is no such field. The fields are {', '.join(correctable())}."
