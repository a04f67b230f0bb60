"""``cmvae select``: the number of clusters of a run, seen and changed."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cmvae.base.words import counted
from cmvae.cli.console import (
    console,
    one_line_errors,
    quieten,
    refuse_several_processes,
    say,
    say_join,
)
from cmvae.cli.fit import how_many, show_clusters, training_bar, what_is_left

if TYPE_CHECKING:
    from cmvae.clusters.evidence import NumberEvidence
    from cmvae.runs.record import RunRecord

BAR, MOST_ROWS, NEIGHBOURS = 40, 25, 2


def select(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    clusters: Annotated[
        int | None,
        typer.Option(
            min=1, help="Set this number: the run's files are read again, and it trains on."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, mps …", show_default="as in the run")
    ] = None,
) -> None:
    """Show what speaks for each number of clusters of a run, and set another number.

    Example: cmvae select runs/mine --clusters 5
    """
    with one_line_errors(lambda: f"the run is as it was; {what_is_left(run)}"):
        from cmvae.runs.folder import PAGE, load_model, put_back, read_record

        if clusters is not None:
            put_back(run)
        record = read_record(run)
        if clusters is None:
            _show_evidence(record)
            return
        refuse_several_processes()
        from cmvae.runs.fitting import change_clusters, may_change_clusters

        may_change_clusters(run)
        own: dict[str, Any] = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
        own |= {} if device is None else {"device": device}
        record = replace(record, config=record.config.replace(**own))
        from cmvae.runs.reading import read_files

        known = record.covariate_files
        preprocessing, rows = read_files(
            record.config.modalities, record.preprocessing, covariates=known
        )
        record = replace(record, preprocessing=preprocessing)
        say_join(rows.join)
        quieten()
        had_page = (run / PAGE).exists()
        found = load_model(run, record)
        if record.names:
            say(f"names of the clusters before are not kept: {', '.join(record.names.values())}")
        show_clusters(change_clusters(run, found, rows, clusters, **training_bar()), run)
        if had_page:
            say(
                f"{run / PAGE} showed the clusters before and was removed; a new one: "
                f"cmvae report {run}"
            )


def _show_evidence(record: "RunRecord") -> None:
    """Print the scores of the numbers compared, or why there are none."""
    evidence = record.evidence
    say(how_many(record))
    if record.names:
        sizes = enumerate(record.metrics["sizes"])
        say(", ".join(f"{record.called(c)}: {counted(n, 'sample')}" for c, n in sizes))
    if evidence is None:
        auto = record.config.recipe.n_clusters == "auto"
        say("they were counted without scores" if auto else "the number was given: none compared")
    elif evidence.numbers:
        _show_scores(evidence, record.n_clusters)


def _show_scores(evidence: "NumberEvidence", now: int) -> None:
    scores = dict(zip(evidence.numbers, evidence.scores, strict=True))
    low, high = min(scores.values()), max(scores.values())
    table = Table("clusters", "score", "", title="Numbers of clusters, the larger the better")
    shown = worth_showing(scores, evidence.chosen)
    for size in shown:
        length = 1 + round((BAR - 1) * (scores[size] - low) / ((high - low) or 1.0))
        is_marked = {
            "chosen": size == evidence.chosen,
            "the run's": size == now != evidence.chosen,
            "next best": size == evidence.runner_up,
        }
        marks = ", ".join(text for text, holds in is_marked.items() if holds)
        table.add_row(str(size), f"{scores[size]:.2f}", f"{'█' * length} {marks}")
    console.print(table)
    rest = [score for size, score in scores.items() if size not in shown]
    if rest:
        say(f"{len(rest)} more up to {evidence.numbers[-1]} have scores of at most {max(rest):.2f}")


def worth_showing(scores: dict[int, float], chosen: int) -> list[int]:
    """Return the numbers to show: the neighbours of the one chosen, and the best."""
    near = [size for size in scores if abs(size - chosen) <= NEIGHBOURS]
    best = sorted(scores, key=lambda size: -scores[size])
    return sorted(list(dict.fromkeys([*near, *best]))[:MOST_ROWS])
