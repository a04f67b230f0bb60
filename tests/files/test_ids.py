"""Ids of several tables matched: right values for each way in which one id is spelled."""

import random
import string

import pytest

from cmvae.files.ids import match_ids

PATIENTS = [f"TCGA-{a}{b}-A0S{c}" for a in "AB" for b in "12" for c in "BCD"]
CELLS = ["".join(letters) for letters in zip("ACGTAC", "CGTACG", "GTACGT", "AACCGG", strict=True)]
NUMBERS = [str(number) for number in range(1, 31)]


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [
        (NUMBERS, [f"{n} " for n in NUMBERS], "blanks"),
        (NUMBERS, [f"\u00a0{n}" for n in NUMBERS], "blanks"),
        (NUMBERS, ["\ufeff1", *NUMBERS[1:]], "blanks"),
        (["Zo\u00eb", "Jos\u00e9"], ["Zoe\u0308", "Jose\u0301"], "the Unicode form"),
        (NUMBERS, [f"b'{n}'" for n in NUMBERS], "quotes"),
        (NUMBERS, [f"{n}.0" for n in NUMBERS], "how a number is written"),
        (["100000", "7"], ["1e+05", "7"], "how a number is written"),
        (NUMBERS, [n.zfill(4) for n in NUMBERS], "leading zeros"),
        ([f"S{n.zfill(3)}" for n in NUMBERS], [f"S{n}" for n in NUMBERS], "leading zeros"),
        (PATIENTS, list(map(str.lower, PATIENTS)), "letter case"),
        (PATIENTS, [name.replace("-", ".") for name in PATIENTS], "separators"),
        (NUMBERS, [f"X{n}" for n in NUMBERS], "an X before a number"),
        (CELLS, [f"{name}.png" for name in CELLS], "the name of a file"),
        (CELLS, [f"{name}-1" for name in CELLS], "endings"),
        (CELLS, [f"{name}_rna" for name in CELLS], "endings"),
        (PATIENTS, [f"{name}-01A-11R-A034-07" for name in PATIENTS], "endings"),
        (
            [f"{name}-01A-21D-A034-01" for name in PATIENTS],
            [f"{name}-01B-11R-A033-07" for name in PATIENTS],
            "what follows the sample in a barcode",
        ),
        (
            [f"{n.zfill(3)} " for n in NUMBERS],
            [f"{n}.0" for n in NUMBERS],
            "blanks, how a number is written and leading zeros",
        ),
        (
            PATIENTS,
            [f"{name}-01A".replace("-", ".").lower() for name in PATIENTS],
            "letter case, separators and endings",
        ),
    ],
)
def test_ids_in_two_spellings_are_one_in_either_order(first, second, differs):
    for a, b in ((first, second), (second, first)):
        for own in (b, b[::-1]):
            matching = match_ids({"crm": a, "usage": own})
            order = 1 if own == b else -1
            assert matching.names("usage", own)[::order] == list(a)
            assert matching.names("crm", a) == list(a)
            (match,) = matching.matches
            assert f"differ only in {differs}," in str(match).replace("differs", "differ")
            assert match.count == sum(x != y for x, y in zip(a, b, strict=True))
            assert match.example in list(zip(b, a, strict=True))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["a1", "A1", "b2"], ["A1", "a1", "b2"]),  # two samples in both
        (["1", "2"], ["1", "01", "2", "3"]),  # none is without a partner
        (["a1", "b2", "c3"], ["a1", "d4"]),
        (["site-1", "site-2", "site-3"], ["site-3", "site-4"]),  # no endings
        (["p1-visit1", "p2-visit1"], ["p1-visit2", "p2-visit2"]),  # other visits
        (["2020-01", "2020-02"], ["2021-01", "2021-02"]),
        (["a1"], ["b1", "b2"]),
        (["a1", "a2", "a3"], ["a1-x", "b2-x", "b3-x"]),  # an ending of few
        (["a0", *NUMBERS, "x", "y"], ["a0-1", *NUMBERS, "z", "w"]),
    ],
)
def test_ids_that_are_no_others_stay_as_they_are(first, second):
    for a, b in ((first, second), (second, first)):
        assert not match_ids({"a": a, "b": b}).renamed


