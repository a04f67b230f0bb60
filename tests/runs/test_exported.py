import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cmvae import CMVAE, IncompleteDataset, export, load_exported
from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.frames import read_frames
from cmvae.runs.exported import for_onnx, log_gamma
from cmvae.runs.goodness import log_likelihoods, measure_reference
from cmvae.runs.reference import FitReference
from cmvae.runs.traceable import Percentiles, traceable_model
from helpers import SHAPES, Encoder, make_config, make_model, networks, randomise
from made_runs import make_run

N = 60
KINDS = {"site": "category", "visits": "count", "age": "continuous"}


def rows_of(n=N):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.normal(50, 9, n).round(),
            "site": np.array(["x", "y", "z"])[rng.integers(0, 3, n)],
            "income": np.exp(3 * rng.normal(size=n)),
            "visits": rng.poisson(7, n),
            "smokes": rng.random(n) < 0.4,
        }
    ).astype({"site": object, "smokes": object, "visits": float})
    images = rng.integers(0, 256, (n, 3, 8, 8)).astype(np.uint8)
    return {"table": table, "images": images, "waves": rng.normal(3, 2, (n, 2, 5))}


def odd_rows():
    """Return rows that lack cells and modalities, or hold what was never seen."""
    rows = rows_of(30)
    table, images, waves = rows.values()
    for place in range(5):
        table.iloc[place, place] = None
    table.iloc[5:8] = None
    waves[5:12] = np.nan
    images[7:14] = 0
    masks = np.ones(30, dtype=bool)
    masks[8:14] = False
    table.loc[15, "site"] = "elsewhere"
    table.loc[16, ["income", "visits"]] = 1e6
    table.loc[17] = table.loc[17].where(table.columns == "age")
    return rows, masks


def raw_of(table, about):
    """Return a table as an exported file takes it, by what it says of its columns."""
    columns = next(own for own in about["inputs"] if own["name"] == "table")["columns"]
    raw = np.full((len(table), len(columns)), np.nan)
    for j, column in enumerate(columns):
        cells = table[column["name"]]
        if "codes" in column:
            cells = cells.map(dict(zip(column["values"], column["codes"], strict=True)))
        raw[:, j] = cells.to_numpy(dtype=float)
    return raw


def joined(run, rows, masks=None):
    """Return samples as prediction has them."""
    found = read_frames(rows).encode(run.preprocessing)
    if masks is not None:
        found.masks["images"] = masks
    return run.preprocessing.dataset(found)


@pytest.fixture(scope="module")
def run():
    rows = rows_of()
    learned = Preprocessing.learn(rows, {"table": ModalityFile(kinds=KINDS)})
    encoded = read_frames(rows).encode(learned)
    torch.manual_seed(0)
    config = make_config(
        number_of_clusters=4,
        missing_cells=["table"],
        covariance="full",
        prior_and_posterior_dist="normal_with_softplus",
        hidden_dims=(8,),
        shapes=learned.input_dims,
        **{k: v for k, v in learned.model_settings().items() if k != "input_dims"},
    )
    model = randomise(CMVAE(config), 0.05).eval()
    model.mixture.keep(torch.tensor([True, True, True, False]))
    files = {name: ModalityFile(path=f"{name}.csv") for name in rows}
    base = make_run({"table": learned.codecs["table"]}, only_table(encoded), rule="joint")
    reference = measure_reference(model, learned.dataset(encoded), learned.numbers)
    config = base.config.replace(modalities=files)
    return replace(
        base,
        config=config,
        preprocessing=learned,
        model=model,
        reference=reference,
        names={1: "young"},
    )


def only_table(encoded):
    return replace(
        encoded,
        data={"table": encoded.data["table"]},
        masks={"table": encoded.masks["table"]},
    )


@pytest.fixture(scope="module", params=[".onnx", ".pt2"])
def exported(run, request, tmp_path_factory):
    if request.param == ".onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package)
    return load_exported(export(run, tmp_path_factory.mktemp("out") / f"model{request.param}"))


def check_same(run, exported, rows, masks):
    data = joined(run, rows, masks)
    clusters, probabilities = run.assign(data)
    given = {"images": rows["images"], "waves": rows["waves"], "images.observed": masks}
    found = exported.run({**given, "table": raw_of(rows["table"], exported.about)})
    np.testing.assert_array_equal(found["cluster"], clusters)
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)
    np.testing.assert_allclose(found["embedding"], run.embed(data), atol=1e-5, rtol=1e-5)
    scores = log_likelihoods(run.model, data)
    np.testing.assert_allclose(found["log_likelihood"], scores, rtol=1e-5, atol=1e-4)
    from cmvae.runs.goodness import fit_percentiles

    fits = fit_percentiles(run.model, run.reference, data)
    np.testing.assert_allclose(found["fit_percentile"], fits, atol=0.06)


