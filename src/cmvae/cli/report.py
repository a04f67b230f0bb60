"""``cmvae report``: a run as a page to look at."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmvae.cli.shared import say, told_in_one_line

if TYPE_CHECKING:
    import pandas as pd

    from cmvae.runs.folder import Run
    from cmvae.runs.from_files import Prepared


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
    with told_in_one_line():
        from cmvae.base.files import check_target
        from cmvae.files.labels import read_labels
        from cmvae.runs.folder import PAGE, read_run
        from cmvae.runs.from_files import prepare_data

        page = run / PAGE if out is None else out
        found = read_run(run)
        check_target(page, overwrite, (".html",))
        truth = None if labels is None else read_labels(labels, id_column, column)
        write_page(
            page, found, prepare_data(found.config, found.preprocessing), truth, run.resolve().name
        )
        say(f"Written to {page}")


def write_page(
    path: Path, run: "Run", prepared: "Prepared", labels: "pd.Series[str] | None", title: str
) -> None:
    """Write the page of a run; the one place that knows how :mod:`cmvae.report` makes it.

    Raises:
        ValueError: If this installation makes no pages.
    """
    from cmvae.base.files import atomic_write
    from cmvae.preprocessing.omics_codec import OmicsCodec
    from cmvae.preprocessing.table_codecs import TableCodec, TextCodec
    from cmvae.report.arguments import NO_LABEL

    try:
        gathering = import_module("cmvae.report.gather")
        page = import_module("cmvae.report.page")
    except ModuleNotFoundError as error:
        raise ValueError(f"this installation makes no report pages: {error}") from None
    codecs = run.preprocessing.codecs
    tables = {name: codec.coding for name, codec in codecs.items() if isinstance(codec, TableCodec)}
    cells = {name: codec for name, codec in codecs.items() if isinstance(codec, OmicsCodec)}
    names = {name: coding.names for name, coding in tables.items()}
    names |= {name: list(codec.coded.var_names) for name, codec in cells.items()}
    units = {name: gathering.units_of_table(coding) for name, coding in tables.items()}
    units |= {name: codec.restore for name, codec in cells.items()}
    texts = {
        name: codec.read_texts for name, codec in codecs.items() if isinstance(codec, TextCodec)
    }
    content = gathering.gather_report(
        run.model,
        prepared.data,
        ids=prepared.rows.ids,
        labels=None
        if labels is None
        else labels.reindex(prepared.rows.ids).fillna(NO_LABEL).tolist(),
        # A row is an epoch, of one phase or the other; each phase counts its own from 0.
        history=run.log.drop(columns=["phase", "epoch"], errors="ignore"),
        h_values=[float("inf") if value is None else value for value in run.metrics["h_values"]],
        features=names,
        to_units=units | texts,
        images=[name for name, codec in codecs.items() if codec.type == "images"],
        cluster_names={int(cluster): str(number) for number, cluster in enumerate(run.order)},
        title=title,
        rule=run.config.recipe.rule,
    )
    with atomic_write(path) as temporary:
        page.write_report(temporary, content)
