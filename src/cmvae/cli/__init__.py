"""The command line: ``cmvae demo``, and the commands of :mod:`cmvae.commands`, which alone print."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from typer.exceptions import TyperException

from cmvae.cli.evaluate import evaluate
from cmvae.cli.fit import fit
from cmvae.cli.generate import generate
from cmvae.cli.predict import predict
from cmvae.cli.report import report
from cmvae.cli.select import select
from cmvae.cli.shared import EXIT_FAILED, EXIT_USAGE, console, errors, quieten, told_in_one_line

if TYPE_CHECKING:
    from cmvae.cli.demo import DemoResult

app = typer.Typer(
    name="cmvae",
    help="Multimodal generative clustering: find clusters in samples seen through several modalities, some missing.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; wrong usage too is told in one line."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        status = app(standalone_mode=False)
    except TyperException as error:
        errors.print(f"Error: {error.format_message()}", markup=False)
        sys.exit(EXIT_USAGE)
    sys.exit(status or 0)


def _show_version(wanted: bool) -> None:
    if wanted:
        from cmvae._version import __version__

        console.print(f"cmvae {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


@app.command()
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
        int, typer.Option(min=2, help="Most clusters there may be; how many there are is found.")
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
            "--resume", help="Go on from the run folder's last checkpoint, with that run's options."
        ),
    ] = False,
) -> None:
    """Cluster handwritten digits seen through six sets of features, 30 % of the samples incomplete.

    Trains on the UCI Multiple Features data that come with the package, finds the number of
    clusters, compares with k-means and a Gaussian mixture, and generates modalities from each
    other.

    Example: cmvae demo --out runs/demo --missing-rate 0.5
    """
    with told_in_one_line(lambda: _what_is_left(out), EXIT_FAILED):
        from cmvae.cli.demo import DemoSettings, prepare_run, run_demo

        warmup = epochs * 6 // 7 if warmup_epochs is None else warmup_epochs
        settings = DemoSettings(seed, missing_rate, clusters, epochs, warmup)
        settings = prepare_run(out, settings, overwrite=overwrite, resume=resume)
        console.print(
            f"2000 digits, six modalities, {settings.missing_rate:.0%} of the samples incomplete; "
            f"training for {settings.epochs} epochs",
            highlight=False,
            soft_wrap=True,
        )
        quieten()
        result = run_demo(
            out, settings, resume=resume, accelerator=device, devices=1, enable_model_summary=False
        )
        _show_demo(result, out)


def _show_demo(result: "DemoResult", folder: Path) -> None:
    console.print(
        f"\n{result.n_clusters} clusters found (there are 10 digits; labels only score)\n",
        highlight=False,
    )
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
    console.print(
        f"Written to {folder}: model/, predictions.csv, generated.npz, metrics.json, "
        "figures/embedding.png, figures/selection.png, figures/translations.png",
        highlight=False,
        soft_wrap=True,
    )


def _what_is_left(folder: Path) -> str:
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if checkpoint.exists():
        return (
            f"the last checkpoint is {checkpoint}; go on with: cmvae demo --out {folder} --resume"
        )
    return "no checkpoint was written yet"


for command in (fit, predict, generate, evaluate, select, report):
    app.command()(command)
