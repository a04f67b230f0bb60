"""Samples, their masks, and what is refused."""

import math
import re
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from cmvae.base.outputs import ModelOutput
from cmvae.data import IncompleteDataset, MultimodalBaseDataset, checks, random_masks

N = 6


def arrays():
    a = torch.arange(N * 2, dtype=torch.float64).reshape(N, 2)
    b = np.arange(N * 12, dtype=np.uint8).reshape(N, 3, 2, 2)
    return {"a": a, "b": b, "c": torch.arange(N, dtype=torch.float32)}


MASKS = {"a": [True, False, True, True, False, True], "b": np.array([1, 1, 0, 1, 1, 0])}
NUMBERS = torch.arange(N) * 10
WORDS = ["x", "yy", "x", "z", "yy", "x"]


def complete(labels=None):
    return MultimodalBaseDataset(arrays(), labels)


def incomplete(labels=None):
    data = arrays()
    data["a"][1] = float("nan")
    return IncompleteDataset(data, MASKS, labels)


def assert_same(got, expected):
    assert type(got) is type(expected)
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key])
    elif isinstance(expected, torch.Tensor):
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
    else:
        assert got == expected


def test_data_keep_dtype_and_memory():
    data = arrays()
    ds = MultimodalBaseDataset(data)
    assert ds.modalities == ("a", "b", "c")
    assert ds.data["a"] is data["a"]
    assert ds.data["b"].dtype == torch.uint8
    assert ds.data["b"].data_ptr() == data["b"].ctypes.data
    assert (len(ds), ds.labels) == (N, None)


def test_item_has_the_fields_there_are():
    assert list(complete()[0]) == ["data"]
    item = incomplete(NUMBERS)[2]
    assert list(item) == ["data", "masks", "labels"]
    assert item.labels == 20
    assert item.data["a"].tolist() == [4, 5]
    assert item.data["c"].shape == ()
    assert {name: mask.item() for name, mask in item.masks.items()} == {
        "a": True,
        "b": False,
        "c": True,
    }
    assert item.masks["a"].dtype == torch.bool
    assert type(complete(WORDS)[1].labels) is str


@pytest.mark.parametrize("index", [4, -2, np.int64(4), np.uint8(4), torch.tensor(4), np.array(-2)])
def test_item_at_any_kind_of_integer(index):
    assert complete(WORDS)[index].data["a"].tolist() == [8, 9]
    assert complete(WORDS)[index].labels == "yy"


@pytest.mark.parametrize("index", [N, -N - 1, [0, N], torch.tensor([-N - 1])])
def test_index_out_of_range(index):
    with pytest.raises(IndexError, match=f"out of range for {N} samples"):
        complete()[index]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("a", "got str"),
        ((0, 1), "got tuple"),
        (True, "single boolean"),
        (1.0, "got float"),
        ([0.5], "dtype torch.float64"),
    ],
)
def test_index_of_a_wrong_kind(index, message):
    with pytest.raises(TypeError, match=message):
        complete()[index]


@pytest.mark.parametrize(
    ("index", "message"),
    [([True, False], r"shape \(6,\), got \(2,\)"), ([[0, 1]], r"one axis, got shape \(1, 2\)")],
)
def test_index_of_a_wrong_shape(index, message):
    with pytest.raises(IndexError, match=message):
        complete()[index]


SELECTIONS = [
    slice(1, 4),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(-2, 100),
    [3, 0, -1, 3],
    range(4, 1, -2),
    np.array([5, 2], dtype=np.int16),
    np.arange(N)[::-2],
    torch.tensor([1, 1, -6]),
    [True, False, False, True, False, True],
    np.arange(N) < 2,
    torch.arange(N) > 2,
    [],
]


