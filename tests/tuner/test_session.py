from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import hmopt
from hmopt.data.preprocessing import prepare
from hmopt.errors import DeclarationError, HmoptError
from hmopt.oracle import load_oracle
from hmopt.records import Pair
from hmopt.space import Hyperparameter
from hmopt.tuner import make_tuner, session
from hmopt.tuner.pairs import ShownPair
from hmopt.tuner.session import Answer, Asked, Tuner, coarse_displacement, control
from tests.tuner.conftest import MOST, MakeTuner, Shift


def arrays(answer: Answer, plane: int = 0) -> dict[str, NDArray[Any]]:
    """Return the arrays of a plane, taken from the body as a page takes them."""
    found = {}
    for name, place in answer.header["planes"][plane]["arrays"].items():
        count = int(np.prod(place["shape"]))
        flat = np.frombuffer(answer.body, place["dtype"], count, place["offset"])
        found[name] = flat.reshape(place["shape"])
    return found


def stripes(shape: tuple[int, ...], labels: bool = False) -> ShownPair:
    """Return a pair whose intensities rise along the first axis, with a label in its middle."""
    image = np.broadcast_to(
        np.arange(shape[0], dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1)), shape
    )
    label_map = np.zeros(shape, np.uint8)
    label_map[tuple(slice(size // 4, 3 * size // 4) for size in shape)] = 1
    return ShownPair(
        name="a → b",
        moving=image.copy(),
        fixed=image.copy(),
        labels=("middle",),
        moving_labels=label_map if labels else None,
        fixed_labels=label_map if labels else None,
    )


# --- the same as elsewhere in hmopt


@pytest.mark.parametrize("value", [0.0, 0.35, 1.0])
def test_a_pair_of_the_study_is_registered_as_the_oracle_does(
    searched: Path, tuner: Tuner, value: float
) -> None:
    study = hmopt.read_study(searched)
    oracle = load_oracle(searched, study, prepare(study, searched))
    place = 5
    moving, fixed = tuner.facts()["pairs"][place].split(" → ")
    subjects = oracle.cohort.images["subject"]
    pair = Pair(
        moving=moving,
        fixed=fixed,
        moving_subject=subjects[moving],
        fixed_subject=subjects[fixed],
    )
    index = oracle.space.index({"regularization": value})
    expected = oracle.displacement(index, pair)

    answer = tuner.answer(Asked(setting={"regularization": value}, pair=place))
    shown = arrays(answer)
    np.testing.assert_allclose(shown["displacement"], expected, atol=1e-4)
    np.testing.assert_array_equal(shown["moving_labels"], oracle.cohort.label_map(moving))

    (block,) = oracle.measure([index], [pair], ["dice", "folding"])
    scores = answer.header["scores"]
    dice = [np.nan if one is None else one for one in scores["dice"]]
    np.testing.assert_allclose(dice, block.values["dice"][0], atol=1e-4)
    assert scores["folding"] == pytest.approx(block.values["folding"][0], abs=1e-6)


def test_two_files_are_registered_as_register_does(
    searched: Path, tiny_study: Any, tmp_path: Path
) -> None:
    moving, fixed = tiny_study.image(1), tiny_study.image(2)
    tuner = make_tuner(searched, moving, fixed, setting=tmp_path / "setting.toml", device="cpu")
    shown = arrays(tuner.answer(Asked(setting={"regularization": 0.2})))
    tuner.close()
    registered = hmopt.register(searched, moving, fixed, setting={"regularization": 0.2})
    image = registered.displacement_image
    # ITK counts to the left and to the back, in mm
    in_mm = np.asarray(image.dataobj).squeeze()
    spacing_mm = image.affine[0, 0]
    np.testing.assert_allclose(
        shown["displacement"], -in_mm.T.swapaxes(1, 2) / spacing_mm, atol=1e-4
    )


# --- a model in closed form


def test_a_volume_is_shown_in_three_planes_through_a_voxel(tuner_of_shift: MakeTuner) -> None:
    tuner = tuner_of_shift(stripes((8, 10, 12), labels=True))
    answer = tuner.answer(Asked(setting={"regularization": 0.5}, voxel=[3, 40, -1]))
    assert answer.header["voxel"] == [3, 9, 0]
    assert [plane["index"] for plane in answer.header["planes"]] == [3, 9, 0]
    sagittal, coronal, axial = (arrays(answer, plane) for plane in range(3))
    assert sagittal["moved"].shape == (10, 12)
    assert coronal["moved"].shape == (8, 12)
    assert axial["moved"].shape == (8, 10)
    # λ = 0.5 moves by two voxels: what is seen at x was at x + 2
    expected = [255 * min(x + 2, 7) // 7 for x in range(8)]
    assert axial["moved"][:, 0].tolist() == expected
    assert (axial["displacement"][0] == 0.5 * MOST).all()
    assert (sagittal["displacement"] == 0).all()


def test_scores_are_those_of_the_whole_pair(tuner_of_shift: MakeTuner) -> None:
    pair = stripes((8, 8), labels=True)
    tuner = tuner_of_shift(pair)
    scores = tuner.answer(Asked(setting={"regularization": 0.25})).header["scores"]
    # of 4 rows, 3 still lie on each other after a shift by one
    assert scores["dice"] == [0.75]
    assert scores["mean_dice"] == 0.75
    assert scores["folding"] == 0


def test_without_labels_only_folding_is_told(tuner_of_shift: MakeTuner) -> None:
    scores = tuner_of_shift(stripes((8, 8))).answer(Asked(setting={})).header["scores"]
    assert scores == {"folding": 0.0}


def test_a_setting_that_was_shown_is_not_computed_again(tuner_of_shift: MakeTuner) -> None:
    model = Shift()
    tuner = tuner_of_shift(stripes((8, 8, 8)), model=model)
    for voxel in ([1, 1, 1], [2, 5, 3]):
        tuner.answer(Asked(setting={"regularization": 0.3}, voxel=voxel))
    assert model.calls == 1


def test_the_coarse_answer_lies_between_what_is_known(
    tuner_of_shift: MakeTuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "COARSE_VOXELS", 8 * 8)
    tuner = tuner_of_shift(stripes((16, 16), labels=True))
    assert tuner.is_coarse_first
    for value in (0.0, 1.0):
        tuner.answer(Asked(setting={"regularization": value}))
    answer = tuner.answer(Asked(setting={"regularization": 0.35}, coarse=True))
    assert answer.header["coarse"]
    assert answer.header["scores"] == {}
    shown = arrays(answer)
    assert shown["moved"].shape == (8, 8)
    # in voxels of the coarse grid, each two of the fine one
    np.testing.assert_allclose(shown["displacement"][0], 0.35 * MOST / 2, atol=1e-6)
    assert answer.header["voxel"] == [4, 4]


def test_a_pair_that_was_left_for_others_keeps_its_coarse_answers(
    tuner_of_shift: MakeTuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "COARSE_VOXELS", 8 * 8)
    count = session.KEPT_PAIRS + 2
    tuner = tuner_of_shift(*[stripes((16, 16)) for _ in range(count)])
    for place in [*range(count), 0]:
        tuner.answer(Asked(pair=place, setting={"regularization": 0.5}))
    answer = tuner.answer(Asked(pair=0, setting={"regularization": 0.5}, coarse=True))
    np.testing.assert_allclose(arrays(answer)["displacement"][0], 0.5 * MOST / 2, atol=1e-6)


def test_before_anything_is_known_the_coarse_answer_moves_nothing(
    tuner_of_shift: MakeTuner,
) -> None:
    answer = tuner_of_shift(stripes((8, 8))).answer(Asked(setting={}, coarse=True))
    assert answer.header["coarse"]
    assert not arrays(answer)["displacement"].any()


def test_a_model_of_a_small_grid_is_always_answered_exactly(tuner: Tuner) -> None:
    assert not tuner.is_coarse_first
    answer = tuner.answer(Asked(setting={"regularization": 0.5}, coarse=True))
    assert not answer.header["coarse"]


def test_a_coarse_grid_keeps_a_voxel_along_each_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "COARSE_VOXELS", 8)
    assert session.coarse_factor((4, 64, 64)) == 4
    assert session.coarse_factor((8, 8)) == 4


def test_a_coarse_displacement_is_the_mean_in_coarse_voxels() -> None:
    field = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    coarse = coarse_displacement(field, 2)
    for axis, x, y in np.ndindex(2, 2, 2):
        block = field[axis, 2 * x : 2 * x + 2, 2 * y : 2 * y + 2]
        assert coarse[axis, x, y] == block.mean() / 2


# --- what a page must know


def test_the_values_of_a_slider_are_those_of_the_lattice() -> None:
    found = control(Hyperparameter(name="regularization", step=0.25))
    assert found["values"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found["texts"] == ["0", "0.25", "0.5", "0.75", "1"]
    assert found["symbol"] == "λ"
    assert found["ordered"]


def test_a_long_range_has_a_thousand_stops_from_end_to_end() -> None:
    steps = Hyperparameter(name="iterations", type="integer", low=1, high=100_000, default=10)
    values = control(steps)["values"]
    assert len(values) == session.MOST_STOPS
    assert (values[0], values[-1]) == (1, 100_000)


def test_choices_and_conditions_are_told() -> None:
    similarity = Hyperparameter(name="similarity", type="categorical", choices=("CC", "MI"))
    bins = Hyperparameter(
        name="bins", type="integer", low=8, high=64, default=32, only_if={"similarity": "MI"}
    )
    assert control(similarity)["values"] == ["CC", "MI"]
    assert not control(similarity)["ordered"]
    assert control(bins)["only_if"] == [["similarity", ["MI"]]]


def test_the_page_starts_at_the_best_setting_of_the_cohort(tuner: Tuner) -> None:
    facts = tuner.facts()
    assert facts["start"] == facts["findings"]["scopes"][0]["setting"]
    assert facts["name"] == "tiny"
    assert facts["shape"] == [32, 32]


# --- what is refused


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"setting": {"regularization": 1.5}}, "regularization: expected a number in"),
        ({"setting": {"regularization": "much"}}, "regularization: expected a number in"),
        ({"setting": {"gamma": 0.5}}, "gamma: expected a hyperparameter of the model"),
        ({"setting": {}, "pair": 999}, "pair: expected 0 to"),
        ({"setting": {}, "voxel": [1, 2, 3]}, "voxel: expected 2 numbers"),
    ],
)
def test_what_is_none_is_refused(tuner: Tuner, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(HmoptError, match=message):
        tuner.answer(Asked(**asked))


def test_a_setting_is_not_written_over_an_input(searched: Path) -> None:
    with pytest.raises(HmoptError, match=r"--setting: expected another file than study\.toml"):
        make_tuner(searched, setting=searched / "study.toml")


# --- the choice


def test_a_kept_setting_is_the_one_that_register_takes(
    searched: Path, tiny_study: Any, tmp_path: Path, tuner: Tuner
) -> None:
    kept = tuner.keep({"regularization": 0.85})
    path = Path(kept["path"])
    assert path == tmp_path / "setting.toml"
    assert f"--setting {path}" in kept["command"]
    assert not kept["replaced"]
    assert tuner.keep({"regularization": 0.9})["replaced"]

    images = (tiny_study.image(1), tiny_study.image(2))
    by_file = hmopt.register(searched, *images, setting=path)
    by_value = hmopt.register(searched, *images, setting={"regularization": 0.9})
    assert by_file.setting == {"regularization": 0.9}
    np.testing.assert_array_equal(by_file.moved_image.dataobj, by_value.moved_image.dataobj)


def test_a_setting_outside_its_range_is_not_kept(tuner: Tuner, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="regularization"):
        tuner.keep({"regularization": 2})
    assert not (tmp_path / "setting.toml").exists()
