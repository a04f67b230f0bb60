"""Texts as sequences of word numbers, and back."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmvae.base.arguments import positive_int

PAD = "<pad>"
UNKNOWN = "<unk>"

_WORD = re.compile(r"\w+(?:['’-]\w+)*")  # it's and red-eyed are one word; punctuation is left out
_LONGEST = 64
_SHOWN = 5


@dataclass(frozen=True)
class Tokenizer:
    """Lower-cased words and their numbers, for texts of at most ``length`` words.

    Number 0 fills up short texts, number 1 stands for words that are not in the vocabulary. A
    modality of such texts has the input shape ``(length, len(words))`` and the likelihood
    ``'categorical'``.

    Args:
        words: The vocabulary: ``'<pad>'``, ``'<unk>'``, then the words.
        length: Words in a sequence; longer texts are cut.

    Raises:
        ValueError: For words that do not begin with these two or repeat, or a length that is not
            positive.
        TypeError: For words that are no strings, or a length that is no integer.

    Example:
        >>> tokenizer = Tokenizer.fit(["A red bird.", "A blue bird!"])
        >>> tokenizer.encode(["a green bird"])
        array([[2, 1, 3]])
        >>> tokenizer.decode([[2, 3, 0]])
        ['a bird']
    """

    words: tuple[str, ...]
    length: int

    def __post_init__(self) -> None:
        """Check the fields; lists of words become tuples."""
        positive_int("length", self.length)
        words = tuple(self.words)
        if not all(isinstance(word, str) for word in words):
            raise TypeError(
                f"words must be strings; got {[w for w in words if not isinstance(w, str)][:_SHOWN]}"
            )
        if words[:2] != (PAD, UNKNOWN) or len(set(words)) < len(words):
            raise ValueError(
                f"words must begin with {PAD!r} and {UNKNOWN!r} and not repeat; got {words[:_SHOWN]}..."
            )
        object.__setattr__(self, "words", words)

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
        return cls((PAD, UNKNOWN, *kept), longest if length is None else length)

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
        """Return word numbers (n, length) as n texts: words with spaces between them, without padding.

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

    def to_json(self) -> str:
        """Return the vocabulary and the length as JSON text."""
        return json.dumps(
            {"length": self.length, "words": self.words}, ensure_ascii=False, indent=1
        )

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            fields = json.loads(text)
            if not isinstance(fields, dict) or set(fields) != {"length", "words"}:
                raise ValueError("expected an object with 'length' and 'words'")
            return cls(tuple(fields["words"]), fields["length"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a stored tokenizer: {error}") from None


def _split(texts: Iterable[str]) -> list[Sequence[str]]:
    """Return the lower-cased words of each text."""
    if isinstance(texts, str):
        raise TypeError(f"texts must be several strings; got one, {texts[:40]!r}")
    texts = list(texts)
    bad = [i for i, text in enumerate(texts) if not isinstance(text, str)]
    if bad:
        raise TypeError(
            f"texts must be strings; got {texts[bad[0]]!r} at {bad[0]}, and {len(bad) - 1} others that are none"
        )
    return [_WORD.findall(text.lower()) for text in texts]
