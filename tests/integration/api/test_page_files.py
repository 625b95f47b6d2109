"""The files of the page, as the API serves them and as they hang together."""

from __future__ import annotations

import gzip
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import FastAPI

from rollbook import languages
from rollbook.api import page, problems

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FOLDER = Path(str(files("rollbook").joinpath("page")))
#: Texts of the page that Python asks for.
FROM_PYTHON = {"no_script"}
OURS = sorted(path for path in FOLDER.rglob("*.js") if path.parent.name != "vendor")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.include_router(page.router)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


async def test_every_file_of_the_page_is_served_under_a_strict_policy(
    client: httpx.AsyncClient,
) -> None:
    index = await client.get("/")
    addresses = re.findall(r'(?:href|src)="(page/[^"]+)"', index.text)
    assert len(addresses) > 20
    for answer in [index, *[await client.get(f"/{address}") for address in addresses]]:
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in index.text
    assert "style=" not in index.text


async def test_files_are_kept_for_ever_and_the_first_one_is_asked_for_each_time(
    client: httpx.AsyncClient,
) -> None:
    index = await client.get("/")
    assert index.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": index.headers["etag"]}
    assert (await client.get("/", headers=known)).status_code == 304
    found = re.search(r'src="(page/[^"]+/app.js)"', index.text)
    assert found is not None
    script = await client.get(found[1])
    assert "immutable" in script.headers["cache-control"]
    assert script.headers["content-type"].startswith("text/javascript")
    other = await client.get("/page/another-version/app.js")
    assert (other.content, other.headers["cache-control"]) == (script.content, "no-cache")


async def test_a_slow_line_gets_files_packed_and_others_plain(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join([chunk async for chunk in answer.aiter_raw()])
    plain = await client.get("/", headers={"Accept-Encoding": "identity"})
    assert gzip.decompress(packed) == plain.content
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding, Accept-Language"
    again = await client.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "name", ["nothing.js", "../app.js", "index.html", "index.html/en.html", "vendor/README.md"]
)
async def test_what_is_no_file_of_the_page_is_a_problem(
    client: httpx.AsyncClient, name: str
) -> None:
    answer = await client.get(f"/page/x/{name.replace('..', '%2e%2e')}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_every_module_is_named_in_the_first_file_so_that_none_is_waited_for() -> None:
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'"page/VERSION/([^"]+\.js)"', index)
    ours = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.js")}
    assert sorted(named) == sorted({*ours, "texts/all.js", "texts/LANGUAGE.js"})


@pytest.mark.parametrize("language", languages.available())
async def test_the_first_file_and_the_texts_are_there_in_each_language(
    client: httpx.AsyncClient, language: str
) -> None:
    index = await client.get("/", headers={"Accept-Language": f"{language}-ZA, en;q=0.2"})
    assert index.headers["content-language"] == language
    assert index.headers["vary"] == "Accept-Encoding, Accept-Language"
    assert f'<html lang="{language}">' in index.text
    assert not re.search("VERSION|LANGUAGE|NO_SCRIPT", index.text)
    found = re.search(rf'href="(page/[^"]+/texts/{language}\.js)"', index.text)
    assert found is not None
    module = await client.get(f"/{found[1]}")
    assert "immutable" in module.headers["cache-control"]
    with languages.speaking(language):
        assert languages.phrase("page.no_script").split("'")[-1] in index.text
        assert f'"sign_out":"{languages.phrase("page.sign_out")}"' in module.text
    known = {"If-None-Match": index.headers["etag"], "Accept-Language": language}
    again = await client.get("/", headers=known)
    assert (again.status_code, again.headers["content-language"]) == (304, language)


async def test_who_prefers_no_language_that_is_there_gets_the_page_in_english(
    client: httpx.AsyncClient,
) -> None:
    for header in ({}, {"Accept-Language": "de"}):
        assert (await client.get("/", headers=header)).headers["content-language"] == "en"


def test_the_catalogue_has_every_text_that_is_asked_for_and_no_other() -> None:
    texts = {
        key.removeprefix("page.")
        for key in languages.own_texts(languages.ENGLISH)
        if key.startswith("page.")
    } - FROM_PYTHON
    code = "\n".join(path.read_text(encoding="utf-8") for path in OURS)
    quoted = set(re.findall(r'"([a-z_0-9]+(?:\.[a-z_0-9]+)*)"', code))
    built = [
        re.compile(re.sub(r"\\\$\\\{[^}]*\\\}", r"[a-z_.]+", re.escape(key)) + "$")
        for key in re.findall(r"\bt\(`([^`]+)`", code)
    ]
    asked = {text for text in texts if text in quoted or any(b.match(text) for b in built)}
    assert texts - asked == set(), "texts that nobody asks for"
    wanted = set(re.findall(r'\bt\("([^"]+)"', code))
    assert wanted - texts == set(), "texts that there aren't"
    assert all(any(b.match(text) for text in texts) for b in built)


def test_third_party_files_say_what_they_are_and_their_licence_is_beside_them() -> None:
    readme = (FOLDER / "vendor" / "README.md").read_text(encoding="utf-8")
    for path in (FOLDER / "vendor").glob("*.js"):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        found = re.fullmatch(r"/\*! (\S+) ([\d.]+), ([\w.-]+)\. See README.md .*\*/", first)
        assert found is not None, path.name
        assert f"`{path.name}`" in readme
        assert found[2] in readme
    for path in (FOLDER / "vendor").glob("LICENSE-*.txt"):
        assert f"`{path.name}`" in readme


def test_no_script_names_another_server() -> None:
    for path in FOLDER.rglob("*.js"):
        found = re.findall(r"https?://[\w./-]+", path.read_text(encoding="utf-8"))
        assert [u for u in found if not u.startswith("http://www.w3.org/")] == [], path.name
