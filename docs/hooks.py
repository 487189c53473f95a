"""What the site adds to its pages when it is built.

- Links to files outside `docs/` lead to the repository.
- `reference/command-line.md` gets the help of every command.
- `how-to/read-a-report.md` gets pictures of the report of brain slices, made anew from committed results. They need
  Chromium; `HMOPT_DOCS_SCREENSHOTS=0` leaves them out.
"""

import io
import os
import posixpath
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from PIL import Image, ImageChops, ImageDraw

ROOT = Path(__file__).parents[1]
REPORTED_STUDY = ROOT / "studies" / "brains"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH, HEIGHT = 1180, 6000
MARGIN = 12
SCREENSHOT = re.compile(r"\((report/([a-z0-9-]+)\.png)\)")
LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]+)")
COMMANDS = "<!-- commands -->"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a picture of each part of a report that `how-to/read-a-report.md` shows."""
    page = Path(config.docs_dir) / "how-to" / "read-a-report.md"
    parts = dict.fromkeys(match[1] for match in SCREENSHOT.findall(page.read_text("utf-8")))
    if os.environ.get("HMOPT_DOCS_SCREENSHOTS") == "0":
        pictures = {part: _placeholder(part) for part in parts}
    else:
        pictures = _screenshots(list(parts))
    for part, content in pictures.items():
        files.append(File.generated(config, f"how-to/report/{part}.png", content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the commands, and turn links that leave `docs/` into links to the repository."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, _commands())
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def outside(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[2]))
        if target.startswith("docs/"):
            return match[0]
        return f"{match[1]}{config.repo_url}/blob/main/{target}"

    return LINK.sub(outside, markdown)


def _commands() -> str:
    """Return the help of every command as Markdown, one level down."""
    import click
    import typer.main
    from typer.cli import get_docs_for_click

    from hmopt.cli.app import app

    command = typer.main.get_command(app)
    context = click.Context(command, info_name="hmopt")
    text = get_docs_for_click(obj=command, ctx=context, name="hmopt")
    _, _, body = text.partition("\n")
    return body


def _screenshots(parts: list[str]) -> dict[str, bytes]:
    """Return a PNG of each part of a fresh report, by the part's id in the page."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise Abort(
            f"screenshots: expected one of {', '.join(BROWSERS)} on the path, got none. "
            "Install Chromium, or set HMOPT_DOCS_SCREENSHOTS=0 to leave the pictures out."
        )
    with tempfile.TemporaryDirectory() as folder:
        page = _fresh_report(Path(folder))
        text = page.read_text("utf-8")
        return {part: _screenshot(browser, page, text, part) for part in parts}


def _fresh_report(folder: Path) -> Path:
    """Write the report of the committed results of a study into a folder, and return its page."""
    import hmopt
    from hmopt.declaration.study import read_declaration

    study = folder / REPORTED_STUDY.name
    shutil.copytree(REPORTED_STUDY, study)
    # studies that it is compared with, but for those in it
    for one in read_declaration(REPORTED_STUDY).report.beside:
        other = (REPORTED_STUDY / one.path).resolve()
        if not other.is_relative_to(REPORTED_STUDY):
            shutil.copytree(other, folder / other.relative_to(REPORTED_STUDY.parent))
    hmopt.report(study)
    return study / "report" / "index.html"


def _screenshot(browser: str, page: Path, text: str, part: str) -> bytes:
    """Return a PNG of the page with everything but one part hidden."""
    if f'id="{part}"' not in text:
        raise Abort(f"screenshots: expected a part {part!r} in the report, got none. Rename it.")
    others = f":not(#{part}, :has(#{part}))"
    style = (
        f"<style>main > {others}, main :has(#{part}) > {others} "
        "{ display: none !important }</style></head>"
    )
    alone = page.with_name(f"{part}.html")
    unfolded = text.replace('<details id="scope-cohort">', '<details id="scope-cohort" open>')
    alone.write_text(unfolded.replace("</head>", style, 1), "utf-8")
    picture = page.with_name(f"{part}.png")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={WIDTH},{HEIGHT}",
        f"--screenshot={picture}",
        alone.as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return _cropped(picture)


def _cropped(picture: Path) -> bytes:
    """Return a picture without the empty border around what it shows."""
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    background = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    left, top, right, bottom = ImageChops.difference(image, background).getbbox() or (0, 0, 1, 1)
    box = (
        max(left - MARGIN, 0),
        max(top - MARGIN, 0),
        min(right + MARGIN, image.width),
        min(bottom + MARGIN, image.height),
    )
    content = io.BytesIO()
    image.crop(box).save(content, "PNG", optimize=True)
    return content.getvalue()


def _placeholder(part: str) -> bytes:
    image = Image.new("RGB", (480, 60), "white")
    ImageDraw.Draw(image).text((12, 22), f"Picture left out: {part}", fill="black")
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
