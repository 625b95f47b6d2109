"""History: what changed a member and when, and where each field's value comes from.

It is read backwards from the member as it is: each correction has its former values, and each
upload that changed the member has stored what the member was before. So the difference between two
states is what happened in between. Former values are kept for ROLLBOOK_UNDO_DAYS; of what is older
only the last upload before is known.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from rollbook.backends.database import fetch_all, fetch_one, queries
from rollbook.fields.definition import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from rollbook.backends.database import Connection, Row
    from rollbook.model import User

#: The fields of a member that files bring, in the order in which they are shown.
FIELDS: Final = (
    "firstname", "surname", "date_of_birth", "gender", "citizenship", "race", "language",
    "cell_number", "landline_number", "email", "residential_address", "occupation",
    "qualification", "province", "region", "municipality", "ward", "voting_station",
    "voting_district", "date_joined", "last_payment", "expiry_date", "expiry_is_derived",
    "subscription", "membership_amount", "status",
)  # fmt: skip
#: The column of own fields, a JSON document.
OWN: Final = "own_fields"
#: ``elsewhere``: the change was made in the database itself.
How = Literal["created", "upload", "correction", "elsewhere"]

_SQL = queries("member_profile")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from."""

    how: How
    #: None where it isn't known.
    at: dt.datetime | None
    #: The upload; None where it is another office's.
    job_id: UUID | None = None
    #: The row of its file; None where that isn't stored (any more).
    row_number: int | None = None
    #: Who corrected it; None where the account is another office's.
    by: str | None = None
    reason: str | None = None
    #: False: the value is from this upload or an earlier one.
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed the member."""

    source: Source
    #: ``(before, after)`` by field; None where it was or is empty.
    changes: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of how a member came to be what it is."""

    #: The latest first; the last is how the member was created, with the fields of then.
    events: list[Event]
    #: By field, for those that have a value or lost one.
    sources: dict[str, Source] = field(default_factory=dict)


async def read(connection: Connection, user: User, member: Row) -> History:
    """The history of a member; uploads and accounts of other offices are not named.

    The connection is in one transaction with what has found the member.
    """
    own = {
        "id_number": member["id_number"],
        "member_id": member["member_id"],
        "created_by_upload": member["created_by_upload"],
        **user.scope.parameters(),
    }
    now = await fetch_one(connection, _SQL["state"], own)
    changes = await fetch_all(connection, _SQL["changes_of"], own)
    corrections = await fetch_all(connection, _SQL["corrections_of"], own)
    steps = sorted([*changes, *corrections], key=lambda step: step["at"], reverse=True)
    state = flat(now["state"]) if now else {}
    events = []
    for step in steps:
        event = _correction(state, step) if "reason" in step else _upload(state, step)
        if event.changes:
            events.append(event)
    events.append(await _beginning(connection, user, member, state))
    sources: dict[str, Source] = {}
    for event in events:
        for name in event.changes:
            sources.setdefault(name, event.source)
    return History(events, sources)


def _correction(state: dict[str, Any], step: Row) -> Event:
    """A correction; turns the state back to before it."""
    changes = {name: (before, after) for name, (before, after) in step["changes"].items()}
    for name, (before, _) in changes.items():
        _set(state, name, before)
    return Event(Source("correction", step["at"], by=step["by"], reason=step["reason"]), changes)


def _upload(state: dict[str, Any], step: Row) -> Event:
    """What an upload changed, or somebody in the database; turns the state back to before it."""
    before = flat(step["before"])
    changes = {
        name: (before.get(name), state.get(name))
        for name in names_of(before, state)
        if before.get(name) != state.get(name)
    }
    state.clear()
    state.update(before)
    if step["is_edit"]:
        return Event(Source("elsewhere", step["at"]), changes)
    return Event(
        Source("upload", step["at"], job_id=step["job_id"], row_number=step["row_number"]), changes
    )


async def _beginning(
    connection: Connection, user: User, member: Row, state: dict[str, Any]
) -> Event:
    """How the member was created; or the last upload before what is stored, where there was one."""
    changed_by, created_by = state.get("changed_by_upload"), member["created_by_upload"]
    is_creation = changed_by in {None, str(created_by)}
    own = {"ids": [created_by if is_creation else changed_by], **user.scope.parameters()}
    shown = await fetch_one(connection, _SQL["shown"], own)
    job_id = shown["id"] if shown else None
    if is_creation:
        source = Source(
            "created",
            member["created_at"],
            job_id=job_id,
            row_number=member["created_by_row"] if shown else None,
        )
    else:
        at = dt.datetime.fromisoformat(state["changed_at"])
        source = Source("upload", at, job_id=job_id, is_certain=False)
    found = {name: (None, state[name]) for name in names_of(state) if state.get(name) is not None}
    return Event(source, found)


def flat(state: Mapping[str, Any]) -> dict[str, Any]:
    """A member as a document, with its own fields among the built-in ones."""
    found = dict(state)
    own = found.pop(OWN, None) or {}
    return {**found, **{PREFIX + name: value for name, value in own.items()}}


def names_of(*states: Mapping[str, Any]) -> list[str]:
    """The fields of such documents: the built-in ones, and the own ones that any of them has."""
    own = dict.fromkeys(name for state in states for name in state if name.startswith(PREFIX))
    return [*FIELDS, *own]


def _set(state: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        state.pop(name, None)
    else:
        state[name] = value
