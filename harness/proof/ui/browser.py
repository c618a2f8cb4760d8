"""Looks at pages in a headless Chromium. Run by a tool environment's Python.

``python browser.py REQUEST ANSWER`` reads the request, a JSON object with ``program``, ``driver``,
``seconds`` and ``visits``, each ``{"url", "picture", "link", "lines", "text", "frame"}``, and
writes the answer, a JSON list with a sentence for each visit: what was not seen, or nothing.

A visit waits until the page shows a link to the path ``link``, each of ``lines`` as a line of its
own, ``text`` anywhere, and, where ``frame`` is part of an address, a frame from there that has
text; whatever it shows by then is in the file ``picture``. It imports nothing of the harness.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

_FLAGS = (
    # Chromium refuses root, whom CI containers run as, unless it does without its sandbox.
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # /dev/shm is 64 MB in a container, too little for a page.
    *("--disable-dev-shm-usage", "--window-size=1400,1200"),
)


class Visit(TypedDict):
    """What one visit asks for; see above."""

    url: str
    picture: str
    link: str
    lines: list[str]
    text: str
    frame: str


@contextmanager
def chromium(program: str, driver: str) -> Iterator[webdriver.Chrome]:
    """Start a browser with an empty profile, and end it."""
    options = webdriver.ChromeOptions()
    options.binary_location = program
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            yield browser
        finally:
            browser.quit()


def missing(browser: webdriver.Chrome, visit: Visit) -> str:
    """Return what the page does not show yet, in words; empty when it shows all."""
    body = browser.find_element(By.TAG_NAME, "body").text
    lines = [line.strip() for line in body.splitlines()]
    if visit["link"] and not any(
        urlsplit(anchor.get_attribute("href") or "").path == visit["link"] and anchor.is_displayed()
        for anchor in browser.find_elements(By.TAG_NAME, "a")
    ):
        return f"no link to {visit['link']}"
    for line in visit["lines"]:
        if line not in lines:
            return f"no line {line!r}"
    if visit["text"] not in body:
        return f"no text {visit['text']!r}"
    return missing_frame(browser, visit["frame"]) if visit["frame"] else ""


def missing_frame(browser: webdriver.Chrome, address: str) -> str:
    """Return what is wrong with the frame; it is scrolled to, as a person does."""
    frames = browser.find_elements(By.TAG_NAME, "iframe")
    found = [frame for frame in frames if address in (frame.get_attribute("src") or "")]
    if not found:
        return f"no frame of {address}"
    browser.execute_script("arguments[0].scrollIntoView()", found[0])
    browser.switch_to.frame(found[0])
    try:
        return "" if browser.find_element(By.TAG_NAME, "body").text.strip() else "an empty frame"
    finally:
        browser.switch_to.default_content()


def look(browser: webdriver.Chrome, visit: Visit, seconds: float) -> str:
    """Visit a page; return what it does not show, and keep its picture."""
    last = "nothing"

    def whole(_: object) -> bool:
        nonlocal last
        try:
            last = missing(browser, visit)
        except WebDriverException as error:
            # The page redraws itself meanwhile: an element that was found is gone again.
            last = f"no settled page ({type(error).__name__})"
        return not last

    try:
        browser.get(visit["url"])
        with suppress(TimeoutException):
            WebDriverWait(browser, seconds / 2).until(whole)
            return ""
        # A page shows a card or a log that its backend had not ready as empty until it is opened
        # anew; a person does that, too.
        browser.refresh()
        WebDriverWait(browser, seconds / 2).until(whole)
    except TimeoutException:
        return f"shows {last} within {seconds:g} s"
    except WebDriverException as error:
        return f"cannot be opened: {str(error.msg).splitlines()[0]}"
    finally:
        browser.save_screenshot(visit["picture"])
    return ""


def main(request_file: str, answer_file: str) -> None:
    """Make all visits."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    with chromium(request["program"], request["driver"]) as browser:
        answers = [look(browser, visit, request["seconds"]) for visit in request["visits"]]
    Path(answer_file).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
