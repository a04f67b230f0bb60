"""The report as a reader meets it: in a real Chromium, without a window."""

import base64
import json
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist, squareform
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from cmvae.preprocessing import encode_table
from cmvae.preprocessing.arrays import ImageCodec
from cmvae.report import gather_report, write_report
from made_runs import EVIDENCE, make_rows, make_run, numbers

HOSTILE = '<script>document.title="taken"</script>'
IMAGE = '"><img src=x onerror=document.title="taken">'
N = 60


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Write a report of a random model: a table, images, parts of them missing, hostile names."""
    rng = np.random.default_rng(0)
    data = {
        "table": 3 * rng.normal(size=(N, 3)).astype(np.float32),
        "photo": rng.integers(0, 256, (N, 1, 6, 5), dtype=np.uint8),
    }
    masks = {"table": np.arange(N) % 5 != 0, "photo": np.arange(N) % 4 != 1}
    masks["photo"] |= ~masks["table"]
    rows = make_rows(data, masks, [f"sample {i}" if i else HOSTILE for i in range(N)])
    names = [HOSTILE, IMAGE, "weight & <b>height</b>"]
    labels = [("<i>one</i>", "second", IMAGE)[i % 3] for i in range(N)]
    curves = {
        "train/loss": [3.0, 2.0, 1.5],
        "val/loss": [3.5, None, 2.0],
        "train/log_p_z": [-1.0, -2.0, -3.0],
    }
    run = make_run(
        {"table": numbers(names), "photo": ImageCodec(shape=(1, 6, 5))},
        rows,
        log=pd.DataFrame(curves),
        evidence=EVIDENCE,
        stability=[0.75, 0.5, None],
    )
    run = replace(run, names={0: IMAGE, 2: "<b>old</b>"})
    title = "A report & <i>its</i> title"
    content = gather_report(run, rows, pd.Series(labels, index=rows.ids), title=title)
    assert all(cluster.size for cluster in content.clusters)
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, content)
    return path, content


@pytest.fixture
def page(browser, report):
    """Open the report afresh, on a light screen of 1280 by 900 pixels."""
    screen(browser)
    browser.get(report[0].as_uri())
    assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
    return browser


def screen(browser, width=1280, scheme="light", touch=False):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": touch}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})


def text(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector).text


def shown_cards(page):
    cards = page.find_elements(By.CSS_SELECTOR, "#cards .cluster")
    return [int(card.get_attribute("data-cluster")) for card in cards if card.is_displayed()]


def groups_of_map(page):
    """Return the samples of the map's coloured traces, group by group."""
    traces = "document.getElementById('map-plot').data.slice(1, -1)"
    return page.execute_script(f"return {traces}.map((trace) => trace.customdata)")


HOVERED = """
return (document.getElementById("map-plot")._hoverdata || []).some(
    (point) => point.customdata === arguments[0])
"""


def move_mouse_to(page, sample):
    """Move the mouse to a sample of the map until the plot has found it; return where it is."""
    page.execute_script(
        "document.getElementById('map-plot').scrollIntoView({block: 'center', behavior: 'instant'})"
    )

    def moved(_):
        x, y = page.execute_script(
            """
            const plot = document.getElementById("map-plot"), layout = plot._fullLayout;
            const box = plot.getBoundingClientRect();
            const trace = plot.data.slice(1, -1).find((t) => t.customdata.includes(arguments[0]));
            const i = trace.customdata.indexOf(arguments[0]);
            return [box.left + layout._size.l + layout.xaxis.d2p(trace.x[i]),
                    box.top + layout._size.t + layout.yaxis.d2p(trace.y[i])];
            """,
            sample,
        )
        for shift in (4, 0):
            mouse(page, "mouseMoved", x + shift, y)
        return page.execute_script(HOVERED, sample) and (x, y)

    # It takes a moment, and a busy browser may lose a movement.
    return WebDriverWait(page, 200).until(moved)


