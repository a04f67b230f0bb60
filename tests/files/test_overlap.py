import json

import numpy as np
import pytest

from cmvae.files.overlap import AS_THEY_ARE, Join, Match, Matching


def join(**masks):
    return Join.of_masks({name: np.array(own, dtype=bool) for name, own in masks.items()}, MATCHED)


MATCHED = Matching(
    {"b": {"1": "01"}}, (Match("modality 'b'", ("leading zeros",), 1, ("1", "01")),), ("odd",)
)


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({"crm": [1, 1, 0, 1], "usage": [1, 0, 1, 1]}, "in both 2; only crm 1; only usage 1"),
        ({"crm": [1, 1], "usage": [1, 1]}, "in both 2; only crm 0; only usage 0"),
        ({"crm": [1, 0], "usage": [0, 1]}, "in both 0; only crm 1; only usage 1"),
        (
            {"a": [1, 1, 1, 0, 0], "b": [1, 1, 0, 0, 0], "c": [1, 0, 0, 1, 1]},
            "in all 3 1; only c 2; only a 1; a and b 1",
        ),
        ({"a": [1, 1], "b": [1, 1], "c": [1, 1]}, "in all 3 2"),
        ({"a": [1, 1]}, ""),
    ],
)
def test_the_overlap_is_said_for_any_number_of_modalities(masks, said):
    assert str(join(**masks)) == said
    assert join(**masks).lines()[-2:] == MATCHED.remarks
    assert join(**masks).lines("Now")[: bool(said)] == [f"Now: {said}"] * bool(said)


def test_many_combinations_are_counted():
    numbers = np.arange(1, 32)
    masks = {name: numbers >> place & 1 == 1 for place, name in enumerate("abcde")}
    said = str(Join.of_masks(masks, AS_THEY_ARE))
    assert said.startswith("in all 5 1; ")
    assert said.endswith("; 24 more combinations")
    assert said.count(";") == 7


def test_what_a_run_keeps_is_json():
    plain = join(crm=[1, 1], usage=[1, 0]).to_plain()
    assert json.loads(json.dumps(plain)) == {
        "overlap": [
            {"modalities": ["crm"], "samples": 1},
            {"modalities": ["crm", "usage"], "samples": 1},
        ],
        "remarks": [
            "modality 'b': 1 id joined that differs only in leading zeros, such as '1' and '01'",
            "odd",
        ],
    }
