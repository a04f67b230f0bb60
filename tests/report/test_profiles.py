"""What sets clusters apart, line by line, against figures computed from the tables themselves."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control, ttest_ind

from cmvae.preprocessing import Preprocessing, encode_table
from cmvae.report import Shown, gather_report, write_profiles
from cmvae.report.averages import mean_draws
from cmvae.report.columns import describe_columns
from cmvae.report.content import Column
from cmvae.report.tables import TableSums
from made_runs import make_rows, make_run

N = 300
GROUPS = np.arange(N) % 3
COLUMNS = [
    *("modality", "column", "value", "cluster", "value_there", "value_elsewhere"),
    *("effect_size", "effect_kind", "p_value", "p_adjusted", "n_there", "n_elsewhere"),
]


class Assigned:
    """Stands for a model's assignment: known clusters, whatever the samples."""

    def __init__(self, monkeypatch, clusters, n_clusters):
        chances = np.eye(n_clusters)[clusters]
        monkeypatch.setattr("cmvae.runs.run.Run.assign", lambda run, data: (clusters, chances))


def profiles_of(monkeypatch, frame, clusters=GROUPS, n_clusters=3, kinds=None, missing=None):
    """Return the profiles of a table whose clusters are known, and the report."""
    Assigned(monkeypatch, clusters, n_clusters)
    values, codec = encode_table(frame, kinds)
    if missing is not None:
        values[missing] = np.nan
    other = np.zeros((len(frame), 1), dtype=np.float32)
    rows = make_rows({"t": values, "other": other}, None if missing is None else {"t": ~missing})
    codecs = {"t": codec, "other": encode_table(pd.DataFrame({"o": np.arange(9.0)}))[1]}
    settings = Preprocessing(codecs=codecs).model_settings()
    del settings["input_dims"]
    content = gather_report(make_run(codecs, rows, n_clusters, settings=settings), rows)
    lines = content.profiles
    return lines[lines["modality"] == "t"].set_index(["column", "value", "cluster"]), content


def mixed_table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "height": rng.normal([150, 170, 190], 9, (N, 3))[np.arange(N), GROUPS],
            "smokes": rng.random(N) < np.array([0.1, 0.5, 0.9])[GROUPS],
            "sex": np.where(rng.random(N) < np.array([0.2, 0.5, 0.8])[GROUPS], "m", "f"),
            "plan": np.where(rng.random(N) < 0.6, np.array(["a", "b", "c"])[GROUPS], "none"),
            "calls": rng.poisson(np.array([3, 9, 60])[GROUPS]),
        }
    )


def test_each_column_has_the_figures_of_its_own_samples(monkeypatch, tmp_path):
    frame = mixed_table()
    missing = np.arange(N) % 7 == 2
    lines, content = profiles_of(monkeypatch, frame, missing=missing)
    assert list(content.profiles) == COLUMNS
    sizes = content.profiles["effect_size"].abs()
    assert sizes.dropna().is_monotonic_decreasing
    told = {
        "height": [""],
        "smokes": ["True"],
        "sex": ["m"],
        "plan": ["a", "b", "c", "none"],
        "calls": [""],
    }
    assert set(lines.index) == {(c, v, k) for c, own in told.items() for v in own for k in range(3)}
    for (column, value, cluster), line in lines.iterrows():
        own = frame[column] if not value else (frame[column].astype(str) == value).astype(float)
        there, elsewhere = own[~missing & (cluster == GROUPS)], own[~missing & (cluster != GROUPS)]
        assert (line["n_there"], line["n_elsewhere"]) == (len(there), len(elsewhere))
        means = there.mean(), elsewhere.mean()
        assert (line["value_there"], line["value_elsewhere"]) == pytest.approx(means, rel=1e-5)
        kind = {"height": "Cohen's d", "calls": "log2 fold change"}.get(column, "Cohen's h")
        assert line["effect_kind"] == kind
        if kind == "Cohen's d":
            weights = len(there) - 1, len(elsewhere) - 1
            pooled = np.sqrt(np.average([there.var(), elsewhere.var()], weights=weights))
            expected = (means[0] - means[1]) / pooled
        elif kind == "Cohen's h":
            expected = 2 * (math.asin(means[0] ** 0.5) - math.asin(means[1] ** 0.5))
        else:
            expected = math.log2((means[0] + 1 / len(there)) / (means[1] + 1 / len(there)))
        assert line["effect_size"] == pytest.approx(expected, rel=1e-4)
    write_profiles(tmp_path / "profiles.csv", content.profiles)
    read = pd.read_csv(tmp_path / "profiles.csv", keep_default_na=False)
    assert list(read) == COLUMNS
    assert len(read) == len(content.profiles)