def click_on(page, sample, script="return true", *arguments):
    """Click on a sample of the map until a script returns something true.

    A busy machine may be so slow that the page takes a click for a drag.
    """

    def clicked(_):
        x, y = move_mouse_to(page, sample)
        for kind in ("mousePressed", "mouseReleased"):
            mouse(page, kind, x, y, button="left", clickCount=1)
        time.sleep(0.2)
        return page.execute_script(script, *arguments)

    WebDriverWait(page, 200).until(clicked)


def mouse(page, kind, x, y, **more):
    page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more})


def most_alone(samples):
    """Return, of the samples that lack nothing, the one that no other hides."""
    distances = squareform(pdist(np.column_stack([samples.x, samples.y])))
    np.fill_diagonal(distances, np.inf)
    complete = [i for i in range(1, N) if i % 5 and i % 4 != 1]
    return max(complete, key=lambda i: distances[i].min())


def wait_for(page, script, *arguments):
    """Wait until a script returns something true."""
    return WebDriverWait(page, 200).until(lambda _: page.execute_script(script, *arguments))


def test_nothing_is_logged_and_nothing_asked_of_the_network(browser, report):
    browser.get_log("browser"), browser.get_log("performance")
    screen(browser)
    browser.get(report[0].as_uri())
    click_on(browser, 3)
    browser.execute_script(
        "document.querySelectorAll('main button, #chips button').forEach((b) => b.click())"
    )
    browser.execute_cdp_cmd("Page.printToPDF", {})
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # Chromium's own start page may still be loading.
    asked = [
        request["request"]["url"]
        for request in sent
        if not request["documentURL"].startswith("chrome:")
    ]
    assert report[0].as_uri() in asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}


def test_the_network_is_forbidden(page):
    script = "const done = arguments[0]; "
    script += "fetch('http://127.0.0.1:9/').then(() => done('asked'), (e) => done(e.name))"
    violated = "window.violated = null; "
    violated += (
        "addEventListener('securitypolicyviolation', (e) => { violated = e.violatedDirective })"
    )
    page.execute_script(violated)
    assert page.execute_async_script(script) == "TypeError"
    assert page.execute_script("return window.violated").startswith("connect-src")


def test_names_of_the_user_are_text(page, report):
    assert page.title == "A report & <i>its</i> title"
    assert text(page, "h1") == page.title
    assert HOSTILE in text(page, "#cards")
    assert "weight & <b>height</b>" in text(page, "#cards")
    assert IMAGE in text(page, "#confusion")
    for place in ("#chips", "#key", "#cards", "#confusion"):
        assert f"0 ({IMAGE})" in text(page, place)
        assert "2 (<b>old</b>)" in text(page, place)
    assert "2 (<b>old</b>)" in [
        node.text for node in page.find_elements(By.CSS_SELECTOR, "#map-plot .annotation-text")
    ]
    page.find_element(By.CSS_SELECTOR, "input[value=label]").click()
    assert "<i>one</i>" in [
        node.text for node in page.find_elements(By.CSS_SELECTOR, "#map-plot .annotation-text")
    ]
    shown = "return document.getElementById('sample').textContent.includes(arguments[0])"
    click_on(page, 0, shown, HOSTILE)
    assert page.find_elements(By.CSS_SELECTOR, "img, #cards b, #map-plot img") == []
    assert page.title == "A report & <i>its</i> title"


def test_hovering_shows_the_sample(page, report):
    samples = report[1].samples
    # One that has images, one that lacks them.
    for sample, has_image in ((6, True), (1, False)):
        move_mouse_to(page, sample)
        title = "document.querySelector('#tip:not([hidden]) .title')?.textContent"
        wait_for(page, f"return {title} === arguments[0]", samples.ids[sample])
        tip = page.find_element(By.ID, "tip")
        assert report[1].clusters[samples.cluster[sample]].name in tip.text
        assert bool(tip.find_elements(By.CSS_SELECTOR, ".picture")) == has_image
        assert ("Lacks" in tip.text) == (not has_image)
        assert len(tip.find_elements(By.CSS_SELECTOR, "tbody tr")) == min(
            3, len(samples.telling[sample])
        )
        box = tip.rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1280


