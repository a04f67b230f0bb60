"""``cmvae fit``: from files to a run folder."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cmvae.base.processes import agreed, launched
from cmvae.base.words import counted
from cmvae.cli.console import (
    console,
    one_line_errors,
    only_first_speaks,
    quieten,
    refuse_several_processes,
    say,
    say_join,
)
from cmvae.cli.covariates import covariate_lines
from cmvae.cli.launching import run_in_processes
from cmvae.cli.understood import show_all, show_short

if TYPE_CHECKING:
    from cmvae.files.modality import ModalityFile
    from cmvae.runs.config import RunConfig
    from cmvae.runs.record import RunRecord
    from cmvae.runs.run import Prepared, Run

Options = list[str] | None

STABLE = 0.75  # Hennig, 2007
ONE_CLUSTER = (
    "One cluster explains the data as well as several. To look for groups all the same, give a "
    "number (--clusters), leave out modalities or columns that show nothing "
    "(--kind NAME.COLUMN=ignore), or correct what columns were taken for (--kind)."
)
NONE_COMPARED = (
    "There is one cluster because no other number was compared, which takes at least 8 samples, "
    "two of them different: give a number (--clusters)."
)
STILL_FALLING = "more (--epochs) may tell clusters apart better."
STILL_ALIGNING = (
    "Encoders were still learning what modalities share when the clusters started: more epochs of "
    "it (--alignment-epochs) may tell clusters apart better."
)


def fit(
    out: Annotated[
        Path | None, typer.Option(help="Run folder to write; not needed with --check.")
    ] = None,
    modality: Annotated[
        Options,
        typer.Option(
            metavar="NAME=PATH",
            help="A table (.csv, .txt, .parquet, .xlsx …), an array (.npy, .npz), a folder of "
            "images (file name without suffix = id), an .h5ad, or the modality of that name in "
            "an .h5mu; once for each modality.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Instead: an .npz with an array for each modality, an .h5mu, or a YAML file that "
            "names them."
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Id column of the tables; else a Parquet's stored index, or the first column.",
        ),
    ] = None,
    kind: Annotated[
        Options,
        typer.Option(
            metavar="NAME.COLUMN=KIND",
            help="What a column is: continuous, date, date+season, binary, count, category, text "
            "(the only column), or ignore. Arrays are numbers, continuous, unless said here.",
        ),
    ] = None,
    read: Annotated[
        Options,
        typer.Option(
            metavar="NAME.OPTION=VALUE",
            help="How a file is read, where that is not found in it: delimiter, decimal, thousands "
            "(comma, point …), encoding, sheet of an .xlsx, subfolders (yes) of images, layout "
            "(first, last) of channels.",
        ),
    ] = None,
    likelihood: Annotated[
        Options,
        typer.Option(
            metavar="NAME=LIKELIHOOD",
            help="normal, laplace, bernoulli, categorical, poisson or negative_binomial, for all "
            "columns of the modality; parameters follow after commas, as in "
            "rna=poisson,library_size=true.",
        ),
    ] = None,
    layer: Annotated[
        Options,
        typer.Option(
            metavar="NAME=PLACE",
            help="What of an .h5mu or .h5ad to read, instead of X: a layer, raw, obsm:KEY or "
            "feature_types:TYPE.",
        ),
    ] = None,
    network: Annotated[
        Options,
        typer.Option(
            metavar="NAME=NETWORK",
            help="mlp, conv, conv_small, conv_residual, resnet or sequence, instead of the usual "
            "one.",
        ),
    ] = None,
    covariate: Annotated[
        Options,
        typer.Option(
            metavar="NAME=FILE:COLUMN",
            help="What is known of the samples and is not to make clusters, such as a batch or an "
            "age: a column of a table, or of .obs; once for each. ,kind=category or ,kind=number "
            "after it says what it is.",
        ),
    ] = None,
    forget: Annotated[
        float | None,
        typer.Option(
            metavar="WEIGHT",
            help="Weight of a penalty on what the latents tell of covariates, where the last lines "
            "say that they still do; 30, say.",
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
            min=1,
            help="Passes over the data with one cluster; a sixth as many follow with all. Of an "
            "alignment (--alignment-epochs) at most so many passes, and as many at the end.",
        ),
    ] = None,
    alignment_epochs: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="For modalities that share little but the cluster: passes in which encoders learn "
            "what they share, and passes in which decoders learn to read it; 0 0 for none. By "
            "default some where two modalities or more are images or captions of them, and more of "
            "the first kind while more groups are found, else none.",
        ),
    ] = None,
    diffusion: Annotated[
        Options,
        typer.Option(
            metavar="NAME",
            help="A modality of images for which a diffusion decoder is trained too, for sharper "
            "images (generate --refine); once for each.",
        ),
    ] = None,
    diffusion_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data for it.", show_default="2,000 steps"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, mps …", show_default="auto")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="How many devices of each machine train it, a process for each; auto: all GPUs.",
            show_default="1",
        ),
    ] = None,
    num_nodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many machines, where torchrun or srun starts the processes.",
            show_default="1",
        ),
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="auto or ddp.", show_default="auto")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="In what networks calculate: 32-true, bf16-mixed, 16-mixed.",
            show_default="32-true",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run, with its settings.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the folder.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Show all that is understood of the files, and train nothing."
        ),
    ] = False,
) -> None:
    """Cluster the samples of your files: they are joined on id, and a sample may lack some of them.

    Shows what each column was taken for, trains, finds the number of clusters, and writes a run
    folder. With --check it only shows: of each column its kind, what is missing, its range and an
    example.

    Example: cmvae fit --modality rna=rna.csv --modality photo=photos/ --out runs/mine

    Example: cmvae fit --data cells.h5mu --layer rna=counts --out runs/cells
    """
    with one_line_errors(lambda: what_is_left(out)):
        if out is None and not check:
            raise ValueError("--out FOLDER is missing: the run folder to write, or --check alone")
        if check and resume:
            raise ValueError("--check and --resume exclude each other")
        from cmvae.cli.options import (
            covariate_files,
            with_kinds,
            with_layers,
            with_likelihoods,
            with_named,
            with_reading,
            without_covariate_columns,
        )
        from cmvae.runs.config import RunConfig
        from cmvae.runs.folder import CONFIG, may_write_run, partial_folder

        if overwrite and resume:
            raise ValueError("--overwrite and --resume exclude each other")
        if out is not None and not check:
            partial = partial_folder(out)
            if not launched()[2]:  # the first one writes
                may_write_run(out, overwrite=overwrite, resume=resume)
        named = [modality, data, id_column, kind, read, likelihood, layer, network, config]
        named.append(covariate)
        if resume:
            given = [*named, clusters, seed, epochs, alignment_epochs, diffusion, diffusion_epochs]
            given += [None if forget is None else str(forget)]
            if any(value is not None for value in given):
                raise ValueError(
                    "--resume takes the settings of the interrupted run: pass --out, and where it "
                    "trains (--device, --devices …), alone"
                )
            settings = RunConfig.read(partial / CONFIG)
        else:
            files = with_reading(_files(modality, data, id_column, config), read)
            files = with_kinds(with_layers(files, layer), kind)
            files = with_named(with_likelihoods(files, likelihood), "--network", "network", network)
            recipe = {
                "n_clusters": None if clusters is None else _number("--clusters", clusters),
                "max_epochs": epochs,
                "alignment_epochs": alignment_epochs,
                "forgetting": forget,
            }
            others: dict[str, Any] = {"seed": seed, "diffusion_epochs": diffusion_epochs}
            others |= {"diffusion": tuple(dict.fromkeys(diffusion))} if diffusion else {}
            before = {} if config is None else RunConfig.read(config).covariates
            others["covariates"] = covariate_files(covariate, id_column, before)
            files = without_covariate_columns(files, others["covariates"])
            settings = _settings(config, files, recipe, others)
        places = {"device": device, "num_nodes": num_nodes, "strategy": strategy}
        places |= {"precision": precision, "devices": devices and _number("--devices", devices)}
        settings = settings.replace(
            **{n: value for n, value in places.items() if value is not None}
        )
        if out is None or check:
            show_all(_prepared(settings))
            return
        settings = settings.replace(devices=settings.where.resolve().devices)
        processes = settings.where.processes
        if processes > 1 and not launched()[0]:
            sys.exit(run_in_processes(processes, lambda: what_is_left(out)))
        if processes == 1:
            refuse_several_processes("say how many devices train it (--devices, --num-nodes), or ")
        quieten()
        prepared = _prepared(settings) if processes == 1 else _prepared_alike(settings)
        from cmvae.runs.fitting import fit_run

        show_short(prepared)
        choices: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "tell": say}
        show_clusters(fit_run(out, prepared, **choices, **training_bar()), out)


def _prepared_alike(settings: "RunConfig") -> "Prepared":
    """Read the files as one of several processes, of which all read the same."""
    from cmvae.runs.fitting import check_alike
    from cmvae.training.processes import meet

    processes = settings.where.processes
    meet(settings.where)
    only_first_speaks()
    prepared = agreed(processes, lambda: _prepared(settings))
    check_alike(processes, prepared)
    return prepared


def _prepared(settings: "RunConfig") -> "Prepared":
    """Read the files, and say how they were joined."""
    from cmvae.runs.reading import read_files

    rows = read_files(settings.modalities, tell=say, covariates=settings.covariates)
    from cmvae.runs.run import prepare  # PyTorch, which bad files do not wait for

    prepared = prepare(settings, *rows)
    say_join(prepared.rows.join)
    return prepared


def what_is_left(out: Path | None) -> str:
    """Say what an interrupted training leaves."""
    if out is None:
        return "nothing was written"
    from cmvae.runs.folder import TRAINING, partial_folder
    from cmvae.training.checkpoints import can_resume

    partial = partial_folder(out)
    if not can_resume(partial / TRAINING):
        return "nothing was written"
    return f"the last checkpoint is in {partial}; go on with: cmvae fit --out {out} --resume"


def training_bar() -> dict[str, Any]:
    """Return the trainer's arguments: a bar where someone looks on, else a line now and then."""
    return {"enable_progress_bar": not console.quiet}


