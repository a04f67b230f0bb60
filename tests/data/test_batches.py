"""Every accepted form of inputs gives the same batch; the rest is refused."""

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, default_collate

from cmvae.base.outputs import ModelOutput
from cmvae.data import Batch, IncompleteDataset, MultimodalBaseDataset, iterate, read_inputs

N = 7
NAMES = ["b", "a", "c"]
SHAPES = {"a": (2,), "b": (3, 4), "c": (5,)}


def arrays():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    a[1] = float("nan")
    return {
        "a": a,
        "b": torch.randn(N, 3, 4, generator=generator),
        "c": torch.arange(5).repeat(N, 1),
    }


MASKS = {
    "a": torch.tensor([True, False, True, True, False, True, True]),
    "c": torch.tensor([True, True, False, True, True, True, False]),
}
LABELS = ["x"] * N


class Items(Dataset):
    """A dataset that is not ours, with items like ours."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return self.source[index]


class Stream(IterableDataset):
    """A dataset without indices."""

    def __iter__(self):
        yield {"a": torch.zeros(2)}


class Doubled(IncompleteDataset):
    """A dataset of ours that makes its own items."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        item["data"] = {name: 2 * tensor for name, tensor in item["data"].items()}
        return item


def dataset():
    return IncompleteDataset(arrays(), MASKS, LABELS)


def read(inputs, modalities=NAMES, shapes=SHAPES):
    return read_inputs(inputs, modalities, dtype=torch.float32, device="cpu", shapes=shapes)


def padded():
    """Return (N + 2) samples of which rows 2.. are the dataset."""
    ds = dataset()
    return ds[[0, 0, *range(N)]]


FORMS = {
    "dataset": dataset,
    "slice": lambda: padded()[2:],
    "subset": lambda: Subset(padded(), range(2, N + 2)),
    "nested": lambda: Subset(Subset(padded(), np.arange(1, N + 2)), torch.arange(1, N + 1)),
    "foreign": lambda: Items(dataset()),
    "foreign subset": lambda: Subset(Items(padded()), range(2, N + 2)),
    "concatenated": lambda: ConcatDataset([dataset()[:3], dataset()[3:]]),
    "batch": lambda: dataset().batch(range(N)),
    "collated": lambda: default_collate([dataset()[i] for i in range(N)]),
    "dict": lambda: {"data": arrays(), "masks": MASKS},
    "arrays": lambda: {
        "data": {name: tensor.numpy() for name, tensor in arrays().items()},
        "masks": {name: mask.numpy().astype(float) for name, mask in MASKS.items()},
    },
}


