"""Formulas as MathML, shown without a script: ``$…$`` in a line, ``$$…$$`` by itself."""

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
# What the converter leaves to the reader's eye: the space after a function's name, a relation's own
# sign, and bars close to what they hold.
_FINER = {
    "<mi>log</mi>": '<mi>log</mi><mspace width="0.17em"/>',
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",
    '<mo stretchy="false">&#x0007C;</mo>': '<mo stretchy="false" lspace="0" rspace="0">|</mo>',
}
_LEFT_OVER = re.compile(r"\\[A-Za-z]+|<mi>&</mi>")


def on_page_content(content: str, page: object, **_: object) -> str:
    """Return a page's HTML with its formulas converted."""
    return _FORMULA.sub(lambda match: _converted(match, page), content)


def _converted(match: re.Match[str], page: object) -> str:
    source = html.unescape(match[2]).strip()
    formula = convert(source, display="block" if match[1] == "div" else "inline")
    unknown = _LEFT_OVER.findall(formula)
    if unknown:
        raise PluginError(f"{page}: {unknown} of the formula {source} cannot be shown")
    for plain, finer in _FINER.items():
        formula = formula.replace(plain, finer)
    return formula
