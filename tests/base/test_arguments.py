from pathlib import Path

import numpy as np
import pytest
import torch

from cmvae.base.arguments import (
    as_path,
    check_flags,
    check_generator,
    natural_int,
    positive_float,
    positive_int,
)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: positive_int("N", 2.0), TypeError, "^N must be a positive integer, got 2.0$"),
        (lambda: positive_int("N", True), TypeError, "^N must be a positive integer, got True$"),
        (lambda: positive_int("N", 0), ValueError, "^N must be a positive integer, got 0$"),
        (lambda: positive_int("N", 2**63), ValueError, "^N must be at most 9223372036854775807"),
        (lambda: positive_int("N", 10**5000), ValueError, "^N must be at most .*, got a int$"),
        (lambda: natural_int("steps", -1), ValueError, "^steps must be an integer from 0, got -1"),
        (lambda: natural_int("steps", 2**63), ValueError, "^steps must be an integer from 0"),
        (lambda: positive_float("beta", "x"), TypeError, "^beta must be a positive number"),
        (lambda: positive_float("beta", 0), ValueError, "^beta must be a positive finite number"),
        (lambda: positive_float("beta", 10**400), ValueError, "^beta must be a positive finite"),
        (lambda: positive_float("lr", 1e300), ValueError, r"^lr must be .* 1e-37 to 1e\+37, got"),
        (lambda: positive_float("lr", 1e-300), ValueError, r"^lr must be .* 1e-37 to 1e\+37, got"),
        (lambda: as_path("out", 3), TypeError, "^out must be a path, .*, got 3$"),
        (lambda: as_path("out", ""), ValueError, "^out must be a folder, got ''$"),
        (lambda: as_path("out", "a\0b"), ValueError, r"^out must be a folder, got 'a\\x00b'$"),
        (lambda: as_path("out", "\ud800"), ValueError, "^out must be a folder, got"),
        (lambda: as_path("out", "ü" * 128), ValueError, "^out must be a folder, got"),
        (lambda: check_flags(a=True, b=1), TypeError, "^b must be True or False, got 1$"),
        (lambda: check_generator(3), TypeError, "^generator must be a torch.Generator or None"),
    ],
)
def test_arguments_are_refused_by_their_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_is_allowed_comes_back_as_plain_python():
    assert positive_int("N", np.int64(3)) == 3
    assert natural_int("steps", 0) == 0
    assert positive_float("beta", np.float32(0.5)) == 0.5
    assert as_path("out", "a/" + "ü" * 127) == Path("a", "ü" * 127)
    check_flags(a=False)
    check_generator(None)
    check_generator(torch.Generator())
