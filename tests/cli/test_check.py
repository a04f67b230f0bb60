import pandas as pd
import pytest

from made_files import IDS, N, given, names, refused, run, table_a, table_b


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    table_b().to_csv("b.csv")
    return tmp_path


def test_everything_understood_is_shown_and_nothing_is_trained_or_written(folder):
    before = names(folder)
    status, out, err = run("fit", *given(b="b.csv"), "--check")
    assert status == 0, err
    assert "b: " in out
    assert "b.csv; delimiter comma" in out
    assert "ids in the column 'cell'; 60 samples" in out
    assert "Nothing was trained or written." in out
    assert names(folder) == before


def test_of_a_file_that_is_odd_delimiter_and_encoding_are_shown_too(folder):
    codes = [f"{11 * i:05d}" for i in range(N)]
    table_a().assign(zip=codes).to_csv("zip.csv", index=False)
    out = run("fit", *given(a="zip.csv"), "--check")[1]
    how = "delimiter comma, encoding utf-8, decimal point"
    assert f"zip.csv; {how}; kept as text for the zeros in front: zip; ids in" in out


def test_what_is_left_out_is_named_with_the_reason_and_the_way_back(folder):
    table_a().assign(nr=range(N), country="DE").to_csv("odd.csv", index=False)
    status, out, err = run("fit", *given(a="odd.csv", b="b.csv"), "--check")
    assert status == 0, err
    assert "modality 'a': 2 columns left out: 'nr' counts up by one from row to row, 'c" in out
    assert "'country' is the same in all rows: DE" in out
    assert "name its kind: --kind a.nr=category" in out
    assert "2 left out: nr, country" in out
    assert "Samples by the modalities that they have: a+b 60" in out
    taken = run("fit", *given(a="odd.csv"), "--check", "--kind", "a.nr=continuous")[1]
    assert "1 column left out: 'country'" in taken
    pd.DataFrame({"id": IDS, "nr": range(N)}).to_csv("c.csv", index=False)
    message = "nothing to learn from in 1 column: 'nr'"
    line = refused(message, "fit", "--check", *given(c="c.csv"))
    assert line.endswith(f"as in --kind c.nr=category ({folder / 'c.csv'})")


def test_check_needs_no_folder_and_leaves_one_alone(folder):
    (folder / "run").mkdir()
    (folder / "run" / "mine.txt").write_text("mine")
    status, _, err = run("fit", *given(b="b.csv"), "--check", "--out", "run")
    assert status == 0, err
    assert names(folder / "run") == ["mine.txt"]
    refused("--out FOLDER is missing", "fit", *given(b="b.csv"))
    refused("--check and --resume exclude each other", "fit", "--check", "--resume", "--out", "x")


def test_of_many_columns_some_are_shown_and_all_are_counted(folder):
    columns = {f"x{i}": [(i * j) % 7 / 2 for j in range(1, N + 1)] for i in range(1, 121) if i % 7}
    wide = pd.DataFrame(columns, index=IDS)
    wide.assign(last="DE").to_csv("wide.csv", index_label="id")
    out = run("fit", *given(w="wide.csv"), "--check")[1]
    assert "│ x45 " in out
    assert "│ x90 " not in out
    assert "│ last " in out
    assert f"of all {wide.shape[1] + 1}: {wide.shape[1]} continuous, 1 left out" in out


def test_a_file_of_captions_is_text_without_being_told_and_the_way_back_is_shown(folder):
    said = [f"a {size} bird on {of}" for size in ("red", "wee", "fat") for of in "abcdefghij"]
    pd.DataFrame({"id": IDS, "said": said * 2}).to_csv("c.csv", index=False)
    status, out, err = run("fit", *given(b="b.csv", c="c.csv"), "--check")
    assert status == 0, err
    assert "modality 'c': 1 column noted: 'said' holds sentences: taken as text" in out
    assert "texts of up to 5 words, 17 different" in out
    taken = run("fit", *given(c="c.csv"), "--check", "--kind", "c.said=category")[1]
    assert "1 category: said" in taken
