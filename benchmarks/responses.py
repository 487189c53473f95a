"""Response curves and surfaces with known optima: synthetic ones, and the studies' dense sweeps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis import draw_weights, weighted_means
from hmopt.declaration import SearchOptions
from hmopt.ledger import Measurements
from hmopt.search import Curve, find_curves, list_scopes
from hmopt.study_folder import StudyFolder, read_dense

STUDIES = Path(__file__).parent.parent / "studies"
LATTICE = np.arange(201) / 200
SCOPES = [
    ["cohort"],
    ["task"],
    ["label"],
    ["subject"],
    ["task", "label"],
    ["task", "subject"],
    ["label", "subject"],
]
PARTNERS = 5
"""Partners that a subject needs: fewer than studies ask for, so that noisy curves are included."""
NEGLIGIBLE_REGRET = 0.001
"""A regret below this is negligible."""
DRAWS = 500


@dataclass(frozen=True, kw_only=True)
class Response:
    """Scores over the lattice (higher is better), and their standard errors.

    Parameters
    ----------
    name
        Of the family or the scope.
    scores
        Shape (201,), or (41, 41) for two hyperparameters.
    lower_hump
        Place of the lower of two humps; None if there is only one.
    error
        Returns the standard error of the difference between the best place and another.
    """

    name: str
    scores: NDArray[np.float64]
    lower_hump: int | None = None
    error: Callable[[int], float] = lambda place: 0.0

    def regret(self, place: int) -> float:
        """Return the difference between the best score and that of a place."""
        return float(self.scores.max() - self.scores.flat[place])

    def within(self, place: int) -> bool:
        """Whether the regret of a place is at most 0.001 or its standard error."""
        regret = self.regret(place)
        return regret <= NEGLIGIBLE_REGRET or regret <= self.error(place)

    def missed(self, place: int) -> bool:
        """Whether a place is nearer to the lower hump."""
        return self.lower_hump is not None and abs(place - self.lower_hump) < abs(
            place - int(self.scores.argmax())
        )


def families(count: int, seed: int) -> dict[str, list[Response]]:
    """Return `count` curves of each synthetic family."""
    generator = np.random.default_rng(seed)
    made: dict[str, Callable[[np.random.Generator], Response]] = {
        "unimodal": _unimodal,
        "flat": _flat,
        "two-humped": lambda drawing: _two_humped(drawing, 0.1, 0.2),
        "two narrow humps": lambda drawing: _two_humped(drawing, 0.05, 0.1),
    }
    return {name: [make(generator) for _ in range(count)] for name, make in made.items()}


def _unimodal(generator: np.random.Generator) -> Response:
    best, power = generator.uniform(0, 1), generator.uniform(1.5, 3)
    left, right = generator.uniform(0.1, 0.6, 2)
    width = 0.3 + np.where(best > LATTICE, left, right)
    fall = generator.uniform(0.05, 0.3) * LATTICE ** generator.uniform(8, 25)
    return Response(
        name="unimodal", scores=0.8 - 0.3 * np.abs((LATTICE - best) / width) ** power - fall
    )


def _flat(generator: np.random.Generator) -> Response:
    height, waves, phase = (
        generator.uniform(0, 0.001),
        generator.uniform(0.5, 2),
        generator.uniform(),
    )
    return Response(
        name="flat", scores=0.7 + height * np.sin(2 * np.pi * (waves * LATTICE + phase))
    )


def _two_humped(generator: np.random.Generator, narrowest: float, widest: float) -> Response:
    """Return two Gaussian humps of height 0.15, 0.35 to 0.5 apart, one of them 0.005 to 0.05 higher."""
    first = generator.uniform(0.05, 0.45)
    centres = np.array([first, first + generator.uniform(0.35, 0.5)])
    widths, more = (
        generator.uniform(narrowest, widest, 2),
        generator.uniform(0.005, 0.05) * np.array([1, 0]),
    )
    heights = 0.15 + generator.permutation(more)
    humps = heights[:, None] * np.exp(-(((LATTICE - centres[:, None]) / widths[:, None]) ** 2))
    lower_hump = round(200 * centres[heights.argmin()])
    return Response(
        name="two humps", scores=0.6 + humps.sum(axis=0) - 0.1 * LATTICE**8, lower_hump=lower_hump
    )


def surfaces(count: int, seed: int) -> list[Response]:
    """Return surfaces over two hyperparameters: a tilted hump, half of them with a lower one beside it."""
    generator = np.random.default_rng(seed)
    return [_surface(generator, number % 2 * 0.1) for number in range(count)]


def _surface(generator: np.random.Generator, second: float) -> Response:
    x, y = np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 41), indexing="ij")
    (a, b), (c, d) = generator.uniform(0.1, 0.9, 2), generator.uniform(0.3, 0.6, 2)
    tilt = generator.uniform(-0.5, 0.5)
    hump = np.exp(-(((x - a) / c) ** 2 + ((y - b) / d) ** 2 + tilt * (x - a) * (y - b) / (c * d)))
    lower = second * np.exp(-(((x - 1 + a) / 0.25) ** 2 + ((y - 1 + b) / 0.25) ** 2))
    return Response(name="surface", scores=0.5 + 0.2 * hump + lower - 0.1 * x**12)


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A study with a dense sweep: its measurements, the options that list its scopes, their responses."""

    name: str
    measurements: Measurements
    section: SearchOptions
    responses: tuple[Response, ...]


def swept_studies() -> Iterator[Swept]:
    """Yield every study of the project with a dense sweep, in its ledger or its committed results."""
    for folder in sorted(STUDIES.iterdir()):
        dense = read_dense(folder) if (folder / "results").is_dir() else None
        if dense is not None:
            declared = StudyFolder(folder).searched.search
            section = declared.model_copy(
                update={"scopes": SCOPES, "min_paired_subjects": PARTNERS, **DEFAULTS}
            )
            scopes = list_scopes(section, dense.pairs, dense.labels)
            responses = tuple(
                _response(curve, dense) for curve in find_curves(dense, scopes, section.metric)
            )
            yield Swept(name=folder.name, measurements=dense, section=section, responses=responses)


DEFAULTS = {name: SearchOptions.model_fields[name].default for name in ("coarse", "refinements")}
"""The search options compared here are hmopt's defaults, whatever the studies declared."""


def _response(curve: Curve, dense: Measurements) -> Response:
    moving, fixed = (
        dense.pairs[f"{side}_subject"].to_numpy(dtype=object)[curve.pairs]
        for side in ("moving", "fixed")
    )
    subject = dict(curve.scope.criteria).get("subject")

    def error(place: int) -> float:
        weights = draw_weights(moving, fixed, DRAWS, seed=0, always=subject)
        return float(
            weighted_means(weights, curve.scores[curve.best()] - curve.scores[place]).std()
        )

    return Response(name=curve.scope.name, scores=curve.signed_means, error=error)
