"""What the files of a run hold, and that they fit each other; whoever wrote them may lie."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from cmvae.base.plain import read_state, stored_state
from cmvae.base.reading import read_json
from cmvae.base.settings import Finite, Flag, Natural, PositiveInt, Settings
from cmvae.base.unpacking import check_unpacked
from cmvae.base.words import SHOWN, quoted, shortened
from cmvae.training.recipe import Recipe
from cmvae.training.start import PHASES

_ROWS = 50_000  # read at once
_MOST_COLUMNS = 10_000  # of which pandas takes some KiB each
COLUMNS = ("id", "cluster", "probability", "modalities")  # of the samples


class Evidence(Settings):
    """What speaks for the number of clusters."""

    numbers: tuple[PositiveInt, ...]
    scores: tuple[Finite, ...]
    chosen: PositiveInt
    runner_up: PositiveInt | None
    share: Finite
    strength: Finite


class Metrics(Settings):
    """Figures that are read again."""

    n_samples: PositiveInt
    n_clusters: PositiveInt
    sizes: Annotated[tuple[Natural, ...], Field(min_length=1)]
    evidence: Evidence | None
    stability: tuple[Finite | None, ...]
    kept: Finite | None
    active_units: Natural
    still_falling: Flag
    epochs: dict[str, Natural]


class Extras(Settings):
    """What an estimator keeps beside a run."""

    modalities: dict[str, Any] | None = None
    kinds: list[tuple[str, Any]] | None
    verbose: Flag = False
    tables: list[str]
    auto: list[str] = Field(default_factory=list)
    n_features_in_: Natural | None = None
    feature_names_in_: list[Any] | None = None
    random_state: Any


def read_metrics(path: Path) -> dict[str, Any]:
    """Return the figures of a run; ``ValueError`` naming the file where they are none."""
    content = read_json(path)
    if isinstance(content, dict):
        known = {name: own for name, own in content.items() if name in Metrics.model_fields}
    else:
        known = content  # which is refused
    found = Metrics.from_plain(known, str(path))
    evidence, n = found.evidence, len(found.sizes)
    if evidence is not None and len(evidence.numbers) != len(evidence.scores):
        raise ValueError(f"{path}: evidence.numbers and evidence.scores differ in length")
    if n != found.n_clusters or n != len(found.stability):
        raise ValueError(f"{path}: sizes and stability must have {found.n_clusters} entries each")
    if sum(found.sizes) != found.n_samples:
        raise ValueError(f"{path}: sizes are of {sum(found.sizes)} samples, not {found.n_samples}")
    return dict(content)


def check_extras(content: Any, path: Path, modalities: list[str]) -> None:
    """Refuse what is not what an estimator keeps beside its run, naming the file."""
    found = Extras.from_plain(content, str(path))
    if unknown := [name for name in found.tables if name not in modalities]:
        raise ValueError(f"{path}: tables names unknown modalities {quoted(unknown[:SHOWN])}")
    if unknown := [name for name in found.auto if name not in Recipe.model_fields]:
        raise ValueError(f"{path}: auto names unknown settings {quoted(unknown[:SHOWN])}")
    try:
        _check_state(found.random_state)
    except (ValueError, TypeError, KeyError, OverflowError):
        got = shortened(repr(found.random_state))
        raise ValueError(f"{path}: random_state is no seed and no state, got {got}") from None


def _check_state(state: Any) -> None:
    """Refuse what is no random state as :func:`cmvae.base.plain.stored_state` returns it."""
    if isinstance(state, bool) or not isinstance(state, int | Mapping | None):
        raise ValueError("neither a seed nor a state")
    restored = read_state(state)
    if isinstance(restored, int):
        np.random.RandomState(restored)  # refuses what is no seed
    elif stored_state(restored) != state:
        raise ValueError("a state that is not taken as it is")


def _read_table(path: Path, **options: Any) -> pd.DataFrame:
    """Return a table of a run, by options of pandas, in parts, which take less while they are read.

    Raises:
        ValueError: Naming the file, if it is none.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if len(next(filter(None, csv.reader(file)), [])) > _MOST_COLUMNS:
                raise ValueError("too many columns")
        with pd.read_csv(path, chunksize=_ROWS, **options) as parts:
            return pd.concat(parts, ignore_index=True)
    except (ValueError, OSError, OverflowError, csv.Error, pd.errors.ParserError):
        raise ValueError(f"{path}: not a table as a run has it; the file is damaged") from None