@pytest.mark.parametrize("index", SELECTIONS, ids=str)
@pytest.mark.parametrize("labels", [None, NUMBERS, WORDS], ids=["bare", "numbers", "words"])
@pytest.mark.parametrize("make", [complete, incomplete])
def test_selection_is_a_dataset_of_the_same_samples(make, labels, index):
    ds = make(labels)
    empty = isinstance(index, list) and not index
    rows = np.arange(N)[
        index if isinstance(index, slice) else slice(0) if empty else np.asarray(index)
    ]
    selected = ds[index]
    assert type(selected) is type(ds)
    assert len(selected) == len(rows)
    for i, row in enumerate(rows):
        assert_same(selected[i], ds[int(row)])
    if len(rows):
        assert_same(ds.batch(index), default_collate([ds[int(row)] for row in rows]))


def test_slice_shares_memory_and_is_not_checked_again(monkeypatch):
    ds = incomplete(WORDS)
    monkeypatch.setattr(IncompleteDataset, "__init__", None)
    monkeypatch.setattr("cmvae.data.datasets.nonfinite_samples", None)
    assert ds[2:].data["a"].data_ptr() == ds.data["a"][2:].data_ptr()
    assert ds[[0, 1]].labels.tolist() == ["x", "yy"]


def test_selection_keeps_a_subclass_and_what_it_added():
    class Named(MultimodalBaseDataset):
        title = "none"

    ds = Named(arrays())
    ds.title = "mine"
    assert type(ds[:2]) is Named
    assert ds[:2].title == "mine"


def test_loader_gives_batches():
    batches = list(DataLoader(incomplete(WORDS), batch_size=4))
    assert [len(batch.data["a"]) for batch in batches] == [4, 2]
    assert isinstance(batches[0], ModelOutput)
    assert_same(batches[0], incomplete(WORDS).batch(slice(0, 4)))
    assert batches[1].masks["b"].tolist() == [True, False]


def test_fetching_is_item_by_item():
    assert not hasattr(MultimodalBaseDataset, "__getitems__")


def test_representation():
    assert (
        repr(complete(WORDS))
        == "MultimodalBaseDataset(6 samples, a (2,), b (3, 2, 2), c (), labels)"
    )
    assert repr(incomplete()) == (
        "IncompleteDataset(6 samples, a (2,) missing in 2, b (3, 2, 2) missing in 2, c ())"
    )


def test_masks_are_completed():
    ds = incomplete()
    assert list(ds.masks) == ["a", "b", "c"]
    assert ds.masks["a"].tolist() == MASKS["a"]
    assert ds.masks["b"].dtype == torch.bool
    assert ds.masks["c"].all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_unobserved_entries_are_kept_and_ignored(bad):
    a = torch.zeros(3, 2)
    a[1, 0] = bad
    data = {"a": a, "b": torch.zeros(3)}
    ds = IncompleteDataset(data, {"a": [True, False, True]})
    assert_same(ds.data["a"], a)
    with pytest.raises(
        ValueError, match="modality 'a': NaN or infinity in observed entries of sample 1;"
    ):
        IncompleteDataset(data, {"a": [True, True, False]})
    with pytest.raises(
        ValueError, match="sample 1; missing modalities go in IncompleteDataset; single missing"
    ):
        MultimodalBaseDataset(data)


def test_first_bad_samples_are_named_across_chunks(monkeypatch):
    monkeypatch.setattr(checks, "LOOKED_THROUGH", 7)
    a = torch.zeros(40, 3)
    a[torch.arange(4, 40, 5), 1] = float("nan")
    with pytest.raises(ValueError, match="samples 4, 9, 14, 19, 24 and 3 more"):
        MultimodalBaseDataset({"a": a})


def test_large_arrays_are_checked_in_parts(monkeypatch):
    sizes = []
    isfinite = torch.isfinite
    monkeypatch.setattr(checks, "LOOKED_THROUGH", 100)
    monkeypatch.setattr(torch, "isfinite", lambda x: sizes.append(x.numel()) or isfinite(x))
    data = {"a": torch.zeros(95, 10), "wide": torch.zeros(95, 300)}
    MultimodalBaseDataset(data)
    assert not sizes  # sums tell that all numbers are finite
    for values in data.values():
        values[-1, 0] = math.inf
    with pytest.raises(ValueError, match=r"modality 'a': NaN or infinity in .* sample 94"):
        MultimodalBaseDataset(data)
    data["a"][-1, 0] = 0
    with pytest.raises(ValueError, match=r"modality 'wide': NaN or infinity in .* sample 94"):
        MultimodalBaseDataset(data)
    assert set(sizes) == {100, 50, 300}


