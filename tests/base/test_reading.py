import json
import os
import re
import resource
import time
from itertools import pairwise

import pytest

from cmvae.base.reading import parse_json, read_json, read_yaml

LEVELS = [f"l{number}" for number in range(9)]
BOMB = "l0: &l0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise(LEVELS)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "not YAML: *l0: aliases are not read"),
        ("a: &a [*a]", "not YAML: *a: aliases are not read"),
        ("[" * 5000, "it is nested too deeply"),
        ("[" * 61 + "]" * 61, "it is nested too deeply"),
        ("a: 1\na: 2", "not YAML: keys ['a'] occur more than once"),
        ("? [a, b]\n: 2", "not YAML: keys must be texts or numbers"),
        ("a: " + "9" * 5000, "not YAML: a number has too many digits"),
        ("a: 2020-02-31", "not YAML: "),
        ("!!python/object/apply:os.system [ls]", "python/object/apply:os.system: tags are not r"),
        ("a: !!set {b, c}", "tag:yaml.org,2002:set: tags are not read"),
        ("a: ! b", "!: tags are not read"),
        ("[" + "a," * 200_000 + "]", "it has more than 200000 parts"),
        ("a: [", "not YAML"),
    ],
)
def test_yaml_that_is_none_or_a_trap_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=f"config.yaml: .*{re.escape(message)}"):
        read_yaml(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 200_000


@pytest.mark.parametrize("part", ["[]", '{"a":1}'])
def test_json_of_hardly_anything_but_parts_is_refused_before_it_takes_memory(tmp_path, part):
    path = tmp_path / "config.json"
    path.write_text("[" + ",".join([part] * 2_000_000) + "]")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"config.json: not JSON .*: it has too many parts"):
        read_json(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_what_is_no_file_is_refused_by_name(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")  # of which a reader would wait for a writer
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "folder"):
        with pytest.raises(ValueError, match=f"{name}: not a file"):
            read(tmp_path / name)
    with pytest.raises(ValueError, match="loop"):
        read(tmp_path / "loop")


def test_many_keys_take_no_longer(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(f"k{number}: 1" for number in range(20_000)))
    start = time.process_time()
    assert len(read_yaml(path)) == 20_000
    assert time.process_time() - start < 15


def test_yaml_is_read_as_it_stands(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [1, 2.5]\nb: {c: text}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": [1, 2.5], "b": {"c": "text"}}
    with pytest.raises(ValueError, match=r"no such file: .*missing\.yaml"):
        read_yaml(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 61 + b"]" * 61, "nested too deeply"),
        (b"{", "not JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', r"keys \['c'\] occur more than once"),
        (b"9" * 5000, "too many digits"),
        (b"a\xff", "not a text in UTF-8, from byte 1 on"),
        (None, "No such file"),
    ],
)
def test_json_that_is_none_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json.*{message}|{message}.*a\.json"):
        read_json(path)


def test_json_is_read_as_it_stands(tmp_path):
    value = {"a": [1, None, "x"], "b": {"c": 0.5}}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json") == parse_json(json.dumps(value)) == value
