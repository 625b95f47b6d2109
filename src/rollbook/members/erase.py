"""Erasure: a person goes from everything that is held, and a keyed hash stays.

The request removes the record at once. A worker then looks through all that is stored, upload by
upload, since a refused row or a dry run may hold the person too (``erase_files``). The receipt says
how much was removed, and nothing of the person.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import structlog
from psycopg.types.json import Jsonb

from rollbook.accounts import audit, tokens
from rollbook.accounts.erased import erased_hash
from rollbook.backends.database import execute, fetch_all, fetch_one, fetch_row, queries
from rollbook.errors import ConflictError, InvalidRequestError, NotFoundError
from rollbook.members import index, profile
from rollbook.members.person import Person
from rollbook.pipeline.problems import sentence
from rollbook.service.due import claim_row, work_on_due
from rollbook.service.rounds import every
from rollbook.telemetry import logs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from rollbook.backends.database import Connection, Row
    from rollbook.model import User
    from rollbook.service.system import System

#: Seconds of a claim's lease, and between two renewals.
LEASE_S: Final = 60.0
RENEW_S: Final = 20.0
#: Longest pause before a failed erasure is retried, in seconds. It is retried until it succeeds.
LONGEST_PAUSE_S: Final = 300.0

_SQL = queries("member_erase")
log = structlog.get_logger(__name__)


async def erase(system: System, user: User, who: UUID | str, *, reason: str) -> Row:
    """Erase a person: the record at once, everything else by a worker; returns the receipt.

    Records that were joined to this one are the same person's. They are erased with it, each with a
    receipt of its own (``joined``): afterwards nothing would say that they are.

    Args:
        system: the opened parts.
        user: who asks for it.
        who: a member's id; or an ID number, also of somebody whose record a list has removed, or a
            join has taken away, and who isn't brought back by this.
        reason: for the receipt.

    Raises:
        NotFoundError: nothing is held under this id or ID number in the reader's scope.
        InvalidRequestError: the reason, which the receipt keeps, names the person.
        BusyError: a merge has locked the member for too long.
    """
    async with profile.changing(system, done="erased") as connection:
        member = await _found(connection, user, who)
        receipt = await _erased(connection, system, user, member, reason)
        # Nobody can be joined to a record that is gone.
        own = {"id_number": member["id_number"]}
        joined = [
            (await _erased(connection, system, user, row["record"], reason))["id"]
            for row in await fetch_all(connection, _SQL["joined_to"], own)
        ]
    for receipt_id in (receipt["id"], *joined):
        log.info("member erased", receipt=str(receipt_id))
    return {**receipt, "joined": joined}


async def _erased(
    connection: Connection, system: System, user: User, member: Row, reason: str
) -> Row:
    """Remove a record, and ask for all else; returns the receipt."""
    person = Person.of(member)
    if person.is_named_in(reason) or person.number.search(reason):
        raise InvalidRequestError(
            "The reason stays with the receipt, so it must not name the person: leave out "
            "names and numbers. Nothing was erased."
        )
    key = tokens.signing_key(system.settings)
    own = {"id_number": member["id_number"]}
    hashed = {"hash": erased_hash(key, member["id_number"]), "key_id": tokens.key_id(key)}
    counts = {
        name: await execute(connection, _SQL[f"remove_{query}"], own)
        for name, query in (
            ("members", "member"),
            ("corrections", "corrections"),
            # An answer is stored only beside its question.
            ("voter_roll_questions", "questions"),
            ("voter_roll_answers", "answers"),
        )
    }
    await execute(connection, _SQL["note_person"], hashed)
    wanted: dict[str, Any] = {
        "id": uuid4(),
        "user_id": user.id,
        "email": user.email,
        "reason": reason,
        "person": Jsonb(
            {
                **person.as_json(),
                "member_id": str(member["member_id"]),
                "key": member["id_number"],
            }
        ),
        "counts": Jsonb(counts),
    }
    receipt = await fetch_row(connection, _SQL["request"], wanted)
    await audit.record(
        connection, "erase_member", who=user, member_id=member["member_id"],
        about=f"receipt {receipt['id']}",
    )  # fmt: skip
    await index.write(connection, [int(member["id_number"])])
    return receipt


async def _found(connection: Connection, user: User, who: UUID | str) -> Row:
    """The record of a member, or of somebody who was one."""
    if isinstance(who, UUID):
        return await profile.get(connection, user, who)
    asked = {"id_number": who, **user.scope.parameters()}
    found = await fetch_one(connection, _SQL["record_by_number"], asked)
    if found is None:
        raise NotFoundError(
            "Nobody with this ID number is a member, and no record of such a person is stored. "
            "Nothing was erased."
        )
    record: Row = found["record"]
    return record


async def get(system: System, receipt_id: UUID) -> Row:
    """A receipt, for operators.

    Raises:
        NotFoundError: there is none of this id.
    """
    found = await fetch_one(system.pool, _SQL["get"], {"id": receipt_id})
    if found is None:
        raise NotFoundError("There is no such receipt. Check its id.")
    return found


async def readmit(system: System, user: User, number: str, country: str | None = None) -> None:
    """Let an erased person be taken in again: the hash goes.

    ``number`` is the ID number, or that of a passport of the country.

    Raises:
        InvalidRequestError: there is no such country, or its passports name nobody.
        NotFoundError: nobody with this number was erased.
        ConflictError: the person's erasure is still being carried out.
    """
    if country is not None:
        number = _key_of_passport(number, country)
    keys = tokens.erasure_keys(system.settings)
    hashes = [erased_hash(key, number) for key in keys]
    async with system.pool.connection() as connection:
        pending = await fetch_one(connection, _SQL["pending_of"], {"number": number})
        if pending is not None:
            raise ConflictError(
                "This person's erasure is still being carried out, and would remove what a new "
                "file says of the person. Nothing was changed; try again when the receipt "
                f"{pending['id']} is completed."
            )
        if not await execute(connection, _SQL["readmit"], {"hashes": hashes}):
            raise NotFoundError("Nobody with this number was erased. Nothing was changed.")
        await audit.record(connection, "readmit_person", who=user)
    log.info("person readmitted")


def _key_of_passport(number: str, country: str) -> str:
    # Its module loads polars, which the API needs for hardly anything else.
    from rollbook.pipeline.documents import document_of, key_of  # noqa: PLC0415

    code, document = document_of(number, country)
    if document is None:
        raise InvalidRequestError(f"{sentence(code)} Nothing was changed.")
    return key_of(document)


async def carry_out_due(
    system: System,
    carry_out: Callable[[UUID], Awaitable[bool]],
    stop: asyncio.Event,
    *,
    turn: asyncio.Semaphore | None = None,
) -> None:
    """Carry out the erasures that are due, one at a time, until ``stop`` is set.

    ``carry_out`` works on one and returns whether there is more of it. What is under way at the end
    is continued by another process. ``turn`` is that of ``work_on_due``.
    """

    async def work(claimed: Row) -> None:
        own = {"id": claimed["id"], "tries": claimed["tries"]}

        async def renew() -> None:
            await execute(system.pool, _SQL["renew"], {**own, "lease_s": LEASE_S})

        wait_s = 0.0
        try:
            async with every(RENEW_S, renew, service="lease of an erasure"):
                await carry_out(claimed["id"])
        except Exception as error:  # noqa: BLE001 - its text may quote a cell
            wait_s = min(system.settings.backoff_ms / 1000 * 2 ** min(claimed["tries"], 10),
                         LONGEST_PAUSE_S)  # fmt: skip
            log.warning(
                "erasure postponed",
                receipt=str(claimed["id"]),
                error=type(error).__name__,
                where=logs.places(error),
            )
        await execute(system.pool, _SQL["postpone"], {**own, "wait_s": wait_s})

    claim = partial(claim_row, system.pool, _SQL, LEASE_S)
    await work_on_due(stop, claim, work, concurrency=1, grace_s=0, service="erasures", turn=turn)
