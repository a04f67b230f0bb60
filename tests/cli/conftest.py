import logging

import pytest

from made_files import run, write_files


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def modalities(files):
    return [
        "--modality",
        f"a={files / 'a.csv'}",
        "--modality",
        f"b={files / 'b.parquet'}",
        "--modality",
        f"img={files / 'img'}",
    ]


@pytest.fixture(scope="session")
def fitted(files, modalities):
    """A run folder, and what was printed; not to be changed."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    status, out, err = run(
        "fit", *modalities, "--out", files / "run", "--epochs", 12, "--device", "cpu", "--seed", 3
    )
    assert status == 0, err
    assert not err, err
    return files / "run", out