def test_a_column_of_heavy_tails_is_compared_as_the_model_sees_it(monkeypatch):
    rng = np.random.default_rng(0)
    logs = rng.normal(np.array([2.0, 2.5, 5.0])[GROUPS], 1.5)
    lines, _ = profiles_of(monkeypatch, pd.DataFrame({"spend": np.exp(logs)}))
    line = lines.loc[("spend", "", 2)]
    assert line["effect_kind"] == "Cohen's d, as logarithms"
    assert line["value_there"] == pytest.approx(np.exp(logs)[GROUPS == 2].mean(), rel=1e-5)
    assert 1 < line["effect_size"] < 2.5  # of raw numbers it would be below 0.7


def test_clusters_of_no_and_of_one_sample_are_passed_over_or_told(monkeypatch):
    clusters = np.where(np.arange(N) == 5, 3, GROUPS)
    lines, content = profiles_of(monkeypatch, mixed_table(), clusters, 5)
    one, none = (lines.xs(k, level="cluster") for k in (3, 4))
    assert (one["n_there"] == 1).all()
    assert np.isfinite(one["effect_size"]).all()
    assert (none["n_there"] == 0).all()
    assert none["effect_size"].isna().all()
    assert none["value_there"].isna().all()
    assert content.clusters[4].differences == ()
    assert content.profiles["effect_size"].tail(8).isna().all()
    alone, content = profiles_of(monkeypatch, mixed_table(), np.zeros(N, int), 1)
    assert alone["effect_size"].isna().all()
    assert content.clusters[0].differences == ()


def test_a_column_that_only_differs_between_clusters_is_infinitely_telling(monkeypatch):
    frame = pd.DataFrame({"same": np.full(N, 2.5), "apart": 1.5 + 2 * (GROUPS == 1)})
    frame.loc[0, "same"] = 2.5
    lines, content = profiles_of(monkeypatch, frame, kinds=dict.fromkeys(frame, "continuous"))
    assert lines.loc[("apart", "", 1), "effect_size"] == math.inf
    assert (lines.loc["same", "effect_size"] == 0).all()
    assert [d.effect for d in content.clusters[1].differences] == [math.inf]


@pytest.mark.parametrize("n_columns", [4, 12])
def test_counts_of_one_kind_are_compared_at_one_total(monkeypatch, n_columns):
    """Of twelve columns of counts only the first differs, but one cluster has ten times as many."""
    rng = np.random.default_rng(0)
    depth = np.where(GROUPS == 1, 10, 1)[:, None] * rng.uniform(0.8, 1.2, (N, 1))
    shares = np.full((3, n_columns), 20.0)
    shares[2, 0] = 60
    counts = pd.DataFrame(rng.poisson(depth * shares[GROUPS])).add_prefix("gene ")
    lines, content = profiles_of(monkeypatch, counts, kinds=dict.fromkeys(counts, "count"))
    last = lines.loc[(f"gene {n_columns - 1}", "", 1)]
    if n_columns < 10:  # columns may count different things
        assert last["effect_kind"] == "log2 fold change"
        assert last["effect_size"] > 2
        assert last["value_there"] == pytest.approx(counts.iloc[GROUPS == 1, -1].mean(), rel=1e-5)
        return
    total = counts.sum(axis=1).mean()
    assert last["effect_kind"] == f"log2 fold change, per {total:.6g} counts"
    assert abs(last["effect_size"]) < 0.15
    scaled = counts.div(counts.sum(axis=1), axis=0) * total
    assert last["value_there"] == pytest.approx(scaled.iloc[GROUPS == 1, -1].mean(), rel=1e-4)
    best = lines["effect_size"].abs().idxmax()
    assert best == ("gene 0", "", 2)
    assert content.clusters[2].differences[0].inside == lines.loc[best, "value_there"]


