"""JupyterLab in a real browser: maps and model are drawn, and no other machine is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.tmp.explore.conftest import DRAWN, WAIT_MS
from tmp.explore import lab
from tmp.survey import Survey

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@dataclass(kw_only=True)
class Seen:
    """What a page asked for, and what it complained of."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def hosts(self) -> set[str | None]:
        """Return the hosts that were asked."""
        return {urlsplit(one).hostname for one in self.requests if one.startswith(("http", "ws"))}


@pytest.fixture
def opened(walled: Survey) -> Iterator[lab.Lab]:
    """JupyterLab on the survey."""
    notebooks = walled.folder / lab.FOLDER
    lab.copy_notebooks(notebooks)
    with lab.serve_lab(
        walled.folder, notebooks, first="02_first_look.ipynb", port=lab.choose_port(None)
    ) as running:
        yield running


def run_all(browser: Any, address: str, *, width: int = 1400, height: int = 2400) -> Any:
    """Open a notebook, run all of it, and return its page with what was seen on it."""
    page = browser.new_page(viewport={"width": width, "height": height})
    seen = Seen()
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("websocket", lambda socket: seen.requests.append(socket.url))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on(
        "console",
        lambda said: seen.complaints.append(said.text) if said.type == "error" else None,
    )
    page.goto(f"{address}&reset")
    page.wait_for_selector("text=| Idle", timeout=WAIT_MS)
    page.click('.lm-MenuBar-itemLabel:text-is("Run")')
    page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
    return page, seen


def test_the_first_look_shows_its_tiles_and_asks_nobody(
    browser: Any, opened: lab.Lab, tmp_path: Path
) -> None:
    page, seen = run_all(browser, opened.address)
    page.wait_for_function(f"{DRAWN} >= 5", timeout=WAIT_MS)
    maps = page.locator(".tmp-map")
    assert maps.count() == 2
    assert maps.first.locator(".tmp-view").count() == 3
    # The pointer tells coordinates in the survey's CRS, and what lies below it.
    box = maps.first.locator(".tmp-view").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function(
        "/EPSG:32627/.test(document.querySelector('.tmp-said').textContent)"
        " && /Surface \\(DSM\\): \\d+/.test(document.querySelector('.tmp-said').textContent)",
        timeout=WAIT_MS,
    )
    assert seen.hosts() == {"127.0.0.1"}
    assert seen.complaints == []
    page.close()


def test_a_line_drawn_in_the_browser_is_measured(browser: Any, opened: lab.Lab) -> None:
    page, seen = run_all(
        browser, opened.address.replace("02_first_look", "03_find_the_walls"), height=2600
    )
    page.wait_for_function(f"{DRAWN} >= 1", timeout=WAIT_MS)
    page.wait_for_selector("text=| Idle", timeout=WAIT_MS)
    held = page.locator(".tmp-map").first
    held.locator("button:text-is('Line')").click()
    box = held.locator(".tmp-view").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.click(box["x"] + box["width"] * 0.4, middle)
    page.mouse.dblclick(box["x"] + box["width"] * 0.5, middle)
    third = held.locator(".tmp-drawn li").nth(2)
    third.wait_for(timeout=WAIT_MS)
    assert "Line: length" in third.inner_text()
    # By keyboard: a shape's name, and its removal.
    third.locator("input").fill("bank")
    third.locator("button").press("Enter")
    page.wait_for_function("document.querySelectorAll('.tmp-drawn li').length == 2")
    assert seen.complaints == []
    page.close()


def test_the_model_is_drawn_lit_and_cut(browser: Any, opened: lab.Lab) -> None:
    page, seen = run_all(browser, opened.address.replace("02_first_look", "04_the_model"))
    page.wait_for_selector(".tmp-said:has-text('a click tells the place')", timeout=WAIT_MS)
    page.wait_for_timeout(1000)
    canvas = page.locator(".tmp-map canvas")
    whole = canvas.screenshot()
    page.click("button:has-text('From above')")
    page.wait_for_timeout(500)
    above = canvas.screenshot()
    page.check(".tmp-bar label:has-text('cut') input")
    page.wait_for_timeout(500)
    assert len({whole, above, canvas.screenshot()}) == 3
    canvas.click()  # the middle: half of the model's height, within what was drawn
    page.wait_for_function("/E 5600\\d\\d/.test(document.querySelector('.tmp-said').textContent)")
    assert seen.hosts() == {"127.0.0.1"}
    assert [one for one in seen.complaints if "WebGL" not in one] == []
    page.close()