def test_a_thumbnail_shows_its_own_sample(page, report):
    sheet = report[1].modalities[1].sheet
    image = page.execute_script(
        "return getComputedStyle(document.querySelector('#sample .picture')).backgroundImage"
    )
    assert sheet.uri in image
    sample = most_alone(report[1].samples)
    click_on(page, sample, f"return document.getElementById('pick').value === 'sample {sample}'")
    style = page.execute_script(
        "const s = getComputedStyle(document.querySelector('#sample .picture'));"
        "return [s.backgroundPosition, s.width, s.height]"
    )
    width, height = (float(size.removesuffix("px")) for size in style[1:])
    place = [
        -float(x.removesuffix("px")) / side
        for x, side in zip(style[0].split(), (width, height), strict=True)
    ]
    assert place == pytest.approx([sample % sheet.across, sample // sheet.across])


@pytest.mark.parametrize("where", ["#chips", "#key", "#cards"])
def test_clicking_a_cluster_filters_the_page(page, report, where):
    content = report[1]
    page.execute_script(
        f'document.querySelector(\'{where} button[data-cluster="1"], '
        f'{where} [data-cluster="1"] header button\').click()'
    )
    size = content.clusters[1].size
    assert text(page, "#status").startswith(
        f"Showing {size} of {N} samples: cluster {content.clusters[1].name}"
    )
    assert text(page, "#tiles dd") == str(size)
    assert shown_cards(page) == [1]
    members = [i for i, c in enumerate(content.samples.cluster) if c == 1]
    assert [sorted(g) for g in groups_of_map(page)] == [[], members, []]
    observed = [m.observed[1] for m in content.modalities]
    cells = [
        cell.text for cell in page.find_elements(By.CSS_SELECTOR, "#modalities tbody td.number")
    ]
    assert [int(cell.split()[0]) for cell in cells] == observed
    counts = [
        int(c.text.split()[0])
        for c in page.find_elements(By.CSS_SELECTOR, "#patterns tbody td.number")
    ]
    assert counts == [p.counts[1] for p in content.patterns if p.counts[1]]
    header = [
        c.text
        for c in page.find_elements(By.CSS_SELECTOR, "#confusion thead th")
        if c.is_displayed()
    ]
    assert header == ["Label", content.clusters[1].name, "All"]
    # The panel shows one of its samples; and all come back.
    assert page.find_element(By.ID, "pick").get_attribute("value") in [
        content.samples.ids[i] for i in members
    ]
    page.execute_script("document.querySelector('#chips .all').click()")
    assert shown_cards(page) == [0, 1, 2]
    assert text(page, "#tiles dd") == str(N)


def test_colours_switch_between_cluster_label_and_modalities(page, report):
    samples = report[1].samples
    for by, of in (
        ("label", samples.label),
        ("pattern", samples.pattern),
        ("cluster", samples.cluster),
    ):
        page.find_element(By.CSS_SELECTOR, f"input[value={by}]").click()
        expected = [[i for i, g in enumerate(of) if g == group] for group in range(max(of) + 1)]
        assert groups_of_map(page) == expected
        traces = "document.getElementById('map-plot').data.slice(1, -1)"
        marks = page.execute_script(f"return {traces}.map((t) => t.marker.symbol)")
        assert len(set(marks)) == len(marks)
        assert len(page.find_elements(By.CSS_SELECTOR, "#key li")) == len(expected)


def test_what_sets_a_cluster_apart_is_told_in_numbers_and_drawn(page, report):
    content = report[1]
    for card, cluster in zip(
        page.find_elements(By.CSS_SELECTOR, "#cards .cluster"), content.clusters, strict=True
    ):
        rows = card.find_elements(By.CSS_SELECTOR, ".small tbody tr")
        assert len(rows) == len(cluster.differences) > 0
        for row, told in zip(rows, cluster.differences, strict=True):
            cells = [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "td")]
            effect = f"d {'+' if told.effect > 0 else '−'}{abs(told.effect):.2f}"
            p = "p < 0.0001" if told.p < 1e-4 else f"p {told.p:.4f}"
            assert cells[0].split("\n") == [effect, p]
            heights = [
                float(bar.get_attribute("height"))
                for bar in row.find_elements(By.CSS_SELECTOR, ".histogram rect")
            ]
            assert np.argmax(heights) == np.argmax(told.histogram.inside)
            shown = [float(cell.replace("−", "-").replace(",", "")) for cell in cells[2:]]
            expected = told.inside, told.outside, told.generated
            assert shown == pytest.approx(expected, rel=1e-3)


def test_shares_are_percentages_and_what_varies_nowhere_is_infinite(browser, tmp_path):
    groups = np.arange(N) % 3
    frame = pd.DataFrame(
        {
            "yes": groups == 1,
            "colour": np.array(["red", "blue", "grey"])[groups],
            "x": 1.5 * (groups == 2),
        }
    )
    values, codec = encode_table(frame, {"x": "continuous"})
    rows = make_rows({"a": values})
    content = gather_report(make_run({"a": codec}, rows), rows)
    write_report(tmp_path / "report.html", content)
    screen(browser)
    browser.get((tmp_path / "report.html").as_uri())
    assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
    browser.execute_script("document.getElementById('columns').open = true")
    assert text(browser, "#columns-table tbody tr:nth-child(2)").split()[:3] == [
        "a",
        "yes",
        "binary",
    ]
    shares = [d for cluster in content.clusters for d in cluster.differences if d.is_share]
    assert shares
    drawn = browser.find_elements(By.CSS_SELECTOR, "#cards .shares")
    assert len(drawn) == len(shares)
    row = drawn[0].find_element(By.XPATH, "./ancestor::tr")
    assert row.text.count("%") == 3


def test_the_chosen_number_of_clusters_is_marked(page):
    drawn = page.execute_script(
        "const p = document.getElementById('selection-plot'); return [p.data, p.layout]"
    )
    (curve, mark), layout = drawn
    assert (curve["x"], curve["y"]) == ([2, 3, 4], [0.5, 1.5, -2])
    assert (mark["x"], mark["y"]) == ([3], [1.5])
    assert layout["annotations"][0]["text"] == "chosen: 3"
    said = text(page, "#selection-note")
    assert "in 85 % of random subsets of the samples the same number wins; next best: 2." in said
    assert "more structure than in single clouds of the same covariance, by 0.125" in said
    page.execute_script("document.querySelector('#selection details').open = true")
    assert text(page, "#selection-table tbody") == "2 0.5 next best\n3 1.5 chosen\n4 −2"


def test_each_cluster_says_how_stable_it_is(page):
    cards = page.find_elements(By.CSS_SELECTOR, "#cards .cluster")
    facts = [card.find_element(By.CSS_SELECTOR, ".facts").text for card in cards]
    assert "0.75, stable" in facts[0]
    assert "0.50" in facts[1]
    assert "stable" not in facts[1]
    assert "Stability" not in facts[2]


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (None, None),
        (
            {"numbers": (), "scores": (), "runner_up": None, "strength": -0.25},
            "(the difference is −0.25): one cluster",
        ),
    ],
)
def test_without_scores_there_is_no_curve(browser, tmp_path, evidence, said):
    rows = make_rows({"a": np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)})
    evidence = evidence and {**EVIDENCE, "chosen": 1, **evidence}
    run = make_run({"a": numbers(["x", "y"])}, rows, n_clusters=1, evidence=evidence)
    write_report(tmp_path / "report.html", gather_report(run, rows))
    browser.get((tmp_path / "report.html").as_uri())
    assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
    assert "in 1 cluster." in text(browser, "#lead")
    assert "1\ncluster\n" in text(browser, "#tiles")
    assert not browser.find_elements(By.ID, "selection-plot")
    assert len(browser.find_elements(By.ID, "selection")) == (said is not None)
    assert said is None or said in text(browser, "#selection-note")


