"""How paths are written into `study.toml`, so that a study folder can be moved."""

import os
from collections.abc import Mapping
from pathlib import Path

from hmopt.files import real_place

SHARED = "HMOPT_SHARED"


def written_path(path: Path, folder: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Give a path as `study.toml` holds it.

    Parameters
    ----------
    path
        Of a file or folder with data.
    folder
        The study folder.
    environment
        Where `HMOPT_SHARED` may name a folder with data.

    Returns
    -------
    Path
        Relative where it lies in the study folder, below `${HMOPT_SHARED}` where it lies there, else absolute.

    Examples
    --------
    >>> written_path(Path("/data/brains/cohort.csv"), Path("/mine"), {"HMOPT_SHARED": "/data"}).as_posix()
    '${HMOPT_SHARED}/brains/cohort.csv'
    >>> written_path(Path("/mine/data/cohort.csv"), Path("/mine"), {}).as_posix()
    'data/cohort.csv'
    """
    absolute = real_place(path)
    if absolute.is_relative_to(folder.resolve()):
        return absolute.relative_to(folder.resolve())
    shared = environment.get(SHARED)
    if shared and absolute.is_relative_to(Path(shared).resolve()):
        return Path(f"${{{SHARED}}}") / absolute.relative_to(Path(shared).resolve())
    return absolute
