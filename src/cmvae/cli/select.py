"""``cmvae select``: the number of clusters of a run, seen and changed."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cmvae.cli.console import console, one_line_errors, quieten, say
from cmvae.cli.fit import show_clusters, training_bar, what_is_left

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
    with one_line_errors(lambda: f"the run is as it was; {what_is_left(run)}"):
        from cmvae.runs.folder import PAGE, load_model, may_write_run, read_record

        record = read_record(run)
        if clusters is None:
            _show_curve(record.metrics["h_values"], record.n_clusters)
            return
        may_write_run(run, overwrite=True, resume=False)
        if device is not None:
            record = replace(record, config=record.config.replace(device=device))
        from cmvae.runs.reading import read_files

        rows = read_files(record.config.modalities, record.preprocessing)[1]
        from cmvae.runs.fitting import change_clusters

        quieten()
        had_page = (run / PAGE).exists()
        found = load_model(run, record)
        show_clusters(change_clusters(run, found, rows, clusters, **training_bar()), run)
        if had_page:
            say(
                f"{run / PAGE} showed the clusters before and was removed; a new one: "
                f"cmvae report {run}"
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
        is_marked = {"smallest": value == low, "the run's": size == now}
        marks = ", ".join(text for text, holds in is_marked.items() if holds)
        table.add_row(str(size), f"{value:.4f}", f"{'█' * length} {marks}")
    console.print(table)
