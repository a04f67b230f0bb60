"""What is gathered for a report, from a run and its samples."""

import numpy as np
import pandas as pd
import pytest
import torch

from cmvae.clusters.evidence import NumberEvidence
from cmvae.models.inference import latent_means
from cmvae.preprocessing import encode_table
from cmvae.preprocessing.arrays import ArrayCodec, ImageCodec
from cmvae.preprocessing.texts import TextCodec, Tokenizer
from cmvae.report import Shown, gather_report
from cmvae.report.counting import NO_LABEL
from helpers import assert_same_snapshot, snapshot
from made_runs import EVIDENCE, make_rows, make_run, numbers, pictures_of

N = 40
IMAGES = ImageCodec(shape=(1, 4, 6))
CODECS = {"a": numbers(["x", "y", "z"], center=7.0, spread=1000.0), "b": IMAGES}
SEEN_A, SEEN_B = np.arange(N) % 4 != 1, np.arange(N) % 5 != 2
MASKS = {"a": SEEN_A | ~SEEN_B, "b": SEEN_B}


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    data = {
        "a": (5 + 3 * rng.normal(size=(N, 3))).astype(np.float32),
        "b": rng.integers(0, 256, (N, 1, 4, 6), dtype=np.uint8),
    }
    data["a"][~MASKS["a"]] = np.nan
    return make_rows(data, MASKS)


@pytest.fixture
def found(rows):
    """Return a run, some of whose clusters are pruned."""
    return make_run(CODECS, rows, n_clusters=3, n_pruned=2)


# Clusters


@pytest.mark.parametrize("rule", ["mean", "joint"])
def test_clusters_are_those_of_the_run_in_any_number_of_batches(rows, rule):
    made = make_run(CODECS, rows, n_pruned=2, rule=rule)
    clusters, probabilities = made.assign(made.preprocessing.dataset(rows))
    whole, cut = (gather_report(made, rows, shown=Shown(batch_size=k)) for k in (1024, 7))
    assert [c.name for c in whole.clusters] == ["0", "1", "2"]
    for content in (whole, cut):
        assert content.rule == rule
        assert list(content.samples.cluster) == clusters.tolist()
        for number, cluster in enumerate(content.clusters):
            own = probabilities[clusters == number, number]
            assert cluster.size == len(own) > 0
            assert cluster.certainty == pytest.approx(own.mean())
            assert cluster.unsure == (own < 0.5).sum()
    assert [c.weight for c in whole.clusters] == pytest.approx([1 / 3] * 3)
    for one, other in zip(whole.clusters, cut.clusters, strict=True):
        assert one.nearest == other.nearest
        sizes = [[d.effect for d in cluster.differences] for cluster in (one, other)]
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-4)


def test_model_samples_and_the_global_generator_stay_as_they_are(found, rows):
    before, state = snapshot(found.model.train()), torch.get_rng_state()
    kept = {m: x.copy() for m, x in rows.data.items()}
    gather_report(found, rows)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_snapshot(before, snapshot(found.model))
    for m, x in rows.data.items():
        assert np.array_equal(kept[m], x, equal_nan=m == "a")


def test_differences_are_those_of_the_observed_samples_in_the_units_of_the_data(found, rows):
    content = gather_report(found, rows, shown=Shown(n_features=99))
    x, seen = 1000 * rows.data["a"].astype(float) + 7, MASKS["a"]
    clusters = np.array(content.samples.cluster)
    for c, cluster in enumerate(content.clusters):
        assert len(cluster.differences) == 3
        sizes = [abs(d.effect) for d in cluster.differences]
        assert sizes == sorted(sizes, reverse=True)
        for d in cluster.differences:
            inside = x[seen & (clusters == c), d.feature]
            outside = x[seen & (clusters != c), d.feature]
            assert (d.inside, d.outside) == pytest.approx((inside.mean(), outside.mean()))
            degrees = len(inside) - 1, len(outside) - 1
            variance = np.average([inside.var(ddof=1), outside.var(ddof=1)], weights=degrees)
            apart = inside.mean() - outside.mean()
            assert d.effect == pytest.approx(apart / np.sqrt(variance), rel=1e-5)
            assert (d.symbol, d.is_share) == ("d", False)
            assert sum(d.histogram.inside) == len(inside)
            assert sum(d.histogram.outside) == len(outside)


