"""Renewals are counted, and settings decide over a membership without payment and after a death."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.model import Scope
from rollbook.pipeline import run
from rollbook.voter_roll.record import Question, VerificationRecord
from tests.files import csv_file, id_number, member
from tests.recorded import recorded

if TYPE_CHECKING:
    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System
    from tests.pipeline_run import Done, Site

TODAY = dt.date(2026, 6, 1)
JOINED, PAID, EXPIRES = "Date Joined", "Last Payment", "Expiry Date"
REFUSES = {"deceased": "refuse"}


@pytest.fixture(autouse=True)
def on_one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "today", lambda _: TODAY)


def send(site: Site, *rows: dict[str, str], **options: Any) -> Done:
    found = [name for name in (JOINED, PAID, EXPIRES, "Status") if any(name in r for r in rows)]
    headers = (*member(0), *found)
    return site.send(csv_file(rows, headers=headers), "people.csv", **options)


def test_new_renewed_early_and_expired_members_are_counted(site: Site) -> None:
    old = [
        member(1, **{JOINED: "2020-01-01", PAID: "2024-12-01"}),
        member(2, **{JOINED: "2020-01-01", PAID: "2022-01-01"}),
    ]
    first = send(site, *old, member(3, **{JOINED: "2026-05-01", PAID: "2026-05-01"}))
    # The two have paid again since they joined; one of them is over by now.
    assert first.upload["renewals"] == {"new": 1, "renewed": 2, "early": 0, "expired": 1}
    again = send(
        site,
        member(1, **{JOINED: "", PAID: "2026-05-01"}),
        member(2, **{JOINED: "", PAID: "2026-05-02"}),
        member(3, **{JOINED: "", PAID: ""}),
        member(4, **{JOINED: "", PAID: ""}),
    )
    # The first paid before the end in December 2026, the second after it.
    assert again.upload["renewals"] == {"new": 1, "renewed": 2, "early": 1, "expired": 0}
    summary = {row[0]: row[1] for row in again.sheet("Summary").rows() if row[0]}
    assert summary["Early renewals (paid before the membership had ended)"] == "1"


def test_a_row_that_repeats_another_is_not_counted_and_each_policy_counts_as_it_merges(
    site: Site,
) -> None:
    send(site, member(1, **{JOINED: "2020-01-01", PAID: "2022-01-01"}))
    rows = [
        member(1, **{JOINED: "", PAID: "2026-05-01"}),
        member(1, **{JOINED: "2026-05-02", PAID: "2026-05-02"}),
        member(2, **{JOINED: "2020-01-01", PAID: "2021-01-01"}),
        member(2, **{JOINED: "2019-01-01", PAID: "2021-01-01"}),
        member(3, **{JOINED: "2026-01-01", PAID: "2026-01-01"}),
        # Nothing says that somebody without a joining date has renewed.
        member(4, **{JOINED: "", PAID: "2026-01-01"}),
    ]
    for policy, expired in (("skip", 1), ("fill", 2), ("update", 1)):
        done = send(site, *rows, existing=policy, dry_run=True)
        counts = {"new": 2, "renewed": 2, "early": 0, "expired": expired}
        assert done.upload["renewals"] == counts, policy
    assert send(site, *rows).upload["renewals"] == counts


def test_a_file_without_dates_has_no_counts_and_another_offices_members_do_not_count(
    site: Site,
) -> None:
    assert send(site, member(1)).upload["renewals"] is None
    office = Scope("KZN", None)
    row = member(1, Province="", Municipality="", Ward="", **{PAID: "2026-01-01"})
    done = send(site, row, scope=office)
    assert done.by_row == {2: "out_of_scope"}
    assert done.upload["renewals"] == {"new": 0, "renewed": 0, "early": 0, "expired": 0}


async def test_the_statistics_sum_what_was_merged(site: Site, client: httpx.AsyncClient) -> None:
    row = member(1, **{JOINED: "2020-01-01", PAID: "2026-01-01"})
    send(site, row, dry_run=True)
    done = send(site, row)
    stats = (await client.get("/api/v1/bulk-upload/stats")).json()["data"]
    assert stats["renewals"] == {"new": 0, "renewed": 1, "early": 0, "expired": 0}
    address = f"/api/v1/bulk-upload/status/{done.upload['id']}"
    assert (await client.get(address)).json()["data"]["renewals"]["renewed"] == 1
    undo = f"/api/v1/bulk-upload/undo/{done.upload['id']}"
    assert (await client.post(undo, json={"dry_run": False})).status_code == 200
    stats = (await client.get("/api/v1/bulk-upload/stats")).json()["data"]
    assert stats["renewals"] == {"new": 0, "renewed": 0, "early": 0, "expired": 0}


def test_a_membership_without_payment_ends_after_the_joining_date_by_setting(site: Site) -> None:
    joined = member(1, **{JOINED: "2025-03-31", PAID: ""})
    send(site, joined)
    assert site.members()[id_number(1)]["expiry_date"] is None
    counts = {"expiry_from_joining": True}
    send(site, joined, member(2, **{JOINED: "2020-01-01", PAID: "2026-01-31"}), settings=counts)
    first, second = (site.members()[id_number(n)] for n in (1, 2))
    assert (first["expiry_date"], first["expiry_is_derived"]) == (dt.date(2027, 3, 31), True)
    assert second["expiry_date"] == dt.date(2028, 1, 31)
    # A payment renews it, and the joining date alone takes nothing back.
    send(site, member(1, **{JOINED: "", PAID: "2026-05-31"}), settings=counts)
    send(site, joined, settings=counts)
    assert site.members()[id_number(1)]["expiry_date"] == dt.date(2028, 5, 31)


def deceased(site: Site, *sequences: int) -> None:
    for sequence in sequences:
        site.connection.execute(
            "INSERT INTO voter_roll_answers (id_number, status, voting_district, asked_at)"
            " VALUES (%s, 'deceased', '11111111', now())",
            (id_number(sequence),),
        )
    site.connection.commit()


def test_deceased_people_become_no_members_and_members_become_inactive_by_setting(
    site: Site,
) -> None:
    send(site, member(1, Status="Active"))
    deceased(site, 1, 2)
    rows = [member(n, Status="Active") for n in (1, 2, 3)]
    done = send(site, *rows, settings=REFUSES)
    assert done.by_row == {2: "updated", 3: "invalid", 4: "inserted"}
    assert done.rows[0]["changes"] == {"status": ["Active", "inactive"]}
    assert [p["code"] for p in done.rows[1]["problems"]] == ["person_deceased"]
    assert set(site.members()) == {id_number(1), id_number(3)}
    assert send(site, *rows).by_row == {2: "updated", 3: "inserted", 4: "unchanged"}


async def test_an_answer_that_comes_after_the_merge_makes_a_member_inactive(
    site: Site, system: System, settings: Settings
) -> None:
    recorded(site, member(1, Status="Active"), member(2, Status="Active"))
    deceased(site, 1)
    question = Question(id_number(1), 0, was_refused=False, is_wanted=True, is_known=True)
    for refuses, status in (("keep", "Active"), ("refuse", "inactive")):
        site.connection.execute("UPDATE members SET roll_asked_at = NULL, roll_status = NULL")
        site.connection.commit()
        changed = settings.model_copy(update={"deceased": refuses})
        record = VerificationRecord(changed, system.pool)
        await record.settle(question)
        assert site.members()[id_number(1)]["status"] == status
    assert site.members()[id_number(2)]["status"] == "Active"
    notes = site.connection.execute("SELECT changes FROM member_corrections").fetchall()
    site.connection.rollback()
    assert [row["changes"] for row in notes] == [{"status": ["Active", "inactive"]}]


async def test_undoing_an_upload_leaves_a_member_inactive_whom_the_roll_calls_deceased(
    site: Site, system: System, settings: Settings, client: httpx.AsyncClient
) -> None:
    recorded(site, member(1, Status="Active"), member(2, Status="Active"))
    changed = recorded(site, *(member(n, Status="Active", Ward="79800002") for n in (1, 2)))
    before = site.members()[id_number(1)]
    deceased(site, 1)
    record = VerificationRecord(settings.model_copy(update={"deceased": "refuse"}), system.pool)
    await record.settle(Question(id_number(1), 0, was_refused=False, is_wanted=True, is_known=True))
    after = site.members()[id_number(1)]
    assert (after["status"], after["roll_status"]) == ("inactive", "deceased")
    assert after["changed_at"] > before["changed_at"]
    undo = f"/api/v1/bulk-upload/undo/{changed}"
    answer = await client.post(undo, json={"dry_run": False})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["data"]["restored"], answer.json()["data"]["kept"]) == (1, 1)
    kept = (await client.get(f"{undo}/kept")).json()["data"]["items"]
    assert [one["reason"] for one in kept] == ["edited"]
    assert site.members()[id_number(1)]["status"] == "inactive"
    assert site.members()[id_number(2)]["ward"] == "79800001"
