"""The report: what is gathered, and that nothing a user names can become part of the page."""

import base64
import io
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cmvae import IncompleteDataset
from cmvae.preprocessing.coding import encode_table
from cmvae.preprocessing.tokens import Tokenizer
from cmvae.report import gather_report, units_of_table, write_report
from cmvae.report.arguments import NO_LABEL
from cmvae.report.moments import Moments
from cmvae.report.page import _as_json
from cmvae.report.pictures import Scale, as_sheet, thumbnails
from cmvae.report.themes import THEMES, contrast
from cmvae.training.initialization import latent_means
from helpers import assert_same_snapshot, make_model, snapshot

SHAPES = {"a": (3,), "b": (1, 4, 6)}
N = 40


@pytest.fixture
def model():
    """Return a model some of whose clusters are pruned."""
    model = make_model(SHAPES, number_of_clusters=5)
    model.cluster_centers = latent_means(model, data())[:5].detach()
    model.mixture.logits.data.zero_()
    model.mixture.keep(torch.tensor([True, False, True, False, True]))
    return model


def data(labels=None):
    generator = torch.Generator().manual_seed(0)
    values = {
        "a": 5 + 3 * torch.randn(N, 3, generator=generator),
        "b": torch.rand(N, 1, 4, 6, generator=generator),
    }
    masks = {"a": torch.arange(N) % 4 != 1, "b": torch.arange(N) % 5 != 2}
    masks["a"] |= ~masks["b"]
    for name, mask in masks.items():
        values[name][~mask] = float("nan")
    return IncompleteDataset(values, masks, labels)


def pictures_of(sheet):
    """Return the pictures of a sheet, (n, H, W, 3) bytes."""
    encoded = base64.b64decode(sheet.uri.split(",", 1)[1])
    whole = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    down = whole.shape[0] // sheet.height
    tiles = whole.reshape(down, sheet.height, sheet.across, sheet.width, 3).swapaxes(1, 2)
    return tiles.reshape(-1, sheet.height, sheet.width, 3)[: sheet.count]


# Gathering


def test_clusters_are_those_of_the_model_in_any_number_of_batches(model):
    whole, cut = (gather_report(model, data(), batch_size=size) for size in (1024, 7))
    found = model.predict_clusters(data())
    clusters, probabilities = found.clusters.numpy(), found.probabilities.detach().numpy()
    assert [c.name for c in whole.clusters] == ["0", "2", "4"]
    for content in (whole, cut):
        for cluster in content.clusters:
            members = clusters == int(cluster.name)
            assert cluster.size == members.sum()
            assert cluster.certainty == pytest.approx(
                probabilities[members].max(1).mean(), rel=1e-5
            )
            assert cluster.unsure == (probabilities[members].max(1) < 0.5).sum()
        names = [int(content.clusters[c].name) for c in content.samples.cluster]
        assert names == clusters.tolist()
    assert [c.weight for c in whole.clusters] == pytest.approx([1 / 3] * 3)
    for one, other in zip(whole.clusters, cut.clusters, strict=True):
        assert [d.difference for d in one.differences] == pytest.approx(
            [d.difference for d in other.differences], rel=1e-4
        )


