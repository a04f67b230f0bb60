import numpy as np
import pandas as pd
import pytest

from cmvae import load_exported
from made_files import refused, run


def test_a_run_is_exported_and_says_so(fitted, files, tmp_path):
    out = tmp_path / "model.pt2"
    status, said, err = run(
        "export", fitted[0], "--out", out, "--output", "cluster", "--output", "probabilities"
    )
    assert (status, err) == (0, "")
    assert [line.split(":")[0] for line in said.splitlines()[:-1]] == [
        "in   a",
        "in   b",
        "in   img",
        "in   img.observed",
        "out  cluster",
        "out  probabilities",
    ]
    assert said.endswith(f"Written to {out}\n")
    exported = load_exported(out)
    n = 4
    nothing = {
        own["name"]: np.zeros((n, *own["shape"]), own["dtype"]) for own in exported.about["inputs"]
    }
    nothing["b"][:] = np.nan
    table = pd.read_csv(files / "a.csv", index_col="id").iloc[:n]
    for place, column in enumerate(exported.about["inputs"][0]["columns"]):
        cells = table[column["name"]]
        if "codes" in column:
            cells = cells.map(dict(zip(column["values"], column["codes"], strict=True)))
        nothing["a"][:, place] = cells.to_numpy(float)
    found = exported.run(nothing)
    assert (found["cluster"] >= 0).all()
    path = tmp_path / "a.csv"
    table.to_csv(path)
    status, _, err = run(
        "predict", fitted[0], "--modality", f"a={path}", "--out", tmp_path / "out.csv"
    )
    assert status == 0, err
    predicted = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_array_equal(found["cluster"], predicted["cluster"])
    np.testing.assert_allclose(found["probabilities"].max(1), predicted["probability"], atol=1e-5)


def test_what_cannot_be_is_refused_in_one_line(fitted, tmp_path, monkeypatch):
    there = tmp_path / "there.pt2"
    there.write_text("mine")
    refused(f"--out must end in .onnx, .pt2, got {tmp_path / 'm.bin'}", "export", fitted[0],
            "--out", tmp_path / "m.bin")  # fmt: skip
    line = refused("exists; pass --overwrite", "export", fitted[0], "--out", there)
    assert str(there) in line
    assert there.read_text() == "mine"
    refused("outputs must be some of", "export", fitted[0], "--out", tmp_path / "m.pt2",
            "--output", "labels")  # fmt: skip
    refused("no such run folder", "export", tmp_path / "no", "--out", tmp_path / "m.pt2")
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    refused("pip install 'cmvae[onnx]'", "export", fitted[0], "--out", tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["there.pt2"]


@pytest.mark.parametrize("name", ["config.yaml", "preprocessing.json"])
def test_a_damaged_run_is_no_model(fitted, tmp_path, name):
    import shutil

    copied = shutil.copytree(fitted[0], tmp_path / "run")
    (copied / name).write_text("{")
    refused(name, "export", copied, "--out", tmp_path / "m.pt2")
    assert not (tmp_path / "m.pt2").exists()
