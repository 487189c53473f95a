"""`hmopt search`: from a trained model to measurements and Optuna studies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hmopt.cli.checks import check_cohort
from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.device import find_device
from hmopt.cli.memory import keep_freed_memory
from hmopt.cli.options import Debug, Device, Folder, Quiet
from hmopt.commands import timed
from hmopt.files import file_hash

if TYPE_CHECKING:
    from hmopt.ledger import Measurements
    from hmopt.oracle import AmortizedOracle
    from hmopt.protocol import Oracle
    from hmopt.records import Checkpoint
    from hmopt.space import Index


Dense = Annotated[
    bool,
    typer.Option(
        "--dense",
        help="Also measure the optimized metric at every value of the one hyperparameter.",
    ),
]


def search(
    folder: Folder,
    device: Device = None,
    dense: Dense = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure what is missing and run the Optuna studies of every declared scope."""
    command = "hmopt search --dense" if dense else "hmopt search"
    with (
        conversation(f"hmopt search {folder}", quiet=quiet, debug=debug) as talk,
        timed(folder / "commands.csv", command),
    ):
        if dense:
            measure_densely(folder, device, talk)
        search_study(folder, device, talk)


def search_study(folder: Path, device: str | None, talk: Conversation) -> None:
    """Take a trained study to its measurements, studies and examples."""
    from hmopt.oracle import UnregisteredOracle, load_checkpoints, load_oracle

    keep_freed_memory()
    search = Search(folder, talk)
    found = find_device(device)
    full = load_oracle(folder, search.study, search.cohort, "full", found)
    earlier = load_checkpoints(folder, search.study, search.cohort, found)
    nothing = UnregisteredOracle(search.cohort, found)
    measurements = search.sweep(full)
    for oracle in earlier.values():
        # where λ* was during training: nothing else is asked of these models
        search.fill(oracle, measurements.settings, search.section.deciding)
    search.fill(nothing, [()], search.section.measured)
    identities = {checkpoint: oracle.identity for checkpoint, oracle in earlier.items()}
    search.keep(full.identity, identities, nothing.identity)
    search.run_studies(measurements)
    search.write_examples(full, measurements)
    talk.say(f"Measured: {len(search.pairs)} pairs at {len(measurements.settings)} settings")


def measure_densely(folder: Path, device: str | None, talk: Conversation) -> None:
    """Measure what decides λ* at every lattice point: what the plan of a search is judged by."""
    from hmopt.declaration import read_study
    from hmopt.oracle import load_oracle
    from hmopt.search.plan import dense_settings

    keep_freed_memory()
    settings = dense_settings(read_study(folder).space)
    search = Search(folder, talk)
    oracle = load_oracle(folder, search.study, search.cohort, "full", find_device(device))
    search.fill(oracle, settings, search.section.deciding)


class Search:
    """The search of one study folder: which pairs, where measurements go, who is told.

    Parameters
    ----------
    folder
        The study folder.
    talk
        Shows progress.
    """

    def __init__(self, folder: Path, talk: Conversation) -> None:
        from hmopt.data.preprocessing import prepare
        from hmopt.declaration import read_study
        from hmopt.study_folder import StudyFolder

        self.folder, self.talk = folder, talk
        self.study = read_study(folder)
        self.section = self.study.search
        self.cohort = prepare(self.study, folder, talk.track)
        self.pairs, self.table = check_cohort(self.study, self.cohort)
        # what the ledger holds already is not measured again, and must still be of these images
        self.cohort.check(
            dict.fromkeys(name for pair in self.pairs for name in (pair.moving, pair.fixed))
        )
        self.ledger = StudyFolder(folder).ledger

    def fill(self, oracle: "Oracle", settings: "Sequence[Index]", metrics: Sequence[str]) -> None:
        """Measure what the ledger lacks of an oracle at some settings."""
        from hmopt.ledger import Recorded
        from hmopt.oracle import sweep

        recorded = Recorded(oracle, self.ledger)
        sweep(recorded, settings, self.pairs, metrics, self.talk.track)

    def sweep(self, oracle: "AmortizedOracle") -> "Measurements":
        """Measure the coarse lattice and what confirms its optima, and give all measurements of the oracle."""
        from hmopt.search.plan import coarse_settings, confirming_settings

        measured = self.section.measured
        self.fill(oracle, coarse_settings(oracle.space, self.section), measured)
        while settings := confirming_settings(self._measurements(oracle), self.section):
            self.fill(oracle, settings, measured)
        return self._measurements(oracle)

    def keep(
        self, identity: str, earlier: "Mapping[Checkpoint, str]", identity_unregistered: str
    ) -> None:
        """Write what was searched beside the ledger; `earlier` are identities of checkpoints before the end."""
        from hmopt.ledger import Searched
        from hmopt.ledger.searched import declared_sections
        from hmopt.model_file import check_header
        from hmopt.networks import read_header
        from hmopt.study_folder import StudyFolder

        files = StudyFolder(self.folder)
        path, log = files.model_file(), files.training_file
        header = read_header(path)
        check_header(path, header, needed=["loss"])
        searched = Searched(
            name=self.study.name,
            identity=identity,
            identity_quarter=earlier.get("quarter"),
            identity_half=earlier.get("half"),
            identity_three_quarters=earlier.get("three-quarters"),
            identity_unregistered=identity_unregistered,
            labels=self.cohort.labels,
            spacing_mm=self.cohort.spacing_mm,
            space=self.study.space,
            loss=self.study.loss.model_dump(mode="json"),
            loss_scale=header["loss"]["scale"],
            steps=header.get("steps"),
            search=self.section,
            declared=declared_sections(self.study),
            log_hash=file_hash(log) if log.is_file() else None,
        )
        files.write_search(searched, self.table)

    def run_studies(self, measurements: "Measurements") -> None:
        """Store the studies of cohort, groups and labels."""
        from hmopt.search.storage import open_storage
        from hmopt.search.studies import store_studies

        storage = open_storage(self.folder, self.section.storage)
        store_studies(measurements, self.section, self.study.name, storage, self.talk.track)

    def write_examples(self, oracle: "AmortizedOracle", measurements: "Measurements") -> None:
        """Draw a typical and the worst pair of every scope, those of subjects left out, at its best setting."""
        import numpy as np

        from hmopt.oracle import write_examples
        from hmopt.search.curve import find_curves
        from hmopt.search.scopes import list_scopes

        metric = self.section.metric
        scopes = list_scopes(self.section, measurements.pairs, measurements.labels)
        shared = [scope for scope in scopes if "subject" not in dict(scope.criteria)]
        curves = list(find_curves(measurements, shared, metric))
        for curve in self.talk.track(curves, "Drawing examples", len(curves)):
            index = curve.settings[curve.best()]
            at_best = measurements.score(metric, curve.scope.label)[
                measurements.settings.index(index)
            ]
            scores = np.where(curve.scope.mask(measurements.pairs), at_best, np.nan)
            write_examples(
                self.folder,
                curve.scope.name,
                oracle,
                index,
                self.pairs,
                scores,
                metric,
                curve.scope.label,
            )

    def _measurements(self, oracle: "Oracle") -> "Measurements":
        return self.ledger.measurements(
            oracle.identity, oracle.space, self.table, self.section.measured, self.cohort.labels
        )