def test_memory_mapped_arrays_are_shared_without_a_warning(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((5, 2), dtype=np.float32))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = MultimodalBaseDataset({"a": mapped})
    assert ds.data["a"].data_ptr() == mapped.ctypes.data


@pytest.mark.parametrize(
    "array", [np.arange(6.0)[::-1], np.arange(6.0).astype(">f4")], ids=["reversed", "big"]
)
def test_arrays_that_cannot_be_shared_are_copied(array):
    ds = MultimodalBaseDataset({"a": array})
    assert ds.data["a"].tolist() == array.tolist()


def test_arrays_without_entries_or_samples():
    assert MultimodalBaseDataset({"a": torch.zeros(3, 0)}).data["a"].shape == (3, 0)
    assert len(MultimodalBaseDataset({"a": torch.zeros(0, 3)})) == 0


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (torch.zeros(3), TypeError, r"data: expected a mapping \{modality: array\}, got Tensor"),
        ({}, ValueError, "at least one modality, got an empty mapping"),
        ({1: torch.zeros(3)}, TypeError, "names must be strings, got 1"),
        ({"": torch.zeros(3)}, ValueError, "names must not be empty"),
        ({"a": np.array(["x", "y"])}, TypeError, "modality 'a'.*dtype <U1"),
        ({"a": np.array([1, None])}, TypeError, "modality 'a'.*dtype object"),
        ({"a": [[1.0], [2.0, 3.0]]}, TypeError, "modality 'a': expected a numeric tensor or array"),
        ({"a": None}, TypeError, "modality 'a'.*NoneType"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, TypeError, "modality 'a'.*complex"),
        ({"a": torch.eye(2).to_sparse()}, TypeError, "modality 'a'.*sparse"),
        ({"a": np.ma.masked_array([1.0, 2.0], [0, 1])}, TypeError, "modality 'a': masked arrays"),
        ({"a": torch.tensor(3.0)}, ValueError, "modality 'a'.*got a scalar"),
        ({"a": np.float64(3.0)}, ValueError, "modality 'a'.*got a scalar"),
        ({"a": torch.zeros(3), "b": torch.zeros(4, 2)}, ValueError, "'a' has 3, 'b' has 4"),
    ],
)
def test_bad_data_are_refused_by_name(data, error, message):
    with pytest.raises(error, match=message):
        MultimodalBaseDataset(data)
    with pytest.raises(error, match=message):
        IncompleteDataset(data, {})


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ([True] * N, TypeError, r"masks: expected a mapping .* got list"),
        (
            {"z": [True] * N},
            KeyError,
            "unknown modality 'z' in masks: got 'z'; known are 'a', 'b', 'c'",
        ),
        ({"a": [True] * 5}, ValueError, r"mask of modality 'a': expected shape \(6,\), got \(5,\)"),
        (
            {"a": torch.ones(N, 2)},
            ValueError,
            r"mask of modality 'a': expected shape \(6,\), got \(6, 2\)",
        ),
        ({"a": True}, ValueError, "mask of modality 'a'.*scalar"),
        ({"b": [1, 0, 2, 0, 1, 3]}, ValueError, "mask of modality 'b'.*got 2 at samples 2, 5"),
        (
            {"b": [1, 0, float("nan"), 0, 1, 1]},
            ValueError,
            "mask of modality 'b'.*got nan at sample 2",
        ),
        ({"b": ["y"] * N}, TypeError, "mask of modality 'b'.*dtype <U1"),
    ],
)
def test_bad_masks_are_refused_by_name(masks, error, message):
    with pytest.raises(error, match=message):
        IncompleteDataset(arrays(), masks)