def test_the_model_and_the_data_stay_as_they_are(model):
    before, values = snapshot(model), data()
    kept = {m: x.clone() for m, x in values.data.items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    gather_report(model.train(), values)
    assert torch.equal(torch.get_rng_state(), state)
    model.train(False) if not any(before["modes"]) else None
    assert_same_snapshot(before, snapshot(model))
    assert all(torch.equal(kept[m].nan_to_num(), x.nan_to_num()) for m, x in values.data.items())


def test_differences_are_those_of_the_observed_samples(model):
    values = data()
    content = gather_report(model, values, n_features=99)
    x, seen = values.data["a"].double().numpy(), values.masks["a"].numpy()
    clusters = np.array(content.samples.cluster)
    for c, cluster in enumerate(content.clusters):
        assert len(cluster.differences) == 3
        sizes = [abs(d.difference) for d in cluster.differences]
        assert sizes == sorted(sizes, reverse=True)
        for d in cluster.differences:
            inside, outside = (
                x[seen & (clusters == c), d.feature],
                x[seen & (clusters != c), d.feature],
            )
            assert (d.inside, d.outside) == pytest.approx((inside.mean(), outside.mean()))
            assert d.difference == pytest.approx(
                (inside.mean() - outside.mean()) / x[seen, d.feature].std()
            )


def test_values_are_in_units_of_the_data_and_differences_do_not_change(model):
    plain = gather_report(model, data())
    scaled = gather_report(model, data(), to_units={"a": lambda values: 1000 * values + 7})
    for one, other in zip(plain.clusters, scaled.clusters, strict=True):
        for d, e in zip(one.differences, other.differences, strict=True):
            assert e.difference == pytest.approx(d.difference, rel=1e-4)
            expected = [1000 * value + 7 for value in (d.inside, d.outside, d.prototype)]
            assert (e.inside, e.outside, e.prototype) == pytest.approx(expected, rel=1e-4)
    assert scaled.samples.telling[0][0][2] == pytest.approx(
        1000 * plain.samples.telling[0][0][2] + 7, rel=1e-4
    )


def test_the_most_telling_values_are_furthest_from_the_mean(model):
    values = data()
    content = gather_report(model, values)
    seen = values.masks["a"].numpy()
    x = values.data["a"].double().numpy()
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
    shapes = {"a": (4,), "b": (4,)}
    tables = {m: torch.randn(12, 4) * (torch.arange(4) > 0) for m in shapes}
    telling = gather_report(make_model(shapes), tables).samples.telling
    assert all(len(entries) == 5 for entries in telling)
    assert all(
        {m for m, *_ in entries} == {0, 1} and min(j for _, j, *_ in entries) > 0
        for entries in telling
    )
    two = gather_report(make_model({"a": (2,)}), {"a": tables["a"][:, :2]}).samples.telling
    assert all([j for _, j, *_ in entries] == [1] for entries in two)


def test_prototypes_are_decoded_at_the_centres_without_private_latents(model):
    content = gather_report(model, data(), n_features=3, n_draws=4)
    centres = model.cluster_centers[[0, 2, 4]]
    none = {m: torch.zeros(3, 2) for m in SHAPES}
    made = model.decode({"z": centres, "modalities_z": none})
    for c, cluster in enumerate(content.clusters):
        for d in cluster.differences:
            assert d.prototype == pytest.approx(made["a"][c, d.feature].item(), rel=1e-5)
    sheet = content.modalities[1].prototypes
    assert sheet.count == 3 * 5
    shades = made["b"].detach()[:, 0].clamp(0, 1).mul(255).round().byte().numpy()
    assert (np.abs(pictures_of(sheet)[::5, ..., 0].astype(int) - shades) <= 1).all()


def test_thumbnails_are_those_of_the_samples_and_blank_without_one(model):
    values = data()
    sheet = gather_report(model, values).modalities[1].sheet
    pictures = pictures_of(sheet)
    for i, seen in enumerate(values.masks["b"]):
        expected = values.data["b"][i, 0].mul(255).round().numpy() if seen else np.full((4, 6), 255)
        assert (pictures[i] == expected[..., None]).all()


def test_the_nearest_members_are_the_most_probable_under_their_cluster(model):
    content = gather_report(model, data(), n_nearest=4)
    densities = (
        model.mixture.log_prob_clusters(latent_means(model, data()))[:, [0, 2, 4]].detach().numpy()
    )
    for c, cluster in enumerate(content.clusters):
        members = np.flatnonzero(np.array(content.samples.cluster) == c)
        assert list(cluster.nearest) == members[np.argsort(-densities[members, c])][:4].tolist()


def test_some_samples_are_shown_of_many_and_all_are_counted(model):
    content = gather_report(
        model, data(), max_points=20, n_nearest=3, ids=[f"s{i}" for i in range(N)]
    )
    assert len(content.samples.ids) == len(set(content.samples.ids)) == 20
    assert sum(c.size for c in content.clusters) == content.n_samples == N
    full = gather_report(model, data(), n_nearest=3)
    for one, other in zip(content.clusters, full.clusters, strict=True):
        assert [content.samples.ids[i] for i in one.nearest] == [
            f"s{full.samples.ids[i]}" for i in other.nearest
        ]
    for k, name in enumerate(content.samples.ids):
        i = int(name[1:])
        assert content.samples.cluster[k] == full.samples.cluster[i]
        assert content.samples.telling[k] == full.samples.telling[i]
    assert (
        pictures_of(content.modalities[1].sheet)[0]
        == pictures_of(full.modalities[1].sheet)[int(content.samples.ids[0][1:])]
    ).all()
    few = gather_report(model, data(), max_points=2)
    assert len(few.samples.ids) == 2
    assert all(0 <= i < 2 for c in few.clusters for i in c.nearest)


def test_patterns_count_what_is_observed(model):
    values = data()
    content = gather_report(model, values)
    both = (values.masks["a"] & values.masks["b"]).numpy()
    clusters = np.array(content.samples.cluster)
    assert content.patterns[0].observed == (True, True)
    assert content.patterns[0].counts == tuple(np.bincount(clusters[both], minlength=3).tolist())
    assert sum(sum(p.counts) for p in content.patterns) == N
    for i in range(N):
        pattern = content.patterns[content.samples.pattern[i]].observed
        assert pattern == (bool(values.masks["a"][i]), bool(values.masks["b"][i]))
    assert content.modalities[0].observed == tuple(
        np.bincount(clusters[values.masks["a"].numpy()], minlength=3).tolist()
    )


def test_rare_patterns_are_put_together():
    shapes = dict.fromkeys("abcde", (2,))
    model = make_model(shapes)
    codes = torch.arange(1, 32).repeat(2)
    masks = {name: (codes >> bit) % 2 == 1 for bit, name in enumerate(shapes)}
    content = gather_report(
        model, IncompleteDataset({m: torch.randn(62, 2) for m in shapes}, masks)
    )
    assert len(content.patterns) == 12
    assert content.patterns[-1].observed == ()
    assert sum(content.patterns[-1].counts) == 2 * (31 - 11)
    assert max(content.samples.pattern) == 11


def test_labels_are_counted_by_cluster_under_their_names(model):
    labels = [0, 1] * (N // 2)
    content = gather_report(model, data(labels), label_names=["even", "odd"])
    clusters = np.array(content.samples.cluster)
    assert content.agreement.labels == ("even", "odd")
    assert content.agreement.counts[1] == tuple(np.bincount(clusters[1::2], minlength=3).tolist())
    assert content.samples.label == tuple(labels)
    assert gather_report(model, data(), labels=clusters).agreement.scores["ACC"] == 1
    assert gather_report(model, data()).agreement is None


def test_samples_without_a_label_are_counted_and_not_scored(model):
    clusters = np.array(gather_report(model, data()).samples.cluster)
    labels = [NO_LABEL if i % 3 else f"group {c}" for i, c in enumerate(clusters)]
    agreement = gather_report(model, data(), labels=labels).agreement
    assert sum(map(sum, agreement.counts)) == N
    assert agreement.scores["ACC"] == 1
    with pytest.raises(ValueError, match="labels: none of the samples has one"):
        gather_report(model, data(), labels=[NO_LABEL] * N)


def test_texts_are_shown_as_texts():
    captions = ["a red bird", "a blue bird", "two red birds"] * 4
    tokenizer = Tokenizer.fit(captions)
    model = make_model(
        {"caption": tokenizer.shape, "a": (3,)}, decoders_dist={"caption": "categorical"}
    )
    values = {"caption": torch.as_tensor(tokenizer.encode(captions)), "a": torch.randn(12, 3)}
    one_hot = torch.nn.functional.one_hot(values["caption"], tokenizer.shape[1]).float()
    units = {"caption": lambda x: tokenizer.decode(x.argmax(-1))}
    data = IncompleteDataset({**values, "caption": one_hot}, {"caption": [True] * 11 + [False]})
    content = gather_report(model, data, to_units=units)
    assert content.modalities[0].kind == "text"
    assert list(content.modalities[0].texts) == [*captions[:11], ""]
    assert all(set(c.texts) == {"caption"} for c in content.clusters)


def test_units_of_a_coded_table_are_those_of_its_columns():
    frame = pd.DataFrame(
        {"colour": ["red", "blue"] * 10, "height": np.linspace(100, 200, 20), "on": [0, 1] * 10}
    )
    values, coding = encode_table(frame)
    restored = pd.DataFrame(units_of_table(coding)(values), columns=coding.names)
    assert np.allclose(restored["height"], frame["height"])
    assert (restored["colour=red"] == (frame["colour"] == "red")).all()
    assert (restored["on"] == frame["on"]).all()


def test_rows_of_an_epoch_are_put_together(model):
    logged = pd.DataFrame(
        {
            "epoch": [0, 0, 1],
            "step": [4, 4, 9],
            "train/loss": [None, 3.0, 2.0],
            "val/loss": [3.5, None, None],
        }
    )
    content = gather_report(model, data(), history=logged, h_values=[float("inf"), None, 0.5, 0.25])
    assert content.history == {"train/loss": (3.0, 2.0), "val/loss": (3.5, None)}
    assert content.selection == ((2, 0.5), (3, 0.25))


def test_an_absent_modality_is_generated_all_the_same(model):
    content = gather_report(model, {"a": torch.randn(9, 3)})
    assert content.modalities[1].observed == (0, 0, 0)
    assert content.modalities[1].prototypes.count == 18
    content = gather_report(model, {"b": torch.rand(9, 1, 4, 6)})
    assert all(c.differences == () for c in content.clusters)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ids": ["x"]}, ValueError, "ids: expected 40"),
        ({"labels": [1, 2]}, ValueError, "labels: expected 40"),
        (
            {"labels": [7] * N, "label_names": ["a"]},
            ValueError,
            r"label_names: no name for the labels \[7\]",
        ),
        ({"features": {"a": ["x"]}}, ValueError, r"features\['a'\]: expected 3 names, got 1"),
        ({"features": {"z": ["x"]}}, KeyError, "unknown modality 'z' in features"),
        ({"to_units": {"z": abs}}, KeyError, "unknown modality 'z' in to_units"),
        ({"images": ["z"]}, KeyError, "unknown modality 'z' in images"),
        ({"to_units": {"a": lambda x: x[:1]}}, ValueError, r"to_units\['a'\] made"),
        ({"images": ["a"]}, ValueError, "images must be"),
        ({"history": [1]}, TypeError, "history must be a mapping"),
        ({"history": {"loss": ["x"]}}, TypeError, r"history\['loss'\] must hold numbers"),
        ({"h_values": [float("nan")]}, ValueError, "h_values must hold no NaN"),
        ({"rule": "best"}, ValueError, "rule"),
        ({"max_points": 0}, ValueError, "max_points"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"seed": "x"}, TypeError, "seed must be"),
        ({"n_nearest": -1}, ValueError, "n_nearest"),
        ({"n_features": 0}, ValueError, "n_features"),
        ({"cluster_names": {1: "x"}}, ValueError, r"cluster_names: \[1\] are not active"),
    ],
)
def test_bad_arguments_are_named(model, arguments, error, message):
    with pytest.raises(error, match=message):
        gather_report(model, data(), **arguments)
    with pytest.raises(TypeError, match="model must be a CMVAE, got str"):
        gather_report("model", data())


