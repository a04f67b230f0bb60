"""Agreement of a clustering with known labels, for all modalities and for subsets of them."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from cmvae.base.words import shown
from cmvae.metrics.reading import batches, restrict
from cmvae.metrics.subsets import choose_subsets, subset_name
from cmvae.models.assignment import assign, check_rule


def clustering_accuracy(labels: Any, clusters: Any) -> float:
    r"""Return the share of samples that are right when clusters are matched to labels one to one.

    .. math:: \mathrm{ACC} = \max_\sigma \frac1n \sum_i [\sigma(c_i) = y_i]

    over the injective maps σ from clusters to labels, or from labels to clusters where those are
    more; samples of what stays unmatched count as wrong (Yang et al., "Image clustering using local
    discriminant models and global integration", 2010). The matching is by Kuhn's Hungarian method.

    Args:
        labels: n numbers or strings: array, tensor, list or series.
        clusters: likewise. The number of different values may differ from that of the labels.

    Returns:
        A number in [0, 1]; 1 exactly for a renaming.

    Raises:
        TypeError: for values that are neither all numbers nor all strings.
        ValueError: for lengths that differ, no samples, other than one axis, or NaN.

    Example:
        >>> from cmvae.metrics import clustering_accuracy
        >>> clustering_accuracy(["cat", "cat", "dog", "dog"], [1, 1, 0, 2])
        0.75
    """
    return _accuracy(*_codes(labels, clusters))


def clustering_scores(labels: Any, clusters: Any) -> dict[str, float]:
    """Return the three usual scores; arguments and errors are :func:`clustering_accuracy`'s.

    Returns:
        ``'ACC'``, the accuracy of :func:`clustering_accuracy`, in [0, 1]; ``'NMI'``, the mutual
        information over the mean of the two entropies, in [0, 1]; ``'ARI'``, the Rand index
        adjusted for chance, in [−0.5, 1]. The latter two are scikit-learn's.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    codes = _codes(labels, clusters)
    nmi, ari = normalized_mutual_info_score(*codes), adjusted_rand_score(*codes)
    return {"ACC": _accuracy(*codes), "NMI": float(nmi), "ARI": float(ari)}


def clustering_by_subset(
    model: Any,
    data: Any,
    labels: Any,
    *,
    rule: str = "mean",
    batch_size: int = 512,
    max_subsets: int | None = None,
    generator: Generator | None = None,
) -> dict[str, dict[str, float]]:
    """Score the clusters that a model finds from each subset of the modalities: each alone, …, all.

    A sample counts for a subset if it has observed any of it, and is assigned by that. With the
    rules ``'mean'`` and ``'vote'`` every sample is encoded once, with others once for each subset.

    Args:
        model: Anything with the ``modalities`` and ``predict_clusters`` of :class:`cmvae.CMVAE`.
        data: n samples, anything that :func:`cmvae.metrics.reading.batches` takes.
        labels: n numbers or strings.
        rule: The rule of ``predict_clusters``.
        batch_size: Samples encoded at a time.
        max_subsets: At most so many of each size, drawn at random; None = all.
        generator: Source of randomness of that draw.

    Returns:
        ``'a'``, ``'a+b'``, … to the scores of :func:`clustering_scores` and ``'samples'``, how many
        count. Smaller subsets come first; one that no sample has observed any of is left out.

    Raises:
        TypeError: for labels that are neither all numbers nor all strings.
        ValueError: for labels of another length than the data, NaN among them, or an unknown rule.
        KeyError: for a modality that the data lack.
    """
    check_rule(rule)
    names, truth = tuple(model.modalities), as_categories(labels, "labels")
    sizes = range(1, len(names) + 1)
    subsets = [s for size in sizes for s in choose_subsets(names, size, max_subsets, generator)]
    members: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
    clusters: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
    start = 0
    for batch in batches(data, batch_size):
        found = model.predict_clusters(batch, rule=rule).pc_zs if rule in ("mean", "vote") else None
        for subset in subsets:
            inputs, rows = restrict(batch, subset, need="any")
            if len(rows):
                members[subset].append(rows + start)
                clusters[subset].append(_assign(model, inputs, rows, found, rule))
        start += len(batch["masks"][names[0]])
    if start != len(truth):
        raise ValueError(f"labels: expected {start}, one for each sample of data, got {len(truth)}")
    scores = {}
    for subset in filter(members.get, subsets):
        rows = torch.cat(members[subset])
        agreement = clustering_scores(truth[rows.numpy()], torch.cat(clusters[subset]))
        scores[subset_name(subset)] = {**agreement, "samples": len(rows)}
    return scores


def _assign(
    model: Any, inputs: Any, rows: Tensor, posteriors: dict[str, Tensor] | None, rule: str
) -> Tensor:
    """Return the clusters of some rows of a batch, (R,), from p(c|z_m) (B, C) or by encoding."""
    if posteriors is None:
        assigned: Tensor = model.predict_clusters(inputs, rule=rule).clusters
        return assigned.cpu()
    own = [posteriors[m] for m in inputs["data"]]
    chosen = torch.stack([values[rows.to(values.device)].cpu() for values in own])
    return assign(rule, chosen, torch.stack([inputs["masks"][m] for m in inputs["data"]]))[0].cpu()


def as_categories(values: Any, name: str) -> np.ndarray:
    """Return n numbers or strings as an array (n,) of a boolean, integer, floating or string dtype.

    Raises:
        TypeError: for values that are neither all numbers nor all strings.
        ValueError: for other than one axis, no values, or NaN.
    """
    values = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    try:  # lists are taken as they are, not made one type
        array = np.array(values, dtype=object if isinstance(values, list | tuple) else None)
    except ValueError as error:
        raise ValueError(f"{name}: expected one value per sample, got {error}") from None
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one value per sample, got shape {array.shape}")
    if len(array) == 0:
        raise ValueError(f"{name}: expected at least one sample, got none")
    if array.dtype.kind == "O":
        array = _from_objects(array.tolist(), name)
    if array.dtype.kind not in "biufUT":
        raise TypeError(f"{name}: expected numbers or strings, got dtype {array.dtype}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        first = int(np.isnan(array).argmax())
        raise ValueError(f"{name}: sample {first} is NaN; leave such samples out")
    return array


def _from_objects(values: list[Any], name: str) -> np.ndarray:
    """Return a list of Python objects as an array of strings or of numbers."""
    values = [v.item() if isinstance(v, Tensor) and v.ndim == 0 else v for v in values]
    if all(isinstance(value, str) for value in values):
        return np.array(values, dtype=np.str_)
    for value in values:
        if not isinstance(value, bool | int | float | np.number | np.bool_):
            raise TypeError(
                f"{name}: expected all numbers or all strings, got {shown(value)} among them"
            )
    return np.array(values)


def _codes(labels: Any, clusters: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and clusters as integers from 0, (n,) each."""
    classes, groups = as_categories(labels, "labels"), as_categories(clusters, "clusters")
    if len(classes) != len(groups):
        raise ValueError(f"labels and clusters differ in length: {len(classes)} and {len(groups)}")
    return np.unique(classes, return_inverse=True)[1], np.unique(groups, return_inverse=True)[1]


def _accuracy(classes: np.ndarray, groups: np.ndarray) -> float:
    """Return the accuracy of integer codes, (n,) each."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((classes.max() + 1, groups.max() + 1), dtype=np.int64)
    np.add.at(counts, (classes, groups), 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(classes))
