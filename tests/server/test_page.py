"""The page in a real Chromium: desktop and phone, light and dark, keyboard, stop, safety."""

import os
import pathlib
import shutil
import time

import pytest

selenium = pytest.importorskip("selenium")
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SCREENS = os.environ.get("OCTET_SCREENS")
DESKTOP, PHONE = (1280, 800), (390, 844)

MARKDOWN = """Here is **bold** and `code <b>x</b>`.

- first
- second <img src=x onerror="document.title='broken in'">

```python
def f(x):
    return x < 1
```
<script>document.title = 'broken in'</script> The end."""


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver (Debian: chromium, chromium-driver) are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture
def page(browser, server):
    def open_page(size=DESKTOP, scheme="light"):
        width, height = size
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
        )
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        browser.get(server.url + "/")
        browser.execute_script("localStorage.clear(); sessionStorage.clear();")
        browser.get_log("browser")
        browser.refresh()
        until(browser, lambda: browser.find_element(By.ID, "model").text != "" or size == PHONE)
        return browser

    yield open_page
    # Whatever a test did: nothing was blocked by the Content-Security-Policy, and no script failed.
    problems = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [p for p in problems if "401" not in p["message"]], problems


def until(browser, condition, seconds=20):
    WebDriverWait(browser, seconds, poll_frequency=0.05).until(lambda _: condition())


def picture(browser, name):
    if SCREENS:
        folder = pathlib.Path(SCREENS)
        folder.mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(folder / f"{name}.png"))


def ask(browser, text):
    box = browser.find_element(By.ID, "input")
    for i, line in enumerate(text.split("\n")):
        if i:
            box.send_keys(Keys.SHIFT, Keys.ENTER)
        box.send_keys(line)
    box.send_keys(Keys.ENTER)


def idle(browser):
    return browser.find_element(By.ID, "log").get_attribute("aria-busy") == "false"


def answers(browser):
    return browser.find_elements(By.CSS_SELECTOR, ".message.assistant")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_chat(page, fake, size, scheme):
    browser = page(size, scheme)
    name = f"{'phone' if size == PHONE else 'desktop'}-{scheme}"
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("data-theme") == scheme
    assert browser.switch_to.active_element.get_attribute("id") == "input"
    picture(browser, f"{name}-welcome")
    ask(browser, "Show me what you can do. say:" + MARKDOWN)
    until(browser, lambda: idle(browser) and answers(browser))
    body = answers(browser)[0].find_element(By.CLASS_NAME, "body")
    assert body.find_element(By.TAG_NAME, "strong").text == "bold"
    assert body.find_element(By.CSS_SELECTOR, "p code").text == "code <b>x</b>"
    assert [li.text for li in body.find_elements(By.TAG_NAME, "li")][0] == "first"
    assert body.find_element(By.CSS_SELECTOR, "pre code").text == "def f(x):\n    return x < 1"
    # What looks like HTML is text.
    assert "<script>document.title" in body.text and "<img src=x" in body.text
    assert not body.find_elements(By.CSS_SELECTOR, "script, img, b")
    assert browser.title.startswith("Octet")
    assert "tok/s" in browser.find_element(By.ID, "speed").text
    assert browser.find_element(By.ID, "first").text.endswith("s")
    assert "%" in browser.find_element(By.ID, "kv").text
    assert "running" in browser.find_element(By.ID, "queue").text
    width = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0, "the page is wider than the window"
    picture(browser, f"{name}-chat")
    browser.find_element(By.ID, "open-settings").click()
    picture(browser, f"{name}-settings")
    browser.find_element(By.ID, "temperature").send_keys(Keys.ESCAPE)


