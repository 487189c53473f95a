"""How soon the page of `hmopt tune` answers a moved slider, in a headless Chromium on the same machine.

A study of the synthetic cohort is trained for two steps, since the time does not depend on the
weights, and searched at a few settings, so that the page draws curves too. `hmopt tune` serves its
page, and a script in the page moves the slider to 200 different settings, one after the other. An
answer begins with the slider's event, and ends with the first frame after the pictures, outlines and
curves were drawn. No setting comes twice: nothing is taken from memory.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import hmopt
from benchmarks.rows import CannotMeasureError, Measured, row
from hmopt.data.synthetic import make_cohort
from hmopt.errors import sides_text

MOVES = 200
WARM_UP = 5
"""Moves before those that count."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRAWN = "#hmopt-tuner[data-drawn]:not([aria-busy])"
AGAINST = "100 ms, which a person takes as at once"
STUDY = """
name = "tuner"
[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"
[preprocessing]
shape = {shape}
[split]
train = 2
tune = 2
search = 3
[pairs]
same = ["modality"]
search = 4
tune = 1
[hyperparameters.regularization]
step = 0.0025
[training]
steps = 2
batch = 1
[search]
coarse = 3
refinements = 0
scopes = [["cohort"], ["label"]]
"""
PLACE = "(slider) => slider.valueAsNumber"
MOVE = """
async (places) => {
  const root = document.getElementById("hmopt-tuner");
  const slider = root.querySelector("input[type=range]");
  const answered = () => new Promise((resolve) => {
    root.addEventListener("drawn", (event) => {
      requestAnimationFrame(() => resolve(event.detail.milliseconds));
    }, { once: true });
  });
  const found = [];
  for (const place of places) {
    const answer = answered();
    const began = performance.now();
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
    const computing = await answer;
    found.push([performance.now() - began, computing]);
  }
  return found;
}
"""


@contextmanager
def opened_page(folder: Path, browser: str) -> Iterator[Any]:
    """Yield the page that `hmopt tune` serves, in a browser, once it is drawn."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise CannotMeasureError("It needs Playwright: pip install 'hmopt[dev]'.") from error
    code = "from hmopt.cli.app import main; main()"
    command = [sys.executable, "-c", code, "tune", str(folder), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        first_line = server.stdout.readline()
        url = re.search(r"http\S+", first_line)
        if url is None:
            raise RuntimeError(f"hmopt tune: expected an address, got {first_line!r}")
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox", "--disable-gpu"]
            launched = playwright.chromium.launch(executable_path=browser, args=arguments)
            page = launched.new_page(viewport={"width": 1400, "height": 1000})
            page.goto(url[0])
            page.wait_for_selector(DRAWN, timeout=120_000)
            yield page
            launched.close()
    finally:
        server.terminate()
        server.wait()


def measure_answers(shape: tuple[int, ...]) -> Measured:
    """Return the 95th percentile of the answers to moves, in ms."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise CannotMeasureError(f"It needs one of {', '.join(BROWSERS)} on the path.")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make_cohort(folder / "data", subjects=7, shape=shape)
        text = STUDY.format(shape=list(shape))
        (folder / "study.toml").write_text(text, encoding="utf-8")
        hmopt.train(folder, device="cpu")
        hmopt.search(folder, device="cpu")
        points = hmopt.read_study(folder).space.hyperparameters[0].points
        order = np.random.default_rng(0).permutation(points).tolist()
        with opened_page(folder, browser) as page:
            order.remove(page.locator("input[type=range]").first.evaluate(PLACE))
            page.evaluate(MOVE, order[:WARM_UP])
            timed = np.array(page.evaluate(MOVE, order[WARM_UP : WARM_UP + MOVES]))
    whole, computing = timed.T
    note = (
        f"{sides_text(shape)}, {len(whole)} moves: median {np.median(whole):.3g} ms, largest "
        f"{whole.max():.3g} ms; of it computing, median {np.median(computing):.3g} ms"
    )
    return Measured(float(np.percentile(whole, 95)), note)


@row(
    "tuner-2d",
    goal=100,
    better="lower",
    unit="ms",
    against=AGAINST,
    network="hmopt's default, 160×160",
)
def answers_of_planes() -> Measured:
    """95th percentile of the answers to a moved slider, of planes."""
    return measure_answers((160, 160))


@row(
    "tuner-3d",
    goal=100,
    better="lower",
    unit="ms",
    against=AGAINST,
    network="hmopt's default, 48×64×48",
)
def answers_of_volumes() -> Measured:
    """95th percentile of the answers to a moved slider, of volumes."""
    return measure_answers((48, 64, 48))
