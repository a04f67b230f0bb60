import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmvae.files import open_source
from cmvae.files.images import ImageFolder
from cmvae.files.modality import ModalityFile
from cmvae.files.shards import ShardFolder


def frame(first, n=3, **columns):
    ids = [f"s{i}" for i in range(first, first + n)]
    return pd.DataFrame({"id": ids, "x": np.arange(first, first + n, dtype=float), **columns})


def opened(folder, **options):
    return open_source("a", ModalityFile(path=str(folder), **options))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_shards_are_one_table_in_the_order_of_their_numbers(tmp_path, suffix):
    for number, first in ((10, 6), (9, 3), (1, 0)):
        own = tmp_path / f"part-{number}.{suffix}"
        frame(first).to_csv(own, index=False) if suffix == "csv" else frame(first).to_parquet(own)
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / ".part-1.crc").write_text("")
    source = opened(tmp_path)
    assert isinstance(source, ShardFolder)
    assert (source.id_column, source.columns) == ("id", ["x"])
    assert source.account.endswith("3 shards read as one table")
    parts = list(source.chunks(2))
    assert [name for ids, _ in parts for name in ids] == [f"s{i}" for i in range(9)]
    assert source.ids() == source.read().index.tolist() == [f"s{i}" for i in range(9)]
    assert np.concatenate([rows["x"] for _, rows in parts]).tolist() == list(range(9))


def test_an_empty_shard_and_one_without_cells_are_no_others(tmp_path):
    frame(0, 0).to_parquet(tmp_path / "0.parquet")
    frame(0, c=[None] * 3).to_parquet(tmp_path / "1.parquet")
    frame(3, c=["u", "v", None]).to_parquet(tmp_path / "2.parquet")
    frame(6, c=["u", "v", None]).astype({"x": int}).to_parquet(tmp_path / "3.parquet")
    with pytest.raises(ValueError, match=r"1.parquet: unlike the first shard, .* it has 'c'"):
        opened(tmp_path)
    frame(0, 0, c=[]).to_parquet(tmp_path / "0.parquet")
    assert len(opened(tmp_path).read()) == 9
    frame(9, c=[1, 2, 3]).to_parquet(tmp_path / "4.parquet")
    with pytest.raises(ValueError, match=r"4.parquet: .*'c' holds numbers, not texts: shards must"):
        opened(tmp_path)


