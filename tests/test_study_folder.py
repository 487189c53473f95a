"""A model, a search and a declaration that do not belong together are refused; what belongs together is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nibabel.affines import apply_affine
from safetensors.torch import load_file
from typer.testing import CliRunner

from hmopt.cli.app import app
from hmopt.data.volume import read_lattice
from hmopt.declaration.renamed import RENAMED, first_names
from hmopt.errors import HmoptError
from hmopt.files import write_json
from hmopt.model_file import model_identity
from hmopt.networks import read_header, save_hypermorph
from hmopt.oracle import open_oracle
from hmopt.report.origin import published_optima
from hmopt.study_folder import StudyFolder

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def searched(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(tiny_study.folder, tmp_path_factory.mktemp("searched") / "study"))
    result = CliRunner().invoke(app, ["search", str(folder), "--device", "cpu", "--quiet"])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "study"))


def train_again(folder: Path) -> None:
    """Put another model of the same declaration in place of the one that was searched."""
    path = folder / "model.safetensors"
    header = read_header(path)
    tensors = {name: 1.5 * tensor for name, tensor in load_file(path).items()}
    save_hypermorph(
        path,
        tensors,
        {key: value for key, value in header.items() if key not in ("format", "version")},
    )


def declare(folder: Path, before: str, after: str) -> None:
    path = folder / "study.toml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


def register(folder: Path, *options: object) -> Any:
    images = sorted((folder / "data" / "images").iterdir())[:2]
    return run(
        "register",
        folder,
        *images,
        "--moved",
        folder / "out" / "o.nii.gz",
        "--device",
        "cpu",
        *options,
    )


def refusal(result: Any) -> str:
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return str(line)


def test_a_models_identity_is_told_by_its_file_alone(folder: Path) -> None:
    assert model_identity(folder / "model.safetensors") == open_oracle(folder)[0].identity


def give_points(folder: Path) -> None:
    """Give every image two landmarks at its middle."""
    manifest = folder / "data/cohort.csv"
    cohort = pd.read_csv(manifest, dtype=str)
    cohort["points"] = [f"{Path(image).name}.points.csv" for image in cohort["image"]]
    cohort.to_csv(manifest, index=False)
    for image, points in cohort[["image", "points"]].itertuples(index=False):
        lattice = read_lattice(manifest.parent / image)
        x, y, z = apply_affine(lattice.affine, [15, 15, 0])
        text = f"landmark,x,y,z\na,{x},{y},{z}\nb,{x + 1},{y},{z}\n"
        (manifest.parent / points).write_text(text, encoding="utf-8")


def test_a_trained_model_is_known_again_where_images_have_landmarks(folder: Path) -> None:
    before = StudyFolder(folder).searched
    assert before.identity_file is None
    give_points(folder)
    assert run("search", folder, "--device", "cpu", "--quiet").exit_code == 0

    after = StudyFolder(folder).searched
    of_file = model_identity(folder / "model.safetensors")
    # measured with landmarks, by the model as it was
    assert after.identity != before.identity
    assert after.identity_file == after.trained_identity == of_file == before.identity
    for arguments in (
        ["check", folder],
        ["report", folder],
        ["publish", folder, "--to", folder / "published", "--data-license", "CC0-1.0"],
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    assert register(folder).exit_code == 0
    optima = published_optima(folder / "published")
    assert optima is not None
    assert optima.identity == of_file

    train_again(folder)
    line = refusal(run("report", folder))
    assert f"got one of another model ({of_file})" in line


@pytest.mark.parametrize(
    "command", [register, lambda folder: run("report", folder)], ids=["register", "report"]
)
def test_a_model_that_was_trained_again_does_not_take_the_old_optimum(
    command: Callable[..., Any], folder: Path
) -> None:
    train_again(folder)
    line = refusal(command(folder))
    assert line.startswith(f"{folder / 'search.json'}: expected a search of the model in")
    assert f"Run `hmopt search {folder}`" in line
    assert not (folder / "out").exists()
    assert not (folder / "report").exists()


def test_a_value_that_is_given_needs_no_search(folder: Path) -> None:
    train_again(folder)
    assert register(folder, "--regularization", "0.3").exit_code == 0


CHANGES = {
    "search.min_paired_subjects": ("min_paired_subjects = 3", "min_paired_subjects = 4"),
    "search.metric": ("[search]", '[search]\nmetric = "dice_nearest"'),
    "search.folding_limit": ("[search]", "[search]\nfolding_limit = 0.5"),
    "preprocessing.shape": ("shape = [32, 32]", "shape = [16, 16]"),
    "split.search": ("search = 4", "search = 3"),
    "pairs.search": ("search = 20", "search = 10"),
    "loss.similarity": ("[search]", '[loss]\nsimilarity = "mse"\n[search]'),
    "training.steps": ("steps = 20", "steps = 30"),
    "hyperparameters.regularization.default": (
        "[search]",
        "[hyperparameters.regularization]\ndefault = 0.4\n[search]",
    ),
}


@pytest.mark.parametrize("key", CHANGES)
def test_another_declaration_than_was_searched_is_refused(key: str, folder: Path) -> None:
    declare(folder, *CHANGES[key])
    for result in (register(folder), run("report", folder)):
        line = refusal(result)
        assert line.startswith(f"{folder / 'study.toml'}: {key}: expected ")
        assert "Run `hmopt search" in line


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("coarse = 5", "coarse = 6"),
        ('name = "tiny"', 'name = "x"'),
        ("[training]", "[training]\nthreads = 1"),
    ],
)
def test_what_changes_nothing_that_was_measured_may_change(
    before: str, after: str, folder: Path
) -> None:
    declare(folder, before, after)
    StudyFolder(folder).check_together()


def test_a_search_of_an_earlier_version_is_still_compared_with_what_it_tells(folder: Path) -> None:
    content = json.loads((folder / "search.json").read_text())
    old = {
        key: value
        for key, value in content.items()
        if key not in ("declared", "pairs_hash", "sha256")
    }
    (folder / "search.json").write_text(json.dumps(old))
    StudyFolder(folder).check_together()
    declare(folder, *CHANGES["preprocessing.shape"])
    StudyFolder(folder).check_together()  # it does not tell
    declare(folder, *CHANGES["search.metric"])
    with pytest.raises(HmoptError, match=r"search.metric: expected 'dice' as in"):
        StudyFolder(folder).check_together()


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_folder_of_an_earlier_version_is_recognized_under_the_older_names(folder: Path) -> None:
    """Write the model's header, the search and the declaration as the version before wrote them."""
    model = folder / "model.safetensors"
    header = {
        key: value for key, value in read_header(model).items() if key not in ("format", "version")
    }
    save_hypermorph(
        model,
        load_file(model),
        {**first_names(header), "architecture": first_names(header["architecture"])},
    )
    content = json.loads((folder / "search.json").read_text())
    content["declared"] = first_names(content["declared"])
    write_json(folder / "search.json", first_names(content))
    for older, name in RENAMED.items():
        newer, former = (f"\n{key.rpartition('.')[2]} = " for key in (name, older))
        text = (folder / "study.toml").read_text()
        (folder / "study.toml").write_text(text.replace(newer, former))
    kept = [path.read_text() for path in (folder / "search.json", folder / "study.toml")]
    assert '"units"' in kept[0]
    assert '"kinds"' in kept[0]
    assert "minimum_partners = 3" in kept[1]

    result = run("report", folder)
    assert result.exit_code == 0, result.output
    assert "pairs.kinds is now pairs.tasks, " in result.stderr
    assert result.stderr.count("hmopt reads both.") == 1
    assert register(folder, "--label", "cortex").exit_code == 0
    declare(folder, "\nunits = [8]", "\nunits = [4]")
    line = refusal_of_last_line(run("report", folder))
    assert line.startswith(f"{folder / 'study.toml'}: hypernetwork.widths: expected [8]")


