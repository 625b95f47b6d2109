"""Clients of the first system, let in by ROLLBOOK_FIRST_SYSTEM_CLIENTS.

``names`` is the table from our model to theirs, ``translation`` applies it to requests and answers,
and ``reports`` has the routes that only they call. ``socket_io`` serves their live connections,
``events`` has what they are sent. No module of it is loaded while the setting is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollbook.api.first_system import reports
from rollbook.api.first_system.names import API
from rollbook.api.first_system.socket_io import PATH, SocketIo
from rollbook.api.first_system.translation import TranslationMiddleware

if TYPE_CHECKING:
    from fastapi import FastAPI


def install(app: FastAPI) -> None:
    """Let an application answer them; call it before its other middleware is added."""
    app.add_middleware(TranslationMiddleware)
    # Not described: our contract is the one of the OpenAPI document.
    app.include_router(reports.router, prefix=API, include_in_schema=False)
    app.state.socket_io = SocketIo()
    app.mount(PATH, app.state.socket_io)
