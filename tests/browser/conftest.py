"""A real Chromium, without a window."""

import os
import shutil

import pytest
from selenium import webdriver

BROWSER, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
OPTIONS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
    ),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Start Chromium; without it tests are skipped, or fail if CMVAE_REQUIRE_BROWSER is set."""
    if shutil.which(BROWSER) is None or shutil.which(DRIVER) is None:
        reason = f"needs {BROWSER} and {DRIVER}: Debian's packages chromium and chromium-driver"
        if os.environ.get("CMVAE_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()