def test_counts_with_a_library_size_are_generated_and_seen_at_one_total(monkeypatch):
    rng = np.random.default_rng(0)
    counts = pd.DataFrame(rng.poisson(rng.uniform(5, 50, (N, 1)), (N, 3)), columns=list("abc"))
    values, codec = encode_table(counts, dict.fromkeys(counts, "count"))
    rows = make_rows({"t": values})
    params = {"library_size": True, "size": 90.0}
    settings = {
        "decoders_dist": {"t": "negative_binomial"},
        "decoder_dist_params": {"t": params},
    }
    run = make_run({"t": codec}, rows, settings=settings)
    content = gather_report(run, rows, shown=Shown(n_features=3))
    assert content.clusters[0].differences
    lines = content.profiles.groupby("cluster")[["value_there", "value_elsewhere"]].sum()
    assert lines.to_numpy() == pytest.approx(90, rel=1e-6)
    table = TableSums(
        run,
        run.preprocessing.dataset(rows),
        "t",
        run.assign(run.preprocessing.dataset(rows))[0],
        99,
    )
    assert mean_draws(run, {"t": table}, 0)["t"].sum(1) == pytest.approx(90, rel=1e-5)


def test_names_stand_beside_the_numbers(monkeypatch):
    frame = mixed_table()
    Assigned(monkeypatch, GROUPS, 3)
    values, codec = encode_table(frame)
    rows = make_rows({"t": values})
    run = replace(make_run({"t": codec}, rows), names={0: "small", 2: "tall <b>"})
    content = gather_report(run, rows)
    assert [c.name for c in content.clusters] == ["0 (small)", "1", "2 (tall <b>)"]
    names = content.profiles.groupby("cluster")["cluster_name"].unique().map(list)
    assert names.tolist() == [["small"], ["1"], ["tall <b>"]]
    assert list(content.profiles)[3:5] == ["cluster", "cluster_name"]


def test_columns_are_told_with_kinds_shares_and_ranges(monkeypatch):
    frame = mixed_table()
    frame["skewed"] = np.exp(np.random.default_rng(0).normal(size=N) * 3)
    missing = np.arange(N) % 10 == 0
    _, content = profiles_of(monkeypatch, frame, missing=missing)
    told = {c.name: c for c in content.columns if c.modality == "t"}
    kinds = {"height": "continuous", "skewed": "continuous", "smokes": "binary"}
    kinds |= {"sex": "category", "plan": "category", "calls": "count"}
    assert {name: c.kind for name, c in told.items()} == kinds
    assert {name: c.note for name, c in told.items() if c.note} == {"skewed": "as logarithms"}
    assert all(c.missing == 0 for c in told.values())
    seen = frame[~missing]
    assert told["calls"].values == f"{seen['calls'].min()} to {seen['calls'].max()}"
    assert told["smokes"].values == f"True: {100 * seen['smokes'].mean():.0f} %"
    assert told["sex"].values.count("%") == 2
    assert content.n_columns == 7
    assert (
        Preprocessing(codecs={"t": encode_table(frame)[1]}).codecs["t"].entries[0].name == "height"
    )


