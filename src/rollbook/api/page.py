"""The page: static files, served from the package.

Every file but the first lies under an address that holds the hash of all of them, so that a browser
keeps it for ever and never mixes two versions; only ``/`` is asked for anew each time.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response

from rollbook.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

#: Nothing but our own files runs, nobody else's page may frame ours, and what it shows can't be
#: sent elsewhere: also a name in a file that is really a script does nothing here.
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
_MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
}
_FOREVER: Final = "public, max-age=31536000, immutable"
#: What ``index.html`` says where the hash is to stand.
_VERSION_MARK: Final = b"VERSION"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that the API serves as it is."""

    media_type: str
    plain: bytes
    packed: bytes
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> StaticFile:
        """The file of a name, whose ending says its type, and content."""
        media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
        etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        return cls(media_type, content, gzip.compress(content, mtime=0), etag)

    def answer(self, request: Request, *, cache_control: str) -> Response:
        """The answer to a request for it: packed where the browser takes that, or 304."""
        headers = {**_HEADERS, "ETag": self.etag, "Cache-Control": cache_control}
        known = request.headers.get("if-none-match", "")
        if self.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            # A packed and a plain copy are two representations, so they need a weak tag in common.
            headers["ETag"] = f"W/{self.etag}"
            return Response(self.packed, media_type=self.media_type, headers=headers)
        return Response(self.plain, media_type=self.media_type, headers=headers)


@cache
def _page() -> tuple[str, Mapping[str, StaticFile]]:
    """The hash of all files, and the files by their path."""
    contents = dict(_walk(files("rollbook").joinpath("page")))
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    version = digest.hexdigest()[:12]
    contents["index.html"] = contents["index.html"].replace(_VERSION_MARK, version.encode())
    return version, {name: StaticFile.of(name, content) for name, content in contents.items()}


def _walk(folder: Traversable, before: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = before + entry.name
        if entry.is_dir():
            yield from _walk(entry, f"{name}/")
        elif name.rpartition(".")[2] in _MEDIA_TYPES:
            yield name, entry.read_bytes()


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """The page's first file, which names the version of all others."""
    return _page()[1]["index.html"].answer(request, cache_control="no-cache")


@router.api_route("/page/{version}/{name:path}", methods=["GET", "HEAD"])
def file(request: Request, version: str, name: str) -> Response:
    """Another file of the page.

    While an installation is brought up to date, a browser may ask for the file of a version that
    another process serves: ours will do, if it isn't kept.
    """
    ours, found = _page()
    if name not in found or name == "index.html":
        raise NotFoundError("There is no such file of the page. Please reload the page.")
    return found[name].answer(request, cache_control=_FOREVER if version == ours else "no-cache")
