"""Refused and doubtful rows are listed, edited, checked and sent as a follow-up of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from rollbook.accounts import keys
from rollbook.accounts.users import issue_token
from rollbook.backends.database import queries
from rollbook.model import Role, Scope, User
from rollbook.uploads import fixes, retention
from rollbook.worker.checks import Checker
from tests.files import HEADERS, csv_file, id_number, member, members
from tests.integration.worker.test_worker import (
    ended,
    in_members,
    merges_held,
    sent,
    working,
)
from tests.pipeline_run import finished

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from rollbook.config import Settings
    from rollbook.model import KeyScope
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

BASE = "/api/v1/bulk-upload"
ALL = (*HEADERS, "Joined")


class Client:
    """A user before the API."""

    def __init__(self, api: httpx.AsyncClient, settings: Settings, user: User) -> None:
        self._api, self._token, self.user = api, issue_token(settings, user), user

    async def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}", **more.pop("headers", {})}
        return await self._api.request(method, f"{BASE}{path}", headers=headers, **more)

    async def data(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = await self(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json()["data"]

    async def rows(self, job_id: UUID, **params: Any) -> Any:
        return await self.data("GET", f"/mend/{job_id}", params=params)

    async def fix(self, job_id: UUID, status: int = 202, **body: Any) -> Any:
        return await self.data("POST", f"/mend/{job_id}", status, json=body)

    async def checked(self, job_id: UUID, *rows: dict[str, Any]) -> Any:
        return await self.data("POST", f"/mend/{job_id}/check", json={"rows": list(rows)})


@pytest.fixture
def as_user(api: httpx.AsyncClient, settings: Settings) -> Callable[[User], Client]:
    return lambda user: Client(api, settings, user)


def edit(row_number: int, **cells: str | None) -> dict[str, Any]:
    return {"row_number": row_number, "cells": cells}


def problem_rows() -> list[dict[str, str]]:
    """Rows 2 and 3 are good, 4 and 5 refused, 6 doubtful."""
    return [
        *members(2, start=10),
        member(2, Surname=""),
        member(3, **{"ID Number": "123"}),
        member(4, **{"Cell Number": "12"}),
    ]


async def first_upload(
    system: System, user: User, rows: list[dict[str, str]], **options: Any
) -> UUID:
    job_id = await sent(system, user, csv_file(rows, headers=ALL), allow_duplicate=True, **options)
    assert (await finished(system, user, job_id))["status"] == "completed"
    return job_id


async def test_rows_are_listed_whole_for_their_sender_and_masked_for_others(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client]
) -> None:
    sender = await make_user(Role.PROVINCE_ADMIN, "GP")
    national, other = await make_user(), await make_user(Role.PROVINCE_ADMIN, "LP")
    wrong = id_number(3)[:-1] + str((int(id_number(3)[-1]) + 1) % 10)
    rows = [*problem_rows()[:3], member(3, **{"ID Number": wrong}), problem_rows()[4]]
    job_id = await first_upload(system, sender, rows)
    own, theirs = as_user(sender), as_user(national)
    found = await own.rows(job_id)
    assert [column["header"] for column in found["columns"]] == list(ALL)
    assert [row["row_number"] for row in found["items"]] == [4, 5, 6]
    assert found["counts"] == {"any": 3, "refused": 2, "doubtful": 1, "left_out": 1}
    assert found["items"][1]["cells"][0] == wrong
    [problem] = found["items"][1]["problems"]
    assert (problem["column"], problem["value"]) == ("ID Number", wrong)
    assert found["items"][0]["cells"][-1] is None
    masked = await theirs.rows(job_id)
    assert (found["is_whole"], masked["is_whole"]) == (True, False)
    assert wrong not in str(masked)
    assert masked["items"][1]["cells"][0].startswith(wrong[:4])
    assert (await as_user(other)("GET", f"/mend/{job_id}")).status_code == 404
    # The second look within ten minutes leaves no entry more.
    await own.rows(job_id)
    trail = (await own.data("GET", "/audit/mine", params={"act": "view_rows"}))["items"]
    assert [entry["job_id"] for entry in trail] == [str(job_id)]
    trail = (await theirs.data("GET", "/audit", params={"act": "view_rows"}))["items"]
    assert len(trail) == 1
    # Who sees a masked number can't send it as a value.
    cells = {"ID Number": masked["items"][1]["cells"][0]}
    answer = await theirs("POST", f"/mend/{job_id}", json={"rows": [edit(5, **cells)]})
    assert answer.status_code == 422


@pytest.mark.parametrize("way", ["facets", "check"])
async def test_values_that_are_shown_beside_the_list_are_in_the_audit_trail(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client], *, way: str
) -> None:
    user = as_user(await make_user())
    job_id = await first_upload(system, user.user, problem_rows())
    for _ in range(2):
        if way == "facets":
            await user.data("GET", f"/facets/{job_id}", params={"least": 1})
        else:
            await user.checked(job_id, edit(6))
    trail = (await user.data("GET", "/audit/mine", params={"act": "view_rows"}))["items"]
    assert [entry["job_id"] for entry in trail] == [str(job_id)]


async def test_a_key_that_may_only_send_sees_no_whole_value_by_a_check(
    system: System, make_user: MakeUser, api: httpx.AsyncClient
) -> None:
    maker = await make_user()
    wrong = id_number(3)[:-1] + str((int(id_number(3)[-1]) + 1) % 10)
    rows = [*members(3, start=10), member(3, **{"ID Number": wrong})]
    seen = []
    may: list[list[KeyScope]] = [["upload"], ["upload", "read"]]
    for scopes in may:
        _, key = await keys.make(system.pool, system.settings, maker, name="program", scopes=scopes)
        own = (await keys.session(system.pool, key)).user
        job_id = await first_upload(system, own, rows)
        answer = await api.post(
            f"{BASE}/mend/{job_id}/check",
            json={"rows": [edit(5)]},
            headers={"Authorization": f"Bearer {key}"},
        )
        assert answer.status_code == 200, answer.text
        seen.append(wrong in answer.text)
    assert seen == [False, True]


async def test_pages_follow_by_row_number_and_filters_narrow_them(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client]
) -> None:
    user = as_user(await make_user())
    rows = [member(n, Surname="" if n % 2 else "Nkosi", **{"Cell Number": "1"}) for n in range(9)]
    job_id = await first_upload(system, user.user, rows)
    seen: list[int] = []
    after: int | None = 0
    for _ in range(3):
        page = await user.rows(job_id, page_size=4, after=after)
        assert (page["counts"] is None) is bool(after)
        seen += [row["row_number"] for row in page["items"]]
        after = page["next_after"]
    assert after is None
    assert seen == list(range(2, 11))
    refused = await user.rows(job_id, attention="refused")
    assert [row["row_number"] for row in refused["items"]] == [3, 5, 7, 9]
    skipped = await user.rows(job_id, skip=7)
    assert [row["row_number"] for row in skipped["items"]] == [9, 10]
    assert len((await user.rows(job_id, attention="doubtful"))["items"]) == 9


async def test_edits_are_checked_by_the_rules_of_the_pipeline(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client]
) -> None:
    user = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    job_id = await first_upload(system, user.user, problem_rows())
    checked = await user.checked(
        job_id,
        edit(4, Surname="Nkosi"),
        edit(5, **{"ID Number": id_number(3)[:-1]}),
        edit(6, **{"Cell Number": "0821234567", "Province": "Limpopo"}),
        edit(2, Surname="not stored"),
    )
    assert [row["row_number"] for row in checked] == [4, 5, 6]
    assert [row["verdict"] for row in checked] == ["valid", "invalid", "out_of_scope"]
    assert [one["code"] for row in checked for one in row["problems"]] == [
        "id_length", "other_office", "municipality_in_other_province",
    ]  # fmt: skip
    assert checked[1]["problems"][0]["message"] == "An ID number has 13 digits."
    bodies: list[dict[str, Any]] = [
        {"rows": [edit(4, Nonsense="x")]},
        {"rows": []},
        {"rows": [edit(4), edit(4)]},
        {"rows": [edit(4, Surname="a\0b")]},
    ]
    for body in bodies:
        answer = await user("POST", f"/mend/{job_id}/check", json=body)
        assert answer.status_code == 422, body


async def test_fixed_rows_become_a_follow_up_and_the_first_upload_counts_them(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client], settings: Settings
) -> None:
    user = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    async with working(system):
        job_id = await sent(system, user.user, csv_file(problem_rows(), headers=ALL))
        assert (await ended(system, user.user, job_id))["status"] == "completed"
        edited = [
            edit(4, Surname="Nkosi"),
            edit(5, **{"ID Number": "12"}),
            edit(6, **{"Cell Number": "0821234567"}),
        ]
        with merges_held(settings):
            receipt = await user.fix(job_id, rows=edited)
            follow_up = UUID(receipt["job_id"])
            assert receipt["file_name"] == "members-fixed.xlsx"
            # Sent twice, also without a key, it is one upload while it is under way.
            assert (await user.fix(job_id, rows=edited))["job_id"] == receipt["job_id"]
        done = await ended(system, user.user, follow_up)
        assert (done["inserted"], done["updated"], done["invalid"]) == (1, 1, 1)
        assert (done["province"], done["mends"]) == ("GP", job_id)
        status = (await user("GET", f"/status/{job_id}")).json()
        data = status["data"]
        assert (data["fixed"], data["refused_fixed"], data["fixable_rows"]) == (2, 1, 3)
        assert "fixed 1 of 2 refused rows and 1 doubtful ones" in status["message"]
        own = await user.data("GET", f"/status/{follow_up}")
        assert own["mends"] == str(job_id)
        # What is fixed is out of the way; the row that was refused again is open here and there.
        [left] = (await user.rows(job_id, is_open=True))["items"]
        assert left["row_number"] == 5
        every = (await user.rows(job_id))["items"]
        assert [row["is_fixed"] for row in every] == [True, False, True]
        assert every[0]["fixed_by"] == str(follow_up)
        [again] = (await user.rows(follow_up))["items"]
        assert again["cells"][0] == "12"
        second = await user.fix(follow_up, rows=[edit(3, **{"ID Number": id_number(3)})])
        assert (await ended(system, user.user, UUID(second["job_id"])))["inserted"] == 1
        # It is the follow-up's row that the second one fixes.
        assert (await user.data("GET", f"/status/{follow_up}"))["fixed"] == 1
    stored = {row["id_number"]: row for row in in_members(settings)}
    assert set(stored) == {id_number(n) for n in (10, 11, 2, 3, 4)}
    assert stored[id_number(4)]["cell_number"] == "+27821234567"
    acts = (await user.data("GET", "/audit/mine", params={"act": "fix_rows"}))["items"]
    assert {entry["outcome"] for entry in acts} == {"done"}
    assert len(acts) == 2


async def test_the_second_of_two_who_fix_a_row_is_told_and_undoing_frees_it(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client]
) -> None:
    one = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    other = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    job_id = await first_upload(system, one.user, problem_rows())
    answers = await asyncio.gather(
        one("POST", f"/mend/{job_id}", json={"rows": [edit(4, Surname="Nkosi")]}),
        other("POST", f"/mend/{job_id}", json={"rows": [edit(4, Surname="Mokoena")]}),
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    winner = next(answer.json() for answer in answers if answer.status_code == 202)["data"]
    refused = next(answer.json() for answer in answers if answer.status_code == 409)
    assert "Row 4 was sent by" in refused["detail"]
    assert winner["job_id"] in refused["detail"]
    operator = as_user(await make_user())
    await operator.data("POST", f"/cancel/{winner['job_id']}")
    again = await other.fix(job_id, rows=[edit(4, Surname="Mokoena")])
    assert (await finished(system, other.user, UUID(again["job_id"])))["inserted"] == 1
    await operator.data("POST", f"/undo/{again['job_id']}", 200, json={"dry_run": False})
    assert (await one.data("GET", f"/status/{job_id}"))["fixed"] == 0
    last = await one.fix(job_id, rows=[edit(4, Surname="Nkosi")])
    assert (await finished(system, one.user, UUID(last["job_id"])))["inserted"] == 1


async def failed(system: System, job_id: str) -> None:
    """Let an upload that waits have failed."""
    async with system.pool.connection() as connection:
        await connection.execute(
            "UPDATE uploads SET status = 'failed', finished_at = now(), error_code = 'x', "
            "error = 'X' WHERE id = %s",
            (job_id,),
        )
    await system.queue.remove(UUID(job_id))


async def test_a_failed_follow_up_is_retried_only_while_its_rows_are_free(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client], settings: Settings
) -> None:
    one = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    other = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    operator = as_user(await make_user())
    job_id = await first_upload(system, one.user, problem_rows())
    older = await one.fix(job_id, rows=[edit(4, Surname="Nkosi"), edit(6)])
    await failed(system, older["job_id"])
    # When its report's retention has ended and that of its file hasn't, it can still be retried.
    async with system.pool.connection() as connection:
        forgotten = {"ids": [UUID(older["job_id"])], "is_purged": False}
        await connection.execute(queries("retention")["forget_reports"], forgotten)
    newer = await other.fix(job_id, rows=[edit(4, Surname="Mokoena")])
    assert (await finished(system, other.user, UUID(newer["job_id"])))["inserted"] == 1
    answer = await operator("POST", f"/queue/retry/{older['job_id']}")
    assert answer.status_code == 409
    assert f"Row 4 was sent by {other.user.email} as job {newer['job_id']}" in answer.text
    assert (await one.data("GET", f"/status/{older['job_id']}"))["status"] == "failed"
    await operator.data("POST", f"/undo/{newer['job_id']}", 200, json={"dry_run": False})
    await operator.data("POST", f"/queue/retry/{older['job_id']}")
    done = await finished(system, one.user, UUID(older["job_id"]))
    assert (done["status"], done["inserted"], done["error"]) == ("completed", 1, None)
    stored = {row["id_number"]: row for row in in_members(settings)}
    assert stored[id_number(2)]["surname"] == "Nkosi"


@pytest.mark.parametrize("is_follow_up_first", [True, False])
async def test_a_row_that_was_refused_again_is_fixed_only_once(
    system: System,
    make_user: MakeUser,
    as_user: Callable[[User], Client],
    *,
    is_follow_up_first: bool,
) -> None:
    user = as_user(await make_user())
    job_id = await first_upload(system, user.user, problem_rows())
    refused = await user.fix(job_id, rows=[edit(6), edit(4)])
    assert (await finished(system, user.user, UUID(refused["job_id"])))["invalid"] == 1
    # Row 4 of the first upload is row 2 of the follow-up, and open in both.
    ways = [(job_id, 4), (UUID(refused["job_id"]), 2)]
    first, second = reversed(ways) if is_follow_up_first else ways
    assert [
        len((await user.rows(one, is_open=True, attention="refused"))["items"]) for one, _ in ways
    ] == [2, 1]
    sent_ = await user.fix(first[0], rows=[edit(first[1], Surname="Nkosi")])
    left = [
        len((await user.rows(one, is_open=True, attention="refused"))["items"]) for one, _ in ways
    ]
    assert left == [1, 0]
    answer = await user("POST", f"/mend/{second[0]}", json={"rows": [edit(second[1], Surname="X")]})
    assert answer.status_code == 409
    assert f"Row {second[1]} was sent by" in answer.text
    assert sent_["job_id"] in answer.text
    assert (await finished(system, user.user, UUID(sent_["job_id"])))["inserted"] == 1
    assert (await user.data("GET", f"/status/{job_id}"))["refused_fixed"] == 1


async def test_rows_of_an_upload_that_is_undone_meanwhile_are_not_sent(
    system: System,
    make_user: MakeUser,
    as_user: Callable[[User], Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = as_user(await make_user())
    job_id = await first_upload(system, user.user, problem_rows())
    waiting = await user.fix(job_id, rows=[edit(6)])
    await failed(system, waiting["job_id"])
    write = Checker.write_rows

    async def undone_meanwhile(*args: Any, **options: Any) -> dict[str, Any]:
        written = await write(*args, **options)
        await user.data("POST", f"/undo/{job_id}", 200, json={"dry_run": False})
        return written

    monkeypatch.setattr(Checker, "write_rows", undone_meanwhile)
    answer = await user("POST", f"/mend/{job_id}", json={"rows": [edit(4, Surname="Nkosi")]})
    assert answer.status_code == 409
    assert "was undone" in answer.json()["detail"]
    answer = await user("POST", f"/queue/retry/{waiting['job_id']}")
    assert answer.status_code == 409
    assert "was undone" in answer.json()["detail"]


async def test_sending_again_what_was_refused_is_a_follow_up_of_its_own(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client]
) -> None:
    user = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    job_id = await first_upload(system, user.user, problem_rows())
    first = await user.fix(job_id, rows=[edit(4)])
    assert (await finished(system, user.user, UUID(first["job_id"])))["invalid"] == 1
    again = await user.fix(job_id, rows=[edit(4)])
    assert again["job_id"] != first["job_id"]


async def test_a_value_is_replaced_in_all_its_rows_at_once_and_remembered(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client], settings: Settings
) -> None:
    user = as_user(await make_user())
    stranger = as_user(await make_user(Role.PROVINCE_ADMIN, "LP"))
    wrong = [misspelled(n) for n in range(40)]
    single = member(40, Province="Nowhere", Municipality="")
    job_id = await first_upload(system, user.user, [*wrong, single])
    [facet] = (await user.data("GET", f"/facets/{job_id}"))["values"]
    assert (facet["column"], facet["value"], facet["rows"], facet["problem"]) == (
        "Province", "Joburg side", 40, "province_unknown",
    )  # fmt: skip
    both = await user.data("GET", f"/facets/{job_id}", params={"column": "Province", "least": 1})
    assert [one["rows"] for one in both["values"]] == [40, 1]
    assert (await user("GET", f"/facets/{job_id}", params={"column": "X"})).status_code == 422
    value = {"column": "Province", "value": "Joburg side", "becomes": "GP", "remember": True}
    for bad in (
        {**value, "becomes": "Atlantis"},
        {**value, "column": "Surname"},
        {**value, "value": id_number(5)},
    ):
        await_ = await user("POST", f"/mend/{job_id}", json={"values": [bad]})
        assert await_.status_code == 422 or "None of these rows" in await_.text
    receipt = await user.fix(job_id, values=[value], rows=[edit(3, Province="Limpopo")])
    done = await finished(system, user.user, UUID(receipt["job_id"]))
    assert (done["rows_total"], done["updated"]) == (40, 40)
    status = await user.data("GET", f"/status/{job_id}")
    assert (status["fixed"], status["refused_fixed"]) == (40, 0)
    assert (await user.data("GET", f"/facets/{job_id}"))["values"] == []
    [alias] = (await user.data("GET", "/aliases"))["items"]
    assert (alias["text"], alias["value"]) == ("joburg side", "GP")
    assert (await stranger.data("GET", "/aliases"))["items"] == []
    # The office's next file is read so, and says so.
    later = [member(500 + n, Province="JOBURG  side", Municipality="") for n in range(3)]
    next_ = await finished(
        system, user.user, await sent(system, user.user, csv_file(later, headers=ALL))
    )
    assert next_["rows_with_warnings"] == 0
    [note] = next_["reading"]["notes"]
    assert (note["code"], note["rows"]) == ("aliases", 3)
    assert "'joburg side' as GP in Province (3)" in note["message"]
    assert (await stranger("DELETE", f"/aliases/{alias['id']}")).status_code == 404
    await user.data("DELETE", f"/aliases/{alias['id']}")
    assert (await user("DELETE", f"/aliases/{alias['id']}")).status_code == 404
    forgotten = [member(600, Province="Joburg side", Municipality="")]
    last = await finished(
        system, user.user, await sent(system, user.user, csv_file(forgotten, headers=ALL))
    )
    assert last["rows_with_warnings"] == 1
    provinces = {row["id_number"]: row["province"] for row in in_members(settings)}
    assert (provinces[id_number(0)], provinces[id_number(1)]) == ("GP", "LP")
    assert provinces[id_number(501)] == "GP"
    trail = (await user.data("GET", "/audit/mine", params={"act": "keep_alias"}))["items"]
    assert [entry["about"] for entry in trail] == ["province: 'joburg side' as GP"]


def misspelled(n: int, **changes: str) -> dict[str, str]:
    # A ward's code would say the province.
    return member(n, Province="Joburg side", Municipality="", Ward="", **changes)


async def test_replacing_a_value_leaves_repeats_and_the_rows_that_are_named(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client], settings: Settings
) -> None:
    user = as_user(await make_user())
    rows = [misspelled(1), misspelled(2), misspelled(2, Surname="Older"), misspelled(3)]
    value = {"column": "Province", "value": "Joburg side", "becomes": "GP"}
    job_id = await first_upload(system, user.user, rows)
    [facet] = (await user.data("GET", f"/facets/{job_id}"))["values"]
    receipt = await user.fix(job_id, values=[value], leave=[5])
    done = await finished(system, user.user, UUID(receipt["job_id"]))
    every = (await user.rows(job_id))["items"]
    [repeat] = [row for row in every if row["outcome"] == "duplicate"]
    taken = [row["row_number"] for row in every if row["is_fixed"]]
    assert (facet["rows"], done["rows_total"], done["updated"]) == (3, 2, 2)
    assert taken == sorted({2, 3, 4} - {repeat["row_number"]})
    stored = {row["id_number"]: row["province"] for row in in_members(settings)}
    assert stored[id_number(3)] is None
    # Sent with its number, a repeat is a decision of its own.
    receipt = await user.fix(job_id, rows=[edit(repeat["row_number"], Province="LP")])
    assert (await finished(system, user.user, UUID(receipt["job_id"])))["updated"] == 1


@pytest.mark.parametrize("is_dry_run", [True, False])
async def test_a_follow_up_that_merges_nothing_teaches_the_office_no_word(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client], *, is_dry_run: bool
) -> None:
    user = as_user(await make_user())
    value = {"column": "Province", "value": "Joburg side", "becomes": "GP", "remember": True}
    job_id = await first_upload(
        system, user.user, [misspelled(n) for n in range(3)], dry_run=is_dry_run
    )
    receipt = await user.fix(job_id, values=[value])
    if is_dry_run:
        done = await finished(system, user.user, UUID(receipt["job_id"]))
        assert (done["status"], done["updated"]) == ("completed", 0)
    else:
        await user.data("POST", f"/cancel/{receipt['job_id']}")
    assert (await user.data("GET", "/aliases"))["items"] == []
    assert (await user.data("GET", "/audit/mine", params={"act": "keep_alias"}))["items"] == []


async def test_a_request_with_values_is_recognised_by_its_key(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client]
) -> None:
    user = as_user(await make_user())
    value = {"column": "Province", "value": "Joburg side", "becomes": "GP"}
    keyed = {"headers": {"Idempotency-Key": "values-1"}}
    job_id = await first_upload(system, user.user, [misspelled(n) for n in range(3)])
    path, body = f"/mend/{job_id}", {"values": [value], "leave": [2]}
    first = await user.data("POST", path, 202, json=body, **keyed)
    await finished(system, user.user, UUID(first["job_id"]))
    again = await user.data("POST", path, 202, json=body, **keyed)
    assert again["job_id"] == first["job_id"]
    other = await user("POST", path, json={"values": [{**value, "becomes": "LP"}]}, **keyed)
    assert other.status_code == 409
    assert "This Idempotency-Key was used" in other.text


def test_the_headers_of_a_file_are_read_once_however_many_cells_are_edited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = [f"Column {n}" for n in range(50)]
    asked: list[int] = []

    def unique(wanted: list[str]) -> list[str]:
        asked.append(len(wanted))
        return wanted

    monkeypatch.setattr(fixes, "unique_headers", unique)
    user = User(uuid4(), "someone@example.org", "Thandi", Role.PROVINCE_ADMIN, Scope("GP"))
    grid = {"headers": headers, "fields": {"surname": ["Column 1"]}}
    reader = fixes.Reader({"owner_id": user.id, "grid": grid}, user)
    edited = [edit(n, **dict.fromkeys(headers, "x")) for n in range(20)]
    own = reader.own(fixes.Edits(edited))
    for header in headers:
        reader.problem({"column": header, "value": "x"})
        reader.cells(["x"])
    assert len(own.rows) == 20
    assert reader.field_of("Column 1") == "surname"
    assert asked == [50]


async def test_a_fixed_row_is_read_as_its_own_file_has_shown(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client], settings: Settings
) -> None:
    user = as_user(await make_user())
    # The other dates of the column show that the month is first.
    rows = [
        *(member(n, Joined=f"0{n + 1}/2{n}/2019") for n in range(4)),
        member(8, Surname="", Joined="03/04/2019"),
    ]
    columns = {"Joined": "date_joined", "Ward": None}
    job_id = await first_upload(system, user.user, rows, columns=columns)
    [row] = (await user.rows(job_id, attention="refused"))["items"]
    [checked] = await user.checked(job_id, edit(row["row_number"], Surname="Nkosi"))
    assert {one["code"]: one["kept"] for one in checked["problems"]} == {
        "date_month_first": "2019-03-04"
    }
    receipt = await user.fix(job_id, rows=[edit(row["row_number"], Surname="Nkosi")])
    assert (await finished(system, user.user, UUID(receipt["job_id"])))["inserted"] == 1
    stored = {row["id_number"]: row for row in in_members(settings)}
    assert str(stored[id_number(8)]["date_joined"]) == "2019-03-04"
    assert stored[id_number(8)]["ward"] is None
    # The follow-up's headers teach the office nothing; the file's own mapping has done so.
    assert len((await user.data("GET", "/mappings"))["items"]) == 1


async def test_a_dry_run_s_rows_are_fixed_by_a_dry_run(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client], settings: Settings
) -> None:
    user = as_user(await make_user())
    job_id = await first_upload(system, user.user, problem_rows(), dry_run=True)
    receipt = await user.fix(job_id, rows=[edit(4, Surname="Nkosi")])
    done = await finished(system, user.user, UUID(receipt["job_id"]))
    assert (done["dry_run"], done["inserted"]) == (True, 1)
    assert (await user.data("GET", f"/status/{job_id}"))["refused_fixed"] == 1
    answer = await user("POST", f"/run/{receipt['job_id']}")
    assert answer.status_code == 409
    assert str(job_id) in answer.json()["detail"]
    assert in_members(settings) == []


async def test_what_is_gone_or_not_there_yet_is_said(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client]
) -> None:
    user = as_user(await make_user())
    waiting = await sent(system, user.user, csv_file(problem_rows(), headers=ALL))
    assert (await user("GET", f"/mend/{waiting}")).status_code == 409
    assert (await user("GET", f"/mend/{uuid4()}")).status_code == 404
    await finished(system, user.user, waiting)
    assert (await user("POST", f"/mend/{waiting}", json={})).status_code == 422
    gone = await user("POST", f"/mend/{waiting}", json={"rows": [edit(2, Surname="A")]})
    assert gone.status_code == 409
    assert "Row 2 is no longer stored" in gone.json()["detail"] or "None of these" in gone.text
    await user.data("DELETE", f"/reports/{waiting}")
    for answer in (
        await user("GET", f"/mend/{waiting}"),
        await user("GET", f"/facets/{waiting}"),
        await user("POST", f"/mend/{waiting}", json={"rows": [edit(4, Surname="A")]}),
        await user("POST", f"/mend/{waiting}/check", json={"rows": [edit(4, Surname="A")]}),
    ):
        assert answer.status_code == 422
        assert "no longer stored" in answer.json()["detail"]
    assert (await user.data("GET", f"/status/{waiting}"))["fixable_rows"] == 0
    async with system.pool.connection() as connection:
        left = await (await connection.execute("SELECT count(*) AS n FROM fixable_rows")).fetchone()
    assert left == {"n": 0}


async def test_retention_removes_the_cells_with_the_report(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    job_id = await first_upload(system, user, problem_rows())
    async with system.pool.connection() as connection:
        await connection.execute(
            "UPDATE uploads SET finished_at = now() - interval '400 days' WHERE id = %s", (job_id,)
        )
    await retention.run_once(system)
    async with system.pool.connection() as connection:
        left = await (
            await connection.execute(
                "SELECT (SELECT count(*) FROM fixable_rows) AS n, grid FROM uploads"
            )
        ).fetchone()
    assert left == {"n": 0, "grid": None}


def wrong_rows() -> dict[str, tuple[dict[str, str], dict[str, str | None]]]:
    """For each problem of a row that its sender can correct: the row, and the edits."""
    digits = id_number(120)
    wrong_digit = digits[:-1] + str((int(digits[-1]) + 1) % 10)
    number: dict[str, str | None] = {"ID Number": digits}
    kinds: dict[str, tuple[dict[str, str], dict[str, str | None]]] = {
        "id_missing": ({"ID Number": ""}, number),
        "id_length": ({"ID Number": digits[:-1]}, number),
        "id_characters": ({"ID Number": digits.replace("8", "B", 1)}, number),
        "id_birth_date": ({"ID Number": "8013" + digits[4:]}, number),
        "id_citizenship": ({"ID Number": digits[:10] + "9" + digits[11:]}, number),
        "id_check_digit": ({"ID Number": wrong_digit}, number),
        "id_shortened": ({"ID Number": "8.00102E+12"}, number),
        "firstname_missing": ({"Firstname": "n/a"}, {"Firstname": "Thandi"}),
        "surname_missing": ({"Surname": " "}, {"Surname": "Nkosi"}),
        "error_value": ({"Surname": "#REF!"}, {"Surname": "Nkosi"}),
        "other_office": ({"Province": "Limpopo"}, {"Province": "Gauteng"}),
        "province_unknown": (
            {"Province": "Atlantis", "Municipality": ""}, {"Province": "Gauteng"},
        ),
        "date_unclear": ({"Joined": "last week"}, {"Joined": "2024-05-03"}),
        "phone_unclear": ({"Cell Number": "call me"}, {"Cell Number": "0821234567"}),
    }  # fmt: skip
    found = {}
    for n, (code, (changes, edits)) in enumerate(kinds.items()):
        own = {name: id_number(120 + n) if name == "ID Number" else v for name, v in edits.items()}
        found[code] = (member(120 + n, **changes), own)
    return found


async def test_every_refusal_that_can_be_corrected_is(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client]
) -> None:
    user = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    wrong = wrong_rows()
    # Most of a file's numbers must be whole, or the file is refused for them.
    rows = [*(row for row, _ in wrong.values()), *members(2)]
    columns = {"Joined": "date_joined"}
    job_id = await first_upload(system, user.user, rows, columns=columns)
    found = {row["row_number"]: row for row in (await user.rows(job_id))["items"]}
    for number, code in enumerate(wrong, start=2):
        assert code in {one["code"] for one in found[number]["problems"]}
    edited = [edit(n, **edits) for n, (_, edits) in enumerate(wrong.values(), start=2)]
    checked = await user.checked(job_id, *edited)
    assert [(row["verdict"], row["problems"]) for row in checked] == [("valid", [])] * len(wrong)
    receipt = await user.fix(job_id, rows=edited)
    done = await finished(system, user.user, UUID(receipt["job_id"]))
    assert (done["inserted"], done["updated"]) == (len(wrong) - 2, 2)
    assert done["rows_with_warnings"] == 0


async def test_headers_that_are_alike_or_look_like_patterns_are_told_apart(
    system: System, make_user: MakeUser, as_user: Callable[[User], Client]
) -> None:
    user = as_user(await make_user())
    headers = ("ID Number", "Firstname", "Surname", "Note", "^$", "Note", "Cell")
    row = [id_number(5), "Thandi", "", "a", "b", "c", "0821234567"]
    content = "\n".join([",".join(headers), ",".join(row)]).encode()
    job_id = await sent(system, user.user, content)
    first = await finished(system, user.user, job_id)
    assert first["status"] == "completed", first["error"]
    found = await user.rows(job_id)
    shown = [column["header"] for column in found["columns"]]
    assert len(set(shown)) == len(shown) == 7
    assert found["items"][0]["cells"] == [cell or None for cell in row]
    edited = edit(2, **{"Surname": "Nkosi", shown[5]: "changed", "^$": "x", "Note": None})
    receipt = await user.fix(job_id, rows=[edited])
    done = await finished(system, user.user, UUID(receipt["job_id"]))
    assert done["inserted"] == 1
