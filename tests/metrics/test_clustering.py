"""Scores of a clustering: against all matchings, and under what must not matter."""

import subprocess
import sys
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch

from cmvae import IncompleteDataset, ModelOutput, MultimodalBaseDataset
from cmvae.metrics import clustering_accuracy, clustering_by_subset, clustering_scores
from helpers import make_data, make_model


def best_of_all_matchings(labels, clusters):
    size = int(max(labels.max(), clusters.max())) + 1
    return max(
        float((np.array(names)[clusters] == labels).mean()) for names in permutations(range(size))
    )


@pytest.mark.parametrize(("n_labels", "n_clusters"), [(4, 4), (5, 2), (2, 5), (1, 4), (4, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_the_best_over_all_matchings(n_labels, n_clusters, seed):
    rng = np.random.default_rng(seed)
    labels, clusters = rng.integers(n_labels, size=40), rng.integers(n_clusters, size=40)
    assert clustering_accuracy(labels, clusters) == pytest.approx(
        best_of_all_matchings(labels, clusters)
    )


def test_a_renaming_scores_one():
    labels = np.repeat([0, 1, 2], [5, 3, 7])
    scores = clustering_scores(labels, np.array([17, -2, 4])[labels])
    assert list(scores) == ["ACC", "NMI", "ARI"]
    assert all(type(value) is float for value in scores.values())
    assert scores == pytest.approx({"ACC": 1.0, "NMI": 1.0, "ARI": 1.0})


def test_splitting_a_class_costs_the_smaller_part():
    labels = [0] * 10 + [1] * 10
    assert clustering_accuracy(labels, [0] * 10 + [1] * 6 + [2] * 4) == 16 / 20


def test_one_cluster_for_all_is_the_largest_class():
    scores = clustering_scores([0, 0, 0, 1, 2], [9] * 5)
    assert scores == pytest.approx({"ACC": 3 / 5, "NMI": 0.0, "ARI": 0.0})


def test_scores_of_a_case_done_by_hand():
    # Table [[2, 1], [0, 3]]: 2 + 3 of 6 are right; pairs: 4 together in both, 6 by label, 7 by
    # cluster, 15.
    scores = clustering_scores([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1])
    assert scores["ACC"] == pytest.approx(5 / 6)
    assert scores["ARI"] == pytest.approx((4 - 6 * 7 / 15) / ((6 + 7) / 2 - 6 * 7 / 15))
    information = (2 * np.log(2) + np.log(0.5) + 3 * np.log(1.5)) / 6
    entropies = np.log(2) + (np.log(3) / 3 + 2 * np.log(1.5) / 3)
    assert scores["NMI"] == pytest.approx(2 * information / entropies)


@pytest.mark.parametrize(
    "kind",
    [
        list,
        torch.tensor,
        lambda x: torch.tensor(x, dtype=torch.float32, requires_grad=True),
        pd.Series,
        lambda x: [str(i) for i in x],
        lambda x: np.array([str(i) for i in x]),
        lambda x: pd.Series([str(i) for i in x]),
        lambda x: pd.Categorical([str(i) for i in x]),
        lambda x: list(torch.tensor(x)),
        lambda x: list(np.array(x)),
    ],
)
def test_the_kind_of_container_does_not_matter(kind):
    labels, clusters = [3, 3, 11, 11, 2, 2, 2], [0, 1, 1, 1, 2, 2, 0]
    expected = clustering_scores(labels, clusters)
    assert clustering_scores(kind(labels), clusters) == expected
    assert clustering_scores(labels, kind(clusters)) == expected


@pytest.mark.parametrize(
    ("labels", "clusters", "error", "message"),
    [
        ([0, 1, 2], [0, 1], ValueError, "labels and clusters differ in length: 3 and 2"),
        ([], [], ValueError, "labels: expected at least one sample, got none"),
        (
            [0, 1],
            np.zeros((2, 1)),
            ValueError,
            r"clusters: expected one value per sample, got shape \(2, 1\)",
        ),
        (
            [[0], [1, 2]],
            [0, 1],
            TypeError,
            r"labels: expected all numbers or all strings, got \[0\]",
        ),
        (3, [0], ValueError, r"labels: expected one value per sample, got shape \(\)"),
        ([0.0, float("nan")], [0, 1], ValueError, "labels: sample 1 is NaN"),
        ([0, "1"], [0, 1], TypeError, "labels: expected all numbers or all strings, got '1'"),
        (["a", None], [0, 1], TypeError, "labels: expected all numbers or all strings, got"),
        (
            [0, 1],
            np.array([0, 1j]),
            TypeError,
            "clusters: expected numbers or strings, got dtype complex128",
        ),
    ],
)
def test_bad_input_is_refused(labels, clusters, error, message):
    for score in (clustering_accuracy, clustering_scores):
        with pytest.raises(error, match=message):
            score(labels, clusters)


class Clusterer:
    """Gives p(c|z_m) as the data hold it."""

    modalities = ("a", "b", "c")

    def __init__(self):
        self.rows = []

    def predict_clusters(self, inputs, *, rule):
        self.rows.append(len(next(iter(inputs["data"].values()))))
        points = {
            m: x.masked_fill(~inputs["masks"][m][:, None], float("nan"))
            for m, x in inputs["data"].items()
        }
        return ModelOutput(pc_zs=points)


def posteriors(clusters, n_clusters=5, sure=0.9):
    """Return p(c|z_m), (n, C), with most of it on the clusters."""
    one_hot = torch.nn.functional.one_hot(torch.as_tensor(clusters), n_clusters).double()
    return one_hot * sure + (1 - sure) / n_clusters


def test_every_subset_is_scored_with_each_sample_encoded_once():
    labels = torch.arange(20) % 4
    right, wrong = labels, torch.zeros(20, dtype=torch.int64)
    data = {"a": posteriors(right), "b": posteriors(wrong, sure=0.5), "c": posteriors(right)}
    model = Clusterer()
    found = clustering_by_subset(model, MultimodalBaseDataset(data), labels, batch_size=8)
    assert list(found) == ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]
    assert model.rows == [8, 8, 4]
    assert [found[name]["ACC"] for name in found] == [1.0, 0.25, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert found["b"] == {"ACC": 0.25, "NMI": 0.0, "ARI": 0.0, "samples": 20}


def test_rules_differ_where_one_sure_modality_stands_against_two():
    labels = torch.arange(20) % 4
    data = {m: posteriors(torch.zeros(20, dtype=torch.int64), sure=0.3) for m in "bc"}
    dataset = MultimodalBaseDataset({"a": posteriors(labels), **data})
    scores = {
        rule: clustering_by_subset(Clusterer(), dataset, labels, rule=rule)
        for rule in ("mean", "vote")
    }
    assert scores["mean"]["a+b+c"]["ACC"] == 1.0
    assert scores["vote"]["a+b+c"]["ACC"] == 0.25


def test_a_sample_counts_by_what_it_has_observed_of_a_subset():
    labels = np.array(["x", "y"])[np.arange(10) % 2]
    data = {m: posteriors(np.arange(10) % 2) for m in "abc"}
    masks = {"a": np.arange(10) < 4, "b": np.zeros(10), "c": np.arange(10) > 2}
    data["a"][4:], data["b"][:] = float("nan"), float("nan")
    found = clustering_by_subset(Clusterer(), IncompleteDataset(data, masks), labels, batch_size=3)
    assert {name: scores["samples"] for name, scores in found.items()} == {
        "a": 4, "c": 7, "a+b": 4, "a+c": 10, "b+c": 7, "a+b+c": 10,
    }  # fmt: skip
    assert all(scores["ACC"] == 1.0 for scores in found.values())


@pytest.mark.parametrize("kind", [int, float, torch.tensor])
def test_masks_of_other_datasets_may_be_numbers(kind):
    class Samples(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            masks = {"a": kind(1), "b": kind(int(i < 3)), "c": kind(0)}
            return {"data": {m: posteriors([i % 2])[0] for m in "abc"}, "masks": masks}

    found = clustering_by_subset(Clusterer(), Samples(), [0, 1, 0, 1])
    assert {name: scores["samples"] for name, scores in found.items()} == {
        "a": 4, "b": 3, "a+b": 4, "a+c": 4, "b+c": 3, "a+b+c": 4,
    }  # fmt: skip
    assert all(scores["ACC"] == 1.0 for scores in found.values())


@pytest.mark.parametrize("rule", ["mean", "vote", "joint"])
def test_subsets_of_a_real_model_are_what_it_predicts_from_them(rule):
    model, data, labels = make_model(), make_data(n=30), np.arange(30) % 3
    found = clustering_by_subset(model, data, labels, rule=rule, batch_size=11)
    for names in (["b"], ["a", "c"], ["a", "b", "c"]):
        alone = model.predict_clusters({m: data[m] for m in names}, rule=rule).clusters
        assert found["+".join(names)] == {**clustering_scores(labels, alone), "samples": 30}


def test_what_does_not_fit_is_refused():
    data = MultimodalBaseDataset({m: posteriors(np.zeros(4, int)) for m in "abc"})
    with pytest.raises(ValueError, match="labels: expected 4"):
        clustering_by_subset(Clusterer(), data, [0, 1, 2])
    with pytest.raises(ValueError, match="rule"):
        clustering_by_subset(Clusterer(), data, [0, 1, 2, 3], rule="best")
    with pytest.raises(KeyError, match=r"data: no modalities \['c'\]"):
        clustering_by_subset(Clusterer(), {m: data.data[m] for m in "ab"}, [0, 1, 2, 3])


def test_scores_load_scikit_learn_when_they_need_it():
    code = "import sys, cmvae.metrics.clustering; print({'sklearn', 'scipy'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
