"""Search and registration with a model of λ and γ: both predict the same weights at a setting."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hmopt
from hmopt.data.synthetic import make_cohort
from hmopt.networks import Hypermorph, RegistrationNetwork, read_header
from hmopt.space import Setting

Weights = dict[str, torch.Tensor]

TABLES = {
    "regularization": "[hyperparameters.regularization]\nstep = 0.25\n",
    "label_weight": "[hyperparameters.label_weight]\nstep = 0.25\ndefault = 0.5\n",
}
SMALL = """
[network]
encoder = [4, 4]
decoder = [4]
final = []
[hypernetwork]
widths = [4]
[training]
steps = 2
batch = 1
checkpoint_every = 2
[search]
coarse = 3
reported = []
scopes = [["cohort"]]
"""


def declare(folder: Path, order: list[str]) -> None:
    """Write a study whose hyperparameters are declared in an order."""
    data = folder / "data"
    made = hmopt.new(folder, manifest=data / "cohort.csv", label_names=data / "dseg.tsv")
    text = made.declaration.read_text(encoding="utf-8")
    kept = text[: text.index("[network]")]
    assert "[hyperparameters" not in kept
    tables = "".join(TABLES[name] for name in order)
    made.declaration.write_text(kept + SMALL + tables, encoding="utf-8")


def sort_header(path: Path) -> None:
    """Rewrite a model's file with sorted keys and no hash, as earlier versions wrote it."""
    header = read_header(path)
    text = json.dumps(header, sort_keys=True)
    save_file(load_file(path), path, {"hmopt": text})


@pytest.fixture
def baked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Setting, Weights]]:
    """Collect the settings that networks are made for, with the weights predicted there."""
    made: list[tuple[Setting, Weights]] = []
    bake: Callable[[Hypermorph, Setting], RegistrationNetwork] = Hypermorph.bake

    def recorded(hypermorph: Hypermorph, setting: Setting) -> RegistrationNetwork:
        network = bake(hypermorph, setting)
        made.append((dict(setting), network.state_dict()))
        return network

    monkeypatch.setattr(Hypermorph, "bake", recorded)
    return made


@pytest.mark.parametrize("header", ["as written", "sorted"])
@pytest.mark.parametrize(
    "order", [["regularization", "label_weight"], ["label_weight", "regularization"]]
)
def test_registration_bakes_the_weights_that_search_measured(
    order: list[str], header: str, baked: list[tuple[Setting, Weights]], tmp_path: Path
) -> None:
    """Inputs of a hypernetwork have no names: read in another order, λ would be taken for γ."""
    folder = tmp_path / "study"
    make_cohort(folder / "data", subjects=8, shape=(24, 24))
    declare(folder, order)
    hmopt.train(folder, device="cpu")
    if header == "sorted":
        files = hmopt.StudyFolder(folder)
        sort_header(files.model_file())
        sort_header(files.model_file("half"))

    baked.clear()
    hmopt.search(folder, device="cpu")
    searched = by_setting(baked)
    asked = next(values for values in searched if values[0] != values[1])
    turned = asked[::-1]

    scans = sorted((folder / "data" / "images").glob("*T1w.nii.gz"))[:2]
    baked.clear()
    setting = {"regularization": asked[0], "label_weight": asked[1]}
    hmopt.register(folder, *scans, setting=setting, device="cpu")
    ((_, registered),) = baked
    assert is_among(registered, searched[asked])
    assert not is_among(registered, searched[turned])

    # the setting that is recommended is one of the same model
    baked.clear()
    found = hmopt.register(folder, *scans, device="cpu")
    ((_, registered),) = baked
    recommended = (float(found.setting["regularization"]), float(found.setting["label_weight"]))
    assert is_among(registered, searched[recommended])


def by_setting(
    baked: list[tuple[Setting, Weights]],
) -> dict[tuple[float, float], list[Weights]]:
    """Return weights by λ and γ: those of the model, and of the one at half training."""
    found: dict[tuple[float, float], list[Weights]] = {}
    for setting, weights in baked:
        values = (float(setting["regularization"]), float(setting["label_weight"]))
        found.setdefault(values, []).append(weights)
    return found


def is_among(one: Weights, others: list[Weights]) -> bool:
    """Tell whether a network has the same weights as one of some others, bit for bit."""
    for other in others:
        same = [torch.equal(one[name], other[name]) for name in one]
        if all(same):
            return True
    return False
