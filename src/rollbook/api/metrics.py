"""``/metrics`` of the API: its own, the installation's, and those of other named processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import httpx
import structlog
from fastapi import APIRouter, Header, Request, Response
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from rollbook.api.access import SystemParam
from rollbook.api.gauges import Gauges, up
from rollbook.errors import NotAuthenticatedError
from rollbook.service import exposition

if TYPE_CHECKING:
    from rollbook.config import Settings

#: Timeout for another process's metrics, in seconds.
PATIENCE_S = 2.0

router = APIRouter(tags=["health"])
log = structlog.get_logger(__name__)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def show(
    system: SystemParam, request: Request, authorization: Annotated[str | None, Header()] = None
) -> Response:
    """Answer with Prometheus' text format."""
    if not exposition.may_read(system.settings, authorization):
        raise NotAuthenticatedError("The metrics are read with the token ROLLBOOK_METRICS_TOKEN.")
    gauges: Gauges = request.app.state.gauges
    others = await _others(system.settings)
    body = exposition.text("api", await gauges.families(), others)
    return Response(body, media_type=exposition.CONTENT_TYPE)


async def _others(settings: Settings) -> list[tuple[str, Iterable[Metric]]]:
    """The metrics of the processes of ROLLBOOK_METRICS_FROM, and ``rollbook_up`` for each."""
    if not settings.metrics_from:
        return []
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
        return list(
            await asyncio.gather(
                *(_other(client, settings, *named) for named in settings.metrics_from.items())
            )
        )


async def _other(
    client: httpx.AsyncClient, settings: Settings, name: str, url: str
) -> tuple[str, Iterable[Metric]]:
    headers = {}
    if settings.metrics_token is not None:
        headers["Authorization"] = f"Bearer {settings.metrics_token.get_secret_value()}"
    try:
        answer = (await client.get(f"{url}/metrics", headers=headers)).raise_for_status()
        found = list(text_string_to_metric_families(answer.text))
    except (httpx.HTTPError, ValueError) as error:
        log.debug("metrics of a process not readable", part=name, error=type(error).__name__)
        return name, [up(name, is_up=False)]
    return name, [*found, up(name, is_up=True)]
