"""Odd things to give to a function: values of every type, and tables that are wrong somewhere."""

import decimal
import fractions
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

Data = Mapping[str, np.ndarray]


class Mute:
    """An object that cannot be written out."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def deep(depth: int = 2000) -> list[Any]:
    """Return lists within lists."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "0": lambda: 0,
    "-1": lambda: -1,
    "3": lambda: 3,
    "10**9": lambda: 10**9,
    "10**12": lambda: 10**12,
    "2**63": lambda: 2**63,
    "-2**63": lambda: -(2**63),
    "10**400": lambda: 10**400,
    "10**5000": lambda: 10**5000,
    "2.5": lambda: 2.5,
    "-0.0": lambda: -0.0,
    "1e300": lambda: 1e300,
    "1e-300": lambda: 1e-300,
    "5e-324": lambda: 5e-324,
    "1e38": lambda: 1e38,
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "nan": lambda: float("nan"),
    "1+2j": lambda: 1 + 2j,
    "'x'": lambda: "x",
    "''": lambda: "",
    "'auto'": lambda: "auto",
    "'3'": lambda: "3",
    "a lone surrogate": lambda: "\ud800",
    "5000 letters": lambda: "y" * 5000,
    "two lines": lambda: "a\nb",
    "b'cpu'": lambda: b"cpu",
    "bytearray": lambda: bytearray(b"x"),
    "[]": lambda: [],
    "()": lambda: (),
    "{}": lambda: {},
    "set()": set,
    "{'x'}": lambda: {"x"},
    "[None]": lambda: [None],
    "[-1, 2.5]": lambda: [-1, 2.5],
    "['a', 'a']": lambda: ["a", "a"],
    "(8, 'x')": lambda: (8, "x"),
    "(3, 2, 1)": lambda: (3, 2, 1),
    "{'a': None}": lambda: {"a": None},
    "{'a': -1}": lambda: {"a": -1},
    "{1: 2}": lambda: {1: 2},
    "lists 2000 deep": deep,
    "a generator": lambda: (i for i in range(3)),
    "a lambda": lambda: lambda *_: 1,
    "a class": lambda: int,
    "Ellipsis": lambda: ...,
    "an object": object,
    "an object without words": Mute,
    "range(3)": lambda: range(3),
    "slice": lambda: slice(None),
    "Path('x')": lambda: Path("x"),
    "Decimal": lambda: decimal.Decimal("2.5"),
    "Decimal NaN": lambda: decimal.Decimal("NaN"),
    "Fraction": lambda: fractions.Fraction(5, 2),
    "np.int64(-3)": lambda: np.int64(-3),
    "np.uint8(2)": lambda: np.uint8(2),
    "np.float32(nan)": lambda: np.float32("nan"),
    "np.bool_": lambda: np.bool_(True),
    "np.str_": lambda: np.str_("x"),
    "np.array(3)": lambda: np.array(3),
    "np.array([1, 2])": lambda: np.array([1, 2]),
    "np.zeros((40, 5))": lambda: np.zeros((40, 5)),
    "complex array": lambda: np.ones(3, complex),
    "pd.NA": lambda: pd.NA,
    "pd.NaT": lambda: pd.NaT,
    "pd.Timestamp": lambda: pd.Timestamp("2024-02-30".replace("30", "29")),
    "a Series": lambda: pd.Series([1, 2]),
    "a DataFrame": lambda: pd.DataFrame({"x": [1.0]}),
    "torch.tensor(2)": lambda: torch.tensor(2),
    "torch.tensor([1.5])": lambda: torch.tensor([1.5]),
    "meta tensor": lambda: torch.empty(2, device="meta"),
    "torch.device": lambda: torch.device("cpu"),
    "np Generator": lambda: np.random.default_rng(0),
    "torch Generator": torch.Generator,
}


def _with(data: Data, name: str, values: Any) -> dict[str, Any]:
    return {**data, name: values}


def _changed(values: np.ndarray, place: Any, value: Any) -> np.ndarray:
    values = values.copy()
    values[place] = value
    return values


def _frames(data: Data, **keywords: Any) -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame(own, **keywords) for name, own in data.items()}


