"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="The study folder, with study.toml.", show_default=False),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Where to compute: cpu, cuda, cuda:1, mps. Default: the fastest available.",
    ),
]
