"""Files of a run, read and joined, and all that is wrong with them said at once."""

import numpy as np
import pandas as pd
import pytest

import cmvae.preprocessing.preprocessing as sizes
from cmvae.base.words import Refusals
from cmvae.data import SparseRows, StandardisedRows
from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import IdentifierError, Preprocessing
from cmvae.runs.reading import join_files, learn_files, read_files
from made_files import IDS, N, table_a, table_b, write_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


def given(files):
    places = {"a": "a.csv", "b": "b.parquet", "img": "img"}
    return {name: ModalityFile(path=str(files / place)) for name, place in places.items()}


def test_samples_of_unknown_values_alone_are_refused_with_the_reason(tmp_path):
    plans = pd.DataFrame({"id": IDS, "plan": ["a", "b", "c"] * (N // 3)})
    plans.to_csv(tmp_path / "plans.csv", index=False)
    files = {"p": ModalityFile(path=str(tmp_path / "plans.csv"))}
    learned = learn_files(files)
    plans.loc[[3, 4], "plan"] = "new"
    plans.to_csv(tmp_path / "plans.csv", index=False)
    shown = f"2 samples with nothing observed in \\['p'\\], '{IDS[3]}', '{IDS[4]}': all of"
    with pytest.raises(ValueError, match=shown) as refusal:
        join_files(files, learned)
    assert "'plan' (category) holds unknown values in 2 of" in refusal.value.__notes__[0]


@pytest.mark.parametrize("most", [7, 8192])
def test_files_are_learned_from_as_the_same_rows_in_memory(files, most, monkeypatch):
    monkeypatch.setattr(sizes, "MOST_ROWS", most)
    learned, rows = read_files(given(files))
    tables = {"a": table_a().iloc[:50].set_index("id"), "b": table_b().iloc[5:]}
    own = Preprocessing.learn(tables)
    assert learned.codecs["a"] == own.codecs["a"]
    assert learned.codecs["b"].columns == own.codecs["b"].columns
    assert rows.ids[:50] == IDS[:50]
    assert sorted(rows.ids) == IDS
    values = own.codecs["a"].encode(tables["a"], "a")[0]
    np.testing.assert_array_equal(rows.data["a"][:50], values)
    assert rows.masks["img"].sum() == sum(int(name) % 7 > 0 for name in IDS)
    again, same = read_files(given(files), Preprocessing.from_json(learned.to_json()))
    assert again == learned
    np.testing.assert_array_equal(same.data["a"], rows.data["a"])


def test_arrays_are_numbers_and_tables_go_by_their_columns(tmp_path):
    values = np.random.default_rng(0).integers(0, 60, (30, 2))
    np.save(tmp_path / "array.npy", values)
    np.save(tmp_path / "row.npy", values[:, 0])
    pd.DataFrame(values, columns=["p", "q"]).rename_axis("id").to_csv(tmp_path / "table.csv")
    places = {name: tmp_path / name for name in ("array.npy", "row.npy", "table.csv")}
    files = {place.stem: ModalityFile(path=str(place)) for place in places.values()}

    def kinds_of(files):
        codecs = learn_files(files).codecs
        return {name: [column.kind for column in codec.columns] for name, codec in codecs.items()}

    numbers = ["continuous"] * 2
    assert kinds_of(files) == {"array": numbers, "row": numbers[:1], "table": ["count"] * 2}
    files["array"] = files["array"].replace(kinds={"1": "count"})
    assert kinds_of(files)["array"] == ["continuous", "count"]


def test_a_modality_that_no_sample_has_is_left_out_with_a_warning(tmp_path):
    table_a().to_csv(tmp_path / "a.csv", index=False)
    table_a()[["id", "x"]].assign(x=np.nan).to_csv(tmp_path / "c.csv", index=False)
    np.save(tmp_path / "d.npy", np.full((N, 3, 2), np.nan))
    files = {n: ModalityFile(path=str(tmp_path / n)) for n in ("a.csv", "c.csv", "d.npy")}
    with pytest.warns(UserWarning, match=r"modalities \['c.csv', 'd.npy'\] are left out: no sam"):
        learned, rows = read_files(files)
    assert list(learned.codecs) == list(rows.data) == ["a.csv"]
    del files["a.csv"]
    with pytest.raises(ValueError, match=r"no sample has any of the modalities \['c.csv', 'd.n"):
        learn_files(files)


def test_files_are_joined_whatever_their_ids_are_spelled_like(tmp_path):
    names = [f"{number:03d}" for number in range(1, 41)]
    blobs = 5 * np.eye(3)[np.arange(40) % 3] + np.random.default_rng(0).normal(size=(40, 3))
    first = pd.DataFrame(blobs, names, list("xyz")).rename_axis("id")
    second = first.set_axis([f"{name.lstrip('0')} " for name in names])[::-1]
    first[:30].to_csv(tmp_path / "first.csv")
    second[:25].rename_axis("id").to_csv(tmp_path / "second.csv")
    np.savez(tmp_path / "third.npz", x=blobs[5:], ids=np.array(names[5:], dtype=bytes))
    files = {p.stem: ModalityFile(path=str(p)) for p in sorted(tmp_path.iterdir())}
    learned, rows = read_files(files)
    assert rows.ids == [*names[:30], *(f"{n.lstrip('0')} " for n in names[:29:-1])]
    whole = np.concatenate([blobs[:30], blobs[:29:-1]])
    for name, values in rows.data.items():
        seen = rows.masks[name]
        np.testing.assert_allclose(learned.restore(name, values)[seen], whole[seen], atol=1e-5)
    assert str(rows.join) == "in all 3 15; second and third 10; first and third 10; only first 5"
    assert rows.join.matching.remarks == [
        "modality 'second': 15 ids joined that differ only in blanks and leading zeros, such as "
        "'30 ' and '030'",
        "modality 'third': 10 ids joined that differ only in blanks and leading zeros, such as "
        "'031' and '31 '",
    ]


def test_ids_that_are_not_one_to_one_are_refused_with_what_else_is_wrong(files, tmp_path):
    table_a().to_csv(tmp_path / "a.csv", index=False)
    table_b().set_axis([f"{int(name)}" for name in IDS]).iloc[9:].to_csv(tmp_path / "b.csv")
    twice = pd.concat([table_b()[9:10], table_b()[:9]]).set_axis(["09", *map(str, range(1, 10))])
    twice.to_csv(tmp_path / "c.csv")
    given = {name: ModalityFile(path=str(tmp_path / f"{name}.csv")) for name in "abc"}
    learned = learn_files({"a": given["a"], "b": given["b"]})
    learned = Preprocessing(codecs={**learned.codecs, "c": learned.codecs["b"]})
    with pytest.raises(ValueError, match=r"^modality 'c': .* '09' and '9' of modality 'c' are one"):
        join_files(given, learned)
    gone = {**given, "b": ModalityFile(path=str(tmp_path / "gone.csv"))}
    with pytest.raises(Refusals, match=r"'c': .* '09' and '9' of modality 'c'.*'b': no such file"):
        join_files(gone, learned)


def test_rows_without_ids_are_not_taken_for_other_rows(tmp_path):
    rows = np.random.default_rng(0).normal(size=(30, 2))
    np.save(tmp_path / "a.npy", rows)
    frame = pd.DataFrame(rows, range(1, 31), ["p", "q"])
    frame.rename_axis("id").to_csv(tmp_path / "b.csv")
    frame.reset_index(drop=True).to_csv(tmp_path / "c.csv")
    files = {p.stem: ModalityFile(path=str(p)) for p in sorted(tmp_path.iterdir())}
    for name in "ac":
        with pytest.raises(ValueError, match=f"rows of '{name}' .* 'b' has 30 .* give '{name}' th"):
            read_files({name: files[name], "b": files["b"]})
    both = read_files({"a": files["a"], "c": files["c"]})[1]
    assert str(both.join) == "in both 30; only a 0; only c 0"
    frame[:12].rename_axis("id").to_csv(tmp_path / "b.csv")
    (remark,) = read_files({"a": files["a"], "b": files["b"]})[1].join.matching.remarks
    assert "'b' has 12 rows with the ids 1, 2, 3 and 9 more, and 12 were joined" in remark


# Refusals
# --------------------------------------------------------------------------------------------


def test_all_that_is_wrong_with_all_files_is_said_at_once(files, tmp_path):
    note = table_a().assign(note="x" + table_a()["id"])[["id", "note"]]
    note.to_csv(tmp_path / "note.csv", index=False)
    table_a().assign(x=np.inf).to_csv(tmp_path / "inf.csv", index=False)
    wrong = {
        "gone": ModalityFile(path=str(tmp_path / "gone.csv")),
        "kinds": ModalityFile(path=str(files / "a.csv"), kinds={"x": "number"}),
        "fine": ModalityFile(path=str(files / "b.parquet")),
        "note": ModalityFile(path=str(tmp_path / "note.csv")),
        "inf": ModalityFile(path=str(tmp_path / "inf.csv")),
    }
    with pytest.raises(Refusals) as caught:
        learn_files(wrong)
    said = str(caught.value)
    assert len(caught.value.errors) == 4
    for name, message in (
        ("gone", "no such file"),
        ("kinds", "unknown kinds ['number']"),
        ("note", "nothing to learn from in 1 column: 'note' holds 60 different texts in 60"),
        ("inf", "column 'x' holds infinite values"),
    ):
        assert f"modality {name!r}: {message}" in said
    (told,) = [error for error in caught.value.errors if isinstance(error, IdentifierError)]
    assert (told.modality, told.columns) == ("note", ["note"])


def test_all_that_is_wrong_at_prediction_is_said_at_once(files, tmp_path):
    learned = learn_files(given(files))
    table_a().assign(colour="purple").to_csv(tmp_path / "a.csv", index=False)
    table_b().rename(columns={"p": "r", "q": "s"}).to_csv(tmp_path / "b.csv")
    wrong = {
        "a": ModalityFile(path=str(tmp_path / "a.csv")),
        "b": ModalityFile(path=str(tmp_path / "b.csv")),
        "img": ModalityFile(path=str(tmp_path / "none")),
    }
    with pytest.raises(Refusals) as caught:
        join_files(wrong, learned)
    for message in (
        "modality 'a': column 'colour' (category) holds unknown values in 60 of 60 rows, 'purple'",
        "modality 'b': none of the columns that were learned is there; they are ['p', 'q'], got",
        "modality 'img': no such file",
    ):
        assert message in str(caught.value)
    with pytest.raises(
        ValueError, match=r"unknown modalities \['c'\].*'colour' \(category\) holds"
    ):
        join_files({"c": wrong["a"], "a": wrong["a"]}, learned)
    with pytest.raises(KeyError, match=r"unknown modalities \['c'\]; those of the run are \['a', "):
        join_files({"c": wrong["a"]}, learned)


# Cells
# --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    pytest.importorskip("mudata")
    from made_mudata import write_mudata

    return write_mudata(tmp_path_factory.mktemp("mudata") / "cells.h5mu")


@pytest.mark.filterwarnings("ignore")  # of mudata's next version
@pytest.mark.parametrize("layer", [None, "raw", "dense"])
@pytest.mark.parametrize("most", [9, 8192])
def test_cells_are_those_of_from_mudata(cells, layer, most, monkeypatch):
    from cmvae.files.mudata import h5mu_files
    from cmvae.omics import from_mudata
    from made_mudata import CELLS, make_mudata

    monkeypatch.setattr(sizes, "MOST_ROWS", most)
    files = h5mu_files(cells)
    files["protein"] = files["protein"].replace(layer=layer)
    learned, rows = read_files(files)
    data, want = learned.dataset(rows), from_mudata(make_mudata(), layers={"protein": layer})
    place = pd.Index(rows.ids).get_indexer(list(want.obs_names))
    assert sorted(place) == list(range(len(CELLS)))
    ours, theirs = data.batch(place).data, want.dataset.batch(slice(None)).data
    for name in ("rna", "protein"):
        seen = want.dataset.masks[name].numpy()
        np.testing.assert_array_equal(data.masks[name].numpy()[place], seen)
        np.testing.assert_allclose(ours[name][seen], theirs[name][seen], rtol=1e-6, atol=1e-6)
    assert isinstance(data.data["rna"], SparseRows)
    assert isinstance(data.data["protein"], StandardisedRows) == (layer is None)
    assert learned.codecs == want.coding.codecs
    assert learned.model_settings(files) == want.coding.model_settings()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"likelihood": "mixed"}, "likelihood must be one of 'negative_binomial', .*'mixed'"),
        ({"likelihood": "poisson"}, "'poisson' needs counts, .*in cell"),
        ({"kinds": {"p0": "count"}}, "kinds are for the columns of tables"),
    ],
)
def test_options_that_do_not_fit_cells_are_refused(cells, change, message):
    with pytest.raises(ValueError, match=f"modality 'protein': {message}"):
        learn_files({"protein": ModalityFile(path=str(cells), **change)})
