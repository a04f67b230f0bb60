"""What a column of a typed table holds, in a word, however it is stored."""

from typing import Any

import pyarrow

NOTHING = "nothing"


def kind_of_type(own: Any) -> str:
    """Return what is held by an Arrow type: numbers of any width are alike, and texts.

    Example:
        >>> kind_of_type(pyarrow.int32()), kind_of_type(pyarrow.large_string())
        ('numbers', 'texts')
    """
    types = pyarrow.types
    if types.is_dictionary(own):
        return kind_of_type(own.value_type)
    kinds = {
        NOTHING: types.is_null,
        "booleans": types.is_boolean,
        "texts": lambda kind: types.is_string(kind) or types.is_large_string(kind),
        "numbers": lambda kind: types.is_integer(kind) or types.is_floating(kind),
        "decimals": types.is_decimal,
        "dates": lambda kind: types.is_date(kind) or types.is_timestamp(kind),
    }
    return next((name for name, holds in kinds.items() if holds(own)), str(own))
