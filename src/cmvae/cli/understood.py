"""What was understood of files, before anything is trained."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from cmvae.base.words import counted
from cmvae.cli.console import console, say

if TYPE_CHECKING:
    from cmvae.preprocessing.understanding import ColumnSummary, ModalitySummary
    from cmvae.runs.run import Prepared

MOST_COLUMNS = 40  # of a table that are shown one by one, beside those with something to say
MOST_PATTERNS = 12


def show_short(prepared: "Prepared") -> None:
    """Print what each modality is taken for, and what was done with columns that are odd."""
    from cmvae.networks.build import choose_networks

    title = counted(len(prepared.rows.ids), "sample")
    table = Table("modality", "samples", "what", "likelihood", "network", title=title)
    for name, codec in prepared.preprocessing.codecs.items():
        dist, params = prepared.settings.likelihood_of(name)
        network = prepared.settings.network_of(name)
        network = network or choose_networks(codec.input_shape, str(dist))
        seen = str(int(prepared.rows.masks[name].sum()))
        words = _likelihood_words(str(dist), params)
        own = prepared.preprocessing.understood.get(name)
        what = own.what if own else codec.describe()
        table.add_row(*map(Text, (name, seen, what, words, network)))
    console.print(table)
    for name, own in prepared.preprocessing.understood.items():
        for line in (*own.say_left_out(name), *own.say_noted(name)):
            say(line)
        if own.left_out:
            first = own.left_out[0].name
            say(f"To use one all the same, name its kind: --kind {name}.{first}=category")
    for name, known in prepared.preprocessing.covariates.items():
        say(f"Covariate {name!r}, not to make clusters: {known.describe()}")
    recipe = prepared.config.recipe
    if recipe.alignment:
        say(_start_words(*recipe.alignment_epochs))


def show_all(prepared: "Prepared") -> None:
    """Print everything that was understood: files, columns, and which samples have what."""
    show_short(prepared)
    for name, own in prepared.preprocessing.understood.items():
        say("")
        say(f"{name}: {_source_words(own)}")
        if own.columns:
            _show_columns(own)
    patterns = Counter(prepared.rows.patterns())
    if len(prepared.preprocessing.codecs) > 1:
        say("")
        shown = patterns.most_common(MOST_PATTERNS)
        rest = len(prepared.rows.ids) - sum(count for _, count in shown)
        words = [f"{pattern} {count}" for pattern, count in shown]
        words += [f"other combinations {rest}"] * bool(rest)
        say(f"Samples by the modalities that they have: {', '.join(words)}")
    say("Nothing was trained or written.")


def _start_words(first: int, reading: int, most: int | None = None) -> str:
    """Say how a training with an alignment starts."""
    number = counted(first, "epoch") + (f", up to {most} while more groups are found," * bool(most))
    begin = f"Training starts with {number} in which encoders learn what"
    then = f"modalities share, and {reading} in which decoders learn to read it"
    return f"{begin} {then} (--alignment-epochs {first} {reading}; 0 0 for none)."


def _source_words(own: "ModalitySummary") -> str:
    """Say where the rows are from, how they were read, and how many samples have them."""
    ids = "" if own.id is None else f"ids in the column {own.id!r}"
    parts = [own.path or "", own.reading, ids, counted(own.samples, "sample")]
    return "; ".join(part for part in parts if part)


def _show_columns(own: "ModalitySummary") -> None:
    """Print a row for each column: of many the first ones, and those with something to say."""
    shown = [c for place, c in enumerate(own.columns) if place < MOST_COLUMNS or c.note]
    table = Table("column", "kind", "missing", "range", "example", "")
    for column in shown[: 5 * MOST_COLUMNS]:
        table.add_row(*map(Text, _cells(column)))
    console.print(table)
    rest = len(own.columns) - min(len(shown), 5 * MOST_COLUMNS)
    if rest:
        kinds = Counter(column.kind for column in own.columns)
        words = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        say(f"and {counted(rest, 'column')} more; of all {len(own.columns)}: {words}")


def _cells(column: "ColumnSummary") -> tuple[str, ...]:
    missing = "" if column.missing == 0 else f"{100 * column.missing:.3g} %"
    return column.name, column.kind, missing, column.range, column.example, column.note


def _likelihood_words(dist: str, params: dict[str, Any]) -> str:
    """Say what a likelihood is: its blocks, and whether counts are relative to the total."""
    blocks = [block[0] for block in params.get("columns", ())]
    if blocks:
        return f"mixed: {', '.join(blocks)}"
    return f"{dist}, library size" if params.get("library_size") else dist
