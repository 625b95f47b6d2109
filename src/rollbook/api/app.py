"""The web application."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI

from rollbook import __version__
from rollbook.accounts.provider import Provider
from rollbook.api import (
    aliases,
    audit,
    auth,
    changes,
    checks,
    description,
    docs,
    fixes,
    health,
    inputs,
    invitations,
    keys,
    live,
    mappings,
    members,
    metrics,
    monitor,
    oidc,
    operations,
    page,
    problems,
    queue,
    reports,
    second_factor,
    statistics,
    undo,
    uploads,
    users,
    voter_roll,
    webhooks,
)
from rollbook.api import partial as tus
from rollbook.api.access import OriginMiddleware
from rollbook.api.body import BodyLimitMiddleware, SlowBodyMiddleware, UnreadBodyMiddleware
from rollbook.api.form import ROOM_FOR_THE_REST
from rollbook.api.gauges import Gauges
from rollbook.api.headers import HeadersMiddleware
from rollbook.api.languages import LanguageMiddleware
from rollbook.api.limits import RequestLimits
from rollbook.api.requests import RequestMiddleware
from rollbook.live.feed import Feed
from rollbook.queue.subscriber import Subscriber
from rollbook.service import clocks
from rollbook.service.health import Readiness
from rollbook.service.rounds import services
from rollbook.service.system import open_system
from rollbook.telemetry import traces
from rollbook.uploads import checks as checked_files
from rollbook.uploads import longest_wait, reconciler
from rollbook.uploads import partial as partial_files
from rollbook.uploads.forecast import Forecaster
from rollbook.voter_roll import reconciler as verifications
from rollbook.worker.checks import Checker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from rollbook.config import Settings
    from rollbook.service.system import System

BASE = "/api/v1"
#: The routes that take a file, and count its bytes themselves.
_FILES = re.compile(rf"{BASE}/bulk-upload/(process|check|files(/[^/]+)?)")
#: Seconds between two searches for uploads that have waited too long.
FAIRNESS_INTERVAL_S = 10
#: Seconds that a new process first has for requests only, which wait while it starts.
FIRST_ROUNDS_S = 1
#: Seconds between two searches for checked files that nobody has sent.
CHECKS_INTERVAL_S = 300
#: OpenAPI documents by all that they depend on; building one takes a large part of a second.
_documents: dict[tuple[str, bool], dict[str, Any]] = {}


class _Application(FastAPI):
    """FastAPI with headers for every answer, unread bodies, and failures in its description."""

    def __init__(self, settings: Settings, **more: Any) -> None:
        super().__init__(**more)
        self._hsts_s = settings.hsts_s
        self._settings = settings
        self._most_body_bytes = settings.max_upload_bytes + ROOM_FOR_THE_REST

    def build_middleware_stack(self) -> ASGIApp:
        stack: ASGIApp = UnreadBodyMiddleware(
            super().build_middleware_stack(), most_bytes=self._most_body_bytes
        )
        stack = SlowBodyMiddleware(stack, self._settings)
        return HeadersMiddleware(stack, hsts_s=self._hsts_s)

    def openapi(self) -> dict[str, Any]:
        server = self._settings.public_url or "/"
        is_strict = not self._settings.first_system_clients
        document = _documents.get((server, is_strict))
        if document is None:
            document = super().openapi()
            description.complete(document, base=BASE, server=server, is_strict=is_strict)
            _documents[server, is_strict] = document
        return document


def equip(app: FastAPI, system: System) -> None:
    """Give the routes what they share; live messages need a feed beside it."""
    app.state.system = system
    app.state.limits = RequestLimits(system.settings, system.redis)
    app.state.provider = Provider(system.settings)
    app.state.gauges = Gauges(system)
    app.state.forecaster = Forecaster(system)
    app.state.readiness = Readiness(system)
    app.state.checker = Checker(system.settings)


def create_app(settings: Settings) -> FastAPI:
    """The application; its parts are opened at its start and closed at its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        reconcile_s = settings.reconcile_interval_s
        async with (
            open_system(settings) as system,
            traces.exported(settings, "api"),
            Subscriber(settings).running() as events,
            services(
                ("reconciler", reconcile_s, partial(reconciler.run_once, system)),
                (
                    "reconciler of verifications",
                    reconcile_s,
                    partial(verifications.run_once, system),
                ),
                ("clocks", clocks.INTERVAL_S, partial(clocks.compare, system)),
                ("checks", CHECKS_INTERVAL_S, partial(checked_files.remove_unused, system)),
                ("partial files", CHECKS_INTERVAL_S, partial(partial_files.remove_expired, system)),
                ("fairness", FAIRNESS_INTERVAL_S, partial(longest_wait.run_once, system)),
                first_after_s=FIRST_ROUNDS_S,
            ),
        ):
            equip(app, system)
            app.state.events = events
            async with (
                app.state.checker,
                Feed(system, events, app.state.forecaster).running() as feed,
            ):
                app.state.feed = feed
                socket_io = app.state.socket_io
                async with nullcontext() if socket_io is None else socket_io.running():
                    yield

    app = _Application(
        settings,
        title="Rollbook",
        version=__version__,
        summary="Members' spreadsheets in, checked rows and a report out.",
        lifespan=lifespan,
        routes=_router().routes,
        docs_url=None,  # ours is in `docs`
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.inputs = {}
    app.state.socket_io = None
    if settings.first_system_clients:
        from rollbook.api import first_system

        first_system.install(app)
    app.add_middleware(OriginMiddleware)
    app.add_middleware(LanguageMiddleware)
    app.add_middleware(
        BodyLimitMiddleware,
        most_kb=settings.max_body_kb,
        unlimited=_FILES,
        larger={f"{BASE}/bulk-upload/mend/": settings.max_fixes_kb},
    )
    app.add_middleware(RequestMiddleware)  # the last one added is the outermost
    problems.install(app)
    return app


@cache
def _router() -> APIRouter:
    """All routes. They know no settings; FastAPI builds them in a fifth of a second, once."""
    router = APIRouter(
        dependencies=[Depends(inputs.known_inputs)], generate_unique_id_function=operations.id_of
    )
    base = APIRouter()
    for part in (
        auth.router,
        second_factor.router,
        oidc.router,
        uploads.router,
        statistics.router,
        queue.router,
        voter_roll.router,
        live.router,
        monitor.router,
        reports.router,
        audit.router,
        undo.router,
        mappings.router,
        changes.router,
        checks.router,
        tus.router,
        fixes.router,
        aliases.router,
        members.router,
        keys.router,
        users.router,
        invitations.router,
        users.of_offices,
        webhooks.router,
    ):
        base.include_router(part)
    # The prefix here, and not in `base`: without one, FastAPI builds all routes once more, to check
    # that none has an empty path.
    router.include_router(base, prefix=BASE)
    router.include_router(health.router)
    router.include_router(docs.router)
    router.include_router(metrics.router)
    router.include_router(page.router)
    return router
