"""``cmvae predict``: clusters of samples in files, from a run."""

from pathlib import Path
from typing import Annotated

import typer

from cmvae.cli.shared import data_files, say, table_files, told_in_one_line


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[
        Path,
        typer.Option(help="File to write: .csv, .tsv or .parquet, or .h5mu for a copy of --data."),
    ],
    modality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="A file of one of the run's modalities; any of them, in any number.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Instead: an .h5mu, an .npz with an array for each modality, or a YAML file of names."
        ),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Id column of the tables; else as in the run.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Write id, cluster, its probability and the modalities seen of each sample, however many there are.

    Or, of an .h5mu file, a copy with .obsm["X_cmvae"], .obs["cmvae_cluster"],
    .obs["cmvae_probability"] and .uns["cmvae"].

    Example: cmvae predict runs/mine --modality rna=new.csv --out clusters.csv

    Example: cmvae predict runs/cells --data cells.h5mu --out clustered.h5mu
    """
    with told_in_one_line():
        from cmvae.base.files import check_target
        from cmvae.files.mudata import MUDATA_SUFFIX
        from cmvae.files.writing import ROW_SUFFIXES
        from cmvae.runs.folder import read_run
        from cmvae.runs.from_files import predict_files, predict_h5mu

        check_target(out, overwrite, (*ROW_SUFFIXES, MUDATA_SUFFIX))
        if modality and data is not None:
            raise ValueError("--modality and --data exclude each other")
        if out.suffix == MUDATA_SUFFIX and (data is None or data.suffix != MUDATA_SUFFIX):
            raise ValueError(
                f"--out {out} is a copy of an .h5mu file with the results in it: pass one as --data"
            )
        found = read_run(run)
        like = found.config.modalities
        files = (
            table_files(modality, id_column, like)
            if data is None
            else data_files(data, id_column, like)
        )
        if not files:
            raise ValueError(
                f"no data: pass --modality NAME=PATH, NAME being of {list(found.preprocessing.codecs)}, or --data FILE"
            )
        if data is not None and out.suffix == MUDATA_SUFFIX:
            total, counts = predict_h5mu(found, files, data, out)
        else:
            total, counts = predict_files(found, files, out)
        sizes = ", ".join(f"{number}: {count}" for number, count in enumerate(counts))
        say(f"Written to {out}: {total} samples; in cluster {sizes}")
