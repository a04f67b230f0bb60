"""``cmvae report``: a run as a page to look at."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cmvae.cli.console import one_line_errors, say, say_join
from cmvae.cli.spreadsheet import Spreadsheet

MOST_SHOWN = 1 << 17  # samples of a page, where rows are too many for memory


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
    names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|0=NAME,…",
            help="Names of clusters, kept with the run: in a table of cluster and name, or here.",
        ),
    ] = None,
    spreadsheet: Spreadsheet = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the page and its table.")
    ] = False,
) -> None:
    """Make one self-contained HTML page of a run; its files are read again.

    Beside it goes profiles.csv: what sets each cluster apart, column by column.

    Example: cmvae report runs/mine --out mine.html

    Example: cmvae report runs/mine --names "0=young,1=old" --overwrite
    """
    with one_line_errors():
        from cmvae.base.files import may_write_file
        from cmvae.files.labels import labels_of, read_labels
        from cmvae.report.profiles import holds_profiles, write_profiles
        from cmvae.runs.folder import (
            PAGE,
            PROFILES,
            adding_files,
            check_folder,
            load_model,
            read_record,
        )
        from cmvae.runs.names import cluster_names, write_names
        from cmvae.runs.reading import read_files

        page = run / PAGE if out is None else out
        table = page.with_name(PROFILES)
        check_folder(run)
        is_own = names is not None or page.parent.resolve() == run.resolve()
        with adding_files(run) if is_own else nullcontext():
            record = read_record(run)
            may_write_file(page, overwrite, (".html",))
            may_write_file(table, overwrite, (".csv",))
            if table.exists() and not holds_profiles(table):
                way = "move it away, or name another place"
                raise ValueError(f"out: {table} is something else: {way}")
            if names is not None:
                record = replace(record, names=cluster_names(names, record.n_clusters))
            truth = None if labels is None else read_labels(labels, id_column, column)
            known = record.covariate_files
            rows = read_files(record.config.modalities, record.preprocessing, covariates=known)[1]
            say_join(rows.join)
            if rows.are_read_later:
                total, rows = len(rows.ids), rows.drawn(MOST_SHOWN)
                say(f"The page is of {len(rows.ids)} of {total} samples, drawn at random")
            if truth is not None:
                truth, join = labels_of(truth, list(rows.ids))
                say_join(join, "Labels joined on ids")
            from cmvae.report import gather_report, write_report

            found = load_model(run, record)
            content = gather_report(found, rows, truth, title=run.resolve().name)
            if names is not None:
                write_names(run, record.names)
            write_report(page, content)
            write_profiles(table, content.profiles, spreadsheet=spreadsheet)
        say(f"Written to {page} and {table}")
