"""Hostile run folders, whose manifest says that they are whole."""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cases import Case, command, payload, told

METRICS, CODECS, SAMPLES, LOG = "metrics.json", "preprocessing.json", "clusters.csv", "log.csv"
FIT, NAMES, MANIFEST, CONFIG = "fit.json", "names.json", "manifest.json", "config.yaml"
LATENTS, EXTRAS, INDEX = "start.safetensors", "estimator.json", "index.parquet"
VERSIONS = "versions.json"  # which nothing reads
MAY = (
    (CODECS, "9 bits"),
    (FIT, "an unknown column"),
    (MANIFEST, "version 3.0"),
    (VERSIONS, "bytes"),
    (EXTRAS, "{}"),
)
Change = Callable[[Path], object]


def predict(folder: Path) -> None:
    """Read a run, and predict with it."""
    table = folder / "run" / ".." / "a.csv"
    command("predict", folder / "run", "--modality", f"a={table}", "--out", folder / "out.csv")


def show(folder: Path) -> None:
    """Read a run but for its model."""
    command("select", folder / "run")


def report(folder: Path) -> None:
    """Make the page of a run."""
    command("report", folder / "run", "--out", folder / "page.html")


def evaluate(folder: Path) -> None:
    """Compare the samples of a run with labels."""
    command("evaluate", folder / "run", "--labels", folder / "l.csv")


def generate(folder: Path) -> None:
    """Generate samples of a run."""
    command("generate", folder / "run", "--samples", 2, "--out", folder / "made")


def load(folder: Path) -> None:
    """Read a run as an estimator, and ask it."""
    from cmvae import CMVAEClusterer

    def read() -> None:
        found = CMVAEClusterer.load(folder / "run")
        repr(found), found.get_params(), found.index_, found.labels_

    told(read)


def cases(good: Path) -> Iterator[Case]:
    """Yield the cases; ``good`` holds what is well."""
    for of, name, call, change in (*_metrics(), *_tables(), *_codecs(), *_others(), *_files()):
        named = {"one modality more": CONFIG, "files {'config.yaml':": CONFIG}.get(name, of)
        named = "a run folder of version" if name.startswith("version") else named
        make = partial(_make, good, "run", of, change)
        yield Case(of, name, make, call, named, (of, name) in MAY)
    for of, name, change in _extras():
        make = partial(_make, good, "saved", of, change)
        yield Case(of, name, make, load, of, (of, name) in MAY)


def _make(good: Path, run: str, of: str, change: Change, folder: Path) -> None:
    own = folder / "run"
    shutil.copytree(good / run, own)
    shutil.copy(good / "files" / "a.csv", folder / "a.csv")
    labels = "\n".join(f"s{i},{i % 3}" for i in range(48))
    (folder / "l.csv").write_text(f"id,label\n{labels}\n")
    change(own / of)
    if of != MANIFEST:
        seal(own)


def seal(run: Path) -> None:
    """Write what the files of a run are into its manifest, as whoever changes them would."""
    manifest = json.loads((run / MANIFEST).read_text())
    for name in manifest["files"]:
        if (run / name).is_file():
            manifest["files"][name] = hashlib.sha256((run / name).read_bytes()).hexdigest()
    (run / MANIFEST).write_text(json.dumps(manifest))


def _put(*way: Any, value: Any) -> Change:
    """Return what sets a value in a JSON file, at the end of a way."""

    def change(path: Path) -> None:
        content = own = json.loads(path.read_text())
        for step in way[:-1]:
            own = own[step]
        own[way[-1]] = value
        path.write_text(json.dumps(content))

    return change


def _text(content: str | bytes) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


def _lines(change: Callable[[list[str]], list[str]]) -> Change:
    return lambda path: path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def _column(name: str, value: str) -> Change:
    """Return what sets a column of a CSV in its first row."""

    def change(rows: list[str]) -> list[str]:
        cells = rows[1].split(",")
        cells[rows[0].split(",").index(name)] = value
        return [rows[0], ",".join(cells), *rows[2:]]

    return _lines(change)


def _metrics() -> Iterator[tuple[Any, ...]]:
    for name, value in (("a text", "x"), ("null", None), ("a list", [1]), ("a number", 3)):
        yield METRICS, name, show, _text(json.dumps(value))
    for sizes in ([], None, "abc", [1.5], [-1], [10**30], [8] * 7, [8] * 10**6, {"0": 8}, [True]):
        yield METRICS, f"sizes {str(sizes)[:20]}", show, _put("sizes", value=sizes)
    for evidence in ({}, [], {"numbers": [2], "scores": []}, "x"):
        yield METRICS, f"evidence {evidence}", show, _put("evidence", value=evidence)
    yield METRICS, "scores of text", show, _put("evidence", "scores", value=["x"] * 11)
    yield METRICS, "one score less", show, _put("evidence", "scores", value=[1.0])
    yield METRICS, "a share of text", show, _put("evidence", "share", value="x")
    yield METRICS, "chosen of 10^30", show, _put("evidence", "chosen", value=10**30)
    yield METRICS, "stability of text", report, _put("stability", value=["x"] * 6)
    yield METRICS, "stability missing", report, lambda p: _drop(p, "stability")
    yield METRICS, "stability of one", report, _put("stability", value=[1.0])
    yield METRICS, "no sizes", show, lambda p: _drop(p, "sizes")
    yield METRICS, "another number of samples", show, _put("n_samples", value=47)
    yield METRICS, "epochs of text", report, _put("epochs", value="many")