def test_another_training_curve_can_be_chosen(page):
    def drawn():
        traces = page.execute_script("return document.getElementById('training-plot').data")
        return {trace["name"]: (trace["x"], trace["y"]) for trace in traces}

    assert drawn() == {"training": ([1, 2, 3], [3, 2, 1.5]), "validation": ([1, 3], [3.5, 2])}
    select = page.find_element(By.ID, "quantity")
    select.send_keys("log p z")
    page.execute_script("arguments[0].dispatchEvent(new Event('change'))", select)
    assert drawn() == {"training": ([1, 2, 3], [-1, -2, -3])}


def test_the_keyboard_reaches_and_operates_everything(page, report):
    def focused():
        return page.switch_to.active_element

    focused().send_keys(Keys.TAB)
    assert focused().get_attribute("class") == "skip"
    assert focused().rect["x"] >= 0
    reached = []
    for _ in range(120):
        focused().send_keys(Keys.TAB)
        if focused().tag_name == "body":
            break
        outline = page.execute_script(
            "return getComputedStyle(document.activeElement).outlineStyle"
        )
        assert outline != "none", focused().get_attribute("outerHTML")
        reached.append(focused().get_attribute("outerHTML"))
    clickable = (
        "button:not(:disabled), a[href], select, summary, input:not([type=radio]), input:checked"
    )
    elements = [e for e in page.find_elements(By.CSS_SELECTOR, clickable) if e.is_displayed()]
    lacking = [
        html for html in (e.get_attribute("outerHTML") for e in elements[1:]) if html not in reached
    ]
    assert lacking == []
    # Every control says what it is.
    for element in elements:
        assert element.accessible_name, element.get_attribute("outerHTML")

    chip = page.find_element(By.CSS_SELECTOR, "#chips [data-cluster='2']")
    page.execute_script("arguments[0].focus()", chip)
    focused().send_keys(Keys.ENTER)
    assert shown_cards(page) == [2]
    assert chip.get_attribute("aria-pressed") == "true"
    key = page.find_element(By.CSS_SELECTOR, "#key [data-cluster='2']")
    page.execute_script("arguments[0].focus()", key)
    focused().send_keys(Keys.SPACE)
    assert shown_cards(page) == [0, 1, 2]
    assert focused().get_attribute("data-cluster") == "2"
    page.execute_script("document.querySelector('input[value=cluster]').focus()")
    focused().send_keys(Keys.ARROW_RIGHT)
    assert len(groups_of_map(page)) == max(report[1].samples.label) + 1
    page.execute_script("document.getElementById('pick').focus()")
    focused().send_keys(Keys.CONTROL, "a")
    focused().send_keys("sample 9", Keys.TAB)
    assert text(page, "#sample .title") == "sample 9"
    before = page.execute_script("return document.getElementById('map-plot').layout.xaxis.range")
    page.find_element(By.ID, "zoom-in").send_keys(Keys.ENTER)
    after = page.execute_script("return document.getElementById('map-plot').layout.xaxis.range")
    assert after[1] - after[0] == pytest.approx(0.7 * (before[1] - before[0]))


