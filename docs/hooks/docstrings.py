"""Docstrings as Markdown: references, formulas and examples in the forms of the site."""

import re
from textwrap import indent
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`(~?)([\w.]+)`")
_FORMULA = re.compile(r"^( *)\.\. math::[ ]*(.*\n(?:(?:\1 +.*)?\n)*)", re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_CODE_FOLLOWS = re.compile(r"::$", re.MULTILINE)


class Docstrings(Extension):
    """Rewrites every docstring before it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is None:
            return
        text = _EXAMPLE.sub("Examples:", obj.docstring.value)
        text = _CODE_FOLLOWS.sub(":", _FORMULA.sub(_formula, text + "\n").rstrip("\n"))
        obj.docstring.value = _ROLE.sub(lambda match: _reference(match, obj), text)


def _formula(match: re.Match[str]) -> str:
    lines = " ".join(match[2].split())
    return indent(f"\n$$\n{lines}\n$$\n\n", match[1], lambda line: bool(line.strip()))


def _reference(match: re.Match[str], obj: Object) -> str:
    """Return a link where the site has the target, else the name as code."""
    path = match[2]
    shown = path.rsplit(".", 1)[-1]
    if "." not in path:
        holder = obj if obj.is_class else obj.parent
        path = f"{holder.path}.{path}" if holder is not None else path
    return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'
