"""`rollbook demo`: sends a synthetic file through the whole system over HTTP."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rollbook import clock
from rollbook.accounts import users
from rollbook.backends.database import make_pool
from rollbook.cli import supervisor
from rollbook.cli.downloads import download
from rollbook.cli.failures import UploadFailedError
from rollbook.cli.output import JsonOption, err, out, outcome_table, print_json, roll_table
from rollbook.cli.session import engines
from rollbook.cli.sign_in import signed_in
from rollbook.cli.target import connected
from rollbook.config import Settings
from rollbook.model import FINAL
from rollbook.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.cli.connection import Connection, Data

POLL_S = 0.1
EMAIL = "demo@example.org"


def demo(
    rows: Annotated[int, typer.Option(min=1, help="Rows of the sample file.")] = 1000,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the sample and the report go; default: a new temporary folder."),
    ] = None,
    *,
    voter_roll: Annotated[
        bool,
        typer.Option(help="Verify the rows too, against a SIMULATED voter roll; nobody real."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Send a synthetic file through the whole system, on a temporary database."""
    kept = folder or Path(tempfile.mkdtemp(prefix="rollbook-demo-"))
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rb-") as data:
        # Defaults only: a demonstration must not use the operator's servers, folders, mails and
        # third parties.
        settings = Settings.model_construct(
            data_dir=Path(data),
            port=0,
            admin_email=EMAIL,
            admin_password=SecretStr(secrets.token_urlsafe(15)),
            secret_key=SecretStr(secrets.token_urlsafe(32)),
            log_level="warning",
            concurrency=1,  # for one file: each slot's child takes a second to start
        )
        logs.configure(settings, component="demo")
        with ExitStack() as stack:
            sample = _sample(kept, rows, quiet=as_json)
            if voter_roll:
                settings = stack.enter_context(_simulated(settings, sample))
            processes = supervisor.Processes(settings)
            stack.enter_context(processes.waiting())
            settings = stack.enter_context(engines(settings, own=True, make=True))
            result = asyncio.run(_demo(settings, processes, kept, sample, quiet=as_json))
    if as_json:
        print_json(result)
    else:
        _show(result)


def _sample(kept: Path, rows: int, *, quiet: bool) -> Path:
    from rollbook.cli.sample_file import write_sample

    sample = kept / "members.xlsx"
    began = time.perf_counter()
    facts = write_sample(sample, rows)
    if not quiet:
        seconds = time.perf_counter() - began
        err.print(f"Sample file: {escape(str(sample))} ({facts.rows} rows, {seconds:.1f} s)")
    return sample


@contextmanager
def _simulated(settings: Settings, sample: Path) -> Iterator[Settings]:
    """Settings with a simulated voter roll, in which nine of ten live where the file says."""
    from rollbook.pipeline.normalise import normalise
    from rollbook.pipeline.read import read
    from rollbook.voter_roll.stand_in import PASSWORD, USERNAME, WARD, StandIn

    wards: dict[str, str | None] = {}
    for batch in read(sample, "xlsx"):
        people = normalise(batch, clock.today()).frame
        wards.update(people.select("id_number", "ward").iter_rows())

    def ward_of(id_number: str) -> str | None:
        moved = int(id_number[6:10]) % 20 in {4, 5}
        return WARD if moved else wards.get(id_number) or WARD

    with StandIn(latency_s=0.005, ward_of=ward_of).running() as url:
        yield settings.model_copy(
            update={
                "voter_roll_enabled": True,
                "voter_roll_url": url,
                "voter_roll_username": USERNAME,
                "voter_roll_password": SecretStr(PASSWORD),
                "voter_roll_requests_per_hour": 10_000,
                "voter_roll_window_s": 3600,
            }
        )


async def _demo(
    settings: Settings,
    processes: supervisor.Processes,
    kept: Path,
    sample: Path,
    *,
    quiet: bool,
) -> dict[str, Any]:
    async with make_pool(settings.database_address) as pool:
        await users.add_first(pool, settings)
    assert settings.admin_password is not None
    password = settings.admin_password.get_secret_value()
    async with (
        processes.running(settings) as url,
        connected(url, None) as stranger,
        connected(url, await signed_in(stranger, EMAIL, password)) as connection,
    ):
        if not quiet:
            err.print(f"Rollbook runs at {url}")
        began = time.perf_counter()
        receipt = (await connection.upload("/bulk-upload/process", sample, {})).data
        answered = time.perf_counter() - began
        if not quiet:
            err.print(f"Uploaded; answered after {answered:.2f} s with job {receipt['job_id']}")
        status = await _followed(connection, receipt["job_id"], quiet=quiet)
        elapsed = time.perf_counter() - began
        if status["status"] != "completed":
            raise UploadFailedError(status["error"] or f"The upload was {status['status']}.")
        if settings.asks_voter_roll:
            status = await _verified(connection, receipt["job_id"], quiet=quiet)
        report = kept / "report.xlsx"
        await download(connection, f"/bulk-upload/report/{receipt['job_id']}", report, force=True)
        result = {
            "rows": status["rows_total"],
            "outcomes": status["outcomes"],
            "seconds": {**status["stage_seconds"], "total": round(elapsed, 3)},
            "report": str(report.resolve()),
        }
        if settings.asks_voter_roll:
            result["simulated_voter_roll"] = status["verification"]["results"]
        if status["failed_rows_available"]:
            refused = kept / "failed-rows.xlsx"
            path = f"/bulk-upload/failed-rows/{receipt['job_id']}"
            await download(connection, path, refused, force=True)
            result["failed_rows"] = str(refused.resolve())
        return result


async def _followed(connection: Connection, job_id: str, *, quiet: bool) -> Data:
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet) as bar:
        task = bar.add_task("waiting", total=100)
        while True:
            status: Data = (await connection.get(f"/bulk-upload/status/{job_id}")).data
            bar.update(
                task,
                completed=status["progress"],
                description=status["stage"] or status["status"],
            )
            if status["status"] in FINAL:
                return status
            await asyncio.sleep(POLL_S)


async def _verified(connection: Connection, job_id: str, *, quiet: bool) -> Data:
    """Wait until the simulated voter roll has answered for every row."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet) as bar:
        task = bar.add_task("asking the SIMULATED voter roll", total=None)
        while True:
            status: Data = (await connection.get(f"/bulk-upload/status/{job_id}")).data
            results = status["verification"]["results"]
            total = sum(results.values())
            bar.update(task, completed=total - results["pending"], total=total)
            if status["verification"]["state"] == "verified":
                return status
            await asyncio.sleep(POLL_S)


def _show(result: dict[str, Any]) -> None:
    out.print(outcome_table(result["outcomes"]))
    if "simulated_voter_roll" in result:
        out.print(roll_table(result["simulated_voter_roll"], title="SIMULATED voter roll"))
    stages = Table("Stage", "Seconds", title="From the upload to the report")
    stages.columns[1].justify = "right"
    for stage, seconds in result["seconds"].items():
        stages.add_row(stage, f"{seconds:.2f}")
    out.print(stages)
    out.print(f"Report:      {escape(result['report'])}", soft_wrap=True)
    if "failed_rows" in result:
        out.print(f"Failed rows: {escape(result['failed_rows'])}", soft_wrap=True)
    if opener := shutil.which("soffice"):
        out.print(f"Open it with: {escape(opener)} {escape(result['report'])}", soft_wrap=True)