def show_clusters(run: "Run", out: Path) -> None:
    """Print how many clusters there are and how sure that is, and each one's size and stability."""
    sizes, stability = run.metrics["sizes"], run.metrics["stability"]
    say(how_many(run))
    known = any(value is not None for value in stability)
    table = Table("cluster", "samples", *["stability"] * known, title="Clusters")
    for number, size in enumerate(sizes):
        words = _stability_words(stability[number] if size else None)
        table.add_row(str(number), str(size), *[words] * known)
    console.print(table)
    for line in (*covariate_lines(run), *_doubts(run)):
        say(line)
    say(
        f"Written to {out}: clusters.csv, model/, config.yaml, preprocessing.json, metrics.json, "
        "log.csv"
    )
    if run.refined is not None:
        names = ", ".join(run.config.diffusion)
        say(f"Diffusion decoders of {names}: cmvae generate {out} --refine uses them")


def _doubts(run: "Run") -> Iterator[str]:
    """Yield what is said of clusters that may not be what was looked for, with what to try."""
    from cmvae.runs.run import FEW_KEPT

    evidence, kept = run.evidence, run.metrics["kept"]
    if len(run.metrics["sizes"]) == 1 and run.config.recipe.n_clusters == "auto":
        if evidence is not None and not evidence.is_compared:
            yield NONE_COMPARED
        elif evidence is None or evidence.chosen == 1:  # none that ended without samples
            yield ONE_CLUSTER
    if run.metrics["still_falling"]:
        if epochs := run.metrics["epochs"].get("warm-up"):
            yield f"The loss was still falling after {counted(epochs, 'epoch')}: {STILL_FALLING}"
        else:
            yield STILL_ALIGNING
    if kept is not None and kept < FEW_KEPT:
        left = f"{1 - kept:.0%}".replace("%", " %")
        what = f"{left} of the samples ended in other clusters than the groups they started in"
        yield f"{what}: more (--epochs) may keep them there."