def test_shards_of_other_columns_types_and_kinds_are_named(tmp_path):
    frame(0, y=1.0).to_parquet(tmp_path / "a.parquet")
    frame(3, z=1.0).to_parquet(tmp_path / "b.parquet")
    wrong = "b.parquet: unlike the first shard, a.parquet, it lacks 'y' and it has 'z': shards must"
    with pytest.raises(ValueError, match=wrong):
        opened(tmp_path)
    frame(3, y="1").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b.parquet: .* 'y' holds texts, not numbers"):
        opened(tmp_path)
    (tmp_path / "b.parquet").unlink()
    frame(3, y=1.0).to_csv(tmp_path / "b.csv")
    with pytest.raises(ValueError, match=r"tables of several kinds, \['.csv', '.parquet'\]"):
        opened(tmp_path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_are_in_one_column_wherever_it_stands(tmp_path, suffix):
    for number, columns in enumerate((["id", "x", "y"], ["x", "y", "id"])):
        table, own = frame(3 * number, y=1.5)[columns], tmp_path / f"{number}.{suffix}"
        table.to_csv(own, index=False) if suffix == "csv" else table.to_parquet(own, index=False)
    source = opened(tmp_path)
    whole = source.read()
    assert (source.ids(), list(whole)) == ([f"s{i}" for i in range(6)], ["x", "y"])
    assert whole["x"].tolist() == list(range(6))


def test_numbers_of_rows_are_no_ids(tmp_path):
    table = pd.concat([frame(0), frame(3)], ignore_index=True)
    for place in (0, 3):
        table[place : place + 3].to_parquet(tmp_path / f"{place}.parquet")
    assert opened(tmp_path).read().index.tolist() == [f"s{i}" for i in range(6)]
    for place in (0, 3):
        table.assign(id=range(6))[place : place + 3].to_parquet(tmp_path / f"{place}.parquet")
    with pytest.raises(ValueError, match=r"3.parquet: its index goes on .* say which column has"):
        opened(tmp_path)
    assert opened(tmp_path, id="id").read().index.tolist() == list("012345")
    for place in (0, 3):  # an index that does not begin at 0 is one of ids, as of one table
        own = frame(place).drop(columns="id").set_index(pd.RangeIndex(7 + place, 10 + place))
        own.to_parquet(tmp_path / f"{place}.parquet")
    assert opened(tmp_path).read().index.tolist() == ["7", "8", "9", "10", "11", "12"]


@pytest.mark.parametrize(
    ("first", "second", "cells"),
    [
        (["01", "02"], ["11", "12"], ["01", "02", "11", "12"]),  # codes
        (["11", "12"], ["01", "02"], ["11", "12", "01", "02"]),
        (["1", "2"], ["u", "v", "w"], ["1", "2", "u", "v", "w"]),
        (["True", "False"], ["maybe", "True"], ["True", "False", "maybe", "True"]),
        (["1", "2"], ["", ""], [1, 2, None, None]),
        (["1,5", "2"], ["3", "4"], [1.5, 2, 3, 4]),
        (["1,5", "2"], ["0", "1.234,5"], [1.5, 2, 0, 1234.5]),
        (["$5", "$6"], ["7", "8"], [5, 6, 7, 8]),
        (["1.5", "2"], [], [1.5, 2]),
    ],
)
@pytest.mark.filterwarnings("error::FutureWarning")
def test_cells_are_read_as_those_of_one_table(tmp_path, first, second, cells):
    (tmp_path / "shards").mkdir()
    tables = [
        pd.DataFrame({"id": [f"s{number}{i}" for i in range(len(own))], "x": own})
        for number, own in enumerate((first, second))
    ]
    for number, table in enumerate(tables):
        table.to_csv(tmp_path / "shards" / f"{number}.csv", index=False)
    pd.concat(tables).to_csv(tmp_path / "one.csv", index=False)
    for place in ("shards", "one.csv"):
        source = opened(tmp_path / place)
        assert source.codes == ({"x"} if "01" in cells else set())
        found = source.read()["x"]
        assert found.astype(object).where(found.notna(), None).tolist() == cells


def test_texts_that_are_numbers_are_so_in_all_shards(tmp_path):
    frame(0, y=["1.5", "2.5", "3"]).to_parquet(tmp_path / "0.parquet", index=False)
    frame(3, y=["4", "5", "6"]).to_parquet(tmp_path / "1.parquet", index=False)
    assert opened(tmp_path).read()["y"].tolist() == [1.5, 2.5, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("first", "second", "ways"),
    [
        (["1.234,5", "2.500"], ["1.234", "2.5"], "a decimal point and no mark, .* decimal comma"),
        (["5 %", "6 %"], ["0.05", "0.06"], "a decimal point and no mark, .* no decimal sign and %"),
        (["$5", "$6"], ["€5", "€6"], "no decimal sign and €, .* no decimal sign and \\$"),
    ],
)
def test_numbers_written_in_several_ways_are_refused(tmp_path, first, second, ways):
    for number, own in enumerate((first, ["", ""], second)):
        table = pd.DataFrame({"id": [f"s{number}{i}" for i in range(2)], "x": own})
        table.to_csv(tmp_path / f"{number}.csv", index=False)
    words = f"2.csv: column 'x' is written with {ways}.*: shards must write numbers in one way"
    with pytest.raises(ValueError, match=words):
        opened(tmp_path)


def test_what_is_passed_over_is_named(tmp_path):
    inner = tmp_path / "year=2024"
    inner.mkdir()
    frame(0).to_parquet(inner / "0.parquet")
    with pytest.raises(ValueError, match=r"holds no images .* 1 table in subfolders alone, which"):
        opened(tmp_path)
    for name in ("1.parquet", "2.pq", "_SUCCESS"):
        frame(0).to_parquet(tmp_path / name)
    words = "1 shard read as one table; 1 file passed over: 2.pq; 1 table in subfolders passed over"
    assert opened(tmp_path).account.endswith(words)


def test_a_shard_that_is_damaged_in_its_middle_is_named(tmp_path):
    frame(0).to_parquet(tmp_path / "a.parquet")
    rng = np.random.default_rng(0)
    frame(3, 20_000).assign(x=rng.normal(size=20_000)).to_parquet(
        tmp_path / "b.parquet", row_group_size=5000, write_page_checksum=True
    )
    whole = (tmp_path / "b.parquet").read_bytes()
    middle = len(whole) // 2
    (tmp_path / "b.parquet").write_bytes(whole[:middle] + bytes(500) + whole[middle + 500 :])
    with pytest.raises(
        ValueError, match=r"b.parquet: not a readable .parquet table: it is damaged"
    ):
        list(opened(tmp_path).chunks())


def test_images_beside_a_table_are_a_folder_of_images(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "s1.png")
    frame(0).to_csv(tmp_path / "about.csv")
    assert isinstance(opened(tmp_path), ImageFolder)
    (tmp_path / "s1.png").unlink()
    assert isinstance(opened(tmp_path), ShardFolder)
    with pytest.raises(ValueError, match="holds no images"):
        opened(tmp_path, subfolders=True)