def test_what_random_ids_agree_in_by_chance_joins_nothing():
    generator, letters = random.Random(0), string.ascii_letters + string.digits
    ids = ["".join(generator.choices(letters, k=4)) for _ in range(6000)]
    first, second = ids[:4000], ids[2000:]
    assert set(map(str.lower, first[:2000])) & set(map(str.lower, second[2000:]))
    assert not match_ids({"a": first, "b": second}).renamed
    barcodes = [f"{''.join(generator.choices('ACGT', k=6))}-{well}" for well in "12" * 400]
    half = {"a": barcodes[::2], "b": barcodes[1::2]}
    assert {name.split("-")[0] for name in half["a"]} & {n.split("-")[0] for n in half["b"]}
    assert not match_ids(half).renamed


def test_three_modalities_meet_under_the_first_spelling():
    ids = {
        "a": ["001", "002", "003"],
        "b": ["3", "4", "2"],
        "c": ["2", "1.0", "4"],
        "d": ["4", "5"],
    }
    matching = match_ids(ids)
    found = {name: matching.names(name, own) for name, own in ids.items()}
    assert found == {
        "a": ["001", "002", "003"],
        "b": ["003", "4", "002"],
        "c": ["002", "001", "4"],
        "d": ["4", "5"],
    }
    assert [match.where for match in matching.matches] == ["modality 'b'", "modality 'c'"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"a": ["s1", "s1 "]}, "modality 'a': the ids 's1' and 's1 ' look the same"),
        ({"a": ["s1"], "b": ["x", "\u200bx"]}, r"'b': the ids 'x' and '\\u200bx' look the same"),
        ({"a": ["Zo\u00eb", "Zoe\u0308"]}, r"'Zo\u00eb' and 'Zoe\\u0308' look the same"),
        (
            {"crm": ["001", "002"], "usage": ["1", "01", "002"]},
            "'usage': 2 ids would join others that differ only in leading zeros, such as '1' and "
            "'001'; but then '1' and '01' of modality 'usage' are one id",
        ),
        ({"a": ["1", "01", "2"], "b": ["02", "1"]}, "but then '1' and '01' of modality 'a' are"),
        ({"a": ["Ab", "aB"], "b": ["ab"]}, "only in letter case.*'Ab' and 'aB' of modality 'a'"),
        ({"a": ["1", "1.0", "7"], "b": ["7.0"]}, "'1' and '1.0' of modality 'a' are one id"),
        (
            {"rna": ["AAAC-1", "AAAC-2", "AAAG-1"], "adt": ["AAAC", "AAAG"]},
            "'adt': 2 ids .* only in endings.*'AAAC-1' and 'AAAC-2' of modality 'rna' are one id",
        ),
        (
            {"a": PATIENTS, "b": [f"{PATIENTS[0]}-01A", *(f"{p}-11A" for p in PATIENTS)]},
            f"'{PATIENTS[0]}-01A' and '{PATIENTS[0]}-11A' of modality 'b' are one id",
        ),
        ({"a": ["1"], "b": ["01"], "c": ["001", "0001"]}, "'001' and '0001' of modality 'c'"),
    ],
)
def test_what_is_not_one_to_one_is_refused_with_a_pair(ids, message):
    with pytest.raises(ValueError, match=message):
        match_ids(ids)


