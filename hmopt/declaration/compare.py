"""What the model is compared with."""

import itertools

from pydantic import Field

from hmopt.declaration.options import Options
from hmopt.space import Index, Space

EVEN_VALUES = 9


class CompareOptions(Options):
    """`[compare]`: what `hmopt compare` trains beside the model: networks for one setting, other first weights."""

    values: dict[str, list[float]] = {}
    """Values of separate networks by hyperparameter, in all combinations; left out: nine even ones of the first one."""
    seeds: int = Field(default=3, gt=0, le=1000)
    """Seeds of these networks, and of the hypermorphs that are trained for as many steps as one of them."""
    optimum_seeds: int = Field(default=5, gt=0, le=1000)
    """Seeds of separate networks at the best setting of the whole cohort and at the default one."""
    hypermorph_seeds: int = Field(default=5, gt=0, le=1000)
    """Seeds of hypermorphs that are trained for twice the steps of a separate network."""
    steps: int | None = Field(default=None, ge=2, le=10**9)
    """Optimizer steps of a separate network; left out: half of the model's."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Adam's learning rate of separate networks at the start; left out: the model's."""
    full_seeds: int = Field(default=0, ge=0, le=1000)
    """Seeds of separate networks at the best setting of the cohort that are trained for half the model's steps."""

    def budgets(self, model_steps: int) -> tuple[int, int]:
        """Give the steps of a separate network, and the larger budget of a hypermorph: twice that, or the model's own.

        Examples
        --------
        >>> CompareOptions().budgets(6000), CompareOptions(steps=2000).budgets(6000)
        ((3000, 6000), (2000, 4000))
        """
        return (
            ((model_steps + 1) // 2, model_steps)
            if self.steps is None
            else (self.steps, 2 * self.steps)
        )

    def grid(self, space: Space) -> list[Index]:
        """Give the settings of separate networks; a hyperparameter without values stays at its default.

        Where no values are declared at all, the first hyperparameter has nine even ones.

        Examples
        --------
        >>> from hmopt.space import Hyperparameter
        >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
        >>> CompareOptions(values={"regularization": [0.0, 0.35]}).grid(space), len(CompareOptions().grid(space))
        ([(0,), (70,)], 9)
        """
        first = space.hyperparameters[0]
        even = Space(hyperparameters=(first,)).coarse(EVEN_VALUES)
        values = self.values or {first.name: [first.value(index) for (index,) in even]}
        places = [
            [h.index(value) for value in values.get(h.name, [h.default])]
            for h in space.hyperparameters
        ]
        return sorted(itertools.product(*places))
