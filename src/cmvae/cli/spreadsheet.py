"""The option of commands that write tables which people may open in a spreadsheet."""

from typing import Annotated

import typer

Spreadsheet = Annotated[
    bool,
    typer.Option(
        "--spreadsheet",
        help="Put an apostrophe before texts that a spreadsheet would compute (they begin with =, "
        "+, -, @ or a tab), in .csv and .tsv; numbers stay.",
    ),
]


def check_spreadsheet(spreadsheet: bool, suffix: str) -> None:
    """Refuse to guard the texts of a file in which no spreadsheet looks for formulas."""
    if spreadsheet and suffix not in (".csv", ".tsv"):
        raise ValueError(f"--spreadsheet is for .csv and .tsv, got {suffix}")
