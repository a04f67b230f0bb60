"""What turns formulas, docstrings and records into pages, and what runs the code of pages."""

import importlib.util
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

import pages

HOOKS = Path(__file__).parents[2] / "docs" / "hooks"
pytest.importorskip("mkdocs")


def load(name):
    spec = importlib.util.spec_from_file_location(f"docs_hooks_{name}", HOOKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_formulas_become_mathml():
    convert = load("formulas").on_page_content
    inline = convert(r'<p>If <span class="arithmatex">\(a &lt; b\)</span> then.</p>', "page")
    assert inline.startswith("<p>If <math")
    assert "<mi>a</mi><mo>&#x0003C;</mo><mi>b</mi>" in inline
    assert 'display="inline"' in inline
    block = convert('<div class="arithmatex">\\[\\frac{1}\n{2}\\]</div>', "page")
    assert block.index("<mfrac>") < block.index("<mn>1</mn>") < block.index("<mn>2</mn>")
    assert 'display="block"' in block
    assert '<mi>log</mi><mspace width="0.17em"/>' in convert(
        r'<div class="arithmatex">\[\log p\]</div>', "page"
    )
    assert '<mo stretchy="false" lspace="0" rspace="0">|</mo><mi>S</mi>' in convert(
        r'<div class="arithmatex">\[|S| - 1\]</div>', "page"
    )
    assert "<mo>&#x0223C;</mo>" in convert(r'<div class="arithmatex">\[a \sim b\]</div>', "page")


@pytest.mark.parametrize("source", [r"\nosuchthing{a}", r"\begin{aligned} a &amp; b \end{aligned}"])
def test_a_formula_that_cannot_be_shown_ends_the_build(source):
    with pytest.raises(Exception, match=r"page: \[.*\] of the formula .* cannot be shown"):
        load("formulas").on_page_content(rf'<span class="arithmatex">\({source}\)</span>', "page")


@pytest.mark.parametrize(
    "loads",
    [
        '<script src="https://cdn.example/x.js">',
        '<img alt="" src=//a.example/x.png>',
        '<link rel="stylesheet" href="https://f.example">',
    ],
)
def test_a_page_that_needs_the_network_ends_the_build(loads):
    check = load("records").on_post_page
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    fine = '<script src="assets/x.js"></script><a href="https://a.example">a</a>'
    fine += '<link href="style.css">'
    assert check(fine, page) == fine
    with pytest.raises(Exception, match=r"a\.md: the page loads from the network"):
        check(fine + loads, page)


def rewritten(text, path="cmvae.CMVAE", is_class=True):
    docstrings = load("docstrings")
    parent = SimpleNamespace(path="cmvae")
    obj = SimpleNamespace(
        docstring=SimpleNamespace(value=text), path=path, is_class=is_class, parent=parent
    )
    docstrings.Docstrings.on_object(None, obj=obj)
    return obj.docstring.value


def test_docstrings_become_markdown():
    assert rewritten("See :class:`~cmvae.data.Batch`.") == (
        'See <autoref identifier="cmvae.data.Batch" optional><code>Batch</code></autoref>.'
    )
    assert 'identifier="cmvae.CMVAE.encode"' in rewritten(":meth:`encode` first")
    assert 'identifier="cmvae.encode"' in rewritten(":func:`encode` first", is_class=False)
    assert rewritten("Like this::\n\n    a = 1") == "Like this:\n\n    a = 1"
    assert rewritten("A.\n\nExample:\n    >>> 1") == "A.\n\nExamples:\n    >>> 1"
    formula = rewritten("A.\n\n.. math:: a\n          = b\n\nThen.")
    assert [line for line in formula.splitlines() if line] == ["A.", "$$", "a = b", "$$", "Then."]


def page(folder, text):
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_blocks_are_run_in_order_in_one_namespace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = '```python\na = 2\nprint(a)\n```\n```text title="prints"\n2\n```\n'
    text += '```yaml title="x.yaml"\nb: 1\n```\n'
    text += "```bash\npython -c \"print(open('x.yaml').read())\"  # reads\n```\n"
    text += '```text title="prints"\nb: 1\n```\n'
    text += '```sh title="installation"\nmake world\n```\n```python\nb = a + 1\n```\n'
    assert pages.run_page(page(tmp_path, text))["b"] == 3
    assert pages.run_page(page(tmp_path, text), {"a = 2": "a = 1 + 1"})["a"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '```python\nprint(1)\n```\n```text title="prints"\n2\n```\n',
            "page.md, line 4: it prints",
        ),
        ("```console\n$ ls\n```\n", "console is not run"),
        ("- a\n\n  ```python\n  1\n  ```\n", "at the start of a line"),
        ("```bash\nls\n```\n", "ls is no command that is run"),
        ("```bash\ncmvae predict nowhere --out x.csv\n```\n", "no such run folder"),
        ("```bash\npython -c 'raise SystemExit(3)'\n```\n", "SystemExit"),
    ],
)
def test_what_a_page_gets_wrong_is_told(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match=message):
        pages.run_page(page(tmp_path, text))


def test_what_is_shortened_must_be_there(tmp_path):
    with pytest.raises(AssertionError, match="occurs 0 times"):
        pages.run_page(page(tmp_path, "```python\n1\n```\n"), {"nothing": ""})


def test_the_font_has_the_measures_and_signs_of_formulas():
    pytest.importorskip("ziamath")
    from fontTools.ttLib import TTFont

    content = load("fonts").math_font()
    font = TTFont(BytesIO(content))
    assert content[:4] == b"wOFF"
    assert len(content) < 500_000
    assert font["MATH"].table.MathVariants.VertGlyphCoverage.glyphs
    assert {ord(sign) for sign in "aπΣ∑∏∂∈≠∣′𝑥ℒ"} <= font.getBestCmap().keys()


def test_long_tables_are_folded():
    fold = load("pages").on_page_content
    table = "<table><tr><th>a</th></tr>{}</table>"
    short, long = (table.format("<tr><td>1</td></tr>" * n) for n in (39, 40))
    assert fold(f"<p>{short}</p>") == f"<p>{short}</p>"
    summary = "<summary>A table of 40 rows</summary>"
    assert fold(short + long) == f"{short}<details>{summary}{long}</details>"


def test_links_into_the_api_follow_its_objects():
    link = load("pages").on_page_markdown
    assert link("[`fit`](api/models.md#cmvae.fit), so") == "[`fit`][cmvae.fit], so"
    assert link("[a](../api/x.md#cmvae.a.B_c)") == "[a][cmvae.a.B_c]"
    for other in ("[a](api/models.md)", "[a](tables.md#names-for-clusters)"):
        assert link(other) == other


def test_the_footer_leads_to_the_changelog_from_every_page():
    hook = load("pages").on_post_page
    for url, wanted in {
        "a/": "../changelog/",
        "api/x/": "../../changelog/",
        "": "changelog/",
    }.items():
        assert hook('<a href="/changelog/">', SimpleNamespace(url=url)) == f'<a href="{wanted}">'
