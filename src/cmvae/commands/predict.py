"""``cmvae predict``: clusters of samples in files, from a run."""

from pathlib import Path
from typing import Annotated

import typer

from cmvae.commands.shared import say, table_files, told_in_one_line

__all__ = ["predict"]


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Option(help="File to write: .csv, .tsv or .parquet.")],
    modality: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="A file of one of the run's modalities; any of them, in any number."),
    ] = None,
    id_column: Annotated[str | None, typer.Option("--id", help="Id column of the tables; else as in the run.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Write id, cluster, its probability and the modalities seen of each sample, however many there are.

    Example: cmvae predict runs/mine --modality rna=new.csv --out clusters.csv
    """
    with told_in_one_line():
        from cmvae.file_runs import predict_files
        from cmvae.files.writing import ROW_SUFFIXES, check_target
        from cmvae.run_folder import read_run

        check_target(out, overwrite, ROW_SUFFIXES)
        found = read_run(run)
        files = table_files(modality, id_column, found.config.modalities)
        if not files:
            raise ValueError(f"no data: pass --modality NAME=PATH, NAME being of {list(found.preprocessing.codecs)}")
        total, counts = predict_files(found, files, out)
        sizes = ", ".join(f"{number}: {count}" for number, count in enumerate(counts))
        say(f"Written to {out}: {total} samples; in cluster {sizes}")
