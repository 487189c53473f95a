"""The page alone in a browser: it opens without network, asks for nothing, and holds what can be saved from it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hmopt.report import write_report

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install 'hmopt[dev]'"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
TRIED = "https://example.org/"
"""What a test asks for, and the browser refuses with a line in its console."""
MOST_MS = 300_000
"""Milliseconds that the browser may take on a busy machine."""
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"needs one of {', '.join(BROWSERS)} on the path"
)


@pytest.fixture(scope="module")
def alone(study_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a report in a folder that holds nothing else."""
    page = write_report(study_folder)
    return Path(shutil.copy(page, tmp_path_factory.mktemp("sent") / "mine.html"))


@pytest.fixture(scope="module")
def opened(alone: Path) -> Iterator[Any]:
    """Return the page in a browser without network; an error of its script, or a request, fails the test."""
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(
            executable_path=BROWSER, args=arguments, timeout=MOST_MS
        )
        context = browser.new_context(offline=True, accept_downloads=True)
        context.set_default_timeout(MOST_MS)
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.on("request", lambda request: faults.append(request.url))
        page.goto(alone.as_uri())
        faults.remove(alone.as_uri())
        yield page
        browser.close()
    others = [fault for fault in faults if not fault.startswith("data:") and TRIED not in fault]
    assert others == []


def test_figures_pictures_and_methods_are_seen(opened: Any) -> None:
    assert opened.locator("h1").is_visible()
    figures = opened.locator("section svg[role=img]")
    assert figures.count() > 5
    box = figures.first.bounding_box()
    assert box["width"] > 100
    assert box["height"] > 50
    background = opened.evaluate(
        "getComputedStyle(document.querySelector('.tiles div')).backgroundColor"
    )
    assert background == "rgb(245, 247, 249)"
    opened.get_by_role("link", name="Methods for a paper").click()
    assert opened.locator("#methods-text p").nth(1).is_visible()
    assert "Hoopes et al., 2022" in opened.locator("#methods-text").inner_text()


def test_an_inner_link_unfolds_a_scope_by_the_script_of_the_page(opened: Any) -> None:
    details = opened.locator("#scope-cohort")
    assert details.get_attribute("open") is None
    opened.locator("a[href='#scope-cohort']").first.click()
    opened.wait_for_function("document.getElementById('scope-cohort').open")


def test_its_tables_are_saved_from_it(opened: Any, study_folder: Path) -> None:
    for name in ("optima.csv", "summary.md", "references.bib"):
        with opened.expect_download() as waiting:
            opened.get_by_role("link", name=name, exact=True).click()
        saved = Path(waiting.value.path())
        assert waiting.value.suggested_filename == name
        assert saved.read_bytes() == (study_folder / "report" / name).read_bytes()


def test_the_browser_keeps_the_page_from_asking_for_anything(opened: Any, alone: Path) -> None:
    blocked = opened.evaluate(
        """address => new Promise(resolve => {
            document.addEventListener('securitypolicyviolation', event => resolve(event.effectiveDirective));
            fetch(address).catch(() => {});
        })""",
        TRIED,
    )
    assert blocked == "connect-src"
    assert 'http-equiv="Content-Security-Policy"' in alone.read_text(encoding="utf-8")
