"""``cmvae predict``: clusters of samples in files, from a run."""

from pathlib import Path
from typing import Annotated

import typer

from cmvae.base.words import counted
from cmvae.cli.console import one_line_errors, say, say_join
from cmvae.cli.spreadsheet import Spreadsheet, check_spreadsheet


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
            help="Instead: an .h5mu, an .npz with an array for each modality, or a YAML of names."
        ),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Id column of the tables; else as in the run.")
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE:COLUMN",
            help="A covariate of these samples, as in fit, under which their fit is measured; one "
            "that is not given is drawn as it occurred in training.",
        ),
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict/--lenient",
            help="Refuse unknown or missing columns and unknown categories, or take whatever there "
            "is; else such cells count as missing, unless a column has many of them.",
            show_default=False,
        ),
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME.OPTION=VALUE", help="How a file is read, as in fit; else as in the run."
        ),
    ] = None,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit/--no-fit",
            help="Tell how well each sample fits; that takes most of the time.",
        ),
    ] = True,
    spreadsheet: Spreadsheet = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Write id, cluster, its probability, the modalities seen and the fit of each sample.

    However many there are; broken off, the same command goes on where it stopped. Columns are found
    by name; fit_percentile tells how well a sample fits, among those of training. Or, of an .h5mu
    file, a copy with .obsm["X_cmvae"], .obsm["cmvae_probabilities"], .obs["cmvae_cluster"],
    .obs["cmvae_probability"], .obs["cmvae_fit_percentile"] and .uns["cmvae"]. Where clusters have
    names, which cmvae report --names gives them, these stand beside their numbers.

    Example: cmvae predict runs/mine --modality rna=new.csv --out clusters.csv

    Example: cmvae predict runs/cells --data cells.h5mu --out clustered.h5mu
    """
    with one_line_errors():
        from cmvae.base.files import may_write_file
        from cmvae.cli.options import covariate_files, given_files, with_reading
        from cmvae.files.suffixes import ANNDATA_SUFFIX, MUDATA_SUFFIX, TABLE_SUFFIXES
        from cmvae.runs.folder import read_record
        from cmvae.runs.manifest import read_manifest
        from cmvae.runs.predicting import predict_files, predict_h5mu

        may_write_file(out, overwrite, (*TABLE_SUFFIXES, MUDATA_SUFFIX, ANNDATA_SUFFIX))
        check_spreadsheet(spreadsheet, out.suffix)
        is_copy = out.suffix in (MUDATA_SUFFIX, ANNDATA_SUFFIX)
        if is_copy and (data is None or data.suffix != out.suffix):
            raise ValueError(
                f"--out {out} is a copy of an {out.suffix} file with the results in it: "
                "pass one as --data"
            )
        record = read_record(run, with_samples=False)
        files = given_files(modality, data, id_column, record.config.modalities)
        files = with_reading(files, read)
        if not files:
            names = list(record.preprocessing.codecs)
            raise ValueError(
                f"no data: pass --modality NAME=PATH, NAME being of {names}, or --data FILE"
            )
        if not is_copy:
            # In whatever way they are named, through a link too.
            read_from = [Path(file.path) for file in files.values() if file.path is not None]
            read_from += [run / name for name in read_manifest(run).files]
            if any(path.exists() and out.exists() and out.samefile(path) for path in read_from):
                raise ValueError(f"out: {out} is one of the files to read: name another file")
        if is_copy and not fit:
            raise ValueError(f"--no-fit is for tables, and {out} is none: leave it out")
        told = (say_join, strict, say, covariate_files(covariate, id_column, {}))
        if is_copy and data is not None:
            counts = predict_h5mu(run, record, files, data, out, *told)
        else:
            counts = predict_files(run, record, files, out, *told, spreadsheet, fit)
        sizes = ", ".join(f"{record.called(c)}: {count}" for c, count in enumerate(counts))
        say(f"Written to {out}: {counted(int(counts.sum()), 'sample')}; in cluster {sizes}")
