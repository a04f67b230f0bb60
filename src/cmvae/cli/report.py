"""``cmvae report``: a run as a page to look at."""

from pathlib import Path
from typing import Annotated

import typer

from cmvae.cli.console import one_line_errors, say, say_join


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write.", show_default="RUN/report.html")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Table of ids and labels to compare with, or .h5mu with labels in .obs."),
    ] = None,
    id_column: Annotated[str | None, typer.Option("--id", help="Id column of the labels.")] = None,
    column: Annotated[
        str | None, typer.Option(help="The column of labels, where there are several.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page.")] = False,
) -> None:
    """Make one self-contained HTML page of a run; its files are read again.

    Example: cmvae report runs/mine --out mine.html
    """
    with one_line_errors():
        from cmvae.base.files import may_write_file
        from cmvae.files.labels import labels_of, read_labels
        from cmvae.runs.folder import PAGE, load_model, read_record
        from cmvae.runs.reading import read_files

        page = run / PAGE if out is None else out
        record = read_record(run)
        may_write_file(page, overwrite, (".html",))
        truth = None if labels is None else read_labels(labels, id_column, column)
        rows = read_files(record.config.modalities, record.preprocessing)[1]
        say_join(rows.join)
        if truth is not None:
            truth, join = labels_of(truth, rows.ids)
            say_join(join, "Labels joined on ids")
        from cmvae.report import gather_report, write_report

        found = load_model(run, record)
        write_report(page, gather_report(found, rows, truth, title=run.resolve().name))
        say(f"Written to {page}")
