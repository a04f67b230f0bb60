"""The mean of what a cluster generates, against closed forms and the model's own samples."""

import numpy as np
import pytest
import torch

from cmvae import CMVAE, CMVAEConfig
from cmvae.preprocessing.tables import TableCodec
from cmvae.report import gather_report
from cmvae.report.averages import mean_draws
from cmvae.report.tables import TableSums
from made_runs import make_rows, make_run, numbers

N = 4000
SCALE, UNIT, CENTER, SPREAD = 0.4, 20.0, 6.0, 0.8
SHARED = torch.tensor([[0.5, -0.3], [0.2, 0.7]])  # of each column on z
PRIVATE = torch.tensor([[0.3], [-0.6]])  # and on w
CENTRES = torch.tensor([[2.0, -1.0], [-1.5, 2.0]])
SKEWED = {"transform": "log1p", "unit": UNIT, "center": CENTER, "spread": SPREAD}
CODEC = TableCodec(
    columns=[
        {"kind": "continuous", "name": "spend", **SKEWED},
        {"kind": "continuous", "name": "age", "center": 40.0, "spread": 10.0},
    ]
)


@pytest.fixture(scope="module")
def run_and_rows():
    """Return a linear model of a skewed column and a plain one, and samples of its clusters."""
    settings = CMVAEConfig(
        n_modalities=1,
        latent_dim=2,
        modalities_specific_dim=1,
        input_dims={"t": (2,)},
        hidden_dims=(),
        decoder_dist_params={"t": {"scale": SCALE}},
        prior_and_posterior_dist="normal",
        number_of_clusters=2,
    )
    model = CMVAE(settings)
    (layer,) = [own for own in model.decoders["t"].modules() if isinstance(own, torch.nn.Linear)]
    with torch.no_grad():
        layer.weight.copy_(torch.cat([SHARED, PRIVATE], 1))
        layer.bias.zero_()
    model.cluster_centers = CENTRES
    torch.manual_seed(0)
    drawn = model.generate_from_prior(2 * N, cluster=torch.arange(2 * N) % 2)
    values = model.to_data(model.decode(drawn), sample=True)["t"].numpy()
    rows = make_rows({"t": values})
    run = make_run({"t": CODEC}, rows, n_clusters=2)
    object.__setattr__(run, "model", model.eval())
    return run, rows


def test_a_skewed_column_is_generated_on_average_as_in_closed_form(run_and_rows):
    run, rows = run_and_rows
    data = run.preprocessing.dataset(rows)
    table = TableSums(run, data, "t", np.arange(2 * N) % 2, 500)
    made = mean_draws(run, {"t": table}, 0)["t"]
    location = (CENTRES @ SHARED.T).numpy()
    variance = (SHARED.square().sum(1) + PRIVATE.square().sum(1)).numpy() + SCALE**2
    logs = CENTER + SPREAD * location[:, 0] + SPREAD**2 * variance[0] / 2
    assert made[:, 0] == pytest.approx(UNIT * (np.exp(logs) - 1), rel=0.03)
    assert made[:, 1] == pytest.approx(40 + 10 * location[:, 1], rel=0.01)
    at_the_centre = UNIT * np.expm1(CENTER + SPREAD * location[:, 0])
    assert (made[:, 0] > 1.2 * at_the_centre).all()


def test_what_is_generated_agrees_with_the_data_where_the_model_is_right(run_and_rows, monkeypatch):
    run, rows = run_and_rows
    clusters = np.arange(2 * N) % 2
    chances = np.eye(2)[clusters]
    monkeypatch.setattr("cmvae.runs.run.Run.assign", lambda run, data: (clusters, chances))
    for cluster in gather_report(run, rows).clusters:
        assert {d.feature for d in cluster.differences} == {0, 1}
        for d in cluster.differences:
            assert d.generated == pytest.approx(d.inside, rel=0.06)


def test_draws_follow_the_seed_and_leave_the_global_generator(run_and_rows):
    run, rows = run_and_rows
    data = run.preprocessing.dataset(rows)
    table = TableSums(run, data, "t", np.arange(2 * N) % 2, 500)
    state = torch.get_rng_state()
    one, same, other = (mean_draws(run, {"t": table}, seed)["t"] for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).all()
    assert torch.equal(torch.get_rng_state(), state)


def test_many_numbers_are_drawn_a_part_at_a_time(monkeypatch):
    values = np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32)
    rows = make_rows({"t": values})
    run = make_run({"t": numbers(list(map(str, range(50))))}, rows)
    table = TableSums(run, run.preprocessing.dataset(rows), "t", np.arange(30) % 3, 8)
    whole = mean_draws(run, {"t": table}, 0)["t"]
    monkeypatch.setattr("cmvae.report.averages.AT_ONCE", 50 * 100)
    cut = mean_draws(run, {"t": table}, 0)["t"]
    assert cut == pytest.approx(whole, abs=0.1)
    sizes = []
    draw = run.model.generate_from_prior
    monkeypatch.setattr(
        run.model, "generate_from_prior", lambda n, **own: sizes.append(n) or draw(n, **own)
    )
    monkeypatch.setattr("cmvae.report.averages.AFFORDABLE", 3 * 50 * 250)
    mean_draws(run, {"t": table}, 0)
    assert sizes == 3 * [100, 100, 50]
