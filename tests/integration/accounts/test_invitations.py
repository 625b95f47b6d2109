"""Lists of accounts to invite: checked as a whole, then invited all or the right rows only."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from rollbook.accounts import audit, invitations, people, users
from rollbook.accounts.invitations import Wanted
from rollbook.backends.database import Paging
from rollbook.errors import NotAllowedError, RollbookError
from rollbook.model import EVERYWHERE, Role, Scope, User

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import httpx

    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]
    AsUser = Callable[[User], httpx.AsyncClient]

HEADERS = ("E-mail", "Name", "Role", "Province", "Municipality")
RIGHT = (
    "thandi@example.org", "Thandi Ngobeni", "Municipality administrator", "Gauteng", "emfuleni",
)  # fmt: skip
NEW = "seven quiet pelicans"
INVITATIONS = "/api/v1/users/invitations"


def as_csv(*rows: Sequence[str], headers: Sequence[str] = HEADERS) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([headers, *rows])
    return text.getvalue().encode()


def as_xlsx(*rows: Sequence[str], headers: Sequence[str] = HEADERS) -> bytes:
    book = openpyxl.Workbook()
    for row in (("Accounts of our offices",), headers, *rows):
        book.active.append(row)
    book.active.row_dimensions[4].hidden = True
    book.create_sheet("Notes").append(("Ask the office",))
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


async def sent(
    api: httpx.AsyncClient, content: bytes, path: str = INVITATIONS, name: str = "people.csv",
    **fields: str,
) -> httpx.Response:  # fmt: skip
    return await api.post(path, files={"file": (name, content)}, data=fields)


def faults(answer: httpx.Response) -> dict[int, str]:
    assert answer.status_code == 200, answer.text
    rows = answer.json()["data"]["rows"]
    return {row["row_number"]: " ".join(row["faults"]) for row in rows if row["faults"]}


async def accounts(system: System, reader: User) -> set[str]:
    rows = (await people.listed(system.pool, reader, paging=Paging(1, 500))).rows
    return {row["email"] for row in rows}


async def test_all_people_of_a_workbook_are_invited_and_choose_a_password(
    as_user: AsUser, system: System, make_user: MakeUser
) -> None:
    by = await make_user(Role.PROVINCE_ADMIN, "GP")
    api = as_user(by)
    content = as_xlsx(
        (*RIGHT, "a remark"), ("sipho@example.org", "", "municipality_admin", "", "Midvaal"),
        headers=(*HEADERS, "Remark"),
    )  # fmt: skip
    checked = await sent(api, content, f"{INVITATIONS}/check", "people.xlsx")
    assert faults(checked) == {}
    assert checked.json()["message"] == "Nobody is invited yet. 2 rows: 2 right, 0 at fault."
    assert await accounts(system, by) == {by.email}
    answer = await sent(api, content, name="people.xlsx")
    assert answer.status_code == 201, answer.text
    data = answer.json()["data"]
    assert (data["invited"], data["at_fault"], data["sheet"]) == (2, 0, "Sheet")
    assert (data["columns_not_read"], data["sheets_not_read"]) == (["Remark"], ["Notes"])
    assert data["hidden_rows"] == [4]
    first, second = data["rows"]
    assert (first["row_number"], first["name"], first["role"]) == (
        3, "Thandi Ngobeni", "municipality_admin",
    )  # fmt: skip
    # What the second leaves out is the administrator's own.
    assert (second["province"], second["municipality"]) == ("GP", "Midvaal")
    assert not first["invitation"]["is_mailed"]
    for row in data["rows"]:
        token = row["invitation"]["address"].rpartition("#/link/")[2]
        body = {"token": token, "password": NEW}
        assert (await api.post("/api/v1/auth/link/password", json=body)).status_code == 200
        _, user = await users.sign_in(system.pool, system.settings, row["email"], NEW)
        assert user.scope == Scope(row["province"], row["municipality"])
    boss = await make_user()
    found = (await audit.entries(system.pool, boss, paging=Paging(1, 200))).rows
    assert sorted(one["about"] for one in found if "by a list" in (one["about"] or "")) == [
        "sipho@example.org: municipality_admin, GP / Midvaal, by a list",
        "thandi@example.org: municipality_admin, GP / Emfuleni, by a list",
    ]
    # The file is read from the store and isn't kept there.
    assert [stored.key async for stored in system.store.each() if "source" in stored.key] == []


async def test_each_row_at_fault_says_why(
    as_user: AsUser, system: System, make_user: MakeUser
) -> None:
    by = await make_user(Role.PROVINCE_ADMIN, "GP")
    await users.add(
        system.pool, email="There@Example.org", password=NEW, role=Role.SUPER_ADMIN,
        scope=EVERYWHERE,
    )  # fmt: skip
    role = "municipality_admin"
    content = as_csv(
        ("a@example.org", "", role, "GP", "Emfulini"),
        ("b@example.org", "", "province_admin", "GP", ""),
        ("c@example.org", "", role, "KZN", "Msunduzi"),
        ("there@example.org", "", role, "GP", "Emfuleni"),
        ("Twice@example.org", "", role, "GP", "Emfuleni"),
        ("twice@example.org", "", role, "GP", "Midvaal"),
        ("no address", "", role, "GP", "Emfuleni"),
        ("", "Thandi", role, "GP", "Emfuleni"),
        ("d@example.org", "Thandi 8001015009087", role, "GP", "Emfuleni"),
        ("e@example.org", "", "chairperson", "GP", "Emfuleni"),
        ("f@example.org", "", "", "GP", "Emfuleni"),
        ("g@example.org", "", role, "Guateng", "Emfuleni"),
        ("h@example.org", "", "super_admin", "", ""),
        ("i@example.org", "n" * 201, role, "GP", ""),
        ("8001015009087@example.org", "", role, "GP", "Emfuleni"),
        ("right@example.org", "", role, "GP", "Emfuleni"),
    )  # fmt: skip
    answer = await sent(as_user(by), content, f"{INVITATIONS}/check")
    found = faults(answer)
    for row, sentence in {
        2: "There is no municipality 'Emfulini' in Gauteng. The nearest are Emfuleni",
        3: "You may not add a province_admin, only the municipality_admin of your province.",
        4: "KZN / Msunduzi is outside your province.",
        5: "There is already an account for there@example.org.",
        6: "The address is also in row 7.",
        7: "The address is also in row 6.",
        8: "'no address' is not an e-mail address.",
        9: "The e-mail address is missing.",
        10: "A name is one line without a person's ID number.",
        11: "There is no role 'chairperson'. The roles are super_admin, national_admin",
        12: "The role is missing. The roles are super_admin",
        13: "There is no province 'Guateng'. The nearest are Gauteng",
        14: "You may not add a super_admin, only the municipality_admin of your province.",
        15: "The name is longer than 200 characters. A province_admin needs",
        16: "is not an e-mail address.",
    }.items():
        assert sentence in found.pop(row), row
    assert found == {}
    assert "8001015009087" not in answer.text
    assert "Nothing was changed" not in answer.text
    # All or none: nobody, with every sentence again.
    refused = await sent(as_user(by), content)
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["type"] == "urn:rollbook:problem:accounts_at_fault"
    assert "15 of 16 rows are at fault, so nobody was invited." in problem["detail"]
    assert [row["row_number"] for row in problem["rows"]] == list(range(2, 17))
    assert "right@example.org" not in await accounts(system, by)
    # Only the right rows, by choice.
    answer = await sent(as_user(by), content, only_right="true")
    assert answer.status_code == 201, answer.text
    data = answer.json()["data"]
    assert [row["row_number"] for row in data["rows"] if row["invitation"]] == [17]
    assert (data["invited"], data["at_fault"]) == (1, 15)
    # Once more there is none that is right.
    assert (await sent(as_user(by), content, only_right="true")).status_code == 422


@pytest.mark.parametrize(
    ("by", "refused"),
    [
        ((Role.SUPER_ADMIN,), set()),
        ((Role.NATIONAL_ADMIN,), {2}),
        ((Role.PROVINCE_ADMIN, "GP"), {2, 3, 4, 6}),
    ],
    ids=["super", "national", "province"],
)
async def test_a_list_is_held_to_what_single_invitations_are(
    as_user: AsUser, system: System, make_user: MakeUser, by: tuple[Any, ...], refused: set[int]
) -> None:
    rows = (
        ("1@example.org", "", "super_admin", "", ""),
        ("2@example.org", "", "national_admin", "", ""),
        ("3@example.org", "", "province_admin", "GP", ""),
        ("4@example.org", "", "municipality_admin", "GP", "Midvaal"),
        ("5@example.org", "", "municipality_admin", "KZN", "Msunduzi"),
    )
    user = await make_user(*by)
    answer = await sent(as_user(user), as_csv(*rows), f"{INVITATIONS}/check")
    assert set(faults(answer)) == refused
    for number, (email, name, role, *place) in enumerate(rows, start=2):
        wanted = Scope(place[0] or None, place[1] or None)
        try:
            await people.invite(
                system.pool, system.settings, user, email=email, role=Role(role), place=wanted,
                name=name,
            )  # fmt: skip
            may = True
        except NotAllowedError:
            may = False
        assert may == (number not in refused), email


async def test_who_manages_no_accounts_sends_no_list(
    as_user: AsUser, system: System, make_user: MakeUser
) -> None:
    user = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Emfuleni")
    for path in (INVITATIONS, f"{INVITATIONS}/check"):
        assert (await sent(as_user(user), as_csv(RIGHT), path)).status_code == 403
    boss = await make_user()
    found = (await audit.entries(system.pool, boss, paging=Paging(1, 200))).rows
    acts = [(one["act"], one["outcome"]) for one in found if one["email"] == user.email]
    assert ("user_add", "refused") in acts


async def test_a_file_that_is_no_such_list_is_refused(as_user: AsUser, make_user: MakeUser) -> None:
    client = as_user(await make_user())
    for content, name, code, says in (
        (as_csv(("a", "b"), headers=("Mail", "Name")), "a.csv", "missing_columns", "'Role'"),
        (as_csv(), "a.csv", "no_rows", "no accounts below them"),
        (
            as_csv((*RIGHT, "b"), headers=(*HEADERS, "E-mail address")),
            "a.csv",
            "column_repeated",
            "'E-mail' and 'E-mail address' mean the same",
        ),
        (as_csv(*[RIGHT] * 4), "a.csv", "too_many_accounts", "more than 3 accounts"),
        (b"PK\x03\x04 no workbook", "a.xlsx", "unreadable_file", "can't be read"),
        (b"%PDF-1.7", "a.pdf", "unsupported_file", ".xlsx"),
    ):
        answer = await sent(client, content, name=name)
        assert answer.json()["type"].endswith(code), answer.text
        assert says in answer.json()["detail"]


@pytest.fixture
def settings(settings: Any, request: pytest.FixtureRequest) -> Any:
    is_short = "is_refused" in request.node.name
    return settings.model_copy(update={"invitations_most": 3} if is_short else {})


async def test_wrong_choices_are_refused_before_anything_is_added(
    as_user: AsUser, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    for fields in ({"only_right": "perhaps"}, {"onlyright": "true"}):
        answer = await sent(as_user(user), as_csv(RIGHT), **fields)
        assert answer.status_code == 422, answer.text
    assert await accounts(system, user) == {user.email}


async def test_two_lists_at_once_add_each_account_once(system: System, make_user: MakeUser) -> None:
    """As by a double click: the second finds the address taken, and the first link stays good."""
    user = await make_user()
    wanted = [
        Wanted(n, f"{n}@example.org", "", "municipality_admin", "GP", "Emfuleni")
        for n in range(2, 12)
    ]

    async def once() -> int | str:
        try:
            made = await invitations.invite(
                system.pool, system.settings, user, wanted, only_right=False
            )
        except RollbookError as error:
            return error.code
        return len(made)

    assert sorted(await asyncio.gather(once(), once()), key=str) == [10, "accounts_at_fault"]


async def test_an_account_that_comes_between_the_check_and_the_addition_ends_all_or_none(
    system: System, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    wanted = [
        Wanted(n, f"{n}@example.org", "", "municipality_admin", "GP", "Emfuleni") for n in (2, 3)
    ]
    checked = invitations._checked

    async def and_then_another(*given: Any) -> Any:
        found = await checked(*given)
        await users.add(
            system.pool, email="3@example.org", password=NEW, role=Role.SUPER_ADMIN,
            scope=EVERYWHERE,
        )  # fmt: skip
        return found

    monkeypatch.setattr(invitations, "_checked", and_then_another)
    with pytest.raises(RollbookError, match="1 of 2 rows is at fault") as refused:
        await invitations.invite(system.pool, system.settings, user, wanted, only_right=False)
    assert refused.value.members["rows"][0]["row_number"] == 3
    assert "2@example.org" not in await accounts(system, user)


async def test_the_template_is_a_list_that_can_be_sent_back(
    as_user: AsUser, make_user: MakeUser
) -> None:
    api = as_user(await make_user())
    template = await api.get("/api/v1/users/template")
    assert 'filename="accounts-template.xlsx"' in template.headers["Content-Disposition"]
    book = openpyxl.load_workbook(io.BytesIO(template.content))
    assert book.sheetnames == ["Accounts", "Notes", "Places"]
    assert [cell.value for cell in book["Accounts"][1]] == list(HEADERS)
    province, municipality, _ = next(book["Places"].iter_rows(min_row=2, values_only=True))
    for row in (RIGHT, ("s@example.org", "", "municipality_admin", province, municipality)):
        book["Accounts"].append(row)
    content = io.BytesIO()
    book.save(content)
    answer = await sent(api, content.getvalue(), f"{INVITATIONS}/check", "filled in.xlsx")
    assert faults(answer) == {}
    assert answer.json()["data"]["sheets_not_read"] == ["Notes", "Places"]