def refusal_of_last_line(result: Any) -> str:
    assert result.exit_code == 2, result.output
    return str(result.stderr.strip().splitlines()[-1])


def test_results_without_a_model_are_reported(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    StudyFolder(folder).check_together()


SEARCHED = sorted(
    path.parents[1].name for path in (REPOSITORY / "studies").glob("*/results/search.json")
)


@pytest.mark.parametrize("study", SEARCHED)
def test_committed_results_belong_to_their_declaration(study: str) -> None:
    StudyFolder(REPOSITORY / "studies" / study).check_together()


def test_pairs_that_were_cut_are_refused(folder: Path) -> None:
    path = folder / "pairs.csv"
    path.write_bytes(path.read_bytes()[:-3])
    assert refusal(run("report", folder)).startswith(f"{path}: expected ")
    whole_rows = path.read_text().splitlines()[:-1]
    path.write_text("\n".join(whole_rows) + "\n")
    assert "expected the pairs that search.json is about, got others" in refusal(
        run("report", folder)
    )


FAULTS: dict[str, Any] = {
    "identity": None,
    "labels": None,
    "spacing_mm": [],
    "space": "x",
    "loss": [],
    "loss_scale": -1,
    "search": {"metric": "hd95"},
}


@pytest.mark.parametrize("key", FAULTS)
def test_a_search_that_holds_what_none_writes_is_refused(key: str, folder: Path) -> None:
    path = folder / "search.json"
    content = json.loads(path.read_text())
    for changed in (
        {**content, key: FAULTS[key]},
        {name: value for name, value in content.items() if name != key},
    ):
        write_json(path, changed)
        assert refusal(run("report", folder)).startswith(
            f"{path}: expected what `hmopt search` wrote, got {key}"
        )


def test_the_setting_within_the_folding_limit_is_offered_and_taken(folder: Path) -> None:
    """Fold everywhere but at the largest λ: the best setting exceeds the limit, and the largest is what remains."""
    from hmopt.workflow.register import Recommendation

    found = Recommendation(
        best={"regularization": 0.05},
        within_limit={"regularization": 0.35},
        folding=0.0041,
        folding_limit=0.001,
    )
    assert found.chosen(within_limits=False) == {"regularization": 0.05}
    assert found.chosen(within_limits=True) == {"regularization": 0.35}
    assert found.advice() == (
        "This setting folds 0.410% of the voxels on average, more than the limit of 0.100%. The best setting "
        "within the limits is regularization 0.35; use it with --within-limits."
    )
    kept = Recommendation(
        best={"regularization": 0.35},
        within_limit={"regularization": 0.35},
        folding=0.0,
        folding_limit=0.001,
    )
    assert kept.advice() is None
    none = Recommendation(
        best={"regularization": 0.35}, within_limit=None, folding=0.1, folding_limit=0.001
    )
    with pytest.raises(HmoptError, match="--within-limits: expected a setting that folds at most"):
        none.chosen(within_limits=True)


def test_register_takes_the_setting_within_the_folding_limit(folder: Path) -> None:
    result = register(folder, "--within-folding-limit")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Setting: regularization ")
    both = register(folder, "--within-folding-limit", "--regularization", "0.3")
    assert refusal(both).startswith(
        "--within-limits: expected a setting that the search recommends, got values"
    )


def test_a_scope_on_the_command_line_is_written_as_one_option_or_by_its_parts(folder: Path) -> None:
    """Both take the same setting, and what is wrong with either is told in the same words."""
    label = StudyFolder(folder).searched.labels[0]
    by_scope = register(folder, "--scope", f"label={label},task=cross")
    by_parts = register(folder, "--label", label, "--group", "task=cross")
    assert by_scope.exit_code == 0, by_scope.output
    assert by_scope.stdout == by_parts.stdout
    wrong_scope = refusal(register(folder, "--scope", "label=nowhere"))
    assert wrong_scope == refusal(register(folder, "--label", "nowhere"))
    assert refusal(register(folder, "--scope", "thalamus")).startswith(
        "--scope: expected NAME=VALUE, got 'thalamus'"
    )
