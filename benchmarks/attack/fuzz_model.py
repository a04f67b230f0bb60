"""Odd calls of the model: every argument of its settings and members, inputs of every kind."""

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from judging import Case
from odd import VALUES
from torch import Tensor

from cmvae import CMVAE, CMVAEConfig, IncompleteDataset

SHAPES = {"a": (3,), "b": (4,), "c": (1, 8, 8), "d": (2,)}
SETTINGS = {
    "n_modalities": 4,
    "input_dims": SHAPES,
    "latent_dim": 2,
    "modalities_specific_dim": 2,
    "hidden_dims": (8,),
    "number_of_clusters": 3,
    "K": 2,
    "decoders_dist": {"a": "normal", "b": "bernoulli", "d": "poisson"},
}
ABOUT_INPUTS = ("modality", "modalities", "inputs", "sample", "data", "masks", "cells")
TAKE_INPUTS = (
    *("forward", "align", "encode", "predict", "impute", "predict_clusters", "prune_clusters"),
    *("compute_joint_nll", "fit_residuals"),
)
UNKNOWN = ("pc_zs", "loss", "loss_sum", "metrics")
CHANGE = ("prune_clusters", "fit_residuals")

Inputs = dict[str, Tensor]


def made_inputs(n: int = 8) -> Inputs:
    """Return data that fit the model."""
    torch.manual_seed(0)
    values = {m: torch.randn(n, *shape) for m, shape in SHAPES.items()}
    return {**values, "b": (values["b"] > 0).float(), "d": values["d"].abs().round()}


def _mask(inputs: Inputs, values: Any, kind: str = "masks", m: str = "a") -> Mapping[str, Any]:
    return {"data": inputs, kind: {m: values}}


def _put(x: Tensor, place: Any, value: float) -> Tensor:
    x = x.clone()
    x[place] = value
    return x


