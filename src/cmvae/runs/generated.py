"""Generated samples of a run as files: tables in the data's units, images, arrays."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmvae._version import __version__
from cmvae.files.writing import open_rows, write_image
from cmvae.files.modality import ModalityFile
from cmvae.runs.folder import Run

GENERATED = "generated.json"  # settings and files; it marks what --overwrite may replace


def check_folder(folder: Path) -> None:
    """Refuse what is no folder, and a folder that holds something else than generated samples.

    Raises:
        ValueError: Naming it.
    """
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else None
    if names is None or not names <= {GENERATED, *_recorded(folder)}:
        raise ValueError(f"--out {folder} holds something else than generated samples; name another folder")


def _recorded(folder: Path) -> list[str]:
    """Return the names of the files that were generated into a folder."""
    try:
        return list(json.loads((folder / GENERATED).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, TypeError, KeyError):
        return []


def generate_clusters(
    run: Run,
    folder: Path,
    clusters: Sequence[int],
    n_samples: int,
    modalities: Sequence[str],
    *,
    draw: bool,
    seed: int,
    suffix: str = ".csv",
) -> None:
    """Write samples of clusters: ``MODALITY.csv`` or ``.parquet``, ``MODALITY/ID.png`` or ``MODALITY.npy``.

    Args:
        run: The run.
        folder: An empty folder.
        clusters: Their numbers, each once.
        n_samples: How many of each.
        modalities: Which to generate.
        draw: Draw from the likelihoods, instead of their means.
        seed: Seed of the draws.
        suffix: Of tables.
    """
    generator = torch.Generator().manual_seed(seed)
    clusters = list(dict.fromkeys(clusters))
    numbers = np.repeat(np.asarray(clusters), n_samples)
    width = len(str(n_samples - 1))
    ids = [f"c{cluster}-{i:0{width}}" for cluster in clusters for i in range(n_samples)]

    def parts() -> Iterator[tuple[list[str], dict[str, torch.Tensor], np.ndarray]]:
        rows = run.preprocessing.chunk_rows
        for start in range(0, len(ids), rows):
            chosen = torch.as_tensor(run.order[numbers[start : start + rows]])
            drawn = run.model.generate_from_prior(len(chosen), cluster=chosen, generator=generator)
            with torch.no_grad():
                decoded = run.model.decode(drawn, list(modalities))
            yield ids[start : start + rows], decoded, numbers[start : start + rows]

    _write(run, folder, modalities, parts(), draw, generator, suffix)
    _record(folder, clusters=[int(c) for c in clusters], samples=int(n_samples), draw=draw, seed=int(seed))


def translate_files(
    run: Run,
    folder: Path,
    files: Mapping[str, ModalityFile],
    modalities: Sequence[str],
    *,
    draw: bool,
    seed: int,
    suffix: str = ".csv",
) -> None:
    """Write modalities of the samples in files of others, as :func:`generate_clusters` does; ids stay.

    Latents are the means given the files, or with ``draw`` draws.
    """
    generator = torch.Generator().manual_seed(seed)
    with run.preprocessing.join(files) as store:

        def parts() -> Iterator[tuple[list[str], dict[str, torch.Tensor], None]]:
            for rows in store.batches(run.preprocessing.chunk_rows):
                data, given = run.preprocessing.dataset(rows), list(files)
                made = run.model.predict(data, given, list(modalities), return_mean=not draw, generator=generator)
                yield rows.ids, {name: values[:, 0] for name, values in made.items()}, None

        _write(run, folder, modalities, parts(), draw, generator, suffix)
    sources = {name: str(file.path) for name, file in files.items()}
    _record(folder, sources=sources, draw=draw, seed=int(seed))


def _record(folder: Path, **settings: Any) -> None:
    """Write what was generated into a folder, and by which settings."""
    files = sorted(path.name for path in folder.iterdir())
    text = json.dumps({"cmvae": __version__, **settings, "files": files}, indent=1)
    (folder / GENERATED).write_text(text + "\n", encoding="utf-8")


def _write(
    run: Run,
    folder: Path,
    modalities: Sequence[str],
    parts: Iterator[tuple[list[str], dict[str, torch.Tensor], Any]],
    draw: bool,
    generator: torch.Generator,
    suffix: str,
) -> None:
    with ExitStack() as stack:
        writers = {name: _writer(run, folder, name, suffix, stack) for name in dict.fromkeys(modalities)}
        for ids, decoded, numbers in parts:
            values = run.model.to_data(decoded, sample=draw, generator=generator)
            for name, write in writers.items():
                write(ids, run.preprocessing.codecs[name].decode(values[name].cpu().numpy(), draw), numbers)


Writer = Callable[[list[str], Any, Any], None]


def _writer(run: Run, folder: Path, name: str, suffix: str, stack: ExitStack) -> Writer:
    """Return what writes parts of a modality: ids, rows, and clusters or None."""
    kind = run.preprocessing.codecs[name].type
    if kind in ("table", "text", "omics"):
        append = stack.enter_context(open_rows(folder / f"{name}{suffix}"))

        def write_rows(ids: list[str], rows: Any, numbers: Any) -> None:
            own = {"id": ids} if numbers is None else {"id": ids, "cluster": numbers}
            for place, (column, values) in enumerate(own.items()):
                rows.insert(place, _free(column, rows), values)
            append(rows)

        return write_rows
    if kind == "images":
        (folder / name).mkdir()

        def write_images(ids: list[str], rows: Any, numbers: Any) -> None:
            for sample, pixels in zip(ids, rows, strict=True):
                path = folder / name / f"{sample.replace('/', '_')}.png"
                if path.exists():
                    raise ValueError(f"modality {name!r}: the id {sample!r} would name the image of another sample")
                write_image(path, pixels)

        return write_images
    arrays: list[np.ndarray] = []
    stack.callback(lambda: np.save(folder / f"{name}.npy", np.concatenate(arrays)) if arrays else None)
    return lambda ids, rows, numbers: arrays.append(rows)


def _free(column: str, rows: Any) -> str:
    """Return a name that no column of the data has."""
    while column in rows:
        column += "_"
    return column