def test_clusters_can_have_names(model):
    content = gather_report(model, data(), cluster_names={2: "the tall"})
    assert [c.name for c in content.clusters] == ["0", "the tall", "4"]


# Sums


def test_moments_keep_their_digits_far_from_zero():
    rng = np.random.default_rng(0)
    clusters = rng.integers(2, size=500)
    values = rng.normal(1e6, 1.0, (500, 2))
    moments = Moments(2, 2)
    for start in range(0, 500, 60):
        moments.add(values[start : start + 60], clusters[start : start + 60])
    assert moments.deviation == pytest.approx(values.std(0), rel=1e-9)
    assert moments.mean == pytest.approx(values.mean(0), rel=1e-12)


def test_a_constant_feature_and_an_empty_cluster_set_nothing_apart():
    moments = Moments(3, 2)
    moments.add(np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 5.0]]), np.array([0, 0, 1]))
    assert moments.differences(0)[0] == 0
    assert moments.differences(0)[1] < 0
    assert moments.differences(2).tolist() == [0, 0]


# Pictures


def test_images_of_another_range_are_stretched_to_it():
    images = np.array([[[-2.0, 0.0], [2.0, 6.0]]])
    assert Scale(-2, 6).bytes(images)[0, ..., 0].tolist() == [[0, 64], [128, 255]]
    assert Scale(0.2, 0.4).bytes(np.array([[[0.2, 1.0]]]))[0, ..., 0].tolist() == [[51, 255]]
    assert Scale(3, 3).bytes(np.array([[[3.0, np.nan]]])).min() == 255


