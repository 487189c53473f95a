import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor

import hmopt
from hmopt.catalogue.metrics import LOSS
from hmopt.data.landmarks import Landmarks
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.declaration import RefineOptions, read_study
from hmopt.declaration.model import Feature
from hmopt.errors import CheckpointError, DeclarationError, LedgerError
from hmopt.interop import own_model
from hmopt.interop.refined_model import refined_model
from hmopt.networks import Hypermorph
from hmopt.oracle import (
    AmortizedOracle,
    EnsembleOracle,
    RefinedOracle,
    RegisteringOracle,
    TrainingFacts,
    UnregisteredOracle,
    VelocityOracle,
    load_oracle,
    open_oracle,
    open_registrar,
    refine,
)
from hmopt.oracle.open import load_checkpoints, load_trained
from hmopt.records import Pair
from hmopt.study_folder import StudyFolder

MakeModel = Callable[..., Hypermorph]
FACTS = TrainingFacts(loss={"similarity": "mse"}, loss_scale=8.0, steps=10)
SETTINGS = [(20,), (140,)]


def amortized(
    model: Hypermorph, cohort: PreparedCohort, facts: TrainingFacts | None = FACTS, batch: int = 8
) -> AmortizedOracle:
    return AmortizedOracle(model, cohort, batch=batch, facts=facts)


def measured(oracle: RegisteringOracle, pairs: list[Pair], metric: str) -> NDArray[np.float64]:
    """(settings, pairs, …), in the order of `SETTINGS` and `pairs`."""
    rows = {}
    for block in oracle.measure(SETTINGS, pairs, [metric]):
        for pair, row in zip(block.pairs, block.values[metric], strict=True):
            rows[block.index, pair] = row
    return np.array([[rows[index, pair.id] for pair in pairs] for index in SETTINGS])


