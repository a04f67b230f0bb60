"""Coherence: whether what a model generates shows the class that it should, judged by classifiers.

For a sample (x_1..x_M) of class y and a subset S of its modalities, x̂_n is one draw of modality n
∉ S given x_S; the conditional coherence is the share of samples whose x̂_n a classifier of modality
n gives the class y (Shi et al., "Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep
Generative Models", 2019). Draws are of the latents, not their means, as in Palumbo et al. (2024);
decoders give their location, not a draw. No share can be expected to exceed what the same
classifiers reach on real samples, :func:`real_coherence`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

from cmvae.base.arguments import positive_int
from cmvae.metrics.reading import batches, check_held, class_labels, data_of, restrict
from cmvae.metrics.subsets import choose_subsets, subset_name
from cmvae.models.inference import evaluating

Classifier = Callable[[Tensor], Tensor]


class GenerativeModel(Protocol):
    """What coherence needs of a model; see :class:`cmvae.CMVAE` for the members."""

    @property
    def modalities(self) -> Sequence[str]:
        """The names of the modalities."""

    def predict(
        self, inputs: Any, cond_mod: Any, gen_mod: Any, *, generator: Generator | None
    ) -> dict[str, Tensor]:
        """Generate modalities from modalities: {modality: (n_data, 1, *input shape)}."""

    def generate_from_prior(self, n_samples: int, *, generator: Generator | None) -> Any:
        """Draw latents from the prior, n_samples of them."""

    def decode(self, embedding: Any) -> dict[str, Tensor]:
        """Decode such latents: {modality: (n_samples, *input shape)}."""


@dataclass(frozen=True)
class RealCoherence:
    """What classifiers see in real samples: the ceiling of every coherence.

    Attributes:
        accuracy: Modality to the share of its samples that get their label, in [0, 1].
        agreement: Share of the samples with every modality observed for which all classifiers see
            the same class, in [0, 1]; None where there are none.
        n_samples: Modality to how many samples have it observed.
    """

    accuracy: dict[str, float]
    agreement: float | None
    n_samples: dict[str, int]

    @property
    def mean_accuracy(self) -> float:
        """The accuracy averaged over modalities: the ceiling of the conditional coherence."""
        return sum(self.accuracy.values()) / len(self.accuracy)


@dataclass(frozen=True)
class ConditionalCoherence:
    """Shares of generated images that show their sample's class, all in [0, 1].

    Subsets are named ``'a+b'``; those for which no sample counts are left out.

    Attributes:
        by_size: Number of modalities conditioned on to the mean over subsets and targets, each pair
            of them counting alike.
        by_size_and_target: The same for each target modality alone.
        by_subset: Subset to target to share.
        self_generation: Modality to the share in its own reconstructions, conditioned on it alone.
        n_samples: Subset to how many samples have observed all of it: these count.
        n_left_out: Subset to how many have not.
        real: The ceiling: the same classifiers on the same data.
    """

    by_size: dict[int, float]
    by_size_and_target: dict[int, dict[str, float]]
    by_subset: dict[str, dict[str, float]]
    self_generation: dict[str, float]
    n_samples: dict[str, int]
    n_left_out: dict[str, int]
    real: RealCoherence

    @property
    def leave_one_out(self) -> float | None:
        """The paper's figure: the mean over targets, given all others. None where none counts."""
        return self.by_size.get(len(self.real.accuracy) - 1)


@torch.no_grad()
def conditional_coherence(
    model: GenerativeModel,
    data: Any,
    classifiers: Mapping[str, Classifier],
    *,
    batch_size: int = 512,
    max_subsets: int | None = None,
    generator: Generator | None = None,
) -> ConditionalCoherence:
    """Score generation from 1 to M − 1 modalities, with one draw for each sample and subset.

    The model and the classifiers are left as they are; networks run in eval mode.

    Args:
        model: A CMVAE, or anything with the members of :class:`GenerativeModel`.
        data: n samples with labels, whole numbers from 0: anything that
            :func:`cmvae.metrics.reading.batches` takes. A sample that lacks a modality of a subset
            is left out of that subset.
        classifiers: Modality, every one of the model, to a module or function that gives logits
            (B, classes) for images (B, *input shape) as the data have them.
        batch_size: Samples generated at a time.
        max_subsets: At most so many of each size, drawn at random; None = all.
        generator: Source of randomness, on the model's device.

    Raises:
        KeyError: For a modality that has no classifier or that the data lack.
        ValueError: For fewer than two modalities, no samples, no labels or other than classes.
    """
    names = _modalities(model, classifiers)
    sizes = range(1, len(names))
    subsets = [s for size in sizes for s in choose_subsets(names, size, max_subsets, generator)]
    right: dict[tuple[str, ...], dict[str, int]] = {subset: defaultdict(int) for subset in subsets}
    counted, n = dict.fromkeys(subsets, 0), 0
    for batch in batches(data, batch_size):
        check_held("data", names, batch["data"])
        labels = class_labels(batch)
        n += len(labels)
        for subset in subsets:
            inputs, rows = restrict(batch, subset)
            counted[subset] += len(rows)
            targets = [m for m in names if m not in subset or len(subset) == 1]
            if len(rows):
                found = model.predict(inputs, list(subset), targets, generator=generator)
                for m, values in found.items():
                    classes = _classify(classifiers[m], data_of(model, m, values[:, 0]))
                    right[subset][m] += int((classes == labels[rows]).sum())
    seen = [s for s in subsets if counted[s]]
    shares = {s: {m: hits / counted[s] for m, hits in right[s].items()} for s in seen}
    return _summary(shares, counted, n, real_coherence(data, classifiers, batch_size=batch_size))