def test_the_most_telling_values_are_furthest_from_the_mean(found, rows):
    content = gather_report(found, rows)
    x, seen = 1000 * rows.data["a"].astype(float) + 7, MASKS["a"]
    scores = (x - x[seen].mean(0)) / x[seen].std(0)
    for row, entries in enumerate(content.samples.telling):
        if not seen[row]:
            assert entries == ()
            continue
        order = np.argsort(-np.abs(scores[row]))
        assert [f for _, f, _, _ in entries] == order.tolist()
        assert [s for *_, s in entries] == pytest.approx(scores[row][order].tolist(), rel=1e-4)
        assert [v for _, _, v, _ in entries] == pytest.approx(x[row][order].tolist())


def test_few_values_tell_of_all_tables_together_and_constant_ones_nothing():
    rng = np.random.default_rng(0)
    varied = {m: rng.normal(size=(12, 4)) * (np.arange(4) > 0) for m in "ab"}
    rows = make_rows({m: x.astype(np.float32) for m, x in varied.items()})
    codecs = dict.fromkeys("ab", numbers("wxyz"))
    for entries in gather_report(make_run(codecs, rows), rows).samples.telling:
        assert len(entries) == 5
        assert {m for m, *_ in entries} == {0, 1}
        assert min(j for _, j, *_ in entries) > 0
    two = make_rows({"a": rows.data["a"][:, :2]})
    telling = gather_report(make_run({"a": numbers("wx")}, two), two).samples.telling
    assert all([j for _, j, *_ in entries] == [1] for entries in telling)


def test_images_are_decoded_at_the_centres_without_private_latents(found, rows):
    content = gather_report(found, rows, shown=Shown(n_draws=4))
    none = {m: torch.zeros(3, 2) for m in CODECS}
    made = found.model.decode({"z": found.model.cluster_centers[:3], "modalities_z": none})
    sheet = content.modalities[1].prototypes
    assert sheet.count == 3 * 5
    shades = made["b"].detach()[:, 0].clamp(0, 1).mul(255).round().byte().numpy()
    assert (np.abs(pictures_of(sheet)[::5, ..., 0].astype(int) - shades) <= 1).all()


def test_draws_follow_the_seed(found, rows):
    one, same, other = (gather_report(found, rows, shown=Shown(seed=k)) for k in (1, 1, 2))
    assert one == same
    assert one.modalities[1].prototypes != other.modalities[1].prototypes


def test_the_nearest_members_are_the_most_probable_under_their_cluster(found, rows):
    content = gather_report(found, rows, shown=Shown(n_nearest=4))
    means = latent_means(found.model, found.preprocessing.dataset(rows))
    densities = found.model.mixture.log_prob_clusters(means).detach().numpy()
    for c, cluster in enumerate(content.clusters):
        members = np.flatnonzero(np.array(content.samples.cluster) == c)
        assert list(cluster.nearest) == members[np.argsort(-densities[members, c])][:4].tolist()


# Samples


def test_thumbnails_are_those_of_the_samples_and_blank_without_one(found, rows):
    pictures = pictures_of(gather_report(found, rows).modalities[1].sheet)
    for i, seen in enumerate(MASKS["b"]):
        expected = rows.data["b"][i, 0] if seen else np.full((4, 6), 255)
        assert (pictures[i] == expected[..., None]).all()


def test_some_samples_are_shown_of_many_and_all_are_counted(found, rows):
    content = gather_report(found, rows, shown=Shown(max_points=20, n_nearest=3))
    assert len(content.samples.ids) == len(set(content.samples.ids)) == 20
    assert sum(c.size for c in content.clusters) == content.n_samples == N
    full = gather_report(found, rows, shown=Shown(n_nearest=3))
    assert full.samples.ids == tuple(rows.ids)
    for one, other in zip(content.clusters, full.clusters, strict=True):
        nearest = [content.samples.ids[i] for i in one.nearest]
        assert nearest == [full.samples.ids[i] for i in other.nearest]
    few, all_of = (pictures_of(c.modalities[1].sheet) for c in (content, full))
    for k, name in enumerate(content.samples.ids):
        i = rows.ids.index(name)
        assert content.samples.cluster[k] == full.samples.cluster[i]
        assert content.samples.telling[k] == full.samples.telling[i]
        assert (few[k] == all_of[i]).all()
    two = gather_report(found, rows, shown=Shown(max_points=2))
    assert len(two.samples.ids) == 2
    assert all(0 <= i < 2 for c in two.clusters for i in c.nearest)


