import errno
import sqlite3

import numpy as np
import pytest
import scipy.sparse

from cmvae.data import ByteImages
from cmvae.files.join import RowStore
from cmvae.files.overlap import Join, Matching
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.arrays import ArrayCodec, ImageCodec


def values(*rows):
    return np.array(rows, dtype=np.float32)[:, None]


def seen(n, *missing):
    mask = np.ones(n, dtype=bool)
    mask[list(missing)] = False
    return mask


def filled(store):
    store.add("a", ["s1", "s2"], values(1, 2), seen(2))
    store.add("a", ["s3", "s4"], values(np.nan, 4), seen(2, 0))
    store.add("b", ["s9", "s3", "s1"], np.full((3, 1, 2, 2), 7, dtype=np.uint8), seen(3))
    return store


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_samples_are_joined_outer_in_order_of_appearance(rows):
    with filled(RowStore(["a", "b"])) as store:
        store.check()
        assert len(store) == 5
        parts = list(store.batches(rows))
    assert [len(part.ids) for part in parts] == [rows] * (5 // rows) + (
        [5 % rows] if 5 % rows else []
    )
    assert [name for part in parts for name in part.ids] == ["s1", "s2", "s3", "s4", "s9"]
    assert [name for part in parts for name in part.patterns()] == ["a+b", "a", "b", "a", "b"]
    assert np.concatenate([part.data["a"] for part in parts])[:, 0].tolist() == [1, 2, 0, 4, 0]
    images = np.concatenate([part.data["b"] for part in parts])
    assert (images.dtype, images.shape) == (np.uint8, (5, 1, 2, 2))
    assert images[:, 0, 0, 0].tolist() == [7, 0, 7, 0, 7]


def test_all_rows_become_a_dataset_with_images_as_bytes():
    with filled(RowStore(["a", "b"])) as store:
        rows = store.all_rows()
    numbers, images = ArrayCodec(shape=(1,), center=0.0, spread=1.0), ImageCodec(shape=(1, 2, 2))
    data = Preprocessing(codecs={"a": numbers, "b": images}).dataset(rows)
    assert isinstance(data.data["b"], ByteImages)
    assert data.masks["a"].tolist() == [True, True, False, True, False]
    assert data.masks["b"].tolist() == [True, False, True, False, True]


def test_ids_that_repeat_are_listed_across_parts():
    with filled(RowStore(["a", "b"])) as store:
        store.add("a", ["s2", "s8", "s8"], values(1, 2, 3), seen(3))
        with pytest.raises(ValueError, match=r"modality 'a': duplicate ids: s2, s8$"):
            store.check()


def test_many_ids_that_repeat_are_counted():
    names = [f"s{i}" for i in range(9)]
    with RowStore(["a"]) as store:
        for _ in range(2):
            store.add("a", names, values(*range(9)), seen(9))
        with pytest.raises(ValueError, match="s0, s1, s2, s3, s4 and 4 more"):
            store.check()


def test_a_modality_that_shares_no_id_is_refused():
    with filled(RowStore(["a", "b", "c"])) as store:
        store.add("c", ["t1", "s4"], values(1, np.nan), seen(2, 1))
        with pytest.raises(
            ValueError,
            match=r"'c' shares no id with any other.*'a': \['s1', 's2', 's4'\].*\['t1'\]",
        ):
            store.check()
        store.add("c", ["s2"], values(1), seen(1))
        store.check()


def test_samples_with_nothing_and_no_samples_are_refused():
    with RowStore(["a"]) as store:
        store.add("a", ["s1", "s2"], values(1, np.nan), seen(2, 1))
        with pytest.raises(ValueError, match=r"1 sample with nothing observed in .*, 's2': all"):
            store.check()
    with filled(RowStore(["a", "b", "c"])) as store:
        store.add("c", ["s1"], values(np.nan), seen(1, 0))
        store.check()
        assert not store.all_rows().masks["c"].any()
    with RowStore(["a", "b"]) as store:
        store.add("a", ["s1"], values(1), seen(1))
        store.add("b", ["t1"], values(np.nan), seen(1, 0))
        with pytest.raises(ValueError, match=r"1 sample with nothing observed in .*, 't1': all"):
            store.check()
    with RowStore(["a", "b"]) as store, pytest.raises(ValueError, match="there are no samples"):
        store.check()


def test_all_that_is_wrong_is_said_at_once():
    with filled(RowStore(["a", "b", "c"])) as store:
        store.add("a", ["s1"], values(1), seen(1))
        store.add("c", ["t1"], values(1), seen(1))
        wrong = "'a': duplicate ids: s1; modality 'c' shares no id"
        with pytest.raises(ValueError, match=wrong):
            store.check()


def test_a_full_disk_is_an_error_of_the_system(monkeypatch):
    connect = sqlite3.connect

    def small(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count = 8")
        return database

    monkeypatch.setattr(sqlite3, "connect", small)
    with RowStore(["a"]) as store:
        with pytest.raises(OSError, match="joining the modalities on disk failed") as caught:
            store.add("a", ["s1"], np.zeros((1, 100_000)), seen(1))
        assert caught.value.errno == errno.ENOSPC


def test_sparse_rows_are_joined_as_dense_ones_are():
    values = scipy.sparse.csr_array(np.array([[0, 5, 0], [0, 0, 0], [1, 0, 2]], dtype=np.float32))
    with RowStore(["a", "b"]) as store:
        store.add("a", ["s2", "s3"], values[:2], np.array([True, True]))
        store.add("a", ["s4"], values[2:], np.array([True]))
        store.add("b", ["s4", "s1", "s3"], np.ones((3, 1)), np.array([True, True, True]))
        store.check()
        parts = list(store.batches(3))
    assert [part.ids for part in parts] == [["s2", "s3", "s4"], ["s1"]]
    assert parts[0].data["a"].toarray().tolist() == [[0, 5, 0], [0, 0, 0], [1, 0, 2]]
    assert parts[1].data["a"].toarray().tolist() == [[0, 0, 0]]
    assert [part.masks["a"].tolist() for part in parts] == [[True, True, True], [False]]
    assert parts[0].data["a"].dtype == np.float32


def test_ids_in_another_spelling_are_joined_and_the_overlap_is_counted():
    matching = Matching({"b": {"S3": "s3"}})
    with filled(RowStore(["a", "b"], matching)) as store:
        store.add("b", ["S3", "s4"], np.zeros((2, 1, 2, 2), dtype=np.uint8), seen(2, 1))
        with pytest.raises(ValueError, match="modality 'b': duplicate ids: s3"):
            store.check()
    with RowStore(["a", "b", "c"], matching) as store:
        store.add("a", ["s1", "s3"], values(1, 3), seen(2))
        store.add("b", ["S3", "s1", "s5"], values(30, 10, 50), seen(3, 1))
        store.add("c", ["s5", "s3"], values(5, 3), seen(2))
        store.check()
        rows, join = store.all_rows(), store.join()
    assert rows.ids == ["s1", "s3", "s5"]
    assert rows.data["b"][:, 0].tolist() == [0, 30, 50]
    assert rows.join == join == Join.of_masks(rows.masks, matching)
    assert str(join) == "in all 3 1; b and c 1; only a 1"
