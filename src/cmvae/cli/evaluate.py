"""``cmvae evaluate``: a run's clusters against labels."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cmvae.base.words import counted
from cmvae.cli.console import console, one_line_errors, say, say_join


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    labels: Annotated[
        Path,
        typer.Option(
            help="Table of ids and labels (.csv, .tsv, .parquet), or .h5mu with labels in .obs."
        ),
    ],
    id_column: Annotated[
        str | None, typer.Option("--id", help="Its id column; else as for fit.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="The column of labels, where there are several.")
    ] = None,
) -> None:
    """Compare the clusters of the training samples with labels: ACC, NMI and ARI.

    These are accuracy, mutual information and Rand index.

    Example: cmvae evaluate runs/mine --labels labels.csv --column type

    Example: cmvae evaluate runs/cells --labels cells.h5mu --column cell_type
    """
    with one_line_errors():
        from cmvae.files.labels import labels_of, read_labels
        from cmvae.runs.folder import read_record

        samples = read_record(run).samples.set_index("id")
        truth, join = labels_of(read_labels(labels, id_column, column), samples.index.tolist())
        both = samples.index.intersection(truth.index)
        if not len(both):
            raise ValueError(
                f"--labels {labels} shares no id with the run: the first ids are "
                f"{truth.index[:3].tolist()} and {samples.index[:3].tolist()}"
            )
        say_join(join, "Labels joined on ids")
        from cmvae.metrics.clustering import clustering_scores

        found, known = samples.loc[both], truth[both]
        names = ("ACC", "NMI", "ARI")
        table = Table("modalities seen", "samples", *names, title="Clusters against labels, %")
        groups = {"all samples": found.index}
        if found["modalities"].nunique() > 1:
            groups |= {str(name): part.index for name, part in found.groupby("modalities")}
        for name, ids in groups.items():
            scores = clustering_scores(known[ids].tolist(), found.loc[ids, "cluster"].tolist())
            table.add_row(name, str(len(ids)), *(f"{100 * scores[key]:.1f}" for key in names))
        console.print(table)
        labels_found = counted(known.nunique(), "label")
        say(f"{len(both)} of {counted(len(samples), 'sample')} have a label; {labels_found}")