def _drop(path: Path, key: str) -> None:
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))


def _tables() -> Iterator[tuple[Any, ...]]:
    for cluster in ("x", "-1", "6", "99999999999999999999", "1.5", "", "nan"):
        yield SAMPLES, f"cluster {cluster}", evaluate, _column("cluster", cluster)
    for probability in ("x", "2", "-1", "", "inf"):
        yield SAMPLES, f"probability {probability}", report, _column("probability", probability)
    yield SAMPLES, "an id twice", evaluate, _column("id", "s1")
    yield SAMPLES, "no id", evaluate, _column("id", "")
    yield SAMPLES, "unknown modalities", evaluate, _column("modalities", "a+zzz")
    yield SAMPLES, "a row less", evaluate, _lines(lambda rows: rows[:-1])
    yield SAMPLES, "no rows", evaluate, _lines(lambda rows: rows[:1])
    yield SAMPLES, "no columns", show, _lines(lambda rows: ["x"] * len(rows))
    yield SAMPLES, "an open quote", show, _lines(lambda rows: [*rows, '"'])
    yield SAMPLES, "a wide row", show, _lines(lambda rows: [*rows, "a," * 10])
    yield SAMPLES, "bytes", show, _text(bytes(range(256)))
    yield SAMPLES, "empty", show, _text("")
    yield SAMPLES, "one line of 50 MB", show, _text("x" * 50_000_000)
    yield LOG, "empty", report, _text("")
    yield LOG, "other columns", report, _text("a,b\n1,2\n")
    yield LOG, "terms of text", report, _column("train/loss", "x")
    yield LOG, "an unknown phase", report, _column("phase", "nowhere")
    yield LOG, "an epoch of 10^30", report, _column("epoch", str(10**30))
    yield LOG, "bytes", report, _text(bytes(range(256)))


def _codecs() -> Iterator[tuple[Any, ...]]:
    first = ("codecs", "a", "columns", 0)
    for value in (0, -1, float("nan"), float("inf"), "x", None, 10**400):
        yield CODECS, f"spread {str(value)[:9]}", predict, _put(*first, "spread", value=value)
    for value in (float("nan"), "x", 10**400):
        yield CODECS, f"centre {str(value)[:9]}", predict, _put(*first, "center", value=value)
    yield CODECS, "an unknown transform", predict, _put(*first, "transform", value="eval")
    yield CODECS, "an unknown kind", predict, _put(*first, "kind", value="pickle")
    yield CODECS, "a name twice", predict, _put(*first, "name", value="y")
    yield CODECS, "no columns", predict, _put("codecs", "a", "columns", value=[])
    yield CODECS, "a column less", predict, lambda p: _drop_column(p)
    many = [f"v{i}" for i in range(10**6)]
    for name, values in (("none", []), ("a text", "abc"), ("twice", ["red"] * 3), ("10^6", many)):
        way = ("codecs", "a", "columns", 3, "values")
        yield CODECS, f"values: {name}", predict, _put(*way, value=values)
    yield CODECS, "a total as nan", predict, _put("codecs", "a", "median_total", value=float("nan"))
    yield CODECS, "a negative mean", predict, _put("codecs", "a", "columns", 2, "mean", value=-1)
    yield CODECS, "an unknown codec", predict, _put("codecs", "a", "type", value="pickle")
    yield CODECS, "no codecs", predict, _put("codecs", value={})
    yield CODECS, "one modality more", predict, _more_codecs
    for shape in ([3, 10**6, 10**6], [0, 8, 8], [3, -8, 8], "abc", [3, 8]):
        yield CODECS, f"images {shape}", generate, _put("codecs", "i", "shape", value=shape)
    for bits in (0, 64, "x", 9):
        yield CODECS, f"{bits} bits", report, _put("codecs", "i", "bits", value=bits)
    for length in (10**12, 0, -1, "x"):
        way = ("codecs", "t", "tokenizer", "length")
        yield CODECS, f"texts of {length}", generate, _put(*way, value=length)
    way = ("codecs", "t", "tokenizer", "words")
    yield CODECS, "words of numbers", generate, _put(*way, value=list(range(13)))
    yield CODECS, "words less", generate, _put(*way, value=["<pad>", "<unk>"])
    yield CODECS, "nested deep", predict, _text("[" * 200_000)
    fields = {f"x{i}": 1 for i in range(10**5)}
    yield CODECS, "10^5 unknown fields", predict, _text(json.dumps(fields))
    yield CODECS, "understood: text", report, _put("understood", value="x")
    others = {"zzz": {"what": "", "samples": 1}}
    yield CODECS, "understood: others", report, _put("understood", value=others)
    yield CODECS, "understood: -1 samples", report, _put("understood", "a", "samples", value=-1)


