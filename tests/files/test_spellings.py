import pytest

from cmvae.files.spellings import STEPS, count_parts, first_parts, id_text, normal_ids, shown_id


@pytest.mark.parametrize(
    ("differs", "spellings", "others"),
    [
        (
            "blanks",
            ["ab 1", " ab 1", "ab 1\t", "ab\u00a01", "ab  1", "\ufeffab 1", "a\u200bb 1\x00"],
            ["ab1", "AB 1"],
        ),
        ("the Unicode form", ["Zo\u00eb", "Zoe\u0308"], ["Zoe"]),
        ("quotes", ["x7", "b'x7'", 'b"x7"', "'x7'", '"x7"', '="x7"'], ["'x7", "bx7"]),
        ("how a number is written", ["12", "12.0", "12.", "1.2e1", "1.2E+01"], ["12.5", "012"]),
        ("a time of midnight", ["2020-02-01", "2020-02-01 00:00:00"], ["2020-02-01 00:10:00"]),
        ("leading zeros", ["p7", "p007", "p07"], ["p70", "p"]),
        ("leading zeros", ["0", "000"], ["00x"]),
        ("leading zeros", ["1.05"], ["1.5"]),
        ("letter case", ["Straße", "STRASSE"], ["Strase"]),
        ("the form of letters", ["A1", "\uff21\uff11"], ["A2"]),
        (
            "the name of a file",
            ["p1", "p1.jpg", "p1.TIFF", "photos/p1.png", "D:\\my\\p1.png"],
            ["p1.doc"],
        ),
        ("separators", ["a-1", "a_1", "a.1", "a 1", "a/1", "a\u20131", "a--1"], ["a1"]),
        ("an X before a number", ["7a", "X7a"], ["Xa", "XX7a"]),
        (
            "what follows the sample in a barcode",
            ["TCGA-02-0001-01", "TCGA-02-0001-01C", "TCGA-02-0001-01C-01D-0182-01"],
            ["TCGA-02-0001-11A", "TCGA-02-0001"],
        ),
    ],
)
def test_spellings_of_one_id_are_one_and_others_are_not(differs, spellings, others):
    (step,) = [step for step in STEPS if step.differs == differs]
    assert {step.normal(name) for name in spellings} == {step.normal(spellings[0])}
    for name in spellings:  # among others that it leaves alone, and in a line of its own
        assert normal_ids(["q", name, "r"], [step]) == ["q", step.normal(name), "r"]
    assert not {step.normal(name) for name in others} & {step.normal(spellings[0])}


@pytest.mark.parametrize("name", ["a-1", "ab", "TCGA-02-0001-01", "7", "Zo\u00eb", "p1.doc", "1.5"])
def test_a_plain_id_stays_as_it_is(name):
    plain = [step for step in STEPS if step.differs not in ("letter case", "separators")]
    if name.startswith("TCGA"):
        plain = [step for step in plain if step.differs != "leading zeros"]
    assert {step.normal(name) for step in plain} == {name}


def test_an_id_of_two_lines_is_one():
    assert normal_ids(["a\nb", "c"], STEPS[:1]) == ["a b", "c"]
    assert normal_ids([], STEPS) == []


def test_parts_are_counted_and_cut():
    assert [count_parts(name) for name in ("a", "a-b", "TCGA.A1.A0SB", "s1_AAAC-1")] == [1, 2, 3, 3]
    assert first_parts("TCGA-A1-A0SB-01A", 3) == "TCGA-A1-A0SB"
    assert first_parts("a-b", 2) == first_parts("a-b", 5) == "a-b"


def test_what_looks_alike_is_shown_apart():
    assert (shown_id("Zo\u00eb"), shown_id("Zoe\u0308")) == ("'Zo\u00eb'", r"'Zoe\u0308'")
    assert (id_text(b"s\xc3\xa9"), id_text(b"\xff"), id_text(7)) == ("s\u00e9", r"\xff", "7")
