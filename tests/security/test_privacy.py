"""ID numbers go where they are downloaded, and nowhere else; faults say nothing of the inside.

An upload that has them everywhere (name, sheet, header, cells), and a search through all that left
the system.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import openpyxl
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.files import HEADERS, id_number, member, members
from tests.redis_content import everything
from tests.security.house import BASE, House
from tests.security.routes import RULES
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

#: In the name, the sheet, a header, a cell that isn't meant for one, and with a wrong check digit.
NAME, SHEET, HEADER, CELL, WRONG = (id_number(7_000_000 + n) for n in range(5))
WRONG = WRONG[:12] + str((int(WRONG[12]) + 1) % 10)
GROUPED = f"{CELL[:6]} {CELL[6:10]} {CELL[10:]}"
WHOLE = [NAME, SHEET, HEADER, CELL, WRONG, GROUPED]
MASKED = f"{WRONG[:4]}••••••{WRONG[-3:]}"
GOOD = [id_number(7_100_000 + n) for n in range(3)]
ROUTES = [
    (method, path) for (method, path), rule in RULES.items()
    if method == "GET" and not rule.streams and path.startswith("/api")
]  # fmt: skip
DOWNLOADS = ("report", "failed-rows", "kept.csv", "reports/{job_id}", "template")
#: Whole for the person who sent the file, who is to correct them.
OWN_ROWS = ("mend/{job_id}", "facets/{job_id}")


def told(text: str) -> list[str]:
    """The ID numbers that a text has whole."""
    return [number for number in (*WHOLE, *GOOD) if number in text]


@pytest.fixture(scope="module")
def messages(house: House) -> Iterator[list[str]]:
    """The live messages of both uploads; asked for first, so that somebody listens to them."""
    heard: list[str] = []
    address = f"{house.url.replace('http', 'ws')}{BASE}/ws"
    # An ID number in the address: refused, quoted nowhere; the tests below read the logs.
    for query in (f"note={quote(GROUPED)}", f"{quote(GROUPED)}=1"):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{address}?{query}", proxy=None, open_timeout=PATIENCE_S)
        answer = refused.value.response
        assert answer.status_code == 422
        assert told(bytes(answer.body or b"").decode()) == []
    with connect(address, proxy=None, max_size=None, open_timeout=PATIENCE_S) as line:
        token = house.bearer("super")["Authorization"].removeprefix("Bearer ")
        line.send(json.dumps({"type": "authenticate", "token": token}))
        heard.append(str(line.recv(timeout=PATIENCE_S)))
        deadline = time.monotonic() + PATIENCE_S
        house.uploads["masked"], house.uploads["headless"] = ours = _send(house)
        ended: set[str] = set()
        while not ended.issuperset(ours):  # those of earlier tests may end meanwhile
            heard.append(str(line.recv(timeout=deadline - time.monotonic())))
            message = json.loads(heard[-1])
            if message["type"] in {"bulk_upload_complete", "bulk_upload_failed"}:
                ended.add(message["job_id"])
    yield heard
    del house.uploads["masked"], house.uploads["headless"]


def _send(house: House) -> tuple[str, str]:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = SHEET
    sheet.append([*HEADERS, f"Lid {HEADER}"])
    rows = [
        *members(3, start=7_100_000),
        member(7_000_009, **{"Cell Number": CELL}),
        member(7_000_010, **{"ID Number": WRONG}),
        member(7_000_011, **{"ID Number": f"{CELL}1", "Cell Number": GROUPED}),
        member(7_000_012, **{"ID Number": GROUPED, "Surname": ""}),
    ]
    for row in rows:
        sheet.append([*(row[header] for header in HEADERS), "x"])
    target = io.BytesIO()
    book.save(target)
    book.close()
    fields = {"sheet": SHEET, "columns": json.dumps({f"Lid {HEADER}": None})}
    # No header row: the first person is where headers are looked for, and is quoted.
    headless = f"{CELL},{GROUPED},Thandi\n{WRONG},x,y\n".encode()
    return (
        house.send("super", target.getvalue(), f"lid {NAME}.xlsx", **fields),
        house.send("super", headless, f"{NAME}.csv"),
    )


@pytest.fixture
def masked(house: House, messages: list[str]) -> str:
    assert messages
    return house.uploads["masked"]


def test_live_messages_hold_no_id_number(house: House, messages: list[str]) -> None:
    assert any(house.uploads["masked"] in message for message in messages)
    assert any(f"{NAME[:4]}••••••{NAME[-3:]}.csv" in message for message in messages)
    assert told("".join(messages)) == []


@pytest.mark.parametrize("upload", ["masked", "headless"])
def test_no_answer_but_a_download_holds_an_id_number(
    house: House, masked: str, upload: str
) -> None:
    assert masked
    with house.client("super") as client, house.client("national") as other:
        for _, path in ROUTES:
            if not path.endswith(DOWNLOADS):
                asking = other if path.endswith(OWN_ROWS) else client
                answer = asking.get(path.replace("{job_id}", house.uploads[upload]))
                assert told(answer.text) == [], path


def test_the_rows_show_enough_to_find_the_cell(house: House, masked: str) -> None:
    with house.client("super") as client:
        rows = client.get(f"{BASE}/rows/{masked}").json()["data"]["items"]
    problems = [problem for row in rows for problem in row["problems"]]
    assert {problem["value"] for problem in problems if problem["code"] == "id_check_digit"} == {
        MASKED
    }
    assert any(p["code"] == "phone_unclear" and "••••••" in p["value"] for p in problems)
    assert any(p["code"] == "id_length" and p["value"].endswith("1") for p in problems)


def test_the_downloads_have_them_whole(house: House, masked: str) -> None:
    with house.client("super") as client:
        for what in ("report", "failed-rows"):
            answer = client.get(f"{BASE}/{what}/{masked}")
            assert NAME not in answer.headers["content-disposition"]
            book = openpyxl.load_workbook(io.BytesIO(answer.content))
            cells = {
                str(value)
                for sheet in book
                for row in sheet.iter_rows(values_only=True)
                for value in row
            }
            book.close()
            assert WRONG in cells


def test_what_was_masked_is_found_by_the_whole_number(house: House, masked: str) -> None:
    with house.client("super") as client:
        found = client.get(f"{BASE}/history", params={"search": NAME}).json()["data"]["items"]
    assert masked in {upload["job_id"] for upload in found}


def test_mails_webhooks_and_traces_hold_no_id_number(house: House, masked: str) -> None:
    for job_id in (masked, house.uploads["headless"]):
        until(partial(house.receivers.told, job_id), "mail and webhook have come")
        until(partial(house.receivers.traced, job_id), "its spans have come")
    assert told(house.receivers.everything()) == []


def test_metrics_hold_no_id_number(house: House, masked: str) -> None:
    assert masked
    with house.client(None) as client:
        shown = client.get("/metrics")
    assert "rollbook_jobs" in shown.text
    assert told(shown.text) == []


def test_redis_holds_no_id_number(house: House, masked: str) -> None:
    content = asyncio.run(everything(house.settings))
    assert masked in content
    assert told(content) == []


@pytest.fixture(scope="module")
def noted(house: House, messages: list[str]) -> list[httpx.Response]:
    """The answers to a client that says ID numbers of itself and asks for them."""
    assert messages
    masked = house.uploads["masked"]
    wanted: list[tuple[str, dict[str, Any]]] = [
        (f"{BASE}/status/{WRONG}", {}),
        (f"{BASE}/rows/{masked}", {"problem": WRONG}),
        (f"{BASE}/history", {"page": f"x{GROUPED}"}),
        (f"/{WRONG}", {}),
    ]
    with house.client("super") as client:
        # The audit trail keeps 120 characters: nothing is cut before it is masked.
        client.headers["User-Agent"] = f"a browser of {WRONG}, {'x' * 81}{CELL} {CELL}"
        client.headers["X-Request-ID"] = f"lid-{WRONG}"
        answers = [client.get(path, params=params) for path, params in wanted]
        client.post(f"{BASE}/queue/clean", json={"grace_period_hours": 9})
        assert client.post(f"{BASE}/queue/pause").status_code == 200
        assert client.post(f"{BASE}/queue/resume").status_code == 200
        login = client.post("/api/v1/auth/login", json={"email": WRONG, "password": GROUPED})
    return [*answers, login]


def test_what_a_client_says_of_itself_and_asks_for_is_masked_too(
    noted: list[httpx.Response],
) -> None:
    for answer in noted:
        assert 400 <= answer.status_code < 500
        assert told(answer.text) == []
        assert told(answer.headers["x-request-id"]) == []


def test_a_fault_of_ours_tells_nobody_where_it_happened(house: House, masked: str) -> None:
    assert masked
    house.execute("ALTER TABLE audit_entries RENAME COLUMN act TO gone")
    try:
        with house.client("super") as client:
            answer = client.get(f"{BASE}/audit")
    finally:
        house.execute("ALTER TABLE audit_entries RENAME COLUMN gone TO act")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for inside in ("Traceback", "psycopg", ".py", "SELECT", "audit_entries", "UndefinedColumn"):
        assert inside not in answer.text
    assert "UndefinedColumn" in house.all_logs()  # it is the operator who learns of it


def test_the_audit_trail_and_the_record_hold_none_where_none_belongs(
    house: House, noted: list[httpx.Response]
) -> None:
    assert noted
    entries = house.ask("SELECT a::text AS entry FROM audit_entries AS a")
    assert any("a browser of" in entry for entry in entries)
    assert told("\n".join(entries)) == []
    assert CELL[:12] not in "\n".join(entries)
    names = house.ask("SELECT concat_ws(' ', file_name, error) AS said FROM uploads")
    assert told("\n".join(names)) == []


def test_no_process_has_logged_one(house: House, masked: str, noted: list[httpx.Response]) -> None:
    assert noted
    log = house.all_logs()
    assert masked in log
    assert told(log) == []
    assert quote(GROUPED) not in log
