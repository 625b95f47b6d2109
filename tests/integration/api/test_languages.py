"""The language of answers: the account's, then the request's, then English."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import openpyxl

from rollbook import languages
from rollbook.languages import phrase, speaking
from rollbook.model import Role, User
from rollbook.pipeline.columns import FULL_NAME, built_in, map_headers
from tests.files import csv_file, member
from tests.integration.worker.test_worker import ended, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import httpx

    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

ME = "/api/v1/auth/me"
BULK = "/api/v1/bulk-upload"


async def test_a_person_chooses_the_language_of_the_account(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"))
    assert (await api.get(ME)).json()["data"]["language"] is None
    for language in [*languages.available(), None]:
        changed = await api.patch(ME, json={"language": language})
        assert changed.status_code == 200
        assert changed.json()["data"]["language"] == language
        assert changed.headers["content-language"] == (language or "en")
        with speaking(language):
            assert changed.json()["message"] == phrase("said.language")
        assert (await api.get(ME)).json()["data"]["language"] == language
    refused = await api.patch(ME, json={"language": "tlh"})
    assert (refused.status_code, (await api.get(ME)).json()["data"]["language"]) == (422, None)
    assert (await api.patch(ME, json={})).status_code == 422


async def test_sentences_are_in_the_language_of_the_account_or_of_the_request(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, system: System
) -> None:
    async with working(system):
        for language in languages.available():
            user = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
            await _sentences_are_in(language, as_user(user), user, system)


async def _sentences_are_in(
    language: str, api: httpx.AsyncClient, user: User, system: System
) -> None:
    file = {"file": ("members.csv", csv_file([member(1), {**member(2), "Surname": ""}]))}
    prefers = {"Accept-Language": f"{language}, en;q=0.4"}
    again = {"allow_duplicate": "true"}
    sent = await api.post(f"{BULK}/process", files=file, data=again, headers=prefers)
    job_id = sent.json()["data"]["job_id"]
    upload = await ended(system, user, UUID(job_id))
    assert upload["language"] == language
    with speaking(language):
        said = phrase("problem.surname_missing")
    found = await api.get(f"{BULK}/problems/{job_id}", headers=prefers)
    assert [one["message"] for one in found.json()["data"]] == [said]
    assert found.headers["content-language"] == language
    assert "Accept-Language" in found.headers["vary"]
    silent = await api.get(f"{BULK}/problems/{job_id}")
    assert silent.json()["data"][0]["message"] == "The surname is missing."
    await api.patch(ME, json={"language": language})
    chosen = await api.get(f"{BULK}/problems/{job_id}", headers={"Accept-Language": "en"})
    assert chosen.json()["data"][0]["message"] == said
    lost = await api.get(f"{BULK}/status/{upload['owner_id']}", headers={"Accept-Language": "en"})
    with speaking(language):
        assert lost.json()["title"] == phrase("error.not_found")


async def test_the_template_is_in_the_language_of_its_reader_and_read_without_a_question(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, tmp_path: Path
) -> None:
    api = as_user(await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg"))
    path = tmp_path / "template.xlsx"
    for language in languages.available():
        found = await api.get(f"{BULK}/template", headers={"Accept-Language": language})
        assert found.headers["content-language"] == language
        path.write_bytes(found.content)
        book = openpyxl.load_workbook(path)
        with speaking(language):
            assert book.sheetnames[0] == phrase("template.sheet")
            assert phrase("template.notes") in book.sheetnames
        headers = [str(cell.value) for cell in next(book.worksheets[0].iter_rows(max_row=1))]
        columns = map_headers(headers)
        wanted = [name for name in built_in() if name != FULL_NAME]
        assert list(columns.known.values()) == wanted, language
        assert (columns.unknown, columns.missing) == ((), ()), language
        sheet = book.worksheets[0]
        for number, name in enumerate(columns.known.values(), start=1):
            sheet.cell(2, number, _value(name))
        book.save(path)
        file = {"file": ("filled.xlsx", path.read_bytes())}
        data = (await api.post(f"{BULK}/check", files=file)).json()["data"]
        assert (data["missing"], data["rows_expected"]) == ([], 1), language
        assert {column["how"] for column in data["columns"]} == {"known"}, language


def _value(field: str) -> str | None:
    values = dict(zip(("id_number", "firstname", "surname"), ("8001015009087", "Thandi", "Dlamini"),
                      strict=True))  # fmt: skip
    return values.get(field)
