"""The audit trail: one entry per act, written in the transaction of the act where it has one.

An entry holds nothing of a member: no ID number, no name. Triggers make the table append-only
(docs/decisions/0013). Each entry is removed after the time that was set when it was written.
"""

from __future__ import annotations

import contextlib
import getpass
import re
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal, LiteralString, TypedDict, Unpack

from rollbook.backends.database import (
    FIRST_PAGE,
    Listed,
    Paging,
    execute,
    fetch_listed,
    fetch_one,
    queries,
)
from rollbook.errors import RollbookError
from rollbook.masking import masked, visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from rollbook.backends.database import Connection, Pool, Row
    from rollbook.model import User

#: A failed sign-in is a refused ``sign_in``. ``take`` is a file from the watched folder. ``start``
#: and ``end`` are those of a worker's attempt.
Act = Literal[
    "sign_in",
    "sign_out",
    "upload",
    "take",
    "start",
    "end",
    "cancel",
    "retry",
    "undo",
    "clean",
    "pause",
    "resume",
    "download_report",
    "download_refused",
    "download_kept",
    "change_mapping",
    "forget_mapping",
    "view_rows",
    "fix_rows",
    "keep_alias",
    "forget_alias",
    "open_id_number",
    "correct_member",
    "member_status",
    "export_members",
    "download_export",
    "access_member",
    "download_person",
    "erase_member",
    "download_members_report",
    "join_members",
    "separate_members",
    "members_differ",
    "readmit_person",
    "delete",
    "purge",
    "watch_start",
    "watch_stop",
    "user_add",
    "user_password",
    "user_role",
    "user_disable",
    "user_open",
    "user_reset",
    "link_mail",
    "second_factor_on",
    "second_factor_codes",
    "second_factor_off",
    "second_factor_reset",
    "session_end",
    "key_add",
    "key_use",
    "key_revoke",
    "webhook_add",
    "webhook_change",
    "webhook_remove",
    "webhook_again",
]

AGENT_LENGTH = 120
EMAIL_LENGTH = 320
#: An ID number, with up to three other characters between its digits.
_ID_NUMBER = re.compile(r"(?:\d\D{0,3}){13}")

_SQL = queries("audit")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an act comes from."""

    #: The client's address; None: this machine.
    address: str | None = None
    #: The client's program, a worker's name, or ``command line (user)``.
    agent: str | None = None

    @classmethod
    def of_request(cls, address: str | None, agent: str) -> Origin:
        """The origin of a request; the agent becomes short, harmless text."""
        shown = masked("".join(c for c in agent if c.isprintable()))[:AGENT_LENGTH].strip()
        return cls(address, shown or None)

    @classmethod
    def of_command_line(cls) -> Origin:
        """The origin of a command: the user of the operating system."""
        try:
            return cls(None, f"command line ({getpass.getuser()})")
        except (OSError, KeyError):  # a container's user may have no name
            return cls(None, "command line")


def network_of(address: str | None) -> str:
    """An address as one subscriber's: in IPv6 its network of 64 bits."""
    given = address or ""
    try:
        parsed = ip_address(given.partition("%")[0])
    except ValueError:
        return given[:64]
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return f"{int(parsed) >> 64:x}::/64"
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


#: The origin of the current request, command or service.
origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - it is frozen


class Details(TypedDict, total=False):
    """What an entry may say besides the act and the person."""

    #: The upload concerned.
    job_id: UUID | None
    #: The member concerned.
    member_id: UUID | None
    #: The code of the error with which the act was refused; None when it was not.
    refused: str | None
    #: The code of the error with which the act failed.
    failed: str | None
    #: What an unknown person typed as an e-mail address.
    email: str | None
    #: What the act concerns where the job does not say it; nothing of a member.
    about: str | None
    #: Who acts where ``origin`` does not say it, such as a worker's name.
    agent: str | None


