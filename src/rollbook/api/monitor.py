"""The routes of the watched folder, for operators."""

from __future__ import annotations

import datetime as dt

from fastapi import Request, Response
from pydantic import BaseModel, Field

from rollbook.api.access import OperatorParam, SystemParam, audited, routes
from rollbook.api.uploads import receipt_of
from rollbook.contract import Answer, Receipt
from rollbook.folder import intake, watcher
from rollbook.service.system import System

router = routes("/bulk-upload/monitor", "watched folder", 401, 403, 503)


class WatcherState(BaseModel):
    """A living watcher."""

    name: str
    host: str
    pid: int
    folder: str
    has_events: bool = Field(description="False: the folder is only looked at from time to time.")
    waiting: int = Field(description="Files in the folder at its last look that aren't taken yet.")
    taken: int = Field(description="Files taken since its start.")
    refused: int = Field(description="Files moved to failed/ since its start.")
    problem: str | None = Field(description="Why it takes no files.")
    left_alone: list[str] = Field(
        description="Files and links of other kinds, which it never takes: the first 20."
    )
    left_alone_total: int
    swept_at: dt.datetime | None = Field(description="Its last look.")
    started_at: dt.datetime
    heartbeat_at: dt.datetime


class FolderState(BaseModel):
    """Whether files are taken, and the living watchers."""

    is_running: bool = Field(description="Are files taken? Kept over restarts, for all watchers.")
    changed_at: dt.datetime
    changed_by: str | None
    folder: str | None = Field(
        description="The watched folder: of a living watcher, or else of ROLLBOOK_WATCH_DIR here."
    )
    watchers: list[WatcherState]


class ProcessRequest(BaseModel, strict=True):
    """The file to take."""

    file_name: str = Field(
        description="The name of a file in the folder itself, as the folder lists it; no path."
    )


@router.get("/status")
async def status(system: SystemParam, _: OperatorParam) -> Answer[FolderState]:
    """Return whether files are taken from the folder, and the state of its watchers."""
    return await _state(system)


@router.post("/start", **audited("watch_start", 409))
async def start(system: SystemParam, user: OperatorParam) -> Answer[FolderState]:
    """Start the watchers; repeating it is fine."""
    await watcher.change(system, user, is_running=True)
    return await _state(system)


@router.post("/stop", **audited("watch_stop", 409))
async def stop(system: SystemParam, user: OperatorParam) -> Answer[FolderState]:
    """Stop the watchers, over restarts too; a file under way is finished."""
    await watcher.change(system, user, is_running=False)
    return await _state(system)


@router.post("/process", status_code=202, **audited("take", 404, 409, 413, 415, 422))
async def process(
    body: ProcessRequest,
    request: Request,
    response: Response,
    system: SystemParam,
    user: OperatorParam,
) -> Answer[Receipt]:
    """Take one file now, before all others, even while the watchers are stopped.

    The answer comes when the file has been unchanged for ROLLBOOK_WATCH_STILL_S seconds.
    """
    upload = await intake.accept_by_hand(system, user, body.file_name)
    return await receipt_of(request, response, system, upload)


async def _state(system: System) -> Answer[FolderState]:
    state, living = await watcher.state(system)
    here = system.settings.watch_dir
    folder = living[0]["folder"] if living else here and str(here.absolute())
    watchers = [WatcherState.model_validate(row) for row in living]
    data = FolderState(**state, folder=folder, watchers=watchers)
    return Answer(message=_in_words(data), data=data)


def _in_words(state: FolderState) -> str:
    if not state.watchers:
        return "No watcher runs. Set ROLLBOOK_WATCH_DIR for `rollbook up`, or run `rollbook watch`."
    if not state.is_running:
        return "The watchers are stopped: files stay in the folder until they are started again."
    problems = [watcher.problem for watcher in state.watchers if watcher.problem]
    return " ".join(["Files that are put into the folder are taken.", *problems])