def test_patterns_count_what_is_observed(found, rows):
    content = gather_report(found, rows)
    clusters, both = np.array(content.samples.cluster), MASKS["a"] & MASKS["b"]
    assert content.patterns[0].observed == (True, True)
    assert content.patterns[0].counts == tuple(np.bincount(clusters[both], minlength=3).tolist())
    assert sum(sum(p.counts) for p in content.patterns) == N
    for i in range(N):
        pattern = content.patterns[content.samples.pattern[i]].observed
        assert pattern == (MASKS["a"][i], MASKS["b"][i])
    counts = np.bincount(clusters[MASKS["a"]], minlength=3).tolist()
    assert content.modalities[0].observed == tuple(counts)


def test_rare_patterns_are_put_together():
    codes = np.arange(1, 32).repeat(2)
    masks = {name: (codes >> bit) % 2 == 1 for bit, name in enumerate("abcde")}
    rng = np.random.default_rng(0)
    rows = make_rows({m: rng.normal(size=(62, 2)).astype(np.float32) for m in masks}, masks)
    content = gather_report(make_run(dict.fromkeys(masks, numbers("xy")), rows), rows)
    assert len(content.patterns) == 12
    assert content.patterns[-1].observed == ()
    assert sum(content.patterns[-1].counts) == 2 * (31 - 11)
    assert max(content.samples.pattern) == 11


# Labels


def test_labels_are_found_by_id_and_counted_by_cluster(found, rows):
    names = ["odd" if i % 2 else "even" for i in range(N)]
    labels = pd.Series(names, index=rows.ids).iloc[::-1]
    content = gather_report(found, rows, pd.concat([labels, pd.Series({"another": "third"})]))
    clusters = np.array(content.samples.cluster)
    assert content.agreement.labels == ("even", "odd")
    assert content.agreement.counts[1] == tuple(np.bincount(clusters[1::2], minlength=3).tolist())
    assert content.samples.label == tuple(i % 2 for i in range(N))
    own = pd.Series([f"group {c}" for c in clusters], index=rows.ids)
    assert gather_report(found, rows, own).agreement.scores["ACC"] == 1
    assert gather_report(found, rows).agreement is None


@pytest.mark.parametrize("lack", ["left out", "named", "missing"])
def test_samples_without_a_label_are_counted_and_not_scored(found, rows, lack):
    clusters = gather_report(found, rows).samples.cluster
    labels = pd.Series([f"group {c}" for c in clusters], index=rows.ids, dtype=object)
    if lack == "left out":
        labels = labels.iloc[::3]
    else:
        labels.iloc[1::3] = labels.iloc[2::3] = NO_LABEL if lack == "named" else None
    agreement = gather_report(found, rows, labels).agreement
    assert sum(map(sum, agreement.counts)) == N
    assert NO_LABEL in agreement.labels
    assert agreement.scores["ACC"] == 1


# Kinds of content


def test_texts_are_shown_as_texts():
    captions = ["a red bird", "a blue bird", "two red birds"] * 4
    codec = TextCodec(column="caption", tokenizer=Tokenizer.fit(captions))
    tokens = codec.encode(pd.DataFrame({"caption": captions}), "caption")[0]
    values = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    rows = make_rows({"caption": tokens, "a": values}, {"caption": [True] * 11 + [False]})
    content = gather_report(make_run({"caption": codec, "a": numbers("xyz")}, rows), rows)
    assert [m.kind for m in content.modalities] == ["text", "table"]
    assert list(content.modalities[0].texts) == [*captions[:11], ""]
    words = set(codec.tokenizer.words)
    for cluster in content.clusters:
        assert set(cluster.texts["caption"].split()) <= words


