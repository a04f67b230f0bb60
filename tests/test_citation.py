from pathlib import Path

import yaml

import cmvae

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PAPER = CITATION["preferred-citation"]


def test_the_software_is_described_as_it_is():
    # The keys that the format, version 1.2.0, requires of a file and of what it refers to.
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()
    assert {"type", "title", "authors"} <= PAPER.keys()
    assert CITATION["cff-version"] == "1.2.0"
    assert str(CITATION["version"]) == cmvae.__version__
    assert CITATION["license"] == "Apache-2.0"


def test_the_first_page_cites_the_paper_of_the_file():
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    bibtex = page[page.index("@inproceedings") :]
    assert PAPER["title"] in bibtex
    assert PAPER["url"] in bibtex
    assert f"year      = {{{PAPER['year']}}}" in bibtex
    for author in PAPER["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in bibtex