def test_it_says_what_predictions_say_of_complete_and_odd_rows(run, exported):
    check_same(run, exported, rows_of(), np.ones(N, dtype=bool))
    rows, masks = odd_rows()
    check_same(run, exported, rows, masks)
    for place in (0, 6, 10, 15, 16):
        cut = {
            "table": rows["table"].iloc[[place]].reset_index(drop=True),
            **{name: rows[name][[place]] for name in ("images", "waves")},
        }
        check_same(run, exported, cut, masks[[place]])


def test_what_predictions_refuse_is_in_no_cluster(exported):
    rows, masks = odd_rows()
    rows["table"].loc[20, "visits"] = 2.5
    rows["table"].loc[21, "age"] = np.inf
    rows["table"].loc[22, "age"] = 1e300
    rows["waves"][23, 0, 0] = np.nan
    masks[24], rows["waves"][24] = False, np.nan
    rows["table"].loc[24] = None
    given = {"images": rows["images"], "waves": rows["waves"], "images.observed": masks}
    found = exported.run({**given, "table": raw_of(rows["table"], exported.about)})
    assert np.flatnonzero(found["cluster"] < 0).tolist() == [20, 21, 22, 23, 24]
    for name in ("probabilities", "embedding", "log_likelihood"):
        bad = np.isnan(found[name].reshape(30, -1))
        assert np.flatnonzero(bad.all(1)).tolist() == [20, 21, 22, 23, 24]
    assert np.isnan(found["fit_percentile"][20:25]).all()


def test_it_says_what_goes_in_and_comes_out(exported):
    about = exported.about
    assert [own["name"] for own in about["inputs"]] == [
        "table",
        "images",
        "images.observed",
        "waves",
    ]
    site = next(own for own in about["inputs"][0]["columns"] if own["name"] == "site")
    assert site == {
        "name": "site",
        "kind": "category",
        "values": ["x", "y", "z"],
        "codes": [0.0, 1.0, 2.0],
    }
    assert about["rule"] == "joint"
    assert about["cluster_names"] == {"1": "young"}
    assert [own["name"] for own in about["outputs"]] == [
        "cluster",
        "probabilities",
        "embedding",
        "log_likelihood",
        "fit_percentile",
    ]


def test_a_model_with_networks_of_the_caller_s(tmp_path):
    model = make_model(noisy=True).train()
    path = export(model, tmp_path / "model.pt2", outputs=["probabilities"], rule="vote")
    assert model.training
    assert all(own.training for own in model.modules())
    exported = load_exported(path)
    generator = torch.Generator().manual_seed(0)
    data = {m: torch.randn(9, *s, generator=generator) for m, s in SHAPES.items()}
    masks = {m: torch.arange(9) % 3 != place for place, m in enumerate(data)}
    data["b"][1] = torch.nan  # unobserved
    given = IncompleteDataset(data, masks)
    inputs = {name: own.numpy() for name, own in data.items()}
    inputs |= {f"{name}.observed": mask.numpy() for name, mask in masks.items()}
    found = exported.run(inputs)
    expected = model.predict_clusters(given, rule="vote").probabilities.numpy()
    assert list(found) == ["probabilities"]
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    data["b"][2] = torch.nan  # observed
    inputs["b"] = data["b"].numpy()
    again = exported.run(inputs)["probabilities"]
    assert np.flatnonzero(np.isnan(again).all(1)).tolist() == [2]


def test_a_model_is_told_which_cells_are_there():
    model = randomise(CMVAE(make_config(missing_cells=["a"]))).eval()
    generator = torch.Generator().manual_seed(0)
    data = {m: torch.randn(9, *s, generator=generator) for m, s in SHAPES.items()}
    cells = torch.rand(9, 3, generator=generator) < 0.6
    cells[0] = False
    data["a"][~cells] = torch.nan
    given = IncompleteDataset(data, {}, cells={"a": cells})
    module = traceable_model(model, "mean")
    inputs = module.example(9)
    assert list(inputs) == ["a", "a.observed", "a.cells", "b", "b.observed", "c", "c.observed"]
    inputs |= {**data, "a.cells": cells}
    with torch.no_grad():
        found = module(*inputs.values())
    expected = model.predict_clusters(given)
    assert torch.equal(found["cluster"], expected.clusters)
    torch.testing.assert_close(found["probabilities"], expected.probabilities, atol=1e-5, rtol=0)
    inputs["a"][4, cells[4].nonzero()[0]] = torch.nan
    with torch.no_grad():
        assert (module(*inputs.values())["cluster"] < 0).nonzero().flatten().tolist() == [4]