def entry(
    act: Act, *, who: User | None, **details: Unpack[Details]
) -> tuple[LiteralString, dict[str, Any]]:
    """The statement that writes an entry: ``connection.execute(*entry(...))``, blocking or not.

    ``who`` is the person who acts; None for a worker and for an unknown person.
    """
    place = origin.get()
    refused, failed = details.get("refused"), details.get("failed")
    agent, about = details.get("agent"), details.get("about")
    return _SQL["record"], {
        "act": act,
        "outcome": "refused" if refused else "failed" if failed else "done",
        "code": refused or failed,
        "user_id": who.id if who else None,
        "email": who.email if who else _typed(details.get("email")),
        "role": who.role.value if who else None,
        "province": who.scope.province if who else None,
        "municipality": who.scope.municipality if who else None,
        "address": place.address,
        "agent": masked(agent or place.agent or "") or None,
        "job_id": details.get("job_id"),
        "member_id": details.get("member_id"),
        "about": about and masked(about),
    }


def of_attempt(
    act: Literal["start", "end"], upload: Row, *, failed: str | None = None
) -> tuple[LiteralString, dict[str, Any]]:
    """The statement for a worker's entry about an attempt, blocking or not.

    ``upload`` is the row as it was claimed; ``failed`` the error code with which it ended.
    """
    return entry(
        act,
        who=None,
        job_id=upload["id"],
        failed=failed,
        about=f"attempt {upload['attempt']}",
        agent=upload["worker"],
    )


async def record(
    where: Pool | Connection, act: Act, *, who: User | None, **details: Unpack[Details]
) -> None:
    """Write an entry; ``where`` is as in ``database.execute``."""
    await execute(where, *entry(act, who=who, **details))


@contextlib.asynccontextmanager
async def refusals(
    pool: Pool, act: Act, *, who: User | None, **details: Unpack[Details]
) -> AsyncIterator[None]:
    """Write an entry when the body raises a refusal; the transaction of the act has ended by then.

    A client that repeats a refused act gets one entry a minute for each act and reason, and one
    with the number of the others (``write_counts``); sign-ins are counted by address as well. An
    unreachable part is no refusal.
    """
    try:
        yield
    except RollbookError as error:
        if error.status < 500:
            details["refused"] = error.code
            _, values = entry(act, who=who, **details)
            key = f"{values['user_id']} {act} {error.code}"
            if act == "sign_in":  # of several people, where a password is known to more than one
                key += f" {network_of(values['address'])}"
            async with pool.connection() as connection:
                counted = await fetch_one(connection, _SQL["count_refusal"], {**values, "key": key})
                if counted is None or counted["is_first"]:
                    await record(connection, act, who=who, **details)
        raise


async def write_counts(connection: Connection) -> None:
    """Write what ``refusals`` only counted, a minute after the first of each kind."""
    await connection.execute(_SQL["write_counts"])


@contextlib.asynccontextmanager
async def noting(
    pool: Pool, act: Act, *, who: User | None, about: str | None = None
) -> AsyncIterator[None]:
    """Write an entry when the body, which does something outside of PostgreSQL, succeeds."""
    async with pool.connection() as connection:
        await record(connection, act, who=who, about=about)
        yield


def _typed(email: str | None) -> str | None:
    """The typed address; None where it is none, as it may be a password or an ID number."""
    shown = " ".join(visible(email or "").split())
    if "@" not in shown or _ID_NUMBER.search(shown):
        return None
    return shown[:EMAIL_LENGTH]


async def entries(
    pool: Pool,
    reader: User,
    *,
    own: bool = False,
    job_id: UUID | None = None,
    act: Act | None = None,
    after: int | None = None,
    paging: Paging = FIRST_PAGE,
    most: int = 10_000,
) -> Listed:
    """A page of entries in the reader's scope, newest first, from before the entry ``after``.

    With ``own``, only the reader's own entries. More than ``most`` are estimated.
    """
    parameters = {
        "user_id": reader.id,
        "job_id": job_id,
        "act": act,
        "after": after,
        **reader.scope.parameters(),
    }
    name = "entries_of" if own else "entries"
    return await fetch_listed(pool, _SQL, name, parameters, paging, most=most)


async def keep_for(connection: Connection, *, days: int) -> None:
    """Set how long new entries are retained; earlier ones retain their own time."""
    await execute(connection, _SQL["keep_for"], {"days": days})


async def forget(connection: Connection, *, dry_run: bool = False) -> int:
    """Remove the entries whose time is over, or only count them; returns their number."""
    if not dry_run:
        return await execute(connection, _SQL["forget"])
    row = await fetch_one(connection, _SQL["over"])
    return row["over"] if row else 0