def test_refined_registrations_have_lower_losses_and_the_more_so_the_more_iterations(
    cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    start = amortized(make_model(cohort.shape), cohort)
    losses = [measured(start, pairs, LOSS)]
    losses += [measured(RefinedOracle(start, count), pairs, LOSS) for count in (2, 10)]
    assert (losses[1] < losses[0]).all()
    assert (losses[2] < losses[1]).all()


def test_the_loss_of_a_pair_is_that_of_its_network(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    model = make_model((16, 16))
    values = measured(amortized(model, flat_cohort), pairs, LOSS)
    moving, fixed = (
        torch.from_numpy(flat_cohort.image(name))[None, None]
        for name in (pairs[2].moving, pairs[2].fixed)
    )
    setting = {"regularization": 0.1}
    velocity = model(moving, fixed, setting)
    displacement = model.registration.displacement(velocity)[0].detach().numpy()
    # by another program's interpolation
    places = np.indices((16, 16)) + displacement
    moved = map_coordinates(moving[0, 0].numpy(), places, order=1, mode="nearest")
    dissimilarity = np.square(moved - fixed[0, 0].numpy()).mean()
    field = velocity[0].detach().numpy()
    along = [np.square(np.diff(field, axis=axis)).mean() for axis in (1, 2)]
    expected = 0.9 * 8 * dissimilarity + 0.1 * np.mean(along)
    assert values[0, 2] == pytest.approx(expected, rel=1e-4)


def test_whether_a_refinement_converged_is_measured_along_with_it(
    cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    start = amortized(make_model(cohort.shape), cohort)
    few = measured(RefinedOracle(start, 2), pairs, "converged")
    many = measured(RefinedOracle(start, 300), pairs, "converged")
    assert (few == 0).all()
    assert (many == 1).all()
    assert np.isnan(measured(start, pairs, "converged")).all()


@pytest.mark.parametrize("metric", ["dice", LOSS])
def test_refined_values_do_not_depend_on_batches_or_order(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel, metric: str
) -> None:
    model = make_model((16, 16))
    whole = RefinedOracle(amortized(model, flat_cohort), 6, batch=5)
    alone = RefinedOracle(amortized(model, flat_cohort), 6, batch=1)
    expected = measured(whole, pairs, metric)
    turned = measured(alone, pairs[::-1], metric)[:, ::-1]
    np.testing.assert_allclose(turned, expected, atol=1e-4)
    assert whole.identity == alone.identity


def test_identity_stands_for_the_model_the_iterations_and_the_loss(
    flat_cohort: PreparedCohort, make_model: MakeModel
) -> None:
    model = make_model((16, 16))
    start = amortized(model, flat_cohort)
    one = RefinedOracle(start, 6)
    other_loss = TrainingFacts(loss={"similarity": "lncc"}, loss_scale=8.0)
    others = [
        start.identity,
        RefinedOracle(start, 7).identity,
        RefinedOracle(amortized(make_model((16, 16), seed=1), flat_cohort), 6).identity,
        RefinedOracle(amortized(model, flat_cohort, other_loss), 6).identity,
    ]
    assert len({one.identity, *others}) == 5
    assert one.unrefined_identity == start.identity
    assert start.unrefined_identity is None
    assert one.space == start.space
    assert one.labels == start.labels
    assert one.facts == FACTS


def test_the_file_of_a_model_knows_nothing_of_landmarks(
    flat_cohort: PreparedCohort, make_model: MakeModel
) -> None:
    model = make_model((16, 16))
    points = Landmarks(
        names=("1",), named_by=None, voxels=np.zeros((1, 3)), affine=np.eye(4), origin="made up"
    )
    name = str(flat_cohort.images["scan"].iloc[0])
    without = amortized(model, replace(flat_cohort, landmarks={}))
    with_points = amortized(model, replace(flat_cohort, landmarks={name: points}))
    assert without.file_identity is None
    assert with_points.identity != without.identity
    assert with_points.file_identity == without.identity
    assert RefinedOracle(with_points, 6).file_identity == without.identity


def test_an_ensemble_is_refined_from_its_mean_velocity(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    members = [amortized(make_model((16, 16), seed=seed), flat_cohort) for seed in (0, 1)]
    ensemble = EnsembleOracle(members)
    found = measured(RefinedOracle(ensemble, 5), pairs, LOSS)
    assert (found < measured(ensemble, pairs, LOSS)).all()


def test_members_of_other_losses_have_none_in_common(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    other = TrainingFacts(loss={"similarity": "mse"}, loss_scale=9.0)
    members = [
        amortized(make_model((16, 16)), flat_cohort),
        amortized(make_model((16, 16), seed=1), flat_cohort, other),
    ]
    ensemble = EnsembleOracle(members)
    assert np.isnan(measured(ensemble, pairs, LOSS)).all()
    with pytest.raises(CheckpointError, match="the loss that the model was trained under"):
        RefinedOracle(ensemble, 5)


def test_what_cannot_be_refined_is_refused(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    unregistered = UnregisteredOracle(flat_cohort)
    assert refine(unregistered, RefineOptions()) is unregistered
    with pytest.raises(DeclarationError, match=r"refine.iterations: expected 0 with a model that"):
        refine(unregistered, RefineOptions(iterations=3))
    unknown = amortized(make_model((16, 16)), flat_cohort, None)
    assert np.isnan(measured(unknown, pairs, LOSS)).all()
    with pytest.raises(CheckpointError, match="model: loss: expected"):
        refine(unknown, RefineOptions(iterations=3))


@pytest.fixture(scope="module")
def refined_folder(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study, its registrations refined, searched."""
    folder = tmp_path_factory.mktemp("refined") / "tiny"
    shutil.copytree(tiny_study.folder, folder)
    declared = (folder / "study.toml").read_text(encoding="utf-8")
    declared = declared.replace("[search]\n", '[search]\nreported = ["loss"]\n')
    (folder / "study.toml").write_text(f"{declared}\n[refine]\niterations = 3\n", encoding="utf-8")
    hmopt.search(folder, device="cpu")
    return folder


def test_a_search_of_refined_registrations_is_measured_recorded_and_reported(
    refined_folder: Path, tiny_study: Any
) -> None:
    files = StudyFolder(refined_folder)
    study, cohort = files.study, prepare(files.study, refined_folder)
    plain = load_oracle(tiny_study.folder, read_study(tiny_study.folder), cohort)
    assert isinstance(plain, AmortizedOracle)
    refined = load_oracle(refined_folder, study, cohort)
    assert files.searched.identity == refined.identity != plain.identity
    assert files.searched.model_identity == plain.identity
    assert files.searched.refine.iterations == 3
    files.check_together()

    # the amortization gap, from the ledger
    measurements = files.measurements()
    setting, row = measurements.settings[0], 0
    _, pairs = open_oracle(refined_folder)
    (block, *_) = plain.measure([setting], pairs, [LOSS])
    kept = measurements.values[LOSS][row, : len(block.pairs)]
    assert (kept <= block.values[LOSS] + 1e-6).all()
    assert (kept < block.values[LOSS] - 1e-4).any()

    report = hmopt.report(refined_folder)
    page = (refined_folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "refined by up to 3 iterations" in page
    assert report is not None


def test_other_iterations_than_were_searched_are_noticed(
    refined_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(refined_folder, folder)
    declared = (folder / "study.toml").read_text(encoding="utf-8")
    (folder / "study.toml").write_text(declared.replace("iterations = 3", "iterations = 4"))
    with pytest.raises(DeclarationError, match=r"refine.iterations: expected 3 .* got 4"):
        StudyFolder(folder).check_together()
    (folder / "study.toml").write_text(declared.replace("iterations = 3", "iterations = 0"))
    with pytest.raises(DeclarationError, match=r"refine.iterations: expected 3 .* got 0"):
        StudyFolder(folder).check_together()
    (folder / "search.json").write_text("{}")
    with pytest.raises(LedgerError):
        StudyFolder(folder).check_together()


def test_files_are_registered_as_the_oracle_registers_them(refined_folder: Path) -> None:
    study = read_study(refined_folder)
    cohort = prepare(study, refined_folder)
    oracle, pairs = open_oracle(refined_folder)
    measuring = load_oracle(refined_folder, study, cohort)
    index = (70,)
    setting = oracle.space.setting(index)
    images = cohort.image(pairs[0].moving), cohort.image(pairs[0].fixed)
    model = own_model.read(refined_folder / "model.safetensors")
    refined = refined_model(model, RefineOptions(iterations=3))
    expected = measuring.displacement(index, pairs[0]).numpy()
    np.testing.assert_allclose(refined.displacement(*images, setting), expected, atol=1e-4)
    unrefined = model.displacement(*images, setting)
    assert np.abs(unrefined - expected).max() > 0.05
    # the inverse is the flow of the negative refined velocity
    backward = refined.inverse_displacement(*images, setting)  # type: ignore[attr-defined]
    assert np.abs(backward + expected).max() < np.abs(expected).max()


def test_register_refines_as_declared_or_as_asked(refined_folder: Path, tiny_study: Any) -> None:
    pair = (tiny_study.image(1), tiny_study.image(2))
    setting = {"regularization": 0.3}

    def fields(folder: Path, iterations: int | None) -> NDArray[np.float64]:
        found = hmopt.register(folder, *pair, setting=setting, refine=iterations, device="cpu")
        return np.asarray(found.displacement_image.dataobj)

    declared = fields(refined_folder, None)
    np.testing.assert_array_equal(fields(tiny_study.folder, 3), declared)
    np.testing.assert_array_equal(fields(refined_folder, 0), fields(tiny_study.folder, None))
    assert np.abs(fields(refined_folder, 0) - declared).max() > 0.05
    with pytest.raises(
        DeclarationError, match="--refine: expected a whole number from 0 to 10,000, got -1"
    ):
        fields(tiny_study.folder, -1)


def test_a_baked_network_is_refined_at_its_setting(tiny_study: Any, tmp_path: Path) -> None:
    setting = {"regularization": 0.3}
    file = tmp_path / "baked" / "model.safetensors"
    hmopt.bake(tiny_study.folder, format="safetensors", output=file, setting=setting)
    pair = (tiny_study.image(1), tiny_study.image(2))
    baked = open_registrar(tmp_path / "baked", iterations=4).register(*pair, {})
    whole = open_registrar(tiny_study.folder, iterations=4).register(*pair, setting)
    np.testing.assert_allclose(
        np.asarray(baked.displacement.dataobj), np.asarray(whole.displacement.dataobj), atol=1e-4
    )


def test_velocities_of_any_model_can_be_refined(
    flat_cohort: PreparedCohort, pairs: list[Pair]
) -> None:
    class Still(VelocityOracle):
        """Begins with velocities of 0, at half the resolution."""

        @property
        def space(self) -> hmopt.Space:
            return hmopt.Space(hyperparameters=(hmopt.Hyperparameter(name="regularization"),))

        @property
        def identity(self) -> str:
            return "still"

        @property
        def facts(self) -> TrainingFacts:
            return FACTS

        def velocity(self, index: Any, pairs: Any, images: Any) -> Tensor:
            return torch.zeros(len(pairs), 2, 16, 16)

        def integrated(self, index: Any, velocity: Tensor, stride: int | None = None) -> Tensor:
            return velocity

    still = Still(flat_cohort)
    found = measured(RefinedOracle(still, 5), pairs, LOSS)
    assert (found < measured(still, pairs, LOSS)).all()


FEATURES: list[Feature] = ["intensity", "laplacian"]


def test_a_refinement_may_compare_other_features_than_the_training(
    cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    start = amortized(make_model(cohort.shape), cohort)
    plain, sharp = RefinedOracle(start, 8), RefinedOracle(start, 8, features=FEATURES)
    assert sharp.identity != plain.identity
    assert sharp.unrefined_identity == plain.unrefined_identity
    # measured by its own loss, which further iterations lower
    few = measured(RefinedOracle(start, 2, features=FEATURES), pairs, LOSS)
    assert (measured(sharp, pairs, LOSS) < few).all()
    assert not np.array_equal(measured(sharp, pairs, "dice"), measured(plain, pairs, "dice"))


def test_features_of_the_training_are_the_same_refinement(
    cohort: PreparedCohort, make_model: MakeModel
) -> None:
    start = amortized(make_model(cohort.shape), cohort)
    named = RefinedOracle(start, 8, features=["intensity"])
    assert named.identity == RefinedOracle(start, 8).identity
    one = RefinedOracle(start, 8, features=["intensity", "laplacian"])
    assert RefinedOracle(start, 8, features=["laplacian", "intensity"]).identity == one.identity


@pytest.mark.parametrize("features", [[], ["edges"], ["laplacian", "laplacian"]])
def test_features_that_there_are_not_are_refused(
    cohort: PreparedCohort, make_model: MakeModel, features: Any
) -> None:
    with pytest.raises(DeclarationError, match="refine: expected features of images"):
        RefinedOracle(amortized(make_model(cohort.shape), cohort), 8, features=features)


def test_features_that_a_similarity_does_not_take_are_refused(
    cohort: PreparedCohort, make_model: MakeModel
) -> None:
    facts = replace(FACTS, loss={"similarity": "mutual_information"})
    start = amortized(make_model(cohort.shape), cohort, facts)
    with pytest.raises(DeclarationError, match=r"refine\.features: expected intensity with"):
        RefinedOracle(start, 8, features=FEATURES)


@pytest.fixture(scope="module")
def sharp_folder(refined_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study that was refined and searched by other features."""
    folder = tmp_path_factory.mktemp("sharp") / "study"
    shutil.copytree(refined_folder, folder, ignore=shutil.ignore_patterns("search.json"))
    declared = (folder / "study.toml").read_text(encoding="utf-8")
    further = declared.replace(
        "iterations = 3", 'iterations = 3\nfeatures = ["laplacian", "intensity"]'
    )
    (folder / "study.toml").write_text(further, encoding="utf-8")
    hmopt.search(folder, device="cpu")
    return folder


def test_features_are_told_and_their_change_is_noticed(sharp_folder: Path, tmp_path: Path) -> None:
    hmopt.report(sharp_folder)
    page = (sharp_folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "the similarity averaged over intensities and Laplacians of the images" in page
    folder = tmp_path / "other"
    shutil.copytree(sharp_folder, folder)
    declared = (folder / "study.toml").read_text(encoding="utf-8")
    (folder / "study.toml").write_text(declared.replace('"laplacian", ', ""), encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"refine\.features: expected .*laplacian.* got"):
        StudyFolder(folder).check_together()


def test_register_compares_the_declared_features(sharp_folder: Path, refined_folder: Path) -> None:
    study = read_study(sharp_folder)
    cohort = prepare(study, sharp_folder)
    oracle, pairs = open_oracle(sharp_folder)
    index = (70,)
    setting = oracle.space.setting(index)
    images = cohort.image(pairs[0].moving), cohort.image(pairs[0].fixed)
    expected = load_oracle(sharp_folder, study, cohort).displacement(index, pairs[0]).numpy()
    found = open_registrar(sharp_folder).model.displacement(*images, setting)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    other = open_registrar(refined_folder).model.displacement(*images, setting)
    assert np.abs(other - expected).max() > 0.01


def test_the_gap_is_that_of_the_loss_of_training(sharp_folder: Path) -> None:
    with pytest.raises(DeclarationError, match="--gap: expected refinement under the loss"):
        hmopt.search(sharp_folder, gap=True)
    files = StudyFolder(sharp_folder)
    assert files.gap is None


def test_naming_the_features_of_the_training_changes_nothing(
    refined_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "named"
    shutil.copytree(refined_folder, folder)
    declared = (folder / "study.toml").read_text(encoding="utf-8")
    named = declared.replace("iterations = 3", 'iterations = 3\nfeatures = ["intensity"]')
    (folder / "study.toml").write_text(named, encoding="utf-8")
    StudyFolder(folder).check_together()


def test_checkpoints_baselines_and_other_studies_compare_the_declared_features(
    sharp_folder: Path, refined_folder: Path, tmp_path: Path
) -> None:
    study = read_study(sharp_folder)
    cohort = prepare(study, sharp_folder)
    half = load_checkpoints(sharp_folder, study, cohort)["half"]
    trained = load_trained(sharp_folder, study, cohort, checkpoint="half")
    assert half.identity == RefinedOracle(trained, 3, features=FEATURES).identity
    assert refine(trained, study.refine).identity == half.identity
    other = tmp_path / "other"
    other.mkdir()
    declared = (sharp_folder / "study.toml").read_text(encoding="utf-8")
    start, end = declared.index("[network]"), declared.index("[search]")
    text = declared[:start] + declared[end:]
    text = text.replace('manifest = "', f'manifest = "{sharp_folder}/')
    text = text.replace('label_names = "', f'label_names = "{sharp_folder}/')
    model = f'[model]\nsource = "study"\npath = "{sharp_folder}"\n'
    (other / "study.toml").write_text(f"{text}\n{model}", encoding="utf-8")
    elsewhere = read_study(other)
    oracle = load_oracle(other, elsewhere, prepare(elsewhere, other))
    assert isinstance(oracle, RefinedOracle)
    assert oracle.pair_loss.options.features == ["intensity", "laplacian"]


def test_members_of_an_ensemble_have_one_loss_whether_a_table_tells_its_scale_or_not(
    cohort: PreparedCohort, make_model: MakeModel
) -> None:
    telling = TrainingFacts(loss={"similarity": "mse", "scale": 8.0}, loss_scale=8.0)
    silent = TrainingFacts(loss={"similarity": "mse", "scale": None}, loss_scale=8.0)
    model = make_model(cohort.shape)
    together = EnsembleOracle([amortized(model, cohort, facts) for facts in (silent, telling)])
    assert together.pair_loss.scale == 8.0
    other = TrainingFacts(loss={"similarity": "mse", "scale": 4.0}, loss_scale=4.0)
    apart = EnsembleOracle([amortized(model, cohort, facts) for facts in (silent, other)])
    with pytest.raises(CheckpointError, match="the loss that the model was trained under"):
        _ = apart.pair_loss


@pytest.mark.parametrize("trained", [None, (1.0, 3.0)])
def test_the_loss_has_the_spacing_of_the_training_whatever_that_of_the_cohort(
    cohort: PreparedCohort, make_model: MakeModel, trained: tuple[float, ...] | None
) -> None:
    facts = replace(FACTS, spacing_mm=trained)
    for spacing_mm in (None, (1.0, 1.0), (3.0, 1.0)):
        elsewhere = replace(cohort, spacing_mm=spacing_mm)
        oracle = amortized(make_model(cohort.shape), elsewhere, facts)
        assert oracle.pair_loss.spacing == trained