def assert_same(got: Batch, expected: Batch):
    assert list(got.data) == list(expected.data)
    for name, tensor in expected.data.items():
        torch.testing.assert_close(got.data[name], tensor, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(got.observed, expected.observed)
    assert got.complete is expected.complete


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_alike(form):
    batch = read(FORMS[form]())
    assert list(batch.data) == NAMES
    assert len(batch) == N
    assert batch.complete is False
    assert batch.observed.dtype == torch.bool
    assert torch.equal(
        batch.observed, torch.stack([torch.ones(N, dtype=torch.bool), MASKS["a"], MASKS["c"]])
    )
    assert [batch.data[name].dtype for name in NAMES] == [torch.float32, torch.float32, torch.int64]
    for name, tensor in arrays().items():
        expected = tensor.float() if tensor.is_floating_point() else tensor
        torch.testing.assert_close(batch.data[name], expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("size", [1, 3, N, 100, np.int64(3)])
@pytest.mark.parametrize("form", FORMS)
def test_chunks_add_up_to_the_whole(form, size):
    whole = read(FORMS[form]())
    chunks = [read(chunk) for chunk in iterate(FORMS[form](), size)]
    assert [len(chunk) for chunk in chunks] == [min(size, N - start) for start in range(0, N, size)]
    data = {name: torch.cat([chunk.data[name] for chunk in chunks]) for name in NAMES}
    complete = all(chunk.complete for chunk in chunks)
    assert_same(Batch(data, torch.cat([chunk.observed for chunk in chunks], 1), complete), whole)
    assert [chunk.complete for chunk in chunks] == [bool(chunk.observed.all()) for chunk in chunks]


def test_chunks_of_datasets_are_datasets_and_may_be_cut_again():
    for inputs in (dataset(), Subset(padded(), range(2, N + 2))):
        chunks = list(iterate(inputs, 4))
        assert [type(chunk) for chunk in chunks] == [IncompleteDataset] * 2
    chunk = list(iterate({"data": arrays(), "masks": MASKS}, 4))[1]
    assert_same(read(list(iterate(chunk, 2))[1]), read(dataset()[6:]))


def test_items_of_a_subclass_are_its_own():
    ds = Doubled({"a": torch.ones(4, 2)}, {})
    for inputs in (ds, Subset(ds, [1, 2]), next(iterate(ds, 2))):
        assert read(inputs).data["a"].unique().tolist() == [2]


def test_complete_inputs_need_no_tensor_to_know_it():
    data = {"a": torch.zeros(3, 2), "b": torch.zeros(3, 4)}
    for inputs in (
        data,
        {"data": data},
        {"data": data, "masks": None},
        MultimodalBaseDataset(data),
    ):
        batch = read(inputs, ["a", "b"], None)
        assert batch.complete is True
        assert batch.observed.all()
    ones = {"a": torch.ones(3, dtype=torch.bool)}
    assert read({"data": data, "masks": ones}, ["a", "b"], None).complete is True
    assert read(IncompleteDataset(data, ones), ["a", "b"], None).complete is True


def test_absent_modality_is_unobserved_everywhere():
    data = {"c": torch.zeros(3, 5), "b": torch.zeros(3, 3, 4)}
    for inputs in (
        data,
        MultimodalBaseDataset(data),
        {"data": data, "masks": {"a": torch.zeros(3)}},
    ):
        batch = read(inputs)
        assert list(batch.data) == ["b", "c"]
        assert batch.observed.tolist() == [[True] * 3, [False] * 3, [True] * 3]
        assert batch.complete is False


def test_a_modality_may_be_called_data():
    batch = read({"data": torch.zeros(3, 2), "masks": torch.ones(3)}, ["data", "masks"], None)
    assert list(batch.data) == ["data", "masks"]


def test_other_keys_of_a_batch_are_ignored():
    batch = read({"data": {"a": torch.zeros(3, 2)}, "labels": "anything", "more": None})
    assert list(batch.data) == ["a"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_floats_are_cast_and_other_dtypes_kept(dtype):
    data = {
        "a": torch.ones(2),
        "b": torch.ones(2, dtype=torch.uint8),
        "c": torch.ones(2, dtype=torch.bool),
    }
    batch = read_inputs(data, NAMES, dtype=dtype, device=torch.device("cpu"))
    assert [batch.data[name].dtype for name in "abc"] == [dtype, torch.uint8, torch.bool]


def test_everything_goes_to_the_device():
    inputs = {"data": {"a": torch.ones(2, 2)}, "masks": {"a": [1, 1]}}
    masked = read_inputs(IncompleteDataset(**inputs), NAMES, dtype=torch.float32, device="meta")
    plain = read_inputs(
        MultimodalBaseDataset(inputs["data"]), NAMES, dtype=torch.float32, device="meta"
    )
    for batch in (masked, plain):
        assert batch.data["a"].device.type == batch.observed.device.type == "meta"


def test_inputs_are_not_changed():
    inputs = {"data": arrays(), "masks": dict(MASKS)}
    before = {name: tensor.clone() for name, tensor in inputs["data"].items()}
    read(inputs)
    list(iterate(inputs, 2))
    assert list(inputs) == ["data", "masks"]
    for name, tensor in before.items():
        torch.testing.assert_close(inputs["data"][name], tensor, rtol=0, atol=0, equal_nan=True)


def test_class_indices_may_lack_the_last_axis():
    shapes = {"a": (6, 4)}
    for shape in ((3, 6), (3, 6, 4)):
        assert (
            read({"a": torch.zeros(shape, dtype=torch.int64)}, ["a"], shapes).data["a"].shape
            == shape
        )
    with pytest.raises(
        ValueError, match=r"modality 'a': expected samples of shape \(6, 4\), got \(6,\)"
    ):
        read({"a": torch.zeros(3, 6)}, ["a"], shapes)
    with pytest.raises(
        ValueError, match=r"modality 'a': expected samples of shape \(6, 4\), got \(6,\)"
    ):
        read({"a": torch.zeros(3, 6, dtype=torch.bool)}, ["a"], shapes)
    with pytest.raises(
        ValueError, match=r"modality 'a': expected samples of shape \(6, 4\), got \(4,\)"
    ):
        read(MultimodalBaseDataset({"a": torch.zeros(3, 4, dtype=torch.int64)}), ["a"], shapes)


A = torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (
            [{"a": A}],
            TypeError,
            "inputs: expected a MultimodalBaseDataset .* plain .* mapping; got list",
        ),
        (A, TypeError, "got Tensor"),
        (Items([A]), TypeError, "got a Dataset of Tensor"),
        (Stream(), TypeError, "got Stream, which has no length"),
        ({}, ValueError, "inputs: expected at least one modality"),
        ({"data": {}}, ValueError, "inputs: expected at least one modality"),
        ({"a": A[:0]}, ValueError, "no samples"),
        (MultimodalBaseDataset({"a": A[:0]}), ValueError, "no samples"),
        (Subset(MultimodalBaseDataset({"a": A}), []), ValueError, "no samples"),
        (Items([]), ValueError, "no samples"),
        ({"a": A, "b": torch.zeros(3, 3, 4)}, ValueError, "'b' has 3, 'a' has 4"),
        (
            {"a": A, "z": A},
            KeyError,
            "unknown modality 'z' in inputs: got 'a', 'z'; known are 'b', 'a', 'c'",
        ),
        (MultimodalBaseDataset({"z": A}), KeyError, "got 'z'; known are 'b', 'a', 'c'"),
        (
            {"data": {"a": A}, "masks": {"z": [1] * 4}},
            KeyError,
            "'z' in masks: got 'z'; known are 'b', 'a', 'c'",
        ),
        ({"data": {"a": A}, "masks": [1] * 4}, TypeError, "masks: expected a mapping .* got list"),
        (
            {"data": {"a": A}, "masks": {"a": [1] * 3}},
            ValueError,
            r"mask of modality 'a'.*\(4,\), got \(3,\)",
        ),
        (
            {"data": {"a": A}, "masks": {"a": [1, 1, 5, 1]}},
            ValueError,
            "mask of modality 'a'.*got 5 at sample 2",
        ),
        (
            {"data": {"a": A}, "masks": {"a": [1, 0, 1, 0]}},
            ValueError,
            "nothing is observed in samples 1, 3: .*'a'",
        ),
        (
            {"data": {"a": A}, "masks": {"b": [0, 1, 0, 0]}},
            ValueError,
            "modality 'b'.*marks sample 1 as observed.*'a'",
        ),
        ({"a": np.array([["x", "y"]])}, TypeError, "modality 'a'.*dtype <U1"),
        (
            {"a": torch.zeros(4, 3)},
            ValueError,
            r"modality 'a': expected samples of shape \(2,\), got \(3,\)",
        ),
    ],
)
def test_bad_inputs_are_refused(inputs, error, message):
    with pytest.raises(error, match=message):
        read(inputs)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_observed_entries_must_be_finite(bad):
    a = torch.zeros(9, 2)
    a[[2, 3, 8], 1] = bad
    data = {"b": torch.zeros(9, 3, 4), "a": a}
    message = "modality 'a': NaN or infinity in observed entries of samples 2, 3, 8; .* single"
    for inputs in (
        data,
        {"data": data},
        {"data": data, "masks": {"b": torch.ones(9)}},
        Items([{"a": x} for x in a]),
    ):
        with pytest.raises(ValueError, match=message):
            read(inputs)
    masks = {"a": torch.tensor([1, 1, 0, 1, 1, 1, 1, 1, 0])}
    with pytest.raises(ValueError, match="observed entries of sample 3;"):
        read({"data": data, "masks": masks})
    masks["a"][3] = 0
    assert read({"data": data, "masks": masks}).observed[1].tolist() == masks["a"].bool().tolist()


def test_a_number_that_overflows_in_the_dtype_of_the_model_is_refused():
    with pytest.raises(
        ValueError, match="modality 'a': NaN or infinity in observed entries of sample 1"
    ):
        read({"a": torch.tensor([[0, 0], [0, 1e300]], dtype=torch.float64)})


def test_datasets_are_not_checked_twice(monkeypatch):
    inputs = [dataset(), Subset(Subset(dataset(), [3, 0, 1]), [0, 1]), next(iterate(dataset(), 3))]
    monkeypatch.setattr("cmvae.data.batches.nonfinite_samples", None)
    sizes = [len(read_inputs(each, NAMES, dtype=torch.float64, device="cpu")) for each in inputs]
    assert sizes == [N, 2, 3]


def test_datasets_whose_values_overflow_in_the_cast_are_refused():
    large = MultimodalBaseDataset({"a": torch.tensor([[1.0], [1e300]], dtype=torch.float64)})
    with pytest.raises(
        ValueError, match="modality 'a': NaN or infinity in observed entries of sample 1"
    ):
        read_inputs(large, ["a"], dtype=torch.float32, device="cpu")


def test_complete_and_incomplete_data_may_be_concatenated():
    complete = MultimodalBaseDataset({"a": torch.zeros(2, 1), "b": torch.zeros(2, 1)})
    partial = IncompleteDataset(
        {"a": torch.zeros(3, 1), "b": torch.full((3, 1), torch.nan)}, {"b": [False] * 3}
    )
    expected = torch.tensor([[True] * 5, [True, True, False, False, False]])
    for parts, order in (
        ([complete, partial], [0, 1, 2, 3, 4]),
        ([partial, complete], [2, 3, 4, 0, 1]),
    ):
        batch = read_inputs(ConcatDataset(parts), ["a", "b"], dtype=torch.float32, device="cpu")
        assert torch.equal(batch.observed, expected[:, order])


def test_a_mask_that_only_some_samples_have_is_kept():
    data = {"a": torch.zeros(1), "b": torch.full((1,), torch.nan)}
    items = [{"data": {**data, "b": torch.zeros(1)}, "masks": {"a": torch.tensor(True)}}]
    items += [{"data": data, "masks": {"b": torch.tensor(False)}}]
    batch = read_inputs(Items(items), ["a", "b"], dtype=torch.float32, device="cpu")
    assert batch.observed.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("wrap", [dict, lambda data: {"data": data}])
@pytest.mark.parametrize("turned", [False, True])
def test_samples_that_make_no_batch_are_refused(wrap, turned):
    def read_all(*items):
        samples = Items([wrap(item) for item in items[:: -1 if turned else 1]])
        with pytest.raises(ValueError, match="samples do not make a batch") as caught:
            read_inputs(samples, ["a", "b"], dtype=torch.float32, device="cpu")
        return str(caught.value)

    message = read_all({"a": torch.zeros(2)}, {"a": torch.zeros(2), "b": torch.zeros(1)})
    assert "['a', 'b']" in message
    assert "differ in fields or shapes" in read_all({"a": torch.zeros(2)}, {"a": torch.zeros(3)})


@pytest.mark.parametrize(
    "wrap", [dict, lambda data: {"data": data}, lambda data: Items([{"a": x} for x in data["a"]])]
)
def test_chunks_name_samples_by_their_place_in_the_whole(wrap):
    a = torch.zeros(9, 2)
    a[7, 1] = float("nan")
    chunks = list(iterate(wrap({"a": a}), 3))
    read(chunks[0])
    with pytest.raises(ValueError, match="observed entries of sample 7;"):
        read(chunks[2])
    with pytest.raises(ValueError, match="observed entries of sample 7;"):
        read(list(iterate(chunks[2], 1))[1])
    chunks = list(iterate({"data": {"a": A}, "masks": {"a": [1, 1, 1, 0]}}, 2))
    with pytest.raises(ValueError, match="nothing is observed in sample 3:"):
        read(chunks[1])


@pytest.mark.parametrize(
    ("size", "error"),
    [(0, ValueError), (-1, ValueError), (True, TypeError), (2.0, TypeError), (None, TypeError)],
)
def test_batch_size_must_be_a_positive_integer(size, error):
    for inputs in ({"a": A}, dataset()):
        with pytest.raises(error, match=f"batch_size must be a positive integer, got {size}"):
            iterate(inputs, size)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([A], TypeError, "inputs: expected .*; got list"),
        ({"a": A, "b": A[:3]}, ValueError, "'a' has 4, 'b' has 3"),
        ({"a": A[:0]}, ValueError, "no samples"),
        (Items([]), ValueError, "no samples"),
        ({}, ValueError, "at least one modality"),
        ({"data": {"a": A}, "masks": {"a": [1]}}, ValueError, "mask of modality 'a'"),
    ],
)
def test_bad_inputs_are_refused_before_they_are_cut(inputs, error, message):
    with pytest.raises(error, match=message):
        iterate(inputs, 2)


