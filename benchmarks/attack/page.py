"""The page of a run whose names are programs, opened in Chromium: nothing of them is run."""

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bounded import watched
from cases import command
from outcome import Outcome

PART = "injection into the page"
BROWSER, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
)
RUN = "window.taken=1"
WORDS = {
    "a script": f"<script>{RUN}</script>",
    "the end of a script": f"</script><script>{RUN}</script>",
    "an image": f"<img src=x onerror={RUN}>",
    "a quote and an image": f"\"'><img src=x onerror={RUN}>",
    "a drawing": f"<svg onload={RUN}>",
    "a link": f"<a href='javascript:{RUN}'>x</a>",
    "an address": f"javascript:{RUN}",
    "a template": f"${{{RUN}}}`${{{RUN}}}`",
    "a template of Python": "%{x}{{7*7}}$title ${7*7}",
    "a remark": "<!--<script>",
    "the end of data": "]]>&lt;b&gt;&#60;b&#62;",
    "line ends of JavaScript": f"\u2028{RUN}\u2029",
    "right to left": "\u202egnp.exe\u2066",
    "markup": "<b class=taken>bold</b><sup>2</sup>",
    "a style": "<style>body{display:none}</style>",
    "a frame": "<iframe srcdoc='<script>parent.taken=1</script>'></iframe>",
    "a form": "<form action=http://127.0.0.1:9/><input autofocus onfocus=" + RUN + ">",
    "a base": "<base href=http://127.0.0.1:9/><link rel=stylesheet href=x.css>",
    "10^5 characters": "x" * 10**5,
    "zeros": "a\0<b>b</b>",
}
PLACES = ("id", "modality", "column", "category", "label", "title", "word", "name")
_INJECTED = """
    return [window.taken ?? null, document.querySelectorAll(
        "img[src=x],[onerror],[onload],[onfocus],.taken,taken,a[href^=javascript],iframe,form,base,"
        + "link[rel=stylesheet]").length,
        document.querySelectorAll("script").length, document.documentElement.dataset.ready]
"""
_PRESS = """
    document.querySelectorAll("details").forEach((own) => { own.open = true; });
    document.querySelectorAll("button, input, summary").forEach((own) => own.click());
    document.querySelectorAll("select").forEach((own) => {
        own.selectedIndex = own.options.length - 1;
        own.dispatchEvent(new Event("change", {bubbles: true}));
    });
"""


def attack(share: float, work: Path, seed: int) -> Iterator[Outcome]:
    """Write pages of hostile names, a page for each place of them, and open them.

    Args:
        share: Which share of the places.
        work: A folder to work in.
        seed: Where to begin.
    """
    if shutil.which(BROWSER) is None or shutil.which(DRIVER) is None:
        fault = f"not tried: {BROWSER} and {DRIVER} are needed" * bool(os.environ.get("CI"))
        yield Outcome(PART, "page", "Chromium", fault)
        return
    closed = work / "closed"
    closed.mkdir(parents=True)
    count = max(1, round(share * len(PLACES)))
    chosen = [PLACES[(seed + i) % len(PLACES)] for i in range(count)]
    faults = {}
    for place in chosen:
        folder = work / place
        folder.mkdir()
        made = watched(partial(_make, folder, place), folder, closed, seconds=120)
        if made.status or "Traceback" in made.said:
            faults[place] = f"the page was not made: {made.said.strip()[-300:]}"
    browser = _start(work / "profile")
    try:
        for place in chosen:
            pages = [] if place in faults else sorted((work / place).glob("*.html"))
            found = [fault for page in pages for fault in _faults(browser, page)]
            fault = faults.get(place, "; ".join(found))
            for word in WORDS:
                yield Outcome(PART, f"{place} of the page", word, fault)
    finally:
        browser.quit()


def _start(profile: Path) -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


def _faults(browser: Any, page: Path) -> list[str]:
    """Open a page and press all that can be pressed; return what was wrong."""
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page.as_uri())
    scripts = page.read_text(encoding="utf-8").count("\n<script")
    faults = _injected(browser, scripts)
    browser.execute_script(_PRESS)
    browser.execute_async_script("setTimeout(arguments[0], 500)")
    faults += _injected(browser, scripts)
    if logged := [entry["message"] for entry in browser.get_log("browser")]:
        faults.append(f"the console says {logged[0][:200]}")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [own["params"] for own in messages if own["method"] == "Network.requestWillBeSent"]
    asked = {own["request"]["url"] for own in sent if not own["documentURL"].startswith("chrome:")}
    if odd := [url for url in asked if url.split(":")[0] not in ("file", "data", "blob", "about")]:
        faults.append(f"it asked for {odd[0][:200]}")
    return list(dict.fromkeys(faults))


def _injected(browser: Any, scripts: int) -> list[str]:
    taken, elements, found, ready = browser.execute_script(_INJECTED)
    faults = ["a script of a name was run"] * (taken is not None)
    faults += [f"{elements} elements of names are in the page"] * bool(elements)
    faults += [f"{found} scripts instead of {scripts}"] * (found != scripts)
    return faults + ["the page is not ready"] * (ready != "yes")


def _make(folder: Path, place: str) -> None:
    """Train on tables whose names at a place are programs, and write the page."""
    import numpy as np
    import pandas as pd

    words = list(WORDS.values())
    if place in ("id", "modality", "name"):  # which may not hold what no file and no line can
        words = [word for word in words if word.isprintable() and len(word) < 200]
    n, draw = 2 * len(words) + 20, np.random.default_rng(0)
    kind = np.arange(n) % 3
    own = [words[i % len(words)] for i in range(n)]
    ids = pd.Index([f"{own[i]} {i}" if place == "id" else f"s{i}" for i in range(n)], name="id")
    columns = {
        f"{word} {i}" if place == "column" else f"x{i}": None for i, word in enumerate(words)
    }
    numbers = pd.DataFrame(
        5 * draw.normal(size=(3, len(columns)))[kind] + draw.normal(size=(n, len(columns))),
        index=ids,
        columns=list(columns),
    )
    numbers["kind"] = own if place == "category" else np.array(list("abc"))[kind]
    texts = pd.DataFrame({"note": [f"{own[i]} w{kind[i]}" for i in range(n)]}, index=ids)
    if place != "word":
        texts["note"] = [f"word{i % 3} again" for i in range(n)]
    labels = own if place == "label" else [f"l{own}" for own in kind]
    numbers.to_csv(folder / "a.csv")
    texts.to_csv(folder / "t.csv")
    pd.DataFrame({"label": labels}, index=ids).to_csv(folder / "l.csv")
    _run(folder, place, words)


def _run(folder: Path, place: str, words: list[str]) -> None:
    name = "<taken><script>window.taken--" if place == "modality" else "a"
    title = "<img src=x onerror=window.taken=1>" if place == "title" else "run"
    run, options = folder / title, ("--epochs", 1, "--device", "cpu", "--clusters", 3)
    files = ("--modality", f"{name}={folder / 'a.csv'}", "--modality", f"t={folder / 't.csv'}")
    kinds = ("--kind", f"{name}.kind=category", "--kind", "t.note=text")
    command("fit", *files, *kinds, "--out", run, *options)
    report = ("report", run, "--labels", folder / "l.csv", "--overwrite", "--out")
    command(*report, folder / "page0.html")
    for place_of, word in enumerate(words if place == "name" else []):
        if len(word) <= 60 and "," not in word:
            command(*report, folder / f"page{place_of}.html", "--names", f"0={word}")
