"""Pictures of generations: that each image is where it should be."""

import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from cmvae import IncompleteDataset
from cmvae.report import (
    cluster_samples_figure,
    cross_generations,
    generation_grid,
    save_figure,
    thumbnail_figure,
)
from cmvae.report.drawing import PALETTE
from helpers import make_data, make_model

H, W = 4, 6


def images(n, channels=3, seed=0):
    return torch.rand(n, channels, H, W, generator=torch.Generator().manual_seed(seed))


def shown(panel):
    """Return what a panel shows, (h, w, 3), or None."""
    return np.asarray(panel.get_images()[0].get_array()) if panel.get_images() else None


def tile(picture, row, column):
    """Return one image of a mosaic."""
    return picture[row * (H + 1) : row * (H + 1) + H, column * (W + 1) : column * (W + 1) + W]


def colour(image):
    return np.broadcast_to(np.asarray(image).transpose(1, 2, 0)[..., :3], (H, W, 3))


# Grid


def test_every_image_is_in_its_row_column_and_place():
    originals = {"a": images(5), "b": images(5, 1, seed=1)}
    generated = {
        "a": {"a": images(5, seed=2), "b": images(5, 1, seed=3)},
        "table": {"b": images(5, 1, seed=4)},
    }
    panels = np.reshape(generation_grid(originals, generated).axes, (3, 2))
    assert [panel.get_title() for panel in panels[0]] == ["a", "b"]
    assert [panel.get_ylabel() for panel in panels[:, 0]] == ["original", "from a", "from table"]
    expected = [originals, generated["a"], generated["table"]]
    for row, by_target in enumerate(expected):
        for column, name in enumerate("ab"):
            picture = shown(panels[row, column])
            if name not in by_target:
                assert picture is None
                continue
            assert picture.shape == (2 * H + 1, 3 * W + 2, 3)
            for i in range(5):
                assert np.allclose(tile(picture, i // 3, i % 3), colour(by_target[name][i]))
            assert (tile(picture, 1, 2) == 1).all()
            assert (picture[H] == 1).all()
            assert (picture[:, W] == 1).all()


def test_bytes_floats_channels_and_what_is_beyond():
    whole = (images(2) * 255).round()
    pairs = [
        (whole.byte(), whole / 255),
        (images(2, 1)[:, 0], images(2, 1)),
        (images(2, 5), images(2, 5)[:, :3]),
        (images(2, 2), images(2, 2)[:, :1]),
        (images(2) * 3 - 1, (images(2) * 3 - 1).clamp(0, 1)),
        (images(2).numpy(), images(2)),
    ]
    for one, other in pairs:
        first, second = (shown(generation_grid({"m": x}, {"m": {}}).axes[0]) for x in (one, other))
        assert np.allclose(first, second, atol=1e-6)
    single = shown(generation_grid({"m": images(1, 1)}, {"m": {}}).axes[0])
    assert np.allclose(single, np.repeat(images(1, 1)[0, 0, :, :, None], 3, -1))


def test_missing_images_are_blank():
    originals = images(4)
    originals[2] = math.nan
    picture = shown(generation_grid({"m": originals}, {"m": {}}).axes[0])
    assert (tile(picture, 1, 0) == 1).all()
    assert np.allclose(tile(picture, 1, 1), colour(originals[3]))


def test_shares_are_written_below_their_panel():
    originals = {"a": images(2), "b": images(2)}
    generated = {"a": originals, "b": originals}
    figure = generation_grid(originals, generated, {"a": {"b": 0.874}, "b": {"a": 1.0}})
    texts = np.reshape([panel.get_xlabel() for panel in figure.axes], (3, 2)).tolist()
    assert texts == [["", ""], ["", "87 %"], ["100 %", ""]]


# Clusters


def test_the_first_samples_of_each_cluster_in_every_modality():
    clusters = np.array([7, 2, 2, 7, 2, 7, 2])
    values = {"a": images(7), "b": images(7, seed=1)}
    panels = np.reshape(
        cluster_samples_figure(values, torch.tensor(clusters), n_each=3).axes, (2, 2)
    )
    assert [panel.get_ylabel() for panel in panels[:, 0]] == ["2", "7"]
    assert [panel.get_title() for panel in panels[0]] == ["a", "b"]
    for row, members in enumerate([[1, 2, 4], [0, 3, 5]]):
        for column, name in enumerate("ab"):
            picture = shown(panels[row, column])
            assert picture.shape == (H, 3 * W + 2, 3)
            for place, i in enumerate(members):
                assert np.allclose(tile(picture, 0, place), colour(values[name][i]))
    few = shown(cluster_samples_figure({"a": images(3)}, [0, 0, 1], n_each=2).axes[1])
    assert np.allclose(tile(few, 0, 0), colour(images(3)[2]))
    assert (tile(few, 0, 1) == 1).all()


# Thumbnails


def test_thumbnails_lie_where_the_embedding_does_in_the_colour_of_their_cluster():
    # A flat embedding is shown as it is, up to its principal axes: the first is the long one.
    points = np.array([[-4.0, -1.0], [-4.0, 1.0], [4.0, -1.0], [4.0, 1.0]])
    pictures = images(4)
    figure = thumbnail_figure(points, pictures, [5, 5, 9, 9], n_across=4)
    canvas = shown(figure.axes[0])
    height, width = H + 4, W + 4
    assert canvas.shape == (4 * height, 4 * width, 3)
    for i, (row, column) in enumerate([(3, 0), (0, 0), (3, 3), (0, 3)]):
        cell = canvas[row * height : (row + 1) * height, column * width : (column + 1) * width]
        assert np.allclose(cell[2:-2, 2:-2], colour(pictures[i]))
        assert np.allclose(cell[0], to_rgb(PALETTE[i // 2]))
    assert (canvas[height : 3 * height] == 1).all()


def test_a_cell_shows_the_sample_closest_to_its_centre():
    points = np.array([[0.0, 0.0], [10.0, 0.0], [0.9, 0.0], [1.3, 0.0], [2.0, 0.0]])  # cells of 2.5
    canvas = shown(thumbnail_figure(points, images(5), n_across=4).axes[0])
    assert np.allclose(canvas[-(H + 4) :, : W + 4][2:-2, 2:-2], colour(images(5)[3]))
    assert (canvas[-(H + 4) :, : W + 4][0] == 1).all()


def test_many_dimensions_are_projected_and_at_most_so_many_shown():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(40, 8)), rng.normal(size=(40, 8)) + 20])
    pictures = np.stack([np.zeros((3, H, W))] * 40 + [np.full((3, H, W), 0.5)] * 40)
    canvas = shown(thumbnail_figure(points, pictures, n_across=10, max_points=60).axes[0])
    cells = canvas.reshape(10, H + 4, 10, W + 4, 3)[:, 2, :, 2, 0]
    where = [np.argwhere(cells == value).mean(0) for value in (0, 0.5)]
    assert np.linalg.norm(where[0] - where[1]) > 3


def test_figures_are_written(tmp_path):
    save_figure(generation_grid({"m": images(4)}, {"m": {"m": images(4)}}), tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size > 1000


# Generation


def test_generations_are_predictions_in_the_units_of_the_data():
    model = make_model(decoders_dist={"b": "bernoulli"})
    data = make_data(n=6)
    data["b"] = (data["b"] > 0).float()
    masks = {"a": torch.arange(6) < 4, "c": torch.arange(6) > 0}
    found = cross_generations(
        model, IncompleteDataset(data, masks), generator=torch.Generator().manual_seed(3)
    )
    assert list(found) == ["a", "b", "c"]
    generator = torch.Generator().manual_seed(3)
    for source in "abc":
        rows = masks.get(source, torch.ones(6, dtype=torch.bool))
        expected = model.predict({source: data[source][rows]}, source, generator=generator)
        expected["b"] = expected["b"].sigmoid()
        for target in "abc":
            assert torch.equal(found[source][target][rows], expected[target][:, 0])
            assert found[source][target][~rows].isnan().all()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: generation_grid({}, {"a": {}}), "at least"),
        (lambda: generation_grid({"a": images(2)}, {}), "at least"),
        (lambda: generation_grid({"a": images(2)}, {"b": {"b": images(2)}}), r"targets \['b'\]"),
        (
            lambda: generation_grid({"a": images(2)}, {"a": {"a": images(3)}}),
            "expected 2, one",
        ),
        (lambda: generation_grid({"a": images(2)[0, 0]}, {"a": {}}), "expected images"),
        (lambda: generation_grid({"a": images(2) * math.inf}, {"a": {}}), "infinity in sample 0"),
        (
            lambda: generation_grid({"a": images(1)}, {"a": {"a": images(1)}}, {"a": {"a": 87}}),
            "shares",
        ),
        (lambda: cluster_samples_figure({}, [0]), "at least"),
        (lambda: cluster_samples_figure({"a": images(2)}, [0]), "a: expected 1, one for each"),
        (lambda: cluster_samples_figure({"a": images(1)}, [0], n_each=0), "n_each"),
        (lambda: thumbnail_figure(np.zeros((2, 3)), images(3)), "images: expected 2"),
        (lambda: thumbnail_figure(np.zeros((2, 3)), images(2), [0]), "clusters: expected 2"),
        (lambda: thumbnail_figure(np.zeros((2, 3)), images(2), n_across=0), "n_across"),
        (lambda: thumbnail_figure(np.full((2, 3), math.nan), images(2)), "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
