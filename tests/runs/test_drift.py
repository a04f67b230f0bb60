import numpy as np
import pytest

from cmvae.data.datasets import IncompleteDataset
from cmvae.runs.drift import MOST_COLUMNS, Drift, measure_margins

NAMES = {"t": [f"c{j}" for j in range(12)]}


def table(n, seed):
    """Numbers, counts, two values and heavy tails, some of them missing."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.normal(size=(n, 6)),
        rng.poisson(2, (n, 2)),
        rng.integers(0, 2, (n, 2)),
        np.exp(rng.normal(size=(n, 2))),
    ]
    return np.concatenate(parts, 1).astype(np.float32)


def dataset(values, cells=None, mask=None):
    n = len(values)
    masks = {"t": np.ones(n, bool) if mask is None else mask, "u": np.ones(n, bool)}
    data = {"t": values, "u": np.zeros((n, 1), np.float32)}
    return IncompleteDataset(data, masks, cells={} if cells is None else {"t": cells})


def drift(train, new, names=NAMES, parts=1):
    found = Drift(measure_margins(train, names), names)
    for rows in np.array_split(np.arange(len(new)), parts):
        found.add(new[rows])
    return found


def test_files_without_drift_are_hardly_ever_told_of():
    alarms = [
        bool(drift(dataset(table(150, 2 * i)), dataset(table(80, 2 * i + 1))).found())
        for i in range(300)
    ]
    assert sum(alarms) <= 3


def test_what_has_moved_is_named_and_in_which_direction():
    new = table(80, 1)
    new[:, 3] += 2
    new[:, 9] = 0
    new[:, 10] /= 100
    train = dataset(table(150, 0))
    found = drift(train, dataset(new), parts=3)
    assert {(m, name, gap > 0) for m, name, gap in found.found()} == {
        ("t", "c3", True),
        ("t", "c9", False),
        ("t", "c10", False),
    }
    with pytest.warns(UserWarning, match=r"elsewhere .* in 3 columns: 'c10' of 't' \(smaller\)"):
        found.warn()
    assert drift(train, dataset(new)).found() == found.found()
    assert not drift(train, dataset(new[:3])).found()


def test_the_training_samples_themselves_have_not_moved():
    train = dataset(table(60, 0))
    found = drift(train, train, parts=4)
    assert not found.found()
    found.warn()


def test_what_is_missing_is_passed_over():
    values = table(150, 0)
    cells = np.ones_like(values, dtype=bool)
    cells[::2, 3] = False
    odd = np.where(cells, values, 1e9)
    mask = np.arange(150) % 3 > 0
    odd[~mask] = -1e9
    whole = measure_margins(dataset(values[mask], cells[mask]), NAMES)
    assert measure_margins(dataset(odd, cells, mask), NAMES)["t"] == whole["t"]
    assert whole["t"][3].samples == cells[mask][:, 3].sum()
    assert not drift(dataset(values), dataset(odd, cells, mask)).found()
    gone = cells.copy()
    gone[:, 5] = False
    names = [m.name for m in measure_margins(dataset(values, gone), NAMES)["t"]]
    assert names == [name for name in NAMES["t"] if name != "c5"]
    assert not drift(dataset(values), dataset(values, gone)).found()


def test_pictures_and_wide_tables_are_looked_at_as_a_whole():
    rng = np.random.default_rng(0)
    names = {"img": [], "wide": [f"g{j}" for j in range(1000)]}

    def many(shift, n=120):
        data = {
            "img": rng.normal(size=(n, 1, 8, 8)).astype(np.float32),
            "wide": rng.normal(size=(n, 1000)).astype(np.float32) * (1 + shift),
        }
        data["img"] += shift
        return IncompleteDataset(data, {name: np.ones(n, bool) for name in data})

    margins = measure_margins(many(0), names)
    assert [margin.name for margin in margins["img"]] == [
        "(mean of a sample)",
        "(spread of a sample)",
    ]
    assert len(margins["wide"]) == MOST_COLUMNS + 2
    assert not drift(many(0), many(0), names).found()
    moved = {(m, name) for m, name, _ in drift(many(0), many(0.2), names).found()}
    assert moved == {("img", "(mean of a sample)"), ("wide", "(spread of a sample)")}


def test_modalities_that_new_samples_lack_are_passed_over():
    train = dataset(table(150, 0))
    alone = IncompleteDataset({"u": np.zeros((50, 1), np.float32)}, {"u": np.ones(50, bool)})
    assert not drift(train, alone).found()
    assert not Drift({}, NAMES).found()


def test_variables_that_share_a_name_are_left_out():
    names = {"t": ["c0", *NAMES["t"][:11]]}  # the second one is c0 too
    train, new = table(150, 0), table(80, 1)
    train[:, 0] = train[:, 0].round()  # which has fewer edges
    new[:, [0, 1, 4]] += 2
    found = drift(dataset(train), dataset(new), names).found()
    assert [name for _, name, _ in found] == ["c3"]
