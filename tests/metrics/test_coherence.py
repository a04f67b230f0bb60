"""Coherence: on models whose every share is known in advance."""

import pytest
import torch
from torch import nn

from cmvae import IncompleteDataset, ModelOutput, MultimodalBaseDataset
from cmvae.metrics import conditional_coherence, real_coherence, unconditional_coherence
from cmvae.metrics.subsets import choose_subsets
from helpers import assert_same_snapshot, make_data, make_model, snapshot

NAMES = ("a", "b", "c")
CLASSES = 4


def one_hot(classes):
    """Return images (n, 1, 2, 2) that :func:`read` classifies as ``classes``."""
    return nn.functional.one_hot(classes, CLASSES).float().reshape(-1, 1, 2, 2)


def read(images):
    return images.flatten(1)


READERS = dict.fromkeys(NAMES, read)


class Model:
    """Generates the class that it is given, plus the target's ``shift`` where it is ``wrong``."""

    def __init__(self, names=NAMES, wrong=lambda subset, target: False):
        self.modalities, self.wrong, self.calls = names, wrong, []

    def predict(self, inputs, cond_mod, gen_mod, *, generator=None):
        self.calls.append(
            (tuple(cond_mod), tuple(gen_mod), len(next(iter(inputs["data"].values()))))
        )
        assert set(inputs["data"]) == set(cond_mod)
        given = inputs["data"][cond_mod[0]].flatten(1).argmax(1)
        return {
            m: one_hot((given + self.wrong(tuple(cond_mod), m)) % CLASSES)[:, None] for m in gen_mod
        }

    def generate_from_prior(self, n_samples, *, generator=None):
        return ModelOutput(z=torch.randint(CLASSES, (n_samples,), generator=generator))

    def decode(self, embedding):
        # In a quarter of the samples, those of class 3, the second modality differs.
        z = embedding["z"]
        return {m: one_hot((z + ((z == 3) & (m == "b")).long()) % CLASSES) for m in self.modalities}


def samples(n=20, masks=None):
    labels = torch.arange(n) % CLASSES
    data = {m: one_hot(labels) for m in NAMES}
    return (
        MultimodalBaseDataset(data, labels)
        if masks is None
        else IncompleteDataset(data, masks, labels)
    )


def test_a_model_that_is_always_right_scores_one_everywhere():
    found = conditional_coherence(Model(), samples(), READERS, batch_size=7)
    assert found.by_size == {1: 1.0, 2: 1.0}
    assert found.by_subset["a+c"] == {"b": 1.0}
    assert found.by_subset["b"] == {"a": 1.0, "c": 1.0}
    assert found.self_generation == dict.fromkeys(NAMES, 1.0)
    assert found.leave_one_out == 1.0
    assert found.real.accuracy == dict.fromkeys(NAMES, 1.0)
    assert found.n_samples == dict.fromkeys(["a", "b", "c", "a+b", "a+c", "b+c"], 20)


def test_every_subset_and_target_counts_alike_in_the_mean_of_its_size():
    def wrong(subset, target):
        return (subset, target) in {(("a",), "b"), (("b", "c"), "a"), (("c",), "c")}

    found = conditional_coherence(Model(wrong=wrong), samples(), READERS)
    assert found.by_size == {1: pytest.approx(5 / 6), 2: pytest.approx(2 / 3)}
    assert found.by_size_and_target == {
        1: {"a": 1.0, "b": 0.5, "c": 1.0},
        2: {"a": 0.0, "b": 1.0, "c": 1.0},
    }
    assert found.leave_one_out == pytest.approx(2 / 3)
    assert found.self_generation == {"a": 1.0, "b": 1.0, "c": 0.0}


def test_the_label_is_the_sample_s_own_whatever_the_batch():
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    data = {m: one_hot(labels) for m in NAMES}
    data["a"] = one_hot(torch.tensor([0, 1, 2, 3, 1, 2]))  # the last two are of another class
    for size in (1, 4, 100):
        found = conditional_coherence(
            Model(), MultimodalBaseDataset(data, labels), READERS, batch_size=size
        )
        assert found.by_subset["a"] == {"b": pytest.approx(4 / 6), "c": pytest.approx(4 / 6)}
        assert found.by_subset["b"] == {"a": 1.0, "c": 1.0}
        assert found.real.accuracy["a"] == pytest.approx(4 / 6)
        assert found.real.agreement == pytest.approx(4 / 6)


def test_samples_that_lack_what_is_conditioned_on_are_left_out_and_counted():
    masks = {"a": torch.arange(20) >= 5, "b": torch.arange(20) != 19}
    data = samples(masks=masks)
    for m, mask in masks.items():
        data.data[m][~mask] = float("nan")
    model = Model(wrong=lambda subset, target: target == "b")
    found = conditional_coherence(model, data, READERS, batch_size=6)
    assert found.n_samples == {"a": 15, "b": 19, "c": 20, "a+b": 14, "a+c": 15, "b+c": 19}
    assert found.n_left_out == {"a": 5, "b": 1, "c": 0, "a+b": 6, "a+c": 5, "b+c": 1}
    assert found.by_subset["a+c"] == {"b": 0.0}
    assert found.by_size[2] == pytest.approx(2 / 3)
    assert found.real.n_samples == {"a": 15, "b": 19, "c": 20}
    assert found.real.agreement == 1.0
    assert sum(count for subset, _, count in model.calls if subset == ("a",)) == 15


