"""How long the viewer of a page takes until the first lesion is seen, in headless Chromium.

    python -m benchmarks.first_lesion --home FOLDER

Of the patients' and board pages of a home that was run: the smallest, the middle and the largest,
from the file. Counted from the start of the navigation until the middle of a canvas holds a pixel;
the faster of three, as whatever else runs makes a page only slower.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from playwright.sync_api import sync_playwright

ROUNDS = 3
LONGEST_SECONDS = 30

WATCH = """
(() => {
  const middle = (c) => c.getContext('2d').getImageData(c.width >> 1, c.height >> 1, 1, 1).data;
  const look = () => {
    const painted = [...document.querySelectorAll('canvas')].some((c) => middle(c)[3]);
    if (painted) window.firstLesion = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()
"""


def chosen(folder: Path) -> list[Path]:
    """The smallest, the middle and the largest page with a viewer."""
    pages = [p for p in folder.rglob("*.html") if "<canvas" in p.read_text(encoding="utf-8")]
    by_size = sorted(pages, key=lambda page: page.stat().st_size)
    return [by_size[0], by_size[len(by_size) // 2], by_size[-1]] if by_size else []


def seconds(browser, page: Path) -> float:
    """From the start of the navigation until a lesion is painted."""
    context = browser.new_context(bypass_csp=True)  # the page allows no script but its own
    tab = context.new_page()
    tab.add_init_script(WATCH)
    tab.goto(page.resolve().as_uri())
    tab.wait_for_function("window.firstLesion", timeout=1000 * LONGEST_SECONDS)
    found = tab.evaluate("window.firstLesion")
    context.close()
    return found / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="a home that has been run")
    reports = parser.parse_args().home / "reports"
    print(f"load of the machine {os.getloadavg()[1]:.1f}\n")
    print("| page | MB | first lesion after, s |\n|---|---:|---:|")
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--headless", "--no-sandbox"]
        )
        for kind in ("patients", "board"):
            for page in chosen(reports / kind):
                best = min(seconds(browser, page) for _ in range(ROUNDS))
                print(f"| {kind} | {page.stat().st_size / 1e6:.1f} | {best:.2f} |")
        browser.close()


if __name__ == "__main__":
    main()
