import errno
import tempfile
from unittest import mock

import duckdb
import numpy as np
import pytest
import scipy.sparse

from cmvae.data import ByteImages
from cmvae.files import id_tables
from cmvae.files.ids import match_ids
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


def test_a_full_disk_is_an_error_of_the_system_for_rows(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: mock.Mock(write=refuse))
    with RowStore(["a"]) as store:
        with pytest.raises(OSError, match="joining the modalities on disk failed") as caught:
            store.add("a", ["s1"], np.zeros((1, 2)), np.array([True]))
        assert caught.value.errno == errno.ENOSPC


def add_many(store):
    for part in range(60):
        ids = [f"{'a' * 90}{part:03}{i:06}" for i in range(8192)]
        store.add("a", ids, np.zeros((8192, 1)), np.ones(8192, dtype=bool))


def test_a_full_disk_is_an_error_of_the_system_for_ids(monkeypatch):
    connect = duckdb.connect
    small = {"memory_limit": "8MB", "max_temp_directory_size": "1MB"}
    monkeypatch.setattr(
        duckdb, "connect", lambda name, config: connect(name, config=config | small)
    )
    with RowStore(["a", "b"]) as store:
        with pytest.raises(OSError, match="joining the modalities on disk failed") as caught:
            add_many(store)
        assert caught.value.errno == errno.ENOSPC


def test_ids_that_take_more_than_their_memory_are_joined_on_disk_and_leave_nothing(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(id_tables, "MEMORY", "40MB")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    n, most = 200_000, []
    order = np.random.default_rng(0).permutation(n)
    with RowStore(["a", "b"]) as store:
        for name, places in (("a", np.arange(n)), ("b", order)):
            for part in np.array_split(places, 20):
                ids = [f"{'s' * 120}{place:09}" for place in part]
                store.add(name, ids, part[:, None], np.ones(len(part), dtype=bool))
                most.append(sum(path.stat().st_size for path in tmp_path.rglob("*.tmp")))
        store.match()
        store.check()
        for rows in store.batches(50_000):
            assert (rows.data["a"] == rows.data["b"]).all()
            assert rows.ids[0].endswith(f"{rows.data['a'][0, 0]:09}")
    assert max(most) > 1 << 20
    assert list(tmp_path.iterdir()) == []


def test_what_killed_joins_left_is_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "cmvae-join-1"
    left.mkdir()
    (left / "part.tmp").write_text("")
    (tmp_path / "cmvae-join-1.lock").write_text("")
    with RowStore(["a"]), RowStore(["a"]):
        assert not left.exists()
        assert len(list(tmp_path.iterdir())) == 2  # each is held: none removes the other's


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


@pytest.mark.parametrize(
    "ids",
    [
        {"a": ["s1", "s2"], "b": ["S1", "S2"]},
        {"a": ["s1", "s2 "], "b": ["s1", "s2"]},
        {"a": ["x", "y", "X"]},
        {"a": ["0", "1", "2"], "b": ["1", "2", "7", "8"]},
        {"a": [f"a{i}" for i in range(40)], "b": ["a1"]},
        {"a": ["s1", "s2"], "b": ["s2", "s1"]},
        {"a": ["s01", "s1"], "b": ["s1", "s01"]},
        {"a": ["s1", "s2", "s3"], "b": ["s2"], "c": ["s3", "t4"]},
    ],
)
def test_ids_are_matched_as_where_all_are_looked_at(ids):
    with RowStore(list(ids)) as store:
        for name, own in ids.items():
            store.add(name, own, values(*range(len(own))), seen(len(own)))
        store.match(["a"])
        want = match_ids(ids, ["a"])
        assert store.matching == want
        joined = {one for name, own in ids.items() for one in want.names(name, own)}
        assert set(store.all_rows().ids) == joined


def test_a_modality_may_be_left_out_of_the_matching():
    with RowStore(["a", "b"]) as store:
        store.add("a", ["s1"], values(1), seen(1))
        store.add_ids("b", ["S1"], seen(1, 0))
        store.match(without=["b"])
        assert store.matching == Matching()
        store.match()
        assert store.matching.renamed == {"b": {"S1": "s1"}}


def test_batches_go_on_from_a_sample():
    with filled(RowStore(["a", "b"])) as store:
        assert [rows.ids for rows in store.batches(2, 3)] == [["s4", "s9"]]


@pytest.mark.parametrize("other", [[0, 1, 2, 3], [0, 1, 3, 2], [0, 1, 2]])
@pytest.mark.parametrize("missing", [(), (1,)])
def test_ids_of_one_order_give_what_those_of_another_do(other, missing):
    """Modalities of the same ids in the same order are not joined, for time."""
    ids = np.array(["s1", "s2", "s3", "s4"])
    with RowStore(["a", "b"]) as store:
        store.add("a", ids[:3].tolist(), values(1, 2, 3), seen(3))
        store.add("a", ids[3:].tolist(), values(4), seen(1))
        store.add("b", ids[other].tolist(), values(5, 6, 7, 8)[other], seen(len(other), *missing))
        store.match()
        store.check()
        rows = store.all_rows()
    assert list(rows.ids) == ids.tolist()
    assert rows.masks["a"].all()
    expected = np.isin(range(4), np.array(other)[seen(len(other), *missing)])
    assert rows.masks["b"].tolist() == expected.tolist()
    assert rows.data["a"][:, 0].tolist() == [1, 2, 3, 4]
    assert rows.data["b"][:, 0].tolist() == (np.array([5, 6, 7, 8]) * expected).tolist()


def test_ids_of_one_order_are_refused_and_told_of_as_others_are():
    with RowStore(["a", "b"]) as store:
        for name in ("a", "b"):
            store.add(name, ["s1", "s2", "s1"], values(1, 2, 3), seen(3))
        store.match()
        with pytest.raises(ValueError, match="'a': duplicate ids: s1"):
            store.check()
    with RowStore(["a", "b"]) as store:
        for name in ("a", "b"):
            store.add(name, ["s1", "S1"], values(1, 2), seen(2))
        store.match()
        assert "spelled as others nearly, such as 'S1' beside 's1'" in store.matching.oddities[0]
        store.check()
        assert len(store) == 2
