"""Generated samples of a run as files: tables in the data's units, images, arrays."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cmvae._version import __version__
from cmvae.base.arguments import seeded
from cmvae.base.files import may_write_folder, moved_away, put_back, sole_writer
from cmvae.base.reading import read_json
from cmvae.cells.denoised import at_library_size, own_library_size
from cmvae.files.join import RowStore
from cmvae.networks.shapes import is_image
from cmvae.preprocessing.codec import Writer

if TYPE_CHECKING:
    from torch import Generator

    from cmvae.runs.run import Run

# Of diffusion decoders; guidance is what benchmarks/diffusion.py chose for its first seed.
SAMPLING: dict[str, Any] = {"sampler": "sde-dpm++", "steps": 12, "guidance": 2.0, "candidates": 4}
GENERATED = "generated.json"  # settings and files; it marks a folder that may be replaced

Part = tuple[list[str], Any, np.ndarray | None]  # ids, what is decoded, and clusters or None


def may_write_generated(folder: Path, overwrite: bool) -> None:
    """Refuse a folder of generated samples that may not be replaced, or that holds something else.

    What a writer that was killed had moved away is put back.

    Raises:
        ValueError: Naming it.
    """
    if moved_away(folder):
        with sole_writer(folder):
            put_back(folder, _leave_others, "what was generated")
    check_generated(folder, overwrite)
    if not folder.parent.is_dir():
        raise ValueError(f"out: no such folder: {folder.parent}")


def check_generated(folder: Path, overwrite: bool) -> None:
    """Refuse the same, by what is there now; for a writer that is about to replace it."""
    may_write_folder(folder, overwrite, "generated samples", _holds_generated)


def _holds_generated(folder: Path) -> bool:
    """Tell whether a folder holds the files that were generated into it, and nothing else."""
    try:
        recorded = read_json(folder / GENERATED)["files"]
        return {path.name for path in folder.iterdir()} <= {GENERATED, *recorded}
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _leave_others(old: Path, _: Path) -> list[str]:
    return [] if _holds_generated(old) else [path.name for path in old.iterdir()]


def generate_clusters(
    run: "Run",
    folder: Path,
    clusters: Sequence[int],
    n_samples: int,
    modalities: Sequence[str],
    *,
    draw: bool,
    seed: int,
    suffix: str = ".csv",
    refine: Sequence[str] = (),
    covariates: Mapping[str, float] | None = None,
    library_size: float | None = None,
    **options: Any,
) -> None:
    """Write samples of clusters: ``NAME.csv`` or ``.parquet``, ``NAME/ID.png`` or ``NAME.npy``.

    Tables have the names of clusters too, where there are some.

    Args:
        run: The run.
        folder: An empty folder.
        clusters: Their numbers, each once.
        n_samples: How many of each.
        modalities: Which to generate.
        draw: Draw from the likelihoods, instead of their means.
        seed: Seed of the draws.
        suffix: Of tables.
        refine: Those of the modalities that the run's diffusion decoders refine.
        covariates: Name to the value, as the model has it, of what to generate under; others are
            drawn as they occurred in training.
        library_size: The total that means of counts are given for; None: the median of training.
        **options: For :func:`open_writers`.
    """
    generator = seeded(seed)
    clusters = list(dict.fromkeys(clusters))
    numbers = np.repeat(np.asarray(clusters), n_samples)
    width = len(str(n_samples - 1))
    ids = [f"c{cluster}-{i:0{width}}" for cluster in clusters for i in range(n_samples)]

    def parts() -> Iterator[Part]:
        rows = run.preprocessing.chunk_rows
        for start in range(0, len(ids), rows):
            chosen = numbers[start : start + rows]
            drawn = run.model.generate_from_prior(
                len(chosen), cluster=chosen.tolist(), covariates=covariates, generator=generator
            )
            keywords = _refining(refine, generator)
            made = (run.refined or run.model).decode(drawn, list(modalities), **keywords)
            yield ids[start : start + rows], made, chosen

    how: dict[str, Any] = {"library_size": library_size, **options}
    _write(run, folder, modalities, parts(), draw, generator, suffix, refine, **how)
    settings: dict[str, Any] = {"clusters": [int(c) for c in clusters], "samples": int(n_samples)}
    if run.names:
        settings["names"] = [run.name_of(c) for c in clusters]
    settings |= {"refined": list(refine)} if refine else {}
    settings |= _as_written(run, covariates)
    settings |= {"library_size": library_size} if library_size else {}
    record_generated(folder, **settings, draw=draw, seed=int(seed))


def _as_written(run: "Run", covariates: Mapping[str, float] | None) -> dict[str, Any]:
    """Return the covariates that samples were generated under, as they are written in files."""
    codecs = run.preprocessing.covariates
    own = {n: codecs[n].decode(np.array([v])).iloc[0] for n, v in (covariates or {}).items()}
    return {"covariates": own} if own else {}


def _refining(refine: Sequence[str], generator: "Generator") -> dict[str, Any]:
    """Return the keywords of what refines."""
    return {"refine": list(refine), "generator": generator, **SAMPLING} if refine else {}


def translate_files(
    run: "Run",
    folder: Path,
    store: RowStore,
    modalities: Sequence[str],
    *,
    draw: bool,
    seed: int,
    suffix: str = ".csv",
    sources: Mapping[str, str],
    refine: Sequence[str] = (),
    covariates: Mapping[str, float] | None = None,
    library_size: float | None = None,
    **options: Any,
) -> None:
    """Write modalities of samples from others, as :func:`generate_clusters` does; ids stay.

    Latents are the means given the samples, or with ``draw`` draws.

    Args:
        run: The run.
        folder: An empty folder.
        store: The samples.
        modalities: Which to generate.
        draw: Draw from the likelihoods, instead of their means.
        seed: Seed of the draws.
        suffix: Of tables.
        sources: Modality to file of the samples, to be recorded.
        refine: As for :func:`generate_clusters`.
        covariates: Likewise; others are the samples' own, or drawn where they have none.
        library_size: Likewise.
        **options: For :func:`open_writers`.
    """
    generator = seeded(seed)

    def parts() -> Iterator[Part]:
        for rows in store.batches(run.preprocessing.chunk_rows):
            data, given = run.preprocessing.dataset(rows), store.modalities
            keywords = {"generator": generator, **_refining(refine, generator)}
            made = (run.refined or run.model).predict(
                data,
                given,
                list(modalities),
                return_mean=not draw,
                covariates=covariates,
                **keywords,
            )
            yield list(rows.ids), {name: values[:, 0] for name, values in made.items()}, None

    how: dict[str, Any] = {"library_size": library_size, **options}
    _write(run, folder, modalities, parts(), draw, generator, suffix, refine, **how)
    settings: dict[str, Any] = {"refined": list(refine)} if refine else {}
    settings |= _as_written(run, covariates)
    settings |= {"library_size": library_size} if library_size else {}
    record_generated(folder, sources=dict(sources), **settings, draw=draw, seed=int(seed))


def record_generated(folder: Path, **settings: Any) -> None:
    """Write what was generated into a folder, and by which settings."""
    files = sorted(path.name for path in folder.iterdir())
    text = json.dumps({"cmvae": __version__, **settings, "files": files}, indent=1)
    (folder / GENERATED).write_text(text + "\n", encoding="utf-8")


def _write(
    run: "Run",
    folder: Path,
    modalities: Sequence[str],
    parts: Iterator[Part],
    draw: bool,
    generator: "Generator",
    suffix: str,
    refined: Sequence[str] = (),
    library_size: float | None = None,
    **options: Any,
) -> None:
    """Write parts; what is refined are data already.

    Of images latents are drawn, and means shown: pixels that are drawn one by one would be snow.
    """
    codecs = run.preprocessing.codecs
    with ExitStack() as stack:
        writers = open_writers(stack, run, folder, modalities, suffix, **options)
        for ids, decoded, clusters in parts:
            plain = {name: own for name, own in decoded.items() if name not in refined}
            values = {**decoded, **_data(run, plain, draw, generator)}
            if library_size is not None:
                values |= _at_library_size(run, values, library_size)
            for name, write in writers.items():
                rows = codecs[name].decode(values[name].detach().cpu().numpy(), draw)
                if run.names and clusters is not None and isinstance(rows, pd.DataFrame):
                    _add_names(rows, [run.name_of(c) for c in clusters])
                write(ids, rows, clusters)


def open_writers(
    stack: ExitStack,
    run: "Run",
    folder: Path,
    modalities: Sequence[str],
    suffix: str,
    **options: Any,
) -> dict[str, Writer]:
    """Open what writes each of some modalities into a folder, until the stack is closed.

    Options are those of :func:`cmvae.files.writing.open_rows`.

    Raises:
        ValueError: For modalities that cannot name files.
    """
    names = list(dict.fromkeys(modalities))
    odd = [name for name in names if Path(name).name != name]
    if odd:
        raise ValueError(f"modalities {odd} cannot name files")
    codecs = run.preprocessing.codecs
    return {
        n: stack.enter_context(codecs[n].open_writer(folder, n, suffix, **options)) for n in names
    }


def _data(
    run: "Run", decoded: Mapping[str, Any], draw: bool, generator: "Generator"
) -> dict[str, Any]:
    """Return the means of what is decoded, with ``draw`` draws of all but images."""
    found: dict[str, Any] = {}
    for name, own in decoded.items():
        sample = draw and not is_image(run.preprocessing.codecs[name].input_shape)
        found |= run.model.to_data({name: own}, sample, generator=generator)
    return found


def _at_library_size(run: "Run", values: Mapping[str, Any], size: float) -> dict[str, Any]:
    """Return those of the means that are counts of cells, for cells of another total."""
    counts = [name for name in values if own_library_size(run.model, name) is not None]
    return {name: at_library_size(run.model, name, values[name], size) for name in counts}


def check_library_size(run: "Run", modalities: Sequence[str], size: float | None) -> None:
    """Refuse a total where no modality has counts with a library size."""
    if size is not None and not any(own_library_size(run.model, name) for name in modalities):
        raise ValueError(
            f"library size: none of {list(modalities)} has counts with a library size, which are "
            "those of cells, in .h5mu and .h5ad files"
        )


def _add_names(rows: pd.DataFrame, names: list[str]) -> None:
    """Put the names of clusters first, in a column that the data do not have."""
    column = "cluster_name"
    while column in rows:
        column += "_"
    rows.insert(0, column, names)