@pytest.mark.parametrize("size, scheme", [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_an_idea_is_asked_and_answered(page, size, scheme):
    browser = page(size, scheme)
    browser.find_element(By.CSS_SELECTOR, ".ideas button").click()
    until(browser, lambda: answers(browser) and idle(browser), 120)
    assert "tokens" in answers(browser)[0].find_element(By.CLASS_NAME, "message-foot").text
    assert not browser.find_element(By.ID, "welcome").is_displayed()
    picture(browser, f"{'phone' if size == PHONE else 'desktop'}-{scheme}-answer")


def test_names_the_model_and_scheme(page, client):
    browser = page()
    assert browser.find_element(By.ID, "model").text == client.models.list().data[0].id
    assert browser.find_element(By.ID, "scheme").text


def test_stop_by_key_and_button(page, fake):  # a real model may end its story before anybody stops it
    browser = page()
    browser.find_element(By.ID, "open-settings").click()
    field = browser.find_element(By.ID, "max-tokens")
    field.clear()
    field.send_keys("3000", Keys.ENTER)
    for stop in ("key", "button"):
        n = len(answers(browser))
        ask(browser, "Tell me a very long story, and go on and on.")
        until(browser, lambda: len(answers(browser)) == n + 1 and len(answers(browser)[-1].text) > 5)
        assert browser.find_element(By.ID, "stop").is_displayed()
        picture(browser, f"desktop-light-streaming-{stop}")
        if stop == "key":
            browser.find_element(By.ID, "input").send_keys(Keys.ESCAPE)
        else:
            browser.find_element(By.ID, "stop").click()
        until(browser, lambda: idle(browser))
        assert "stopped" in answers(browser)[-1].text
        assert browser.find_element(By.ID, "send").is_displayed()


def test_settings_reach_the_server_and_stay(page, fake):
    browser = page()
    browser.find_element(By.ID, "open-settings").click()
    browser.find_element(By.ID, "system").send_keys("Be brief.")
    field = browser.find_element(By.ID, "max-tokens")
    field.clear()
    field.send_keys("5", Keys.ENTER)
    until(browser, lambda: not browser.find_element(By.ID, "settings").is_displayed())
    ask(browser, "say:0123456789")
    until(browser, lambda: idle(browser) and answers(browser))
    assert answers(browser)[0].find_element(By.CLASS_NAME, "body").text == "01234"
    assert "cut at the longest answer" in answers(browser)[0].text
    browser.refresh()
    browser.find_element(By.ID, "open-settings").click()
    assert browser.find_element(By.ID, "system").get_attribute("value") == "Be brief."
    assert browser.find_element(By.ID, "max-tokens").get_attribute("value") == "5"


def test_theme_toggle_stays(page):
    browser = page()
    browser.find_element(By.ID, "theme").click()
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("data-theme") == "dark"
    browser.refresh()
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("data-theme") == "dark"


def test_shift_enter_and_new_chat(page, fake):
    browser = page()
    ask(browser, "say:one\ntwo")
    until(browser, lambda: idle(browser) and answers(browser))
    assert answers(browser)[0].find_element(By.CLASS_NAME, "body").text == "one\ntwo"
    browser.find_element(By.ID, "new").click()
    assert not answers(browser)
    assert browser.find_element(By.ID, "welcome").is_displayed()


def test_an_error_is_shown(page, fake):
    browser = page()
    browser.find_element(By.ID, "open-settings").click()
    field = browser.find_element(By.ID, "max-tokens")
    field.clear()
    field.send_keys("99999")
    browser.find_element(By.CSS_SELECTOR, "#settings .primary").click()
    time.sleep(0.1)
    if browser.find_element(By.ID, "settings").is_displayed():  # the browser itself refused the number
        assert int(field.get_attribute("max")) < 99999
        field.send_keys(Keys.ESCAPE)
        return
    ask(browser, "hello")
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".problem"))
    assert "max_tokens" in browser.find_element(By.CSS_SELECTOR, ".problem").text


def test_controls_have_names(page):
    browser = page()
    for button in browser.find_elements(By.CSS_SELECTOR, "header button, footer button"):
        assert button.accessible_name or not button.is_displayed(), button.get_attribute("outerHTML")
    assert browser.find_element(By.ID, "input").accessible_name == "Message"
    browser.find_element(By.ID, "open-settings").click()
    for field in browser.find_elements(By.CSS_SELECTOR, "#settings input, #settings textarea"):
        assert field.accessible_name, field.get_attribute("outerHTML")


def test_api_key(browser, start_server, page):
    page()
    locked = start_server("--api-key", "secret")
    browser.get(locked.url + "/")
    until(browser, lambda: "API key is needed" in browser.find_element(By.ID, "model").text)
    browser.find_element(By.ID, "open-settings").click()
    browser.find_element(By.ID, "key").send_keys("secret", Keys.ENTER)
    until(browser, lambda: "API key" not in browser.find_element(By.ID, "model").text)