def test_a_member_is_shown_on_the_map(page, report):
    sample = report[1].clusters[2].nearest[1]
    card = "document.querySelectorAll('#cards .cluster')[2]"
    page.execute_script(f"{card}.querySelectorAll('.members button')[1].click()")
    assert text(page, "#sample .title") == report[1].samples.ids[sample]
    ring = page.execute_script("return document.getElementById('map-plot').data.at(-1)")
    assert (ring["x"][0], ring["y"][0]) == pytest.approx(
        (report[1].samples.x[sample], report[1].samples.y[sample]), rel=1e-4
    )


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_scrolls_down_only(browser, report, width):
    screen(browser, width, touch=True)
    browser.get(report[0].as_uri())
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = browser.execute_script(
        "return [...document.querySelectorAll('main > section, .card, .plot, .map > *')].filter("
        "(e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.id || e.className)"
    )
    assert wide == []
    cut = browser.execute_script(
        "return [...document.querySelectorAll('#overview .scroll, #cards .scroll')].filter("
        "(e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.ariaLabel)"
    )
    assert width < 390 or cut == []
    small = [
        b
        for b in browser.find_elements(By.CSS_SELECTOR, "button, select")
        if b.is_displayed() and b.rect["height"] < 24
    ]
    assert small == []


def test_dark_screens_get_a_dark_page(page):
    def colours():
        return page.execute_script(
            "return [getComputedStyle(document.body).backgroundColor,"
            "getComputedStyle(document.body).color,"
            "document.getElementById('map-plot').layout.font.color,"
            "document.querySelector('#map-plot .xtitle').style.fill]"
        )

    light = colours()
    screen(page, scheme="dark")
    wait_for(
        page,
        "return document.getElementById('map-plot').layout.font.color !== arguments[0]",
        light[2],
    )
    dark = colours()
    brightness = [[sum(map(int, c[4:-1].split(","))) for c in found[:2]] for found in (light, dark)]
    assert brightness[0][0] > 600 > 200 > brightness[0][1]
    assert brightness[1][0] < 200 < 600 < brightness[1][1]
    assert light[3] != dark[3]