def _drop_column(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["codecs"]["a"]["columns"][0]
    path.write_text(json.dumps(content))


def _more_codecs(path: Path) -> None:
    content = json.loads(path.read_text())
    content["codecs"]["b"] = content["codecs"]["a"]
    path.write_text(json.dumps(content))


def _others() -> Iterator[tuple[Any, ...]]:
    for value in ("x", [], [1.0], [float("nan")] * 9, ["x"] * 9, [3.0, 1.0, 2.0]):
        yield FIT, f"quantiles {str(value)[:12]}", predict, _put("quantiles", "a", value=value)
    yield FIT, "unknown modalities", predict, _put("margins", value={"zzz": []})
    yield FIT, "edges and shares", predict, _put("margins", "a", 0, "edges", value=[1.0])
    yield FIT, "edges as nan", predict, _put("margins", "a", 0, "edges", value=[float("nan")] * 101)
    yield FIT, "an unknown column", predict, _put("margins", "a", 0, "name", value="zzz")
    yield FIT, "-1 samples", predict, _put("margins", "a", 0, "samples", value=-1)
    for content in (
        "[]",
        '{"9": "x"}',
        '{"0": 3}',
        '{"0": {}}',
        "{",
        '{"0": "a\\nb"}',
        "[" * 10**5,
    ):
        yield NAMES, content[:12], show, _text(content)
    yield NAMES, "names alike", show, _text('{"0": "x", "1": "X"}')
    yield NAMES, "10^5 characters", show, _text(json.dumps({"0": "x" * 10**5}))
    yield NAMES, "bytes", show, _text(b"\xff\xfe")
    yield LATENTS, "noise", show, _text(os.urandom(1000))
    yield LATENTS, "a pickle", show, lambda p: p.write_bytes(pickle.dumps(payload()))
    yield LATENTS, "other names", show, lambda p: _latents(p, {"x": (48, 24)})
    yield LATENTS, "other sizes", show, lambda p: _latents(p, {"0": (3,), "1": (48, 24)})
    yield LATENTS, "NaN", show, lambda p: _latents(p, {"0": (48, 24)}, float("nan"))
    for value in ("x", None, [], 4, -1, 3.0, True, "3"):
        yield MANIFEST, f"version {value!r}", show, _put("version", value=value)
    for files in ([], "abc", {}, None, {"config.yaml": 5}, [[1, 2, 3]]):
        yield MANIFEST, f"files {str(files)[:15]}", show, _put("files", value=files)
    yield MANIFEST, "a list", show, _text("[1]")
    yield MANIFEST, "bytes", show, _text(b"\xff")
    yield VERSIONS, "bytes", show, _text(b"\xff")
    for text in ("modalities: 5", "{}", "[1]", "a", "modalities: {a: {path: [1]}}", "\xff"):
        yield CONFIG, text, show, _text(text.encode("latin-1"))
    yield CONFIG, "other modalities", show, _text("modalities: {b: x.csv}")
    rule = _lines(lambda rows: [row.replace("rule: joint", "rule: eval") for row in rows])
    yield CONFIG, "an unknown rule", show, rule


def _latents(path: Path, sizes: dict[str, tuple[int, ...]], value: float = 0.0) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({name: np.full(size, value, np.float32) for name, size in sizes.items()}, path)


def _files() -> Iterator[tuple[Any, ...]]:
    """Yield what stands in the place of a file."""
    for name in (METRICS, CODECS, SAMPLES, MANIFEST, CONFIG):
        yield name, "missing", show, lambda path: path.unlink()
        yield name, "a folder", show, lambda path: (path.unlink(), path.mkdir())
        yield name, "a pipe", show, lambda path: (path.unlink(), os.mkfifo(path))
    yield SAMPLES, "another file", show, _linked


def _linked(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[2] / "closed" / "secret.txt")


def _extras() -> Iterator[tuple[Any, ...]]:
    for content in ("[]", "{}", "3", "null", '{"kinds": 3}', "[" * 10**5):
        yield EXTRAS, content[:12], _text(content)
    states: tuple[Any, ...] = ("x", [1], {"a": 1}, -1, 10**30, 1.5)
    for state in states:
        yield EXTRAS, f"random_state {state}", _put("random_state", value=state)
    lie = {"bit_generator": "MT19937", "state": {"key": [1] * 10**6, "pos": 5}}
    yield EXTRAS, "a state too long", _put("random_state", value=lie)
    for name in ("kinds", "modalities", "tables", "verbose", "feature_names_in_", "n_features_in_"):
        yield EXTRAS, f"{name} of text", _put(name, value="x")
    yield EXTRAS, "an unknown field", _put("evil", value="x")
    yield INDEX, "bytes", _text(bytes(range(256)))
    yield INDEX, "shorter", _short_index
    yield EXTRAS, "tables of others", _put("tables", value=["zzz"])


def _short_index(path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"row": range(3)}).to_parquet(path)
