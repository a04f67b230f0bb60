"""Odd calls of the estimator: every argument, every member, tables of every kind."""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from judging import Case
from odd import TABLES, VALUES, Data

from cmvae import CMVAEClusterer

QUICK = {"max_epochs": 1, "latent_dim": 2, "private_dim": 2, "hidden_dims": (8,), "device": "cpu"}
ABOUT_DATA = ("modality", "modalities", "X", "column", "table", "samples", "index", "clusters")
TAKE_TABLES = (
    *("predict", "predict_proba", "transform", "score", "score_samples", "fit_percentiles"),
    "impute",
)


def made_data(n: int = 40) -> dict[str, np.ndarray]:
    """Return two tables of two clusters, {'a': (n, 5), 'b': (n, 4)}."""
    generator, cluster = np.random.default_rng(0), np.arange(n) % 2
    return {
        name: generator.normal(0, 3, (2, d))[cluster] + generator.normal(size=(n, d))
        for name, d in (("a", 5), ("b", 4))
    }


def fitted(data: Any, **settings: Any) -> CMVAEClusterer:
    """Return an estimator fitted for a moment."""
    return CMVAEClusterer(2, **{"random_state": 0, **QUICK, **settings}).fit(data)


def cases() -> Iterator[Case]:
    """Yield all that there is to try."""
    data = made_data()
    yield from _arguments(data)
    for name, make in TABLES.items():
        yield _of_fit(name, make, data)
    frames = {name: pd.DataFrame(own) for name, own in data.items()}
    models = {
        "arrays": (fitted(data), data),
        "frames": (fitted(frames), data),
        "one": (fitted(data["a"]), data),
    }
    for kind, (clusterer, own) in models.items():
        for member in TAKE_TABLES:
            for name, make in {**TABLES, **_values_as_tables()}.items():
                yield _of_member(clusterer, kind, member, name, make, own)
    yield from _others(models["arrays"][0])


def _values_as_tables() -> dict[str, Callable[[Data], Any]]:
    return {name: lambda _, make=make: make() for name, make in VALUES.items()}


def _arguments(data: Data) -> Iterator[Case]:
    for argument in inspect.signature(CMVAEClusterer).parameters:
        for name, make in VALUES.items():
            if _takes_long(argument, name):
                continue

            def call(argument: str = argument, make: Callable[[], Any] = make) -> Any:
                X: Any = data["a"] if argument == "modalities" else data
                settings = {"n_clusters": 2, "random_state": 0, **QUICK, argument: make()}
                return CMVAEClusterer(**settings).fit(X)

            said = f"{argument}={name}"
            names = (argument, "modality") if argument in ("kinds", "modalities") else (argument,)
            yield Case("CMVAEClusterer()", said, call, (*names, "n_samples"), _labels)


def _takes_long(argument: str, name: str) -> bool:
    """Tell what is allowed and asks for more than a moment: a day of epochs, or as many as auto."""
    return argument in ("max_epochs", "alignment_epochs") and name in ("10**9", "10**12", "'auto'")


def _of_fit(name: str, make: Callable[[Data], Any], data: Data) -> Case:
    return Case("fit", name, lambda: fitted(make(data)), ABOUT_DATA, _labels)


def _of_member(
    clusterer: CMVAEClusterer,
    kind: str,
    member: str,
    name: str,
    make: Callable[[Data], Any],
    data: Data,
) -> Case:
    def call() -> Any:
        return getattr(clusterer, member)(make(data))

    def state() -> Any:
        return {key: own.sum().item() for key, own in clusterer.model_.state_dict().items()}

    checks = {"predict": _clusters, "predict_proba": _shares, "transform": _finite}
    check = checks.get(member, _nothing)
    return Case(member, f"{name}, fitted to {kind}", call, ABOUT_DATA, check, state)


def _others(clusterer: CMVAEClusterer) -> Iterator[Case]:
    for name, make in VALUES.items():

        def sample(make: Callable[[], Any] = make) -> Any:
            return clusterer.sample(make())

        def of_cluster(make: Callable[[], Any] = make) -> Any:
            return clusterer.sample(2, cluster=make())

        def save(make: Callable[[], Any] = make) -> Any:
            with tempfile.TemporaryDirectory() as folder:
                value = make()
                inside = Path(folder) / value if isinstance(value, str | Path) else value
                return clusterer.save(inside)

        def overwrite(make: Callable[[], Any] = make) -> Any:
            with tempfile.TemporaryDirectory() as folder:
                return clusterer.save(Path(folder) / "run", overwrite=make())

        def load(make: Callable[[], Any] = make) -> Any:
            return CMVAEClusterer.load(make())

        def set_params(make: Callable[[], Any] = make) -> Any:
            return CMVAEClusterer().set_params(**{"beta": 1.0, "no such": make()})

        def unfitted(make: Callable[[], Any] = make) -> Any:
            return CMVAEClusterer().predict(make())

        yield Case("sample", f"n_samples={name}", sample, ("n_samples",))
        yield Case("sample", f"cluster={name}", of_cluster, ("cluster",))
        yield Case("save", f"directory={name}", save, ("directory", "folder", "run"))
        yield Case("save", f"overwrite={name}", overwrite, ("overwrite",))
        yield Case("load", f"directory={name}", load, ("directory", "folder", "run"))
        yield Case("set_params", f"no such={name}", set_params, ("no such",))
        yield Case("predict before fit", name, unfitted, ("not fitted",))


def _nothing(_: Any) -> str:
    return ""


def _labels(clusterer: CMVAEClusterer) -> str:
    return _clusters(clusterer.labels_)


def _clusters(labels: np.ndarray) -> str:
    whole = labels.dtype.kind == "i" and labels.min(initial=0) >= 0
    return "" if whole else f"labels are {labels.dtype}, from {labels.min()}"


def _shares(probabilities: np.ndarray) -> str:
    sums = np.abs(probabilities.sum(1) - 1)
    return "" if (sums < 1e-5).all() else f"probabilities sum to {1 + sums.max()}"


def _finite(values: np.ndarray) -> str:
    return "" if np.isfinite(values).all() else "NaN or infinity comes back"
