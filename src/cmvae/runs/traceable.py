"""A run as a module without checks: raw values in, clusters and fit out, for exporters."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cmvae.models.cmvae import CMVAE
from cmvae.models.inference import decode_latents, encode_observed
from cmvae.models.traceable import TraceableModel
from cmvae.networks.calling import check_statistics
from cmvae.preprocessing.covariates import CovariateCodec
from cmvae.preprocessing.traceable import Coded, TraceableCodec, is_finite, traceable_codec
from cmvae.runs.goodness import DRAWS
from cmvae.runs.reference import FitReference
from cmvae.runs.run import Run

SEED = 0
NOBODY = -1  # the cluster of what would be refused
OUTPUTS = {
    "cluster": f"the number of the cluster; {NOBODY}: of a sample that is refused",
    "probabilities": "those of all clusters",
    "embedding": "the mean of q(z|X)",
    "log_likelihood": "a bound of log p(X), in nats of coded features",
    "fit_percentile": "of the log-likelihood, among those of training, 0 to 100",
}
"""What comes out, and what it is; the last of runs alone."""


class ModelInput(TraceableCodec):
    """The numbers of a modality as a model takes them, (B, *shape) float32."""

    dtype = torch.float32

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, raw: Tensor) -> Coded:
        """Take them as they are; what is not finite is refused where it is observed."""
        finite = is_finite(raw)
        whole = finite.flatten(1).all(1)
        return Coded(raw.masked_fill(~finite, 0), torch.ones_like(whole), ~whole, None)


class Percentiles(nn.Module):
    """What :meth:`cmvae.runs.reference.FitReference.percentiles` returns, not rounded.

    Args:
        reference: The reference.
        names: The modalities, in the order of the model.
    """

    quantiles: Tensor
    patterns: Tensor

    def __init__(self, reference: FitReference, names: tuple[str, ...]) -> None:
        super().__init__()
        patterns = torch.zeros(len(reference.quantiles), len(names), dtype=torch.bool)
        for row, pattern in zip(patterns, reference.quantiles, strict=True):
            row[_places(pattern, names)] = True
        levels = np.array(list(reference.quantiles.values()))
        self.register_buffer("patterns", patterns)
        self.register_buffer("quantiles", torch.from_numpy(levels))

    def forward(self, scores: Tensor, observed: Tensor) -> Tensor:
        """Return percentiles (B,) of scores (B,) of samples with modalities (M, B)."""
        alike = (observed.T.unsqueeze(1) == self.patterns).all(-1)  # (B, patterns)
        own = self.quantiles.index_select(0, alike.int().argmax(1))
        last = own.shape[1] - 1
        # The same as numpy.interp: the last level that is not above the score.
        below = (own <= scores.unsqueeze(1)).sum(1, keepdim=True) - 1
        place = below.clamp(0, last - 1)
        low, high = own.gather(1, place), own.gather(1, place + 1)
        share = ((scores.unsqueeze(1) - low) / (high - low)).clamp(0, 1)
        share = torch.where(high > low, share, (below > place).to(share.dtype))
        found = ((place + share) * (100 / last)).squeeze(1)
        return found.masked_fill(~alike.any(1) | scores.isnan(), torch.nan)


def _places(pattern: str, names: tuple[str, ...]) -> list[int]:
    """Return the places of the modalities that a pattern joins by +, which names may hold too."""
    for place, name in enumerate(names):
        if pattern == name:
            return [place]
        if pattern.startswith(f"{name}+"):
            rest = _places(pattern[len(name) + 1 :], names[place + 1 :])
            if rest:
                return [place, *(place + 1 + other for other in rest)]
    return []


class TraceableRun(nn.Module):
    """Raw values of all modalities to what is said of each sample.

    Args:
        model: The model.
        codecs: Modality to what makes numbers of its raw values.
        rule: The assignment rule.
        n_clusters: How many of its clusters, the first ones, are told of.
        masked: The modalities of which it must be told which samples have them.
        told_cells: Those of which it must be told which cells are there.
        reference: What log-likelihoods training samples had.
        names: Names of clusters, by number.
        covariates: What was learned of the model's covariates; of a model alone none.
    """

    def __init__(
        self,
        model: CMVAE,
        codecs: Mapping[str, TraceableCodec],
        rule: str,
        n_clusters: int,
        masked: tuple[str, ...] = (),
        told_cells: tuple[str, ...] = (),
        reference: FitReference | None = None,
        names: Mapping[int, str] | None = None,
        covariates: Mapping[str, CovariateCodec] | None = None,
    ) -> None:
        super().__init__()
        self.inference = TraceableModel(model, rule, DRAWS, SEED)
        self.modalities = model.modalities
        self.codecs = nn.ModuleList(codecs.values())
        self.masked, self.told_cells = masked, told_cells
        self.n_clusters = n_clusters
        self.known = {n: (covariates or {}).get(n) for n in model.model_config.covariates}
        self.names = dict(names or {})
        self.names_in = list(self.example(1))
        self.percentiles = None
        self.chosen = [name for name in OUTPUTS if name != "fit_percentile"]
        if reference is not None and reference.quantiles:
            self.percentiles = Percentiles(reference, self.modalities)
            self.chosen = list(OUTPUTS)

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return what there is to say, by name, of B samples."""
        given = dict(zip(self.names_in, inputs, strict=True))
        coded = [
            self._coded(name, codec, given)
            for name, codec in zip(self.modalities, self.codecs, strict=True)
        ]
        observed = torch.stack([own.observed for own in coded])
        refused = torch.stack([own.refused & own.observed for own in coded]).any(0)
        known, unknown = self._covariates(given)
        refused = refused if unknown is None else refused | unknown
        cells = [own.cells for own in coded]
        values = [own.values for own in coded]
        found = self.inference(values, observed, cells, self.is_scored, known)
        shares = found.probabilities[:, : self.n_clusters]
        shares = shares / shares.sum(1, keepdim=True)
        bad = refused | ~observed.any(0) | shares.isnan().any(1)
        outputs = {
            "cluster": found.clusters.masked_fill(bad, NOBODY),
            "probabilities": shares.masked_fill(bad.unsqueeze(1), torch.nan),
            "embedding": found.embedding.masked_fill(bad.unsqueeze(1), torch.nan),
        }
        if found.log_likelihood is not None:
            outputs["log_likelihood"] = found.log_likelihood.masked_fill(bad, torch.nan)
        if found.log_likelihood is not None and self.percentiles is not None:
            sizes = torch.stack([_numbers(own) for own in coded]).sum(0).clamp_min(1)
            fits = self.percentiles(found.log_likelihood.double() / sizes, observed)
            outputs["fit_percentile"] = fits.masked_fill(bad, torch.nan)
        return {name: outputs[name] for name in self.chosen}

    def _covariates(self, given: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Return covariates as the model has them, (B, C), and which samples are refused for one.

        None for both of a model without.
        """
        if not self.known:
            return None, None
        sizes, columns, wrong = self.inference.model.model_config.covariates, [], []
        for name, codec in self.known.items():
            raw = given[f"covariate.{name}"].double()
            whole = (raw >= 0) & (raw < sizes[name]) & (raw == raw.round())
            fits = whole if sizes[name] > 1 else ~raw.isinf()
            wrong.append(~fits & ~raw.isnan())
            coded = raw if codec is None else (raw - codec.center) / codec.spread
            columns.append(coded.masked_fill(~fits, torch.nan).float())
        return torch.stack(columns, 1), torch.stack(wrong).any(0)

    def _coded(self, name: str, codec: Any, given: Mapping[str, Tensor]) -> Coded:
        """Return the numbers of a modality, with what is told of it."""
        coded: Coded = codec(given[name])
        if name in self.masked:
            coded = coded._replace(observed=coded.observed & given[f"{name}.observed"])
        if name in self.told_cells:
            cells = given[f"{name}.cells"] & coded.observed.unsqueeze(1)
            wrong = (cells & ~is_finite(given[name])).any(1)
            return Coded(coded.values.masked_fill(~cells, 0), cells.any(1), wrong, cells)
        return coded

    @property
    def is_scored(self) -> bool:
        """Whether log-likelihoods are needed, and with them the decoders."""
        return not {"log_likelihood", "fit_percentile"}.isdisjoint(self.chosen)

    def choose(self, outputs: Sequence[str]) -> None:
        """Leave out all outputs but some, and what only others need.

        Raises:
            ValueError: For one that there is not.
        """
        unknown = [name for name in outputs if name not in self.chosen]
        if unknown or not outputs:
            raise ValueError(f"outputs must be some of {self.chosen}, got {list(outputs)}")
        self.chosen = [name for name in self.chosen if name in outputs]

    def example(self, n: int) -> dict[str, Tensor]:
        """Return inputs of n samples, by name: zeros of which everything is there."""
        found: dict[str, Tensor] = {}
        for name, codec in zip(self.modalities, self.codecs, strict=True):
            assert isinstance(codec, TraceableCodec)
            found[name] = codec.example(n)
            if name in self.masked:
                found[f"{name}.observed"] = torch.ones(n, dtype=torch.bool)
            if name in self.told_cells:
                found[f"{name}.cells"] = torch.ones(n, *codec.shape, dtype=torch.bool)
        for name in self.known:
            found[f"covariate.{name}"] = torch.zeros(n, dtype=torch.float64)
        return found

    def description(self) -> dict[str, Any]:
        """Return what inputs and outputs are, as JSON can hold it."""
        by_name = dict(zip(self.modalities, self.codecs, strict=True))
        columns = {name: list(getattr(own, "columns", ())) for name, own in by_name.items()}
        columns |= {f"covariate.{n}": _column(n, own) for n, own in self.known.items()}
        inputs = [
            {
                "name": name,
                "shape": list(own.shape[1:]),
                "dtype": str(own.dtype).removeprefix("torch."),
                "columns": columns.get(name, []),
            }
            for name, own in self.example(1).items()
        ]
        outputs = [{"name": name, "what": OUTPUTS[name]} for name in self.chosen]
        clusters = {str(number): name for number, name in self.names.items()}
        return {
            "inputs": inputs,
            "outputs": outputs,
            "rule": self.inference.rule,
            "cluster_names": clusters,
        }

    def networks(self, n: int) -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
        """Yield each network that is needed, with what it is called and inputs of n samples."""
        model = self.inference.model
        for name, codec in zip(self.modalities, self.codecs, strict=True):
            assert isinstance(codec, TraceableCodec)
            coded = codec(codec.example(n))
            given = (coded.values,) if coded.cells is None else (coded.values, coded.cells)
            yield f"the encoder of modality {name!r}", _Encoding(model, name), given
            if not self.is_scored:
                continue
            config = model.model_config
            dim = model.latent_dim + config.private_dim(name) + sum(config.covariates.values())
            like = torch.zeros(n, dim, dtype=model.cluster_centers.dtype)
            yield f"the decoder of modality {name!r}", _Decoding(model, name), (like,)


def _column(name: str, codec: CovariateCodec | None) -> list[dict[str, Any]]:
    """Return what an input of a covariate is, as columns of tables are told of."""
    known = () if codec is None else codec.categories
    told = {"values": list(known), "codes": list(range(len(known)))} if known else {}
    return [{"name": name, **told}]


class _Encoding(nn.Module):
    """One encoder of a model."""

    def __init__(self, model: CMVAE, modality: str) -> None:
        super().__init__()
        self.model, self.modality = model, modality

    def forward(self, x: Tensor, cells: Tensor | None = None) -> tuple[Tensor, ...]:
        return encode_observed(self.model, self.modality, x, cells)


class _Decoding(nn.Module):
    """One decoder of a model."""

    def __init__(self, model: CMVAE, modality: str) -> None:
        super().__init__()
        self.model, self.modality = model, modality

    def forward(self, latents: Tensor) -> Tensor:
        return decode_latents(self.model, self.modality, latents)


def traceable_run(run: Run) -> TraceableRun:
    """Return the module of a run.

    Raises:
        ValueError: For a modality that cannot be exported, naming it.
    """
    codecs = {
        name: traceable_codec(codec, name) for name, codec in run.preprocessing.codecs.items()
    }
    images = [n for n, codec in run.preprocessing.codecs.items() if codec.content == "images"]
    masked = tuple(images) if len(codecs) > 1 else ()
    return TraceableRun(
        _plain(run.model),
        codecs,
        run.config.recipe.rule,
        run.model.n_clusters,
        masked,
        reference=run.reference,
        names=run.names,
        covariates=run.preprocessing.covariates,
    )


def traceable_model(model: CMVAE, rule: str) -> TraceableRun:
    """Return the module of a model, which takes the numbers that it was trained on.

    Raises:
        ValueError: For an unknown rule, or a model without input shapes.
    """
    shapes = {name: model.model_config.shape_of(name) for name in model.modalities}
    unknown = [name for name, shape in shapes.items() if shape is None]
    if unknown:
        raise ValueError(f"modalities {unknown} cannot be exported: the config has no input_dims")
    codecs: dict[str, TraceableCodec] = {
        name: ModelInput(tuple(shape)) for name, shape in shapes.items() if shape is not None
    }
    cells = tuple(name for name in model.model_config.missing_cells or ())
    masked = tuple(codecs) if len(codecs) > 1 else ()
    return TraceableRun(_plain(model), codecs, rule, len(model.active_clusters), masked, cells)


def _plain(model: CMVAE) -> CMVAE:
    """Return a copy of a model, on the CPU and in eval mode, that says the same of each sample.

    Raises:
        ValueError: For networks that look at the whole batch.
    """
    for kind, own in (("encoder", model.encoders), ("decoder", model.decoders)):
        for name in model.modalities:
            check_statistics(own[name], f"the {kind} of modality {name!r}")
    return copy.deepcopy(model).cpu().eval()


def _numbers(coded: Coded) -> Tensor:
    """Return how many numbers of a modality samples have, (B,) float64."""
    if coded.cells is not None:
        own = coded.cells.sum(1)
    else:
        own = torch.full_like(coded.observed, coded.values[0].numel(), dtype=torch.int64)
    return (own * coded.observed).double()
