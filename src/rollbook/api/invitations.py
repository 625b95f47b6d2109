"""The routes by which a list of accounts is checked and invited; only people use them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from uuid import UUID

from fastapi import Request, Response
from pydantic import BaseModel, Field, ValidationError

from rollbook.accounts import invitations
from rollbook.accounts.invitations import Checked, Invited, Wanted
from rollbook.api.access import SystemParam, UserParam, audited, routes
from rollbook.api.form import FILE, UploadForm, described, received
from rollbook.api.operations import XLSX
from rollbook.api.users import OneTimeLink
from rollbook.contract import Answer
from rollbook.errors import InvalidRequestError
from rollbook.masking import masked, visible
from rollbook.model import Role
from rollbook.notifications import invitation
from rollbook.uploads import receive
from rollbook.worker.checks import Checker

if TYPE_CHECKING:
    from rollbook.service.system import System

router = routes("/users", "accounts", 401, 403)


class _Choices(BaseModel):
    """What is asked with a list of accounts."""

    only_right: bool = Field(
        default=False, description="Invite by the right rows although others are at fault."
    )
    by_mail: bool | None = Field(
        default=None, description="Mail the links; default: where mail is configured."
    )


_FORM: Final = {"file": {**FILE, "description": "A workbook or text file with one person a row."}}


class ListedAccount(BaseModel):
    """A row of a list of accounts."""

    row_number: int = Field(description="As the spreadsheet program counts.")
    email: str
    name: str
    role: Role | None = Field(description="null: the row is at fault.")
    province: str | None = Field(description="The register's code; of a row at fault, as written.")
    municipality: str | None
    state: Literal["right", "at_fault", "invited"]
    faults: list[str] = Field(description="Why nobody can be invited by the row, a sentence each.")
    user_id: UUID | None = Field(description="The account that was added.")
    invitation: OneTimeLink | None = Field(description="Its link, shown this once.")


class AccountList(BaseModel):
    """A list of accounts, row by row."""

    file_name: str
    sheet: str
    right: int = Field(description="Rows by which people can be invited, or were.")
    at_fault: int
    invited: int
    rows: list[ListedAccount]
    sheets_not_read: list[str]
    columns_not_read: list[str] = Field(description="Headers that no field of an account has.")
    hidden_rows: list[int] = Field(
        description="Rows that the spreadsheet program hides; they are read like the others."
    )

    @classmethod
    def of(cls, name: str, found: dict[str, Any], rows: list[ListedAccount]) -> AccountList:
        """The answer about a list that was read."""
        at_fault = sum(row.state == "at_fault" for row in rows)
        invited = sum(row.state == "invited" for row in rows)
        return cls(
            file_name=name,
            right=len(rows) - at_fault,
            at_fault=at_fault,
            invited=invited,
            **{**found, "rows": rows},
        )


@router.get("/template", response_class=Response)
def accounts_template() -> Response:
    """Download an empty list of accounts to invite, with notes and the register's places."""
    from rollbook.pipeline.account_list import write_template

    with TemporaryDirectory(prefix="rollbook-") as folder:
        path = Path(folder) / "accounts-template.xlsx"
        write_template(path)
        headers = {"Content-Disposition": f'attachment; filename="{path.name}"'}
        return Response(path.read_bytes(), media_type=XLSX, headers=headers)


@router.post(
    "/invitations/check",
    openapi_extra=described(_FORM, required=["file"]),
    **audited("user_add", 413, 415, 422, 503),
)
async def check_list(request: Request, system: SystemParam, user: UserParam) -> Answer[AccountList]:
    """Check a list of accounts as a whole; nobody is invited, and the file isn't stored."""
    name, found, wanted, _ = await _read(request, system, user)
    checked = await invitations.check(system.pool, user, wanted)
    data = AccountList.of(name, found, [_shown(one) for one in checked])
    return Answer(message=f"Nobody is invited yet. {_counts(data)}", data=data)


@router.post(
    "/invitations",
    status_code=201,
    openapi_extra=described(_FORM | _Choices.model_json_schema()["properties"], required=["file"]),
    **audited("user_add", 413, 415, 422, 503),
)
async def invite_list(
    request: Request, system: SystemParam, user: UserParam
) -> Answer[AccountList]:
    """Invite the people of a list, all or none; with `only_right` those of the right rows.

    The answer shows each link this once. 422 with `rows` where rows are at fault.
    """
    name, found, wanted, choices = await _read(request, system, user)
    made = await invitations.invite(
        system.pool, system.settings, user, wanted, only_right=choices.only_right
    )
    by_mail = choices.by_mail
    if by_mail is None:
        by_mail = invitation.is_possible(system.settings)
    sent = [(one.checked.wanted.email, one.link) for one in made if one.link]
    errors = iter(await invitation.send_all(system, user, sent) if by_mail else [None] * len(sent))
    rows = [
        _shown(one.checked)
        if one.link is None
        else _with_link(one, OneTimeLink.of(one.link, by_mail=by_mail, error=next(errors)))
        for one in made
    ]
    data = AccountList.of(name, found, rows)
    mailed = sum(row.invitation is not None and row.invitation.is_mailed for row in rows)
    links = (
        "The links were mailed; here they are shown this once."
        if mailed == data.invited
        else f"{mailed:,} links were mailed. Send the others yourself: they are shown this once."
        if mailed
        else "Send the links to their people: they are shown this once."
    )
    return Answer(message=f"{_counts(data)} {links}", data=data)


async def _read(
    request: Request, system: System, user: UserParam
) -> tuple[str, dict[str, Any], list[Wanted], _Choices]:
    """The file's name, what was read, its rows, and the other fields of the form.

    The file is in the store only while it is read.
    """
    invitations.check_may(user)
    stored, fields = await received(UploadForm(request, system.settings), system)
    try:
        choices = _Choices.model_validate(fields)
        checker = cast("Checker", request.app.state.checker)
        found = await checker.read_accounts(stored.upload_id, stored.kind)
    except ValidationError as error:
        named = "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
        raise InvalidRequestError(f"{named}. Nobody was invited.") from None
    finally:
        await receive.discard(system, stored)
    return stored.name, found, [Wanted(**row) for row in found["rows"]], choices


def _shown(checked: Checked) -> ListedAccount:
    wanted, place = checked.wanted, checked.place
    is_right = not checked.faults
    province, municipality = (
        (place.province, place.municipality)
        if is_right
        else (_text(wanted.province) or None, _text(wanted.municipality) or None)
    )
    return ListedAccount(
        row_number=wanted.row_number,
        email=_text(wanted.email),
        name=_text(wanted.name),
        role=checked.role,
        province=province,
        municipality=municipality,
        state="right" if is_right else "at_fault",
        faults=[_text(fault) for fault in checked.faults],
        user_id=None,
        invitation=None,
    )


def _with_link(one: Invited, link: OneTimeLink) -> ListedAccount:
    more = {"state": "invited", "user_id": one.user_id, "invitation": link}
    return _shown(one.checked).model_copy(update=more)


def _text(written: str) -> str:
    return masked(visible(written))


def _counts(data: AccountList) -> str:
    done = f"{data.invited:,} invited" if data.invited else f"{data.right:,} right"
    return f"{len(data.rows):,} rows: {done}, {data.at_fault:,} at fault."
