"""The page in a browser: what is seen, by mouse, by keyboard and by a screen reader."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hmopt.space import Hyperparameter
from hmopt.tuner.curves import BestSetting, LabelCurve, Response, SearchFindings
from hmopt.tuner.session import Tuner
from tests.tuner.conftest import MakeTuner, Shift
from tests.tuner.test_session import stripes

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install 'hmopt[dev]'"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"needs one of {', '.join(BROWSERS)} on the path"
)

MOST_MS = 300_000
"""Milliseconds that the browser may take on a busy machine."""
DRAWN = "#hmopt-tuner[data-drawn]:not([aria-busy])"
EVIL = "<img src=x onerror=\"document.title='hacked'\"><b>R&D</b>"
Serve = Callable[[Tuner], str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        launched = playwright.chromium.launch(
            executable_path=BROWSER, args=arguments, timeout=MOST_MS
        )
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Return an empty page; an error of its script, or a request to elsewhere, fails the test."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    context.set_default_timeout(MOST_MS)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda request: _note_elsewhere(request.url, faults))
    yield opened
    context.close()
    assert faults == []


def _note_elsewhere(url: str, faults: list[str]) -> None:
    if not url.startswith(("http://127.0.0.1:", "data:")):
        faults.append(url)


def opened(page: Any, url: str) -> Any:
    page.goto(url)
    page.wait_for_selector(DRAWN)
    return page


def pixels(page: Any, name: str) -> NDArray[np.uint8]:
    """Return what a picture shows, (rows, columns, RGB)."""
    content = page.get_by_role("img", name=name, exact=True).screenshot()
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def set_slider(page: Any, label: str, place: int) -> None:
    slider = page.get_by_label(label)
    slider.evaluate(
        "(one, place) => { one.value = place; one.dispatchEvent(new Event('input')); }", place
    )
    page.wait_for_selector(DRAWN)


def response(best: float) -> Response:
    values = [0.0, 0.25, 0.5, 0.75, 1.0]
    return Response(
        values=values,
        means=[0.9 - (value - best) ** 2 for value in values],
        low=[0.8 - (value - best) ** 2 for value in values],
        high=[1.0 - (value - best) ** 2 for value in values],
        best=best,
        interval=[0.25, 0.75],
        equal=[0.25, 0.75],
        among=None,
    )


FINDINGS = SearchFindings(
    metric="Dice",
    curves=[
        LabelCurve(
            title="mean of all structures", label=None, responses={"regularization": response(0.5)}
        ),
        LabelCurve(title=EVIL, label=EVIL, responses={"regularization": response(0.25)}),
    ],
    scopes=[
        BestSetting(family="whole cohort", title="whole cohort", setting={"regularization": 0.5}),
        BestSetting(
            family="structure",
            title=EVIL,
            setting={"regularization": 0.25},
            within_limit={"regularization": 0.75},
        ),
    ],
)


@pytest.fixture
def shifted(tuner_of_shift: MakeTuner, serve: Serve, page: Any) -> Any:
    """Return the page of a model in closed form, with a search and names that hold HTML."""
    evil = replace(stripes((16, 12), labels=True), name=EVIL, labels=(EVIL,))
    tuner = tuner_of_shift(evil, stripes((16, 12)), findings=FINDINGS)
    return opened(page, serve(tuner))


def test_it_shows_what_is_asked_for(shifted: Any) -> None:
    assert shifted.title() == "shifted – hmopt tune"
    assert shifted.get_by_role("heading", level=1).inner_text() == "shifted"
    for name in ("Moving", "Fixed", "Moved", "Deformation", "Folding"):
        assert len(np.unique(pixels(shifted, f"{name}, Image").reshape(-1, 3), axis=0)) > 3
    assert "mean Dice" in shifted.locator(".scores").inner_text()


def test_a_moved_slider_moves_the_picture_and_the_cursor(shifted: Any) -> None:
    before = pixels(shifted, "Moved, Image")
    cursor = shifted.locator("svg .cursor").first
    at_start = float(cursor.get_attribute("x1"))
    set_slider(shifted, "λ, regularization", 20)
    after = pixels(shifted, "Moved, Image")
    # stripes rise to the right, and λ = 1 brings what lies four voxels to the right
    middle = after.shape[1] // 3
    assert after[:, middle].mean() > before[:, middle].mean() + 10
    assert float(cursor.get_attribute("x1")) > at_start
    assert "At 1:" in shifted.locator(".curves figcaption").first.inner_text()


def test_the_keyboard_reaches_and_moves_everything(shifted: Any) -> None:
    shifted.keyboard.press("Tab")
    focused = "() => document.activeElement.getAttribute('aria-valuetext')"
    assert shifted.evaluate(focused) == "λ 0.5"
    shifted.keyboard.press("ArrowRight")
    assert shifted.evaluate(focused) == "λ 0.55"
    shifted.keyboard.press("End")
    assert shifted.evaluate(focused) == "λ 1"
    shifted.keyboard.press("Home")
    assert shifted.evaluate(focused) == "λ 0"
    shifted.wait_for_selector(DRAWN)
    order = []
    for _ in range(8):
        shifted.keyboard.press("Tab")
        order.append(shifted.evaluate("() => document.activeElement.tagName"))
    assert order == [
        "SELECT",
        "SELECT",
        "SUMMARY",
        "BUTTON",
        "SUMMARY",
        "BUTTON",
        "BUTTON",
        "BUTTON",
    ]
    shifted.keyboard.press("Enter")  # the last one keeps the setting
    shifted.get_by_text("Kept regularization 0 in").wait_for()


def test_what_is_focused_is_seen(shifted: Any) -> None:
    shifted.keyboard.press("Tab")
    style = "() => getComputedStyle(document.activeElement).outlineStyle"
    assert shifted.evaluate(style) == "solid"


def test_a_button_takes_the_best_setting_of_its_scope(shifted: Any) -> None:
    button = shifted.get_by_role("button", name="within the folding limit")
    button.click()
    shifted.wait_for_selector(DRAWN)
    assert shifted.get_by_label("λ, regularization").get_attribute("aria-valuetext") == "λ 0.75"
    assert button.get_attribute("aria-pressed") == "true"
    assert (
        shifted.get_by_role("button", name="whole cohort").get_attribute("aria-pressed") == "false"
    )


def test_a_click_on_a_curve_goes_there(shifted: Any) -> None:
    curve = shifted.locator(".curves svg").first
    box = curve.bounding_box()
    # three quarters between the ends of the axis, which are at 38 and 252 of 260
    curve.click(position={"x": box["width"] * (38 + 0.75 * 214) / 260, "y": 20})
    shifted.wait_for_selector(DRAWN)
    assert shifted.get_by_label("λ, regularization").get_attribute("aria-valuetext") == "λ 0.75"


def test_names_are_text_whatever_they_hold(shifted: Any) -> None:
    assert shifted.locator("img").count() == 0
    assert shifted.locator("b", has_text="R&D").count() == 1  # the caption of its curve, as text
    assert shifted.get_by_role("button", name=EVIL).count() == 2
    options = shifted.get_by_label("Outlines").locator("option").all_inner_texts()
    assert options == ["all structures", EVIL, "none"]
    assert "hacked" not in shifted.title()


def test_a_screen_reader_is_told_values_and_scores_once_the_slider_rests(shifted: Any) -> None:
    set_slider(shifted, "λ, regularization", 4)
    status = shifted.locator(".hush[role=status]")
    status.filter(has_text="λ 0.2. This pair:").wait_for(state="attached")
    assert status.get_attribute("aria-live") == "polite"
    curve = shifted.locator(".curves svg").first
    assert curve.get_attribute("aria-label") == (
        "mean of all structures: Dice by λ. Best 0.5, 95 % interval 0.25 to 0.75."
    )


def test_every_control_and_picture_has_a_name(shifted: Any) -> None:
    unnamed = shifted.evaluate(
        """() => [...document.querySelectorAll("input, select, button, canvas, svg")]
        .filter((one) => !(one.labels?.length || one.textContent.trim() || one.getAttribute("aria-label")))
        .map((one) => one.outerHTML)"""
    )
    assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(shifted: Any, scheme: str) -> None:
    shifted.emulate_media(color_scheme=scheme)
    ratios = shifted.evaluate(
        """() => {
          const luminance = (colour) => {
            const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((one) => {
              const share = one / 255;
              return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const ground = (one) => {
            for (let at = one; at; at = at.parentElement) {
              const colour = getComputedStyle(at).backgroundColor;
              if (!/, 0\\)$/.test(colour)) return colour;
            }
            return "rgb(255, 255, 255)";
          };
          const found = {};
          const texts = "h1, h2, p, label, output, button, figcaption, summary, select";
          for (const one of document.querySelectorAll(texts)) {
            if (!one.textContent.trim()) continue;
            const [a, b] = [luminance(getComputedStyle(one).color), luminance(ground(one))];
            found[`${one.tagName} ${one.className}`] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          }
          return found;
        }"""
    )
    assert len(ratios) > 6
    # WCAG 2, level AA
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}


def test_another_pair_and_other_outlines_are_shown(shifted: Any) -> None:
    with_labels = pixels(shifted, "Fixed, Image")
    shifted.get_by_label("Outlines").select_option("none")
    without = pixels(shifted, "Fixed, Image")
    assert (with_labels != without).any()
    is_grey = (np.ptp(without.astype(int), axis=2) == 0).mean()
    assert is_grey > 0.99
    shifted.get_by_label("Pair", exact=True).select_option("1")
    shifted.wait_for_selector(DRAWN)
    assert "Dice" not in shifted.locator(".scores").inner_text()


def test_a_volume_is_shown_in_three_planes_that_a_click_moves(
    tuner_of_shift: MakeTuner, serve: Serve, page: Any
) -> None:
    tuner = tuner_of_shift(stripes((12, 16, 8), labels=True))
    shown = opened(page, serve(tuner))
    assert shown.locator("canvas").count() == 15
    axial = shown.get_by_role("img", name="Moving, Axial", exact=True)
    box = axial.bounding_box()
    # the lower left corner: the first voxel along both axes
    axial.click(position={"x": 2, "y": box["height"] - 2})
    shown.wait_for_selector(DRAWN)
    assert shown.get_by_label("Sagittal plane").get_attribute("aria-valuetext") == "1 of 12"
    assert shown.get_by_label("Coronal plane").get_attribute("aria-valuetext") == "1 of 16"
    set_slider(shown, "Axial plane", 7)
    assert shown.get_by_label("Axial plane").get_attribute("aria-valuetext") == "8 of 8"


def test_a_slow_model_is_answered_coarsely_first_and_then_exactly(
    tuner_of_shift: MakeTuner, serve: Serve, page: Any
) -> None:
    model = Shift()
    shown = opened(page, serve(tuner_of_shift(stripes((16, 16), labels=True), model=model)))
    # the exact answer is asked for once the coarse one is drawn, however busy the machine is
    shown.evaluate(
        """() => {
          window.kinds = [];
          const root = document.getElementById("hmopt-tuner");
          const first = new Promise((resolve) => {
            root.addEventListener("drawn", (event) => {
              window.kinds.push(event.detail.coarse);
              resolve();
            });
          });
          const ask = window.fetch;
          window.fetch = async (address, options) => {
            if (!JSON.parse(options.body).coarse) await first;
            return ask(address, options);
          };
        }"""
    )
    set_slider(shown, "λ, regularization", 7)
    assert shown.evaluate("() => window.kinds") == [True, False]
    assert "mean Dice" in shown.locator(".scores").inner_text()


def test_a_dragged_slider_leaves_no_queue(
    tuner_of_shift: MakeTuner, serve: Serve, page: Any, tuner: Tuner
) -> None:
    url = serve(tuner)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    shown = opened(page, url)
    asked.clear()
    slider = shown.get_by_label("λ, regularization")
    slider.evaluate(
        """(one) => {
          for (let place = 0; place <= 200; place += 1) {
            one.value = place;
            one.dispatchEvent(new Event("input"));
          }
        }"""
    )
    shown.wait_for_selector(DRAWN)
    assert shown.get_by_label("λ, regularization").get_attribute("aria-valuetext") == "λ 1"
    # the first of 201 settings, and the last one
    assert len(asked) == 2


def test_several_hyperparameters_have_a_control_each(
    tuner_of_shift: MakeTuner, serve: Serve, page: Any
) -> None:
    model = Shift(
        Hyperparameter(name="regularization", step=0.25),
        Hyperparameter(name="similarity", type="categorical", choices=("CC", "MI")),
        Hyperparameter(
            name="bins", type="integer", low=8, high=64, default=32, only_if={"similarity": "MI"}
        ),
    )
    shown = opened(page, serve(tuner_of_shift(stripes((16, 16)), model=model)))
    assert not shown.get_by_label("bins").is_visible()
    shown.get_by_label("similarity").select_option("MI")
    shown.wait_for_selector(DRAWN)
    assert shown.get_by_label("bins").is_visible()
    shown.get_by_role("button", name="Keep this setting").click()
    shown.get_by_text("Kept regularization 0.5, similarity MI, bins 32 in").wait_for()


def test_the_choice_is_written_and_its_command_shown(shifted: Any, tmp_path: Path) -> None:
    set_slider(shifted, "λ, regularization", 3)
    shifted.get_by_role("button", name="Keep this setting").click()
    shifted.locator("code", has_text="--moved moved.nii.gz").wait_for()
    text = (tmp_path / "setting.toml").read_text(encoding="utf-8")
    assert "regularization = 0.15" in text


def test_an_error_is_shown_and_goes_when_it_is_mended(shifted: Any, tmp_path: Path) -> None:
    file = tmp_path / "setting.toml"
    file.mkdir()
    shifted.get_by_role("button", name="Keep this setting").click()
    alert = shifted.get_by_role("alert")
    alert.wait_for()
    assert "setting.toml" in alert.inner_text()
    file.rmdir()
    shifted.get_by_role("button", name="Keep this setting").click()
    alert.wait_for(state="hidden")


def test_nothing_overflows_a_narrow_window(shifted: Any) -> None:
    shifted.set_viewport_size({"width": 360, "height": 700})
    assert shifted.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_arrow_keys_move_the_slider_of_a_widget_in_a_notebook(
    page: Any, serve: Serve, tuner_of_shift: MakeTuner
) -> None:
    opened(page, serve(tuner_of_shift(stripes((16, 16)))))
    page.evaluate(
        """async () => {
          // JupyterLab sees keys first, and keeps the arrows
          document.addEventListener("keydown", (event) => {
            if (event.target.hasAttribute("data-lm-suppress-shortcuts")) return;
            event.preventDefault();
            event.stopPropagation();
          }, true);
          const { default: widget, overHttp } = await import("./tuner.js");
          let answer;
          const model = {
            on: (_event, handler) => { answer = handler; },
            send: async ({ id, kind }) => {
              if (kind !== "facts") return;
              const { content } = await overHttp("facts");
              answer({ id, content }, []);
            },
          };
          document.body.innerHTML = '<div id="cell"></div>';
          widget.render({ model, el: document.getElementById("cell") });
        }"""
    )
    slider = page.locator("#cell input[type=range]")
    before = int(slider.input_value())
    slider.focus()
    slider.press("ArrowRight")
    assert int(slider.input_value()) == before + 1
