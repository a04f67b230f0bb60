"""The pictures of the tutorial, from the page of its run: ``docs/images/tutorial-*.png``.

``python benchmarks/tutorial_pictures.py runs/wines/report.html``, with Selenium and Chromium, after
the commands of ``docs/tutorial.md``.
"""

import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PARTS = {"tutorial-map": "#map", "tutorial-cluster": "#cards > :first-child"}
# The whole page in one window, so that nothing floats over it.
OPTIONS = ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1300,5000")


def main(report: Path) -> None:
    """Take a picture of each part of the page."""
    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(option)
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.get(report.resolve().as_uri())
        WebDriverWait(browser, 20).until(
            lambda _: browser.find_elements(By.CSS_SELECTOR, "#map-plot .main-svg")
        )
        for name, part in PARTS.items():
            browser.find_element(By.CSS_SELECTOR, part).screenshot(str(IMAGES / f"{name}.png"))
    finally:
        browser.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
