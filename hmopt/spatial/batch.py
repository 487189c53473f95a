"""Batches in parts."""

from collections.abc import Sequence

from torch import Tensor


def divided(batch: Tensor, count: int) -> tuple[Tensor, ...]:
    """Return a batch in parts, in its order; where it does not divide evenly, the first have one row more.

    The parts are those of `Tensor.tensor_split`, which in the gradient fills a batch of zeros for each
    of them; here their gradients are concatenated once.

    Parameters
    ----------
    batch
        (batch, …).
    count
        Parts, at most as many as rows.

    Examples
    --------
    >>> import torch
    >>> [part.tolist() for part in divided(torch.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    rows, longer = divmod(len(batch), count)
    sizes = [rows + 1] * longer + [rows] * (count - longer)
    parts: tuple[Tensor, ...] = batch.split(sizes)  # type: ignore[no-untyped-call]
    return parts


def divided_if_any(batch: Tensor | None, count: int) -> Sequence[Tensor | None]:
    """Divide a batch that may be missing, such as label maps: without one each part is None.

    Examples
    --------
    >>> divided_if_any(None, 2)
    [None, None]
    """
    return [None] * count if batch is None else divided(batch, count)
