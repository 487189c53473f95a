"""Products of fields with matrices along the axes of their grid."""

from collections.abc import Sequence

from torch import Tensor


def along_axes(fields: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply fields by one matrix along each axis of the grid.

    For a grid of two axes this is M_x F M_yᵀ. No axis is moved, so that nothing is copied.

    Parameters
    ----------
    fields
        (batch, channel, *shape), d = 2 or 3 axes.
    matrices
        d of them, each (new size, size) of its axis.

    Returns
    -------
    Tensor
        (batch, channel, *new sizes).

    Examples
    --------
    Sums of neighbours along x, and the order reversed along y:

    >>> import torch
    >>> field = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> sums = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    >>> reverse = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> along_axes(field[None, None], [sums, reverse])[0, 0]
    tensor([[ 6.,  4.],
            [10.,  8.]])
    """
    *before, second_to_last, last = matrices
    product = fields @ last.T
    product = second_to_last @ product
    if before:
        (first,) = before
        plane = product.shape[3:]
        # each plane across x as one row
        rows = product.flatten(3)
        product = (first @ rows).unflatten(3, plane)  # type: ignore[no-untyped-call]
    return product
