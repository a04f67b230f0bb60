"""What the site adds: its version, the changelog as a page, folded tables, links into the API."""

import re
import runpy
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

CHANGELOG = "changelog/"
FOLDED_FROM = 40  # rows
_CHANGES = re.compile(r'(<h3 id="(?!added).*?</h3>)(.*?)(?=<h[23]|\Z)', re.DOTALL)
_TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
_TO_OBJECT = re.compile(r"\]\((?:\.\./)?(?:api/)?[\w-]+\.md#(cmvae\.[\w.]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the version in the header of every page, and lead to what is new in its footer."""
    version = runpy.run_path(str(_root(config) / "src/cmvae/_version.py"))["__version__"]
    config.site_name = f"{config.site_name} {version}"
    config.copyright = f'Version {version}: <a href="/{CHANGELOG}">what is new</a>'
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the changelog of the repository as a page."""
    text = (_root(config) / "CHANGELOG.md").read_text(encoding="utf-8")
    page = "---\nhide: [toc]\n---\n" + text.replace("](docs/", "](")
    files.append(File.generated(config, "changelog.md", content=page))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Let a link to an object of the API lead there, on whichever page it is."""
    return _TO_OBJECT.sub(r"][\1]", markdown)


def on_page_content(content: str, page: Page, **_: object) -> str:
    """Fold long tables, and the changelog but for what is new: a click or a search opens them."""
    if page.url == CHANGELOG:
        content = _CHANGES.sub(r"<details><summary>\1</summary>\2</details>", content)
    return _TABLE.sub(_folded, content)


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Let the footer's link lead from this page to the changelog, wherever the site lies."""
    return output.replace(f'"/{CHANGELOG}"', f'"{get_relative_url(CHANGELOG, page.url)}"')


def _folded(match: re.Match[str]) -> str:
    rows = match[0].count("<tr>") - 1
    if rows < FOLDED_FROM:
        return match[0]
    return f"<details><summary>A table of {rows} rows</summary>{match[0]}</details>"


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent
