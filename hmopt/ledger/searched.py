"""What a search was made of: the record that `search.json` holds, and whether a declaration still agrees with it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import ConfigDict, Field, NonNegativeInt

from hmopt.declaration import RefineOptions, SearchOptions, Study
from hmopt.declaration.model import features_of
from hmopt.declaration.renamed import current_names
from hmopt.declaration.study import check_ranges, check_sections
from hmopt.errors import HmoptError, LedgerError
from hmopt.files import checked, content_hash, one_line, write_json
from hmopt.records import CHECKPOINTS, Checkpoint
from hmopt.schemas import Record
from hmopt.space import Hyperparameter, Index, Space

ADVICE = "Restore it from a copy, or run `hmopt search` again: what was measured is kept."
EXPECTED = "what `hmopt search` wrote"
"""What a message expects `search.json` to be."""

Model = Checkpoint | Literal["unregistered"]
"""The model at a checkpoint of its training, or none: the pairs as they are, at the one setting `()`."""

MODELS: tuple[Model, ...] = (*CHECKPOINTS, "unregistered")

WITHOUT_EFFECT_ON_MEASUREMENTS = {
    "coarse",
    "refinements",
    "sampler",
    "sampler_options",
    "trials",
    "storage",
    "spending",
    "spending_options",
    "jobs",
}
"""Keys of `[search]` that change nothing about what was measured already."""


class Spent(Record):
    """What a search measured, and what a full grid would have."""

    model_config = ConfigDict(extra="ignore")

    evaluations: Annotated[int, Field(ge=0)]
    """Pairs at settings."""
    grid: Annotated[int, Field(ge=0)]
    """Pairs at the settings of a grid: `search.coarse` values of each number, and every choice."""
    settings: Annotated[int, Field(ge=0)]
    """Settings at which some pair was measured."""
    partial: Annotated[int, Field(ge=0)]
    """Of these, those at which not all pairs were measured: no analysis uses them."""
    failed: Annotated[int, Field(ge=0)]
    """Pairs at settings that could not be registered."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What was searched: the model, what it was measured on, and how the search was declared.

    Parameters
    ----------
    name
        The study's.
    identity, identity_half, identity_unregistered
        Of the model at full and at half training, and of the pairs as they are; None where they were not measured.
    identity_quarter, identity_three_quarters
        Of the model after a quarter and three quarters of its training; None where they were not measured.
    identity_unrefined
        Of the model alone, where its registrations were refined; None where they were not.
    identity_file
        Of a trained model by its file alone, which knows nothing of landmarks; None where that is the identity of the
        model alone.
    labels
        Names of the measured labels.
    spacing_mm
        Of the prepared grid; None where it is unknown.
    space
        The hyperparameters.
    loss
        `[loss]` as declared; empty where the model was not trained by hmopt.
    loss_scale
        What the similarity was multiplied by; None where the model was not trained by hmopt.
    steps
        Optimizer steps of the whole training; None where they are not known.
    search
        `[search]` as declared.
    declared
        The tables of the declaration that decide what was measured, as JSON holds them; empty where an earlier
        version searched.
    log_hash
        Hash of `training.csv`; None where there was none, or an earlier version searched.
    pairs_hash
        Hash of the table of pairs; None where an earlier version searched.
    model_hash
        Hash of the model's file, where that lies outside the study folder; None elsewhere, or where an earlier version
        searched.
    spent
        How many pairs were measured at how many settings; None where an earlier version searched.
    versions
        By distribution: the version that searched, as of `torch`; empty where an earlier version searched.
    settings
        Lattice indices that the search measured on all pairs, sorted: what else the ledger holds of the model, as
        after `hmopt search --dense`, is no part of it. None where an earlier version searched.
    """

    name: str
    identity: str
    identity_half: str | None
    identity_unregistered: str | None = None
    identity_quarter: str | None = None
    identity_three_quarters: str | None = None
    identity_unrefined: str | None = None
    identity_file: str | None = None
    labels: tuple[str, ...]
    spacing_mm: tuple[float, ...] | None
    space: Space
    loss: Mapping[str, Any]
    loss_scale: float | None
    steps: int | None = None
    search: SearchOptions
    declared: Mapping[str, Any] = field(default_factory=dict)
    log_hash: str | None = None
    pairs_hash: str | None = field(default=None, compare=False)
    model_hash: str | None = field(default=None, compare=False)
    spent: Spent | None = None
    versions: Mapping[str, str] = field(default_factory=dict, compare=False)
    settings: tuple[Index, ...] | None = None

    @property
    def registrations(self) -> int | None:
        """Pairs at settings that a search measured adaptively; None where it measured every pair at every setting.

        Settings that were measured besides the search, as by `hmopt search --dense`, are then none of it.
        """
        if self.spent is None or self.search.spending == "all":
            return None
        return self.spent.evaluations

    @property
    def source(self) -> str:
        """Where the model came from, as `[model]` declared it."""
        model = self.declared.get("model", {})
        source = model.get("source", "trained")
        return str(source)

    @property
    def model_identity(self) -> str:
        """Identity of the model alone, whether its registrations were refined or not."""
        return self.identity_unrefined or self.identity

    @property
    def trained_identity(self) -> str:
        """Identity of a trained model by its file alone, as `hmopt.model_file.model_identity` reads it."""
        return self.identity_file or self.model_identity

    @property
    def refine(self) -> RefineOptions:
        """How each registration was refined; its features only where they are not those of training."""
        options = RefineOptions.model_validate(self.declared.get("refine", {}))
        if options.features != self.trained_features:
            return options
        return options.model_copy(update={"features": None})

    @property
    def refines_as_gap(self) -> bool:
        """Whether registrations were refined, if at all, as those that measure the amortization gap.

        These lower the loss of training on the grid of the predicted velocity.
        """
        return self.refine.features is None and not self.refine.full_resolution_iterations

    @property
    def trained_features(self) -> list[str]:
        """What the similarity compared in training."""
        return features_of(self.loss)

    @property
    def engine(self) -> str | None:
        """The engine that was searched, as it was declared; None where it was a trained model."""
        if self.source != "engine":
            return None
        model = self.declared["model"]
        for key in ("callable", "command", "engine"):
            if model.get(key) is not None:
                return str(model[key])
        return None

    def identity_of(self, model: Model) -> str | None:
        """Return the identity under which a model was measured; None where it was not."""
        identities: dict[Model, str | None] = {
            "quarter": self.identity_quarter,
            "half": self.identity_half,
            "three-quarters": self.identity_three_quarters,
            "full": self.identity,
            "unregistered": self.identity_unregistered,
        }
        return identities[model]

    def space_of(self, model: Model) -> Space:
        """Return the space of the settings at which a model was measured: that of no registration has none."""
        if model == "unregistered":
            return Space(hyperparameters=())
        return self.space

    def metrics_of(self, model: Model) -> tuple[str, ...]:
        """Return the metrics measured of a model: of earlier checkpoints only those that decide a setting."""
        if model in ("full", "unregistered"):
            return self.search.measured
        return self.search.deciding


class _SearchFile(Record):
    """What `search.json` holds."""

    model_config = ConfigDict(extra="ignore")

    name: str
    identity: Annotated[str, Field(min_length=1)]
    identity_quarter: str | None = None
    identity_half: str | None
    identity_three_quarters: str | None = None
    identity_unregistered: str | None = None
    identity_unrefined: str | None = None
    identity_file: str | None = None
    labels: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    spacing_mm: (
        Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=3)] | None
    )
    space: Annotated[list[dict[str, Any]], Field(min_length=1)]
    loss: dict[str, Any]
    loss_scale: Annotated[float, Field(gt=0)] | None
    steps: Annotated[int, Field(ge=1)] | None = None
    metric: str = ""
    """That of `search`, for who reads the file without hmopt; empty where an earlier version searched."""
    search: SearchOptions
    declared: dict[str, Any] = {}
    log_hash: str | None = None
    pairs_hash: str | None = None
    model_hash: str | None = None
    spent: Spent | None = None
    versions: dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] = {}
    settings: Annotated[list[tuple[NonNegativeInt, ...]], Field(min_length=1)] | None = None

    def hyperparameters(self) -> Space:
        """Return the space of the settings."""
        known = [Hyperparameter(**fields) for fields in self.space]
        return Space(hyperparameters=tuple(known))


def write_searched(path: Path, searched: Searched, pairs: pd.DataFrame) -> None:
    """Write `search.json`.

    The storage URL is left out: it can hold a password, and the file is committed.

    Parameters
    ----------
    path
        The file.
    searched
        Its content, but for the hash of the pairs.
    pairs
        The table of pairs that was searched, whose hash is written.
    """
    content: dict[str, Any] = {
        "name": searched.name,
        "identity": searched.identity,
        "identity_quarter": searched.identity_quarter,
        "identity_half": searched.identity_half,
        "identity_three_quarters": searched.identity_three_quarters,
        "identity_unregistered": searched.identity_unregistered,
        "labels": searched.labels,
        "spacing_mm": searched.spacing_mm,
        "space": [h.record() for h in searched.space.hyperparameters],
        "loss": dict(searched.loss),
        "loss_scale": searched.loss_scale,
        "steps": searched.steps,
        "metric": searched.search.metric,
        "search": searched.search.model_dump(mode="json", exclude={"storage"}),
        "declared": dict(searched.declared),
        "log_hash": searched.log_hash,
        "pairs_hash": pairs_hash(pairs),
        "model_hash": searched.model_hash,
        "spent": None if searched.spent is None else searched.spent.model_dump(),
    }
    if searched.identity_unrefined is not None:
        content["identity_unrefined"] = searched.identity_unrefined
    if searched.identity_file is not None:
        content["identity_file"] = searched.identity_file
    if searched.versions:
        content["versions"] = dict(searched.versions)
    if searched.settings is not None:
        content["settings"] = searched.settings
    write_json(path, content)


def parse_searched(content: Mapping[str, Any], path: Path) -> Searched:
    """Check the content of `search.json` and return its record.

    Parameters
    ----------
    content
        As JSON holds it.
    path
        The file, which an error names.

    Raises
    ------
    LedgerError
        If a key is missing, or a value breaks its rule.
    """
    found = checked(
        dict(content),
        _SearchFile,
        field=str(path),
        error=LedgerError,
        what=EXPECTED,
        advice=ADVICE,
    )
    if found.metric not in ("", found.search.metric):
        got = f"metric: {found.metric!r:.80} beside {found.search.metric} of search"
        raise LedgerError(str(path), expected=EXPECTED, got=got, advice=ADVICE)
    try:
        space = found.hyperparameters()
        if found.loss:  # otherwise the hyperparameters are those of an engine or another program
            check_ranges(space)
    except (TypeError, HmoptError) as error:
        got = f"space: {one_line(error)}"
        raise LedgerError(str(path), expected=EXPECTED, got=got, advice=ADVICE) from error
    loss = current_names({"loss": found.loss})["loss"]
    declared = current_names(found.declared)
    try:
        check_sections({**declared, "loss": loss})
    except ValueError as error:
        got = one_line(error)
        raise LedgerError(str(path), expected=EXPECTED, got=got, advice=ADVICE) from error
    values = dict(found)
    del values["metric"]
    values["labels"] = tuple(found.labels)
    values["spacing_mm"] = None if found.spacing_mm is None else tuple(found.spacing_mm)
    values["space"] = space
    values["settings"] = None if found.settings is None else tuple(found.settings)
    values["loss"] = loss
    values["declared"] = declared
    return Searched(**values)


def pairs_hash(pairs: pd.DataFrame) -> str:
    """Return a hash of a table of pairs, whose cells are text."""
    columns = [str(name) for name in pairs.columns]
    texts = pairs.astype(str)
    rows = texts.to_numpy().tolist()
    return content_hash(columns, rows)


def declared_sections(study: Study) -> dict[str, Any]:
    """Return the tables of a declaration that decide what is measured, as JSON holds them, without paths.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "cohort": {"manifest": "cohort.csv"}, "preprocessing": {"shape": [16, 16]}}
    >>> declared_sections(parse_study({**values, "split": {"train": 1, "tune": 1, "search": 1}}))["split"]["train"]
    1
    """
    left_out = {
        "cohort": {"manifest", "images", "labels", "label_names", "license", "citation"},
        "pairs": {"csv"},
        "model": {"path", "trust_code", "time_limit_s", "threads", "warnings"},
        "training": {"threads", "checkpoint_every"},
    }
    # of a model that comes from elsewhere they say nothing
    of_the_model = {"trained": ["network", "hypernetwork", "training"], "optimize": ["network"]}
    names = ["cohort", "preprocessing", "split", "pairs", "model"]
    names += of_the_model.get(study.model.source, [])
    tables = {}
    for name in names:
        options = getattr(study, name)
        tables[name] = options.model_dump(mode="json", exclude=left_out.get(name))
    if study.refine.iterations:
        tables["refine"] = study.refine.model_dump(mode="json")
    return tables


def changed_keys(study: Study, searched: Searched) -> Iterator[tuple[str, str, str]]:
    """Yield the dotted keys at which a declaration differs from the one that was searched, with both values.

    Keys that only say how much is measured are no difference.

    Parameters
    ----------
    study
        The declaration as it is now.
    searched
        What was searched.
    """
    options = searched.search
    kept = options.model_fields_set - WITHOUT_EFFECT_ON_MEASUREMENTS
    before = options.model_dump(mode="json", include=kept)
    yield from _differences("search", before, study.search.model_dump(mode="json"))
    declared = {one.name: one for one in study.space.hyperparameters}
    for known in searched.space.hyperparameters:
        key = f"hyperparameters.{known.name}"
        if known.name not in study.hyperparameters:
            yield key, "declared", "none"
            return
        yield from _differences(key, _described(known), _described(declared[known.name]))
    for name in study.hyperparameters:
        if name not in searched.space.names:
            yield f"hyperparameters.{name}", "none", "declared"
    if study.model.source in ("trained", "optimize"):
        before_loss = {**searched.loss, "features": searched.trained_features}
        now_loss = {**study.loss.model_dump(mode="json"), "features": study.loss.features}
        yield from _differences("loss", before_loss, now_loss)
    yield from _differences(
        "refine",
        {
            "iterations": searched.refine.iterations,
            "full_resolution_iterations": searched.refine.full_resolution_iterations,
            "features": searched.refine.features or searched.trained_features,
        },
        {
            "iterations": study.refine.iterations,
            "full_resolution_iterations": study.refine.full_resolution_iterations,
            "features": study.refine.features or searched.trained_features,
        },
    )
    now = declared_sections(study)
    for table, values in searched.declared.items():
        if table in now and table != "refine":
            yield from _differences(table, values, now[table])


def _described(hyperparameter: Hyperparameter) -> dict[str, Any]:
    """Return the record of a hyperparameter, with its type, choices and conditions in any case."""
    kind: dict[str, Any] = {"type": hyperparameter.type, "choices": [], "only_if": {}}
    return {**kind, **hyperparameter.record()}


def _differences(
    table: str, before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield where two tables differ in a key that both have."""
    for key, value in before.items():
        if key not in now:
            continue
        as_json = json.loads(json.dumps(value))
        if as_json != now[key]:
            yield f"{table}.{key}", repr(value), repr(now[key])