def read_samples(path: Path, sizes: list[int], modalities: list[str]) -> pd.DataFrame:
    """Return the samples of a run; ``ValueError`` naming the file where they do not fit it.

    Args:
        path: The file.
        sizes: How many each cluster has.
        modalities: Those of the run.
    """
    is_text: Any = {"id": str, "modalities": str}
    table = _read_table(path, dtype=is_text, keep_default_na=False)
    if tuple(name for name in table.columns if name in COLUMNS) != COLUMNS:
        raise ValueError(f"{path}: it must have the columns {', '.join(COLUMNS)}, in this order")
    if len(table) != sum(sizes):
        raise ValueError(f"{path}: it has {len(table)} rows for {sum(sizes)} samples")
    clusters, shares = table["cluster"], table["probability"]
    fits = clusters.dtype.kind in "iu" and clusters.between(0, len(sizes) - 1).all()
    if not fits or np.bincount(clusters, minlength=len(sizes)).tolist() != list(sizes):
        raise ValueError(f"{path}: the clusters are not those that metrics.json counts")
    if shares.dtype.kind not in "iuf" or not shares.between(0, 1).all():
        raise ValueError(f"{path}: the probabilities must be numbers from 0 to 1")
    if table["id"].duplicated().any() or not table["id"].str.strip().all():
        raise ValueError(f"{path}: ids must not be empty, and each must be there once")
    seen = {name for cell in table["modalities"].unique() for name in cell.split("+")}
    parts = {part for name in modalities for part in name.split("+")}
    if unknown := sorted(seen - parts):
        shown = [shortened(name) for name in unknown[:SHOWN]]
        raise ValueError(f"{path}: unknown modalities {shown}; there are {modalities}")
    return table


def read_epochs(path: Path) -> pd.DataFrame:
    """Return the log of a run; ``ValueError`` naming the file where it is none."""
    log = _read_table(path)
    if list(log.columns[:2]) != ["phase", "epoch"]:
        raise ValueError(f"{path}: its first columns must be phase and epoch")
    numbers = log.drop(columns="phase") if len(log) else pd.DataFrame()
    if bad := [name for name in numbers if numbers[name].dtype.kind not in "iuf"]:
        raise ValueError(
            f"{path}: column {shortened(str(bad[0]))!r} holds something else than numbers"
        )
    if len(log) and (log["epoch"].dtype.kind not in "iu" or not log["phase"].isin(PHASES).all()):
        raise ValueError(f"{path}: phases must be of {', '.join(PHASES)}, and epochs whole numbers")
    return log


def read_index(path: Path, n_samples: int) -> pd.Index:
    """Return the index of a run's samples; ``ValueError`` naming the file where it is none."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        held = pq.read_metadata(path)
        is_run = held.num_rows == n_samples
        if is_run:
            check_unpacked(8 * held.num_rows * held.num_columns, path)
            return pd.read_parquet(path).index
    except (pyarrow.ArrowException, ValueError, TypeError, KeyError, OSError):
        raise ValueError(f"{path}: not a Parquet file; it is damaged") from None
    raise ValueError(f"{path}: it has {held.num_rows} rows for {n_samples} samples")


def read_latents(path: Path, n_samples: int) -> tuple[np.ndarray, ...]:
    """Return where several models had samples; ``ValueError`` naming the file where it is none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
        latents = tuple(found[str(place)] for place in range(len(found)))
    except (SafetensorError, KeyError, ValueError, OSError):
        raise ValueError(f"{path}: not the latents of a run; the file is damaged") from None
    rows = {own.shape[:-1] for own in latents}
    if len(rows) != 1 or not all(own.ndim == 2 and len(own) <= n_samples for own in latents):
        raise ValueError(f"{path}: latents must be tables of the same samples of the run")
    if not all(own.dtype.kind == "f" and np.isfinite(own).all() for own in latents):
        raise ValueError(f"{path}: latents must be finite numbers")
    return latents


def check_shapes(own: Mapping[str, tuple[int, ...]], path: Path, model: Path) -> None:
    """Refuse codecs of other inputs than the model's, before anything of their size is made.

    Args:
        own: Modality to input shape, as the codecs say.
        path: Their file.
        model: The file of the model's settings.
    """
    fields = read_json(model)
    dims = fields.get("input_dims") if isinstance(fields, dict) else None
    if not isinstance(dims, dict) or [*dims] != [*own]:
        got = f"{[*own]}, those of {model}: {[*dims] if isinstance(dims, dict) else 'none'}"
        raise ValueError(f"{path}: the modalities are {got}")
    for name, shape in own.items():
        if dims[name] != list(shape):
            got = f"modality {name!r} is {list(shape)}, {dims[name]} in {model}"
            raise ValueError(f"{path}: codecs and model do not fit: {got}")
