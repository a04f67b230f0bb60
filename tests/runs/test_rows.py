from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cmvae.runs.folder import read_record
from cmvae.runs.predicting import predict_files
from cmvae.runs.rows import RowPredictor
from made_files import table_a


@pytest.fixture(scope="module")
def predictor(run, files):
    return RowPredictor(files / "run")


def side_by_side(run, config):
    """The samples of the run, the columns of their modalities in one table."""
    a = pd.read_csv(config.modalities["a"].path, dtype={"id": str})
    b = pd.read_parquet(config.modalities["b"].path)
    b.index = b.index.astype(str)
    b = b.rename_axis("id").reset_index() if "id" not in b else b.astype({"id": str})
    return a.merge(b, on="id", how="outer").set_index("id").loc[run.samples["id"]].reset_index()


def test_rows_side_by_side_get_what_files_get(predictor, run, config, folder, tmp_path):
    out = tmp_path / "files.parquet"
    predict_files(folder, read_record(folder), config.modalities, out)
    rows = side_by_side(run, config)
    found = pd.concat([predictor(rows[:17]), predictor(rows[17:])], ignore_index=True)
    wanted = pd.read_parquet(out)
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, atol=1e-5)
    assert found["cluster"].tolist() == run.samples["cluster"].tolist()
    assert len(set(found["modalities"])) > 1


def test_columns_may_name_their_modality_and_ids_stay_as_they_are(predictor):
    rows = table_a().assign(id=range(100, 160)).rename(columns={"id": "number"})
    named = rows.rename(columns={"x": "a.x", "y": "a.y"}).assign(other=1)
    numbered = RowPredictor.__new__(RowPredictor)
    vars(numbered).update(vars(predictor), id_column="number", with_fit=False)
    found = numbered(named[["other", "colour", "a.y", "number", "a.x", "smokes"]])
    assert found["number"].tolist() == list(range(100, 160))
    assert list(found) == ["number", "cluster", "probability", "modalities"]
    assert set(found["modalities"]) == {"a"}
    plain = predictor(table_a())
    assert found["cluster"].tolist() == plain["cluster"].tolist()


def test_missing_columns_are_missing_cells_and_an_order_is_none(predictor):
    rows = table_a().drop(columns="smokes")
    shuffled = rows.sample(frac=1, random_state=0)
    with pytest.warns(UserWarning, match="1 column missing, 'smokes': taken as missing cells"):
        one, other = predictor(rows), predictor(shuffled)
    pd.testing.assert_frame_equal(
        other.set_index("id").loc[one["id"]].reset_index(), one, atol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="id"), "no id column 'id'; the columns are x, y, colour"),
        (lambda t: t[["id"]], "none of the columns that were learned is there"),
        (lambda t: t.assign(id=[None, *t["id"][1:]]), r"rows: 1 rows have no id, the first \[0\]"),
        (
            lambda t: t.assign(**{c: t[c].where(t.index > 1) for c in t if c != "id"}),
            "rows with nothing observed: '.*', '.*': leave them out",
        ),
        (lambda t: pd.concat([t, t[["y"]]], axis=1), "columns 'y' occur more than once"),
        (lambda t: t.assign(colour="purple"), "'colour' .category. holds unknown values in 60"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(predictor, change, message):
    with pytest.raises(ValueError, match=message):
        predictor(change(table_a()))


def test_of_no_rows_there_are_columns_of_the_same_types(predictor, run):
    one = predictor(table_a()[:1])
    nothing = predictor(table_a()[:0])
    pd.testing.assert_frame_equal(nothing, one[:0], check_column_type=False)
    named = RowPredictor.__new__(RowPredictor)
    vars(named).update(vars(predictor), run=replace(predictor.run, names={0: "first"}))
    pd.testing.assert_frame_equal(named(table_a()[:0]), named(table_a()[:1])[:0])
    with pytest.raises(ValueError, match="no id column 'id'"):
        predictor(pd.DataFrame())


def test_a_column_that_two_modalities_may_have_is_refused(predictor):
    codecs = predictor.run.preprocessing.codecs
    twice = predictor.run.preprocessing.replace(codecs={**codecs, "c": codecs["a"]})
    shared = RowPredictor.__new__(RowPredictor)
    vars(shared).update(vars(predictor), run=replace(predictor.run, preprocessing=twice))
    rows = table_a()
    with pytest.raises(ValueError, match=r"'x' may be that of several modalities, 'a', 'c': name"):
        shared(rows)
    with pytest.raises(ValueError, match="column 'smokes' may be that of several modalities"):
        shared(rows.rename(columns={name: f"a.{name}" for name in ("x", "y", "colour")}))
    prefixed = rows.rename(columns=lambda name: name if name == "id" else f"a.{name}")
    pd.testing.assert_frame_equal(predictor(prefixed), predictor(rows))


def test_strict_refuses_a_missing_column(files, run):
    with pytest.raises(ValueError, match="1 column missing, 'smokes'"):
        RowPredictor(files / "run", strict=True)(table_a().drop(columns="smokes"))


def test_no_run_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="no such run folder"):
        RowPredictor(tmp_path / "none")


def test_another_modality_is_a_column_of_arrays(tmp_path):
    from cmvae.files.modality import ModalityFile
    from cmvae.runs.config import RunConfig
    from cmvae.runs.fitting import fit_run
    from cmvae.runs.reading import read_files
    from cmvae.runs.run import prepare
    from cmvae.training.recipe import Recipe

    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.save(tmp_path / "v.npy", values.reshape(40, 3, 1, 1))
    files = {"v": ModalityFile(path=str(tmp_path / "v.npy"))}
    recipe = Recipe(n_clusters=2, max_epochs=2, latent_dim=2, private_dim=2, hidden_dims=(8,))
    config = RunConfig(modalities=files, device="cpu", recipe=recipe)
    run = fit_run(tmp_path / "run", prepare(config, *read_files(files)))
    cells = [own.reshape(3, 1, 1) for own in values]
    rows = pd.DataFrame({"id": range(40), "v": cells})
    found = RowPredictor(tmp_path / "run", with_fit=False)(rows)
    assert found["cluster"].tolist() == run.samples["cluster"].tolist()
    predictor = RowPredictor(tmp_path / "run", with_fit=False)
    pd.testing.assert_frame_equal(predictor(rows.rename(columns={"v": "v.v"})), found)
    for few, message in (
        ([None, *cells[1:]], "nothing observed: '0'"),
        ([None] * 40, "nothing observed: '0', '1'"),
        ([cells[0][:2], *cells[1:]], r"modality 'v': its arrays differ in shape: \(2, 1, 1\), \(3"),
    ):
        with pytest.raises(ValueError, match=message):
            predictor(rows.assign(v=few))
