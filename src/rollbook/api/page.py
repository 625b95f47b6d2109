"""The page: static files, served from the package.

Every file but the first has an address with the hash of all files: browsers cache it for good and
never mix two versions. Only ``/`` is requested again each time.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response

from rollbook import languages
from rollbook.api.inputs import AnyParameter
from rollbook.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

#: Only our own scripts run, no other page may frame ours, and nothing can be sent elsewhere. A
#: name in a file that is really a script does nothing.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}
_INDEX: Final = "index.html"
#: What the first file's answer also depends on: it is there in each language.
_VARY_INDEX: Final = "Accept-Encoding, Accept-Language"
#: In front of the keys of the page's texts in a catalogue.
_TEXTS: Final = "page."
_MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
}
_FOREVER: Final = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False, dependencies=[AnyParameter])


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A static file."""

    media_type: str
    plain: bytes
    packed: bytes
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> StaticFile:
        """A file by its name, whose ending gives the type, and its content."""
        media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
        etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        return cls(media_type, content, gzip.compress(content, mtime=0), etag)

    def answer(self, request: Request, *, cache_control: str) -> Response:
        """The answer to a request: compressed where the browser accepts it, or 304."""
        headers = {**_HEADERS, "ETag": self.etag, "Cache-Control": cache_control}
        known = request.headers.get("if-none-match", "")
        if self.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            # Compressed and plain are two representations, so their common tag must be weak.
            headers["ETag"] = f"W/{self.etag}"
            return Response(self.packed, media_type=self.media_type, headers=headers)
        return Response(self.plain, media_type=self.media_type, headers=headers)


@cache
def _page() -> tuple[str, Mapping[str, StaticFile]]:
    """The hash of all files, and the files by their path; the first one has one a language."""
    contents = {**dict(_walk(files("rollbook").joinpath("page"))), **dict(_catalogues())}
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    version = digest.hexdigest()[:12]
    index = contents.pop(_INDEX).decode()
    for language in languages.available():
        with languages.speaking(language):
            filled = index.replace("VERSION", version).replace("LANGUAGE", language)
            without = html.escape(languages.phrase("page.no_script"), quote=False)
            contents[_index(language)] = filled.replace("NO_SCRIPT", without).encode()
    return version, {name: StaticFile.of(name, content) for name, content in contents.items()}


def _index(language: str) -> str:
    """The name of the first file in a language; no address leads to it."""
    return f"{_INDEX}/{language}.html"


def _catalogues() -> Iterator[tuple[str, bytes]]:
    """The page's texts as modules, one a language, and the module that lists the languages."""
    known = [
        {"tag": language.tag, "name": language.name, "isReviewed": language.is_reviewed}
        for language in languages.available().values()
    ]
    yield "texts/all.js", f"export const LANGUAGES = {_literal(known)};\n".encode()
    for language in languages.available().values():
        texts = {
            key.removeprefix(_TEXTS): text
            for key, text in languages.texts(language.tag).items()
            if key.startswith(_TEXTS)
        }
        values = {"LOCALE": language.locale, "NUMBERS": language.numbers, "TEXT": texts}
        module = "".join(
            f"export const {name} = {_literal(value)};\n" for name, value in values.items()
        )
        yield f"texts/{language.tag}.js", module.encode()


def _literal(value: object) -> str:
    """A value as JavaScript has it, which JSON is a part of."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _walk(folder: Traversable, before: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = before + entry.name
        if entry.is_dir():
            yield from _walk(entry, f"{name}/")
        elif name.rpartition(".")[2] in _MEDIA_TYPES:
            yield name, entry.read_bytes()


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """The first file, which names the version of all others, in the language of the browser."""
    language = languages.preferred(request.headers.get("accept-language")) or languages.ENGLISH
    answer = _page()[1][_index(language)].answer(request, cache_control="no-cache")
    answer.headers["Vary"] = _VARY_INDEX
    answer.headers["Content-Language"] = language
    return answer


@router.api_route("/page/{version}/{name:path}", methods=["GET", "HEAD"])
def file(request: Request, version: str, name: str) -> Response:
    """Another file of the page.

    During an upgrade a browser may ask this process for a file of another version: it gets ours,
    without caching.
    """
    ours, found = _page()
    if name not in found or name.startswith(_INDEX):
        raise NotFoundError("There is no such file of the page. Please reload the page.")
    return found[name].answer(request, cache_control=_FOREVER if version == ours else "no-cache")
