"""What the records of PolyMNIST tell of the loss."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from polymnist_records import TERMS, terms_of

NAMES = [
    *("epoch", "alignment", "information", "log_q_z", "log_p_z", "log_q_w", "log_p_w", "loss"),
    *(f"{way}_log_likelihood_m{i}" for way in ("self", "cross") for i in range(3)),
]


def logged(folder, version, *rows):
    path = folder / "logs" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    header = [name if name == "epoch" else f"train/{name}" for name in NAMES]
    lines = [header, *([str(row.get(name, "")) for name in NAMES] for row in rows)]
    path.write_text("\n".join(map(",".join, lines)))


def test_terms_are_of_each_epoch_once_as_they_were_logged_first(tmp_path):
    whole = dict(zip(NAMES[3:], (5, 2, 7, 3, 40, 10, 20, 0, 30, 50, 0), strict=True))
    logged(tmp_path, 10, {"epoch": 1, "loss": 0.0}, {**whole, "epoch": 2, "loss": -8})
    first, second = {"epoch": 0, "alignment": 4, "loss": 4}, {"epoch": 1, "alignment": 30}
    logged(tmp_path, 9, first, {**whole, **second, "information": 2})
    alone, with_clusters, after = terms_of(tmp_path)
    assert alone == {**dict.fromkeys(alone), "epoch": 1}  # of another loss
    assert with_clusters["epoch"] == 2
    assert [with_clusters[name] for name in TERMS] == pytest.approx(
        [30 + 2 - 40, 5 - 2, 7 - 3, 3 * 10, 3 * 20, 3 / 2 * 30, 30, 2]
    )
    assert (after["bound"], after["alignment, × 100"]) == (8, None)
