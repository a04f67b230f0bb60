"""The commands, and how they are run."""

import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from cmvae._version import __version__
from cmvae.cli.console import EXIT_FAILED, EXIT_USAGE, console, errors, one_line_warnings
from cmvae.cli.convert import convert
from cmvae.cli.demo import demo
from cmvae.cli.evaluate import evaluate
from cmvae.cli.export import export
from cmvae.cli.fit import fit
from cmvae.cli.generate import generate
from cmvae.cli.predict import predict
from cmvae.cli.report import report
from cmvae.cli.select import select
from cmvae.cli.verify import verify

app = typer.Typer(
    name="cmvae",
    help="Multimodal generative clustering: find clusters in samples seen through several "
    "modalities, some missing.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run() -> int:
    """Run the command line, and return its exit status; wrong usage too is told in one line."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        with one_line_warnings():
            status = app(standalone_mode=False) or 0
    except TyperException as error:
        words = error.format_message().replace("Input should be", "must be")
        errors.print(f"Error: {words}", markup=False)
        return EXIT_USAGE
    return status or (EXIT_FAILED if console.unwritten else 0)


def _show_version(wanted: bool) -> None:
    if wanted:
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


_COMMANDS = (demo, fit, predict, generate, evaluate, select, report, export, verify, convert)

for command in _COMMANDS:
    app.command()(command)
