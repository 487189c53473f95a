import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from hmopt.tuner.server import HEADERS, MOST_BYTES, make_app, new_token
from hmopt.tuner.session import Answer, Asked, Tuner
from tests.tuner.conftest import MakeTuner, Shift
from tests.tuner.test_session import stripes

TOKEN = "a-token"
HOST = "127.0.0.1:8421"
QUESTION = {"setting": {"regularization": 0.5}}


def client_of(tuner: Tuner) -> TestClient:
    return TestClient(make_app(tuner, TOKEN, 8421), base_url=f"http://{HOST}")


@pytest.fixture
def client(tuner_of_shift: MakeTuner) -> Iterator[TestClient]:
    with client_of(tuner_of_shift(stripes((8, 8), labels=True))) as client:
        yield client


# --- who may ask


def test_a_token_is_new_each_time_and_hard_to_guess() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(len(token) for token in tokens) >= 32


@pytest.mark.parametrize(
    "path", ["/", "/facts", "/another/facts", "/a-toke/facts", "/a-token2/facts", "/é/facts"]
)
def test_without_the_token_nothing_is_told(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 403
    assert TOKEN not in response.text


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "options"])
def test_the_token_is_asked_for_by_every_method(client: TestClient, method: str) -> None:
    assert client.request(method, "/answer").status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8421",
        "127.0.0.1",
        "127.0.0.1:8422",
        "127.0.0.1:8421.evil.example",
        "0.0.0.0:8421",
    ],
)
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get(f"/{TOKEN}/facts", headers={"Host": host}).status_code == 403


