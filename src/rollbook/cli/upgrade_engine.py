"""`rollbook upgrade-engine`: moves the bundled PostgreSQL's data to a new major version."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rollbook.cli.output import JsonOption, err, out, print_json
from rollbook.cli.session import check_installation, quiet_settings_for
from rollbook.engines import move
from rollbook.errors import ConfigurationError


def upgrade_engine(
    *,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", help="The folder with the programs of the old version, where it isn't found."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Make the copy, compare it with the data, and remove it.")
    ] = False,
    confirm: Annotated[
        bool, typer.Option(help="Remove the old data that an earlier move has kept.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Move the bundled PostgreSQL's data to the version that this Rollbook brings.

    Rollbook must be stopped. The old data is kept until you remove it with --confirm.
    """
    settings = quiet_settings_for("upgrade-engine")
    if settings.given_database_address is not None:
        raise ConfigurationError(
            "DATABASE_URL names a PostgreSQL of your own, which its own tools move (pg_upgrade). "
            "This command is for the bundled one. Nothing was changed."
        )
    check_installation(settings)
    if confirm:
        removed = [str(folder) for folder in move.confirm(settings.data_dir)]
        if as_json:
            print_json({"removed": removed})
        else:
            out.print(f"Removed: {', '.join(removed)}." if removed else "No old data is kept here.")
        return
    moved = move.move(
        settings.data_dir,
        from_programs=from_,
        dry_run=dry_run,
        say=lambda step: err.print(f"{step} ...", highlight=False),
    )
    if as_json:
        print_json(None if moved is None else {**asdict(moved), "dry_run": dry_run})
    elif moved is None:
        out.print("The data is of the bundled version already: nothing to do.")
    else:
        out.print(
            f"PostgreSQL {moved.old} to {moved.new}: {moved.tables} tables with {moved.rows} rows, "
            "all equal.",
            highlight=False,
        )
        if moved.kept is None:
            out.print("It was a dry run: the copy was removed, and nothing was changed.")
        else:
            out.print(
                f"The old data is in {moved.kept}. Start Rollbook, see that all is well, stop it, "
                "and remove the old data with `rollbook upgrade-engine --confirm`."
            )
