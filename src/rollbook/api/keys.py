"""The routes of keys for programs; only people use them, never a key."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, field_validator

from rollbook.accounts import keys
from rollbook.accounts.keys import State
from rollbook.api.access import SystemParam, UserParam, audited, routes
from rollbook.api.pages import Pages50, listed
from rollbook.contract import Answer, Page
from rollbook.model import KeyScope, Role, Scope

router = routes("/keys", "keys", 401, 403)

#: pydantic would take numbers of seconds too.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d")
#: PostgreSQL can't store a NUL.
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class NewKey(BaseModel, strict=True):
    """What a key is for and what it may do."""

    name: Text = Field(description="For lists and the audit trail, such as `nightly import`.")
    scopes: list[KeyScope] = Field(
        min_length=1,
        max_length=10,
        description="`upload`: send and cancel files. `read`: follow uploads and download their "
        "reports. `operate`: steer the queue, the watched folder and stored reports. `members`: "
        "search and change members.",
    )
    role: Annotated[Role | None, Field(strict=False)] = Field(
        None, description="At most your own; default: the role of the place, or your own."
    )
    province: Text | None = Field(None, description="Within your own place; default: yours.")
    municipality: Text | None = Field(None, description="Within your own place; default: yours.")
    expires_at: Annotated[AwareDatetime | None, Field(strict=False)] = Field(
        None, description="With a time zone; at most, and by default, ROLLBOOK_KEY_DAYS from now."
    )

    @field_validator("expires_at", mode="before")
    @classmethod
    def _rfc_3339(cls, given: object) -> object:
        if given is not None and not (isinstance(given, str) and _TIME.match(given)):
            raise ValueError("give a time such as 2027-06-30T00:00:00+02:00")
        return given


class AccessKey(BaseModel):
    """A key, without the key itself."""

    key_id: UUID
    name: str
    hint: str = Field(description="The key's first characters.")
    scopes: list[KeyScope]
    role: Role
    province: str | None
    municipality: str | None
    made_by: str = Field(description="The maker's e-mail address.")
    state: State = Field(
        description="stopped: its maker's account is closed, or may not do this any more."
    )
    created_at: dt.datetime
    expires_at: dt.datetime
    last_used_at: dt.datetime | None = Field(description="Exact to a minute.")
    last_used_from: str | None = Field(description="The address; of IPv6 its network.")
    revoked_at: dt.datetime | None


class MadeKey(AccessKey):
    """A key that was just made."""

    key: str = Field(description="Shown this once: `Authorization: Bearer rbk_...`.")


@router.get("")
async def list_keys(
    system: SystemParam, user: UserParam, paging: Pages50
) -> Answer[Page[AccessKey]]:
    """List the keys of your scope, good ones first, without the keys themselves."""
    found = await keys.listed(system.pool, user, paging)
    return listed(Page[AccessKey], found.rows, found, paging, "{} keys.")


@router.post("", status_code=201, **audited("key_add", 409))
async def make_key(body: NewKey, system: SystemParam, user: UserParam) -> Answer[MadeKey]:
    """Make a key for a program; the answer shows it once."""
    made, key = await keys.make(
        system.pool,
        system.settings,
        user,
        name=body.name,
        scopes=body.scopes,
        role=body.role,
        place=Scope(body.province, body.municipality),
        expires_at=body.expires_at,
    )
    shown: dict[str, Any] = {**made, "key": key}
    return Answer(
        message="The key is made. It is shown this once: store it where its program finds it.",
        data=MadeKey.model_validate(shown),
    )


@router.delete("/{key_id}", **audited("key_revoke", 404, 409))
async def revoke_key(key_id: UUID, system: SystemParam, user: UserParam) -> Answer[AccessKey]:
    """Revoke a key: it is refused at once, and its live connections end within seconds."""
    row = await keys.revoke(system.pool, user, key_id)
    return Answer(message="The key is revoked.", data=AccessKey.model_validate(row))
