"""`rollbook queue`: shows and controls the queue."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from rollbook.cli import uploads
from rollbook.cli.connection import Data
from rollbook.cli.options import Commands
from rollbook.cli.output import moment, out, print_json, shown
from rollbook.cli.target import Target

app = Commands(name="queue", no_args_is_help=True, help="Show and control the queue.")
app.command("retry")(uploads.retry)
app.command("cancel")(uploads.cancel)


@app.command()
def stats(*, target: Target) -> None:
    """Count the jobs by state."""
    answer, zone = target.run(lambda line: line.get_with_zone("/bulk-upload/queue/stats"))
    counts: Data = answer.data
    if target.as_json:
        print_json(counts)
        return
    table = Table("State", "Jobs")
    for state in ("waiting", "active", "completed", "failed", "delayed", "paused", "total"):
        table.add_row(state, str(counts[state]))
    out.print(table)
    if counts["is_paused"]:
        out.print("The queue is paused: no further job starts.")
    if counts.get("workers") == 0:
        out.print("No worker takes jobs.")
    roll = counts["voter_roll"]
    if roll is None:
        return
    if roll["roll"] == "down":
        since = moment(roll["roll_down_since"], zone)
        out.print(
            f"The voter roll is down since {since}: {shown(roll['roll_error'] or '')} "
            f"{roll['pending']} people wait to be asked about."
        )
    elif roll["roll"] == "up":
        out.print(
            f"Voter roll: {roll['remaining']} of {roll['limit']} requests left, {roll['pending']} "
            "people to be asked about."
        )


@app.command()
def jobs(*, limit: Annotated[int, typer.Option(min=1, max=500)] = 20, target: Target) -> None:
    """List the most recent jobs, newest first."""
    answer, zone = target.run(
        lambda line: line.get_with_zone("/bulk-upload/queue/jobs", page_size=limit)
    )
    if target.as_json:
        print_json(answer.data)
    else:
        out.print(uploads.uploads_table(answer.data["items"], zone))


@app.command()
def clean(
    grace_period_hours: Annotated[
        float, typer.Option(min=0, help="Keep jobs that ended later than this.")
    ] = 24,
    *,
    target: Target,
) -> None:
    """Remove ended jobs from the queue; the history keeps the uploads."""
    target.act("/bulk-upload/queue/clean", {"grace_period_hours": grace_period_hours})


@app.command()
def pause(*, target: Target) -> None:
    """Pause the queue; running jobs continue."""
    target.act("/bulk-upload/queue/pause")


@app.command()
def resume(*, target: Target) -> None:
    """Resume the queue."""
    target.act("/bulk-upload/queue/resume")
