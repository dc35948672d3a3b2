"""The page in a real browser, from the disk: its console is empty, and what can be turned or clicked works."""

import shutil
import time

import pytest

selenium = pytest.importorskip("selenium.webdriver")
pytest.importorskip("plotly")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no chromium with its chromedriver is here")
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,1000"
SECONDS = 240  # on a busy machine


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    """A browser with the page in it, once all charts are drawn."""
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
    try:
        found.set_page_load_timeout(SECONDS)
        found.set_script_timeout(SECONDS)
        load(found, page)
        yield found
    finally:
        found.quit()


def load(browser, page):
    browser.get(page.as_uri())
    wait(browser, "return all('.plot').filter(isShown).every((plot) => plot.dataset.drawn)")


def wait(browser, script, *arguments):
    """Waits until a script returns something true, and returns that."""
    end = time.monotonic() + SECONDS
    while not (found := browser.execute_script(script, *arguments)):
        assert time.monotonic() < end, script
        time.sleep(0.2)
    return found


def picture(browser, canvas):
    """What is on a canvas."""
    return browser.execute_script("return arguments[0].toDataURL()", canvas)


def find(browser, selector):
    element = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    return element


def drag(browser, element, across, down=0):
    actions = selenium.ActionChains(browser)
    actions.move_to_element(element).click_and_hold().move_by_offset(across, down).release().perform()


def test_every_chart_is_drawn(browser, page):
    drawn = browser.execute_script(
        "return all('.plot').filter(isShown).map((p) => p.querySelectorAll('svg.main-svg').length)"
    )
    assert len(drawn) >= 8 and all(drawn)
    empty = (
        "return all('.plot').filter(isShown).map((p) => [p.id, p.querySelector('.trace, .heatmaplayer image')])"
        ".filter((pair) => !pair[1]).map((pair) => pair[0])"
    )
    assert browser.execute_script(empty) == []


def test_a_cloud_turns_when_it_is_dragged_and_with_the_keys(browser):
    canvas = find(browser, '#reconstruction-0 canvas[data-part="input"]')
    other = browser.find_element("css selector", '#reconstruction-0 canvas[data-part="rebuilt"]')
    before = picture(browser, canvas), picture(browser, other)
    drag(browser, canvas, 60)
    after = picture(browser, canvas), picture(browser, other)
    assert before[0] != after[0] and before[1] != after[1]  # all turn together
    canvas.send_keys("\ue012")  # to the left
    assert picture(browser, canvas) != after[0]
    canvas.send_keys("\ue011")  # Home
    assert picture(browser, canvas) == before[0]


def test_the_slider_changes_what_is_hidden(browser):
    canvas, said = (
        find(browser, '#reconstruction-0 canvas[data-part="visible"]'),
        find(browser, "#reconstruction-0 .said"),
    )
    before, words = picture(browser, canvas), said.text
    find(browser, "#reconstruction-0 .ratio").send_keys("\ue014")  # to the right
    assert picture(browser, canvas) != before and said.text != words and "Chamfer distance" in said.text


def test_a_click_on_the_map_shows_the_object(browser):
    plot = find(browser, '[data-figure="map-0"]')
    canvas = browser.find_element("css selector", 'canvas[data-map="map-0"]')
    said = browser.find_element("css selector", 'p[data-map="map-0"]')
    before, words = picture(browser, canvas), said.text
    # An object in the last class, at its place on the screen.
    place = browser.execute_script(
        "const p = arguments[0], t = p._fullData.length - 1, box = p.getBoundingClientRect(), l = p._fullLayout;"
        "const x = l.xaxis.d2p(p._fullData[t].x[0]) + l.xaxis._offset;"
        "const y = l.yaxis.d2p(p._fullData[t].y[0]) + l.yaxis._offset;"
        "return [Math.round(x - box.width / 2), Math.round(y - box.height / 2), p.data[t].name]",
        plot,
    )
    selenium.ActionChains(browser).move_to_element_with_offset(plot, *place[:2]).click().perform()
    wait(browser, "return arguments[0].textContent !== arguments[1]", said, words)
    assert picture(browser, canvas) != before and ":" in said.text
    select = browser.find_element("css selector", 'select[data-map="map-0"]')
    chosen = browser.execute_script("return arguments[0].selectedOptions[0].textContent", select)
    assert said.text.startswith(chosen)


def test_the_layer_changes_the_attention(browser):
    canvas = find(browser, "#attention-0 canvas")
    # Two epochs teach the miniature little: what is drawn differs less than the eye sees.
    levels = "return Array.from(CloudView.all.find((view) => view.canvas === arguments[0]).layers[0].levels).join()"
    before = browser.execute_script(levels, canvas)
    find(browser, "#attention-0 .layer").send_keys("\ue012")
    assert browser.execute_script(levels, canvas) != before
    assert "layer 1 of 2" in find(browser, "#attention-0 .said").text


def test_another_file_of_predictions_is_drawn_when_chosen(browser):
    select = find(browser, "#predictions select")
    select.send_keys("\ue015")  # down
    wait(
        browser,
        "return all('.plot', document.getElementById('predictions')).filter(isShown).every((p) => p.dataset.drawn)",
    )
    shown = "return all('#predictions .panel').map((panel) => panel.hidden)"
    assert browser.execute_script(shown) == [True, False]


def test_light_and_dark(browser):
    colors = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    light = browser.execute_script(colors)
    find(browser, "#theme").click()
    dark = browser.execute_script(colors)
    assert light == ["rgb(255, 255, 255)", "rgb(29, 39, 51)"] and dark == ["rgb(20, 24, 29)", "rgb(230, 235, 240)"]
    text = "return getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    wait(browser, f"{text} === 'rgb(230, 235, 240)'")
    find(browser, "#theme").click()
    wait(browser, f"{text} === 'rgb(29, 39, 51)'")


def test_on_a_phone_nothing_sticks_out(browser, page):
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    system = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", system)
    browser.execute_script("sessionStorage.clear()")
    load(browser, page)
    assert browser.execute_script("return document.documentElement.dataset.theme") == "dark"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    wide = (
        "return all('main *').filter((e) => e.getBoundingClientRect().right > innerWidth + 1 &&"
        " !e.closest('.scroll, pre, .unseen')).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert browser.execute_script(wide) == []


def test_nothing_is_wrong_in_the_console(browser):
    """Last: after all that was done above."""
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []
