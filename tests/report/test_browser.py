"""The page in a real browser, opened from disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from harness.core.entries import Inferred
from harness.core.journal import read
from harness.core.view import View
from harness.report.html import render_html
from tests.report import browser as browsers
from tests.report import journals

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (browsers.PROGRAM and browsers.DRIVER), reason="Chromium and chromedriver are not there"
    ),
]
RED = "compat/2.2.13/reference-2.3/local/basics"
RED_LINE = (
    "nox -s compat -- --metaflow 2.2.13 --service reference-2.3 --probe basics --datastore local"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def page(results: Path, chromium: webdriver.Chrome) -> Iterator[Page]:
    file = results / "report.html"
    file.write_text("".join(render_html(View(read(results)), results)), encoding="utf-8")
    opened = Page(chromium, file.as_uri())
    opened.open()
    yield opened
    assert opened.complaints() == []


class Page:
    """What a reader does with the report."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser = browser
        self.address = address

    def open(self, state: str = "") -> None:
        self.browser.get("about:blank")
        self.browser.get(self.address + state)

    def all(self, selector: str) -> list[str]:
        found = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return [element.text for element in found if element.is_displayed()]

    def one(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def until(self, condition) -> None:
        WebDriverWait(self.browser, 10).until(lambda _: condition())

    def square(self, client: str, column: int):
        for row in self.browser.find_elements(By.CSS_SELECTOR, ".squares tbody tr"):
            if row.find_element(By.TAG_NAME, "th").text == client:
                return row.find_elements(By.TAG_NAME, "td")[column]
        raise AssertionError(f"no row of {client}")

    def shown(self) -> str:
        return self.one("#shown").text

    def colour(self, selector: str) -> str:
        return self.one(selector).value_of_css_property("background-color")

    def complaints(self) -> list[str]:
        return [line["message"] for line in self.browser.get_log("browser")]


def test_the_grid_is_there_and_nothing_ran_that_a_flow_printed(page: Page):
    assert page.all(".squares tbody th") == list(journals.CLIENTS)
    assert page.all(".squares thead th")[1:] == ["1.0", "2.0", "2.3", "2.5"]
    assert page.square("2.2.13", 2).text == "✗ fail (1 ✗ 2 ✓)"
    assert page.browser.title.endswith("Metaflow compatibility")


def test_filtering_by_status_keeps_the_rows_that_have_it_and_is_in_the_address(page: Page):
    page.one('[data-status="fail"]').click()
    assert page.all(".squares tbody th") == ["2.2.13"]
    assert page.all(".squares thead th")[1:] == ["2.3", "2.5"]
    assert page.shown() == "2 of 16 squares"
    assert page.browser.current_url.endswith("#status=fail")
    assert page.one('[data-status="fail"]').get_attribute("aria-pressed") == "true"
    page.one('[data-status="fail"]').click()
    assert page.shown() == "16 squares"


def test_filtering_by_versions_check_and_text(page: Page):
    page.one("[name=client]").send_keys(">=2.2,<2.19")
    page.one("[name=service]").send_keys("2.3")
    page.until(lambda: page.shown() == "2 of 16 squares")
    assert page.all(".squares tbody th") == ["2.2.13", "2.7.23"]
    Select(page.one("[name=check]")).select_by_visible_text("logs")
    page.until(lambda: page.square("2.2.13", 2).text == "✓ pass")
    page.one("[type=reset]").click()
    page.until(lambda: page.shown() == "16 squares")
    page.one("[name=text]").send_keys("DOCUMENT.title")
    page.until(lambda: page.shown() == "2 of 16 squares")


def test_a_probe_can_be_looked_at_alone(page: Page):
    Select(page.one("[name=probe]")).select_by_visible_text("hello")
    page.until(lambda: page.square("2.2.13", 2).text == "· not-run")
    assert page.square("2.7.23", 3).text == "✓ pass"


def test_a_link_shows_the_same_again(page: Page):
    page.open("#client=2.2&status=fail&check=tags&text=bold")
    assert page.one("[name=client]").get_attribute("value") == "2.2"
    assert page.one("[name=check]").get_attribute("value") == "tags"
    assert page.all(".squares tbody th") == ["2.2.13"]
    assert page.shown() == "2 of 16 squares"


def test_a_red_cell_opens_its_evidence_as_text(page: Page):
    page.square("2.2.13", 2).click()
    dialog = page.one("dialog[open]")
    assert "client 2.2.13 × reference-2.3" in dialog.text
    assert "document.title='owned'" in page.one("dialog pre").text
    assert page.all("dialog .checks .mark") == ["✓ pass", "✗ fail", "✓ pass"]
    assert [text.split("\n")[0] for text in page.all("dialog summary")] == [
        "client output: the flow logs/cells/compat__2.2.13__reference-2.3__local__basics/flow.txt",
        "service log logs/cells/compat__2.2.13__reference-2.3__local__basics/service.txt",
        "rows in the database logs/cells/compat__2.2.13__reference-2.3__local__basics/rows.json",
    ]
    assert not page.browser.find_elements(By.CSS_SELECTOR, "dialog b, dialog script")


def test_the_rerun_line_is_copied_whole(page: Page):
    page.browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]}
    )
    page.open(f"#cell={RED}")
    button = page.one("dialog .rerun button")
    button.click()
    page.until(lambda: button.text == "Copied")
    read_clipboard = "navigator.clipboard.readText().then(arguments[0])"
    assert page.browser.execute_async_script(read_clipboard) == RED_LINE


