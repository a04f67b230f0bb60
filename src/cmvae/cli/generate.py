"""``cmvae generate``: samples of clusters, or modalities from others, as files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cmvae.cli.console import one_line_errors, say, say_join
from cmvae.cli.spreadsheet import Spreadsheet, check_spreadsheet


def generate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[
        Path,
        typer.Option(help="Folder to write: a table, a folder of images or an array per modality."),
    ],
    cluster: Annotated[
        list[str] | None, typer.Option(help="A cluster's number or name; by default all.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each cluster.")] = 10,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="NAME=PATH",
            help="Generate from these files instead, sample by sample.",
        ),
    ] = None,
    impute: Annotated[
        bool,
        typer.Option(
            "--impute",
            help="Complete the run's own samples, or those of --from: missing cells and modalities "
            "are filled in.",
        ),
    ] = False,
    covariate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE:COLUMN",
            help="A covariate of the samples of --from, as in fit; of the run's own it is known.",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Generate as if all had this value of a covariate, such as one batch; else each "
            "is the sample's own, or drawn as it occurred in training.",
        ),
    ] = None,
    library_size: Annotated[
        float | None,
        typer.Option(
            "--library-size",
            min=1e-9,
            help="Means of a cell's counts for this total, such as 10000, instead of the median "
            "total of training: with --from NAME=FILE --to NAME expression without noise.",
        ),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(help="A modality to write; by default all (of --from alone: the others)."),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Id column of the tables; else as in the run.")
    ] = None,
    draw: Annotated[
        bool,
        typer.Option(
            "--draw",
            help="Draw from the likelihoods, as data look, instead of taking means (of columns of "
            "heavy tails what is near the median); of images draw the latents alone.",
        ),
    ] = False,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Refine images by the run's diffusion decoders (fit --diffusion NAME).",
        ),
    ] = False,
    table_format: Annotated[
        str, typer.Option("--format", help="Of tables: csv or parquet.")
    ] = "csv",
    spreadsheet: Spreadsheet = False,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the draws.")] = 0,
    strict: Annotated[
        bool | None,
        typer.Option("--strict/--lenient", help="As for predict.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a folder of generated samples.")
    ] = False,
) -> None:
    """Write samples of clusters, or the modalities that samples lack, in the units of the data.

    Example: cmvae generate runs/mine --cluster 0 --samples 20 --out prototypes

    Example: cmvae generate runs/mine --from rna=rna.csv --to photo --out photos-from-rna

    Example: cmvae generate runs/mine --impute --out completed

    Example: cmvae generate runs/mine --set batch=2 --out as-in-batch-2

    Example: cmvae generate runs/cells --from rna=cells.h5mu --to rna --library-size 10000 --out x
    """
    with one_line_errors():
        from cmvae.base.files import atomic_folder, link_target, sole_writer
        from cmvae.cli.options import chosen_values, covariate_files, modality_files
        from cmvae.runs.folder import load_model, read_record
        from cmvae.runs.generated import (
            check_generated,
            check_library_size,
            generate_clusters,
            may_write_generated,
            translate_files,
        )
        from cmvae.runs.imputed import impute_files
        from cmvae.runs.names import find_clusters
        from cmvae.runs.reading import join_files

        if table_format not in ("csv", "parquet"):
            raise ValueError(f"--format must be csv or parquet, got {table_format!r}")
        suffix = f".{table_format}"
        check_spreadsheet(spreadsheet, suffix)
        if given and cluster:
            raise ValueError("--from and --cluster exclude each other")
        if impute and (cluster or draw or refine):
            raise ValueError("--impute completes samples: leave out --cluster, --draw and --refine")
        if library_size is not None and (impute or draw):
            raise ValueError("--library-size is of means: leave out --impute and --draw")
        out = link_target(out)
        may_write_generated(out, overwrite)
        record = read_record(run, with_samples=False)
        names = list(record.preprocessing.codecs)
        files = modality_files(given, id_column, record.config.modalities, "--from")
        files_given = bool(files)
        if impute and not files:
            files = {name: record.config.modalities[name] for name in names}
            if unknown := [name for name, file in files.items() if file.path is None]:
                way = "pass the files of its samples with --from NAME=PATH"
                raise ValueError(f"--impute: the run has no files of {unknown}; {way}")
        if covariate and not files:
            way = "to generate as if all had a value pass --set NAME=VALUE"
            raise ValueError(f"--covariate is of the samples of --from or --impute: {way}")
        own = covariate_files(covariate, id_column, {} if files_given else record.covariate_files)
        chosen = chosen_values(setting, record.preprocessing.covariates)
        if impute and chosen:
            raise ValueError("--impute completes samples as they are: leave out --set")
        others = names if impute else [n for n in names if n not in files] or names
        wanted = list(dict.fromkeys(to or [])) or others
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise ValueError(f"--to names unknown modalities {unknown}; there are {names}")
        every = list(map(str, range(record.n_clusters)))
        refined = _to_refine(run, wanted) if refine else []
        numbers = find_clusters(cluster or every, record.names, record.n_clusters)
        tables: dict[str, Any] = {"suffix": suffix, "spreadsheet": spreadsheet}
        with sole_writer(out), atomic_folder(out) as folder:
            if impute:
                tables["covariates"] = own
                impute_files(load_model(run, record), folder, files, wanted, **tables)
            elif files:
                sources = {name: str(file.path) for name, file in files.items()}
                with join_files(files, record.preprocessing, strict, covariates=own) as store:
                    say_join(store.join())
                    found = load_model(run, record, refine=refine)
                    check_library_size(found, wanted, library_size)
                    tables["library_size"] = library_size
                    translate_files(
                        found,
                        folder,
                        store,
                        wanted,
                        draw=draw,
                        seed=seed,
                        refine=refined,
                        sources=sources,
                        covariates=chosen,
                        **tables,
                    )
            else:
                found = load_model(run, record, refine=refine)
                check_library_size(found, wanted, library_size)
                tables["library_size"] = library_size
                tables |= {"draw": draw, "seed": seed, "refine": refined, "covariates": chosen}
                generate_clusters(found, folder, numbers, samples, wanted, **tables)
            check_generated(out, overwrite)  # others may have put something there meanwhile
        say(f"Written to {out}: {', '.join(wanted)}")


def _to_refine(run: Path, wanted: list[str]) -> list[str]:
    """Return which modalities to refine: those written that have a diffusion decoder."""
    from cmvae.runs.folder import refinable

    there = refinable(run)
    if not there:
        way = "fit it with --diffusion NAME, for each modality of images to be refined"
        raise ValueError(f"--refine: {run} has no diffusion decoders; {way}")
    found = [name for name in wanted if name in there]
    if not found:
        raise ValueError(f"--refine: {wanted} have no diffusion decoders, those of {there} do")
    return found
