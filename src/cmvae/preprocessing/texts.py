"""Texts as sequences of word numbers, and back."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BeforeValidator

from cmvae.base.arguments import positive_int
from cmvae.base.settings import PositiveInt, Settings
from cmvae.base.words import SHOWN, shown
from cmvae.preprocessing.codec import Codec, Likelihood, Params
from cmvae.preprocessing.kinds import as_frame

PAD = "<pad>"
UNKNOWN = "<unk>"

# it's and red-eyed are one word; punctuation is left out
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_DIGIT = re.compile(r"\d")
_LONGEST = 64
# What tells sentences from names of categories: how many differ, and words in each on average.
_FEWEST_TEXTS, _FEWEST_WORDS = 20, 3


def _vocabulary(words: Any) -> tuple[str, ...]:
    if not isinstance(words, list | tuple):
        raise ValueError("must be a list of strings")
    words = tuple(words)
    odd = [word for word in words if not isinstance(word, str)]
    if odd:
        raise ValueError(f"must be strings; got {odd[:SHOWN]}")
    if words[:2] != (PAD, UNKNOWN) or len(set(words)) < len(words):
        raise ValueError(f"must begin with {PAD!r} and {UNKNOWN!r} and not repeat")
    return words


class Tokenizer(Settings):
    """Lower-cased words and their numbers, for texts of at most ``length`` words.

    Number 0 fills up short texts, number 1 stands for words that are not in the vocabulary. A
    modality of such texts has the input shape ``(length, len(words))`` and the likelihood
    ``'categorical'``.

    Args:
        words: The vocabulary: ``'<pad>'``, ``'<unk>'``, then the words.
        length: Words in a sequence; longer texts are cut.

    Raises:
        ValueError: For words that are no strings, do not begin with these two or repeat, or a
            length that is no positive integer.

    Example:
        >>> tokenizer = Tokenizer.fit(["A red bird.", "A blue bird!"])
        >>> tokenizer.encode(["a green bird"])
        array([[2, 1, 3]])
        >>> tokenizer.decode([[2, 3, 0]])
        ['a bird']
    """

    words: Annotated[tuple[str, ...], BeforeValidator(_vocabulary)]
    length: PositiveInt

    @classmethod
    def fit(
        cls, texts: Iterable[str], max_words: int = 10_000, length: int | None = None
    ) -> "Tokenizer":
        """Collect the vocabulary of texts.

        Args:
            texts: Any number of them.
            max_words: How many of the most frequent words are kept, ties by the alphabet.
            length: Words in a sequence; None: those of the longest text, but at most 64.

        Raises:
            TypeError: For a text that is no string, such as a missing one.
            ValueError: For texts without a word, or a number that is not positive.
        """
        positive_int("max_words", max_words)
        split = _split(texts)
        counts = Counter(word for words in split for word in words)
        if not counts:
            raise ValueError(f"texts hold no words; got {len(split)} texts")
        kept = sorted(counts, key=lambda word: (-counts[word], word))[:max_words]
        longest = min(max(map(len, split)), _LONGEST)
        return cls(words=(PAD, UNKNOWN, *kept), length=longest if length is None else length)

    @property
    def shape(self) -> tuple[int, int]:
        """The input shape of a modality of such texts: (length, number of words)."""
        return self.length, len(self.words)

    def encode(self, texts: Iterable[str]) -> np.ndarray:
        """Return texts as word numbers, (n, length) int64; what is beyond the length is cut.

        Raises:
            TypeError: For a text that is no string, such as a missing one; the message names the
                first.
        """
        numbers = {word: number for number, word in enumerate(self.words)}
        split = _split(texts)
        tokens = np.zeros((len(split), self.length), dtype=np.int64)
        for row, words in zip(tokens, split, strict=True):
            known = [numbers.get(word, 1) for word in words[: self.length]]
            row[: len(known)] = known
        return tokens

    def decode(self, tokens: Any) -> list[str]:
        """Return word numbers (n, length) as n texts, words with spaces between them.

        Of a decoder's logits or sampled one-hot vectors (n, length, words), pass the largest
        entry's place, ``logits.argmax(-1)``.

        Raises:
            TypeError: For numbers that are no integers.
            ValueError: For another shape, or numbers outside the vocabulary.
        """
        tokens = np.asarray(tokens)
        if tokens.dtype.kind not in "iu":
            raise TypeError(f"tokens must be integers; got {tokens.dtype}")
        if tokens.ndim != 2:
            raise ValueError(f"tokens must have the shape (n, length); got {tokens.shape}")
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < len(self.words):
            raise ValueError(
                f"tokens must be 0 to {len(self.words) - 1}; got {tokens.min()} to {tokens.max()}"
            )
        return [" ".join(self.words[number] for number in row if number != 0) for row in tokens]


class TextCodec(Codec):
    """One column of texts, as numbers of words.

    Attributes:
        column: Its name.
        tokenizer: The words.
        ignored: Columns that are left out where they occur.
    """

    content = "text"

    type: Literal["text"] = "text"
    column: str
    tokenizer: Tokenizer
    ignored: tuple[str, ...] = ()

    @property
    def own(self) -> list[str | int]:
        """The names of its columns, in their order."""
        return [self.column]

    @property
    def kinds(self) -> dict[str, str]:
        """Column to kind, as text."""
        return {self.column: "text"}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Length and number of words."""
        return self.tokenizer.shape

    @property
    def texts(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def encode(self, rows: Any, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers of words (n, length) int64; see :class:`Codec`."""
        frame = as_frame(rows, modality)
        names = [name for name in frame if str(name) not in self.ignored]
        if list(map(str, names)) != [self.column]:
            raise ValueError(
                f"modality {modality!r}: expected the one column {self.column!r}, "
                f"got {names[:SHOWN]}"
            )
        cells = frame[names[0]]
        observed = cells.notna().to_numpy()
        values = np.zeros((len(frame), self.tokenizer.length), dtype=np.int64)
        values[observed] = self.tokenizer.encode(cells[observed].astype(str))
        return values, observed

    def decode(self, values: np.ndarray, sample: bool) -> pd.DataFrame:
        """Return texts; see :class:`Codec`."""
        return pd.DataFrame({self.column: self.readable(values)})

    def readable(self, values: np.ndarray) -> list[str]:
        """Return texts of numbers of words (n, length), or of shares (n, length, words)."""
        return self.tokenizer.decode(values.argmax(-1) if values.ndim == 3 else values)

    def describe(self) -> str:
        """Return how many words there are."""
        tokenizer = self.tokenizer
        return f"texts of up to {tokenizer.length} words, {len(tokenizer.words)} different"

    def _likelihood(self, chosen: str | None, params: Params, scale: float | str) -> Likelihood:
        if chosen not in (None, "categorical"):
            raise ValueError(f"likelihood {chosen!r}: that of texts is 'categorical'")
        return "categorical", params


def are_sentences(cells: "pd.Series[Any]") -> bool:
    """Tell whether cells are free text: captions, answers, descriptions.

    They are strings, more than 20 of them different, which have three words or more on average.
    Most of these words have no digits, and an average word occurs in two texts at least: from
    others nothing can be learned. Missing cells are passed over.
    """
    cells = cells.dropna()
    if pd.api.types.infer_dtype(cells) != "string":  # pandas categoricals are meant to be such
        return False
    texts = cells.unique().tolist()
    words = [word for own in _split(texts) for word in dict.fromkeys(own)]
    return (
        len(texts) > _FEWEST_TEXTS
        and len(words) >= _FEWEST_WORDS * len(texts)
        and 2 * sum(bool(_DIGIT.search(word)) for word in words) < len(words)
        and len(words) >= 2 * len(set(words))
    )


def _split(texts: Iterable[str]) -> list[Sequence[str]]:
    """Return the lower-cased words of each text."""
    if isinstance(texts, str):
        raise TypeError(f"texts must be several strings; got one, {texts[:40]!r}")
    texts = list(texts)
    bad = [i for i, text in enumerate(texts) if not isinstance(text, str)]
    if bad:
        raise TypeError(
            f"texts must be strings; got {shown(texts[bad[0]])} at {bad[0]}, "
            f"and {len(bad) - 1} others that are none"
        )
    return [_WORD.findall(text.lower()) for text in texts]
