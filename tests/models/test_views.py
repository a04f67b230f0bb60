import torch

from cmvae.models.views import noisy, other_views, without_rows

SHAPES = {"image": (2, 18, 27), "vector": (5,), "small": (1, 4, 4), "bytes": (1, 9, 9)}


def batch(n=40):
    torch.manual_seed(0)
    data = {m: torch.rand(n, *shape) for m, shape in SHAPES.items()}
    return {**data, "bytes": (255 * data["bytes"]).byte()}


def test_images_alone_are_changed_and_where_they_stand_in_a_batch_does_not_matter():
    plain = batch()
    torch.manual_seed(1)
    seen = other_views(plain, SHAPES)
    torch.manual_seed(1)
    masks = {"image": torch.ones(40, dtype=torch.bool)}
    within = other_views({"data": plain, "masks": masks}, SHAPES)
    assert within["masks"] is masks
    assert torch.equal(within["data"]["image"], seen["image"])
    for m in ("vector", "small", "bytes"):
        assert seen[m] is plain[m]
    assert seen["image"].shape == plain["image"].shape
    assert not torch.equal(seen["image"], plain["image"])
    assert other_views(plain, {})["image"] is plain["image"]


def test_an_image_moves_by_up_to_a_ninth_of_each_side_and_is_reflected(monkeypatch):
    monkeypatch.setattr("cmvae.models.views.MOST_NOISE", 0.0)
    torch.manual_seed(0)
    image = torch.arange(18 * 27.0).reshape(1, 1, 18, 27).expand(500, 2, -1, -1)
    moved = other_views({"image": image}, SHAPES)["image"]
    corners = moved[:, 0, 9, 13] - image[0, 0, 9, 13]
    steps = {(round(float(c) / 27), round(float(c) - 27 * round(float(c) / 27))) for c in corners}
    assert steps == {(down, right) for down in range(-2, 3) for right in range(-3, 4)}
    for sample in moved[:20, 0]:
        assert set(sample.flatten().tolist()) <= set(image[0, 0].flatten().tolist())
    assert torch.equal(moved[:, 0], moved[:, 1])


def test_noise_follows_each_image_and_nan_of_one_stays_with_it(monkeypatch):
    monkeypatch.setattr("cmvae.models.views.MOST_MOVED", 0.0)
    images = torch.rand(300, 1, 18, 27)
    images[1] *= 100.0
    images[2] = 0.5
    images[3] = torch.nan
    added = other_views({"image": images}, {"image": (1, 18, 27)})["image"] - images
    assert added[2].abs().max() == 0
    assert added[3].isnan().all()
    rest = torch.cat([added[:3], added[4:]])
    assert rest.isfinite().all()
    shares = (rest.flatten(1).std(1) / torch.cat([images[:3], images[4:]]).flatten(1).std(1))[3:]
    assert 0.0 <= shares.min() < 0.02
    assert 0.28 < shares.max() < 0.33
    assert 0.13 < shares.mean() < 0.17


def test_noise_of_a_generator_is_that_generator_s():
    images = torch.rand(5, 1, 8, 8)
    drawn = [noisy(images, 0.5, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], images)


def test_samples_that_are_held_out_are_left_out_of_every_field():
    data = {"a": torch.arange(4.0)[:, None], "b": torch.arange(4)}
    masks = {"a": torch.tensor([True, False, True, True])}
    given = {"data": data, "masks": masks, "rows": torch.tensor([7, 2, 9, 3])}
    left = without_rows(given, torch.tensor([2, 3, 5]))
    assert left["rows"].tolist() == [7, 9]
    assert left["data"]["a"].tolist() == [[0.0], [2.0]]
    assert left["data"]["b"].tolist() == [0, 2]
    assert left["masks"]["a"].tolist() == [True, True]
    for whole in (data, {"data": data}, {**given, "rows": torch.tensor([2, 3, 2, 3])}):
        assert without_rows(whole, torch.tensor([2, 3])) is whole