class Branching(Encoder):
    """An encoder whose operations depend on values."""

    def forward(self, x):
        return super().forward(x if x.mean() > 0 else 2 * x)


def test_a_network_that_cannot_be_exported_is_named(tmp_path):
    encoders, decoders = networks()
    encoders["b"] = Branching((4,))
    model = CMVAE(make_config(), encoders, decoders)
    with pytest.raises(ValueError, match="the encoder of modality 'b' cannot be exported"):
        export(model, tmp_path / "model.pt2", outputs=["cluster"])
    encoders, decoders = networks()  # these note len(z)
    model = CMVAE(make_config(), encoders, decoders)
    with pytest.raises(ValueError, match="the decoder of modality 'a' cannot be exported"):
        export(model, tmp_path / "model.pt2")
    encoders, decoders = networks(noisy=True)
    decoders["c"].layers[1].running_mean = None
    model = CMVAE(make_config(), encoders, decoders)
    with pytest.raises(ValueError, match="the decoder of modality 'c' has batch normalisation"):
        export(model, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_what_no_export_wrote_is_no_model(tmp_path):
    for name in ("a.onnx", "a.pt2"):
        if name == "a.onnx":
            pytest.importorskip("onnxruntime")
        with pytest.raises(ValueError, match=f"no such file: .*{name}"):
            load_exported(tmp_path / name)
        (tmp_path / name).write_bytes(b"else")
        with pytest.raises(ValueError, match=f"{name} is damaged, or no file that cmvae.export"):
            load_exported(str(tmp_path / name))
    with pytest.raises(ValueError, match=r"path must end in .onnx, .pt2, got .*a.bin"):
        load_exported(tmp_path / "a.bin")


def test_other_inputs_are_refused_by_name(exported):
    inputs = {
        own["name"]: np.zeros((4, *own["shape"]), own["dtype"]) for own in exported.about["inputs"]
    }
    assert list(exported.run(inputs, ["cluster"])) == ["cluster"]
    table = inputs["table"]
    for change, error, message in (
        ({"table": table.astype(np.float32)}, TypeError, r"'table' must be float64 .*got float32"),
        ({"table": table[:, 1:]}, ValueError, r"of the shape \('n', 5\), got \(4, 4\)"),
        ({"table": table[0]}, ValueError, r"got \(5,\)"),
        ({"waves": inputs["waves"][1:]}, ValueError, "n being 4 as of those before it, got 3"),
    ):
        with pytest.raises(error, match=message):
            exported.run({**inputs, **change})
    with pytest.raises(KeyError, match=r"no input 'waves'; there are .*'table'"):
        exported.run({name: own for name, own in inputs.items() if name != "waves"})
    with pytest.raises(KeyError, match=r"outputs must be some of .*, got \['label'\]"):
        exported.run(inputs, ["label"])


def test_texts_are_refused_before_anything_is_written(tmp_path, run):
    texts = Preprocessing.learn(
        {"note": pd.DataFrame({"note": ["a b", "b c", "c"]})},
        {"note": ModalityFile(kinds={"note": "text"})},
    )
    with pytest.raises(ValueError, match="modality 'note' cannot be exported"):
        export(replace(run, preprocessing=texts), tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_bad_arguments_are_refused(tmp_path, run):
    (tmp_path / "there.onnx").write_text("mine")
    with pytest.raises(ValueError, match=r"must end in .onnx, .pt2, got .*model.bin"):
        export(run, tmp_path / "model.bin")
    with pytest.raises(ValueError, match="exists; pass overwrite=True"):
        export(run, tmp_path / "there.onnx")
    with pytest.raises(ValueError, match=r"outputs must be some of .*got .'labels'"):
        export(run, tmp_path / "model.pt2", outputs=["labels"])
    with pytest.raises(ValueError, match="outputs must be some of"):
        export(run, tmp_path / "model.pt2", outputs=[])
    with pytest.raises(ValueError, match="no such run folder"):
        export(tmp_path / "nowhere", tmp_path / "model.pt2")
    with pytest.raises(TypeError, match="source must be a run folder, a Run or a CMVAE, got dict"):
        export({}, tmp_path / "model.pt2")
    with pytest.raises(ValueError, match="rule must be one of"):
        export(make_model(), tmp_path / "model.pt2", rule="best")
    with pytest.raises(ValueError, match="rule is for a model, and a run has its own: leave it"):
        export(run, tmp_path / "model.pt2", rule="vote")
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]


def test_without_the_extra_it_is_named(tmp_path, run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"needs onnx, .*pip install 'cmvae\[onnx\]'"):
        export(run, tmp_path / "model.onnx")


def test_percentiles_are_those_of_the_reference():
    names = ("a", "b+c", "b")
    levels = (0.0, 1.0, 1.0, 1.0, 2.5, 4.0)
    flat = (1.0, 1.0, 2.0, 3.0, 4.0, 4.0)
    other = tuple(np.linspace(-3, -1, 6).tolist())
    reference = FitReference(quantiles={"a+b+c": levels, "b": other, "a+b": flat})
    scores = np.array([-9.0, 0.0, 0.3, 1.0, 1.0001, 2.0, 4.0, 7.0, np.nan])
    module = Percentiles(reference, names)
    for pattern, mask in (
        ("a+b+c", (1, 1, 0)),
        ("b", (0, 0, 1)),
        ("a+b", (1, 0, 1)),
        ("a", (1, 0, 0)),
    ):
        observed = torch.tensor(mask).bool().unsqueeze(1).expand(-1, len(scores))
        found = module(torch.from_numpy(scores), observed).numpy()
        expected = reference.percentiles(scores, [pattern] * len(scores))
        np.testing.assert_allclose(found.round(1), expected)


def test_log_gamma():
    x = torch.cat([torch.logspace(-6, 9, 200), torch.arange(1.0, 40)]).double()
    torch.testing.assert_close(log_gamma(x), torch.lgamma(x), rtol=1e-10, atol=1e-10)


class Lacking(nn.Module):
    """Operations that ONNX lacks."""

    def forward(self, x, y):
        return torch.cdist(x, y, p=1.0) + torch.cdist(x, y, p=3.0), torch.lgamma(x.exp())


def test_operations_that_onnx_lacks_are_made_of_others():
    x, y = torch.randn(5, 4), torch.randn(3, 4)
    made = for_onnx(torch.export.export(Lacking(), (x, y)))
    names = {str(node.target) for node in made.graph.nodes}
    assert not any("cdist" in name or "lgamma" in name for name in names)
    torch.testing.assert_close(made.module()(x, y), Lacking()(x, y))


def test_a_network_that_onnx_does_not_know_is_named(tmp_path, monkeypatch):
    class Odd(Encoder):
        def forward(self, x):
            return super().forward(torch.special.bessel_j0(x))

    def convert(program, **_):  # as the converter does, which takes long
        if any("bessel" in str(node.target) for node in program.graph.nodes):
            raise RuntimeError("a page of words") from LookupError("no function for bessel_j0")
        return program

    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.setattr(torch.onnx, "export", convert)
    encoders, decoders = networks()
    encoders["b"] = Odd((4,))
    model = CMVAE(make_config(), encoders, decoders)
    words = "encoder of modality 'b' cannot be exported to ONNX, LookupError: no function for bess"
    with pytest.raises(ValueError, match=f"{words}.*; .pt2 files know all operations"):
        export(model, tmp_path / "model.onnx", outputs=["cluster"])
    assert not list(tmp_path.iterdir())


def test_metadata_are_json(exported):
    assert json.loads(json.dumps(exported.about)) == exported.about


def test_covariates_go_in_as_they_are(tmp_path):
    """Log-likelihoods are those under them; an unknown category is refused."""
    torch.manual_seed(0)
    config = make_config({"a": (4,), "b": (3,)}, covariates={"batch": 3, "age": 1})
    model = randomise(CMVAE(config)).eval()
    data = {"a": torch.randn(6, 4), "b": torch.randn(6, 3)}
    known = {"batch": [0, 1, 2, 0, np.nan, 1], "age": [0.5, -1, 0, 1, 2, np.nan]}
    told = IncompleteDataset(data, {}, covariates=known)
    expected = log_likelihoods(model, told)
    path = export(model, tmp_path / "model.pt2", rule="joint")
    inputs = {name: own.numpy() for name, own in data.items()}
    inputs |= {f"{name}.observed": np.ones(6, dtype=bool) for name in data}
    inputs |= {f"covariate.{name}": np.array(own, dtype=float) for name, own in known.items()}
    exported = load_exported(path)
    got = exported.run(inputs)
    np.testing.assert_allclose(got["log_likelihood"], expected, rtol=1e-5)
    inputs["covariate.batch"][0] = 2
    moved = exported.run(inputs)["log_likelihood"]
    assert abs(moved[0] - expected[0]) > 1e-3
    np.testing.assert_allclose(moved[1:], expected[1:], rtol=1e-5)
    inputs["covariate.batch"][:2] = [3, 0.5]
    assert exported.run(inputs)["cluster"][:3].tolist()[:2] == [-1, -1]
    (told_of,) = (own for own in exported.about["inputs"] if own["name"] == "covariate.batch")
    assert told_of["columns"] == [{"name": "batch"}]
