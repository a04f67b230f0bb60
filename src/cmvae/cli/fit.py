"""``cmvae fit``: from files to a run folder."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cmvae.cli.shared import (
    console,
    data_files,
    quieten,
    say,
    table_files,
    told_in_one_line,
    with_columns,
    with_layers,
    with_likelihoods,
)

if TYPE_CHECKING:
    from cmvae.files.modality import ModalityFile
    from cmvae.runs.config import RunConfig
    from cmvae.runs.folder import Run
    from cmvae.runs.from_files import Prepared

Options = list[str] | None


def fit(
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    modality: Annotated[
        Options,
        typer.Option(
            metavar="NAME=PATH",
            help="A table (.csv, .tsv, .parquet), an array (.npy, .npz), a folder of images (file name without "
            "suffix = id) or the modality of that name in an .h5mu; once for each modality.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Instead: an .npz with an array for each modality, an .h5mu, or a YAML file that names them."
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Id column of the tables; else a Parquet file's stored index, or the first column.",
        ),
    ] = None,
    kind: Annotated[
        Options,
        typer.Option(
            metavar="NAME.COLUMN=KIND",
            help="What a column is: continuous, binary, count, category, text (the only column), or ignore.",
        ),
    ] = None,
    likelihood: Annotated[
        Options,
        typer.Option(
            metavar="NAME=LIKELIHOOD",
            help="normal, laplace, bernoulli, categorical, poisson or negative_binomial, for all columns of the "
            "modality; parameters follow after commas, as in rna=poisson,library_size=true.",
        ),
    ] = None,
    layer: Annotated[
        Options,
        typer.Option(
            metavar="NAME=LAYER", help="The layer of an .h5mu's modality to read, instead of X."
        ),
    ] = None,
    network: Annotated[
        Options,
        typer.Option(
            metavar="NAME=NETWORK", help="mlp, conv, resnet or sequence, instead of the usual one."
        ),
    ] = None,
    clusters: Annotated[
        str | None, typer.Option(help="auto, or how many.", show_default="auto")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings to start from: the config.yaml of a run.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="Seed.", show_default="0")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Passes over the data with one cluster; a sixth as many follow with all."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, mps …", show_default="auto")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run, with its settings.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the folder.")
    ] = False,
) -> None:
    """Cluster the samples of your files: modalities are joined on id, and a sample may lack some of them.

    Shows what each column was taken for, trains, finds the number of clusters, and writes a run
    folder.

    Example: cmvae fit --modality rna=rna.csv --modality photo=photos/ --out runs/mine

    Example: cmvae fit --data cells.h5mu --layer rna=counts --out runs/cells
    """
    with told_in_one_line(lambda: what_is_left(out)):
        from cmvae.runs.config import RunConfig
        from cmvae.runs.folder import CONFIG, prepare
        from cmvae.runs.from_files import fit_run, prepare_data

        partial = prepare(out, overwrite=overwrite, resume=resume)
        if resume:
            given = [
                modality,
                data,
                id_column,
                kind,
                likelihood,
                layer,
                network,
                clusters,
                config,
                seed,
                epochs,
            ]
            if any(value is not None for value in given):
                raise ValueError(
                    "--resume takes the settings of the interrupted run: pass --out, and --device, alone"
                )
            settings = RunConfig.read(partial / CONFIG)
        else:
            files = _files(modality, data, id_column, config)
            files = with_likelihoods(
                with_columns(with_layers(files, layer), kind), likelihood, network
            )
            settings = _settings(config, files, clusters, seed, epochs)
        if device is not None:
            settings = settings.model_copy(update={"device": device})
        prepared = prepare_data(settings)
        _show_data(prepared)
        quieten()
        run = fit_run(out, prepared, resume=resume, **training_bar())
        show_clusters(run, out)


def what_is_left(out: Path) -> str:
    """Say what an interrupted training leaves."""
    from cmvae.runs.folder import can_resume, partial_folder

    if not can_resume(partial_folder(out)):
        return "nothing was written"
    return f"the last checkpoint is in {partial_folder(out)}; go on with: cmvae fit --out {out} --resume"


def training_bar() -> dict[str, Any]:
    """Return the trainer's arguments: progress where someone looks on."""
    return {"enable_progress_bar": console.is_terminal}


def _files(
    modality: Options, data: Path | None, id_column: str | None, config: Path | None
) -> "dict[str, ModalityFile]":
    """Return the modalities that the options and the config name."""
    from cmvae.runs.config import RunConfig

    if modality and data is not None:
        raise ValueError("--modality and --data exclude each other")
    files = {} if config is None else dict(RunConfig.read(config).modalities)
    if data is not None:
        files = data_files(data, id_column)
    for name, file in table_files(modality, id_column).items():
        files[name] = (
            files[name].replace(path=file.path, id=file.id or files[name].id)
            if name in files
            else file
        )
    if not files:
        raise ValueError("no data: pass --modality NAME=PATH, --data FILE or --config FILE")
    return files


def _settings(
    config: Path | None,
    files: "dict[str, ModalityFile]",
    clusters: str | None,
    seed: int | None,
    epochs: int | None,
) -> "RunConfig":
    from cmvae.runs.config import RunConfig

    settings = RunConfig.make({"modalities": files}) if config is None else RunConfig.read(config)
    recipe = settings.recipe
    if clusters is not None:
        if clusters != "auto" and not (
            clusters.isascii() and clusters.isdigit() and int(clusters) > 0
        ):
            raise ValueError(f"--clusters must be auto or a positive integer, got {clusters!r}")
        recipe = replace(recipe, n_clusters="auto" if clusters == "auto" else int(clusters))
    if epochs is not None:
        recipe = replace(recipe, max_epochs=epochs)
    update: dict[str, Any] = {"modalities": files, "recipe": recipe}
    return RunConfig.make(
        {**settings.model_dump(), **update, **({} if seed is None else {"seed": seed})}
    )


def _show_data(prepared: "Prepared") -> None:
    """Print what each modality is taken for."""
    from cmvae.networks.build import choose_networks

    table = Table(
        "modality",
        "samples",
        "what",
        "likelihood",
        "network",
        title=f"{len(prepared.rows.ids)} samples",
    )
    for name, codec in prepared.preprocessing.codecs.items():
        dist, params = prepared.settings.likelihood_of(name)
        network = prepared.settings.network_of(name) or choose_networks(codec.shape, str(dist))
        seen = str(int(prepared.rows.masks[name].sum()))
        table.add_row(name, seen, codec.describe(), _likelihood_words(str(dist), params), network)
    console.print(table)


def _likelihood_words(dist: str, params: dict[str, Any]) -> str:
    """Say what a likelihood is: its blocks, and whether counts are relative to the sample's total."""
    blocks = [block[0] for block in params.get("columns", ())]
    if blocks:
        return f"mixed: {', '.join(blocks)}"
    return f"{dist}, library size" if params.get("library_size") else dist


def show_clusters(run: "Run", out: Path) -> None:
    """Print how many clusters there are, and their sizes."""
    sizes = run.metrics["sizes"]
    empty = f", {sizes.count(0)} of them without samples" if 0 in sizes else ""
    say(f"{len(sizes)} clusters{empty}")
    table = Table("cluster", "samples", title="Clusters")
    for number, size in enumerate(sizes):
        table.add_row(str(number), str(size))
    console.print(table)
    say(
        f"Written to {out}: clusters.csv, model/, config.yaml, preprocessing.json, metrics.json, log.csv"
    )
