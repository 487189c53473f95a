"""Small inputs that other programs were run on, made by code so that nothing but their outputs is stored."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SHAPES = {"2-D": (16, 14), "3-D": (10, 9, 8)}
LABELS = 3

Array = NDArray[np.float32]


def smooth_noise(shape: tuple[int, ...], seed: int, sigma: float = 1.5) -> Array:
    """Return smooth noise of standard deviation 1."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(noise, sigma)
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def image(shape: tuple[int, ...]) -> Array:
    """Return an image with values in [0, 1]."""
    noise = smooth_noise(shape, seed=0)
    low = noise.min()
    return np.asarray((noise - low) / (noise.max() - low))


def velocity(shape: tuple[int, ...]) -> Array:
    """Return a velocity (d, *shape) in voxels that vanishes at the border, so that no path leaves the grid."""
    window = np.ones(shape)
    for axis, size in enumerate(shape):
        along = np.sin(np.linspace(0, np.pi, size))
        window *= along.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    components = [smooth_noise(shape, seed=axis + 1) for axis in range(len(shape))]
    return (1.2 * window * np.stack(components)).astype(np.float32)


def labels(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Return a label map with values from 0 to `LABELS`."""
    noise = smooth_noise(shape, seed=10) + 0.4 * smooth_noise(shape, seed=seed)
    return np.digitize(noise, [-0.5, 0.2, 0.9]).astype(np.uint8)
