import sys
from pathlib import Path
from typing import Any

import pytest

from hmopt.errors import HmoptError
from hmopt.tuner import widget
from hmopt.tuner.session import Asked
from hmopt.tuner.widget import answer_message
from tests.tuner.conftest import MakeTuner
from tests.tuner.test_session import stripes


def test_messages_are_answered_as_the_page_is(tuner_of_shift: MakeTuner) -> None:
    tuner = tuner_of_shift(stripes((8, 8), labels=True))
    question = {"setting": {"regularization": 0.5}, "pair": 0, "voxel": None, "coarse": False}
    expected = tuner.answer(Asked(setting={"regularization": 0.5}))
    sent, (body,) = answer_message(tuner, {"id": 7, "kind": "answer", "content": question})
    assert sent["id"] == 7
    assert sent["content"]["planes"] == expected.header["planes"]
    assert body == expected.body
    sent, buffers = answer_message(tuner, {"id": 8, "kind": "facts", "content": None})
    assert sent == {"id": 8, "content": tuner.facts()}
    assert buffers == []


@pytest.mark.parametrize(
    "message",
    [
        {"id": 1, "kind": "answer", "content": {"setting": {"regularization": 9}}},
        {"id": 1, "kind": "answer", "content": None},
        {"id": 1, "kind": "keep", "content": {"setting": {}, "path": "/tmp/elsewhere"}},
        {"id": 1, "kind": "else"},
    ],
)
def test_what_is_no_question_is_told(tuner_of_shift: MakeTuner, message: dict[str, Any]) -> None:
    sent, buffers = answer_message(tuner_of_shift(stripes((8, 8))), message)
    assert sent["id"] == 1
    assert "expected" in sent["error"]
    assert buffers == []


def test_a_widget_shows_the_page_and_answers_its_messages(searched: Path, tmp_path: Path) -> None:
    shown = widget(searched, setting=tmp_path / "setting.toml")
    assert "export default" in shown._esm
    sent: list[Any] = []
    shown.send = lambda content, buffers=None: sent.append(content)
    question = {"id": 1, "kind": "keep", "content": {"setting": {"regularization": 0.35}}}
    shown._handle_custom_msg(question, [])
    assert sent[0]["content"]["path"] == str(tmp_path / "setting.toml")


def test_without_its_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(HmoptError, match=r"pip install 'hmopt\[notebook\]'"):
        widget("studies/mine")
