"""What `plugins` of `study.toml` can and cannot do."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hmopt.catalogue import METRICS, SIMILARITIES, Record, find_similarity
from hmopt.declaration import read_study
from hmopt.errors import DeclarationError

MakeStudy = Callable[[str, str], Path]

ADD = """
import hmopt

hmopt.add_similarity(
    hmopt.Similarity(name="{name}", title="mine", function="hmopt.losses.similarity:mean_squared_error")
)
"""


def test_reading_a_study_twice_imports_its_plugin_once(make_study: MakeStudy) -> None:
    folder = make_study(ADD.format(name="mine"), '[loss]\nsimilarity = "mine"')
    assert read_study(folder) == read_study(folder)
    assert find_similarity("mine").title == "mine"


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (
            "import nothing_of_this_name",
            "ModuleNotFoundError: No module named 'nothing_of_this_name'",
        ),
        ("hmopt is", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
    ],
)
def test_plugin_that_cannot_be_imported_is_told_in_one_line(
    make_study: MakeStudy, plugin: str, message: str
) -> None:
    with pytest.raises(
        DeclarationError, match=r"^plugins: expected a file or module to import"
    ) as told:
        read_study(make_study(plugin, ""))
    assert "'plugin.py'" in str(told.value)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_name_that_is_taken_is_refused_and_nothing_is_added(make_study: MakeStudy) -> None:
    plugin = ADD.format(name="mine") + ADD.format(name="mse")
    with pytest.raises(DeclarationError, match="similarity: expected a new name, got 'mse'"):
        read_study(make_study(plugin, ""))
    assert "mine" not in SIMILARITIES


def test_unknown_names_are_refused_with_those_there_are(make_study: MakeStudy) -> None:
    plugin = ADD.format(name="mine")
    with pytest.raises(
        DeclarationError,
        match=r"loss\.similarity: expected one of mse, lncc, mutual_information, mine \(mine\?\), got 'mime'",
    ):
        read_study(make_study(plugin, '[loss]\nsimilarity = "mime"'))
    folder = Path(make_study(plugin, "[hyperparameters.warmth]"))
    with pytest.raises(
        DeclarationError,
        match=r"hyperparameters\.warmth: expected one of regularization, .*, window, got 'warmth'",
    ):
        read_study(folder)


def test_module_that_python_can_import_is_a_plugin(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "somebodys_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "losses.py").write_text(ADD.format(name="theirs"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    folder = make_study("", '[loss]\nsimilarity = "theirs"')
    text = (folder / "study.toml").read_text(encoding="utf-8")
    text = text.replace('"plugin.py"', '"somebodys_package.losses"')
    (folder / "study.toml").write_text(text, encoding="utf-8")
    assert read_study(folder).loss.similarity == "theirs"


def test_another_process_that_reads_the_study_has_the_plugin(make_study: MakeStudy) -> None:
    """As the processes of `hmopt compare --jobs` do."""
    folder = make_study(ADD.format(name="mine"), '[loss]\nsimilarity = "mine"')
    code = (
        "from pathlib import Path; from hmopt import read_study; "
        f"print(read_study(Path({str(folder)!r})).loss.similarity)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "mine"


def test_the_catalogue_alone_loads_no_torch() -> None:
    code = "import sys, hmopt.catalogue; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_function_of_the_catalogue_is_there() -> None:
    from hmopt.catalogue import HYPERPARAMETERS, REGULARIZERS, weighted_terms

    computed: list[Record] = [*METRICS.values(), *SIMILARITIES.values(), *REGULARIZERS.values()]
    for record in [*computed, *weighted_terms(HYPERPARAMETERS)]:
        assert callable(record.load())
