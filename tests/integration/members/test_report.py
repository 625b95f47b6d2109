"""The report of the members counts the reader's scope, on a day, and is a workbook too."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from rollbook.model import Role, User
from rollbook.service import clocks
from tests.files import member
from tests.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from tests.pipeline_run import Site

    MakeUser = Callable[..., Awaitable[User]]
    AsUser = Callable[[User], httpx.AsyncClient]

BASE = "/api/v1/members/report"
NOW = dt.datetime(2026, 5, 31, 23, 0, tzinfo=dt.UTC)  # the first of June in South Africa
ETHEKWINI = {"Province": "KwaZulu-Natal", "Municipality": "eThekwini", "Ward": "59500001"}
PHONE = {"Cell Number": "0821112222"}
JOINED, PAID, EXPIRES = "Date Joined", "Last Payment", "Expiry Date"
PEOPLE = [
    member(1, Status="Active", **PHONE, **{EXPIRES: "2026-05-31", JOINED: "2026-05-01"}),
    member(2, Status="Active", **PHONE, **{EXPIRES: "2026-06-30"}),
    member(3, **{EXPIRES: "2026-07-01", JOINED: "2020-01-01", PAID: "2026-04-09"}),
    member(4, **{EXPIRES: "2026-08-29"}),
    member(5, **{EXPIRES: "2026-08-30"}),
    member(6),
    member(7, **ETHEKWINI, **PHONE),
]  # fmt: skip


@pytest.fixture
def filled(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    async def now(_: object) -> dt.datetime:
        return NOW

    monkeypatch.setattr(clocks, "now", now)
    recorded(site, *PEOPLE)
    return site


async def read(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get(BASE)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


@pytest.mark.usefixtures("filled")
async def test_members_are_counted_by_place_status_expiry_month_and_phone(
    client: httpx.AsyncClient,
) -> None:
    found = await read(client)
    assert (found["day"], found["members"]) == ("2026-06-01", 7)
    assert found["by_field"]["province"] == [
        {"value": "GP", "members": 6}, {"value": "KZN", "members": 1}
    ]  # fmt: skip
    assert found["by_field"]["status"] == [
        {"value": None, "members": 5}, {"value": "Active", "members": 2}
    ]  # fmt: skip
    assert found["expiring"] == {
        "expired": 1, "within_30": 1, "within_60": 1, "within_90": 1, "later": 1, "unknown": 2
    }  # fmt: skip
    months = {one["month"]: (one["joined"], one["renewed"]) for one in found["by_month"]}
    assert len(months) == 12
    assert (months["2026-05-01"], months["2026-04-01"]) == ((1, 0), (0, 1))
    assert found["shared_phones"] == [{"phone": "+27821112222", "members": 3}]
    assert found["phones_found"] == 1


@pytest.mark.usefixtures("filled")
async def test_an_office_counts_its_own_members_only(as_user: AsUser, make_user: MakeUser) -> None:
    found = await read(as_user(await make_user(Role.PROVINCE_ADMIN, "KZN")))
    assert found["members"] == 1
    assert [one["value"] for one in found["by_field"]["municipality"]] == ["eThekwini"]
    assert found["shared_phones"] == []


@pytest.mark.usefixtures("filled")
async def test_the_workbook_says_the_same_and_its_download_is_audited(
    client: httpx.AsyncClient, site: Site
) -> None:
    answer = await client.get(f"{BASE}/content")
    assert answer.status_code == 200
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    assert book.sheetnames == [
        "Summary", "Province", "Municipality", "Ward", "Status", "Months", "Shared phones"
    ]  # fmt: skip
    assert [cell.value for cell in book["Shared phones"][2]] == ["+27821112222", 3]
    assert [cell.value for cell in book["Status"][2]] == ["(none)", 5]
    assert book["Summary"]["B2"].value == 1
    found = site.connection.execute(
        "SELECT about FROM audit_entries WHERE act = 'download_members_report'"
    ).fetchone()
    site.connection.rollback()
    assert found == {"about": "7 members"}


async def test_without_members_everything_is_zero(client: httpx.AsyncClient) -> None:
    found = await read(client)
    assert (found["members"], found["by_field"]["ward"], found["shared_phones"]) == (0, [], [])
    assert set(found["expiring"].values()) == {0}
