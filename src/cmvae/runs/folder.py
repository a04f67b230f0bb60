"""Run folders: what a run leaves, written as a whole or not at all, read where it is unharmed."""

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow

from cmvae._version import __version__
from cmvae.base import files
from cmvae.base.files import (
    PARTIAL,
    atomic_folder,
    atomic_write,
    drop,
    link_target,
    may_write_folder,
    moved_away,
    sole_writer,
    sweep,
    taking_place,
)
from cmvae.base.reading import read_json
from cmvae.base.words import shortened
from cmvae.preprocessing import Preprocessing
from cmvae.runs.checks import (
    check_shapes,
    read_epochs,
    read_index,
    read_latents,
    read_metrics,
    read_samples,
)
from cmvae.runs.config import RunConfig
from cmvae.runs.manifest import (
    MANIFEST,
    VERSION,
    Manifest,
    digest,
    read_manifest,
    record_files,
    write_manifest,
)
from cmvae.runs.names import NAMES, read_names, write_names
from cmvae.runs.record import RunRecord
from cmvae.runs.reference import FitReference

if TYPE_CHECKING:
    from cmvae.runs.run import Run

CONFIG, PREPROCESSING, METRICS = "config.yaml", "preprocessing.json", "metrics.json"
SAMPLES, LOG, VERSIONS, MODEL = "clusters.csv", "log.csv", "versions.json", "model"
EXTRAS, INDEX = "estimator.json", "index.parquet"  # where the run is that of an estimator
LATENTS = "start.safetensors"  # where clusters started from several models
FIT = "fit.json"  # how well the training samples fit
PAGE, PROFILES = "report.html", "profiles.csv"
ON_REQUEST = (PAGE, PROFILES, NAMES)  # of no other run than that in the folder
DECODERS = (f"{MODEL}/diffusion.json", f"{MODEL}/diffusion.safetensors")
OPTIONAL = (EXTRAS, INDEX, LATENTS, FIT, *DECODERS)
OWN_FILES = (CONFIG, PREPROCESSING, METRICS, SAMPLES, LOG, VERSIONS)
CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"  # of any saved model
FILES = (*OWN_FILES, f"{MODEL}/{CONFIG_NAME}", f"{MODEL}/{WEIGHTS_NAME}")
TRAINING = "training"  # checkpoints, until the run is complete
REPLACED = "was replaced by another run while it was read: start again"
PACKAGES = ("torch", "lightning", "numpy", "scipy", "pandas", "scikit-learn")


def partial_folder(folder: Path) -> Path:
    """Return where a run is until it is complete: beside its folder.

    Raises:
        ValueError: For a folder that is not given by a name.
    """
    if not folder.name:
        raise ValueError(f"a run folder must be given by its name, got {str(folder)!r}")
    target = link_target(folder)
    return target.with_name(target.name + PARTIAL)


def may_write_run(folder: Path, *, overwrite: bool, resume: bool) -> Path:
    """Check that a run may be written, and return its partial folder.

    Nothing is made or changed, but what a writer that was killed had moved away is put back.

    Raises:
        ValueError: If the folder is a file, holds results or something else that may not be
            replaced, another process writes there, or there is nothing to resume.
    """
    partial = partial_folder(folder)
    if overwrite and resume:
        raise ValueError("overwrite and resume exclude each other")
    if link_target(folder).name.endswith(PARTIAL):
        raise ValueError(f"out: names that end in {PARTIAL} are for unfinished runs, got {folder}")
    if partial.exists() or moved_away(link_target(folder)):
        with sole_writer(link_target(folder)):
            _put_back(folder)
    check_target(folder, overwrite=overwrite, resume=resume)
    return partial


