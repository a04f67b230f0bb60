"""Figures: what is on them, not how they look."""

import time

import matplotlib
import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from cmvae.report import (
    embedding_figure,
    entropy_figure,
    generation_grid,
    save_figure,
    translation_figure,
)
from cmvae.report.drawing import PALETTE

INF = float("inf")


def groups(n, n_groups, d, seed=0):
    """Return n points in d dimensions around well separated centres, and which one."""
    rng = np.random.default_rng(seed)
    members = np.arange(n) % n_groups
    return 10 * rng.normal(size=(n_groups, d))[members] + rng.normal(size=(n, d)), members


def drawn(panel):
    """Return the points of a panel, {(text, opacity): (n, 2)}."""
    return {
        (c.get_label(), c.get_alpha()): np.asarray(c.get_offsets())
        for c in panel.collections
        if len(c.get_offsets())
    }


# Embedding


@pytest.mark.parametrize("n", [30, 120])
def test_every_sample_is_drawn_with_its_cluster(n):
    points, clusters = groups(n, 3, 5)
    (panel,) = embedding_figure(points, clusters * 7).axes
    found = drawn(panel)
    assert {text: len(xy) for (text, _), xy in found.items()} == {
        "0": n // 3,
        "7": n // 3,
        "14": n // 3,
    }
    # Groups far apart stay apart: each is closer to its own centre than to any other.
    centres = np.stack([xy.mean(0) for xy in found.values()])
    for own, xy in enumerate(found.values()):
        assert (np.linalg.norm(xy[:, None] - centres, axis=-1).argmin(1) == own).all()
    assert panel.get_title() == "3 clusters"


def test_each_number_is_written_at_the_median_of_its_cluster():
    points, clusters = groups(40, 4, 6)
    (panel,) = embedding_figure(points, clusters).axes
    found = {text: xy for (text, _), xy in drawn(panel).items()}
    written = {t.get_text(): t.get_position() for t in panel.texts}
    assert written.keys() == found.keys()
    for text, position in written.items():
        assert position == pytest.approx(tuple(np.median(found[text], axis=0)))


def test_labels_get_a_panel_of_their_own_over_the_same_points():
    points, clusters = groups(24, 2, 4)
    labels = np.array(["left", "right", "centre"])[np.arange(24) % 3]
    left, right = embedding_figure(torch.tensor(points), torch.tensor(clusters), list(labels)).axes
    assert (left.get_title(), right.get_title()) == ("2 clusters", "3 labels")
    assert [t.get_text() for t in right.get_legend().get_texts()] == ["centre", "left", "right"]
    assert not right.texts
    same = [np.concatenate(list(drawn(panel).values())) for panel in (left, right)]
    assert np.allclose(*(xy[np.lexsort(xy.T)] for xy in same))
    assert sorted(len(xy) for xy in drawn(right).values()) == [8, 8, 8]


@pytest.mark.parametrize(
    "names", [["$a$", "b$$", "$"], ["$ten_{", "b$$ is no formula", "_private"]]
)
def test_names_are_no_formulas(names, images, tmp_path):
    figure = embedding_figure(np.random.default_rng(0).normal(size=(6, 2)), np.zeros(6), names * 2)
    panel = figure.axes[1]
    texts = panel.texts if len(names[1]) == 3 else panel.get_legend().get_texts()
    assert sorted(text.get_text() for text in texts) == sorted(names)
    rows = translation_figure(images, dict.fromkeys(names, images))
    grid = generation_grid(dict.fromkeys(names, images), {name: {name: images} for name in names})
    for number, canvas in enumerate((figure, rows, grid)):
        save_figure(canvas, tmp_path / f"{number}.png")
        written = [t for t in canvas.findobj(Text) if any(n in t.get_text() for n in names)]
        assert len(written) >= 3
        assert not any(t.get_parse_math() for t in written)


def test_whole_labels_have_no_decimals():
    points, clusters = groups(12, 2, 3)
    _, right = embedding_figure(points, clusters, np.repeat([1.0, 2.0], 6)).axes
    assert [t.get_text() for t in right.texts] == ["1", "2"]


def test_incomplete_samples_are_paler_and_smaller():
    points, clusters = groups(30, 3, 5)
    n_observed = np.where(np.arange(30) < 12, 1 + np.arange(30) % 3, 4)
    figure = embedding_figure(points, clusters, n_observed=n_observed)
    marks = [c for c in figure.axes[0].collections if len(c.get_offsets())]
    strong = max(c.get_alpha() for c in marks)
    pale = [c for c in marks if c.get_alpha() < strong]
    assert sum(len(c.get_offsets()) for c in pale) == 12
    assert max(c.get_sizes()[0] for c in pale) < min(
        c.get_sizes()[0] for c in marks if c not in pale
    )
    assert "30 samples; the 12 small, pale ones" in figure.get_supxlabel()


