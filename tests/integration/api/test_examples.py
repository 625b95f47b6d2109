"""Every operation's example in the API's description is what it answered to that very request.

``ROLLBOOK_RECORD_EXAMPLES=1 pytest tests/integration/api/test_examples.py`` records them anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import jsonschema
import pyotp
import pytest

from rollbook import clock, fields
from rollbook.accounts import second_factor, tokens, users
from rollbook.accounts.users import issue_token
from rollbook.api import oidc
from rollbook.api.app import create_app
from rollbook.api.description import EXAMPLES
from rollbook.fields import OwnField, OwnFields, Rule
from rollbook.members import duplicates, index
from rollbook.model import Role
from rollbook.notifications.outbox import entry
from tests.conftest import PASSWORD
from tests.files import HEADERS, csv_file, id_number, member, members
from tests.integration.folder.watching import QUICK, until, watching
from tests.integration.members.test_erase import carry_out
from tests.integration.worker.test_worker import working
from tests.waiting import job_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import httpx

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

BASE = "/api/v1/bulk-upload"
LID_NUMBER = '{"Lid No": "id_number"}'
#: What would be this machine's or this moment's, by the names of fields.
PLAIN = {
    "token": "the-token",
    "key": "rbk_the-key",
    "hint": "rbk_the-key",
    "secret": "whsec_the-secret",
    "host": "worker-1.example.org",
    "pid": 4711,
    "folder": "/srv/rollbook/inbox",
    "remote_address": "192.0.2.10",
}
#: Of a second factor.
SECRET = {
    "secret": "JBSWY3DPEHPK3PXP",
    "address": "otpauth://totp/Rollbook:user%40example.org?secret=JBSWY3DPEHPK3PXP&issuer=Rollbook",
    "qr": '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 45 45">...</svg>',
}
#: Of one row that is good, one whose number is wrong, and one that repeats the first.
ROWS = [member(0), member(1, **{"ID Number": "8001015009088"}), member(0)]


@pytest.fixture
def settings(settings: Settings, folder: Path) -> Settings:
    changes = {**QUICK, "watch_dir": folder}
    # All of them, because the worker's children read them again.
    changes |= {"oidc_issuer": "https://login.example.org", "oidc_name": "Example Members"}
    changes |= {"oidc_client_id": "rollbook", "oidc_roles": {"all": "super_admin"}}
    changes["public_url"] = "http://127.0.0.1:8000"
    return settings.model_copy(update=changes)


class Scenario:
    """Calls operations one after the other and keeps what was asked and answered."""

    def __init__(self, api: httpx.AsyncClient) -> None:
        self.api = api
        self.found: dict[str, dict[str, Any]] = {}

    async def call(self, operation: str, *, status: int = 200, **request: Any) -> Any:
        """Call one and keep it: ``GET /queue/stats``, or ``GET /status/{job_id}`` with a job."""
        method, path = operation.split()
        base = BASE
        if path.startswith(("/auth", "/keys", "/members", "/offices", "/users", "/webhooks")):
            base = "/api/v1"
        address = f"{base}{path}"
        for name in (
            "job_id", "check_id", "mapping_id", "member_id", "key_id", "webhook_id", "delivery_id",
            "file_id", "receipt_id", "user_id", "alias_id", "session_id",
            "pair_id",
        ):  # fmt: skip
            address = address.replace(f"{{{name}}}", str(request.pop(name, None)))
        answer = await self.api.request(method, address, **request)
        assert answer.status_code == status, answer.text
        example: dict[str, Any] = {"status": status, "answer": _plain(answer.json())}
        if "json" in request:
            example["request"] = _plain(request["json"])
        self.found[f"{method} {base}{path}"] = example
        return answer.json()["data"]


def _back_from_provider(settings: Settings, user: User) -> dict[str, str]:
    claims = {"user": str(user.id), "jti": str(uuid4())}
    until = clock.now() + oidc.ENDED_FOR
    return {"Cookie": f"{oidc.ENDED}={tokens.sign(settings, oidc.ENDED, claims, until=until)}"}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        plain = PLAIN | {"name": "worker-1.example.org-4711"} if "pid" in value else PLAIN
        if "/#/link/" in str(value.get("address")):
            plain = plain | {"address": "http://127.0.0.1:8000/#/link/the-token"}
        if "qr" in value:
            plain = plain | SECRET
        if "recovery_codes" in value:
            plain = plain | {"recovery_codes": ["abcd-efgh-ijkl-mnop", "qrst-uvwx-yz23-4567"]}
        return {
            name: plain[name] if name in plain and inner else _plain(inner)
            for name, inner in value.items()
        }
    # Two of a list show what the others are.
    return [_plain(inner) for inner in value[:2]] if isinstance(value, list) else value


def _shape(value: Any) -> Any:
    """What kinds of values stand where; nothing that differs from one run to the next."""
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value[:1]]
    return (
        "number" if isinstance(value, int | float) and value is not True else type(value).__name__
    )


@contextlib.asynccontextmanager
async def _watching(system: System, api: httpx.AsyncClient) -> AsyncIterator[None]:
    """A watcher that has looked at the folder and reported it."""

    async def has_told() -> bool:
        said = (await api.get(f"{BASE}/monitor/status")).json()["data"]["watchers"]
        return bool(said and said[0]["swept_at"])

    async with watching(system):
        await until(has_told)
        yield


def _recorded(found: dict[str, dict[str, Any]]) -> Any:
    """What the package holds; ``found``, where it is to be recorded."""
    if "ROLLBOOK_RECORD_EXAMPLES" in os.environ:
        text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        EXAMPLES.write_text(text, encoding="utf-8")
    return json.loads(EXAMPLES.read_text(encoding="utf-8"))


async def _sent(api: httpx.AsyncClient, name: str, content: bytes, **options: str) -> str:
    """The job id of a file that is sent beside the examples."""
    answer = await api.post(f"{BASE}/process", files={"file": (name, content)}, data=options)
    job_id: str = answer.json()["data"]["job_id"]
    return job_id


def _unknown_header() -> bytes:
    row = member(90)
    return csv_file([{**row, "Lid No": row["ID Number"]}], headers=["Lid No", *HEADERS[1:]])


def _changed_and_alike() -> bytes:
    """A member in another ward, and three who may be one person."""
    alike = [member(n, Firstname="Thandi", Surname="Maseko") for n in (60, 61, 62)]
    return csv_file([member(0, Ward="79800002"), *alike])


async def _duplicates(steps: Scenario) -> None:
    """Two pairs, of which one is joined and separated."""
    call = steps.call
    await call("GET /members/report")
    one, other = (await call("GET /members/duplicates"))["items"][:2]
    await call("POST /members/duplicates/{pair_id}/different", pair_id=one["pair_id"])
    ours = {"pair_id": other["pair_id"]}
    keep = other["members"][0]["member_id"]
    why = {"keep": keep, "reason": "the same person, by phone"}
    await call("POST /members/duplicates/{pair_id}/join", **ours, json=why)
    why = {"reason": "they are two after all"}
    await call("POST /members/duplicates/{pair_id}/separate", **ours, json=why)


async def _members_and_mappings(steps: Scenario, system: System) -> None:
    call = steps.call
    await index.run_once(system)
    await duplicates.run_once(system)
    await _duplicates(steps)
    [line] = (await call("GET /members", params={"search": "first0"}))["items"]
    await call("POST /members/search", json={"id_number": id_number(0)})
    shown = await call("GET /members/{member_id}", member_id=line["member_id"])
    change = {"version": shown["version"], "reason": "told us by phone"}
    shown = await call(
        "PATCH /members/{member_id}",
        member_id=line["member_id"],
        json={**change, "fields": {"cell_number": "083 555 0101"}},
    )
    await call(
        "POST /members/{member_id}/status",
        member_id=line["member_id"],
        json={"version": shown["version"], "reason": "left the organisation", "status": "Inactive"},
    )
    await call("POST /members/{member_id}/id-number", member_id=line["member_id"])
    await call(
        "POST /members/{member_id}/access",
        status=202,
        member_id=line["member_id"],
        json={"format": "json"},
    )
    asked = {"format": "xlsx", "municipality": "Johannesburg"}
    file = await call("POST /members/export", status=202, json=asked)
    await call("GET /members/files/{file_id}", file_id=file["job_id"])
    shirt = OwnField("shirt", ("Shirt size",), "choice", Rule(choices=("S", "M", "L")))
    with fields.using(OwnFields((shirt,))):
        await call("GET /members/fields")
    await call(
        "POST /members/removal", json={"municipality": "Johannesburg", "reason": "moved away"}
    )
    found = await call("GET /members", params={"search": "first21"})
    gone = await call(
        "POST /members/{member_id}/erase",
        status=202,
        member_id=found["items"][0]["member_id"],
        json={"reason": "asked for it in writing, letter 12", "confirm": True},
    )
    await call("GET /members/erasures/{receipt_id}", receipt_id=gone["receipt"])
    assert await asyncio.to_thread(carry_out, system.settings, system, gone["receipt"])
    by_number = {"id_number": id_number(62), "reason": "asked for it", "confirm": True}
    await call("POST /members/erase", status=202, json=by_number)
    await call("POST /members/readmit", json={"id_number": id_number(21)})
    [mapping] = (await call("GET /mappings"))["items"]
    change = {"columns": dict(mapping["columns"])}
    path = "PATCH /mappings/{mapping_id}"
    mapping = await call(path, mapping_id=mapping["id"], json=change)
    await call("DELETE /mappings/{mapping_id}", mapping_id=mapping["id"])


async def _fixes(steps: Scenario, through: Callable[[str], Awaitable[None]]) -> None:
    call = steps.call
    wrong = {"Province": "Joburg side", "Municipality": ""}
    rows = [*(member(n, **wrong) for n in (91, 92)), member(93, Surname="")]
    job_id = await _sent(steps.api, "doubtful.csv", csv_file(rows))
    await through(job_id)
    await call("GET /mend/{job_id}", job_id=job_id)
    await call("GET /facets/{job_id}", job_id=job_id)
    edited = [{"row_number": 4, "cells": {"Surname": "Nkosi"}}]
    await call("POST /mend/{job_id}/check", job_id=job_id, json={"rows": edited})
    value = {"column": "Province", "value": "Joburg side", "becomes": "GP", "remember": True}
    body = {"rows": edited, "values": [value]}
    sent = await call("POST /mend/{job_id}", status=202, job_id=job_id, json=body)
    await through(sent["job_id"])
    [alias] = (await call("GET /aliases"))["items"]
    await call("DELETE /aliases/{alias_id}", alias_id=alias["id"])


async def _checks(call: Callable[..., Awaitable[Any]]) -> None:
    files = {"file": ("checked.csv", csv_file(members(3, start=90)))}
    check_id = (await call("POST /check", files=files))["check_id"]
    await call("POST /check/{check_id}", check_id=check_id, json={"columns": {"Ward": None}})


@pytest.mark.usefixtures("one_day")
async def test_every_example_is_what_the_system_answers(
    api: httpx.AsyncClient,
    system: System,
    settings: Settings,
    folder: Path,
    make_user: Callable[..., Awaitable[User]],
) -> None:
    user = await make_user(Role.SUPER_ADMIN)
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    steps = Scenario(api)
    call = steps.call

    async def through(job_id: str) -> None:
        await job_event(settings, job_id, "completed", "failed")

    await _sign_ins(call, settings, user)
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    await _second_factor(call, api, user)
    await call("POST /queue/pause")
    await _checks(call)
    files = {"file": ("members.csv", csv_file(ROWS))}
    sent = (await call("POST /process", status=202, files=files))["job_id"]
    waiting = await _sent(api, "another.csv", csv_file(members(2, start=50)))
    await call("POST /cancel/{job_id}", job_id=waiting)
    await call("POST /queue/resume")
    async with working(system) as worker, _watching(system, api):
        await through(sent)
        dry_run = await _sent(api, "dry.csv", csv_file(members(2, start=20)), dry_run="true")
        await through(dry_run)
        real = await call("POST /run/{job_id}", status=202, job_id=dry_run, json={})
        await through(real["job_id"])
        bad = b"no,columns,that,we,know\n1,2,3,4,5\n"
        failed = await _sent(api, "bad.csv", bad)
        await through(failed)
        await worker._beat()  # the last one may have been while a job ran
        await call("GET /queue/workers")
        await call("POST /monitor/stop")
        (folder / "from the folder.csv").write_bytes(csv_file(members(2, start=70)))
        by_hand = await call(
            "POST /monitor/process", status=202, json={"file_name": "from the folder.csv"}
        )
        await through(by_hand["job_id"])
        for about in ("POST /monitor/start", "GET /monitor/status"):
            await call(about)
        await through(await _sent(api, "lid.csv", _unknown_header(), columns=LID_NUMBER))
        changed = await _sent(api, "again.csv", _changed_and_alike())
        await through(changed)
        await _fixes(steps, through)
    await call("GET /changes/{job_id}", job_id=changed)
    await _members_and_mappings(steps, system)
    await call("POST /queue/retry/{job_id}", job_id=failed)
    for path in (
        "/status/{job_id}", "/rows/{job_id}", "/problems/{job_id}", "/history", "/stats",
        "/stats/over-time", "/queue/stats", "/queue/jobs", "/rate-limit-status", "/can-upload",
        "/reports", "/reports/stats", "/audit", "/audit/mine",
    ):  # fmt: skip
        await call(f"GET {path}", job_id=sent, params={"days": 1} if "over-time" in path else None)
    await call("POST /undo/{job_id}", job_id=sent, json={"dry_run": True})
    await call("GET /undo/{job_id}/kept", job_id=sent)
    await call("POST /reports/cleanup", json={"older_than_days": 90, "dry_run": True})
    await call("DELETE /reports/{job_id}", job_id=sent)
    await call("POST /queue/clean", json={"grace_period_hours": 24})
    await _keys_webhooks_and_sign_out(call, system, sent)
    assert _shape(_recorded(steps.found)) == _shape(steps.found)


async def _sign_ins(call: Callable[..., Awaitable[Any]], settings: Settings, user: User) -> None:
    await call("POST /auth/login", json={"email": user.email, "password": PASSWORD})
    for about in ("GET /auth/me", "GET /auth/oidc"):
        await call(about)
    await call("PATCH /auth/me", json={"language": "en"})
    await call("POST /auth/oidc/token", headers=_back_from_provider(settings, user))
    await call("POST /auth/renew")
    await call(
        "POST /auth/password",
        json={"current_password": PASSWORD, "new_password": "seven quiet pelicans"},
    )


async def _second_factor(
    call: Callable[..., Awaitable[Any]], api: httpx.AsyncClient, user: User
) -> None:
    own = {"current_password": "seven quiet pelicans"}
    path = "/auth/second-factor"
    await call(f"GET {path}")
    secret = (await call(f"POST {path}", json=own))["secret"]
    code = pyotp.TOTP(secret).at(clock.now())
    confirmed = await call(f"POST {path}/confirm", json={"code": code})
    api.headers["Authorization"] = f"Bearer {confirmed['token']}"
    codes = confirmed["recovery_codes"]
    proof = {**own, "code": codes[0]}
    codes = (await call(f"POST {path}/recovery-codes", json=proof))["recovery_codes"]
    await call(f"POST {path}/off", json={**own, "code": codes[0]})
    elsewhere = {"email": user.email, "password": own["current_password"]}
    assert (await api.post("/api/v1/auth/login", json=elsewhere)).status_code == 200
    [session] = [one for one in await call("GET /auth/sessions") if not one["is_this"]]
    await call("DELETE /auth/sessions/{session_id}", session_id=session["session_id"])


async def _accounts(call: Callable[..., Awaitable[Any]], system: System) -> None:
    wanted = {
        "email": "thandi@example.org", "name": "Thandi Nkosi", "role": "municipality_admin",
        "province": "GP", "municipality": "Emfuleni",
    }  # fmt: skip
    made = await call("POST /users", status=201, json=wanted)
    token = made["invitation"]["address"].rpartition("/")[2]
    await call("POST /auth/link", json={"token": token})
    chosen = {"token": token, "password": "seven quiet pelicans"}
    await call("POST /auth/link/password", json=chosen)
    person = await users.acting(system.pool, "thandi@example.org")
    begun = await second_factor.begin(system.pool, person)
    code = pyotp.TOTP(begun.secret).at(clock.now())
    await second_factor.confirm(system.pool, system.settings, person, code)
    lines = (
        "E-mail,Name,Role,Province,Municipality",
        "sipho@example.org,Sipho Zulu,municipality_admin,GP,Midvaal",
    )
    wrong = (*lines, "busi@example.org,Busi Mokoena,municipality_admin,GP,Emfulini")
    sent = {"file": ("offices.csv", "\n".join(wrong).encode())}
    await call("POST /users/invitations/check", files=sent)
    sent = {"file": ("offices.csv", "\n".join(lines).encode())}
    await call("POST /users/invitations", status=201, files=sent)
    await call("GET /users")
    await call("DELETE /users/{user_id}/second-factor", user_id=made["user_id"])
    await call("GET /offices", params={"search": "emfuleni"})
    about = {"user_id": made["user_id"]}
    change = {"version": made["version"], "role": "province_admin"}
    await call("PATCH /users/{user_id}", json=change, **about)
    await call("POST /users/{user_id}/reset", **about)
    await call("DELETE /users/{user_id}", **about)


async def _keys_webhooks_and_sign_out(
    call: Callable[..., Awaitable[Any]], system: System, job: str
) -> None:
    await _accounts(call, system)
    made = await call("POST /keys", status=201, json={"name": "import", "scopes": ["upload"]})
    await call("GET /keys")
    await call("DELETE /keys/{key_id}", key_id=made["key_id"])
    hook = {"url": "https://hooks.example.org/rollbook", "events": ["upload.completed"]}
    webhook_id = (await call("POST /webhooks", status=201, json=hook))["webhook_id"]
    await call("GET /webhooks")
    await call("PATCH /webhooks/{webhook_id}", webhook_id=webhook_id, json={"new_secret": True})
    async with system.pool.connection() as connection:
        await connection.execute(*entry(UUID(job), "completed", ["office_webhook"]))
    path = "/webhooks/{webhook_id}/deliveries"
    [delivery] = (await call(f"GET {path}", webhook_id=webhook_id))["items"]
    ids = {"webhook_id": webhook_id, "delivery_id": delivery["delivery_id"]}
    await call(f"POST {path}/{{delivery_id}}/again", status=202, **ids)
    await call("DELETE /webhooks/{webhook_id}", webhook_id=webhook_id)
    await call("POST /auth/logout")


def test_every_operation_that_answers_json_has_an_example_that_fits_its_schema(
    settings: Settings,
) -> None:
    document = create_app(settings).openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get("application/json")
                if not path.startswith("/api/") or status[0] != "2" or content is None:
                    continue
                assert "example" in content, (method, path)
                jsonschema.validate(
                    content["example"],
                    {**content["schema"], "components": document["components"]},
                )
