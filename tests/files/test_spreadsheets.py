import io

import numpy as np
import pandas as pd
import pytest

from cmvae.files.spreadsheets import guarded
from cmvae.files.writing import open_rows

EXACT = {"float_precision": "round_trip"}  # which pandas 2 reads only when asked

COMPUTED = [
    "=1+1",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\rx",
    "\n",
    " =1",
    "＝1",
    "－a",
    "-",
    "''=1",
]
PLAIN = ["a=b", "", " ", "-1.5", "+4", " -.5e-3 ", "1e5", "'quoted'", "a-b", "é"]
BACK = r"^'(?=['\s]*[=+\-@＝＋－＠]|'*[\t\r\n])"


@pytest.mark.parametrize("text", COMPUTED)
def test_what_would_be_computed_begins_with_an_apostrophe_and_comes_back(text):
    assert guarded(pd.DataFrame({"x": [text]}))["x"].tolist() == [f"'{text}"]
    assert guarded(pd.DataFrame({text: [0]})).columns.tolist() == [f"'{text}"]


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_and_numbers_in_texts_stay(text):
    assert guarded(pd.DataFrame({text: [text]})).equals(pd.DataFrame({text: [text]}))


def test_numbers_dates_and_missing_cells_stay():
    frame = pd.DataFrame({"x": [-1.5, np.nan], "n": [-1, 2], "t": pd.to_datetime(["2020", None])})
    frame["s"] = pd.Series(["=1", None], dtype="string")
    frame["c"] = pd.Categorical(["-a", None])
    found = guarded(frame)
    assert found[["x", "n", "t"]].equals(frame[["x", "n", "t"]])
    assert found["s"].tolist()[0] == "'=1"
    assert found["c"].tolist()[0] == "'-a"
    assert found[["s", "c"]].iloc[1].isna().all()
    same = pd.DataFrame([["=1", 2]], columns=["a", "a"])
    assert guarded(same).to_numpy().tolist() == [["'=1", 2]]
    assert guarded(frame[[]]).shape == (2, 0)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_guarded_file_is_read_back_as_it_was(tmp_path, suffix):
    texts = [*COMPUTED, *PLAIN]
    frame = pd.DataFrame({"=id": texts, "x": np.linspace(-3, 3, len(texts))})
    for spreadsheet in (False, True):
        path = tmp_path / f"{spreadsheet}{suffix}"
        with open_rows(path, None, spreadsheet) as append:
            append(frame.iloc[:5])
            append(frame.iloc[5:])
    options = {"sep": "\t" if suffix == ".tsv" else ",", "keep_default_na": False}
    options |= {"dtype": {"=id": str, "'=id": str}, "lineterminator": "\n"}
    found = pd.read_csv(io.StringIO(path.read_bytes().decode()), **options, **EXACT)
    assert found["x"].tolist() == frame["x"].tolist()
    assert found["'=id"].str.replace(BACK, "", regex=True).tolist() == texts
    assert all(text[:1] == "'" for text in found["'=id"][: len(COMPUTED)])
    plain = pd.read_csv(
        io.StringIO((tmp_path / f"False{suffix}").read_bytes().decode()), **options, **EXACT
    )
    assert plain["=id"].tolist() == texts
