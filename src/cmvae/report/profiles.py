"""What sets clusters apart, as a table."""

from pathlib import Path

import pandas as pd

from cmvae.files.writing import open_rows

PROFILE = (
    *("modality", "column", "value", "cluster", "value_there", "value_elsewhere"),
    *("effect_size", "effect_kind", "p_value", "p_adjusted", "n_there", "n_elsewhere"),
)
"""Its columns; where the two values are shares, ``value`` is what they are shares of."""


def write_profiles(path: str | Path, profiles: pd.DataFrame, *, spreadsheet: bool = False) -> None:
    """Write what sets clusters apart as a table, as a whole or not at all.

    Args:
        path: A .csv, .tsv or .parquet file.
        profiles: The ``profiles`` of what :func:`cmvae.report.gather_report` returned.
        spreadsheet: Guard texts that a spreadsheet would compute.
    """
    with open_rows(Path(path), spreadsheet=spreadsheet) as append:
        append(profiles)


def holds_profiles(path: Path) -> bool:
    """Tell whether a text file begins as :func:`write_profiles` begins it."""
    with path.open("rb") as file:
        return file.readline().startswith(",".join(PROFILE[:4]).encode())


def sort_profiles(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the lines of all clusters and tables, those of the largest effect sizes first.

    A line without an effect size, because one side has no samples or too few, is among the last.
    """
    if not parts:
        return pd.DataFrame(columns=list(PROFILE))
    lines = pd.concat(parts, ignore_index=True)
    order = lines["effect_size"].abs().sort_values(ascending=False, kind="stable").index
    return lines.loc[order].reset_index(drop=True)