INPUTS: dict[str, Callable[[Inputs], Any]] = {
    "as they are": dict,
    "a alone": lambda i: {"a": i["a"]},
    "no modality": lambda _: {},
    "another name": lambda i: {"A": i["a"]},
    "an integer name": lambda i: {0: i["a"]},
    "the name data": lambda i: {"data": i["a"]},
    "a None": lambda i: {**i, "a": None},
    "no samples": lambda i: {m: x[:0] for m, x in i.items()},
    "one sample": lambda i: {m: x[:1] for m, x in i.items()},
    "lengths differ": lambda i: {**i, "a": i["a"][:-1]},
    "another shape": lambda i: {**i, "a": i["a"][:, :-1]},
    "more axes": lambda i: {**i, "a": i["a"][None]},
    "one axis": lambda i: {**i, "a": i["a"][:, 0]},
    "a scalar": lambda i: {**i, "a": torch.tensor(1.0)},
    "integers": lambda i: {**i, "a": i["a"].long()},
    "booleans": lambda i: {**i, "a": i["a"] > 0},
    "double": lambda i: {m: x.double() for m, x in i.items()},
    "half": lambda i: {m: x.half() for m, x in i.items()},
    "complex": lambda i: {**i, "a": i["a"] + 1j},
    "sparse": lambda i: {**i, "a": i["a"].to_sparse()},
    "quantized": lambda i: {**i, "a": torch.quantize_per_tensor(i["a"], 0.1, 0, torch.qint8)},
    "nested": lambda i: {**i, "a": torch.nested.nested_tensor(list(i["a"]), layout=torch.jagged)},
    "on the meta device": lambda i: {**i, "a": i["a"].to("meta")},
    "with gradients": lambda i: {**i, "a": i["a"].clone().requires_grad_()},
    "arrays": lambda i: {m: x.numpy() for m, x in i.items()},
    "objects": lambda i: {**i, "a": i["a"].numpy().astype(object)},
    "strings": lambda i: {**i, "a": i["a"].numpy().astype(str)},
    "lists": lambda i: {m: x.tolist() for m, x in i.items()},
    "ragged lists": lambda i: {**i, "a": [[1.0, 2.0, 3.0], [1.0]] * 4},
    "NaN": lambda i: {**i, "a": _put(i["a"], (2, 1), float("nan"))},
    "infinity": lambda i: {**i, "c": _put(i["c"], 3, float("inf"))},
    "1e30": lambda i: {**i, "a": i["a"] * 1e30},
    "1e300": lambda i: {**i, "a": i["a"].double() * 1e300},
    "1e-40": lambda i: {**i, "a": i["a"] * 1e-40},
    "no share": lambda i: {**i, "b": i["b"] + 7},
    "negative counts": lambda i: {**i, "d": i["d"] - 5},
    "counts of 1e30": lambda i: {**i, "d": i["d"] * 1e30},
    "half a count": lambda i: {**i, "d": i["d"] + 0.5},
    "no mask true": lambda i: {"data": i, "masks": {m: torch.zeros(8) for m in i}},
    "a masked away": lambda i: _mask(i, torch.zeros(8, dtype=torch.bool)),
    "a mask of integers": lambda i: _mask(i, torch.arange(8) % 2),
    "a mask of numbers": lambda i: _mask(i, torch.arange(8)),
    "a mask of NaN": lambda i: _mask(i, torch.full((8,), float("nan"))),
    "a mask too short": lambda i: _mask(i, torch.ones(7, dtype=torch.bool)),
    "a mask of two axes": lambda i: _mask(i, torch.ones(8, 3, dtype=torch.bool)),
    "a mask None": lambda i: _mask(i, None),
    "a mask of strings": lambda i: _mask(i, ["x"] * 8),
    "a mask of another": lambda i: _mask(i, torch.ones(8), "masks", "z"),
    "a mask without data": lambda i: {"data": {"b": i["b"]}, "masks": {"a": torch.ones(8)}},
    "masks no mapping": lambda i: {"data": i, "masks": torch.ones(8)},
    "masks None": lambda i: {"data": i, "masks": None, "cells": None},
    "cells": lambda i: _mask(i, i["a"] > 0, "cells"),
    "cells of another shape": lambda i: _mask(i, torch.ones(8, 2), "cells"),
    "cells of numbers": lambda i: _mask(i, i["a"], "cells"),
    "cells of an image": lambda i: _mask(i, i["c"] > 0, "cells", "c"),
    "no cell": lambda i: {"data": i, "cells": {m: torch.zeros(x.shape) for m, x in i.items()}},
    "NaN where masked": lambda i: _mask(
        {**i, "a": _put(i["a"], 0, float("nan"))}, torch.arange(8) > 0
    ),
    "a dataset": lambda i: IncompleteDataset(i, {"a": torch.arange(8) % 2}),
    "a stream": lambda i: iter([i]),
    "a list": lambda i: [i, i],
    "a tensor": lambda i: i["a"],
    **{name: lambda _, make=make: make() for name, make in VALUES.items()},
}


def cases() -> Iterator[Case]:
    """Yield all that there is to try."""
    torch.manual_seed(0)
    model, inputs = CMVAE(CMVAEConfig(**SETTINGS)).eval(), made_inputs()
    for field in CMVAEConfig.model_fields:
        for name, make in VALUES.items():
            yield _of_setting(field, name, make)
    for member in TAKE_INPUTS:
        for name, make in INPUTS.items():
            yield _of_inputs(model, member, name, make, inputs)
    for member, argument, needed in _members(model, inputs):
        for name, make in VALUES.items():
            if argument != "steps" or name not in ("10**9", "10**12"):  # which takes its time
                yield _of_argument(model, member, argument, needed, name, make)
    yield from _embeddings(model, inputs)


def _of_setting(field: str, name: str, make: Callable[[], Any]) -> Case:
    def call() -> Any:
        model = CMVAE(CMVAEConfig(**{**SETTINGS, field: make()}))
        return model(made_inputs()) if field not in ("input_dims", "n_modalities") else None

    names = (field, "modality", "encoders", "decoders", "networks", "input_dims", "latent")
    return Case("CMVAEConfig()", f"{field}={name}", call, names, no_nan)


def _of_inputs(
    model: CMVAE, member: str, name: str, make: Callable[[Inputs], Any], inputs: Inputs
) -> Case:
    few: dict[str, Any] = {"K": 4} if member == "compute_joint_nll" else {}

    def call() -> Any:
        return getattr(own_of(model, member), member)(make(inputs), **few)

    return Case(member, name, call, ABOUT_INPUTS, no_nan, _state(model, member))


