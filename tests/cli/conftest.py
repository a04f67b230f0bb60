import logging

import pytest

from made_files import given, run, write_files


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def modalities(files):
    return given(a=files / "a.csv", b=files / "b.parquet", img=files / "img")


@pytest.fixture(scope="session")
def fitted(files, modalities):
    """A run folder, and what was printed; not to be changed."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    options = ["--epochs", 12, "--device", "cpu", "--seed", 3]
    status, out, err = run("fit", *modalities, "--out", files / "run", *options)
    assert status == 0, err
    assert not err, err
    return files / "run", out
