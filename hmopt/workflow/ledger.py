"""`hmopt.inspect_ledger`: what was measured, and what of it is still of use."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import humanize

from hmopt.catalogue import METRICS
from hmopt.errors import LedgerError
from hmopt.ledger.ledger import Holding
from hmopt.ledger.searched import MODELS
from hmopt.study_folder import StudyFolder

OTHER_VERSION = "stale: other version of the metric"
NO_SUCH_MODEL = "stale: model is not of this study"


@dataclass(frozen=True, kw_only=True)
class LedgerContent:
    """The measurements in a ledger, counted.

    Parameters
    ----------
    holdings
        Counts for each oracle that was measured.
    names
        What the identities of the study's models and baselines stand for; empty where it was not searched.
    before
        The counts before the ledger was compacted; None where it was not.
    """

    holdings: tuple[Holding, ...]
    names: Mapping[str, str]
    before: tuple[Holding, ...] | None = None

    def name(self, identity: str) -> str:
        """Return the name of the model of an identity."""
        return self.names.get(identity, "other")

    def stale(self, identity: str, metric: str) -> str:
        """Return why measurements of a metric are of no more use; empty where they are.

        Parameters
        ----------
        identity
            Of the oracle.
        metric
            As `name@version`.
        """
        name = metric.split("@")[0]
        if name not in METRICS:
            return "unknown metric: its plugin is not declared"
        if METRICS[name].key != metric:
            return OTHER_VERSION
        if self.names and identity not in self.names:
            return NO_SUCH_MODEL
        return ""

    @property
    def rows(self) -> int:
        """How many values there are."""
        return sum(rows_of(holding) for holding in self.holdings)

    @property
    def failures(self) -> list[str]:
        """How many registrations failed, a line for each model and reason; empty where none did."""
        lines = []
        for holding in self.holdings:
            for reason, count in holding.failures.items():
                lines.append(f"Failed: {count:,} of {self.name(holding.identity)}: {reason}")
        return lines

    @property
    def total(self) -> str:
        """How much there is in all, as a line shows it."""
        return _total(self.holdings)

    @property
    def total_before(self) -> str:
        """How much there was before compaction, as a line shows it."""
        return _total(self.before or self.holdings)

    @property
    def stale_rows(self) -> int:
        """How many of them are of no more use."""
        count = 0
        for holding in self.holdings:
            for kept in holding.metrics:
                if self.stale(holding.identity, kept.metric) in (OTHER_VERSION, NO_SUCH_MODEL):
                    count += kept.rows
        return count

    def __str__(self) -> str:
        """Return the line that sums up."""
        return f"Stale: {self.stale_rows:,} of {self.rows:,} rows"


def inspect_ledger(folder: Path | str, *, compact: bool = False) -> LedgerContent:
    """Count the measurements in the ledger of a study: by model and metric, and how many are stale.

    Parameters
    ----------
    folder
        The study folder.
    compact
        First merge the shards of each model into one.

    Returns
    -------
    LedgerContent
        The counts.

    Raises
    ------
    LedgerError
        If there is no measurement.

    Examples
    --------
    After `hmopt.search`:

    >>> import hmopt
    >>> content = hmopt.inspect_ledger("studies/mine", compact=True)  # doctest: +SKIP
    >>> print(content)  # doctest: +SKIP
    Stale: 0 of 1,209,600 rows
    >>> [kept.metric for kept in content.holdings[0].metrics]  # doctest: +SKIP
    ['dice@1', 'folding@1']
    """
    files = StudyFolder(folder)
    ledger = files.ledger
    holdings = tuple(ledger.holdings())
    if not holdings:
        raise LedgerError(
            str(files.path), expected="measurements", got="none", advice="Run `hmopt search` first."
        )
    before = None
    if compact:
        before = holdings
        with files.in_use():
            ledger.compact()
        holdings = tuple(ledger.holdings())
    return LedgerContent(holdings=holdings, names=_model_names(files), before=before)


def _model_names(files: StudyFolder) -> dict[str, str]:
    """Return the names of a study's models and baselines by identity; empty where it was not searched."""
    try:
        searched = files.searched
    except LedgerError:
        return {}
    names: dict[str, str] = {}
    comparison = files.comparison
    if comparison is not None:
        for baseline in comparison.baselines:
            names |= dict.fromkeys(baseline.identities, baseline.name)
    for fields in files.composed:
        names |= dict.fromkeys(fields.identities, f"one field, {fields.maps} maps")
    gap = files.gap
    for stage in () if gap is None else gap.stages:
        names[stage.identity] = f"refined, {stage.iterations} iterations"
    names[searched.model_identity] = "model alone"
    for model in MODELS:
        identity = searched.identity_of(model)
        if identity is not None:
            names[identity] = model
    return names


def rows_of(holding: Holding) -> int:
    """Return how many values of an oracle there are."""
    return sum(kept.rows for kept in holding.metrics)


def _total(holdings: tuple[Holding, ...]) -> str:
    """Return how much there is in all, as a line shows it."""
    rows = 0
    shards = 0
    size = 0
    for holding in holdings:
        rows += rows_of(holding)
        shards += holding.shards
        size += holding.size
    return f"{rows:,} rows in {shards:,} shards, {humanize.naturalsize(size)}"
