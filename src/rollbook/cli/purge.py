"""`rollbook purge`: carries out retention now."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from rollbook.cli.output import JsonOption, out, print_json
from rollbook.cli.session import run
from rollbook.errors import ConflictError
from rollbook.folder import retention as folder_retention
from rollbook.service.system import System
from rollbook.uploads import retention

_LABELS = {
    "sources": "source files",
    "reports": "uploads' reports, refused rows and cells",
    "rows": "outcomes of rows",
    "orphans": "files of no upload",
    "bytes": "bytes in the store",
    "queue_jobs": "ended jobs in the queue",
    "voter_roll_answers": "answers of the voter roll",
    "before_values": "values from before uploads that can't be undone any more",
    "claims": "records of whom an upload's file held",
    "kept_members": "members on lists of undone uploads",
    "corrections": "corrections by hand of former members",
    "notifications": "notifications",
    "audit_entries": "audit entries",
    "not_removed": "files that the store didn't remove (the log names them)",
    "folder_files": "files in processed/ and failed/",
}


def purge(
    *,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove everything whose retention has ended; workers do this once a day."""
    found = run("purge", lambda system: _purge(system, dry_run=dry_run))
    if as_json:
        print_json({**found, "dry_run": dry_run})
        return
    table = Table("What", "Would be removed" if dry_run else "Removed")
    table.columns[1].justify = "right"
    for name, number in found.items():
        table.add_row(_LABELS[name], str(number))
    out.print(table)


async def _purge(system: System, *, dry_run: bool) -> dict[str, int]:
    purged = await retention.run_once(system, dry_run=dry_run)
    if purged is None:
        raise ConflictError("Another process is carrying out retention now. Try again later.")
    return {
        **asdict(purged),
        "folder_files": await folder_retention.purge(system, dry_run=dry_run),
    }
