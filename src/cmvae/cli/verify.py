"""``cmvae verify``: whether a run still is what was written."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cmvae.cli.console import EXIT_FAILED, console, errors, one_line_errors, say

WORDS = {True: "holds", False: "differs", None: "unknown"}


def verify(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Check that a run is as it was written, and gives the labels that it gave; write nothing.

    Its files have the hashes that were recorded; the model loads; where the files that it was
    trained on are at hand and unchanged, the samples get the recorded clusters. Other versions of
    packages, and files that are not the run's, are said. The exit status is 0 where nothing
    differs, though some may be unknown, and 1 where something does; 2 where there is no run.

    Example: cmvae verify runs/mine
    """
    with one_line_errors():
        from cmvae.runs.verifying import verify_run

        table, checks = Table("check", "", "found", title=Text(f"{run}")), []
        for check in verify_run(run, say):
            table.add_row(check.what, WORDS[check.holds], Text(check.found, overflow="fold"))
            checks.append(check)
        console.print(table)
    bad = [f"{check.what}: {check.found}" for check in checks if check.holds is False]
    if bad:
        errors.print(f"Error: {run} differs from what was recorded: {'; '.join(bad)}", markup=False)
        sys.exit(EXIT_FAILED)
    whole = all(check.holds for check in checks)
    say(f"Nothing differs from what was recorded{'' if whole else ', as far as could be checked'}")