def test_a_permalink_opens_its_cell_and_closing_returns_to_the_grid(page: Page):
    page.open(f"#cell={RED}")
    assert page.one("#panel-title").text == "client 2.2.13 × reference-2.3"
    assert page.browser.switch_to.active_element.get_attribute("id") == "panel-title"
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog[open]"))
    assert "cell=" not in page.browser.current_url
    assert page.browser.switch_to.active_element.text == "✗ fail (1 ✗ 2 ✓)"


def test_back_closes_what_a_click_opened(page: Page):
    page.square("2.2.13", 2).click()
    assert page.browser.current_url.endswith(f"#cell={RED}")
    page.browser.back()
    page.until(lambda: not page.all("dialog[open]"))


def test_the_keyboard_alone_reaches_a_red_cell(page: Page):
    page.browser.execute_script("document.querySelector('.squares td[tabindex]').focus()")
    keys = [Keys.ARROW_DOWN, Keys.END, Keys.ARROW_LEFT]
    for key in keys:
        page.browser.switch_to.active_element.send_keys(key)
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.one("#panel-title").text == "client 2.2.13 × reference-2.3"
    assert len(page.browser.find_elements(By.CSS_SELECTOR, ".squares td[tabindex]")) == 1


def test_light_and_dark_follow_the_system_until_the_button_is_pressed(page: Page):
    colours = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        page.open(f"#cell={RED}")
        colours[scheme] = page.colour("html")
        assert "✗ fail" in page.one("dialog").text
        page.one("#close").click()
    assert colours["light"] != colours["dark"]
    page.one("#theme").click()
    assert page.colour("html") == colours["light"]
    assert page.one("#theme").text == "Dark"
    page.browser.execute_script("localStorage.clear()")
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_not_run_is_white_in_both_themes(page: Page):
    for scheme in ("light", "dark"):
        page.browser.execute_script(f"document.documentElement.style.colorScheme = '{scheme}'")
        assert page.colour("td.not-run") == "rgba(255, 255, 255, 1)"


def test_a_stage_opens_its_own_grid(tmp_path: Path, chromium: webdriver.Chrome):
    entries = journals.write(
        tmp_path,
        [
            journals.cell(client, service, session="fixed_db", stage=number)
            for client in journals.CLIENTS
            for number, service in enumerate(journals.SERVICES, start=1)
        ],
        stages=[journals.stage(n, s) for n, s in enumerate(journals.SERVICES, start=1)],
    )
    file = tmp_path / "report.html"
    file.write_text("".join(render_html(entries, tmp_path)), encoding="utf-8")
    page = Page(chromium, file.as_uri())
    page.open()
    page.one('[data-stage$=" 2"]').click()
    assert "Rolling back to" in page.one("dialog").text
    assert page.one("#panel-title").text == "stage 2 reference-2.0"
    assert page.all("dialog .checks thead th") == ["Client", "run", "tags", "logs"]
    assert len(page.all("dialog .checks tbody tr")) == len(journals.CLIENTS)
    page.one("dialog .checks a").click()
    page.until(lambda: page.one("#panel-title").text == "client 2.0.5 × reference-2.0")
    assert page.complaints() == []


def test_it_prints_without_its_controls(page: Page):
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not page.one("#filters").is_displayed()
        assert page.one("table.squares").is_displayed()
        assert page.colour("td.fail") == "rgba(198, 40, 40, 1)"
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_one_grid_of_several_can_be_looked_at_alone(tmp_path: Path, chromium: webdriver.Chrome):
    cells = [journals.cell("2.0.5", "v2.3.0", datastore=kind) for kind in ("local", "s3")]
    file = tmp_path / "report.html"
    file.write_text(
        "".join(render_html(journals.write(tmp_path, cells), tmp_path)), encoding="utf-8"
    )
    page = Page(chromium, file.as_uri())
    page.open("#grid=compat · s3 data")
    shown = page.all("section.grid:not([hidden]) h2")
    assert [title.partition(" client")[0] for title in shown] == ["compat · s3 data"]
    assert page.one("#shown").text == "1 of 2 squares"
    page.open("#")
    assert len(page.all("section.grid:not([hidden]) h2")) == 2


def test_what_is_inferred_is_marked_in_its_square_and_panel(tmp_path: Path, chromium):
    guessed = msgspec.structs.replace(
        journals.cell("2.19.39", "v2.4.2"), inferred=Inferred(beside=["its neighbour"])
    )
    view = journals.write(tmp_path, [guessed, journals.cell("2.19.39", "v2.5.1")])
    file = tmp_path / "report.html"
    file.write_text("".join(render_html(view, tmp_path)), encoding="utf-8")
    page = Page(chromium, file.as_uri())
    page.open()
    square, ran = (page.square("2.19.39", column) for column in (0, 1))
    assert square.text.startswith("✓ pass inferred")
    assert square.get_attribute("class") == "pass inferred"
    assert (ran.text.startswith("✓ pass ("), ran.get_attribute("class")) == (True, "pass")
    square.click()
    page.until(lambda: page.one("#panel").is_displayed())
    assert "inferred, not run: as its neighbour" in page.one("#panel").text
    assert page.complaints() == []