@pytest.mark.parametrize("form", ["dataset", "batch", "dict"])
def test_reading_compiles_into_one_graph(form):
    def total(inputs):
        batch = read(inputs)
        rows = {name: batch.data[name].flatten(1).sum(1) for name in batch.data}
        seen = zip(NAMES, batch.observed, strict=True)
        return sum(
            torch.where(mask, rows[name], 0).sum() for name, mask in seen if name in rows
        ), batch.complete

    compiled = torch.compile(total, fullgraph=True, backend="eager")
    expected, _ = total(FORMS[form]())
    got, complete = compiled(FORMS[form]())
    torch.testing.assert_close(got, expected)
    assert complete is False
    data = {"a": torch.ones(2, 2), "b": torch.ones(2, 3, 4), "c": torch.ones(2, 5)}
    assert compiled(data) == (torch.tensor(38.0), True)
    data["a"][0, 0] = float("nan")
    assert compiled(ModelOutput(data=data))[0].isnan()


HOW = {"dtype": torch.float32, "device": "cpu"}


def test_one_sample_of_a_dataset_is_a_batch_of_one():
    images = {"a": torch.rand(4, 3, 8, 8), "b": torch.rand(4, 3)}
    masks = {"b": [True, False, True, True]}
    for dataset in (MultimodalBaseDataset(images), IncompleteDataset(images, masks, [5, 6, 7, 8])):
        for shapes in (None, {"a": (3, 8, 8), "b": (3,)}):
            batch = read_inputs(dataset[1], ["a", "b"], shapes=shapes, **HOW)
            assert len(batch) == 1
            assert torch.equal(batch.data["a"][0], images["a"][1])
            assert bool(batch.observed[1]) == ("b" not in getattr(dataset, "masks", {}))
    collated = default_collate([dataset[0], dataset[2]])
    assert type(collated) is ModelOutput
    assert len(read_inputs(collated, ["a", "b"], **HOW)) == 2


def test_one_sample_is_known_by_masks_and_labels_without_an_axis():
    data = {"a": torch.rand(3, 8, 8)}
    for more in ({"masks": {"a": torch.tensor(True)}}, {"labels": torch.tensor(2)}, {"labels": 2}):
        batch = read_inputs({"data": data, **more}, ["a"], **HOW)
        assert batch.data["a"].shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"a single sample needs an axis of samples first: x\[No"):
        read_inputs(data, ["a"], shapes={"a": (3, 8, 8)}, **HOW)


def test_numbers_may_be_so_large_that_their_sum_is_not_finite():
    data = {"a": torch.full((4, 2), 3e38)}
    read = read_inputs(data, ["a"], dtype=torch.float32, device="cpu")
    assert torch.equal(read.data["a"], data["a"])
