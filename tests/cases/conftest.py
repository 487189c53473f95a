"""A small folder of labelled images as people have them, and the real commands run on it in this process."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from hmopt.cli.app import app
from hmopt.data.cohort import list_images
from hmopt.declaration import Study, read_study
from tests.data.whole_cohort import read_cohort

SIDE = 20
Name = Callable[[int], str]


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    output: str
    errors: str

    @property
    def cases(self) -> tuple[int, int]:
        """Return how many images and how many subjects `hmopt new` found."""
        found = re.search(r"Cohort: (\d+) images of (\d+) subjects", self.output)
        assert found is not None, self.output + self.errors
        return int(found.group(1)), int(found.group(2))

    @property
    def structures(self) -> list[str]:
        """Return the names of structures that `hmopt new` found."""
        return re.findall(r"^  (.+): .* ml, ", self.output, re.M)

    @property
    def warnings(self) -> list[str]:
        """Return the warnings, but for that of labels without names."""
        lines = self.errors.splitlines()
        found = [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]
        return [line for line in found if not line.startswith("labels have no names")]


class CaseFolder:
    """A folder with inputs, on which commands are run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def study(self) -> Path:
        return self.root / "out" / "study"

    def labels(self, number: int = 0) -> NDArray[np.uint8]:
        """Return a rim (1) around a core (2), which lie elsewhere in each image."""
        rng = np.random.default_rng(number)
        centre = SIDE / 2 - 0.5 + rng.uniform(-1, 1, 2)
        distance = np.hypot(
            *(axis - middle for axis, middle in zip(np.indices((SIDE, SIDE)), centre, strict=True))
        )
        return np.asarray((distance < 7).astype(np.uint8) + (distance < 3.5))[:, :, None]

    def image(self, number: int = 0) -> NDArray[np.float32]:
        """Return intensities that follow the labels."""
        noise = np.random.default_rng(1000 + number).random((SIDE, SIDE, 1))
        return (50 * self.labels(number) + 10 * noise).astype(np.float32)

    def write(
        self, name: str, data: NDArray[Any], affine: NDArray[np.float64] | None = None
    ) -> Path:
        """Write a NIfTI file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind: type[nibabel.Nifti1Pair] = (
            nibabel.Nifti1Pair if path.suffix in (".img", ".hdr") else nibabel.Nifti1Image
        )
        nibabel.save(kind(data, np.eye(4) if affine is None else affine), path)
        return path

    def text(self, name: str, text: str, encoding: str = "utf-8") -> Path:
        """Write a text file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
        return path

    def images(self, names: Sequence[str], label_names: Sequence[str] | None = None) -> None:
        """Write an image and its label map under each name."""
        for number, name in enumerate(names):
            label = name if label_names is None else label_names[number]
            self.write(f"imagesTr/{name}", self.image(number))
            self.write(f"labelsTr/{label}", self.labels(number))

    def cases(self, count: int = 8) -> list[str]:
        """Write a folder as of the Medical Segmentation Decathlon."""
        names = [f"case_{number:03}.nii.gz" for number in range(count)]
        self.images(names)
        return names

    def manifest(
        self,
        header: str = "image,label,subject",
        row: str = "imagesTr/{name},labelsTr/{name},s{number}",
        count: int = 8,
        end: str = "",
        encoding: str = "utf-8",
        newline: str = "\n",
    ) -> Path:
        """Write a cohort and its manifest."""
        names = self.cases(count)
        rows = [row.format(name=name, number=number) for number, name in enumerate(names)]
        return self.text("m.csv", newline.join([header, *rows]) + newline + end, encoding)

    def run(self, *arguments: object) -> Outcome:
        """Run `hmopt` with some arguments."""
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a command prints them, as for a user
            result = CliRunner().invoke(app, [*map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(code=result.exit_code, output=result.stdout, errors=result.stderr)

    def new(self, *options: object) -> Outcome:
        """Run `hmopt new` on the folders, or with other options, and expect a study."""
        given = options or ("--images", self.root / "imagesTr", "--labels", self.root / "labelsTr")
        outcome = self.run("new", self.study, *given)
        assert outcome.code == 0, outcome.errors
        return outcome

    def new_of_folders(self, *options: object) -> Outcome:
        """Run `hmopt new` on the folders with further options, and expect a study."""
        return self.new(
            "--images", self.root / "imagesTr", "--labels", self.root / "labelsTr", *options
        )

    def new_of_manifest(self, *options: object) -> Outcome:
        """Run `hmopt new` on the manifest, and expect a study."""
        return self.new("--manifest", self.root / "m.csv", *options)

    def refused(self, *arguments: object) -> str:
        """Run a command that must answer in one line with exit code 2 and write nothing, and return the line."""
        outcome = self.run(*arguments)
        assert outcome.code == 2, (outcome.code, outcome.output, outcome.errors)
        lines = [
            line for line in outcome.errors.strip().splitlines() if not line.startswith("warning: ")
        ]
        assert len(lines) == 1, outcome.errors
        assert not self.study.exists()
        return lines[0]

    def refused_folders(self, *options: object) -> str:
        """Run `hmopt new` on the folders, and return the line that refuses them."""
        folders = ("--images", self.root / "imagesTr", "--labels", self.root / "labelsTr")
        return self.refused("new", self.study, *folders, *options)

    def refused_manifest(self, *options: object) -> str:
        """Run `hmopt new` on the manifest, and return the line that refuses it."""
        return self.refused("new", self.study, "--manifest", self.root / "m.csv", *options)

    @property
    def declared(self) -> Study:
        """Return the study that `hmopt new` declared."""
        return read_study(self.study)

    @property
    def table(self) -> pd.DataFrame:
        """Return the images that the declared study has, by their names."""
        return list_images(self.declared.cohort)

    @property
    def codes(self) -> dict[str, tuple[int, ...]]:
        """Return the codes of every structure of the declared study."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read_cohort(self.declared.cohort).structures


@pytest.fixture
def folder(tmp_path: Path) -> CaseFolder:
    return CaseFolder(tmp_path)
