"""Keys that were renamed are read under both names, and hashes do not change with names."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hmopt.declaration import SearchOptions, Study, parse_study, read_study
from hmopt.declaration.renamed import RENAMED, current_names, first_names
from hmopt.errors import DeclarationError
from hmopt.training.identity import network_key, training_key

VALUES: dict[str, Any] = {
    "name": "x",
    "cohort": {"manifest": "cohort.csv"},
    "preprocessing": {"shape": [16, 16]},
    "split": {"train": 4, "tune": 1, "search": 2},
}
OLDER: dict[str, Any] = {
    "pairs.kinds": ["cross", "within"],
    "hypernetwork.units": [8, 16],
    "loss.regularization": "bending",
    "search.confirmations": 7,
    "search.minimum_partners": 3,
    "compare.full_seeds": 2,
}


def declared(values: dict[str, Any]) -> dict[str, Any]:
    """Return a declaration with values at dotted keys."""
    tables = dict(VALUES)
    for key, value in values.items():
        table, name = key.split(".")
        tables[table] = {**tables.get(table, {}), name: value}
    return tables


@pytest.mark.parametrize("older", OLDER)
def test_an_older_key_declares_the_same_and_one_line_names_the_new_one(older: str) -> None:
    remark = f"^study.toml: {older} is now {RENAMED[older]}; hmopt reads both.$"
    with pytest.warns(UserWarning, match=remark) as seen:
        study = parse_study(declared({older: OLDER[older]}))
    assert len(seen) == 1
    assert study == parse_study(declared({RENAMED[older]: OLDER[older]}))


def test_every_renamed_key_is_among_those_tried_here() -> None:
    assert set(OLDER) == set(RENAMED)


@pytest.mark.parametrize("older", OLDER)
def test_a_key_under_both_names_is_refused(older: str) -> None:
    values = {older: OLDER[older], RENAMED[older]: OLDER[older]}
    newer, former = (key.rpartition(".")[2] for key in (RENAMED[older], older))
    message = f"^{RENAMED[older]}: expected {newer} or its older name {former}, got both"
    for ordered in (values, dict(reversed(values.items()))):
        with (
            pytest.warns(UserWarning, match="is now"),
            pytest.raises(DeclarationError, match=message),
        ):
            parse_study(declared(ordered))


@pytest.mark.parametrize("key", ["folds", "repeats"])
def test_a_removed_key_has_no_effect_and_a_line_says_so(key: str) -> None:
    with pytest.warns(
        UserWarning, match=rf"search\.{key} has no effect: search\.splits replaces it"
    ):
        assert parse_study(declared({f"search.{key}": 20})) == parse_study(VALUES)


def test_align_is_read_as_the_placement_that_it_means() -> None:
    with pytest.warns(UserWarning, match=r"preprocessing\.align is now preprocessing\.placement"):
        study = parse_study({**VALUES, "preprocessing": {"shape": [16, 16], "align": "affine"}})
    assert study.preprocessing.placement == "affine"


def test_a_warning_names_the_file(tmp_path: Path) -> None:
    text = 'name = "x"\n[cohort]\nmanifest = "cohort.csv"\n[preprocessing]\nshape = [16, 16]\n'
    split = "[split]\ntrain = 4\ntune = 1\nsearch = 2\n"
    (tmp_path / "study.toml").write_text(f"{text}{split}[search]\nconfirmations = 3\n")
    with pytest.warns(UserWarning, match=rf"^{tmp_path}/study.toml: search\.confirmations is now"):
        assert read_study(tmp_path).search.refinements == 3


def test_options_that_another_file_holds_are_read_under_older_names_in_silence() -> None:
    values = {"confirmations": 7, "minimum_partners": 3, "folds": 2, "repeats": 20}
    options = SearchOptions.model_validate(values)
    assert options == SearchOptions(refinements=7, min_paired_subjects=3)
    assert options.model_fields_set == {"refinements", "min_paired_subjects"}


def test_first_names_and_current_names_are_each_others_inverse() -> None:
    today = current_names(declared(OLDER))
    assert first_names(today) == declared(OLDER)
    assert current_names(first_names(today)) == today


def test_models_that_were_trained_under_older_names_are_still_recognized() -> None:
    """Compare with the hashes that the version before the new names made of this declaration."""
    study: Study = parse_study(
        declared(
            {
                "pairs.tasks": ["cross", "within"],
                "hypernetwork.widths": [8, 16],
                "loss.regularizer": "bending",
                # what was the default then
                "hypernetwork.learning_rate_share": 0.5,
                "training.learning_rate": 5e-4,
                "training.settings_per_step": 1,
                "training.warm_up": 0,
            }
        )
    )
    cohort: Any = SimpleNamespace(shape=(16, 16), identity="a hash")
    assert training_key(study, cohort) == "532d9f3d1fb1a3f4"
    assert network_key(study, cohort) == "936291cbe357b673"