def test_missing_cells_are_passed_over_whatever_they_hold(monkeypatch):
    frame = pd.DataFrame({"a": np.arange(float(N)), "b": np.arange(N) % 2})
    values, codec = encode_table(frame, {"a": "continuous"})
    run = make_run({"t": codec}, make_rows({"t": values}))
    data = run.preprocessing.dataset(make_rows({"t": values}))
    there = np.random.default_rng(0).random(values.shape) < 0.7
    data.data["t"] = torch.as_tensor(np.where(there, values, 1e30).astype(np.float32))
    data.cells = {"t": torch.as_tensor(there)}
    table = TableSums(run, data, "t", GROUPS, 64)
    for cluster in range(3):
        line = table.profile(cluster).set_index("column").loc["a"]
        own, rest = (
            np.flatnonzero(there[:, 0] & side) for side in (cluster == GROUPS, cluster != GROUPS)
        )
        assert (line["n_there"], line["n_elsewhere"]) == (len(own), len(rest))
        assert line["value_there"] == pytest.approx(own.mean(), rel=1e-5)
        assert line["value_elsewhere"] == pytest.approx(rest.mean(), rel=1e-5)
    counts, ends = table.histograms(np.array([0]))
    assert counts.sum() == there[:, 0].sum()
    assert ends[:, 0] == pytest.approx([0, N - 1], abs=5)
    shares = {c.name: c.missing for c in describe_columns(table, N)}
    assert shares == pytest.approx({"a": 1 - there[:, 0].mean(), "b": 1 - there[:, 1].mean()})


def test_what_the_run_has_kept_of_columns_is_shown_as_it_stands():
    values, codec = encode_table(pd.DataFrame({"a": np.arange(float(N))}), {"a": "continuous"})
    run = make_run({"t": codec}, make_rows({"t": values}))
    table = TableSums(run, run.preprocessing.dataset(make_rows({"t": values})), "t", GROUPS, 64)
    zip_code = SimpleNamespace(
        name="zip", kind="left out", note="a zip code", missing=0.25, range="1000 to 9999"
    )
    (found,) = describe_columns(table, N, SimpleNamespace(columns=(zip_code,)))
    assert found == Column("t", "zip", "left out", "a zip code", 0.25, "1000 to 9999")
    values, codec = encode_table(pd.DataFrame({"a": np.exp(np.linspace(0, 9, N) ** 1.3)}))
    run = make_run({"t": codec}, make_rows({"t": values}))
    table = TableSums(run, run.preprocessing.dataset(make_rows({"t": values})), "t", GROUPS, 64)
    kept = SimpleNamespace(name="a", kind="continuous", note="", missing=0.0, range="1 to 2")
    (found,) = describe_columns(table, N, SimpleNamespace(columns=(kept,)))
    assert found.note == "as logarithms"


def test_small_counts_leave_no_gaps_in_their_histograms():
    frame = pd.DataFrame({"few": np.arange(N) % 20, "many": np.arange(N) ** 2})
    values, codec = encode_table(frame, dict.fromkeys(frame, "count"))
    run = make_run({"t": codec}, make_rows({"t": values}))
    table = TableSums(run, run.preprocessing.dataset(make_rows({"t": values})), "t", GROUPS, 64)
    counts, ends = table.histograms(np.array([0, 1]))
    few, many = counts.sum(0)
    assert few.tolist() == [2 * N // 20] * 10 + [0] * 6
    assert ends[:, 0].tolist() == [0, 32]
    assert np.ptp(many) <= 0.3 * many.mean()  # squares are even on this scale
    assert ends[:, 1] == pytest.approx([0, (N - 1) ** 2])


def test_means_are_tested_on_the_scale_of_the_model_and_counts_by_their_logarithms(monkeypatch):
    frame = mixed_table()
    lines, _ = profiles_of(monkeypatch, frame)
    own = GROUPS == 1
    logs, height = np.log1p(frame["calls"]), frame["height"]
    for column, values in (("calls", logs), ("height", height)):
        expected = ttest_ind(values[own], values[~own], equal_var=False).pvalue
        assert lines.loc[(column, "", 1), "p_value"] == pytest.approx(expected, rel=1e-3)
    plan = (frame["plan"] == "b").astype(float)
    expected = ttest_ind(plan[own], plan[~own], equal_var=False).pvalue
    assert lines.loc[("plan", "b", 1), "p_value"] == pytest.approx(expected, rel=1e-3)
    told = lines.xs(1, level="cluster")
    corrected = false_discovery_control(told["p_value"])
    assert told["p_adjusted"].to_numpy() == pytest.approx(corrected, rel=1e-6)