def how_many(run: "RunRecord") -> str:
    """Say how many clusters there are, where that is from, and how sure it is."""
    sizes, wanted, evidence = run.metrics["sizes"], run.config.recipe.n_clusters, run.evidence
    found = counted(len(sizes), "cluster")
    if wanted != "auto":
        in_use = len(sizes) - sizes.count(0)
        return f"{found}, of which only {in_use} {_have(in_use)} samples" if 0 in sizes else found
    if evidence is None:
        return f"{found} found"
    lost = evidence.chosen - len(sizes)
    others = f"; {lost} more ended without samples" if lost > 0 else ""
    return f"{found} found ({evidence.describe()}{others})"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _stability_words(stability: float | None) -> str:
    if stability is None:
        return ""
    return f"{stability:.2f}{', stable' if stability >= STABLE else ''}"


def _files(
    modality: Options, data: Path | None, id_column: str | None, config: Path | None
) -> "dict[str, ModalityFile]":
    """Return the modalities that the options and the config name."""
    from cmvae.cli.options import given_files
    from cmvae.runs.config import RunConfig

    found = given_files(modality, data, id_column)
    if config is not None and data is None:
        before = RunConfig.read(config).modalities
        # A file of the config that --modality moves is read as it was.
        moved = {
            name: before[name].replace(path=file.path, id=file.id or before[name].id)
            for name, file in found.items()
            if name in before
        }
        found = {**before, **found, **moved}
    odd = [name for name in found if not name.isprintable() or set(name) & set("/\\+")]
    if odd:
        raise ValueError(f"modalities must have names without /, \\ and +, got {odd}")
    if not found:
        raise ValueError("no data: pass --modality NAME=PATH, --data FILE or --config FILE")
    return found


def _number(option: str, value: str) -> int | str:
    """Return what an option says that takes a number, or auto."""
    if value == "auto":
        return value
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ValueError(f"{option} must be auto or a positive integer, got {value!r}")
    return int(value)


def _settings(
    config: Path | None,
    files: "dict[str, ModalityFile]",
    recipe: dict[str, Any],
    others: dict[str, Any],
) -> "RunConfig":
    """Return the settings of a config with those changed that are not None."""
    from cmvae.runs.config import RunConfig

    settings = RunConfig(modalities=files) if config is None else RunConfig.read(config)
    changed = {name: value for name, value in recipe.items() if value is not None}
    fields = {name: value for name, value in others.items() if value is not None}
    return settings.replace(modalities=files, recipe=settings.recipe.replace(**changed), **fields)
