from unittest import mock

import numpy as np
import pandas as pd
import pytest

import cmvae.preprocessing.preprocessing as sizes
from cmvae import CMVAE
from cmvae.files.modality import ModalityFile
from cmvae.runs.folder import read_record
from cmvae.runs.predicting import predict_files
from made_files import names


@pytest.mark.parametrize("most", [7, 8192])
def test_the_training_samples_get_the_clusters_of_the_run(
    run, folder, config, tmp_path, monkeypatch, most
):
    monkeypatch.setattr(sizes, "MOST_ROWS", most)
    record, out = read_record(folder), tmp_path / "found.parquet"
    counts = predict_files(folder, record, config.modalities, out)
    assert counts.tolist() == run.metrics["sizes"]
    found = pd.read_parquet(out)
    fits = found.pop("fit_percentile")
    assert fits.between(0, 100).sum() >= 45  # the others have what too few of training have
    assert fits.min() < 20
    assert fits.max() > 80
    pd.testing.assert_frame_equal(found, run.samples, check_dtype=False, atol=1e-5)


def test_the_model_is_read_after_the_files(folder, tmp_path):
    record = read_record(folder)
    files = {"a": ModalityFile(path=str(tmp_path / "none.csv"))}
    with (
        mock.patch.object(CMVAE, "from_pretrained", side_effect=AssertionError),
        pytest.raises(ValueError, match="modality 'a': no such file"),
    ):
        predict_files(folder, record, files, tmp_path / "found.csv")
    assert names(tmp_path) == []


def test_no_samples_are_no_clusters(folder, files, tmp_path):
    (tmp_path / "a.csv").write_text("id,x,y,colour,smokes\n")
    record, given = read_record(folder), {"a": ModalityFile(path=str(tmp_path / "a.csv"))}
    with pytest.raises(ValueError, match="there are no samples"):
        predict_files(folder, record, given, tmp_path / "found.csv")
    assert np.array_equal(names(tmp_path), ["a.csv"])