def test_localhost_is_this_host(client: TestClient) -> None:
    assert client.get(f"/{TOKEN}/facts", headers={"Host": "localhost:8421"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8421"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_another_origin_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post(f"/{TOKEN}/answer", json=QUESTION, headers=headers).status_code == 403
    assert client.get(f"/{TOKEN}/facts", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_the_page_itself_and_links_to_it_are_answered(
    client: TestClient, headers: dict[str, str]
) -> None:
    assert client.get(f"/{TOKEN}/", headers=headers).status_code == 200


def test_every_answer_is_protected(client: TestClient) -> None:
    paths = (f"/{TOKEN}/", f"/{TOKEN}/facts", f"/{TOKEN}/tuner.js", "/wrong/", f"/{TOKEN}/none")
    for path in paths:
        headers = client.get(path).headers
        for name, value in HEADERS.items():
            assert headers[name] == value
        assert "access-control-allow-origin" not in headers


def test_the_page_names_nothing_from_elsewhere(client: TestClient) -> None:
    for name in ("", "tuner.js", "tuner.css"):
        response = client.get(f"/{TOKEN}/{name}")
        assert response.status_code == 200
        without_names_of_formats = response.text.replace("http://www.w3.org/2000/svg", "")
        assert "://" not in without_names_of_formats
        assert TOKEN not in response.text


@pytest.mark.parametrize(
    "path", ["openapi.json", "docs", "../study.toml", "page/tuner.js", "facts/x"]
)
def test_nothing_else_is_there(client: TestClient, path: str) -> None:
    assert client.get(f"/{TOKEN}/{path}").status_code in (403, 404)


# --- what is asked


def test_an_answer_is_what_the_session_answers(tuner_of_shift: MakeTuner) -> None:
    tuner = tuner_of_shift(stripes((8, 8), labels=True))
    expected = tuner.answer(Asked(setting={"regularization": 0.5}))
    with client_of(tuner) as client:
        response = client.post(f"/{TOKEN}/answer", json=QUESTION)
    assert response.status_code == 200
    content = response.content
    length = int.from_bytes(content[:4], "little")
    assert length % 4 == 0
    header = json.loads(content[4 : 4 + length])
    assert header["planes"] == json.loads(json.dumps(expected.header["planes"]))
    assert content[4 + length :] == expected.body
    place = header["planes"][0]["arrays"]["displacement"]
    assert place["offset"] % 4 == 0
    field = np.frombuffer(content, np.float32, 128, 4 + length + place["offset"])
    assert set(field[:64]) == {2.0}


def test_facts_are_json(client: TestClient) -> None:
    facts = client.get(f"/{TOKEN}/facts").json()
    assert facts["pairs"] == ["a → b"]
    assert facts["hyperparameters"][0]["values"][-1] == 1.0


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b'{"setting": {"regularization": NaN}}', 422),
        (b'{"setting": {"regularization": null}}', 422),
        (b'{"setting": {"regularization": [1]}}', 422),
        (b'{"setting": {}, "pair": -1}', 422),
        (b'{"setting": {}, "voxel": [1]}', 422),
        (b'{"setting": {}, "voxel": ["a", "b"]}', 422),
        (b'{"setting": {}, "path": "/etc/passwd"}', 422),
        (b'{"setting": {"regularization": 7}}', 400),
        (b'{"setting": {"other": 0.5}}', 400),
        (b'{"setting": {}, "pair": 5}', 400),
        (b'{"setting": {}, "voxel": [1, 2, 3]}', 400),
    ],
)
def test_bad_questions_are_refused_in_one_line(
    client: TestClient, content: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    response = client.post(f"/{TOKEN}/answer", content=content, headers=headers)
    assert response.status_code == status
    message = response.json()["error"]
    assert message
    assert "\n" not in message


def test_a_question_that_is_too_long_is_not_read(client: TestClient) -> None:
    content = b" " * (MOST_BYTES + 1)
    assert client.post(f"/{TOKEN}/answer", content=content).status_code == 413


def test_a_form_of_another_page_is_no_question(client: TestClient) -> None:
    response = client.post(
        f"/{TOKEN}/keep",
        content=json.dumps({"setting": {"regularization": 0.5}}),
        headers={"Content-Type": "text/plain"},
    )
    assert response.status_code == 422


def test_what_a_newer_question_made_superfluous_has_no_content(
    tuner_of_shift: MakeTuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Shift):
        def displacement(self, *given: Any) -> NDArray[np.float32]:
            begun.set()
            go_on.wait()
            return super().displacement(*given)

    tuner = tuner_of_shift(stripes((8, 8)), model=Slow())
    reached = threading.Semaphore(0)
    ask_session = tuner.ask

    def count(asked: Asked) -> "Future[Answer]":
        future = ask_session(asked)
        reached.release()
        return future

    monkeypatch.setattr(tuner, "ask", count)
    statuses = {}
    with client_of(tuner) as client:

        def ask(value: float) -> None:
            question = {"setting": {"regularization": value}}
            statuses[value] = client.post(f"/{TOKEN}/answer", json=question).status_code

        threads = [threading.Thread(target=ask, args=(value,)) for value in (0.1, 0.2, 0.3)]
        for thread in threads:
            thread.start()
            reached.acquire()
            begun.wait()
        go_on.set()
        for thread in threads:
            thread.join()
    assert statuses == {0.1: 200, 0.2: 204, 0.3: 200}


# --- the choice


def test_a_setting_is_kept_where_the_command_line_says(client: TestClient, tmp_path: Path) -> None:
    response = client.post(f"/{TOKEN}/keep", json={"setting": {"regularization": 0.35}})
    assert response.json()["path"] == str(tmp_path / "setting.toml")
    assert "regularization = 0.35" in (tmp_path / "setting.toml").read_text(encoding="utf-8")


def test_a_page_cannot_choose_where(client: TestClient) -> None:
    question = {"setting": {"regularization": 0.35}, "path": "/tmp/elsewhere.toml"}
    assert client.post(f"/{TOKEN}/keep", json=question).status_code == 422


def test_a_file_that_cannot_be_written_is_told(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "setting.toml").mkdir()
    response = client.post(f"/{TOKEN}/keep", json={"setting": {"regularization": 0.35}})
    assert response.status_code == 500
    assert response.json()["error"]
