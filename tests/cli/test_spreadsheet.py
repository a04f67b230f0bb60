"""Tables of users' texts that a spreadsheet would compute."""

import re

import numpy as np
import pandas as pd
import pytest

from made_files import given, refused, run

BACK = r"^'(?=['\s]*[=+\-@＝＋－＠]|'*[\t\r\n])"
STARTS = re.compile(r"['\s]*[=+\-@]")


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run of a table whose ids, columns and categories a spreadsheet would compute."""
    folder = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    groups = np.arange(40) % 2
    table = pd.DataFrame(
        {"id": [f"=s{i}" for i in range(40)], "+x": rng.normal(size=40) + 8 * groups}
    )
    table["@kind"] = np.array(["-a", "=b()"])[groups]
    table.to_csv(folder / "a.csv", index=False)
    options = ["--clusters", 2, "--epochs", 2, "--device", "cpu", "--out", folder / "run"]
    assert run("fit", *given(a=folder / "a.csv"), *options)[0] == 0
    return folder


def texts_of(path):
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [*frame.columns, *frame.to_numpy().ravel()]


def is_number(text):
    return re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", text) is not None


WRITERS = {
    "predict": (["--modality", "a=a.csv", "--out", "out.csv"], "out.csv"),
    "generate": (["--out", "made"], "made/a.csv"),
    "generate from": (["--from", "a=a.csv", "--to", "a", "--draw", "--out", "from"], "from/a.csv"),
    "generate impute": (["--impute", "--out", "whole"], "whole/a.csv"),
    "report": (["--out", "page.html"], "profiles.csv"),
}


@pytest.mark.parametrize("case", WRITERS)
def test_texts_are_guarded_where_asked_and_numbers_stay(odd, monkeypatch, case):
    monkeypatch.chdir(odd)
    options, path = WRITERS[case]
    command = [case.split()[0], "run", *options, "--overwrite"]
    found = []
    for guard in ([], ["--spreadsheet"]):
        status, _, err = run(*command, *guard)
        assert status == 0, err
        found.append(texts_of(path))
        computed = [text for text in found[-1] if STARTS.match(text) and not is_number(text)]
        assert computed
        assert [text.startswith("'") for text in computed] == [bool(guard)] * len(computed)
    assert found[0] == [re.sub(BACK, "", text) for text in found[1]]
    numbers = [text for text in found[1] if is_number(text)]
    assert numbers
    assert any(text.startswith("-") for text in numbers) or case in ("predict", "generate")


def test_other_files_are_refused(odd):
    options = given(a=odd / "a.csv")
    refused("--spreadsheet is for .csv and .tsv, got .parquet", "predict", odd / "run", *options,
            "--spreadsheet", "--out", odd / "out.parquet")  # fmt: skip
    options = ["--format", "parquet", "--spreadsheet", "--out", odd / "none"]
    refused("got .parquet", "generate", odd / "run", *options)
    assert not (odd / "none").exists()
