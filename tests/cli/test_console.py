import warnings

import pytest

from cmvae.base.words import Refusals, UnseenError
from cmvae.cli.console import OPTIONS, one_line_errors, one_line_warnings
from cmvae.preprocessing import IdentifierError
from made_files import run


def told(error, capsys, **options):
    """Return the exit status of an error and what was printed."""
    with pytest.raises(SystemExit) as stop, one_line_errors(**options):
        raise error
    return stop.value.code, capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "out: x exists; pass overwrite=True to replace it",
            "--out: x exists; pass --overwrite to",
        ),
        (
            "pass resume=True to go on, overwrite=True to drop",
            "pass --resume to go on, --overwrite to",
        ),
        ("name a column with column=NAME; it has a", "name a column with --column NAME; it has a"),
        ("name one column with id=NAME", "name one column with --id NAME"),
        ("labels must be a table, got x", "--labels must be a table, got x"),
        ("alignment_epochs must be two positive", "--alignment-epochs must be two positive"),
        # What only looks like an argument stays as it is.
        ("column 'id=NAMEs' out of 3: id must be", "column 'id=NAMEs' out of 3: id must be"),
        ("device must be auto, or", "--device must be auto, or"),
        (
            "modality 'a': column 'b c' holds text among numbers: ['?']; or name its kind (a.csv)",
            "modality 'a': column 'b c' holds text among numbers: ['?']; or name its kind (a.csv), "
            "as in --kind a.b c=category",
        ),
        ("outliers: 3; the labels out", "outliers: 3; the labels out"),
        ("two\nlines  of\ttext", "two lines of text"),
        ("[red]no markup[/red] 'a[0]'", "[red]no markup[/red] 'a[0]'"),
    ],
)
def test_arguments_are_told_as_the_options_that_set_them(message, line, capsys):
    status, err = told(ValueError(message), capsys)
    assert (status, err.splitlines()) == (2, [err])
    assert err.startswith(f"Error: {line}")


def test_several_refusals_are_one_line_with_the_way_out_of_each(capsys):
    first = IdentifierError("a", {"name": "holds names", "day": "holds dates"})
    errors = [first, KeyError("out must be b"), IdentifierError("c.d", {"x": "holds dates"})]
    err = told(Refusals(errors), capsys)[1]
    assert "'day' holds dates; name the kinds of those that are measurements, as in " in err
    assert "--kind a.name=category --kind a.day=category; --out must be b; modality 'c.d'" in err
    assert err.endswith("as in --kind c.d.x=category")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (FileNotFoundError(2, "No such file", "x"), 2, "Error: x: No such file"),
        (ImportError("needs x: pip install 'cmvae[omics]'"), 2, "Error: needs x: pip install 'cm"),
        (FloatingPointError("the loss is nan"), 1, "Error: the loss is nan"),
        (ValueError(), 2, "Error: ValueError, without a message"),
        (RuntimeError("the device is full"), 1, "Error: RuntimeError: the device is full"),
        (UnseenError("'x' holds 'y'"), 2, "Error: 'x' holds 'y', or pass --lenient"),
        (KeyboardInterrupt(), 130, "Interrupted: nothing was written"),
    ],
)
def test_other_errors_have_a_line_and_a_status_too(error, status, line, capsys):
    found, err = told(error, capsys)
    assert found == status
    assert err.startswith(line)


def test_an_interruption_says_what_is_left(capsys):
    assert told(KeyboardInterrupt(), capsys, left=lambda: "a half") == (130, "Interrupted: a half")


def test_mistakes_of_the_program_are_not_hidden():
    with pytest.raises(AttributeError), one_line_errors():
        raise AttributeError("a mistake")


def test_warnings_are_a_line_each(capsys):
    with one_line_warnings():
        warnings.warn("two\nlines", stacklevel=1)
    assert capsys.readouterr().err == "Warning: two lines\n"


def test_every_option_that_messages_may_name_is_there():
    helps = " ".join(run(name, "--help")[1] for name in ("fit", "evaluate", "report", "generate"))
    assert all(option in helps for option in OPTIONS.values())
