import errno
import sqlite3
from unittest import mock

import numpy as np
import pytest

from cmvae.data import ByteImages
from cmvae.files.join import RowStore
from cmvae.preprocessing.array_codecs import ArrayCodec, ImageCodec
from cmvae.preprocessing.preprocessing import Preprocessing


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
    data = Preprocessing({"a": ArrayCodec((1,), 0.0, 1.0), "b": ImageCodec((1, 2, 2))}).dataset(
        rows
    )
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


def test_samples_with_nothing_and_modalities_without_samples_are_refused():
    with RowStore(["a"]) as store:
        store.add("a", ["s1", "s2"], values(1, np.nan), seen(2, 1))
        with pytest.raises(ValueError, match=r"samples \['s2'\] have nothing observed"):
            store.check()
    with filled(RowStore(["a", "b", "c"])) as store:
        store.add("c", ["s1"], values(np.nan), seen(1, 0))
        with pytest.raises(ValueError, match="modality 'c': no sample has it"):
            store.check()


def test_a_full_disk_is_an_error_of_the_system():
    with RowStore(["a"]) as store:
        broken = mock.Mock(
            execute=mock.Mock(side_effect=sqlite3.OperationalError("database or disk is full"))
        )
        with (
            mock.patch.object(store, "_database", broken),
            pytest.raises(OSError, match="disk is full") as caught,
        ):
            store.add("a", ["s1"], values(1), seen(1))
        assert caught.value.errno == errno.ENOSPC
