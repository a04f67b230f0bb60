"""The page: nothing a user names can become part of it, and what its pieces are made with."""

import base64
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from cmvae.metrics.moments import Moments
from cmvae.preprocessing.arrays import ImageCodec
from cmvae.preprocessing.texts import PAD, UNKNOWN, TextCodec, Tokenizer
from cmvae.report import gather_report, write_report
from cmvae.report.page import THEMES, as_json, contrast
from cmvae.report.pictures import as_bytes, as_sheet, thumbnails
from made_runs import make_rows, make_run, numbers, pictures_of

MODALITY = "<script>alert(1)<!-- &amp; $title ${style}"  # slashes are refused in its name
HOSTILE = "</script><script>alert(1)</script><!-- &amp; \u2028 $title ${style} \\u003c"


@pytest.fixture(scope="module")
def content():
    """Return a report in which everything that a user can name is hostile."""
    n, rng = 12, np.random.default_rng(0)
    table, images, texts = (f"{kind} {MODALITY}" for kind in ("table", "images", "texts"))
    data = {
        table: rng.normal(size=(n, 3)).astype(np.float32),
        images: rng.integers(0, 256, (n, 3, 4, 6), dtype=np.uint8),
        texts: np.full((n, 1), 2),
    }
    rows = make_rows(data, ids=[f"{HOSTILE} {i}" for i in range(n)])
    words = Tokenizer(words=(PAD, UNKNOWN, HOSTILE), length=1)
    codecs = {
        table: numbers([f"{letter} {HOSTILE}" for letter in "xyz"]),
        images: ImageCodec(shape=(3, 4, 6)),
        texts: TextCodec(column="text", tokenizer=words),
    }
    run = make_run(codecs, rows, log=pd.DataFrame({HOSTILE: [1.0]}))
    return gather_report(run, rows, pd.Series(HOSTILE, index=rows.ids), title=HOSTILE)


# Sums


def test_moments_keep_their_digits_far_from_zero():
    rng = np.random.default_rng(0)
    clusters = rng.integers(2, size=500)
    values = rng.normal(1e6, 1.0, (500, 2))
    moments = Moments(2, 2)
    for start in range(0, 500, 60):
        moments.add(values[start : start + 60], clusters[start : start + 60])
    assert moments.deviation == pytest.approx(values.std(0), rel=1e-9)
    assert moments.mean == pytest.approx(values.mean(0), rel=1e-12)


def test_a_mean_that_is_lost_in_rounding_is_zero():
    moments = Moments(2, 1)
    values = np.array([[1.0], [1.0], [0.0], [1.0], [0.0], [0.0]])
    moments.add(values, np.array([0, 0, 1, 0, 1, 1]))
    assert [float(means[0]) for means in moments.inside_and_outside(1)] == [0, 1]


# Pictures


def test_images_become_bytes_and_those_with_nan_are_blank():
    images = np.array([[[[-1.0, 0.5, 2.0]]], [[[0.0, np.nan, 0.0]]]])
    assert as_bytes(images)[..., 0].tolist() == [[[0, 128, 255]], [[255, 255, 255]]]
    colours = np.arange(5)[None, :, None, None] / 10
    assert as_bytes(colours).tolist() == [[[[0, 26, 51]]]]  # the first three of five channels
    assert as_bytes(colours[:, 3:]).tolist() == [[[[76, 76, 76]]]]  # the first of two


def test_a_sheet_stays_within_its_bytes():
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(50, 32, 24, 3), dtype=np.uint8)
    assert as_sheet(noise, 10**7).uri.startswith("data:image/png")
    assert (pictures_of(as_sheet(noise, 10**7)) == noise).all()
    small = as_sheet(noise, 6000)
    assert len(base64.b64decode(small.uri.split(",")[1])) <= 6000
    assert small.count == 50
    assert small.width / small.height == pytest.approx(24 / 32, rel=0.2)
    assert thumbnails(noise, 8).shape == (50, 8, 6, 3)


# The page


def content_of(page):
    return json.loads(page.split('id="report-data">')[1].split("</script>")[0])


def elements_of(page):
    """Return the elements of a page in order, as a reader of HTML finds them."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: found.append(tag)
    parser.feed(page)
    return found


def test_no_name_becomes_markup(content, tmp_path):
    write_report(tmp_path / "report.html", content)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page
    assert elements_of(page).count("script") == 3
    assert page.count("&lt;/script&gt;&lt;script&gt;alert(1)") == 2  # the title
    found = content_of(page)
    assert found["title"] == found["agreement"]["labels"][0] == HOSTILE
    assert found["samples"]["ids"][3] == f"{HOSTILE} 3"
    table, images, texts = found["modalities"]
    assert [m["name"] for m in (table, images, texts)] == [
        f"{kind} {MODALITY}" for kind in ("table", "images", "texts")
    ]
    assert table["features"][0] == f"x {HOSTILE}"[:79] + "…" * (len(HOSTILE) > 78)
    assert texts["texts"][0] == HOSTILE
    assert set(found["clusters"][0]["texts"]) == {texts["name"]}
    assert list(found["history"]) == [HOSTILE]


def test_json_of_the_page_is_safe_in_a_script_and_keeps_its_values():
    value = {
        "text": "<!-- </SCRIPT> & \u2028\u2029 é",
        "numbers": [1.23456789, float("nan"), float("-inf"), 3, True],
    }
    text = as_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"text": value["text"], "numbers": [1.2346, None, None, 3, True]}


def test_a_page_is_whole_and_small_and_names_no_host(content, tmp_path):
    write_report(tmp_path / "report.html", content)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 4e6 < len(page) < 6e6
    frame = page.split("<script>")[0] + page.rsplit("<script>", 1)[1]
    assert "Content-Security-Policy" in frame
    assert "//cdn" not in frame
    assert "https:" not in frame.replace("http://www.w3.org/2000/svg", "")
    assert "Licensed under the MIT license" in page


def test_another_ending_and_a_page_too_large_are_refused_and_the_old_one_stays(
    content, tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match=r"ends in \.html"):
        write_report(tmp_path / "report.pdf", content)
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("cmvae.report.page.LARGEST", 10**6)
    with pytest.raises(ValueError, match=r"would have 4\.\d MB, at most 1 are allowed"):
        write_report(path, content)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_plotly_the_extra_is_named(content, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ImportError, match=r"pip install 'cmvae\[report\]'"):
        write_report(tmp_path / "report.html", content)


@pytest.mark.parametrize("name", THEMES)
def test_colours_have_the_contrast_that_wcag_asks_for(name):
    theme = THEMES[name]
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    for background in ("page", "surface"):
        for text in ("ink", "muted", "accent"):
            assert contrast(theme[text], theme[background]) >= 4.5
        assert all(contrast(theme[g], theme[background]) >= 3 for g in theme if g.startswith("g"))
    assert contrast(theme["on-accent"], theme["accent"]) >= 4.5
    # The deepest cell of the table of labels: 42 % accent.
    mixed = [
        round(0.42 * int(theme["accent"][i : i + 2], 16) + 0.58 * int(theme["page"][i : i + 2], 16))
        for i in (1, 3, 5)
    ]
    assert contrast(theme["ink"], "#" + "".join(f"{c:02x}" for c in mixed)) >= 4.5