def test_sample_with_nothing_observed():
    data = {"a": torch.zeros(8), "b": torch.zeros(8)}
    masks = {"a": np.arange(8) == 0, "b": [0, 0, 1, 0, 0, 0, 0, 0]}
    message = "nothing is observed in samples 1, 3, 4, 5, 6 and 1 more: .* modalities 'a', 'b'"
    with pytest.raises(ValueError, match=message):
        IncompleteDataset(data, masks)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool])
def test_numeric_labels_become_a_tensor(dtype):
    assert complete(NUMBERS.to(dtype)).labels.dtype == dtype
    assert complete(NUMBERS.to(dtype).numpy()).labels.tolist() == NUMBERS.to(dtype).tolist()
    assert complete(NUMBERS.to(dtype).tolist()).labels.tolist() == NUMBERS.to(dtype).tolist()


def test_string_labels_become_an_array_of_strings():
    for labels in (WORDS, np.array(WORDS), np.array(WORDS, dtype=object)):
        kept = complete(labels).labels
        assert kept.dtype.kind == "U"
        assert kept.tolist() == WORDS


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([1, 2], ValueError, "labels: expected 6, one per sample, got 2"),
        (WORDS[:2], ValueError, "labels: expected 6, one per sample, got 2"),
        (3, ValueError, "labels.*scalar"),
        ("word", ValueError, r"labels: expected one string per sample, got shape \(\)"),
        (np.array(["x", 1, "x", "x", "x", "x"], dtype=object), TypeError, "labels.*mixture"),
    ],
)
def test_bad_labels_are_refused(labels, error, message):
    with pytest.raises(error, match=message):
        complete(labels)


@pytest.mark.parametrize(("n", "rate"), [(10, 0.0), (10, 0.3), (7, 0.5), (10, 1.0), (3, 0.1)])
def test_random_masks_leave_out_a_share_of_samples(n, rate):
    masks = np.stack(list(random_masks(n, ["a", "b", "c"], rate, seed=3).values()))
    assert masks.dtype == bool
    assert masks.any(0).all()
    assert (~masks.all(0)).sum() == round(rate * n)


def test_random_masks_draw_every_proper_subset_equally_often():
    masks = random_masks(60_000, ["a", "b", "c"], 1.0, seed=1)
    codes = sum(mask.astype(int) << i for i, mask in enumerate(masks.values()))
    counts = np.bincount(codes, minlength=8)
    assert counts[[0, 7]].tolist() == [0, 0]
    # The standard deviation of each count is 91.
    assert np.abs(counts[1:7] - 10_000).max() < 500


def test_random_masks_choose_samples_at_random_and_repeat_with_their_seed():
    first, again, other = (random_masks(1000, ["a", "b"], 0.5, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)
    missing = ~(first["a"] & first["b"])
    assert 150 < missing[:500].sum() < 350


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), "0.3", None, True, 1j])
def test_random_masks_refuse_a_bad_rate(rate):
    with pytest.raises(
        ValueError,
        match=r"missing_rate: expected a number in \[0, 1\], got " + re.escape(repr(rate)),
    ):
        random_masks(10, ["a", "b"], rate)


def test_random_masks_refuse_what_cannot_be():
    with pytest.raises(
        ValueError, match=r"missing_rate: 0\.5 leaves nothing of samples with the one modality 'a'"
    ):
        random_masks(10, ["a"], 0.5)
    assert random_masks(10, ["a"], 0.0)["a"].all()
    with pytest.raises(ValueError, match="modalities: expected names that differ"):
        random_masks(10, ["a", "a"], 0.5)
    with pytest.raises(TypeError, match="got the string 'ab'"):
        random_masks(10, "ab", 0.5)
    with pytest.raises(ValueError, match="n_samples: expected at least 1, got 0"):
        random_masks(0, ["a", "b"], 0.5)


