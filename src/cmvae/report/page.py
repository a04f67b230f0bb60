"""The report as one HTML file that needs nothing else, no network either, and its colours."""

import html
import json
import math
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from cmvae.base.extras import from_extra
from cmvae.base.files import atomic_write
from cmvae.report.content import ReportContent
from cmvae.report.drawing import PALETTE

LARGEST = 15_000_000  # bytes
DIGITS = 5
SCRIPTS = ("base.js", "filter.js", "sections.js", "charts.js", "start.js")

# Light and dark, with the contrast that WCAG 2.2 asks for.
GRAPHICS = 3.0  # the least contrast of what is drawn, WCAG 1.4.11; that of text is 4.5, 1.4.3
STEP = 0.05

ROLES = ("page", "surface", "ink", "muted", "line", "accent", "on-accent")
LIGHT = ("#ffffff", "#f6f8fa", "#1b1f24", "#57606a", "#d0d7de", "#0b5cad", "#ffffff")
DARK = ("#0f1419", "#181f27", "#e8edf2", "#a3b0bd", "#39434e", "#79b8ff", "#0f1419")


def write_report(path: str | Path, content: ReportContent) -> None:
    """Write a report as one HTML file, as a whole or not at all.

    The file holds its style, its scripts, plotly and all pictures, and asks the network for nothing
    (its content security policy forbids it).

    Args:
        path: The file, whose name ends in ``.html``.
        content: What :func:`cmvae.report.gather_report` returned.

    Raises:
        ImportError: Where plotly is not installed, naming the extra.
        ValueError: For another ending, or content that would make more than 15 MB.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path: expected a file name that ends in .html, got {str(path)!r}")
    page = _page(content).encode("utf-8")
    if len(page) > LARGEST:
        size = f"{len(page) / 1e6:.1f} MB, at most {LARGEST / 1e6:.0f} are allowed"
        raise ValueError(f"the report would have {size}: show fewer samples (max_points)")
    with atomic_write(path) as temporary:
        temporary.write_bytes(page)


def _page(content: ReportContent) -> str:
    shown = {key: value for key, value in asdict(content).items() if key != "profiles"}
    script = "\n".join(_asset(name) for name in SCRIPTS)
    return Template(_asset("page.html")).substitute(
        title=html.escape(content.title),
        style=style_sheet() + _asset("page.css"),
        data=as_json({**shown, "themes": THEMES}),
        # Its licence stands in its first lines.
        plotly=from_extra("plotly.offline", "report", "the report").get_plotlyjs(),
        script=f'(() => {{\n"use strict";\n{script}\n}})();',
    )


def _asset(name: str) -> str:
    return (resources.files("cmvae.report") / "assets" / name).read_text(encoding="utf-8")


def as_json(value: Any) -> str:
    """Return JSON that can stand in a script element: none of ``< > &`` is in it.

    Numbers have five digits; those that are not finite are null.
    """
    text = json.dumps(_rounded(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _rounded(value: Any) -> Any:
    """Return nested values with numbers of a few digits, and null for what is none."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours ``#rrggbb``, from 1 to 21, as WCAG 2 defines it."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour of the sRGB space."""
    shares = [value / 255 for value in _channels(colour)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _legible(colour: str, theme: dict[str, str]) -> str:
    """Move a colour towards that of the text until it stands out from page and surface."""
    mixed, share = colour, 0.0
    while min(contrast(mixed, theme["page"]), contrast(mixed, theme["surface"])) < GRAPHICS:
        share += STEP
        pairs = zip(_channels(colour), _channels(theme["ink"]), strict=True)
        mixed = "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in pairs)
    return mixed


def _themed(colours: tuple[str, ...]) -> dict[str, str]:
    theme = dict(zip(ROLES, colours, strict=True))
    return {**theme, **{f"g{i}": _legible(colour, theme) for i, colour in enumerate(PALETTE)}}


THEMES = {"light": _themed(LIGHT), "dark": _themed(DARK)}


def style_sheet() -> str:
    """Return the colours as CSS variables, by the reader's preference; paper is light."""
    variables = ("".join(f"--{k}:{v};" for k, v in theme.items()) for theme in THEMES.values())
    light, dark = (f":root{{{each}}}" for each in variables)
    return f"{light}\n@media screen and (prefers-color-scheme: dark){{{dark}}}\n"
