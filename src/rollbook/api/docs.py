"""``/docs``: the API's description as a page that can try each operation.

It is Swagger UI from the package ``fastapi-swagger``. FastAPI's own page loads it from another
host, which a closed network can't reach and our policy forbids.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request, Response

from rollbook.api.inputs import AnyParameter
from rollbook.api.page import StaticFile
from rollbook.errors import NotFoundError

_PAGE: Final = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Rollbook: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/begin.js"></script>
</html>
"""
#: With the operations of each tag shown at once, a browser is busy for seconds before it reacts.
_BEGIN: Final = b"""SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "none",
  validatorUrl: null,
});
"""
_THEIRS: Final = ("swagger-ui.css", "swagger-ui-bundle.js")
#: Short, because the address doesn't change with a release.
_AN_HOUR: Final = "public, max-age=3600"

router = APIRouter(include_in_schema=False, dependencies=[AnyParameter])


@cache
def _files() -> dict[str, StaticFile]:
    folder = files("fastapi_swagger").joinpath("resources")
    contents = {name: folder.joinpath(name).read_bytes() for name in _THEIRS}
    contents |= {"index.html": _PAGE, "begin.js": _BEGIN}
    return {name: StaticFile.of(name, content) for name, content in contents.items()}


@router.api_route("/docs", methods=["GET", "HEAD"])
def docs(request: Request) -> Response:
    """The page itself."""
    return _files()["index.html"].answer(request, cache_control="no-cache")


@router.api_route("/docs/{name}", methods=["GET", "HEAD"])
def file(request: Request, name: str) -> Response:
    """Its scripts and its style."""
    if name not in _files() or name == "index.html":
        raise NotFoundError("There is no such file of the API's description.")
    return _files()[name].answer(request, cache_control=_AN_HOUR)