CELLS = [[True, False], [True, True], [False, False]]


def test_cells_are_kept_beside_the_data_and_follow_it():
    data = {"a": torch.tensor([[1.0, float("nan")], [2, 3], [float("inf"), 4]]), "b": torch.ones(3)}
    ds = IncompleteDataset(data, {}, cells={"a": CELLS})
    assert ds.masks["a"].tolist() == [True, True, False]  # without any cell: not observed
    assert ds.cells["a"].tolist() == CELLS
    assert ds[0].cells["a"].tolist() == CELLS[0]
    assert ds[1:].cells["a"].tolist() == CELLS[1:]
    assert ds.batch([2, 0]).cells["a"].tolist() == [CELLS[2], CELLS[0]]
    assert "0.25 of its cells missing" in repr(ds)
    assert "cells" not in MultimodalBaseDataset({"a": torch.ones(3, 2)})[0]


@pytest.mark.parametrize(
    ("data", "cells", "error", "message"),
    [
        ({"a": torch.ones(3, 2)}, {"x": CELLS}, KeyError, "unknown modality 'x' in cells"),
        ({"a": torch.ones(3, 2)}, [CELLS], TypeError, r"cells: expected a mapping.*\(n, D\) bool"),
        ({"a": torch.ones(3, 2)}, {"a": [True] * 3}, ValueError, r"shape of its data, \(3, 2\)"),
        ({"a": torch.ones(3, 2)}, {"a": [[2, 0]] * 3}, ValueError, "'a': expected booleans or 0"),
        (
            {"a": torch.full((3, 2), float("nan")), "b": torch.ones(3)},
            {"a": CELLS},
            ValueError,
            "'a': NaN or infinity in observed entries of sample.*; .* marked by cells=",
        ),
        (
            {"a": torch.ones(3, 2)},
            {"a": [[False] * 2] * 3},
            ValueError,
            "nothing is observed in sa",
        ),
        (
            {"image": torch.ones(3, 1, 2, 2), "a": torch.ones(3)},
            {"image": torch.eye(3)[:, [0, 1, 0, 1]].reshape(3, 1, 2, 2)},
            ValueError,
            "'image': some are missing of .*; vectors may lack single cells, not im",
        ),
    ],
)
def test_cells_that_cannot_be_are_named(data, cells, error, message):
    with pytest.raises(error, match=message):
        IncompleteDataset(data, {}, cells=cells)


def test_an_image_that_lacks_all_its_cells_lacks_the_modality():
    cells = torch.tensor([True, False]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    data = {"image": torch.ones(2, 1, 2, 2), "a": torch.ones(2, 1)}
    ds = IncompleteDataset(data, {}, cells={"image": cells})
    assert ds.masks["image"].tolist() == [True, False]
    assert ds.cells == {}


def test_read_only_arrays_are_shared_without_a_warning_or_a_change_of_its_filters():
    array = np.arange(6.0).reshape(2, 3)
    array.flags.writeable = False
    filters = warnings.filters[:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = MultimodalBaseDataset({"a": array}).data["a"]
    assert data.data_ptr() == array.__array_interface__["data"][0]
    assert warnings.filters == filters
    del array
    assert data.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_of_a_memory_mapped_array_nothing_but_rows_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("cmvae.data.checks.LOOKED_THROUGH", 100)
    values = np.arange(600.0, dtype=np.float32).reshape(200, 3)
    np.save(tmp_path / "a.npy", values)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    data = MultimodalBaseDataset({"a": mapped})
    assert data.data["a"].data_ptr() == mapped.__array_interface__["data"][0]
    assert torch.equal(data.batch([7, 199]).data["a"], torch.from_numpy(values[[7, 199]]))
    values[[3, 150], 1] = np.nan, np.inf
    np.save(tmp_path / "b.npy", values)
    with pytest.raises(ValueError, match="observed entries of samples 3, 150"):
        MultimodalBaseDataset({"b": np.load(tmp_path / "b.npy", mmap_mode="r")})
