import logging

import pytest


@pytest.fixture(autouse=True)
def _quiet_and_alone(tmp_path, monkeypatch):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)
