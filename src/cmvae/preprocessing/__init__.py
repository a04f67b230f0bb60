"""How tables, texts, images, arrays and cells become a model's numbers, and come back."""

from cmvae.preprocessing.kinds import KINDS, IdentifierError, column_kinds
from cmvae.preprocessing.preprocessing import Preprocessing, learn_codec
from cmvae.preprocessing.tables import TableCodec, encode_table
from cmvae.preprocessing.texts import Tokenizer
from cmvae.preprocessing.words import WordCodec

__all__ = [
    "KINDS",
    "IdentifierError",
    "Preprocessing",
    "TableCodec",
    "Tokenizer",
    "WordCodec",
    "column_kinds",
    "encode_table",
    "learn_codec",
]
