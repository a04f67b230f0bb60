"""The figures of the benchmark records as files of the site, and no page that needs the network."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

RECORDS = Path("benchmarks/records")
_ELSEWHERE = r"[\"']?(?:https?:)?//"
_LOADS = re.compile(
    rf"<(?:script|img|iframe|source)\b[^>]*\bsrc={_ELSEWHERE}|<link\b[^>]*\bhref={_ELSEWHERE}"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add ``records/NAME.png`` to the site."""
    root = Path(config.config_file_path).parent / RECORDS
    for figure in sorted(root.glob("*.png")):
        files.append(File.generated(config, f"records/{figure.name}", abs_src_path=str(figure)))
    return files


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Refuse a page that loads something from elsewhere."""
    found = _LOADS.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri}: the page loads from the network: {found[0]}")
    return output
