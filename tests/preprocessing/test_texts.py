import json

import numpy as np
import pandas as pd
import pytest
import torch

from cmvae import CMVAE, CMVAEConfig
from cmvae.preprocessing.texts import PAD, UNKNOWN, Tokenizer, are_sentences

TEXTS = ["A red bird, it's red-eyed.", "a BLUE bird!", "a Übervogel"]


def test_vocabulary_is_the_most_frequent_words_ties_by_the_alphabet():
    assert Tokenizer.fit(TEXTS).words == (
        PAD,
        UNKNOWN,
        "a",
        "bird",
        "blue",
        "it's",
        "red",
        "red-eyed",
        "übervogel",
    )
    assert Tokenizer.fit(TEXTS, max_words=3).words == (PAD, UNKNOWN, "a", "bird", "blue")
    assert Tokenizer.fit(TEXTS[::-1]) == Tokenizer.fit(TEXTS)


def test_lengths_are_the_longest_text_up_to_64_or_given():
    assert Tokenizer.fit(TEXTS).shape == (5, 9)
    assert Tokenizer.fit(["word " * 100]).length == 64
    assert Tokenizer.fit(["word " * 100], length=80).length == 80


def test_texts_come_back_cut_lower_cased_and_with_unknown_words():
    tokenizer = Tokenizer.fit(TEXTS, length=3)
    tokens = tokenizer.encode(["Bird a", "red blue green bird", "", "<pad> <unk>"])
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [[3, 2, 0], [6, 4, 1], [0, 0, 0], [1, 1, 0]]
    assert tokenizer.decode(tokens) == ["bird a", f"red blue {UNKNOWN}", "", f"{UNKNOWN} {UNKNOWN}"]
    assert tokenizer.decode(torch.tensor([[0, 3, 0, 2]])) == ["bird a"]
    assert tokenizer.encode([]).shape == (0, 3)


def test_json_both_ways():
    tokenizer = Tokenizer.fit(TEXTS)
    text = tokenizer.to_json()
    assert Tokenizer.from_json(text) == tokenizer
    assert "übervogel" in text
    fields = json.loads(text)
    for bad in (
        "{",
        "[]",
        json.dumps({"words": fields["words"]}),
        json.dumps({**fields, "length": 0}),
        json.dumps({**fields, "words": fields["words"][1:]}),
        json.dumps({**fields, "words": [*fields["words"], "a"]}),
        json.dumps({**fields, "words": [*fields["words"], 3]}),
        json.dumps({**fields, "words": 3}),
    ):
        with pytest.raises(ValueError, match=r"not JSON|mapping|words|length") as error:
            Tokenizer.from_json(bad)
        assert "\n" not in str(error.value)


def test_bad_texts_and_numbers_are_named():
    tokenizer = Tokenizer.fit(TEXTS)
    for missing in (None, float("nan"), 3):
        with pytest.raises(TypeError, match=r"at 1, and 0 others"):
            tokenizer.encode(["a", missing])
    with pytest.raises(TypeError, match="several strings"):
        tokenizer.encode("a bird")
    with pytest.raises(ValueError, match="no words; got 2 texts"):
        Tokenizer.fit(["", "..."])
    with pytest.raises(ValueError, match="max_words"):
        Tokenizer.fit(TEXTS, max_words=0)
    for bad, error in (
        (np.zeros((1, 2)), TypeError),
        ([1, 2], ValueError),
        ([[9]], ValueError),
        ([[-1]], ValueError),
    ):
        with pytest.raises(error, match="tokens must"):
            tokenizer.decode(bad)


def test_a_caption_model_writes_the_right_words():
    torch.manual_seed(0)
    captions = ["a red bird with a long beak", "a small blue fish", "the green tree stands"]
    kinds = torch.randint(3, (240,))
    tokenizer = Tokenizer.fit(captions)
    data = {
        "text": torch.as_tensor(tokenizer.encode([captions[i] for i in kinds])),
        "look": 3 * torch.eye(3)[kinds] + 0.3 * torch.randn(240, 3),
    }
    config = CMVAEConfig(
        n_modalities=2,
        input_dims={"text": tokenizer.shape, "look": (3,)},
        decoders_dist={"text": "categorical"},
        modalities_specific_dim=2,
        latent_dim=3,
        number_of_clusters=3,
        K=1,
        hidden_dims=(32,),
    )
    model = CMVAE(config)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(60):
        rows = torch.arange(step * 60, step * 60 + 60) % 240
        optimiser.zero_grad()
        model({name: values[rows] for name, values in data.items()}).loss.backward()
        optimiser.step()
    logits = model.predict({"look": 3 * torch.eye(3)}, gen_mod="text", return_mean=True)["text"][
        :, 0
    ]
    assert tokenizer.decode(logits.argmax(-1)) == captions
    drawn = model.to_data({"text": logits}, sample=True)["text"]
    right = (drawn.argmax(-1) == torch.as_tensor(tokenizer.encode(captions))).float().mean()
    assert right > 0.8


SENTENCES = [
    f"A {size} bird on a {of} branch" for size in ("red", "wee", "fat") for of in "abcdefg"
]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (SENTENCES, True),
        ([None, *SENTENCES, None], True),
        (SENTENCES[:20], False),  # of few different texts each may be a category
        (SENTENCES[:20] * 5, False),
        ([text.split()[1] for text in SENTENCES] * 2, False),
        ([f"bird {i} {letter}" for i, letter in enumerate("ab" * 12)], True),
        ([f"{i} {i + 1} bird" for i in range(24)], False),  # most words are numbers
        ([f"{i % 28 + 1} March {1990 + i}" for i in range(40)], False),
        ([f"x{chr(97 + i)} y{chr(97 + i)} z{chr(97 + i)}" for i in range(24)], False),  # no repeats
        ([1.0, 2.0, 3.0], False),
        (pd.Categorical(SENTENCES), False),
    ],
)
def test_sentences_are_told_from_categories(cells, expected):
    assert are_sentences(pd.Series(cells)) is expected
