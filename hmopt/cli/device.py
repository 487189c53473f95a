"""Where to compute."""

from hmopt.errors import DeclarationError


def find_device(name: str | None) -> str:
    """Give the name of a device that is there: the one that was asked for, or the fastest.

    Raises
    ------
    DeclarationError
        If the one that was asked for is not there.

    Examples
    --------
    >>> find_device("cpu")
    'cpu'
    >>> find_device("abacus")
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: --device: expected a device that is there (cpu...), got 'abacus'. Choose one of them.
    """
    import torch

    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    there += ["cuda"] if torch.cuda.is_available() else []
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name is None:
        return there[-1]
    if name not in there:
        expected = f"a device that is there ({', '.join(there)})"
        raise DeclarationError(
            "--device", expected=expected, got=repr(name), advice="Choose one of them."
        )
    return name
