"""JSON and YAML files from anywhere: every error names the file, and none exhausts memory."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from cmvae.base.words import SHOWN, shortened

DEEPEST = 60  # lists and mappings within each other; a run's files have less than ten
MOST_NODES = 200_000  # of a YAML file, each of which takes most of a KiB while it is read
_TOO_DEEP = "it is nested too deeply"
_COSTS = {",": 60, "[": 80, "{": 240}  # bytes that what follows takes
_FREE, _FACTOR = 64 << 20, 8  # what any file may take, and for each of its characters


def read_text(path: Path) -> str:
    """Return the text of a file; ``ValueError`` naming it where it is missing, or no UTF-8."""
    if path.exists() and not path.is_file():  # a pipe would never end
        raise ValueError(f"{path}: not a file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8, from byte {error.start} on") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; ``ValueError`` naming it where it is missing or none."""
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_json(text: str) -> Any:
    """Return what a JSON text says; ``ValueError`` where it is none.

    One that is nested too deeply, or says something twice, is none either, nor is one that takes
    much memory and is made of hardly anything but lists and mappings.
    """
    if sum(cost * text.count(sign) for sign, cost in _COSTS.items()) > max(
        _FREE, _FACTOR * len(text)
    ):
        raise ValueError("not JSON that can be read: it has too many parts")
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"not JSON that can be read: {_TOO_DEEP}") from None
    except ValueError as error:
        long = "a number has too many digits" if "integer string" in str(error) else error
        raise ValueError(f"not JSON that can be read: {long}") from None
    if _is_deep(found):
        raise ValueError(f"not JSON that can be read: {_TOO_DEEP}")
    return found


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ValueError: If it is missing or no YAML, or keys in it repeat, or it refers to parts of
            itself, by which a short file can stand for a huge one.
    """
    if not path.exists():
        raise ValueError(f"no such file: {path}")
    text = read_text(path)
    try:
        found = yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        place = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        reason = error.problem or " ".join(str(error).split())
        raise ValueError(f"{path}: not YAML: {place}{reason}") from error
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        long = "a number has too many digits" if "integer string" in reason else reason
        raise ValueError(f"{path}: not YAML: {long}") from error
    except RecursionError:
        raise ValueError(f"{path}: not YAML that can be read: {_TOO_DEEP}") from None
    if _is_deep(found):
        raise ValueError(f"{path}: not YAML that can be read: {_TOO_DEEP}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return what an object holds, if it holds it once."""
    if repeated := _repeated([key for key, _ in pairs]):
        raise ValueError(f"keys {repeated} occur more than once")
    return dict(pairs)


def _repeated(keys: list[Any]) -> list[str]:
    found = sorted(shortened(str(key)) for key, count in Counter(keys).items() if count > 1)
    return found[:SHOWN]


def _is_deep(value: Any) -> bool:
    """Tell whether lists and mappings lie too deep within each other."""
    level: list[Any] = [[value]]
    for _ in range(DEEPEST + 1):
        level = [
            own
            for part in level
            for own in (part.values() if isinstance(part, dict) else part)
            if isinstance(own, dict | list)
        ]
    return bool(level)


class _PlainLoader(yaml.SafeLoader):
    """Refuses keys that repeat, of which the last would be taken, aliases, and tags."""

    nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise yaml.YAMLError(f"it has more than {MOST_NODES} parts")
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"*{self.peek_event().anchor}: aliases are not read")
        if tag := self.peek_event().tag:
            raise yaml.YAMLError(f"{shortened(tag)}: tags are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            raise yaml.YAMLError("keys must be texts or numbers")
        keys = [key.value for key, _ in node.value]
        if repeated := _repeated(keys):
            raise yaml.YAMLError(f"keys {repeated} occur more than once")
        return super().construct_mapping(node, deep)