@torch.no_grad()
def unconditional_coherence(
    model: GenerativeModel,
    n_samples: int,
    classifiers: Mapping[str, Classifier],
    *,
    batch_size: int = 512,
    generator: Generator | None = None,
) -> float:
    """Return the share of the prior's samples, in [0, 1], in which all classifiers see one class.

    Its ceiling is the ``agreement`` of :func:`real_coherence`. The other arguments and the errors
    are those of :func:`conditional_coherence`.
    """
    names = _modalities(model, classifiers)
    size, agreeing = positive_int("batch_size", batch_size), 0
    for start in range(0, positive_int("n_samples", n_samples), size):
        drawn = model.generate_from_prior(min(size, n_samples - start), generator=generator)
        images = {m: data_of(model, m, values) for m, values in model.decode(drawn).items()}
        classes = torch.stack([_classify(classifiers[m], images[m]) for m in names])
        agreeing += int((classes == classes[0]).all(0).sum())
    return agreeing / n_samples


@torch.no_grad()
def real_coherence(
    data: Any, classifiers: Mapping[str, Classifier], *, batch_size: int = 512
) -> RealCoherence:
    """Score the classifiers on real samples: how often each is right, and how often all agree.

    The modalities that have a classifier count. Data and errors are otherwise those of
    :func:`conditional_coherence`; a modality that no sample has observed is a ``ValueError``.
    """
    if not classifiers:
        raise ValueError("classifiers must name a modality at least, got none")
    hits, counts = dict.fromkeys(classifiers, 0), dict.fromkeys(classifiers, 0)
    agreeing = whole = 0
    for batch in batches(data, batch_size):
        check_held("data", classifiers, batch["data"])
        labels = class_labels(batch)
        classes = torch.full((len(classifiers), len(labels)), -1)
        for i, (m, classifier) in enumerate(classifiers.items()):
            inputs, rows = restrict(batch, (m,))
            if len(rows):
                classes[i, rows] = _classify(classifier, inputs["data"][m])
            hits[m] += int((classes[i] == labels).sum())
            counts[m] += len(rows)
        complete = (classes >= 0).all(0)
        whole += int(complete.sum())
        agreeing += int(((classes == classes[0]).all(0) & complete).sum())
    unseen = [m for m, count in counts.items() if count == 0]
    if unseen:
        raise ValueError(f"data: no sample has observed {unseen}")
    accuracy = {m: hits[m] / counts[m] for m in hits}
    return RealCoherence(accuracy, agreeing / whole if whole else None, counts)


def _summary(
    shares: dict[tuple[str, ...], dict[str, float]],
    counted: dict[tuple[str, ...], int],
    n: int,
    real: RealCoherence,
) -> ConditionalCoherence:
    """Average shares {subset: {target: share}} by size, and by size and target."""
    cross = {s: {m: x for m, x in by.items() if m not in s} for s, by in shares.items()}
    pairs: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for subset, by in cross.items():
        for m, share in by.items():
            pairs[len(subset)][m].append(share)
    return ConditionalCoherence(
        by_size={size: _mean([*chain(*by.values())]) for size, by in pairs.items()},
        by_size_and_target={k: {m: _mean(x) for m, x in by.items()} for k, by in pairs.items()},
        by_subset={subset_name(s): by for s, by in cross.items()},
        self_generation={s[0]: by[s[0]] for s, by in shares.items() if len(s) == 1},
        n_samples={subset_name(s): count for s, count in counted.items()},
        n_left_out={subset_name(s): n - count for s, count in counted.items()},
        real=real,
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _modalities(model: GenerativeModel, classifiers: Mapping[str, Classifier]) -> tuple[str, ...]:
    """Return the modalities of a model, two at least, each of which has a classifier."""
    names = tuple(model.modalities)
    check_held("classifiers", names, classifiers)
    if len(names) < 2:
        raise ValueError(f"model: coherence takes two modalities at least, got {list(names)}")
    return names


def _classify(classifier: Classifier, images: Tensor) -> Tensor:
    """Return the class of each image, (B,) int64 on the CPU; a module judges in eval mode."""
    if not isinstance(classifier, nn.Module):
        return classifier(images).argmax(-1).cpu()
    like = next(classifier.parameters(), images)
    with evaluating(classifier):
        return classifier(images.to(like)).argmax(-1).cpu()