def test_it_is_printed_light_and_within_the_paper(page, report):
    screen(page, scheme="dark")
    page.execute_script(
        """
        addEventListener("beforeprint", () => {
            const l = document.getElementById("map-plot").layout;
            window.printed = [l.font.color, l.width];
        });
        """
    )
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") >= 2
    assert page.execute_script("return window.printed") == [
        json.loads(report[0].read_text().split('id="report-data">')[1].split("</script>")[0])[
            "themes"
        ]["light"]["ink"],
        680,
    ]
    # After it the screen is as before.
    assert page.execute_script("return document.getElementById('map-plot').layout.autosize")
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    colours = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert colours == "rgb(255, 255, 255)"
    # The printable width of A4. Nothing can be scrolled on paper.
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 703, "height": 1000, "deviceScaleFactor": 1, "mobile": False},
    )
    cut = page.execute_script(
        "dispatchEvent(new Event('beforeprint'));"
        "return [...document.querySelectorAll('.scroll, .card, .plot')]"
        ".filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.id || e.className)"
    )
    assert cut == []
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    hidden = [
        page.find_element(By.ID, i).is_displayed() for i in ("chips", "zoom-in", "contents", "pick")
    ]
    assert not any(hidden)


def test_a_report_of_little_shows_no_empty_sections(browser, tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    rows = make_rows({"a": values})
    run = make_run({"a": numbers("xyz")}, rows, n_clusters=2)
    write_report(tmp_path / "small.html", gather_report(run, rows))
    screen(browser)
    browser.get_log("browser")
    browser.get((tmp_path / "small.html").as_uri())
    sections = [
        s.get_attribute("id") for s in browser.find_elements(By.CSS_SELECTOR, "main > section")
    ]
    assert sections == ["overview", "map", "clusters"]
    assert browser.get_log("browser") == []
    assert np.isin(
        sections,
        [
            a.get_attribute("href").split("#")[1]
            for a in browser.find_elements(By.CSS_SELECTOR, "nav a")
        ],
    ).all()


def test_the_panel_of_a_sample_is_not_scrolled_sideways(page):
    widths = (
        "const p = document.getElementById(arguments[0]); return [p.scrollWidth, p.clientWidth]"
    )
    move_mouse_to(page, 6)
    wait_for(page, "return !document.getElementById('tip').hidden")
    for name in ("sample-panel", "tip"):
        needed, given = page.execute_script(widths, name)
        assert needed <= given, name
