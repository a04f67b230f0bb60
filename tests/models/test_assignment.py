import pytest
import torch

from cmvae.models.assignment import (
    RULES,
    assign,
    average_posteriors,
    check_rule,
    deciding_points,
)
from helpers import incomplete, make_model

pytestmark = pytest.mark.usefixtures("float64")


def random_case(seed, modalities=4, batch=50, clusters=5):
    torch.manual_seed(seed)
    posteriors = (2 * torch.randn(modalities, batch, clusters)).softmax(-1)
    observed = torch.rand(modalities, batch) < 0.6
    observed[torch.arange(batch) % modalities, torch.arange(batch)] = True
    return posteriors, observed


def vote_by_hand(posteriors, observed):
    """Return the cluster of one sample: the most votes, ties by the average."""
    seen = posteriors[observed]
    votes = [0] * posteriors.shape[-1]
    for p in seen:
        votes[int(p.argmax())] += 1
    tied = [c for c, count in enumerate(votes) if count == max(votes)]
    return max(tied, key=lambda c: seen[:, c].mean().item())


@pytest.mark.parametrize("seed", range(3))
def test_averages_count_what_is_observed(seed):
    posteriors, observed = random_case(seed)
    average = average_posteriors(posteriors, observed)
    for b in range(posteriors.shape[1]):
        torch.testing.assert_close(average[b], posteriors[observed[:, b], b].mean(0))
    torch.testing.assert_close(average.sum(-1), torch.ones(50))


@pytest.mark.parametrize("seed", range(3))
def test_rules(seed):
    posteriors, observed = random_case(seed)
    average = average_posteriors(posteriors, observed)
    assert torch.equal(assign("mean", posteriors, observed)[0], average.argmax(-1))
    voted = assign("vote", posteriors, observed)[0]
    assert voted.tolist() == [vote_by_hand(posteriors[:, b], observed[:, b]) for b in range(50)]
    assert voted.dtype == torch.int64
    for rule in ("mean", "vote"):
        torch.testing.assert_close(assign(rule, posteriors, observed)[1], average)
    assert (voted != average.argmax(-1)).any()


def test_the_majority_outvotes_a_confident_modality():
    posteriors = torch.tensor([[0.05, 0.95, 0.0], [0.55, 0.45, 0.0], [0.55, 0.45, 0.0]])[:, None]
    everything = torch.ones(3, 1, dtype=torch.bool)
    assert assign("mean", posteriors, everything)[0].item() == 1
    assert assign("vote", posteriors, everything)[0].item() == 0


def test_ties_go_to_the_larger_average_among_those_tied():
    # The third cluster has the largest average, but no vote; of the two voted for, the second is
    # ahead.
    posteriors = torch.tensor([[0.5, 0.02, 0.48], [0.0, 0.52, 0.48]])[:, None]
    both = torch.ones(2, 1, dtype=torch.bool)
    assert assign("mean", posteriors, both)[0].item() == 2
    assert assign("vote", posteriors, both)[0].item() == 1


@pytest.mark.parametrize("rule", RULES)
def test_unobserved_rows_have_no_part(rule):
    posteriors, observed = random_case(0)
    expected = assign(rule, posteriors, observed)[0]
    posteriors[~observed] = float("nan")
    assert torch.equal(assign(rule, posteriors, observed)[0], expected)
    assert torch.equal(
        average_posteriors(posteriors, observed).isnan(), torch.zeros(50, 5, dtype=torch.bool)
    )


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match=r"rule.*'mean', 'vote'.*'median'"):
        check_rule("median")
    assert {"mean", "vote"} <= set(RULES)


def test_joint_rule_decides_at_the_mean_of_the_joint_posterior():

    model, data = make_model(), incomplete()
    found = model.predict_clusters(data, rule="joint")
    expected = model.mixture.posterior(model.encode(data, return_mean=True).z[:, 0])
    torch.testing.assert_close(found.probabilities, expected)
    assert torch.equal(found.clusters, expected.argmax(-1))


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_the_joint_rule_looks_at_the_mean_of_what_is_observed(modalities):
    torch.manual_seed(0)
    z, observed = torch.randn(modalities, 6, 4), torch.rand(modalities, 6) < 0.5
    observed[0] |= ~observed.any(0)
    points, counted = deciding_points("joint", z, observed)
    expected = torch.stack([z[own, i].mean(0) for i, own in enumerate(observed.T)])
    torch.testing.assert_close(points, expected.unsqueeze(0))
    assert counted.shape == (1, 6)
    assert counted.all()
