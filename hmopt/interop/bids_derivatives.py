"""Results in a BIDS derivative dataset: names, JSON sidecars and the description of the dataset."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmopt.data.formats import image_name
from hmopt.data.volume import read_image
from hmopt.errors import DataError, DeclarationError
from hmopt.files import read_json, replacing

DESCRIPTION = "dataset_description.json"
BIDS_VERSION = "1.10.0"
SOURCE_URL = "https://github.com/hmopt/hmopt"

_NAMED_SPACES = re.compile(r"(?:^|_)tpl-([a-zA-Z0-9]+)")
_OPTION = "--bids-derivatives"
_DATATYPES = ("anat", "func", "dwi", "perf", "pet", "fmap")
_LABEL_SUFFIXES = ("dseg", "probseg", "mask")
_IGNORED = "*_xfm.*\n"
"""BIDS has no rule for transformations yet; fMRIPrep leaves its own to the same line."""
_TEXTS = {
    ".bidsignore": _IGNORED,
    "README.md": "# Results of hmopt\n\nImages and label maps moved by deformable registration, "
    "and the transformations. The JSON file beside each says what it was made from.\n",
}
"""Files beside the description of a dataset, written where they are not there."""


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """Names of results in a derivative dataset, of one image that is moved to another one.

    Parameters
    ----------
    root
        The folder of the dataset.
    moving, fixed
        The images; the name of the moving one is of BIDS.

    Raises
    ------
    DataError
        If the moving image has no such name.
    DeclarationError
        If bids2table is not installed.
    """

    root: Path
    moving: Path
    fixed: Path

    def __post_init__(self) -> None:
        """Check the name of the moving image."""
        entities = _entities(self.moving)
        if "sub" not in entities or "suffix" not in entities:
            raise DataError(
                str(self.moving),
                expected=f"a name of BIDS, as sub-01_T1w.nii.gz, for {_OPTION}",
                got=self.moving.name,
                advice="Rename it, or name the outputs one by one.",
            )

    @property
    def space(self) -> str:
        """The label of the fixed image's space: its template, or its subject and session.

        Examples
        --------
        >>> moving, fixed = Path("sub-01_T1w.nii.gz"), Path("sub-02_ses-1_T1w.nii.gz")
        >>> Derivatives(root=Path("out"), moving=moving, fixed=fixed).space
        'sub02ses1'
        """
        return space_label(self.fixed)

    @property
    def moved(self) -> Path:
        """The moved image or label map, as `sub-01_space-…_desc-hmopt_T1w.nii.gz`."""
        entities = _entities(self.moving)
        # what the input was, as desc-aseg of a label map, it stays
        described = {"desc": "hmopt", **entities, "space": self.space}
        return self.root / _formatted({**described, "ext": ".nii.gz"}, self.moving)

    @property
    def forward(self) -> Path:
        """The transformation that warps the moving to the fixed image."""
        return self._transform(self._own_space, self.space)

    @property
    def inverse(self) -> Path:
        """The transformation that warps the fixed to the moving image."""
        return self._transform(self.space, self._own_space)

    @property
    def _own_space(self) -> str:
        """What transformations call the space of the moving image: its own space, or its suffix."""
        entities = _entities(self.moving)
        return entities.get("space", entities["suffix"])

    def _transform(self, origin: str, target: str) -> Path:
        entities = _entities(self.moving)
        for name in ("space", "desc", "res"):
            entities.pop(name, None)
        named = {"from": origin, "to": target, "mode": "image", "suffix": "xfm", "ext": ".h5"}
        return self.root / _formatted({**entities, **named}, self.moving)

    def describe(
        self, outputs: Sequence[Path], parameters: Mapping[str, Any], others: Sequence[Path] = ()
    ) -> None:
        """Write a JSON sidecar for each output, and the description of the dataset.

        Parameters
        ----------
        outputs
            Some of `moved`, `forward` and `inverse`.
        parameters
            What the registration was done with, as λ.
        others
            Further files that they were made from, as transformations.
        """
        links = _links(self.root, (self.moving, self.fixed, *others))
        sources = [self._uri(path, links) for path in (self.moving, self.fixed, *others)]
        for path in outputs:
            if path not in (self.moved, self.forward, self.inverse):
                continue  # named by the user, elsewhere
            content: dict[str, Any] = {"Description": self._description(path)}
            content["Sources"] = list(dict.fromkeys(sources))
            if path == self.moved:
                content["SpatialReference"] = self._uri(self.fixed, links)
                if _entities(self.moving)["suffix"] not in _LABEL_SUFFIXES:
                    content["SkullStripped"] = is_skull_stripped(self.moving)
            if parameters:
                content["RegistrationParameters"] = dict(parameters)
            _write_json(sidecar(path), content)
        _describe_dataset(self.root, links)

    def _description(self, path: Path) -> str:
        if path == self.moved:
            return f"{self.moving.name} on the grid of {self.fixed.name}."
        names = (self.moving.name, self.fixed.name)
        moving, fixed = names if path == self.forward else names[::-1]
        return (
            f"Warps {moving} to {fixed} when images are resampled; points go from {fixed} to {moving}. "
            "ITK's composite transform, LPS+ mm."
        )

    def _uri(self, path: Path, links: Mapping[str, Path]) -> str:
        """Return a file as a BIDS URI; a file of no dataset as a URI of its place."""
        absolute = path.absolute()
        root = self.root.absolute()
        if absolute.is_relative_to(root):
            return f"bids::{absolute.relative_to(root).as_posix()}"
        for name, folder in links.items():
            if absolute.is_relative_to(folder):
                return f"bids:{name}:{absolute.relative_to(folder).as_posix()}"
        return absolute.as_uri()


def is_skull_stripped(path: Path) -> bool:
    """Return whether voxels outside the brain were set to one value, which BIDS asks for.

    What the JSON file beside the image says; without it, whether more than half of the voxels hold
    the lowest intensity.
    """
    beside = sidecar(path)
    if beside.is_file():
        content = read_json(beside, error=DataError, what="a JSON sidecar", advice="Correct it.")
        if isinstance(content.get("SkullStripped"), bool):
            return bool(content["SkullStripped"])
    intensities = read_image(path).data
    return bool((intensities == intensities.min()).mean() > 0.5)


def space_label(path: Path) -> str:
    """Return what the space of an image is called in names of BIDS: letters and digits.

    Examples
    --------
    >>> space_label(Path("tpl-MNI152NLin6Asym_res-02_T1w.nii.gz"))
    'MNI152NLin6Asym'
    >>> space_label(Path("my head.nii.gz"))
    'myhead'
    """
    template = _NAMED_SPACES.search(path.name)
    if template is not None:
        return template[1]
    entities = _entities(path)
    if "space" in entities:
        return entities["space"]
    named = [f"{name}{entities[name]}" for name in ("sub", "ses", "run") if name in entities]
    label = "".join(named) or image_name(path)
    return re.sub(r"[^a-zA-Z0-9]", "", label)


def sidecar(path: Path) -> Path:
    """Return the JSON file beside a file of BIDS.

    Examples
    --------
    >>> sidecar(Path("sub-01_T1w.nii.gz")).name, sidecar(Path("sub-01_xfm.h5")).name
    ('sub-01_T1w.json', 'sub-01_xfm.json')
    """
    stem = path.name.removesuffix(".gz")
    return path.with_name(f"{Path(stem).stem}.json")


def _entities(path: Path) -> dict[str, str]:
    """Return the entities of a name, as text, without the ending."""
    try:
        import bids2table
    except ImportError as error:
        raise DeclarationError(
            _OPTION,
            expected="bids2table, which reads and writes names of BIDS",
            got="no such package",
            advice="Install it: pip install 'hmopt[bids]'.",
        ) from error
    entities = bids2table.parse_bids_entities(path)
    entities.pop("ext", None)
    return {name: str(value) for name, value in entities.items()}


def _formatted(entities: Mapping[str, str], moving: Path) -> Path:
    """Return the path of a file with these entities, in the order of BIDS."""
    import bids2table

    folder = moving.parent.name
    datatype = folder if folder in _DATATYPES else "anat"
    # bids2table keeps the order that it is given; its columns are in that of BIDS
    places = {str(name): place for place, name in enumerate(bids2table.get_column_names())}
    ordered = sorted(entities, key=lambda name: places.get(name, len(places)))
    named = {name: entities[name] for name in ordered}
    formatted: Path = bids2table.format_bids_path({**named, "datatype": datatype})
    return formatted


def _links(root: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """Return the datasets that files lie in, by the name that URIs give them."""
    links: dict[str, Path] = {}
    for path in paths:
        folder = _dataset_of(path.absolute())
        if folder is None or folder == root.absolute() or folder in links.values():
            continue
        is_derivative = folder.parent.name == "derivatives"
        plain = re.sub(r"[^a-zA-Z0-9]", "", folder.name)
        name = plain if is_derivative or "raw" in links else "raw"
        while name in links:
            name += "x"
        links[name] = folder
    return links


def _dataset_of(path: Path) -> Path | None:
    """Return the nearest folder above a file that is a BIDS dataset."""
    for folder in path.parents:
        if (folder / DESCRIPTION).is_file():
            return folder
    return None


def _link(folder: Path, root: Path) -> str:
    """Return where a dataset lies: relative to one inside it, so that both can be moved together."""
    if root.is_relative_to(folder):
        steps = root.relative_to(folder).parts
        return "/".join([".."] * len(steps))
    return folder.as_uri()


def _describe_dataset(root: Path, links: Mapping[str, Path]) -> None:
    """Write the description of a derivative dataset, or add to the one that is there."""
    import hmopt

    path = root / DESCRIPTION
    content: dict[str, Any] = {
        "Name": "hmopt: deformable registration",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [],
    }
    if path.is_file():
        what = "the description of a BIDS derivative dataset"
        content = read_json(path, error=DataError, what=what, advice="Correct it.")
        _check_derivative(path, content)
    programs = content.setdefault("GeneratedBy", [])
    if not any(isinstance(one, dict) and one.get("Name") == "hmopt" for one in programs):
        programs.append({"Name": "hmopt", "Version": hmopt.__version__, "CodeURL": SOURCE_URL})
    known = content.setdefault("DatasetLinks", {})
    known.update({name: _link(folder, root.absolute()) for name, folder in links.items()})
    if not known:
        del content["DatasetLinks"]
    _write_json(path, content)
    for name, text in _TEXTS.items():
        if not (root / name).exists():
            with replacing(root / name) as beside:
                beside.write_text(text, encoding="utf-8")


def check_derivatives(root: Path) -> None:
    """Refuse to write derivatives into a dataset of raw data.

    Raises
    ------
    DataError
        If the folder is one, or something else stands in place of a file that describes it.
    """
    for name in (DESCRIPTION, *_TEXTS):
        place = root / name
        if os.path.lexists(place) and not place.is_file():
            raise DataError(
                str(place),
                expected="a file",
                got="a folder" if place.is_dir() else "something else",
                advice="Move it away, or use another folder.",
            )
    path = root / DESCRIPTION
    if path.is_file():
        what = "the description of a BIDS derivative dataset"
        content = read_json(path, error=DataError, what=what, advice="Correct it.")
        _check_derivative(path, content)


def _check_derivative(path: Path, content: Mapping[str, Any]) -> None:
    if content.get("DatasetType", "raw") != "derivative":
        raise DataError(
            str(path),
            expected="DatasetType derivative",
            got=content.get("DatasetType", "none, a dataset of raw data"),
            advice=f"Use another folder for {_OPTION}, such as derivatives/hmopt.",
        )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    with replacing(path) as beside:
        beside.write_text(f"{text}\n", encoding="utf-8")