def own_of(model: CMVAE, member: str) -> CMVAE:
    """Return the model, or a copy of it for what changes it."""
    if member not in CHANGE:
        return model
    made = CMVAE(model.model_config.replace(residual_factors=2))
    made.load_state_dict(model.state_dict(), strict=False)
    return made


def _state(model: CMVAE, member: str) -> Callable[[], Any] | None:
    def state() -> Any:
        values = {name: own.sum().item() for name, own in model.state_dict().items()}
        return values, [own.training for own in model.modules()], model.model_config.to_json()

    return None if member in CHANGE else state


def _members(model: CMVAE, inputs: Inputs) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield members, each of their arguments, and what they need beside it."""
    drawn = model.encode(inputs)
    made = model.decode(drawn)
    first: dict[str, dict[str, Any]] = {
        **{member: {"inputs": inputs} for member in TAKE_INPUTS},
        "compute_joint_nll": {"inputs": inputs, "K": 4},
        "prune_clusters": {"train_data": inputs},
        "fit_residuals": {"train_data": inputs},
        "decode": {"embedding": drawn},
        "to_data": {"reconstructions": made},
        "generate_from_prior": {"n_samples": 3},
        "save_pretrained": {},
        "from_pretrained": {"pretrained_model_name_or_path": "no such folder"},
    }
    for member, needed in first.items():
        for argument in inspect.signature(getattr(CMVAE, member)).parameters:
            if argument not in ("self", "inputs", "train_data"):
                yield member, argument, needed
    yield "cluster_centers", "cluster_centers", {}


def _of_argument(
    model: CMVAE,
    member: str,
    argument: str,
    needed: dict[str, Any],
    name: str,
    make: Callable[[], Any],
) -> Case:
    def call() -> Any:
        value = make()
        if member == "cluster_centers":
            own_of(model, "prune_clusters").cluster_centers = value
            return None
        if member == "save_pretrained":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / value if isinstance(value, str | Path) else value
                return model.save_pretrained(path)
        return getattr(own_of(model, member), member)(**{**needed, argument: value})

    aliases = {
        "pretrained_model_name_or_path": ("folder", "no such file", "path"),
        "save_directory": ("folder",),
        "revision": ("no such file",),
        "encoders": ("no such file",),
        "decoders": ("no such file",),
        "decoders_dist": ("no such file",),
    }
    names = (argument, *aliases.get(argument, ()))
    state = _state(model, "prune_clusters" if member == "cluster_centers" else member)
    return Case(member, f"{argument}={name}", call, names, no_nan, state)


def _embeddings(model: CMVAE, inputs: Inputs) -> Iterator[Case]:
    """Yield embeddings and reconstructions that are wrong in one part."""
    drawn = model.encode(inputs)
    made = dict(model.decode(drawn))
    for name, make in VALUES.items():

        def of_z(make: Callable[[], Any] = make) -> Any:
            return model.decode({**drawn, "z": make()})

        def of_private(make: Callable[[], Any] = make) -> Any:
            return model.decode({**drawn, "modalities_z": make()})

        def of_one(make: Callable[[], Any] = make) -> Any:
            return model.decode({**drawn, "modalities_z": {**drawn.modalities_z, "a": make()}})

        def of_data(make: Callable[[], Any] = make) -> Any:
            return model.to_data({**made, "b": make()}, sample=True)

        yield Case("decode", f"z={name}", of_z, ("z",), no_nan)
        yield Case("decode", f"modalities_z={name}", of_private, ("modalities_z",), no_nan)
        yield Case("decode", f"modalities_z['a']={name}", of_one, ("modalities_z",), no_nan)
        yield Case("to_data", f"'b'={name}", of_data, ("reconstructions", "'b'"), no_nan)


def no_nan(returned: Any) -> str:
    """Say where NaN comes back, but in what may be unknown or stops a training by its name."""
    if isinstance(returned, Mapping):
        found = [no_nan(own) for name, own in returned.items() if name not in UNKNOWN]
        return next(filter(None, found), "")
    if not isinstance(returned, Tensor | float | np.ndarray):
        return ""
    values = torch.as_tensor(returned).detach()
    return "NaN comes back" if bool(torch.isnan(values).any()) else ""
