"""The programs with adaptors: moved images come closer, by known displacements, in anisotropic spacing."""

import importlib
import importlib.util
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from hmopt.catalogue import ENGINES
from hmopt.declaration.model import HyperparameterOptions
from hmopt.errors import DeclarationError
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.processes import EngineProcesses
from hmopt.interop.engines.source import EngineSource, Registered

GRIDS = {
    2: Grid(shape=(48, 40), spacing_mm=(1.0, 2.0)),
    3: Grid(shape=(40, 32, 24), spacing_mm=(1.0, 1.0, 2.0)),
}
SHIFTS = {2: (2.0, -1.5), 3: (2.0, -1.5, 1.0)}
"""Voxels: fixed(x) = moving(x + shift)."""


def needs(name: str) -> EngineSource:
    """Skip where a program is not installed."""
    program = ENGINES[name]
    if importlib.util.find_spec(program.imports) is None:
        pytest.skip(f"needs {program.package}: {program.install}")
    return EngineSource(kind="engine", name=name, folder=Path(), grid=GRIDS[3])


def blobs(grid: Grid, shift: tuple[float, ...]) -> NDArray[np.float32]:
    """Some smooth spots, sampled at x + shift."""
    places = np.indices(grid.shape).astype(float)
    places += np.reshape(shift, (-1, *[1] * grid.dimensions))
    image = np.zeros(grid.shape)
    generator = np.random.default_rng(3)
    for _ in range(12):
        centre = [generator.uniform(0.25 * side, 0.75 * side) for side in grid.shape]
        width = generator.uniform(2, 4)
        squared = sum((axis - at) ** 2 for axis, at in zip(places, centre, strict=True))
        image += np.exp(-squared / (2 * width**2))
    return (image / 2).clip(0, 1).astype(np.float32)


def registered(
    source: EngineSource,
    moving: NDArray[np.float32],
    fixed: NDArray[np.float32],
    *settings: dict[str, Any],
) -> list[Registered]:
    """Register in a process of its own: two builds of ITK in one process crash."""
    processes = EngineProcesses(source, jobs=1)
    try:
        return [processes.register(moving, fixed, setting) for setting in settings]
    finally:
        processes.end()


def error(
    displacement: NDArray[np.float32], moving: NDArray[np.float32], fixed: NDArray[np.float32]
) -> float:
    places = np.indices(moving.shape) + displacement
    moved = map_coordinates(moving.astype(float), places, order=1, mode="nearest")
    return float(np.square(moved - fixed).mean())


SETTINGS: dict[str, dict[str, Any]] = {
    "ants": {"similarity": "meansquares", "full_resolution_iterations": 10},
    "elastix": {
        "grid_spacing_mm": 16.0,
        "iterations": 100,
        "similarity": "AdvancedMeanSquares",
        "bending_weight": 0.1,
    },
    "convexadam": {"grid_spacing": 4, "iterations": 40, "regularization": 0.5},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "ants": {"transform": "SyNOnly"},
    "elastix": {"stages": ["translation", "bspline"], "resolutions": 2},
    "convexadam": {},
}


@cache  # programs take seconds to begin
def of_known_shift(name: str, dimensions: int) -> list[Registered]:
    """Register spots with shifted ones: once in 2-D, and twice, in one process, in 3-D."""
    grid, options = GRIDS[dimensions], OPTIONS[name]
    source = EngineSource(kind="engine", name=name, folder=Path(), grid=grid, options=options)
    source.check()
    moving, fixed = blobs(grid, (0.0,) * dimensions), blobs(grid, SHIFTS[dimensions])
    times = {2: 1, 3: 2}[dimensions]
    return registered(source, moving, fixed, *[SETTINGS[name]] * times)


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [("ants", 2), ("ants", 3), ("elastix", 2), ("elastix", 3), ("convexadam", 3)],
)
def test_a_known_shift_is_found_in_voxels_of_an_anisotropic_grid(
    name: str, dimensions: int
) -> None:
    needs(name)
    grid, shift = GRIDS[dimensions], SHIFTS[dimensions]
    moving = blobs(grid, (0.0,) * dimensions)
    fixed = blobs(grid, shift)
    found, *_ = of_known_shift(name, dimensions)
    assert found.displacement.shape == (dimensions, *grid.shape)
    assert found.wall_time_s > 0
    before = error(np.zeros_like(found.displacement), moving, fixed)
    after = error(found.displacement, moving, fixed)
    assert after < 0.25 * before
    is_bright = gaussian_filter(fixed, 1) > 0.2
    of_spots = [float(np.median(component[is_bright])) for component in found.displacement]
    np.testing.assert_allclose(of_spots, shift, atol=0.5)


@pytest.mark.parametrize("name", list(ENGINES))
def test_the_same_images_give_the_same_displacement(name: str) -> None:
    needs(name)
    first, second = of_known_shift(name, 3)
    np.testing.assert_array_equal(first.displacement, second.displacement)


@pytest.mark.parametrize("name", list(ENGINES))
def test_the_default_space_can_be_declared_and_its_defaults_are_on_the_lattice(name: str) -> None:
    from hmopt.declaration import parse_study

    adaptor = importlib.import_module(ENGINES[name].module)
    for declared in adaptor.SPACE.values():
        HyperparameterOptions.model_validate(declared)
    study = parse_study(
        {
            "name": "x",
            "cohort": {"manifest": "cohort.csv"},
            "preprocessing": {"shape": [32, 32, 32]},
            "split": {"train": 0, "tune": 0, "search": 9},
            "model": {"source": "engine", "engine": name},
            "hyperparameters": adaptor.SPACE,
            "search": {"sampler": "TPESampler"},
        }
    )
    default = study.space.default
    on_lattice = study.space.setting(study.space.index(default))
    assert on_lattice.keys() == default.keys()
    for key, value in default.items():
        if isinstance(value, float):
            assert math.isclose(float(on_lattice[key]), value, rel_tol=1e-6, abs_tol=1e-9)
        else:
            assert on_lattice[key] == value


def test_a_program_that_takes_no_planes_is_refused_before_any_work() -> None:
    needs("convexadam")
    source = EngineSource(kind="engine", name="convexadam", folder=Path(), grid=GRIDS[2])
    with pytest.raises(DeclarationError, match="expected 3-D images, as ConvexAdam takes, got 2-D"):
        source.check()


def test_a_missing_package_is_one_line_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    source = EngineSource(kind="engine", name="ants", folder=Path(), grid=GRIDS[3])
    with pytest.raises(DeclarationError, match=r"Run pip install 'hmopt\[ants\]'"):
        source.check()


@pytest.mark.parametrize(
    ("table", "key"), [("defaults", "gradient_steps"), ("options", "transforms")]
)
def test_a_name_that_a_program_does_not_know_is_refused(table: str, key: str) -> None:
    needs("ants")
    plain = EngineSource(kind="engine", name="ants", folder=Path(), grid=GRIDS[3])
    values = {key: 1}
    source = (
        replace(plain, defaults=values) if table == "defaults" else replace(plain, options=values)
    )
    with pytest.raises(DeclarationError, match=f"{key}: expected one of gradient_step"):
        source.check()
