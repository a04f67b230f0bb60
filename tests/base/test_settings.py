import math
from typing import Literal

import pytest
from pydantic import Field, model_validator

from cmvae.base.settings import (
    Finite,
    Flag,
    Name,
    PositiveFloat,
    PositiveInt,
    Settings,
    SettingsError,
    Shape,
    Share,
)


class Inner(Settings):
    width: PositiveInt = 1
    share: Share = 0.5

    @model_validator(mode="after")
    def _check(self):
        if self.width > 9 and self.share:
            raise ValueError("share must be 0 where width is above 9")
        return self


class Outer(Settings):
    name: Name
    inner: Inner = Inner()
    parts: dict[str, Inner] = Field(default_factory=dict)
    kind: Literal["a", "b"] = "a"
    number: Finite = 0.0
    rate: PositiveFloat = 1.0
    flag: Flag = False
    shape: Shape = (1,)
    words: tuple[str, ...] = ()


FULL = Outer(
    name="x", inner={"width": 3}, parts={"p": Inner(share=0.25)}, shape=4, number=-1, words=["é"]
)


def test_settings_go_through_json_and_are_frozen():
    assert Outer.from_json(FULL.to_json()) == FULL
    assert Outer.from_plain(FULL.to_plain()) == FULL
    assert "é" in FULL.to_json()
    assert (FULL.shape, FULL.number, FULL.inner.width) == ((4,), -1.0, 3)
    with pytest.raises(ValueError, match="frozen"):
        FULL.name = "y"
    changed = FULL.replace(kind="b")
    assert (changed.kind, FULL.kind, changed.parts) == ("b", "a", FULL.parts)
    with pytest.raises(ValueError, match="kind must be 'a' or 'b', got 'c'"):
        FULL.replace(kind="c")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "name is missing"),
        ({"name": ""}, "name must be a name, not empty, got ''"),
        ({"name": "x", "kind": "c"}, "kind must be 'a' or 'b', got 'c'"),
        ({"name": "x", "number": math.inf}, "number must be a finite number, got inf"),
        ({"name": "x", "number": True}, "number must be a finite number, got True"),
        ({"name": "x", "number": 10**400}, "number must be a finite number, got 1000"),
        ({"name": "x", "rate": 10**400}, "rate must be a finite number, got 1000"),
        ({"name": "x", "inner": {"width": 10**400}}, r"inner\.width must be at most 92233720368"),
        ({"name": "x", "rate": 0}, "rate must be a positive number, got 0"),
        ({"name": "x", "flag": 1}, "flag must be True or False, got 1"),
        ({"name": "x", "shape": ()}, r"shape must be positive integers, one at least, got \(\)"),
        ({"name": "x", "shape": (3, 0)}, r"shape\.1 must be a positive integer, got 0"),
        ({"name": "x", "words": "ab"}, "words must be a list, got 'ab'"),
        ({"name": "x", "inner": 3}, "inner must be a mapping, got 3"),
        ({"name": "x", "inner": {"width": 0}}, r"inner\.width must be a positive integer, got 0"),
        ({"name": "x", "inner": {"share": 1}}, r"inner\.share must be at least 0 and below 1, g"),
        ({"name": "x", "parts": {"p": {"width": 1.5}}}, r"parts\.p\.width must be a positive int"),
        ({"name": "x", "inner": {"width": 10}}, r"inner\.share must be 0 where width is above 9"),
        ({"kind": "c", "rate": -1}, "name is missing; kind must be .*; rate must be .*got -1"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(fields, message):
    with pytest.raises(SettingsError, match=message) as caught:
        Outer(**fields)
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match=f"^file: {message}"):
        Outer.from_plain(fields, "file")


def test_unknown_fields_are_named_with_those_that_there_are():
    with pytest.raises(TypeError, match=r"Inner got unknown arguments \['height'\]; it takes \['w"):
        Inner(height=3)
    with pytest.raises(ValueError, match=r"file: Inner got unknown arguments \['height'\]"):
        Inner.from_plain({"height": 3}, "file")
    with pytest.raises(ValueError, match="height"):
        Outer.from_plain({"name": "x", "inner": {"height": 3}})


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", r"mapping, got \[")])
def test_what_is_no_json_object_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Outer.from_json(text)