def test_rows_numbered_from_zero_beside_as_many_ids_are_refused():
    rows, ids = list(map(str, range(30))), NUMBERS
    with pytest.raises(ValueError, match=r"rows of 'a' are .* 'b' has 30 rows .* 1, 2, 3 and 27 m"):
        match_ids({"a": rows, "b": ids}, ["a"])
    with pytest.raises(ValueError, match="only 29 are such numbers: give 'b' the ids"):
        match_ids({"a": [n.zfill(3) for n in ids], "b": rows}, ["b"])
    # Where the column has a name the numbers may be ids; where there are fewer, the first ones.
    for numbered, other, shared in (([], ids, 29), (["a"], ids[:20], 20)):
        (remark,) = match_ids({"a": rows, "b": other}, numbered).remarks
        assert f"and {shared} were joined with these numbers" in remark
    assert not match_ids({"a": rows, "b": rows[::-1]}, ["a"]).remarks
    assert not match_ids({"a": rows, "b": rows}, ["a", "b"]).remarks
    assert not match_ids({"a": rows, "b": ids[:20]}).remarks


def test_ids_of_one_modality_that_are_nearly_one_are_told():
    ids = {"a": ["37", "x", "037", "y"], "b": ["a1", "x", "A1", "A01"]}
    matching = match_ids(ids)
    assert not matching.renamed
    assert matching.remarks == [
        "modality 'a': 1 id taken for other samples though spelled as others nearly, such as '037' "
        "beside '37'",
        "modality 'b': 2 ids taken for other samples though spelled as others nearly, such as 'A1' "
        "beside 'a1'",
    ]
    assert not match_ids({"a": ["p-1", "p_1", "1.5", "1.05", "AAAC-1", "AAAC-2"]}).remarks


def test_modalities_that_hardly_overlap_are_told():
    first = ["t0", *(f"s{n}" for n in NUMBERS)]
    remarks = match_ids({"a": first, "b": ["t0", *(f"r-{n}" for n in NUMBERS)]}).remarks
    assert remarks == [
        "modality 'a': only 1 of 31 ids are elsewhere; is 's1' spelled otherwise there, where the "
        "first id is 't0'?",
        "modality 'b': only 1 of 31 ids are elsewhere; is 'r-1' spelled otherwise there, where the "
        "first id is 't0'?",
    ]
    assert not match_ids({"a": first, "b": first[:4]}).remarks[1:]
    assert not match_ids({"a": first, "b": first[:5] + NUMBERS}).remarks


def test_two_ids_of_one_modality_are_not_one_of_the_others():
    padded = [n.zfill(2) for n in NUMBERS]
    with pytest.raises(ValueError, match="'c': it has both '1' and '01', which were joined as one"):
        match_ids({"a": NUMBERS, "b": padded, "c": ["1", "01", *NUMBERS[9:]]})


@pytest.mark.parametrize(
    ("first", "second"), [("-1", "-2"), ("_v1", "_v2"), ("-01A-11R-A034-07", "-11A-11R-A034-07")]
)
def test_endings_of_other_numbers_are_not_joined_through_a_third_modality(first, second):
    longer = [f"{name}{first}" for name in PATIENTS]
    others = [f"{name}{second}" for name in PATIENTS]
    with pytest.raises(ValueError, match="ends in another number: these may be two samples"):
        match_ids({"a": PATIENTS, "b": longer, "c": others})


@pytest.mark.parametrize(
    ("first", "second"), [("_rna", "_atac"), ("-01A-11R-A034-07", "-01B-21D-A034-01"), ("-1", ".1")]
)
def test_endings_that_name_the_modality_are_joined(first, second):
    longer = [f"{name}{first}" for name in PATIENTS]
    others = [f"{name}{second}" for name in PATIENTS]
    matching = match_ids({"a": PATIENTS, "b": longer, "c": others})
    assert matching.names("c", others) == PATIENTS


def test_raised_digits_are_no_digits():
    own = [f"{n}\u00b2" for n in NUMBERS]
    assert match_ids({"a": [f"{n}2" for n in NUMBERS], "b": own}).names("b", own) == own
    wide = [f"\uff21{n}" for n in NUMBERS]
    assert match_ids({"a": [f"A{n}" for n in NUMBERS], "b": wide}).names("b", wide)[0] == "A1"