def check_target(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse to write a run where what is there now forbids it, as :func:`may_write_run` does.

    For writers that hold the folder: another may have written there since they asked.
    """
    partial = partial_folder(folder)
    if resume and not (partial / CONFIG).is_file():
        missing = partial / CONFIG
        raise ValueError(f"resume: no interrupted run to go on with: {missing} is missing")
    may_write_folder(folder, overwrite or resume, "the results of a run", _holds_run)
    if partial.exists() and not _is_interrupted(partial):
        what = "holds something else than an interrupted run, which would be written there"
        raise ValueError(f"{partial} {what}: move it away, or name another folder")
    if (partial / CONFIG).is_file() and not (overwrite or resume):
        raise ValueError(
            f"{partial} holds an interrupted run; pass resume=True to go on with it, "
            "overwrite=True to drop it"
        )


@contextmanager
def writing_run(folder: Path) -> Iterator[None]:
    """Keep other processes from writing a run's folder; ``ValueError`` where one does."""
    partial = partial_folder(folder)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with sole_writer(link_target(folder)):
        sweep(partial)
        yield


def _holds_run(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _is_interrupted(partial: Path) -> bool:
    if not partial.is_dir() or (_holds_run(partial) and not (partial / TRAINING).is_dir()):
        return False  # a complete run of that name is somebody's
    return (partial / CONFIG).is_file() or not any(partial.iterdir())


def put_back(folder: Path) -> None:
    """Put back what a writer that was killed had moved out of a run's folder, with a warning.

    Where the new run is in its place already, only what is no part of a run is.
    """
    if moved_away(link_target(folder)):
        with sole_writer(link_target(folder)):
            _put_back(folder)


def _put_back(folder: Path) -> None:
    files.put_back(link_target(folder), _keep_others, "the run")


def start_again(
    partial: Path, config: RunConfig, tables: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """Make a partial folder that holds the run's config, so that it can be resumed, and tables."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(partial) as temporary:
        _write_text(temporary / CONFIG, config.to_yaml())
        for name, table in (tables or {}).items():
            (temporary / name).parent.mkdir()
            table.to_csv(temporary / name, index=False)
    for old in moved_away(partial):  # of writers that were killed while they dropped it
        drop(old.parent)


def write_run(partial: Path, run: "Run") -> None:
    """Write the files of a run, the manifest last."""
    texts = {
        CONFIG: run.config.to_yaml(),
        PREPROCESSING: run.preprocessing.to_json() + "\n",
        METRICS: json.dumps(run.metrics, indent=1) + "\n",
        VERSIONS: json.dumps(versions_now(), indent=1) + "\n",
    }
    if run.extras:
        texts[EXTRAS] = json.dumps(run.extras, indent=1) + "\n"
    if run.reference is not None:
        texts[FIT] = json.dumps(run.reference.to_plain()) + "\n"
    for name, text in texts.items():
        _write_text(partial / name, text)
    tables = {SAMPLES: run.samples, LOG: run.log}
    if not len(run.samples) and (partial / SAMPLES).is_file():
        del tables[SAMPLES]  # they are many, and were written as they came
    for name, table in tables.items():
        with atomic_write(partial / name) as temporary:
            table.to_csv(temporary, index=False)
    if run.index is not None:
        with atomic_write(partial / INDEX) as temporary:
            _write_index(run.index, temporary)
    if run.latents:
        _write_latents(run.latents, partial / LATENTS)
    if run.names:
        write_names(partial, run.names)
    (run.refined or run.model).save_pretrained(partial / MODEL)
    write_manifest(partial, (*FILES, *OPTIONAL, *ON_REQUEST))


@contextmanager
def adding_files(folder: Path) -> Iterator[None]:
    """Hold a run while files are made that it has on request, then record their hashes.

    Raises:
        ValueError: If another process writes the run.
    """
    may_lock = os.access(link_target(folder).parent, os.W_OK)  # or nobody can replace it
    with writing_run(folder) if may_lock else nullcontext():
        yield
        record_files(folder, ON_REQUEST)


def install(partial: Path, folder: Path) -> None:
    """Put a complete run in its place; a run that was there before is whole until then.

    Of the folder before, what is no part of the run stays, but for its page, its profiles and the
    names of its clusters. Checkpoints go last: where
    the run cannot be put there, it can be resumed.
    """
    folder = link_target(folder)
    with taking_place(partial, folder) as old:
        shutil.rmtree(folder / TRAINING, ignore_errors=True)
        _keep_others(old, folder)


def _keep_others(old: Path, folder: Path) -> list[str]:
    """Move what is no part of a run from the folder of the run before to that of the new one.

    Returns:
        Names of what is in the new one already.
    """
    own = {MANIFEST, MODEL, TRAINING, *ON_REQUEST, *OPTIONAL, *FILES}
    others = [path for path in old.iterdir() if path.name not in own] if old.exists() else []
    left = [path.name for path in others if (folder / path.name).exists()]
    for path in others:
        if path.name not in left:
            path.rename(folder / path.name)
    return left


def save_run(folder: Path, run: "Run", overwrite: bool) -> None:
    """Write a run that is complete already into its folder.

    Raises:
        ValueError: If the folder holds something that may not be replaced.
    """
    partial = may_write_run(folder, overwrite=overwrite, resume=False)
    with writing_run(folder):
        check_target(folder, overwrite=overwrite, resume=False)
        try:
            start_again(partial, run.config)
            (partial / TRAINING).mkdir()  # until the run is in its place
            write_run(partial, run)
            install(partial, folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def read_run(folder: str | Path) -> "Run":
    """Read a run; arguments and errors as of :func:`read_record`."""
    return load_model(Path(folder), read_record(Path(folder)))


def load_model(folder: Path, record: RunRecord, *, refine: bool = False) -> "Run":
    """Read the model of a run whose record was read, with ``refine`` its diffusion decoders too.

    Raises:
        ImportError: For these, if diffusers is not installed.
        ValueError: If it is damaged, naming the file, or the run was replaced since.
    """
    from cmvae.diffusion.dcmvae import DCMVAE
    from cmvae.models.cmvae import CMVAE
    from cmvae.runs.run import Run

    refined = DCMVAE.from_pretrained(folder / MODEL) if refine else None
    model = CMVAE.from_pretrained(folder / MODEL) if refined is None else refined.cmvae
    if not bool(model.active_clusters[: model.n_clusters].all()):
        raise ValueError(f"{folder / MODEL}: its active clusters are not the first ones")
    check_same(folder, record)
    return Run(model=model, refined=refined, **vars(record))


def refinable(folder: Path) -> list[str]:
    """Return the modalities of a run that have diffusion decoders."""
    from cmvae.diffusion.storing import read_configs

    there = all((folder / name).is_file() for name in DECODERS)
    return list(read_configs(folder / MODEL)) if there else []


def check_same(folder: Path, record: RunRecord) -> None:
    """Refuse a folder that holds another run than the one that was read."""
    if read_metrics(folder / METRICS) != record.metrics:
        raise ValueError(f"{folder} {REPLACED}")


def read_record(folder: Path, *, with_samples: bool = True) -> RunRecord:
    """Read a run but for its model.

    Args:
        folder: The run folder.
        with_samples: Whether to read its samples too, which may be many.

    Raises:
        ValueError: If the folder holds none, one of another version, or files that are missing or
            altered, or that are replaced meanwhile.
    """
    manifest = _check_files(folder)
    place = {name: folder / name for name in (*OWN_FILES, *OPTIONAL)}
    there = {name for name in OPTIONAL if place[name].is_file()}
    config = RunConfig.read(place[CONFIG])
    codecs = read_json(place[PREPROCESSING])
    preprocessing = Preprocessing.from_plain(codecs, str(place[PREPROCESSING]))
    shapes = preprocessing.input_dims
    names = list(shapes)
    if unknown := [name for name in names if name not in config.modalities]:
        raise ValueError(f"{place[CONFIG]}: it does not name the modalities {unknown}")
    check_shapes(shapes, place[PREPROCESSING], folder / MODEL / CONFIG_NAME)
    metrics = read_metrics(place[METRICS])
    n = metrics["n_samples"]
    record = RunRecord(
        config=config,
        preprocessing=preprocessing,
        samples=read_samples(place[SAMPLES], metrics["sizes"], names)
        if with_samples
        else pd.DataFrame(),
        metrics=metrics,
        log=read_epochs(place[LOG]),
        extras=read_json(place[EXTRAS]) if EXTRAS in there else {},
        index=read_index(place[INDEX], n) if INDEX in there else None,
        names=read_names(folder, len(metrics["sizes"])),
        latents=read_latents(place[LATENTS], n) if LATENTS in there else (),
        reference=FitReference.read(place[FIT], names) if FIT in there else None,
    )
    if any(read_manifest(folder).files.get(name) != manifest.files[name] for name in FILES):
        raise ValueError(f"{folder} {REPLACED}")
    return record


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds no run."""
    if not folder.is_dir():
        left = [str(path) for path in moved_away(folder)]
        hint = f"; its writing was broken off, the run before is in {left[0]}" if left else ""
        raise ValueError(f"no such run folder: {folder}{hint}")
    if not (folder / MANIFEST).is_file():
        if (folder / CONFIG_NAME).is_file() and (folder / WEIGHTS_NAME).is_file():
            raise ValueError(
                f"{folder} holds a model alone, without preprocessing, rule and samples: "
                "CMVAE.from_pretrained reads it; CMVAEClusterer.save and cmvae fit keep the rest"
            )
        raise ValueError(f"{folder} is no run folder, or not complete: {MANIFEST} is missing")


def check_version(folder: Path, manifest: Manifest) -> None:
    """Refuse a run of another version."""
    if isinstance(manifest.version, bool) or manifest.version != VERSION:
        raise ValueError(
            f"{folder} is a run folder of version {shortened(repr(manifest.version))}; "
            f"this cmvae {__version__} reads version {VERSION}: {folder / CONFIG} repeats the run, "
            f"{folder / MODEL} holds its model"
        )


def _check_files(folder: Path) -> Manifest:
    """Return the manifest of a folder; refuse one that holds no whole run of this version."""
    check_folder(folder)
    manifest = read_manifest(folder)
    hashes = manifest.files
    check_version(folder, manifest)
    present = [own for own in OPTIONAL if own in hashes or (folder / own).is_file()]
    for name in (*FILES, *present):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: the file is missing from the run folder")
        if name not in hashes:
            raise ValueError(f"{folder / MANIFEST} is damaged: it does not name {name}")
        if digest(folder / name) != hashes[name]:
            raise ValueError(f"{folder / name}: the file was altered since the run was written")
    return manifest


def _write_latents(latents: Sequence[np.ndarray], path: Path) -> None:
    from safetensors.numpy import save_file

    with atomic_write(path) as temporary:
        save_file({str(place): means for place, means in enumerate(latents)}, temporary)


def _write_index(index: pd.Index, path: Path) -> None:
    try:
        pd.DataFrame({"row": range(len(index))}, index).to_parquet(path)
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        raise ValueError(f"an index of {index.dtype} cannot be kept: {error}") from None


def versions_now() -> dict[str, str]:
    """Return the versions of Python and of what a run's figures depend on."""
    versions = {"python": platform.python_version(), "cmvae": __version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # it came by another way than a package
            versions[name] = "unknown"
    return versions


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
