"""A chosen setting in a small file: `hmopt tune` writes it, `hmopt register` and `hmopt bake` take it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import tomlkit
from pydantic import ConfigDict, Field

from hmopt.errors import DeclarationError
from hmopt.files import checked, one_line, read_whole, replacing
from hmopt.interop.model import FileModel, Model
from hmopt.interop.refined_model import RefinedModel
from hmopt.schemas import Record
from hmopt.space import Setting, Value

OPTION = "--setting"
_WHAT = "a setting file written by `hmopt tune`"
_ADVICE = "Write it again, or set values with --regularization or --set."


class ChosenSetting(Record):
    """A setting, and the model that it was chosen for.

    Parameters
    ----------
    model
        Identity of the model; None: it is not told, and any model of these hyperparameters is taken.
    setting
        Values by name of a hyperparameter.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    setting: Annotated[dict[str, bool | int | float | str], Field(min_length=1)]


def identity_of(model: Model) -> str | None:
    """Return the identity of a model of a registrar; None of one that has none, as an engine."""
    if isinstance(model, RefinedModel):
        return model.unrefined_identity
    return model.identity if isinstance(model, FileModel) else None


def write_setting(path: Path, setting: Setting, model: str | None) -> None:
    """Write a setting as TOML, whole or not at all.

    Parameters
    ----------
    path
        The file.
    setting
        Values by name of a hyperparameter.
    model
        Identity of the model that it was chosen for; None: it has none.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "setting.toml"
    >>> write_setting(path, {"regularization": 0.35}, model="0f")
    >>> read_setting(path).setting
    {'regularization': 0.35}
    """
    document = tomlkit.document()
    document.add(
        tomlkit.comment(
            "Setting chosen with hmopt tune, for hmopt register and hmopt bake (--setting FILE)"
        )
    )
    if model is not None:
        document.add("model", tomlkit.item(model))
    document.add("setting", tomlkit.item(dict(setting)))
    with replacing(path) as beside:
        beside.write_text(tomlkit.dumps(document), encoding="utf-8")


def read_setting(path: Path) -> ChosenSetting:
    """Read what `write_setting` wrote, or what was written by hand.

    Raises
    ------
    DeclarationError
        If there is no such file, or it holds something else.
    """
    try:
        content = tomllib.loads(read_whole(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        got = _unread(error)
        raise DeclarationError(str(path), expected=_WHAT, got=got, advice=_ADVICE) from error
    values = content.get("setting")
    for name, value in values.items() if isinstance(values, dict) else ():
        # pydantic would name one of the types only
        if not isinstance(value, bool | int | float | str):
            raise DeclarationError(
                str(path),
                expected=_WHAT,
                got=f"{name} = {value!r}, which is no number, text, true or false",
                advice=_ADVICE,
            )
    return checked(
        content,
        ChosenSetting,
        field=str(path),
        error=DeclarationError,
        what=_WHAT,
        advice=_ADVICE,
    )


def _unread(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no file"
    if isinstance(error, RecursionError):
        return "tables or lists nested too deeply"
    return (isinstance(error, OSError) and error.strerror) or one_line(error)


def values_of(
    given: "Mapping[str, Value] | Path | str", model: Model | None
) -> Mapping[str, Value]:
    """Return the values of a setting that is given, or those in a file.

    Parameters
    ----------
    given
        Values by name, or the file.
    model
        The model that they are for; None: it is not known.

    Raises
    ------
    DeclarationError
        If the file cannot be read, or its setting was chosen for another model.
    """
    if not isinstance(given, Path | str):
        return given
    return values_in(Path(given), None if model is None else identity_of(model))


def values_in(path: Path, own: str | None) -> Mapping[str, Value]:
    """Return the values of a setting in a file.

    Parameters
    ----------
    path
        The file.
    own
        Identity of the model that they are for; None: it is not known.

    Raises
    ------
    DeclarationError
        If the file cannot be read, or its setting was chosen for another model.
    """
    chosen = read_setting(path)
    if own is not None and chosen.model is not None and chosen.model != own:
        raise DeclarationError(
            f"{path}: model",
            expected=f"a setting that was chosen for this model ({own})",
            got=f"a setting for another model ({chosen.model})",
            advice="Choose a new setting with `hmopt tune`, or remove the key `model` to use it anyway.",
        )
    return chosen.setting
