import subprocess
import sys

import numpy as np
import pytest

from cmvae.training.recipe import Recipe
from cmvae.training.start import ALIGNMENT_WEIGHT, INFORMATION_WEIGHT, Start, still_falling


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"warmup_epochs": -1}, "warmup_epochs must be an integer from 0, got -1"),
        ({"warmup_epochs": True}, "warmup_epochs must be an integer from 0, got True"),
        ({"alignment_epochs": 3}, "alignment_epochs must be two positive integers, got 3"),
        ({"alignment_epochs": (0, 2)}, "alignment_epochs must be two positive integers"),
        ({"alignment_epochs": (1, 2.0)}, "alignment_epochs must be two positive integers"),
        ({"alignment_epochs": (1, 2, 3)}, "alignment_epochs must be two positive integers"),
        ({"alignment_epochs": "12"}, "alignment_epochs must be two positive integers, got '12'"),
        ({"alignment_epochs": (1, 1), "warmup_epochs": 1}, "two ways to begin: give one"),
        ({"alignment_epochs": (1, 1), "patience": 1}, "patience ends a warm-up: leave it"),
        ({"alignment_epochs": (3, 1), "longest_alignment": 2}, "longest_alignment is at least"),
        ({"longest_alignment": 2}, "longest_alignment is at least"),
        ({"initial_clusters": "x"}, "initial_clusters must be a positive integer or 'auto'"),
        (
            {"method": "magic"},
            "method must be 'auto', 'consensus', 'spectral', 'shared' or 'gmm', got",
        ),
        ({"information": 0}, "information must be a positive number, got 0"),
        ({"lasting": 1}, "lasting must be True or False, got 1"),
        ({"seed": -1}, "seed must be an integer from 0, got -1"),
    ],
)
def test_what_is_no_plan_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Start(**fields)


def test_a_plan_goes_through_json():
    plan = Start(alignment_epochs=[2, 3], initial_clusters="auto", seed=4)
    assert Start.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("plan", "before", "phases"),
    [
        (Start(), (0, 0), "ccccc"),
        (Start(warmup_epochs=2), (2, 2), "wwccc"),
        (Start(alignment_epochs=(1, 1)), (1, 3), "aaacc"),
    ],
)
def test_phases_follow_each_other(plan, before, phases):
    assert (plan.before_clusters, plan.before_objective) == before
    named = [plan.phase(epoch, started=epoch >= plan.before_clusters) for epoch in range(5)]
    assert "".join(name[0] for name in named) == phases


def test_beta_rises_from_one_and_one_below_stays():
    plan = Start(alignment_epochs=(5, 2), lasting=False, information=None)
    reading = {"beta": 1.0, "alignment": ALIGNMENT_WEIGHT, "narrowed": True}
    assert plan.options(0.0, 3.0) == plan.options(1.99, 3.0) == reading
    assert plan.options(2.0, 3.0) == {"beta": 1.0}
    assert plan.options(3.5, 3.0) == {"beta": 2.5}
    assert plan.options(4.0, 3.0) == {}
    assert {plan.options(at, 0.5)["beta"] for at in (0.0, 2.5, 3.9)} == {0.5}
    assert Start(warmup_epochs=1).options(0.0, 3.0) == {}


def test_an_alignment_stays_to_the_end_with_the_information_unless_told_otherwise():
    plan = Start(alignment_epochs=(5, 2))
    both = {"alignment": ALIGNMENT_WEIGHT, "information": INFORMATION_WEIGHT}
    assert plan.options(0.0, 3.0) == {"beta": 1.0, **both, "narrowed": True}
    assert plan.options(2.0, 3.0) == {"beta": 1.0, **both, "narrowed": False}
    assert plan.options(99.0, 3.0) == {**both, "narrowed": False}
    alone = {"alignment": ALIGNMENT_WEIGHT, "narrowed": False}
    assert plan.replace(information=None).options(99.0, 3.0) == alone
    assert Start(warmup_epochs=1).options(99.0, 3.0) == {}


def test_a_recipe_warms_up_or_aligns_or_neither():
    plain, aligning = Recipe(max_epochs=12, start="gmm"), Recipe(alignment_epochs=(3, 2))
    plan = plain.start_of_training(100)
    assert (plan.before_clusters, plan.patience, plan.initialization["method"]) == (12, 10, "gmm")
    assert (plan.fresh_optimizer, plain.final_epochs(100)) == (True, 2)
    plan = aligning.start_of_training(100)
    assert (plan.before_objective, plan.patience, plan.initialization["method"]) == (
        7,
        None,
        "shared",
    )
    assert (plan.fresh_optimizer, aligning.final_epochs(100)) == (False, 69)
    for recipe, epochs in ((plain, 2), (aligning, 11)):
        assert recipe.start_of_training(100, warm=True).before_objective == 0
        assert recipe.final_epochs(100, warm=True) == epochs


