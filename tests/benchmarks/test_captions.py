"""The captions of the benchmark of images with captions, and who judges them."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cmvae.preprocessing import Tokenizer

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from caption_data import coloured, splits
from caption_scores import CaptionJudge
from caption_words import NAMES, NEW_WRITERS, WRITERS, captions_of, names_its_digit

DIGITS = np.repeat(np.arange(10), 60)
THICK = np.arange(600) % 2 == 0


@pytest.fixture(scope="module")
def pairs():
    return splits()


@pytest.mark.parametrize("writer", [*WRITERS, *NEW_WRITERS])
def test_a_writer_tells_the_digit_by_own_words_alone(writer):
    texts, who = captions_of(DIGITS, THICK, [writer], 0)
    assert set(who) == {writer}
    said = [{*texts[60 * digit : 60 * digit + 60]} for digit in range(10)]
    shared = {text for i in range(10) for j in range(i) for text in said[i] & said[j]}
    assert bool(shared) is (writer in ("loops", "doubter", "lazy"))


def test_captions_repeat_by_seed_and_writers_write_by_their_shares():
    first, who = captions_of(DIGITS, THICK, list(WRITERS), 0)
    assert captions_of(DIGITS, THICK, list(WRITERS), 0) == (first, who)
    assert captions_of(DIGITS, THICK, list(WRITERS), 1)[0] != first
    counts = pd.Series(who).value_counts()
    assert set(counts.index) == set(WRITERS)
    assert counts["lazy"] < counts["name"]


def test_new_writers_have_words_of_others_in_sentences_of_their_own(pairs):
    tokenizer = Tokenizer.fit(pairs["train"].captions)
    numbers = tokenizer.encode(pairs["new"].captions)
    assert (numbers == 1).sum() < 0.03 * (numbers > 0).sum()
    assert not set(pairs["new"].captions) & set(pairs["train"].captions)
    assert not set(pairs["new"].writers) & set(pairs["train"].writers)


def test_no_digit_is_in_two_splits_and_files_hold_no_labels(pairs, tmp_path):
    assert [len(own) for own in pairs.values()] == [4000, 1000, 1000]
    seen = {own.tobytes() for own in pairs["train"].images}
    assert not {own.tobytes() for own in pairs["test"].images} & seen
    assert np.array_equal(pairs["test"].images, pairs["new"].images)
    pairs["test"].write(tmp_path)
    table = pd.read_csv(tmp_path / "captions.csv")
    assert list(table) == ["id", "caption"]
    with Image.open(tmp_path / "images" / f"{table['id'][3]}.png") as image:
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), pairs["test"].images[3])


def test_ink_is_where_the_digit_is_and_darker_than_paper():
    digits = np.zeros((5, 4, 4), dtype=np.uint8)
    digits[:, 1:3, 1:3] = 255
    images = coloured(digits, np.random.default_rng(0))
    assert images[:, :, 1:3, 1:3].max() < 100
    assert images[:, :, 0].min() >= 140
    assert (images[:, :, 0, 0, None] == images[:, :, 0]).all()


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_is_named_by_its_numeral_or_name(digit):
    assert names_its_digit(f"clearly a {NAMES[digit]}!", digit)
    assert names_its_digit(f"nr. {digit}", digit)
    assert not names_its_digit("an egg, drawn by a child", digit)
    assert re.search(r"\w", captions_of([digit], [True], ["lazy"], 0)[0][0])


def test_the_judge_takes_numbers_of_words_and_shares_of_them(pairs):
    tokenizer = Tokenizer.fit(pairs["train"].captions)
    judge = CaptionJudge(tokenizer, pairs["train"])
    numbers = torch.from_numpy(tokenizer.encode(pairs["test"].captions[:200]))
    found = judge(numbers)
    right = found.argmax(-1) == torch.from_numpy(pairs["test"].labels[:200])
    assert right.double().mean() > 0.8
    shares = torch.nn.functional.one_hot(numbers, len(tokenizer.words)).float()
    assert torch.equal(judge(shares), found)
