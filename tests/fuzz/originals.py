"""Small valid study folders, each of which holds the files of one kind: what malformed inputs are made from."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import nn

import hmopt
from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import NetworkOptions
from hmopt.ledger import Baseline, Comparison
from hmopt.ledger.composed import Assignment, ComposedFields
from hmopt.ledger.gap import GapRecord, Stage
from hmopt.ledger.table import write_measurements
from hmopt.networks.registration import RegistrationNetwork
from hmopt.networks.separate import save_network
from hmopt.oracle.structure_maps import find_frequencies, write_frequencies
from hmopt.study_folder import StudyFolder
from hmopt.training.optimization import make_average
from hmopt.training.state import Progress, save_state

SHAPE = (24, 24)
DECLARATION = """
name = "fuzz"

[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"

[preprocessing]
shape = [24, 24]

[split]
train = {train}
tune = {tune}
search = {search}

[pairs]
tasks = ["cross"]
same = ["modality"]
search = 6
tune = 2

[network]
encoder = [4, 8]
decoder = [8]
final = [4]

[hypernetwork]
widths = [4]

[training]
steps = 4
batch = 1
threads = 1
warm_up = 1

[search]
coarse = 3
refinements = 0
min_paired_subjects = 2
scopes = [["cohort"], ["label"]]
"""

Part = Callable[[Path, Path], None]
"""Copies what a part needs from the whole study to a folder of its own."""


def make_originals(root: Path) -> dict[str, Path]:
    """Return a folder for each part, by its name; nothing is wrong in any of them.

    Parameters
    ----------
    root
        An empty folder.
    """
    whole = root / "whole"
    _make_whole(whole)
    folders = {}
    for name, copy in PARTS.items():
        folders[name] = root / name
        folders[name].mkdir()
        copy(whole, folders[name])
    return folders


def _make_whole(folder: Path) -> None:
    make_cohort(folder / "data", subjects=6, shape=SHAPE)
    _keep_first_images(folder / "data" / "cohort.csv", subjects=6)
    _declare(folder, train=2, tune=2, search=2)
    hmopt.train(folder)
    hmopt.search(folder)
    files = StudyFolder(folder)
    identity = files.searched.identity
    settings = files.measurements().settings
    baseline = Baseline(
        role="separate", steps=2, seeds=(0,), identity=identity, networks=3, minutes=1.0
    )
    comparison = Comparison(
        model=identity,
        steps=2,
        hypermorph_steps=4,
        grid=settings,
        optimum=settings[0],
        default=settings[1],
        baselines=(baseline,),
        pair_operations=1000,
    )
    files.write_comparison(comparison)
    stages = [Stage(iterations=count, identity=identity) for count in (0, 1, 2)]
    record = GapRecord(
        pairs=tuple(files.pairs["pair"][:2]),
        settings=settings,
        metrics=("dice", "folding"),
        stages=tuple(stages),
    )
    files.write_gap(record)
    fields = ComposedFields(
        maps="frequency",
        width=2.0,
        halves=3,
        assignments=(Assignment.of(settings[0], {"thalamus": settings[1]}),),
        identities=(identity,),
    )
    files.write_composed(fields)
    frequencies = find_frequencies(prepare(files.study, folder), stride=2)
    write_frequencies(files.structure_maps_file, frequencies)
    _write_network(files.separate_folder(2, 0, None) / "regularization-0.5.safetensors")
    _write_state(files.training_state_file)
    _write_results(files)


def _keep_first_images(manifest: Path, subjects: int) -> None:
    """Keep one image of each subject, so that a cohort is read in milliseconds."""
    table = pd.read_csv(manifest)
    first = table.drop_duplicates("subject").head(subjects)
    first.to_csv(manifest, index=False)


def _declare(folder: Path, **counts: int) -> None:
    (folder / "study.toml").write_text(DECLARATION.format(**counts), encoding="utf-8")


def _write_network(path: Path) -> None:
    options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    tensors = RegistrationNetwork(options, SHAPE).state_dict()
    declared = {"shape": list(SHAPE), "network": options.model_dump()}
    save_network(path, tensors, {"architecture": declared, "setting": {"regularization": 0.5}})


def _write_state(path: Path) -> None:
    layer = nn.Linear(3, 2)
    average = make_average(layer, decay=0.9)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    progress = Progress(step=1, minutes=0.5, scale=1.0)
    save_state(path, progress, layer, average, optimizer, key="0f")


def _write_results(files: StudyFolder) -> None:
    results = files.results
    results.path.mkdir()
    comparison = files.comparison
    assert comparison is not None
    write_measurements(files.measurements(), results.measurements_file())
    results.baselines_folder.mkdir()
    write_measurements(files.measurements(), results.baseline_file(comparison.baselines[0]))
    for source in (files.search_file, files.pairs_file, files.comparison_file):
        shutil.copy(source, results.path)


def _copy(*names: str) -> Part:
    def copy(whole: Path, folder: Path) -> None:
        for name in names:
            source = whole / name
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place)
            else:
                shutil.copy(source, place)

    return copy


def _images(whole: Path, folder: Path) -> None:
    """Copy the cohort with two images, and declare no more of it."""
    shutil.copytree(whole / "data", folder / "data")
    _keep_first_images(folder / "data" / "cohort.csv", subjects=2)
    _declare(folder, train=0, tune=0, search=2)


def _pictures(whole: Path, folder: Path) -> None:
    (folder / "examples").mkdir()
    shutil.copy(StudyFolder(whole).example_file("cohort"), folder / "examples")
    shutil.copy(StudyFolder(whole).structure_maps_file, folder)


def _models(whole: Path, folder: Path) -> None:
    _copy("model.safetensors", "training-state.safetensors", "compare")(whole, folder)


RECORDS = ("search.json", "pairs.csv", "compare.json", "composed.json", "gap.json")
PARTS: dict[str, Part] = {
    "declaration": _copy("study.toml", "data"),
    "images": _images,
    "models": _models,
    "prepared": _copy("prepared"),
    "ledger": _copy("ledger"),
    "records": _copy(*RECORDS, "training.csv", "commands.csv", "ledger"),
    "results": _copy("results"),
    "pictures": _pictures,
    "studies": _copy("search.json", "pairs.csv", "ledger", "studies.db"),
}
"""Folders of some files of a study, and how they are filled."""
