"""The code of a Markdown page, run block by block in the present folder, as a reader would.

``python`` blocks share one namespace. ``bash`` blocks hold ``cmvae`` and ``python`` commands alone.
A block whose title is the name of a file becomes that file. A ``text`` block titled ``prints`` is
what the block before it prints. What installs is titled ``installation`` and not run.
"""

import io
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cmvae.networks import NETWORKS
from made_files import run

INSTALLATION, PRINTS = "installation", "prints"
SHELLS = ("bash", "sh")
_FENCE = re.compile(r"^\s*```\w", re.MULTILINE)
_BLOCK = re.compile(
    r"^```(\w+)(?: title=\"([^\"]+)\")?[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its title, its text, and the line above it."""

    language: str
    title: str
    code: str
    line: int


def read_blocks(text):
    """Return the blocks of a page."""
    blocks = [
        Block(match[1], match[2] or "", match[3], text.count("\n", 0, match.start()) + 1)
        for match in _BLOCK.finditer(text)
    ]
    assert len(blocks) == len(_FENCE.findall(text)), "blocks begin at the start of a line, and end"
    return blocks


def shortened(text, changes):
    """Return a page with what would train for long changed; each pattern must be there once."""
    for pattern, replacement in changes.items():
        text, replaced = re.subn(pattern, replacement, text)
        assert replaced == 1, f"{pattern!r} occurs {replaced} times"
    return text


@contextmanager
def nothing_left_behind():
    """Undo what a page changes for the process: networks, and how pandas reads strings."""
    networks = dict(NETWORKS)
    strings = pd.options.future.infer_string
    try:
        yield
    finally:
        NETWORKS.clear()
        NETWORKS.update(networks)
        if pd.options.future.infer_string != strings:
            pd.options.future.infer_string = strings


@nothing_left_behind()
def run_page(path, changes=None):
    """Run a page, and return the names that its Python defines."""
    names, printed = {"__name__": "page"}, ""
    for block in read_blocks(shortened(path.read_text(encoding="utf-8"), changes or {})):
        where = f"{path.name}, line {block.line}"
        if block.title == INSTALLATION:
            continue
        if block.title == PRINTS:
            assert printed.split() == block.code.split(), f"{where}: it prints\n{printed}"
        elif "." in block.title:
            Path(block.title).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            printed = _run_python(block, path, names)
        elif block.language in SHELLS:
            printed = "".join(_run_command(words, where) for words in _commands(block.code))
        else:
            assert block.language in ("text", "bibtex"), f"{where}: {block.language} is not run"
    return names


def _run_python(block, path, names):
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile("\n" * block.line + block.code, path, "exec"), names)
    return out.getvalue()


def _commands(code):
    lines = code.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def _run_command(words, where):
    """Run a command, ``cmvae`` within this process, and return what it prints."""
    assert words[0] in ("cmvae", "python"), (
        f"{where}: {words[0]} is no command that is run; title it 'installation'?"
    )
    if words[0] == "python":
        done = subprocess.run(
            [sys.executable, *words[1:]], capture_output=True, text=True, check=False
        )
        status, out, err = done.returncode, done.stdout, done.stderr
    else:
        status, out, err = run(*words[1:])
    assert status == 0, f"{where}: {shlex.join(words)}: {err}"
    return out