def test_a_subset_that_no_sample_has_observed_is_left_out_of_the_means():
    masks = {"a": torch.arange(20) < 10, "b": torch.arange(20) >= 10}
    found = conditional_coherence(Model(), samples(masks=masks), READERS)
    assert "a+b" not in found.by_subset
    assert found.n_samples["a+b"] == 0
    assert found.real.agreement is None
    assert found.by_size_and_target[2] == {"a": 1.0, "b": 1.0}


def test_subsets_drawn_at_random_are_of_the_size_different_and_repeatable():
    names = tuple("abcdefgh")
    first, again = (
        choose_subsets(names, 3, 10, torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert first == again
    assert len(set(first)) == 10
    assert all(len(subset) == 3 and list(subset) == sorted(set(subset)) for subset in first)
    assert choose_subsets(names, 3, 10, torch.Generator().manual_seed(2)) != first
    assert len(choose_subsets(names, 7, 10)) == 8
    found = conditional_coherence(
        Model(), samples(), READERS, max_subsets=2, generator=torch.Generator()
    )
    assert sorted(name.count("+") for name in found.by_subset) == [0, 0, 1, 1]


def test_unconditional_coherence_is_the_share_where_all_agree():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(CLASSES, (1000,), generator=torch.Generator().manual_seed(0))
    found = unconditional_coherence(Model(), 1000, READERS, batch_size=1000, generator=generator)
    assert found == int((drawn != 3).sum()) / 1000
    assert unconditional_coherence(Model(), 999, READERS, batch_size=64) == pytest.approx(
        0.75, abs=0.05
    )


def test_classifiers_that_are_modules_run_in_eval_mode_and_stay_as_they_were():
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, images):
            return read(images) * (-self.weight if self.training else self.weight)

    readers = {m: Moody().train() for m in NAMES}
    assert real_coherence(samples(), readers).mean_accuracy == 1.0
    assert all(reader.training for reader in readers.values())


def test_a_real_model_is_left_as_it_is_and_the_generator_decides():
    model, data = make_model().train(), make_data(n=12)
    labelled = MultimodalBaseDataset(data, torch.arange(12) % 3)
    readers = {m: nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 3)) for m, x in data.items()}
    before, state = snapshot(model), torch.get_rng_state()
    results = [
        (
            conditional_coherence(
                model, labelled, readers, generator=torch.Generator().manual_seed(s), batch_size=5
            ),
            unconditional_coherence(model, 50, readers, generator=torch.Generator().manual_seed(s)),
        )
        for s in (1, 1, 2)
    ]
    assert_same_snapshot(before, snapshot(model))
    assert torch.equal(state, torch.get_rng_state())
    assert results[0] == results[1] != results[2]


def test_logits_of_a_likelihood_become_data_before_they_are_classified():
    seen = []

    def reader(images):
        seen.append(images)
        return images.flatten(1)

    model = make_model(decoders_dist=dict.fromkeys("abc", "bernoulli"))
    data = {m: (x > 0).float() for m, x in make_data(n=4).items()}
    conditional_coherence(
        model, MultimodalBaseDataset(data, [0, 1, 2, 0]), dict.fromkeys("abc", reader)
    )
    unconditional_coherence(model, 4, dict.fromkeys("abc", reader))
    assert all(((images >= 0) & (images <= 1)).all() for images in seen)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (MultimodalBaseDataset({m: torch.zeros(3, 1, 2, 2) for m in NAMES}), "no labels"),
        (
            MultimodalBaseDataset({m: torch.zeros(3, 1, 2, 2) for m in NAMES}, ["x", "y", "z"]),
            "whole numbers",
        ),
        (
            MultimodalBaseDataset({m: torch.zeros(3, 1, 2, 2) for m in NAMES}, [0, 1, -1]),
            "whole numbers",
        ),
        (
            MultimodalBaseDataset({m: torch.zeros(3, 1, 2, 2) for m in NAMES}, [0.5, 1, 2]),
            "whole numbers",
        ),
    ],
)
def test_labels_that_are_no_classes_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        conditional_coherence(Model(), data, READERS)


def test_other_bad_input_is_refused():
    with pytest.raises(KeyError, match="classifiers: no modalities"):
        conditional_coherence(Model(), samples(), {"a": read})
    with pytest.raises(KeyError, match="data: no modalities"):
        conditional_coherence(Model((*NAMES, "d")), samples(), {**READERS, "d": read})
    with pytest.raises(ValueError, match="two modalities"):
        conditional_coherence(Model(("a",)), samples(), READERS)
    with pytest.raises(ValueError, match="two modalities"):
        unconditional_coherence(Model(("a",)), 3, READERS)
    with pytest.raises(ValueError, match="n_samples"):
        unconditional_coherence(Model(), 0, READERS)
    with pytest.raises(ValueError, match="max_subsets"):
        conditional_coherence(Model(), samples(), READERS, max_subsets=0)
    with pytest.raises(ValueError, match="no sample has observed"):
        real_coherence(samples(masks={"a": torch.zeros(20)}), READERS)
    with pytest.raises(ValueError, match="classifiers"):
        real_coherence(samples(), {})
    with pytest.raises(TypeError, match="dataset"):
        real_coherence([1, 2], READERS)
