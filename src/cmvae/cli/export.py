"""``cmvae export``: a run as one file for services."""

from pathlib import Path
from typing import Annotated

import typer

from cmvae.cli.console import one_line_errors, say


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[
        Path,
        typer.Option(help="File to write: .onnx for ONNX Runtime, .pt2 for torch.export.load."),
    ],
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="An output that is wanted, again for each: cluster, probabilities, embedding, "
            "log_likelihood, fit_percentile; else all. The last two take the most time.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Write a run as one file: raw values in, clusters and fit out, without cmvae.

    Preprocessing and model are both in it, for any number of samples at a time. What goes in and
    what comes out stands in its metadata, under "cmvae". Texts cannot be exported.

    Example: cmvae export runs/mine --out model.onnx

    Example: cmvae export runs/mine --out model.onnx --output cluster --output probabilities
    """
    with one_line_errors():
        from cmvae.runs.exported import export as write_exported
        from cmvae.runs.exported import load_exported

        about = load_exported(write_exported(run, out, outputs=output, overwrite=overwrite)).about
        for own in about["inputs"]:
            shape = " × ".join(["n", *map(str, own["shape"])])
            say(f"in   {own['name']}: {own['dtype']}, {shape}")
        for own in about["outputs"]:
            say(f"out  {own['name']}: {own['what']}")
        say(f"Written to {out}")