def test_images_are_aligned_within_the_epochs_that_there_are():
    auto = Recipe()
    assert auto.alignment is None
    assert auto.suited_to(1500, 63) is auto
    found = auto.suited_to(1500, 1500)
    assert (found.alignment, found.batch_size) == ((50, 19), 64)  # 1200 and 450 steps
    assert found.start_of_training(1500).longest_alignment == 150
    for epochs, most in ((1, 1), (60, 60), (500, 150)):
        plan = auto.replace(max_epochs=epochs).suited_to(1500, 1500).start_of_training(1500)
        assert plan.longest_alignment == most
    longer = auto.suited_to(1500, 1000, 2 / 3).start_of_training(1500)
    assert (longer.longest_alignment, longer.spare) == (150, 75)
    assert auto.suited_to(1500, 64, 0.05).start_of_training(1500).spare == 0
    given = Recipe(alignment_epochs=(3, 2)).start_of_training(1500)
    assert (given.longest_alignment, given.spare) == (3, 0)
    assert Recipe(alignment_epochs=[3, 2, 5]).start_of_training(1500).spare == 2
    assert auto.suited_to(1500, 1000, 2 / 3).alignment == (75, 19)  # as many pairs are seen
    assert auto.suited_to(1500, 64, 0.05).alignment == (150, 19)
    assert auto.suited_to(200_000, 200_000).alignment == (1, 1)
    assert auto.suited_to(90, 90).batch_size == 16
    for epochs, wanted in ((1, (1, 1)), (9, (9, 4)), (500, (50, 19))):
        assert auto.replace(max_epochs=epochs).suited_to(1500, 1500).alignment == wanted
    assert auto.replace(batch_size=100).suited_to(1500, 1500).alignment == (80, 30)
    none = auto.replace(alignment_epochs=None)
    assert none.suited_to(1500, 1500) is none
    given = auto.replace(alignment_epochs=(3, 2))
    assert given.suited_to(1500, 1500) == given.replace(batch_size=64)
    assert given.suited_to(1500, 63) is given
    assert found.suited_to(9, 9) is found


def test_the_learning_rate_falls_after_an_alignment_unless_it_is_given():
    plain, aligning = Recipe(), Recipe(alignment_epochs=(1, 1))
    assert (plain.step_size(900), plain.decays(900)) == (1e-3, False)
    assert (aligning.step_size(900), aligning.decays(900)) == (2e-3, True)
    assert (aligning.step_size(900, warm=True), aligning.decays(900, warm=True)) == (1e-3, False)
    given = aligning.replace(learning_rate=5e-4)
    assert (given.step_size(900), given.decays(900)) == (5e-4, False)
    with pytest.raises(
        ValueError, match=r"^learning_rate must be a positive number or 'auto', got"
    ):
        Recipe(learning_rate="fast")


@pytest.mark.parametrize("wrong", [3, (0, 2), (1, 2.0), "12", "none", (1, 2, 3, 4), ()])
def test_what_is_no_alignment_is_refused_with_what_is_allowed(wrong):
    message = r"^alignment_epochs must be two positive integers, \(0, 0\) for none, or 'auto', got"
    with pytest.raises(ValueError, match=message):
        Recipe(alignment_epochs=wrong)
    with pytest.raises(ValueError, match="two positive integers, and a third is no less than the"):
        Recipe(alignment_epochs=(2, 2, 1))


def test_plans_and_logs_are_read_without_torch_and_clusters_start_without_lightning():
    script = """
import sys
import cmvae.training.recipe, cmvae.training.checkpoints
assert not {"torch", "lightning", "pandas"} & set(sys.modules)
import cmvae
cmvae.initialize_clusters
assert not {"lightning", "sklearn", "pandas"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=1800)


@pytest.mark.parametrize(
    ("losses", "falls"),
    [
        (np.linspace(9, 1, 50), True),
        (np.exp(-np.arange(50) / 4), False),
        ([5.0, 1.0], True),
        ([5.0], False),
        ([], False),
        (np.ones(20), False),
        (np.linspace(1, 9, 20), False),
    ],
)
def test_a_loss_that_has_not_settled_still_falls(losses, falls):
    assert still_falling(list(losses)) == falls


def test_from_twelve_modalities_on_targets_are_drawn():
    targets = [Recipe().model_settings(100, n)["cross_modal_targets"] for n in (2, 11, 12, 50)]
    assert targets == [None, None, 4, 4]


@pytest.mark.parametrize(
    ("n", "batch", "epochs", "rate"),
    [
        (150, 16, 48, 1e-3),
        (20_480, 128, 10, 1e-3),
        (20_481, 128, 15, 1e-3),
        (81_920, 512, 15, 4e-3),
        (200_000, 1024, 13, 8e-3),
        (1_000_000, 1024, 3, 8e-3),
        (10**9, 1024, 1, 8e-3),
    ],
)
def test_of_many_samples_steps_are_counted_and_their_size_falls(n, batch, epochs, rate):
    recipe = Recipe()
    found = (recipe.samples_per_step(n), recipe.warmup_epochs(n))
    assert found == (batch, epochs)
    assert recipe.step_size(n) == pytest.approx(rate, rel=1e-9)
    assert recipe.decays(n) == (n > 20_480)
    assert (recipe.step_size(n, warm=True), recipe.decays(n, warm=True)) == (1e-3, False)


def test_what_is_given_is_not_counted_from_the_samples():
    given = Recipe(batch_size=64, max_epochs=40, learning_rate=2e-4)
    n = 10**6
    assert (given.samples_per_step(n), given.warmup_epochs(n), given.step_size(n)) == (64, 40, 2e-4)
    aligning = Recipe(alignment_epochs=(1, 1))
    assert (aligning.samples_per_step(n), aligning.warmup_epochs(n)) == (128, 10)
    assert aligning.step_size(n) == 2e-3
