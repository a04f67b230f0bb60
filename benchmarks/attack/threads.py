"""Fits and predictions in threads, forks and other processes, compared with one after the other."""

import logging
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_estimator import fitted, made_data
from joblib import Parallel, delayed
from outcome import Outcome

from cmvae import CMVAE, CMVAEClusterer, CMVAEConfig, fit

PART = "threads and forks"
SECONDS = 120  # that a fork may take
TIMES = 3


def attack(share: float, work: Path, seed: int) -> Iterator[Outcome]:
    """Try each case so large a share of ``TIMES`` times over, once at least."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with chdir(work), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for turn in range(max(1, round(share * TIMES))):
            for of, case, fault in _faults(made_data(), seed + turn):
                yield Outcome(PART, of, f"{case}, seed {seed + turn}", fault)


def weights(model: CMVAE) -> torch.Tensor:
    """Return all that a model has learned, in a row."""
    return torch.cat([own.detach().double().flatten() for own in model.state_dict().values()])


def fit_estimator(data: Any, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Return weights and labels of an estimator."""
    clusterer = fitted(data, random_state=seed)
    return weights(clusterer.model_), clusterer.labels_


def build(data: Any, seed: int) -> CMVAE:
    """Return a model that is not yet trained."""
    dims = {name: own.shape[1] for name, own in data.items()}
    torch.manual_seed(seed)
    settings = {"latent_dim": 2, "modalities_specific_dim": 2, "hidden_dims": (8,)}
    return CMVAE(CMVAEConfig(n_modalities=len(dims), input_dims=dims, **settings))


def fit_model(data: Any, seed: int, model: CMVAE) -> tuple[torch.Tensor, np.ndarray]:
    """Return weights and labels of a model trained by :func:`cmvae.fit`."""
    inputs = {name: torch.from_numpy(own).float() for name, own in data.items()}
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    quiet |= {"enable_progress_bar": False, "enable_model_summary": False}
    fit(model, inputs, max_epochs=2, warmup_epochs=1, initial_clusters=2, seed=seed, **quiet)
    return weights(model), model.predict_clusters(inputs).clusters.numpy()


def same(one: Any, other: Any) -> str:
    """Say in what two fits differ, or nothing."""
    if not torch.equal(one[0], other[0]):
        return "other weights"
    return "" if np.array_equal(one[1], other[1]) else "other labels"


def _faults(data: Any, seed: int) -> Iterator[tuple[str, str, str]]:
    """Yield what was tried, how, and its fault."""
    seeds = [seed, seed + 1, seed, seed + 2]
    alone = {own: fit_estimator(data, own) for own in set(seeds)}
    for case, run in _ways(fit_estimator, data).items():
        found = [same(own, alone[s]) for s, own in zip(seeds, run(seeds), strict=True)]
        yield "fits of the estimator", case, next(filter(None, found), "")
    one = fit_model(data, seed, build(data, seed))
    models = [build(data, seed) for _ in seeds]
    with ThreadPoolExecutor(len(models)) as pool:
        found = [same(own, one) for own in pool.map(lambda m: fit_model(data, seed, m), models)]
    yield "fits of cmvae.fit", "threads", next(filter(None, found), "")
    in_fork = _in_fork(lambda: fit_model(data, seed, build(data, seed)))
    yield "fits of cmvae.fit", "a fork", in_fork
    yield from _of_predictions(data, seed)
    yield from _of_the_process(data, seed)


def _ways(run: Callable[..., Any], data: Any) -> dict[str, Callable[[list[int]], list[Any]]]:
    def in_threads(seeds: list[int]) -> list[Any]:
        with ThreadPoolExecutor(len(seeds)) as pool:
            return list(pool.map(lambda own: run(data, own), seeds))

    def by_joblib(backend: str) -> Callable[[list[int]], list[Any]]:
        jobs = 4 if backend == "threading" else 2
        parallel = Parallel(jobs, backend=backend)
        return lambda seeds: list(parallel(delayed(_alone)(run, data, own) for own in seeds))

    ways = {"threads": in_threads, "joblib's threads": by_joblib("threading")}
    return {**ways, "joblib's processes": by_joblib("loky")}


def _alone(run: Callable[..., Any], data: Any, seed: int) -> Any:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    return run(data, seed)


def _in_fork(run: Callable[[], Any]) -> str:
    """Run after a fit in this process also in a fork of it; say in what the results differ."""
    expected = run()
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def work() -> None:
        found = run()
        theirs.send((found[0].numpy(), np.asarray(found[1])))

    process = context.Process(target=work)
    process.start()
    theirs.close()
    try:
        if not ours.poll(SECONDS):
            return "it does not return"
        found = ours.recv()
    except EOFError:
        return "the fork died"
    finally:
        process.kill()
        process.join()
    return same((torch.from_numpy(found[0]), found[1]), expected)


def _of_predictions(data: Any, seed: int) -> Iterator[tuple[str, str, str]]:
    clusterer = fitted(data, random_state=seed)
    calls: dict[str, Callable[[], Any]] = {
        "predict_proba": lambda: clusterer.predict_proba(data),
        "transform": lambda: clusterer.transform(data),
        "score_samples": lambda: clusterer.score_samples(data),
        "sample": lambda: clusterer.sample(5)[1],
    }
    expected = {name: call() for name, call in calls.items()}
    before = warnings.filters[:]
    with ThreadPoolExecutor(8) as pool:
        names = list(calls) * 16
        found = list(pool.map(lambda name: calls[name](), names))
    other = [n for n, own in zip(names, found, strict=True) if not np.array_equal(own, expected[n])]
    yield "predictions", "8 threads at once", f"{set(other)} differ" if other else ""
    training = any(part.training for part in clusterer.model_.modules())
    yield "predictions", "modes after 8 threads", "a part trains" if training else ""
    changed = warnings.filters[:] != before
    yield "predictions", "filters after 8 threads", "filters of warnings differ" if changed else ""

    def of_fork() -> Any:
        return torch.from_numpy(clusterer.predict_proba(data)), clusterer.predict(data)

    yield "predictions", "a fork", _in_fork(of_fork)


def _of_the_process(data: Any, seed: int) -> Iterator[tuple[str, str, str]]:
    """Yield what a fit, and what is asked of it, must leave as it is for all threads."""
    clusterer = CMVAEClusterer(2, random_state=seed, max_epochs=1, hidden_dims=(8,), device="cpu")

    def use() -> None:
        clusterer.fit(data)
        clusterer.predict(data)
        clusterer.sample(3)
        clusterer.score_samples(data)
        clusterer.impute(data)

    def state() -> dict[str, Any]:
        notices = [logging.getLogger(n).level for n in ("lightning.pytorch", "cmvae", "")]
        return {
            "Python's generator": random.getstate(),
            "NumPy's generator": str(np.random.mtrand.get_state()),
            "PyTorch's generator": torch.get_rng_state().tolist(),
            "filters of warnings": list(warnings.filters),
            "levels of logs": notices,
            "threads": torch.get_num_threads(),
            "dtype": torch.get_default_dtype(),
            "gradients": torch.is_grad_enabled(),
            "algorithms": torch.are_deterministic_algorithms_enabled(),
            "number of threads left": threading.active_count(),
        }

    use()  # what is loaded late is loaded
    before = state()
    use()
    after = state()
    for name, own in before.items():
        yield "the process", name, "" if after[name] == own else "it differs afterwards"
