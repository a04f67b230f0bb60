"""``cmvae demo``: the package shown on data that come with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cmvae.base.words import counted
from cmvae.cli.console import (
    EXIT_FAILED,
    console,
    one_line_errors,
    quieten,
    refuse_several_processes,
    say,
)
from cmvae.cli.demo_folder import DemoSettings, prepare_folder, writing_demo
from cmvae.training.checkpoints import CHECKPOINTS, can_resume

if TYPE_CHECKING:
    from cmvae.cli.demonstration import DemoResult


def demo(
    out: Annotated[
        Path, typer.Option(help="Run folder for the model, predictions and figures.")
    ] = Path("runs/demo"),
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of what is missing, of the start and of training.")
    ] = 0,
    missing_rate: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of samples that lack a random part of their modalities."
        ),
    ] = 0.3,
    clusters: Annotated[
        int,
        typer.Option(min=2, help="Most clusters there may be; how many there are is found."),
    ] = 20,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data in all.")] = 35,
    warmup_epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Passes with a single cluster, before the clusters start; by default 6 of 7.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train: auto, cpu, cuda, mps …")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results in the run folder.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the run folder's last checkpoint, with that run's options.",
        ),
    ] = False,
) -> None:
    """Cluster handwritten digits seen through six sets of features, 30 % of the samples incomplete.

    Trains on the UCI Multiple Features data that come with the package, finds the number of
    clusters, compares with k-means and a Gaussian mixture, and generates modalities from each
    other.

    Example: cmvae demo --out runs/demo --missing-rate 0.5
    """
    with one_line_errors(lambda: _what_is_left(out), EXIT_FAILED):
        refuse_several_processes()
        warmup = epochs * 6 // 7 if warmup_epochs is None else warmup_epochs
        settings = DemoSettings(
            seed=seed,
            missing_rate=missing_rate,
            clusters=clusters,
            epochs=epochs,
            warmup_epochs=warmup,
        )
        with writing_demo(out):
            settings = prepare_folder(out, settings, overwrite=overwrite, resume=resume)
            say(
                f"2000 digits, six modalities, {settings.missing_rate:.0%} of the samples "
                f"incomplete; training for {settings.epochs} epochs"
            )
            from cmvae.cli.demonstration import run_demo

            quieten()  # Lightning speaks up again when it is imported
            result = run_demo(out, settings, resume=resume, accelerator=device)
        _show_demo(result, out)


def _show_demo(result: "DemoResult", folder: Path) -> None:
    found = counted(result.n_clusters, "cluster")
    say(f"\n{found} found (there are 10 digits; labels only score)\n")
    table = Table("method", "ACC", "NMI", "ARI", title="Clusters against digits, %")
    for method, scores in result.scores.items():
        table.add_row(method, *(f"{100 * scores[name]:.1f}" for name in ("ACC", "NMI", "ARI")))
    console.print(table)
    shares = Table(
        "generated from", "right digit", title="Images generated from another modality, %"
    )
    for source, share in result.shares.items():
        shares.add_row("(real images)" if source == "real" else source, f"{100 * share:.1f}")
    console.print(shares)
    say(
        f"Written to {folder}: model/, predictions.csv, generated.npz, metrics.json, "
        "figures/embedding.png, figures/selection.png, figures/translations.png"
    )


def _what_is_left(folder: Path) -> str:
    if can_resume(folder):
        kept = folder / CHECKPOINTS
        return f"the last checkpoint is in {kept}; go on with: cmvae demo --out {folder} --resume"
    return "no checkpoint was written yet"
