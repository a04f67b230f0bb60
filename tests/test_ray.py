import sys
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet as pq
import pytest

from cmvae.files.modality import ModalityFile
from cmvae.ray import predict
from cmvae.runs.config import RunConfig
from cmvae.runs.fitting import fit_run
from cmvae.runs.reading import read_files
from cmvae.runs.rows import RowPredictor
from cmvae.runs.run import prepare
from cmvae.training.recipe import Recipe

N = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small run, and four shards of rows side by side."""
    folder = tmp_path_factory.mktemp("ray")
    values = np.random.default_rng(0).normal(size=(N, 5)).round(3)
    table = pd.DataFrame(values, columns=["p", "q", "r", "s", "t"])
    table.insert(0, "key", range(1000, 1000 + N))
    table[["key", "p", "q"]].to_csv(folder / "a.csv", index=False)
    table[["key", "r", "s", "t"]].to_csv(folder / "b.csv", index=False)
    files = {name: ModalityFile(path=str(folder / f"{name}.csv")) for name in ("a", "b")}
    recipe = Recipe(n_clusters=2, max_epochs=2, latent_dim=2, private_dim=2, hidden_dims=(8,))
    config = RunConfig(modalities=files, device="cpu", recipe=recipe)
    fit_run(folder / "run", prepare(config, *read_files(files)))
    (folder / "rows").mkdir()
    for number, part in enumerate(np.array_split(np.arange(N), 4)):
        table.iloc[part].to_parquet(folder / "rows" / f"{number}.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    settings = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(num_cpus=3, object_store_memory=80 << 20, **settings)
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    yield ray
    ray.shutdown()


def test_two_workers_give_what_one_process_gives_and_go_on_after_a_failure(cluster, place):
    """One session, as starting workers takes most of the time."""
    wanted = RowPredictor(place / "run", "key")(pd.read_parquet(place / "rows"))
    out = place / "out"
    out.mkdir()
    wanted[:25].to_parquet(out / "before.parquet", index=False)  # the first shard, and half of one
    rows = cluster.data.read_parquet(str(place / "rows"), override_num_blocks=4)
    options = {"id_column": "key", "workers": 2, "done": out, "batch_size": 10}
    found = predict(place / "run", rows, **options).to_pandas()
    assert len(found) == N - 25
    whole = pd.concat([wanted[:25], found]).sort_values("key", ignore_index=True)
    pd.testing.assert_frame_equal(whole, wanted, check_dtype=False, atol=1e-5)


def test_results_that_are_not_whole_are_named(place, tmp_path):
    pytest.importorskip("ray")
    rows = mock.Mock(columns=lambda: ["key", "p"])
    predict(place / "run", rows, id_column="key", done=tmp_path / "none")
    (tmp_path / "half.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"done: .*half.parquet is no whole file of results"):
        predict(place / "run", rows, id_column="key", done=tmp_path)


def test_results_of_several_types_are_one(place, tmp_path):
    """As engines write parts without rows, and texts of either length."""
    pytest.importorskip("ray")
    rows = mock.Mock(columns=lambda: ["key", "p"])
    kinds = (pyarrow.null(), pyarrow.string(), pyarrow.large_string())
    for place_of, kind in enumerate(kinds):
        ids = pyarrow.array([] if place_of == 0 else [f"s{place_of}"], kind)
        pq.write_table(pyarrow.table({"key": ids}), tmp_path / f"{place_of}.parquet")
    predict(place / "run", rows, id_column="key", done=tmp_path)
    (*_, done) = rows.map_batches.call_args.kwargs["fn_constructor_args"]
    assert done.to_pylist() == ["s1", "s2"]


def test_what_cannot_be_predicted_is_refused_before_any_worker_starts(place):
    pytest.importorskip("ray")
    rows = mock.Mock(columns=lambda: ["id", "p"])
    for options, message in (
        ({"workers": 0}, "workers must be 1 at least, got 0"),
        ({"id_column": "key"}, r"no id column 'key'; the columns of the dataset are \['id', 'p'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            predict(place / "run", rows, **options)
    with pytest.raises(ValueError, match=r"no id column 'id'; the columns of the dataset are \[\]"):
        predict(place / "run", mock.Mock(columns=lambda: None))
    with pytest.raises(ValueError, match="no such run folder"):
        predict(place / "none", rows)
    rows.map_batches.assert_not_called()


def test_the_extra_is_named_where_ray_is_missing(place):
    with (
        mock.patch.dict(sys.modules, {"ray": None, "ray.data": None}),
        pytest.raises(ImportError, match=r"cmvae.ray needs ray.*pip install 'cmvae\[ray\]'"),
    ):
        predict(place / "run", mock.Mock())
