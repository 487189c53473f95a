"""How settings are drawn in training."""

import numpy as np

from hmopt.space import Setting, Space


def draw_setting(space: Space, generator: np.random.Generator) -> Setting:
    """Draw a setting: each hyperparameter from its prior, its end points oversampled.

    Parameters
    ----------
    space
        The hyperparameters.
    generator
        Where randomness comes from.

    Returns
    -------
    Setting
        A value for each hyperparameter, anywhere in its range: not only on the lattice.

    References
    ----------
    Hoopes et al., MELBA 2022, section 3.2.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", end_point_rate=0.5),))
    >>> draw_setting(space, np.random.default_rng(0))["regularization"] in (0.0, 1.0)
    True
    """
    setting = {}
    for hyperparameter in space.hyperparameters:
        share, unit = generator.random(2)
        rate = hyperparameter.end_point_rate
        place = 0.0 if share < rate else 1.0 if share >= 1 - rate else unit
        setting[hyperparameter.name] = hyperparameter.from_unit_interval(float(place))
    return setting