def test_up_to_120_clusters_look_different():
    points, _ = groups(240, 2, 2)
    (panel,) = embedding_figure(points, np.arange(240) % 120).axes
    shown = [c for c in panel.collections if len(c.get_offsets())]
    looks = {(to_hex(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in shown}
    assert len(looks) == 120
    assert len(set(PALETTE)) == len(PALETTE) == 20


def test_two_dimensions_are_only_rotated():
    points, clusters = groups(80, 2, 2)
    (panel,) = embedding_figure(points, clusters).axes
    plane = np.concatenate(list(drawn(panel).values()))
    centred = points - points.mean(0)
    expected = np.concatenate([centred[clusters == c] for c in (0, 1)])
    assert np.allclose(plane @ plane.T, expected @ expected.T)
    assert panel.get_xlabel() == "principal component 1"


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((1, 3)),
        np.ones((60, 4)),
        np.arange(5.0)[:, None],
        np.eye(2),
        np.random.default_rng(0).normal(size=(60, 3)),
    ],
    ids=["one", "equal", "line", "two", "n=60"],
)
def test_small_and_degenerate_embeddings_are_drawn(points, tmp_path):
    figure = embedding_figure(points, [0] * len(points))
    assert sum(map(len, drawn(figure.axes[0]).values())) == len(points)
    save_figure(figure, tmp_path / "figure.png")
    assert figure.axes[0].get_title() == "1 cluster"


def test_large_data_are_thinned_out_and_said_to_be():
    points, clusters = groups(90, 3, 2)
    figure = embedding_figure(points, clusters, max_points=40)
    assert sum(map(len, drawn(figure.axes[0]).values())) == 40
    assert "40 of 90 samples" in figure.get_supxlabel()


def test_the_projection_repeats_and_takes_seconds():
    points, clusters = groups(600, 5, 10)
    start = time.process_time()
    first = drawn(embedding_figure(points, clusters).axes[0])
    assert time.process_time() - start < 10
    second = drawn(embedding_figure(points, clusters).axes[0])
    assert all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"clusters": [0, 1]},
            ValueError,
            "clusters: expected 6, one for each row of embedding, got 2",
        ),
        ({"labels": ["a"]}, ValueError, "labels: expected 6,"),
        ({"n_observed": [1]}, ValueError, "n_observed: expected 6,"),
        (
            {"embedding": np.zeros(6)},
            ValueError,
            r"embedding: expected 2 axes, none of length 0, got shape \(6,\)",
        ),
        (
            {"embedding": np.zeros((0, 2))},
            ValueError,
            "embedding: expected 2 axes, none of length 0",
        ),
        (
            {"embedding": np.array([[0.0]] * 5 + [[np.nan]])},
            ValueError,
            "embedding: NaN or infinity in sample 5",
        ),
        ({"embedding": [["a"]] * 6}, TypeError, "embedding"),
        ({"max_points": 0}, ValueError, "max_points must be a positive integer, got 0"),
    ],
)
def test_a_bad_embedding_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        embedding_figure(**{"embedding": np.zeros((6, 2)), "clusters": [0] * 6, **changes})


# Entropy


def test_the_curve_skips_what_was_not_evaluated_and_marks_the_choice():
    (panel,) = entropy_figure([INF, INF, 0.5, -0.25, INF, 0.75], 3).axes
    curve, line, mark = panel.lines
    assert curve.get_xydata().tolist() == [[2, 0.5], [3, -0.25], [5, 0.75]]
    assert mark.get_xydata().tolist() == [[3, -0.25]]
    assert list(line.get_xdata()) == [3, 3]
    assert panel.get_xlabel() == "number of active clusters"
    assert "entropy" in panel.get_ylabel()
    assert "lower is better" in panel.get_ylabel()
    assert "chosen: 3 clusters" in [t.get_text() for t in panel.get_legend().get_texts()]


def test_without_a_value_there_is_a_note(tmp_path):
    figure = entropy_figure([INF, INF], 1)
    (panel,) = figure.axes
    assert not panel.lines
    assert (
        panel.texts[0].get_text()
        == "not evaluated: that takes two active clusters or more\n(active: 1)"
    )
    save_figure(figure, tmp_path / "entropy.png")


@pytest.mark.parametrize(
    ("h_values", "chosen", "error", "message"),
    [
        ([INF, INF, 0.5], 3, ValueError, "chosen: expected an index of h_values, 0 to 2, got 3"),
        (
            [INF, INF, 0.5, INF],
            3,
            ValueError,
            r"chosen: expected one of the evaluated sizes \[2\], got 3",
        ),
        (
            [INF, float("nan")],
            1,
            ValueError,
            "h_values: expected a list of numbers, none of them NaN",
        ),
        ([[0.5]], 0, ValueError, "h_values: expected a list of numbers"),
        ([INF, 0.5], 1.0, TypeError, "float"),
    ],
)
def test_a_bad_curve_is_refused(h_values, chosen, error, message):
    with pytest.raises(error, match=message):
        entropy_figure(h_values, chosen)


