"""The probes."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rollbook.service.health import Readiness

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer 200 as long as the process runs."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request, response: Response) -> dict[str, str]:
    """Answer 200 when every part is reachable and the schema is the newest, 503 otherwise."""
    readiness: Readiness = request.app.state.readiness
    is_ready, results = await readiness.check()
    if not is_ready:
        response.status_code = 503
    return results
