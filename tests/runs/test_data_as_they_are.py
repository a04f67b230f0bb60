"""Words, shares and heavy tails are recognised in files as in Python."""

import numpy as np
import pandas as pd
import pytest

from cmvae import CMVAEClusterer
from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import Preprocessing
from cmvae.runs.reading import learn_files, read_files

RNG = np.random.default_rng(0)
IDS = [f"s{i}" for i in range(40)]


def frame(values):
    return pd.DataFrame(values, index=pd.Index(IDS, name="id")).add_prefix("c")


TABLES = {
    "words": frame(RNG.poisson(0.1, (40, 60))),
    "shares": frame(RNG.dirichlet([1, 2, 3], 40)),
    "tails": frame(np.exp(2 * RNG.normal(size=(40, 2)))),
    "account": frame(RNG.integers(10**6, 10**8, (40, 2))),
}
SAID = {
    "words": "60 words, ",
    "shares": "3 of these as square roots of shares: c0, c1, c2",
    "tails": "as logarithms",
    "account": "2 continuous",
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_and_frames_are_prepared_alike(tmp_path, suffix):
    for name, table in TABLES.items():
        path = tmp_path / f"{name}.{suffix}"
        table.to_csv(path) if suffix == "csv" else table.to_parquet(path)
    files = {name: ModalityFile(path=str(tmp_path / f"{name}.{suffix}")) for name in TABLES}
    learned = learn_files(files)
    assert learned.codecs == Preprocessing.learn(TABLES).codecs
    for name, said in SAID.items():
        assert said in learned.codecs[name].describe()
    _, rows = read_files(files, learned)
    for name, table in TABLES.items():
        np.testing.assert_array_equal(rows.data[name], learned.codecs[name].encode(table, name)[0])


def test_arrays_of_words_are_prepared_as_frames_are(tmp_path):
    np.save(tmp_path / "words.npy", TABLES["words"].to_numpy())
    learned = learn_files({"words": ModalityFile(path=str(tmp_path / "words.npy"))})
    array = TABLES["words"].to_numpy(dtype=float)
    assert learned.codecs == Preprocessing.learn({"words": array}).codecs
    encoded = learned.codecs["words"].encode(array, "words")[0]
    own = Preprocessing.learn(TABLES).codecs["words"]
    np.testing.assert_array_equal(encoded, own.encode(TABLES["words"], "words")[0])


def test_documents_are_clustered_and_generated_in_their_units(tmp_path):
    labels = np.arange(120) % 3
    rates = np.full((3, 90), 0.02)
    for kind in range(3):
        rates[kind, 30 * kind : 30 * kind + 30] = 0.5
    words = pd.DataFrame(np.random.default_rng(0).poisson(rates[labels])).add_prefix("w")
    settings = {"hidden_dims": (32,), "latent_dim": 4, "private_dim": 2, "device": "cpu"}
    model = CMVAEClusterer(3, **settings, max_epochs=60, random_state=0).fit(words)
    means = words.groupby(model.labels_).mean().to_numpy()
    assert all(rates[:, means.argmax(1)].max(0) == 0.5)
    drawn, clusters = model.sample(300)
    assert list(drawn) == list(words)
    assert (drawn.to_numpy() >= 0).all()
    blocks = drawn.groupby(clusters).mean().to_numpy().reshape(3, 3, 30).mean(2)
    assert (blocks.max(1) > 1.5 * np.median(blocks, axis=1)).all()
    assert sorted(blocks.argmax(1)) == [0, 1, 2]
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(
        CMVAEClusterer.load(tmp_path / "run").predict_proba(words), model.predict_proba(words)
    )