def test_a_sheet_stays_within_its_bytes():
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(50, 32, 24, 3), dtype=np.uint8)
    assert as_sheet(noise, 10**7).uri.startswith("data:image/png")
    assert (pictures_of(as_sheet(noise, 10**7)) == noise).all()
    small = as_sheet(noise, 6000)
    assert len(base64.b64decode(small.uri.split(",")[1])) <= 6000
    assert small.count == 50
    assert small.width / small.height == pytest.approx(24 / 32, rel=0.2)
    assert thumbnails(noise, 8).shape == (50, 8, 6, 3)


# The page


def content_of(page):
    return json.loads(page.split('id="report-data">')[1].split("</script>")[0])


def elements_of(page):
    """Return the elements of a page in order, as a reader of HTML finds them."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: found.append(tag)
    parser.feed(page)
    return found


HOSTILE = "</script><script>alert(1)</script><!-- &amp; \u2028 $title ${style} \\u003c"


def test_no_name_becomes_markup(model, tmp_path):
    labels = [HOSTILE] * N
    arguments = {
        "ids": [HOSTILE] * N,
        "features": {"a": [HOSTILE] * 3},
        "title": HOSTILE,
        "labels": labels,
    }
    content = gather_report(
        model, data(), **arguments, cluster_names={0: HOSTILE}, history={HOSTILE: [1.0]}
    )
    write_report(tmp_path / "report.html", content)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page
    assert elements_of(page).count("script") == 3
    found = content_of(page)
    assert (
        found["title"] == found["samples"]["ids"][3] == found["agreement"]["labels"][0] == HOSTILE
    )
    assert (
        found["modalities"][0]["features"][0] == HOSTILE[:79] + "…"
        if len(HOSTILE) > 80
        else HOSTILE
    )
    assert found["clusters"][0]["name"] == HOSTILE
    assert list(found["history"]) == [HOSTILE]
    assert page.count("&lt;/script&gt;&lt;script&gt;alert(1)") == 2


def test_json_of_the_page_is_safe_in_a_script_and_keeps_its_values():
    value = {
        "text": "<!-- </SCRIPT> & \u2028\u2029 é",
        "numbers": [1.23456789, float("nan"), float("-inf"), 3, True],
    }
    text = _as_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"text": value["text"], "numbers": [1.2346, None, None, 3, True]}


def test_a_page_is_whole_and_small_and_names_no_host(model, tmp_path):
    write_report(tmp_path / "report.html", gather_report(model, data()))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 4e6 < len(page) < 6e6
    frame = page.split("<script>")[0] + page.rsplit("<script>", 1)[1]
    assert "Content-Security-Policy" in frame
    assert "//cdn" not in frame
    assert "https:" not in frame.replace("http://www.w3.org/2000/svg", "")
    assert "Licensed under the MIT license" in page


def test_another_ending_and_a_page_too_large_are_refused_and_the_old_one_stays(
    model, tmp_path, monkeypatch
):
    content = gather_report(model, data())
    with pytest.raises(ValueError, match=r"ends in \.html"):
        write_report(tmp_path / "report.pdf", content)
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("cmvae.report.page.LARGEST", 10**6)
    with pytest.raises(ValueError, match=r"would have 4\.\d MB, at most 1 are allowed"):
        write_report(path, content)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_plotly_the_extra_is_named(model, tmp_path, monkeypatch):
    content = gather_report(model, data())
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ImportError, match=r"pip install 'cmvae\[report\]'"):
        write_report(tmp_path / "report.html", content)


@pytest.mark.parametrize("name", THEMES)
def test_colours_have_the_contrast_that_wcag_asks_for(name):
    theme = THEMES[name]
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    for background in ("page", "surface"):
        for text in ("ink", "muted", "accent"):
            assert contrast(theme[text], theme[background]) >= 4.5
        assert all(contrast(theme[g], theme[background]) >= 3 for g in theme if g.startswith("g"))
    assert contrast(theme["on-accent"], theme["accent"]) >= 4.5
    # The deepest cell of the table of labels: 42 % accent.
    mixed = [
        round(0.42 * int(theme["accent"][i : i + 2], 16) + 0.58 * int(theme["page"][i : i + 2], 16))
        for i in (1, 3, 5)
    ]
    assert contrast(theme["ink"], "#" + "".join(f"{c:02x}" for c in mixed)) >= 4.5