# Translation


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(1, 5, size=(4, 6, 5))


def test_rows_hold_the_images_in_order(images):
    generated = {"zer": images[::-1].copy(), "fac": torch.tensor(images + 1)}
    figure = translation_figure(images, generated, {"fac": 0.944, "zer": 1.0})
    assert [panel.get_ylabel() for panel in figure.axes] == [
        "originals",
        "from zer\n100 % right",
        "from fac\n94 % right",
    ]
    for panel, expected in zip(figure.axes, (images, images[::-1], images + 1), strict=True):
        (image,) = panel.images
        row = image.get_array()
        gap = (row.shape[1] - 4 * 5) // 3
        for k in range(4):
            assert np.array_equal(row[:, k * (5 + gap) : k * (5 + gap) + 5], expected[k])
        assert row.mask.sum() == 6 * 3 * gap
        assert image.get_clim() == (images.min(), images.max())
        assert not panel.get_xticks().size
        assert image.get_cmap().name == "gray"


def test_row_names_fit_on_the_figure(images):
    figure = translation_figure(
        images, {"a modality with a long name": images}, {"a modality with a long name": 0.5}
    )
    figure.draw_without_rendering()
    for panel in figure.axes:
        assert panel.yaxis.label.get_window_extent().x0 >= 0


def test_what_is_generated_is_a_mapping(images):
    with pytest.raises(TypeError, match="generated must be a mapping, got list"):
        translation_figure(images, [images])


def test_shares_may_be_left_out(images):
    labels = [
        panel.get_ylabel()
        for panel in translation_figure(images, {"a": images, "b": images}, {"b": 0}).axes
    ]
    assert labels == ["originals", "from a", "from b\n0 % right"]
    assert [panel.get_ylabel() for panel in translation_figure(images, {"a": images}).axes] == [
        "originals",
        "from a",
    ]


@pytest.mark.parametrize(
    ("generated", "shares", "message"),
    [
        ({}, {}, "generated: expected at least one source modality"),
        (
            {"a": np.zeros((4, 5, 6))},
            {},
            r"generated\['a'\]: expected the shape of the originals, \(4, 6, 5\), got",
        ),
        ({"a": np.full((4, 6, 5), np.nan)}, {}, r"generated\['a'\]: NaN or infinity in sample 0"),
        (
            {"a": np.zeros((4, 6, 5))},
            {"b": 0.5},
            r"shares names \['b'\], but the source modalities are \['a'\]",
        ),
        (
            {"a": np.zeros((4, 6, 5))},
            {"a": 94},
            r"shares\['a'\]: expected a number in \[0, 1\], got 94",
        ),
    ],
)
def test_bad_images_are_refused(images, generated, shares, message):
    with pytest.raises(ValueError, match=message):
        translation_figure(images, generated, shares)


def test_bad_originals_are_refused(images):
    with pytest.raises(
        ValueError, match=r"originals: expected 3 axes, none of length 0, got shape \(6, 5\)"
    ):
        translation_figure(images[0], {"a": images})


def test_a_constant_image_is_drawn(tmp_path):
    save_figure(
        translation_figure(np.zeros((1, 1, 1)), {"a": np.ones((1, 1, 1))}), tmp_path / "figure.png"
    )


# Files


def test_a_figure_is_written_whole(tmp_path):
    path = tmp_path / "figure.png"
    path.write_text("old")
    save_figure(Figure(figsize=(2, 1)), path)
    assert matplotlib.image.imread(path).shape == (150, 300, 4)
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_a_failed_figure_leaves_the_old_file(tmp_path):
    class Broken(Figure):
        def savefig(self, *args, **kwargs):
            raise OSError("no space left")

    path = tmp_path / "figure.png"
    path.write_text("old")
    with pytest.raises(OSError, match="no space left"):
        save_figure(Broken(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
    assert path.read_text() == "old"


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"path: expected a file name that ends in \.png, got .*figure\.pdf"
    ):
        save_figure(Figure(), tmp_path / "figure.pdf")


def test_no_global_state_is_touched(images, capsys):
    before = dict(matplotlib.rcParams)
    embedding_figure(*groups(20, 2, 3))
    entropy_figure([INF, INF, 1.0], 2)
    translation_figure(images, {"a": images})
    assert dict(matplotlib.rcParams) == before
    assert capsys.readouterr() == ("", "")
