"""Modalities kept compact give the same as dense float twins, and become floats by the batch."""

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

import cmvae.data.stored
from cmvae import CMVAE, CMVAEConfig, fit, initialize_clusters
from cmvae.data import (
    ByteImages,
    IncompleteDataset,
    MultimodalBaseDataset,
    SparseRows,
    iterate,
    read_inputs,
)
from cmvae.data.stored import CellsReadLater, RowsReadLater
from helpers import assert_same

N = 12
SHAPES = {"image": (3, 8, 8), "counts": (6,), "plain": (2,)}
QUIET = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "logger": False,
}


def arrays():
    """Return bytes, a sparse matrix with an empty row, and a plain tensor."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.7, (N, 6))
    counts[3] = 0
    plain = torch.from_numpy(rng.standard_normal((N, 2)))
    return rng.integers(0, 256, (N, 3, 8, 8), dtype=np.uint8), scipy.sparse.csr_array(counts), plain


def masks():
    seen = np.ones((3, N), dtype=bool)
    seen[0, ::3] = seen[1, 1::3] = seen[2, 2::4] = False
    return dict(zip(SHAPES, seen, strict=True))


def stored(missing=False):
    images, counts, plain = arrays()
    data = {"image": ByteImages(images), "counts": counts, "plain": plain}
    return (
        IncompleteDataset(data, masks(), range(N))
        if missing
        else MultimodalBaseDataset(data, range(N))
    )


def dense(missing=False):
    images, counts, plain = arrays()
    data = {
        "image": torch.from_numpy(images).float() / 255,
        "counts": torch.from_numpy(counts.toarray().astype(np.float32)),
        "plain": plain,
    }
    return (
        IncompleteDataset(data, masks(), range(N))
        if missing
        else MultimodalBaseDataset(data, range(N))
    )


def read(inputs):
    batch = read_inputs(inputs, list(SHAPES), dtype=torch.float32, device="cpu", shapes=SHAPES)
    return {**batch.data, "observed": batch.observed, "complete": batch.complete}


def make_model(seed=0):
    torch.manual_seed(seed)
    config = CMVAEConfig(
        n_modalities=3,
        input_dims=SHAPES,
        latent_dim=3,
        modalities_specific_dim=2,
        number_of_clusters=3,
        K=2,
    )
    return CMVAE(config)


@pytest.fixture
def converted(monkeypatch):
    """Return a list that gets the number of rows of every conversion to floats."""
    sizes = []
    for cls in (ByteImages, SparseRows):
        convert = cls.__getitem__

        def counting(self, rows, convert=convert):
            floats = convert(self, rows)
            sizes.append(1 if floats.ndim < len(self.shape) else len(floats))
            return floats

        monkeypatch.setattr(cls, "__getitem__", counting)
    return sizes


@pytest.mark.parametrize("missing", [False, True])
def test_samples_and_batches_equal_those_of_the_dense_twin(missing):
    ours, twin = stored(missing), dense(missing)
    assert repr(ours) == repr(twin)
    for index in (0, 3, -1):
        assert_same(ours[index], twin[index])
    for rows in (slice(2, 9), slice(None, None, -2), [4, 3, 3, -1], torch.arange(N) % 2 == 0, []):
        assert_same(ours.batch(rows), twin.batch(rows))
        assert_same(ours[rows].batch(slice(None)), twin.batch(rows))
    assert_same(list(DataLoader(ours, 5))[2], list(DataLoader(twin, 5))[2])


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    "form",
    [
        lambda ds: ds,
        lambda ds: Subset(ds, [7, 2, 2]),
        lambda ds: ConcatDataset([ds, ds]),
        lambda ds: ds.data,
    ],
)
def test_whole_inputs_and_chunks_equal_those_of_the_dense_twin(missing, form):
    ours, twin = form(stored(missing)), form(dense(missing))
    assert_same(read(ours), read(twin))
    for got, expected in zip(iterate(ours, 5), iterate(twin, 5), strict=True):
        assert_same(read(got), read(expected))


def test_stored_values_are_indexed_as_tensors_are():
    ours, twin = stored().data, dense().data
    for rows in (
        2,
        -1,
        np.int64(3),
        slice(1, 4),
        torch.tensor([3, 3, 0]),
        np.array([1, 5]),
        [4, 2],
    ):
        for name in ("image", "counts"):
            assert torch.equal(ours[name][rows], twin[name][rows])


def test_parts_of_datasets_stay_compact(converted):
    ds = stored()
    for part in (
        ds[2:5],
        ds[[4, 1, 1]],
        ds[torch.arange(N) < 3],
        next(iterate(Subset(ds, [4, 1, 1]), 3)),
    ):
        assert type(part.data["image"]) is ByteImages
        assert part.data["image"].images.dtype == torch.uint8
        assert scipy.sparse.issparse(part.data["counts"].matrix)
        assert len(part) == 3
    assert ds[2:5].data["image"].images.data_ptr() == ds.data["image"].images[2:].data_ptr()
    assert not converted


def test_nothing_is_converted_but_the_rows_of_a_chunk(converted):
    ds, model = stored(missing=True), make_model()
    assert not converted
    model.encode(ds, batch_size=5)
    model.predict_clusters(ds, batch_size=5)
    model.prune_clusters(ds, batch_size=5)
    model.compute_joint_nll(ds, K=2, chunk_size=5)
    initialize_clusters(model, ds, 2, batch_size=5, seed=0)
    assert converted == [5, 5, 5, 5, 2, 2] * 5


def test_mappings_are_converted_by_the_chunk(converted):
    next(iterate(stored().data, 5))
    assert converted == [5, 5]


def test_training_converts_a_batch_at_a_time(converted, tmp_path):
    fit(
        make_model(),
        stored(),
        stored(),
        batch_size=5,
        max_epochs=2,
        run_dir=tmp_path / "run",
        **QUIET,
    )
    assert converted == [5, 5, 5, 5, 2, 2] * 4


@pytest.mark.parametrize("missing", [False, True])
def test_training_and_clustering_equal_those_on_the_dense_twin(missing, tmp_path):
    results = []
    for name, ds in (("stored", stored(missing)), ("dense", dense(missing))):
        model = make_model()
        arguments = {"max_epochs": 3, "warmup_epochs": 1, "batch_size": 5, "seed": 4, **QUIET}
        trainer = fit(model, ds, ds, run_dir=tmp_path / name, **arguments)
        metrics = {key: value.clone() for key, value in trainer.callback_metrics.items()}
        found = dict(model.predict_clusters(ds))
        torch.manual_seed(0)
        nll = model.compute_joint_nll(ds, K=3, reduction="none")
        results.append({**metrics, **found, "nll": nll, **model.state_dict()})
    assert_same(*results)


def test_encoding_in_chunks_equals_encoding_at_once():
    ds, model = stored(missing=True), make_model()
    whole, chunked = (
        model.encode(ds, N=2, batch_size=size, generator=torch.Generator().manual_seed(0))
        for size in (N, 5)
    )
    torch.testing.assert_close(chunked.z, whole.z)
    torch.testing.assert_close(chunked.modalities_z, whole.modalities_z)


def test_images_may_be_memory_mapped(tmp_path):
    images = arrays()[0]
    np.save(tmp_path / "images.npy", images)
    ds = MultimodalBaseDataset(
        {"image": ByteImages(np.load(tmp_path / "images.npy", mmap_mode="r"))}
    )
    before = (tmp_path / "images.npy").read_bytes()
    batch = ds.batch([3, 1]).data["image"]
    assert np.array_equal(batch.numpy(), images[[3, 1]].astype(np.float32) / np.float32(255))
    batch.zero_()
    ds[0].data["image"].zero_()
    assert (tmp_path / "images.npy").read_bytes() == before


def test_every_byte_becomes_its_share_of_255():
    floats = ByteImages(torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16))[0].flatten()
    assert torch.equal(floats, torch.arange(256) / 255)
    assert (floats.min(), floats.max()) == (0, 1)


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix", "csc_matrix", "coo_array"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, bool])
def test_sparse_matrices_of_any_kind(kind, dtype):
    table = arrays()[1].toarray().astype(dtype)
    ds = MultimodalBaseDataset({"counts": getattr(scipy.sparse, kind)(table)})
    expected = torch.from_numpy(table.astype(np.float32))
    assert torch.equal(ds.batch(slice(None)).data["counts"], expected)
    assert torch.equal(torch.stack([ds[i].data["counts"] for i in range(N)]), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_nonfinite_entries_of_sparse_rows_are_refused_where_observed(bad, monkeypatch):
    monkeypatch.setattr(cmvae.data.stored, "CHUNK_ENTRIES", 4)
    counts = scipy.sparse.lil_array(arrays()[1].astype(np.float64))
    counts[4, 5] = counts[11, 0] = bad
    seen = np.ones(N, dtype=bool)
    with pytest.raises(
        ValueError, match="modality 'counts': NaN or infinity in observed entries of samples 4, 11;"
    ):
        MultimodalBaseDataset({"counts": counts})
    seen[11] = False
    data = {"counts": counts, "plain": np.zeros(N)}
    with pytest.raises(
        ValueError, match="modality 'counts': NaN or infinity in observed entries of sample 4;"
    ):
        IncompleteDataset(data, {"counts": seen})
    seen[4] = False
    batch = read(IncompleteDataset({**data, "plain": np.zeros((N, 2))}, {"counts": seen}))
    assert batch["observed"][1].tolist() == seen.tolist()
    with pytest.raises(
        ValueError, match="modality 'counts': NaN or infinity in observed entries of samples 4, 11;"
    ):
        read({"counts": counts})


def test_a_cast_that_overflows_is_still_found():
    ds = MultimodalBaseDataset({"counts": scipy.sparse.csr_array([[1e30, 0.0]])})
    with pytest.raises(ValueError, match="NaN or infinity in observed entries of sample 0"):
        read_inputs(ds, ["counts"], dtype=torch.float16, device="cpu")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ByteImages(np.zeros((2, 3, 4, 4))),
            TypeError,
            "images: expected dtype uint8, got torch.float64",
        ),
        (
            lambda: ByteImages(np.zeros((2, 4, 4), np.uint8)),
            ValueError,
            r"shape \(n, C, H, W\), got \(2, 4, 4\)",
        ),
        (
            lambda: SparseRows(np.zeros((2, 3))),
            TypeError,
            "matrix: expected a SciPy sparse matrix, got ndarray",
        ),
        (
            lambda: SparseRows(scipy.sparse.coo_array([1, 0])),
            ValueError,
            r"expected shape \(n, features\), got \(2,\)",
        ),
        (
            lambda: SparseRows(scipy.sparse.csr_array(([1.0], [3], [0, 1]), shape=(1, 3))),
            ValueError,
            "matrix: the sparse matrix is damaged: indices must be < 3",
        ),
        (
            lambda: MultimodalBaseDataset({"a": scipy.sparse.csr_array([[1j]])}),
            TypeError,
            "modality 'a': matrix: expected real numbers, got dtype complex128",
        ),
        (
            lambda: MultimodalBaseDataset({"a": scipy.sparse.eye_array(3), "b": np.zeros(2)}),
            ValueError,
            "modalities differ in their number of samples: 'a' has 3, 'b' has 2",
        ),
        (
            lambda: read({"image": ByteImages(np.zeros((2, 3, 4, 4), np.uint8))}),
            ValueError,
            r"modality 'image': expected samples of shape \(3, 8, 8\), got \(3, 4, 4\)",
        ),
    ],
)
def test_bad_values(make, error, message):
    with pytest.raises(error, match=message):
        make()


class Rows:
    """Rows of an array, as a file gives them."""

    def __init__(self, values):
        self.values, self.dtype, self.shape = values, values.dtype, values.shape[1:]
        self.read = 0

    def __len__(self):
        return len(self.values)

    def take(self, rows):
        self.read += len(rows)
        return self.values[rows]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_rows_on_disk_are_read_when_they_are_asked_for(dtype):
    file = Rows(np.random.default_rng(0).integers(0, 256, (20, 3)).astype(dtype))
    expected = torch.from_numpy(file.values).float() / (255 if dtype == np.uint8 else 1)
    whole = RowsReadLater(file)
    some = whole.cut(torch.tensor([5, -1, 5, 2])).cut(slice(1, 4))
    every = whole.cut(slice(2, 18, 3)).cut(torch.tensor([-1, 0]))
    assert (file.read, some.shape, every.shape) == (0, (3, 3), (2, 3))
    assert torch.equal(some[:], expected[[19, 5, 2]])
    assert torch.equal(every[:], expected[[17, 2]])
    assert torch.equal(whole[7], expected[7])
    assert file.read == 6


def test_what_is_not_finite_on_disk_is_found_and_cells_are_those_that_are_no_nan(monkeypatch):
    monkeypatch.setattr(cmvae.data.stored, "CHUNK_ENTRIES", 7)
    values = np.ones((20, 3), dtype=np.float32)
    values[[2, 9], [0, 1]] = np.nan
    values[13] = np.nan
    values[17, 2] = np.inf
    cells = CellsReadLater(Rows(values))
    assert torch.equal(cells[:], torch.from_numpy(~np.isnan(values)))
    assert cells.any_cell().tolist() == [row != 13 for row in range(20)]
    assert RowsReadLater(Rows(values)).nonfinite().nonzero().flatten().tolist() == [2, 9, 13, 17]
    data = {"a": RowsReadLater(Rows(values)), "b": torch.ones(20, 1)}
    with pytest.raises(ValueError, match="NaN or infinity in observed entries of sample 17"):
        IncompleteDataset(data, {}, cells={"a": cells})
    values[17, 2] = 4
    whole = IncompleteDataset(data, {}, cells={"a": cells})
    assert not whole.masks["a"][13]
    read = read_inputs(whole, ["a", "b"], dtype=torch.float32, device="cpu")
    assert torch.equal(read.cells["a"], cells[:])
    assert "a (3,) missing in 1" in repr(whole)


def test_entries_in_any_order_and_at_the_same_place():
    parts = (np.array([1.0, 2.0, 3.0, 4.0]), np.array([2, 0, 2, 1]), np.array([0, 3, 4]))
    matrix = scipy.sparse.csr_array(parts, shape=(2, 3))
    assert SparseRows(matrix)[:].tolist() == [[2, 0, 4], [0, 4, 0]]
    assert matrix.data.tolist() == [1, 2, 3, 4]
