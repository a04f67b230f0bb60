"""The report as one HTML file that needs nothing else, no network either."""

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
from cmvae.report.themes import THEMES, style_sheet

LARGEST = 15_000_000  # bytes
DIGITS = 5
SCRIPTS = ("base.js", "filter.js", "sections.js", "charts.js", "start.js")


def write_report(path: str | Path, content: ReportContent) -> None:
    """Write a report as one HTML file, as a whole or not at all.

    The file holds its style, its scripts, plotly and all pictures, and asks the network for nothing
    (its content security policy forbids it).

    Args:
        path: The file, whose name ends in ``.html``; its folder must exist.
        content: What :func:`cmvae.report.gather_report` returned.

    Raises:
        ImportError: Where plotly is not installed, naming the extra.
        ValueError: For another ending, or content that would make more than 15 MB.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path: expected a file name that ends in .html, got {str(path)!r}")
    page = _page(content).encode("utf-8")
    if len(page) > LARGEST:
        size, most = f"{len(page) / 1e6:.1f} MB", f"{LARGEST / 1e6:.0f}"
        raise ValueError(
            f"the report would have {size}, at most {most} are allowed: "
            "show fewer samples (max_points)"
        )
    with atomic_write(path) as temporary:
        temporary.write_bytes(page)


def _page(content: ReportContent) -> str:
    script = "\n".join(_asset(name) for name in SCRIPTS)
    return Template(_asset("page.html")).substitute(
        title=html.escape(content.title),
        style=style_sheet() + _asset("page.css"),
        data=as_json({**asdict(content), "themes": THEMES}),
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
