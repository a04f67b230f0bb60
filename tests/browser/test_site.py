"""The documentation as a reader meets it: every page in a real Chromium."""

from pathlib import Path

import pytest

import cmvae

pytest.importorskip("mkdocs")
pytest.importorskip("ziamath")

from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parents[2]
TALLEST = 8000
MEASURE = "const root = document.documentElement; return [root.scrollWidth, root.scrollHeight]"
# A sum with its limit below it, and where the limit begins.
LIMITS = """
await document.fonts.ready;
const loaded = [...document.fonts].some((font) => font.status === "loaded");
const sums = [...document.querySelectorAll("math[display=block] :is(munder, munderover)")];
const apart = sums.map(({children: [sum, limit]}) =>
  limit.getBoundingClientRect().top - sum.getBoundingClientRect().bottom);
return [loaded, apart];
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site as ``make docs`` does, and return its pages."""
    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return {str(path.parent.relative_to(folder)): path for path in folder.rglob("index.html")}


def screen(browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def measured(browser, site, width):
    screen(browser, width)
    found = {}
    for name, path in site.items():
        browser.get(path.as_uri())
        found[name] = browser.execute_script(MEASURE)
    return found


def test_no_page_is_endless(browser, site):
    found = measured(browser, site, 1280)
    assert {"tutorial", "changelog", "api/models"} <= found.keys()
    assert {name: own for name, (_, own) in found.items() if own > TALLEST} == {}


def test_no_page_is_wider_than_a_phone(browser, site):
    found = measured(browser, site, 400)
    assert {name: own for name, (own, _) in found.items() if own > 400} == {}


def test_limits_of_sums_do_not_collide(browser, site):
    screen(browser, 1280)
    browser.get(site["mathematics"].as_uri())
    loaded, apart = browser.execute_async_script(
        f"const done = arguments[0]; (async () => {{ {LIMITS} }})().then(done)"
    )
    assert loaded
    assert len(apart) > 5
    assert min(apart) >= 0


def test_every_page_says_which_version_it_is_of(browser, site):
    browser.get(site["questions"].as_uri())
    assert cmvae.__version__ in browser.find_element("css selector", "header").text
    link = browser.find_element("css selector", "footer .md-copyright a")
    assert link.get_property("href").endswith("/changelog/")
