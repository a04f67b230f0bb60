"""Settings: validated once, frozen, to and from JSON, refused in one line."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from cmvae.base.plain import LARGEST, LEAST, MOST, finite_or_none
from cmvae.base.reading import parse_json
from cmvae.base.words import SHOWN, counted, shortened, shown

LONGEST_PART = 600  # characters of what is wrong with one field
# What pydantic says, in the words of the other messages.
_WORDS = {
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    ", got a number with a fractional part": "",
    "a valid integer": "an integer",
    "a valid number": "a number",
    "a valid boolean, unable to interpret input": "true or false",
    "a valid boolean": "true or false",
    "Value error, ": "",
    "Input should be": "must be",
    "Field required": "is missing",
    "Extra inputs are not permitted": "is unknown",
    "must be a valid dictionary": "must be a mapping",
    "must be a valid string": "must be a string",
    "must be a valid list": "must be a list",
    "must be a valid tuple": "must be a list",
}


class SettingsError(ValueError):
    """Fields are missing, or have values that are not allowed.

    Attributes:
        parts: What is wrong, each with the way to the field.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = list(parts)
        more = len(parts) - SHOWN
        left = [f"and {counted(more, 'more fault')}"] if more > 0 else []
        super().__init__("; ".join([*parts[:SHOWN], *left]))


class UnknownFieldError(SettingsError, TypeError):
    """A keyword that no field has."""


class Settings(BaseModel):
    """The base of all settings: keyword arguments only, frozen once made, JSON both ways.

    Raises:
        TypeError: For an unknown keyword.
        ValueError: For a field that is missing or has a value that is not allowed; the message
            names the field, what was got and what is allowed.

    Example:
        >>> class Size(Settings):
        ...     width: PositiveInt = 1
        >>> Size.from_json(Size(width=2).to_json()).replace(width=3)
        Size(width=3)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **fields: Any) -> None:
        known = list(type(self).model_fields)
        unknown = [name for name in fields if name not in known]
        if unknown:
            shown = [shortened(name) for name in unknown[:SHOWN]]
            more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            what = f"{type(self).__name__} got unknown arguments {shown}{more}; it takes {known}"
            raise UnknownFieldError([what])
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise SettingsError(_parts(error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse it, and say how: settings are shared, and what was made from them would not see.

        Raises:
            SettingsError: Always, but for what is private.
        """
        if name.startswith("_"):
            super().__setattr__(name, value)
            return
        kind, known = type(self).__name__, list(type(self).model_fields)
        if name not in known:
            raise SettingsError([f"{kind} has no field {shortened(name)}; it has {known}"])
        way = f"use settings = settings.replace({name}=…), which returns a changed copy"
        raise SettingsError([f"{kind} is frozen, {name} cannot be set: {way}"])

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        return type(self)(**{**self.fields(), **changes})

    def fields(self) -> dict[str, Any]:
        """Return the fields by name, as they are."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def to_plain(self) -> dict[str, Any]:
        """Return the fields as JSON and YAML can hold them."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Return the settings as JSON text."""
        return json.dumps(self.to_plain(), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read settings written by :meth:`to_json`.

        Raises:
            ValueError: If the text is no JSON object, or holds unknown or bad fields.
        """
        return cls.from_plain(parse_json(text))

    @classmethod
    def from_plain(cls, fields: Any, what: str = "") -> Self:
        """Read what :meth:`to_plain` returned.

        Args:
            fields: A mapping.
            what: What it stands in, for the errors.

        Raises:
            ValueError: If it is none, or holds unknown or bad fields.
        """
        where = f"{what}: " if what else ""
        if not isinstance(fields, Mapping):
            got = "nothing" if fields is None else shortened(repr(fields))
            raise ValueError(f"{where}settings must be a mapping, got {got}")
        if odd := [name for name in fields if not isinstance(name, str)]:
            raise ValueError(f"{where}names of settings must be texts, got {odd[0]!r}")
        try:
            return cls(**fields)
        except (TypeError, SettingsError) as error:
            raise SettingsError([f"{where}{error}"]) from None


def _parts(error: ValidationError) -> list[str]:
    """Say of each field that is wrong what was got and what is allowed."""
    parts = []
    for item in error.errors():
        where, message = ".".join(shortened(str(step)) for step in item["loc"]), item["msg"]
        inner = item.get("ctx", {}).get("error")
        if isinstance(inner, SettingsError):
            link = ": " if isinstance(inner, UnknownFieldError) else "."
            parts += [f"{where}{link}{shortened(part, LONGEST_PART)}" for part in inner.parts]
            continue
        for theirs, ours in _WORDS.items():
            message = message.replace(theirs, ours)
        message = re.sub(r" or instance of \w+", "", message)
        plain = not where or item["type"] in ("missing", "extra_forbidden")
        got = "" if plain else f", got {shown(item['input'])}"
        link = " " if message.startswith(("must", "is ")) else ": "
        message = shortened(message, LONGEST_PART)
        parts.append(f"{where}{link}{message}{got}" if where else message)
    return parts


def as_positive_int(value: object) -> int:
    """Return a positive integer; ``ValueError`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError("must be a positive integer")
    if int(value) > MOST:
        raise ValueError(f"must be at most {MOST}")
    return int(value)


def as_natural(value: object) -> int:
    """Return an integer from 0; ``ValueError`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError("must be an integer from 0")
    if int(value) > MOST:
        raise ValueError(f"must be at most {MOST}")
    return int(value)


def _real(value: object) -> float:
    if (number := finite_or_none(value)) is None:
        raise ValueError("must be a finite number")
    return number


def _positive_float(value: object) -> float:
    if _real(value) <= 0:
        raise ValueError("must be a positive number")
    return _real(value)


def _weight(value: object) -> float:
    if not LEAST <= _positive_float(value) <= LARGEST:
        raise ValueError(f"must be a positive number from {LEAST:g} to {LARGEST:g}")
    return _positive_float(value)


def _share(value: object) -> float:
    if not 0 <= _real(value) < 1:
        raise ValueError("must be at least 0 and below 1")
    return _real(value)


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(own > following for own, following in pairwise(values)):
        raise ValueError("must be numbers that do not fall")
    return values


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


def _sizes(value: object) -> object:
    sizes = (value,) if isinstance(value, Integral) else value
    if not isinstance(sizes, list | tuple):
        raise ValueError("must be positive integers, or none")
    return sizes


def _shape(value: object) -> object:
    sizes = (value,) if isinstance(value, Integral) else value
    if not isinstance(sizes, list | tuple) or not sizes:
        raise ValueError("must be positive integers, one at least")
    return sizes


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a name, not empty")
    return value


Natural = Annotated[int, BeforeValidator(as_natural)]
PositiveInt = Annotated[int, BeforeValidator(as_positive_int)]
Finite = Annotated[float, BeforeValidator(_real)]
PositiveFloat = Annotated[float, BeforeValidator(_positive_float)]
Weight = Annotated[float, BeforeValidator(_weight)]  # what a model calculates with
Share = Annotated[float, BeforeValidator(_share)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Shape = Annotated[tuple[PositiveInt, ...], BeforeValidator(_shape)]
Sizes = Annotated[tuple[PositiveInt, ...], BeforeValidator(_sizes)]
Ascending = Annotated[tuple[Finite, ...], AfterValidator(_ascending)]
Name = Annotated[str, BeforeValidator(_name)]
