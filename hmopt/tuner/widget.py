"""The page of `hmopt tune` as a widget of a notebook, which needs no server: questions and answers are messages."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from hmopt.errors import DataError, HmoptError
from hmopt.files import checked, one_line
from hmopt.tuner.session import Asked, Kept, Tuner
from hmopt.tuner.tune import make_tuner

M = TypeVar("M", bound=BaseModel)


def answer_message(tuner: Tuner, message: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Return what a widget sends back: content and buffers, or the line of an error.

    Parameters
    ----------
    tuner
        What answers.
    message
        `id`, `kind` (`facts`, `answer` or `keep`) and `content`, as the page sends it.
    """
    kind, content = message.get("kind"), message.get("content")
    sent: dict[str, Any] = {"id": message.get("id")}
    try:
        if kind == "facts":
            return sent | {"content": tuner.facts()}, []
        if kind == "answer":
            answer = tuner.answer(_parsed(content, Asked))
            return sent | {"content": dict(answer.header)}, [answer.body]
        kept = _parsed(content, Kept)
        return sent | {"content": tuner.keep(kept.setting)}, []
    except (HmoptError, OSError) as error:
        return sent | {"error": one_line(error)}, []


def _parsed(content: object, schema: type[M]) -> M:
    return checked(
        content,
        schema,
        field="message",
        error=DataError,
        what="a question of the page",
        advice="Show the widget again.",
    )


def widget(folder: Path | str, *images: Path | str, **options: Any) -> Any:
    """Return the page of `hmopt tune` as a widget, to be shown at the end of a notebook's cell.

    Parameters
    ----------
    folder, images, options
        As of `hmopt.tune`: the study folder, a moving and a fixed image or none, `moving_labels`, `fixed_labels`,
        `setting`, `placement`, `trust_code`, `refine` and `device`.

    Returns
    -------
    anywidget.AnyWidget
        The widget.

    Raises
    ------
    HmoptError
        As `hmopt.tune`, or if anywidget is not installed.

    Examples
    --------
    >>> import hmopt.tuner
    >>> hmopt.tuner.widget("studies/mine")  # doctest: +SKIP
    """
    try:
        from anywidget import AnyWidget
    except ImportError as error:
        raise HmoptError(
            "hmopt.tuner.widget",
            expected="the package anywidget",
            got=one_line(error),
            advice="Install it: pip install 'hmopt[notebook]'.",
        ) from error
    page = files("hmopt.tuner") / "page"
    tuner = make_tuner(folder, *images, **options)

    class TunerWidget(AnyWidget):
        _esm = (page / "tuner.js").read_text(encoding="utf-8")
        _css = (page / "tuner.css").read_text(encoding="utf-8")

    shown = TunerWidget()

    def reply(own: Any, message: Mapping[str, Any], buffers: object) -> None:
        content, arrays = answer_message(tuner, message)
        own.send(content, buffers=arrays)

    shown.on_msg(reply)
    return shown
