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