def test_numbers_of_a_table_are_shown_in_the_units_of_its_columns():
    frame = pd.DataFrame(
        {"colour": ["red", "blue"] * 10, "height": np.linspace(100, 200, 20), "on": [0, 1] * 10}
    )
    values, codec = encode_table(frame, {"height": "continuous"})
    rows = make_rows({"a": values})
    content = gather_report(make_run({"a": codec}, rows), rows)
    assert content.modalities[0].features == tuple(codec.names)
    expected = {"height": frame["height"], "on": frame["on"]}
    expected["colour=red"] = (frame["colour"] == "red").astype(int)
    # A category of two values is told by the second alone.
    for row, entries in enumerate(content.samples.telling):
        shown = {codec.names[j]: value for _, j, value, _ in entries}
        own = {name: values[row] for name, values in expected.items()}
        assert own == pytest.approx(shown, rel=1e-5, abs=1e-5)


def test_an_array_is_a_table_without_names():
    values = np.random.default_rng(0).normal(size=(9, 1, 2, 3)).astype(np.float32)
    rows, codec = make_rows({"a": values}), ArrayCodec(shape=(1, 2, 3), center=50.0, spread=10.0)
    content = gather_report(make_run({"a": codec}, rows), rows)
    about = content.modalities[0]
    assert (about.kind, about.shape, about.sheet) == ("table", (1, 2, 3), None)
    assert about.features == tuple(f"feature {i}" for i in range(6))
    for row, entries in enumerate(content.samples.telling):
        for _, j, value, _ in entries:
            assert value == pytest.approx(50 + 10 * values[row].ravel()[j], rel=1e-5)


def test_curves_evidence_and_stability_are_those_of_the_run(rows):
    log = pd.DataFrame(
        {
            "phase": ["warm-up", "warm-up", "clusters"],
            "epoch": [0, 1, 0],
            "train/loss": [4.0, 3.0, 2.0],
            "val/loss": [None, 3.5, float("nan")],
        }
    )
    made = make_run(CODECS, rows, log=log, evidence=EVIDENCE, stability=[0.9, None, 0.4])
    content = gather_report(made, rows)
    assert content.history == {"train/loss": (4.0, 3.0, 2.0), "val/loss": (None, 3.5, None)}
    assert content.evidence == NumberEvidence(**EVIDENCE)
    assert [cluster.stability for cluster in content.clusters] == [0.9, None, 0.4]


def test_an_absent_modality_is_generated_all_the_same(found, rows):
    one = make_rows({"a": np.nan_to_num(rows.data["a"])})
    content = gather_report(found, one)
    assert content.modalities[1].observed == (0, 0, 0)
    assert content.modalities[1].prototypes.count == 18
    assert (pictures_of(content.modalities[1].sheet) == 255).all()
    content = gather_report(found, make_rows({"b": rows.data["b"]}))
    assert all(c.differences == () for c in content.clusters)


# Refusals


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (pd.Series(["x"], index=["other"]), ValueError, "labels: none of the samples has one"),
        (pd.Series([NO_LABEL], index=["s1"]), ValueError, "labels: none of the samples has one"),
        (pd.Series(["x", "y"], index=["s1", "s1"]), ValueError, "labels: duplicate ids: s1"),
        (pd.Series([1.5], index=["s1"]), TypeError, r"labels must be strings, got 1\.5"),
        (["x"] * N, TypeError, "labels must be a pandas Series, got list"),
    ],
)
def test_bad_labels_are_named(found, rows, labels, error, message):
    with pytest.raises(error, match=message):
        gather_report(found, rows, labels)


@pytest.mark.parametrize("field", [*Shown.model_fields])
def test_bad_numbers_are_named(field):
    for bad in (-1, "3", 1.5, None):
        with pytest.raises(ValueError, match=field):
            Shown(**{field: bad})


def test_another_run_or_other_rows_are_refused(found, rows):
    with pytest.raises(TypeError, match="run must be a Run, got str"):
        gather_report("runs/mine", rows)
    with pytest.raises(KeyError, match="unknown modality 'z' in rows: got 'z'; known are 'a', 'b'"):
        gather_report(found, make_rows({"z": rows.data["a"]}))
