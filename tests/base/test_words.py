import numpy as np
import pytest

from cmvae.base.words import Refusals, counted, listed, message_of, quoted, raise_all, shown


def test_names_are_quoted_and_no_more_of_them_shown_than_one_reads():
    assert quoted(["a", 3]) == "'a', 3"
    assert quoted([]) == "none"
    assert listed("abcde") == "a, b, c, d, e"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"
    assert listed(iter("abc"), 1) == "a and 2 more"
    assert [counted(n, "sample") for n in (0, 1, 2)] == ["0 samples", "1 sample", "2 samples"]


class _Mute:
    def __repr__(self):
        raise RuntimeError("no words")


def test_what_was_got_is_shown_on_a_short_line_whatever_it_is():
    assert shown("a") == "'a'"
    assert shown(np.eye(2)) == "array([[1., 0.], [0., 1.]])"
    assert shown(10**400) == f"{'1' + 59 * '0'}…"
    assert shown(10**5000) == "a int"
    assert shown(_Mute()) == "a _Mute"
    assert quoted(["y" * 99]) == f"'{'y' * 59}…"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (KeyError("no 'quotes' around"), "no 'quotes' around"),
        (KeyError(), "KeyError, without a message"),
        (RuntimeError("  "), "RuntimeError, without a message"),
        (OSError(2, "No such file", "x"), "x: No such file"),
    ],
)
def test_what_an_error_says_is_one_line(error, message):
    assert message_of(error) == message


def test_one_error_is_raised_as_it_is_and_several_together():
    raise_all([])
    first, second, third = KeyError("a"), TypeError("b"), OSError("c")
    with pytest.raises(KeyError) as caught:
        raise_all([first])
    assert caught.value is first
    with pytest.raises(Refusals) as several:
        raise_all([first, Refusals([second, third])])
    assert several.value.errors == [first, second, third]
    assert str(several.value) == "a; b; c"
    with pytest.raises(TypeError) as caught:
        raise_all([Refusals([second])])
    assert caught.value is second
