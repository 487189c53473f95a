"""`[compare]`: what the model is compared with."""

import itertools
from typing import ClassVar

from pydantic import Field

from hmopt.declaration.options import Options
from hmopt.space import Hyperparameter, Index, Space

EVEN_VALUES = 9


class CompareOptions(Options):
    """`[compare]`: baselines to train: separate networks, and hypermorphs of other seeds."""

    table: ClassVar[str] = "compare"

    values: dict[str, list[float]] = {}
    """Values of separate networks by hyperparameter, in all combinations; left out: nine even ones
    of the first."""
    seeds: int = Field(default=3, gt=0, le=1000)
    """Seeds of these networks, and of hypermorphs that are trained for as many steps as one of
    them."""
    optimum_seeds: int = Field(default=5, gt=0, le=1000)
    """Seeds of separate networks at the best setting of the whole cohort and at the default one."""
    hypermorph_seeds: int = Field(default=5, gt=0, le=1000)
    """Seeds of hypermorphs that are trained for twice the steps of a separate network."""
    steps: int | None = Field(default=None, ge=2, le=10**9)
    """Optimizer steps of a separate network; left out: half of the model's."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Adam's initial learning rate for separate networks; left out: the model's."""
    half_budget_seeds: int = Field(default=0, ge=0, le=1000)
    """Seeds of separate networks at the best setting of the cohort that are trained for half the
    model's steps."""

    def budgets(self, model_steps: int) -> tuple[int, int]:
        """Return the steps of a separate network, and the larger budget of a hypermorph: at most twice as many.

        Parameters
        ----------
        model_steps
            Optimizer steps of the model.

        Examples
        --------
        >>> CompareOptions().budgets(6000), CompareOptions(steps=2000).budgets(6000)
        ((3000, 6000), (2000, 4000))
        """
        if self.steps is not None:
            return self.steps, 2 * self.steps
        half = (model_steps + 1) // 2
        return half, model_steps

    def grid(self, space: Space) -> list[Index]:
        """Return the settings of separate networks, sorted.

        A hyperparameter without values stays at its default. Where no values are declared at all,
        the first hyperparameter has nine even ones.

        Examples
        --------
        >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
        >>> CompareOptions(values={"regularization": [0.0, 0.35]}).grid(space), len(CompareOptions().grid(space))
        ([(0,), (70,)], 9)
        """
        values = self.values or _even_values(space.hyperparameters[0])
        places = []
        for hyperparameter in space.hyperparameters:
            declared = values.get(hyperparameter.name, [hyperparameter.default])
            indices = [hyperparameter.index(value) for value in declared]
            places.append(indices)
        return sorted(itertools.product(*places))


def _even_values(hyperparameter: Hyperparameter) -> dict[str, list[float]]:
    alone = Space(hyperparameters=(hyperparameter,))
    settings = alone.coarse(EVEN_VALUES)
    values = [hyperparameter.value(index) for (index,) in settings]
    return {hyperparameter.name: values}
