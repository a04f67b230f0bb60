"""``cmvae select``: the number of clusters of a run, seen and changed."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cmvae.cli.fit import show_clusters, training_bar, what_is_left
from cmvae.cli.shared import console, quieten, say, told_in_one_line

BAR = 40


def select(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    clusters: Annotated[
        int | None,
        typer.Option(
            min=1, help="Set this number: the run's files are read again, and it trains on."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, mps …", show_default="as in the run")
    ] = None,
) -> None:
    """Show the entropy curve of a run, the smaller the better, and set another number of clusters.

    Example: cmvae select runs/mine --clusters 5
    """
    with told_in_one_line(lambda: f"the run is as it was; {what_is_left(run)}"):
        from cmvae.runs.folder import PAGE, read_run
        from cmvae.runs.from_files import change_clusters

        found = read_run(run)
        if clusters is None:
            _show_curve(found.metrics["h_values"], len(found.order))
            return
        if device is not None:
            found = replace(found, config=found.config.model_copy(update={"device": device}))
        quieten()
        had_page = (run / PAGE).exists()
        show_clusters(change_clusters(run, found, clusters, **training_bar()), run)
        if had_page:
            say(
                f"{run / PAGE} showed the clusters before and was removed; a new one: cmvae report {run}"
            )


def _show_curve(h_values: list[float | None], now: int) -> None:
    known = {size: value for size, value in enumerate(h_values) if value is not None}
    say(f"{now} clusters")
    if not known:
        say("a curve needs at least two clusters")
        return
    low, high = min(known.values()), max(known.values())
    table = Table("clusters", "penalised entropy", "", title="Selection curve")
    for size, value in known.items():
        length = 1 + round((BAR - 1) * (value - low) / ((high - low) or 1.0))
        marks = [
            text
            for text, holds in (("smallest", value == low), ("the run's", size == now))
            if holds
        ]
        table.add_row(str(size), f"{value:.4f}", f"{'█' * length} {', '.join(marks)}")
    console.print(table)
