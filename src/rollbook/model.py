"""The types that all packages share: roles, scopes, users, and an upload's states and outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    import datetime as dt
    from uuid import UUID

    from rollbook.backends.database import Row

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
FINAL = frozenset({"completed", "failed", "cancelled"})
Outcome = Literal["inserted", "updated", "unchanged", "invalid", "duplicate", "out_of_scope"]
#: Every outcome that a row may have, in the order in which reports name them.
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
#: The outcomes of refused rows.
REFUSED: tuple[Outcome, ...] = ("invalid", "duplicate", "out_of_scope")
#: What a key for programs may be used for.
KeyScope = Literal["upload", "read", "operate", "members"]
KEY_SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
Existing = Literal["update", "fill", "skip"]
#: What the people of a file are: members, or a list of members to remove or to give a status.
UploadKind = Literal["members", "removal"]
#: When the voter roll is asked; see ``Options.verify``.
Verify = Literal["after_merge", "before_merge"]
#: A row's verification result: the roll's answer compared with the row's ward, or its absence.
Result = Literal[
    "registered",
    "other_ward",
    "without_district",
    "not_registered",
    "deceased",
    "international",
    "pending",
    "error",
]
RESULTS: tuple[Result, ...] = get_args(Result)
#: The percentage at which each stage begins, measured with a workbook of 100,000 rows. The first
#: three stages alternate, so they share one range.
STAGES: Final = {
    "read": 1,
    "normalise": 1,
    "validate": 1,
    "match": 40,
    "verify": 47,
    "merge": 48,
    "report": 70,
}


class Role(StrEnum):
    """What a user may do; the scope says where."""

    SUPER_ADMIN = "super_admin"
    NATIONAL_ADMIN = "national_admin"
    PROVINCE_ADMIN = "province_admin"
    MUNICIPALITY_ADMIN = "municipality_admin"

    @property
    def priority(self) -> int:
        """The queue priority of this role's uploads; lower is first."""
        return _PRIORITIES[self]

    @property
    def is_operator(self) -> bool:
        """Whether this role may see and control the whole queue."""
        return self in (Role.SUPER_ADMIN, Role.NATIONAL_ADMIN)


_PRIORITIES = {
    Role.SUPER_ADMIN: 1,
    Role.NATIONAL_ADMIN: 3,
    Role.PROVINCE_ADMIN: 5,
    Role.MUNICIPALITY_ADMIN: 10,
}


@dataclass(frozen=True, slots=True)
class Scope:
    """An office's place; null in both fields is the national office, which includes every place.

    The rule itself is the SQL function ``in_scope`` (migration 0001), so that lists, single
    records and merges can't differ.
    """

    #: Province code such as ``GP``.
    province: str | None = None
    municipality: str | None = None

    def parameters(self) -> dict[str, str | None]:
        """The parameters of every query that calls ``in_scope``."""
        return {"scope_province": self.province, "scope_municipality": self.municipality}

    def includes(self, place: Scope) -> bool:
        """Whether uploads from a place are in this office's scope.

        The same rule as ``in_scope``, for messages to a thousand clients, which can't each cause a
        query. A test compares the two.
        """
        if self.province is not None and place.province != self.province:
            return False
        if self.municipality is None:
            return True
        return (
            place.municipality is not None
            and place.municipality.lower() == self.municipality.lower()
        )

    def __str__(self) -> str:
        """The place in words."""
        return " / ".join(part for part in (self.province, self.municipality) if part) or "national"


EVERYWHERE = Scope()


@dataclass(frozen=True, slots=True)
class User:
    """An account as of the time it was read."""

    id: UUID
    email: str
    name: str
    role: Role
    scope: Scope
    #: False for a key without the scope ``operate``, regardless of its role.
    operates: bool = True
    #: The one that the person has chosen. Another choice is no change of the account.
    language: str | None = field(default=None, compare=False)

    @property
    def is_operator(self) -> bool:
        """Whether this user may act on what others have sent."""
        return self.role.is_operator and self.operates

    @classmethod
    def from_row(cls, row: Row) -> User:
        """A user from a row of the table ``users``."""
        return cls(
            id=row["id"],
            email=row["email"],
            name=row["name"],
            role=Role(row["role"]),
            scope=Scope(row["province"], row["municipality"]),
            language=row.get("language"),  # a key's account has none
        )


#: How a session began. ``command``: with shell access to the installation's machine.
Via = Literal["password", "provider", "command"]


@dataclass(frozen=True, slots=True)
class Session:
    """A user with the expiry time of the token or key."""

    id: UUID
    user: User
    #: When the person signed in.
    begun: dt.datetime
    issued: dt.datetime
    expires: dt.datetime
    #: Of a key; None: a person's session, which may do all that the role may.
    scopes: frozenset[str] | None = None
    #: How the person signed in.
    via: Via = "password"
    #: The role needs a second factor and the account has none: it can only be set up.
    lacks_second_factor: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an attempt is."""

    stage: str | None = None
    percent: int = 0
    #: The work done so far, in rows; no row is in ``members`` before all of them are.
    rows_done: int = 0
    #: The file's own row count until all rows are read; None while that isn't known.
    rows_total: int | None = None
    #: Since the attempt began.
    rows_per_second: float | None = None
