"""JSON and YAML files from anywhere: every error names the file, and none exhausts memory."""

import json
from pathlib import Path
from typing import Any

import yaml


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; ``ValueError`` naming it where it is missing or none."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}") from None


def parse_json(text: str) -> Any:
    """Return what a JSON text says; ``ValueError`` where it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: it is nested too deeply") from None


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ValueError: If it is missing or no YAML, or keys in it repeat, or it refers to parts of
            itself, by which a short file can stand for a huge one.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    except yaml.MarkedYAMLError as error:
        place = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ValueError(f"{path}: not YAML: {place}{error.problem or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    except RecursionError:
        raise ValueError(f"{path}: not YAML that can be read: it is nested too deeply") from None


class _PlainLoader(yaml.SafeLoader):
    """Refuses keys that repeat, of which the last would be taken, and aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"*{self.peek_event().anchor}: aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.YAMLError(f"keys {repeated} occur more than once")
        return super().construct_mapping(node, deep)
