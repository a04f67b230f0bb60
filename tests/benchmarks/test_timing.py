"""In what precision benchmarks calculate."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from timing import bfloat16_pays


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("own", [{}, {"avx512_bf16": False}, {"amx_bf16": True}])
def test_bfloat16_is_for_gpus_and_for_processors_that_calculate_in_it(monkeypatch, gpu, own):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: own)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert bfloat16_pays() == (gpu or own.get("amx_bf16", False))
