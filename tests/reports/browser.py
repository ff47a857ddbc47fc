"""Pages opened in a real browser: what it shows, prints and complains of."""

from __future__ import annotations

import contextlib
import random
import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

CHINESE = re.compile(r"[\u4e00-\u9fff]")


@contextlib.contextmanager
def chromium():
    """The browser of the system, without a screen; its driver draws numbers of its own."""
    state = random.getstate()
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()
    random.setstate(state)


class Opened:
    """A page that is open, with everything it asked for and complained of."""

    def __init__(self, browser, file, **more):
        self.context = browser.new_context(viewport={"width": 1180, "height": 900}, **more)
        self.page = self.context.new_page()
        self.faults, self.asked = [], []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self.asked.append(request.url[:30]))
        self.page.goto(file.as_uri())

    def _hear(self, message):
        if message.type == "error":
            self.faults.append(message.text)

    def violations(self):
        found = Axe().run(self.page).response["violations"]
        return {v["id"]: [n["html"][:90] for n in v["nodes"]][:3] for v in found}

    def choose(self, language):
        self.page.check(f"#in-{language}")

    def sheets(self):
        pdf = self.page.pdf(prefer_css_page_size=True)
        return len(re.findall(rb"/Type\s*/Page\b", pdf))

    def width_on_a_phone(self, width=360):
        self.page.set_viewport_size({"width": width, "height": 740})
        return self.page.evaluate("document.documentElement.scrollWidth")

    def close(self):
        self.context.close()