def _ragged(data: Data) -> Any:
    return _with(data, "a", [[1.0, 2.0], [3.0]] * (len(data["a"]) // 2))


def _mapped(data: Data) -> Any:
    values = np.memmap(Path("a.mmap"), np.float32, "w+", shape=data["a"].shape)
    values[:] = data["a"]
    return _with(data, "a", values)


# Each takes {'a': (n, 5), 'b': (n, 4)} to something else; see VALUES for what is no table at all.
TABLES: dict[str, Callable[[Data], Any]] = {
    "as it is": dict,
    "one array": lambda d: d["a"],
    "a transposed": lambda d: _with(d, "a", d["a"].T),
    "a None": lambda d: _with(d, "a", None),
    "a alone": lambda d: {"a": d["a"]},
    "b alone": lambda d: {"b": d["b"]},
    "another name": lambda d: {"A": d["a"], "b": d["b"]},
    "more names": lambda d: _with(d, "c", d["a"]),
    "an integer name": lambda d: {0: d["a"], "b": d["b"]},
    "an empty name": lambda d: {"": d["a"], "b": d["b"]},
    "the name all": lambda d: {"all": d["a"], "b": d["b"]},
    "a name of 5000": lambda d: {"n" * 5000: d["a"], "b": d["b"]},
    "a NaN cell": lambda d: _with(d, "a", _changed(d["a"], (3, 2), np.nan)),
    "NaN rows": lambda d: _with(d, "a", _changed(d["a"], slice(0, 10), np.nan)),
    "a NaN column": lambda d: _with(d, "a", _changed(d["a"], (slice(None), 2), np.nan)),
    "a all NaN": lambda d: _with(d, "a", d["a"] * np.nan),
    "all NaN": lambda d: {name: own * np.nan for name, own in d.items()},
    "nothing of a sample": lambda d: {n: _changed(v, 0, np.nan) for n, v in d.items()},
    "inf": lambda d: _with(d, "a", _changed(d["a"], (3, 2), np.inf)),
    "-inf": lambda d: _with(d, "b", _changed(d["b"], (0, 0), -np.inf)),
    "inf in one array": lambda d: _changed(d["a"], (0, 0), np.inf),
    **{f"a times {s:g}": lambda d, s=s: _with(d, "a", d["a"] * s) for s in (1e300, 1e39, 1e-300)},
    "a plus 1e300": lambda d: _with(d, "a", d["a"] + 1e300),
    "one of 1e30": lambda d: _with(d, "a", _changed(d["a"], (0, 0), 1e30)),
    "one of 1e308": lambda d: _with(d, "a", _changed(d["a"], (0, 0), 1.7e308)),
    "constants": lambda d: {name: np.ones_like(own) for name, own in d.items()},
    "a constant": lambda d: _with(d, "a", np.full_like(d["a"], 7.0)),
    "a constant column": lambda d: _with(d, "a", _changed(d["a"], (slice(None), 1), 7.0)),
    "a constant column of frames": lambda d: {
        n: pd.DataFrame(_changed(v, (slice(None), 1), 7.0)) for n, v in d.items()
    },
    "two different rows": lambda d: {n: v[np.arange(len(v)) % 2] for n, v in d.items()},
    "no samples": lambda d: {name: own[:0] for name, own in d.items()},
    "one sample": lambda d: {name: own[:1] for name, own in d.items()},
    "two samples": lambda d: {name: own[:2] for name, own in d.items()},
    "no columns": lambda d: _with(d, "a", d["a"][:, :0]),
    "lengths differ": lambda d: _with(d, "a", d["a"][:-1]),
    "a scalar": lambda d: _with(d, "a", np.float64(3)),
    "one axis": lambda d: _with(d, "a", d["a"][:, 0]),
    "one axis alone": lambda d: d["a"][:, 0],
    "three axes": lambda d: _with(d, "a", d["a"][:, :, None]),
    "three axes alone": lambda d: d["a"][:, :, None],
    "four axes": lambda d: _with(d, "a", np.ones((len(d["a"]), 2, 2, 2))),
    "seven axes": lambda d: _with(d, "a", np.ones((len(d["a"]), *[1] * 6))),
    "no pixels": lambda d: _with(d, "a", np.ones((len(d["a"]), 0, 4, 4))),
    "complex": lambda d: _with(d, "a", d["a"] + 1j),
    "complex alone": lambda d: d["a"] + 1j,
    "objects": lambda d: _with(d, "a", d["a"].astype(object)),
    "objects of all kinds": lambda d: _with(d, "a", np.array([[1, "x"], [None, {}]] * 20, object)),
    "odd objects": lambda d: _with(d, "a", np.array([[Mute(), 1.0]] * len(d["a"]), object)),
    "strings": lambda d: _with(d, "a", np.full(d["a"].shape, "x")),
    "numbers as strings": lambda d: _with(d, "a", d["a"].astype(str)),
    "strings alone": lambda d: np.full(d["a"].shape, "x"),
    "bytes": lambda d: _with(d, "a", np.full(d["a"].shape, b"1")),
    "dates": lambda d: _with(d, "a", np.full(d["a"].shape, np.datetime64("2020-01-01"))),
    "durations": lambda d: _with(d, "a", np.full(d["a"].shape, np.timedelta64(3, "s"))),
    "records": lambda d: _with(d, "a", np.zeros(len(d["a"]), [("x", "f4"), ("y", "f4")])),
    "whole numbers of 400 digits": lambda d: _with(d, "a", [[10**400, 1]] * len(d["a"])),
    "uint64": lambda d: _with(d, "a", np.full(d["a"].shape, 2**64 - 1, np.uint64)),
    "booleans": lambda d: _with(d, "a", d["a"] > 0),
    "half": lambda d: _with(d, "a", d["a"].astype(np.float16)),
    "long double": lambda d: _with(d, "a", d["a"].astype(np.longdouble)),
    "big-endian": lambda d: _with(d, "a", d["a"].astype(">f8")),
    "negative strides": lambda d: _with(d, "a", d["a"][::-1, ::-1]),
    "broadcast": lambda d: _with(d, "a", np.broadcast_to(d["a"][:1], d["a"].shape)),
    "masked": lambda d: _with(d, "a", np.ma.masked_array(d["a"], d["a"] > 0)),
    "a matrix": lambda d: _with(d, "a", np.asmatrix(d["a"])),
    "a memory map": _mapped,
    "lists": lambda d: {name: own.tolist() for name, own in d.items()},
    "ragged": _ragged,
    "ragged alone": lambda d: _ragged(d)["a"],
    "a list of tables": lambda d: list(d.values()),
    "sparse": lambda d: _with(d, "a", sparse.csr_matrix(d["a"])),
    "sparse alone": lambda d: sparse.csc_array(d["a"]),
    "sparse dok alone": lambda d: sparse.dok_matrix(d["a"]),
    "a tensor": lambda d: _with(d, "a", torch.tensor(d["a"])),
    "a tensor with gradients": lambda d: _with(d, "a", torch.tensor(d["a"], requires_grad=True)),
    "bfloat16": lambda d: _with(d, "a", torch.tensor(d["a"]).bfloat16()),
    "a sparse tensor": lambda d: _with(d, "a", torch.tensor(d["a"]).to_sparse()),
    "a meta tensor": lambda d: _with(d, "a", torch.empty(d["a"].shape, device="meta")),
    "a tensor alone": lambda d: torch.tensor(d["a"]),
    "frames": _frames,
    "one frame": lambda d: pd.DataFrame(d["a"]),
    "a frame and an array": lambda d: _with(d, "a", pd.DataFrame(d["a"])),
    "frames of another index": lambda d: {
        name: pd.DataFrame(own, index=np.arange(len(own)) + 100 * i)
        for i, (name, own) in enumerate(d.items())
    },
    "frames of one id": lambda d: _frames(d, index=[0] * len(d["a"])),
    "frames of NaN ids": lambda d: _frames(d, index=[np.nan] * len(d["a"])),
    "columns of one name": lambda d: _with(
        _frames(d), "a", pd.DataFrame(d["a"], columns=list("ppqrs"))
    ),
    "columns of odd names": lambda d: _with(
        _frames(d), "a", pd.DataFrame(d["a"], columns=[None, 1.5, (1, 2), True, pd.NA])
    ),
    "columns in two storeys": lambda d: _with(
        _frames(d),
        "a",
        pd.DataFrame(d["a"], columns=pd.MultiIndex.from_arrays([list("ppqqr"), range(5)])),
    ),
    "NA of pandas": lambda d: _with(
        _frames(d), "a", pd.DataFrame(d["a"]).astype("Float64").mask(d["a"] > 1)
    ),
    "categories": lambda d: _with(
        _frames(d), "a", pd.DataFrame(np.where(d["a"] > 0, "u", "v")).astype("category")
    ),
    "a frame of lists": lambda d: _with(
        _frames(d), "a", pd.DataFrame({"l": [[1, 2]] * len(d["a"])})
    ),
    "a frame of dicts": lambda d: _with(_frames(d), "a", pd.DataFrame({"l": [{}] * len(d["a"])})),
    "a frame of decimals": lambda d: _with(
        _frames(d), "a", pd.DataFrame(d["a"]).map(decimal.Decimal)
    ),
    "a frame of complex": lambda d: _with(_frames(d), "a", pd.DataFrame(d["a"] + 1j)),
    "a frame of dates": lambda d: _with(
        _frames(d), "a", pd.DataFrame({"t": pd.date_range("2020", periods=len(d["a"]))})
    ),
    "a frame of objects": lambda d: _with(
        _frames(d), "a", pd.DataFrame({"o": [object() for _ in d["a"]]})
    ),
    "a frame of inf": lambda d: _with(
        _frames(d), "a", pd.DataFrame(_changed(d["a"], (3, 2), np.inf))
    ),
    "a frame without columns": lambda d: _with(
        _frames(d), "a", pd.DataFrame(index=range(len(d["a"])))
    ),
    "a series": lambda d: _with(_frames(d), "a", pd.Series(d["a"][:, 0])),
    "a frame of 10**400": lambda d: _with(
        _frames(d), "a", pd.DataFrame({"o": [10**400, 1] * (len(d["a"]) // 2)})
    ),
}
