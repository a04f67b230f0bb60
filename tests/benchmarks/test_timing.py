"""In what precision benchmarks calculate."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from timing import bfloat16_pays


@pytest.mark.parametrize(
    "own", [{}, {"avx512_bf16": False}, {"avx512_bf16": True}, {"amx_bf16": True}]
)
def test_bfloat16_is_for_processors_that_calculate_in_it(monkeypatch, own):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: own, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bfloat16_pays() == any(own.values())


def test_where_torch_does_not_tell_bfloat16_is_not_used(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not bfloat16_pays()


@pytest.mark.parametrize("supported", [False, True])
def test_bfloat16_is_for_gpus_that_do_not_emulate_it(monkeypatch, supported):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation: including_emulation or supported,
    )
    assert bfloat16_pays() == supported
