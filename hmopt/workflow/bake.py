"""`hmopt.bake`: the ordinary registration network that a hypermorph is at one setting, in a file for other programs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hmopt
from hmopt.analysis.optimum import ModelAnalysis
from hmopt.errors import CheckpointError, DeclarationError, HmoptError
from hmopt.files import check_outputs
from hmopt.interop.bake import Bakeable, Baked, write_onnx, write_safetensors, write_torch
from hmopt.interop.load import load_model
from hmopt.interop.model import FileModel
from hmopt.oracle.open import model_of
from hmopt.search.scopes import Criteria, find_scope, joined_criteria
from hmopt.space import Setting, Value
from hmopt.study_folder import StudyFolder
from hmopt.workflow.register import (
    Recommendation,
    check_choice,
    check_one_setting,
    find_published,
    given_setting,
    optima_beside,
    recommended_setting,
    refinement_of,
    setting_text,
)
from hmopt.workflow.setting_file import values_of

if TYPE_CHECKING:
    from hmopt.report.origin import ModelOptima


@dataclass(frozen=True, kw_only=True)
class BakeFormat:
    """A form in which a baked network is written.

    Parameters
    ----------
    write
        Writes it whole or not at all.
    endings
        Of the output's name; empty: it is a folder.
    """

    write: Callable[[Baked, Path], None]
    endings: tuple[str, ...]

    def check_name(self, path: Path) -> None:
        """Refuse a name that the format does not take.

        Raises
        ------
        DeclarationError
            If it ends otherwise.
        """
        if self.endings and path.suffix not in self.endings:
            raise DeclarationError(
                "--output",
                expected=f"a name that ends in {' or '.join(self.endings)}",
                got=str(path),
                advice="Correct the name, or choose another --format.",
            )


def _write_bundle(baked: Baked, path: Path) -> None:
    from hmopt.interop.monai_bundle import write_bundle  # MONAI takes seconds to import

    write_bundle(baked, path)


FORMATS: Mapping[str, BakeFormat] = {
    "safetensors": BakeFormat(write=write_safetensors, endings=(".safetensors",)),
    "torch": BakeFormat(write=write_torch, endings=(".pt2", ".pt", ".pth")),
    "onnx": BakeFormat(write=write_onnx, endings=(".onnx",)),
    "monai-bundle": BakeFormat(write=_write_bundle, endings=()),
}
"""By the name that `hmopt bake --format` takes."""


@dataclass(frozen=True, kw_only=True)
class BakedFile:
    """A network that was written for other programs.

    Parameters
    ----------
    output
        The file, or the folder of a bundle.
    form
        Its format.
    setting
        The setting that the network is for.
    advice
        What to know of the setting, as that it folds more than the declared limit; None: nothing.
    """

    output: Path
    form: str
    setting: Setting
    advice: str | None = None

    def __str__(self) -> str:
        """Return a few lines for a person."""
        lines = [f"Setting: {setting_text(self.setting) or 'the only one'}"]
        if self.advice is not None:
            lines.append(self.advice)
        lines.append(f"Network ({self.form}): {self.output}")
        return "\n".join(lines)


def bake(
    folder: Path | str,
    *,
    format: str,  # noqa: A002, as the option is called
    output: Path | str,
    setting: Mapping[str, Value] | Path | str | None = None,
    scope: str | Criteria | None = None,
    within_limits: bool = False,
    within_folding_limit: bool = False,
    trust_code: bool = False,
    **criteria: str,
) -> BakedFile:
    """Write the registration network of one setting in a form that needs no hypernetwork.

    Without a setting and a scope, the best setting of the whole cohort is taken.

    Parameters
    ----------
    folder
        A study folder with a trained model, a folder that `hmopt publish` made, or a model file. A
        folder must have been searched unless `setting` is given.
    format
        `safetensors`: weights and header, for `hmopt.load_model`; `torch`: a program (.pt2), or
        weights and header (.pt); `onnx`: a graph for ONNX Runtime and others; `monai-bundle`: a
        folder that MONAI runs. All but the first need no hmopt to be used.
    output
        Where it goes; a name that is not taken.
    setting
        Values of hyperparameters, or a file of them that `hmopt tune` wrote; others are at their default.
    scope
        The scope whose best setting is taken, as `"label=thalamus, task=within"`, or as a mapping.
    within_limits
        Take the best setting of those that obey `search.folding_limit` and `search.limits`.
    within_folding_limit
        The same, by its earlier name.
    trust_code
        Run the Python file that makes the network of a model file, or of a folder without `study.toml`, where it has a
        network of its own.
    **criteria
        The scope as keywords, as `label="thalamus"`.

    Returns
    -------
    BakedFile
        Where it is, and the setting.

    Raises
    ------
    DeclarationError
        If there is no such format, its name ends otherwise, setting and scope are both given, or a
        value lies outside its range.
    CheckpointError
        If there is no model, it is one that cannot be baked, or it has no counterpart in the format.
    LedgerError, SearchError
        If no setting is given, and nothing was searched or there is no such scope.
    HmoptError
        If the output is there already or cannot be written.

    Examples
    --------
    >>> import hmopt
    >>> hmopt.bake(
    ...     "studies/mine", format="onnx", output="thalamus.onnx", label="thalamus"
    ... ).setting  # doctest: +SKIP
    {'regularization': 0.35}
    """
    form = _format(format)
    output = Path(output)
    asked = joined_criteria(scope, criteria)
    within_limits = within_limits or within_folding_limit
    check_choice(setting, asked, within_limits)
    form.check_name(output)
    _check_output(output)

    path = Path(folder)
    model = (
        load_model(path, trust_code=trust_code)
        if path.is_file()
        else model_of(path, trust_code=trust_code)
    )
    if not isinstance(model, Bakeable):
        title = model.title if isinstance(model, FileModel) else type(model).__name__
        raise CheckpointError(
            str(folder),
            expected="a model that holds one network for each setting, as a hypermorph",
            got=title,
            advice="Use it with hmopt, or with its original program.",
        )
    facts: dict[str, Any] = {"hmopt_version": hmopt.__version__, "model": model.identity}
    advice = None
    chosen: Setting
    if setting or not model.space.names:
        check_one_setting(model.space, asked, within_limits)
        chosen = given_setting(model.space, values_of(setting or {}, model))
    else:
        files = _searched_folder(path)
        recommendation = recommended_setting(files, asked)
        chosen = recommendation.chosen(within_limits=within_limits)
        if not within_limits:
            advice = recommendation.advice()
        facts |= _search_facts(files, asked, recommendation, within_limits)
        iterations = _searched_iterations(files)
        if iterations:
            facts["searched_with_refinement"] = iterations
            refined = (
                f"The setting was searched with registrations refined by {iterations} iterations. Registrations of a "
                "baked network are not refined; without refinement another setting may be best."
            )
            advice = refined if advice is None else f"{advice} {refined}"

    baked = model.bake(chosen)
    earlier = baked.header.get("baked", {})
    form.write(baked.with_facts({**earlier, **facts}), output)
    return BakedFile(output=output, form=format, setting=baked.setting, advice=advice)


def _format(name: str) -> BakeFormat:
    if name in FORMATS:
        return FORMATS[name]
    known = ", ".join(FORMATS)
    raise DeclarationError("--format", expected=f"one of {known}", got=name, advice="Choose one.")


def _check_output(output: Path) -> None:
    """Refuse a name that is taken, or a folder that cannot be written to."""
    if output.exists() or output.is_symlink():
        raise HmoptError(
            "--output",
            expected="a name that does not exist",
            got=str(output),
            advice="Choose another name, or remove what is there.",
        )
    check_outputs({"--output": output}, {})


def _searched_folder(path: Path) -> StudyFolder:
    if path.is_dir():
        return StudyFolder(path)
    raise DeclarationError(
        "--regularization, --set",
        expected="values, because a model file does not contain the best setting",
        got="none",
        advice="Add them, or use the study folder that was searched.",
    )


def _searched_iterations(files: StudyFolder) -> int:
    """Return how many iterations refined each registration of the search, of a study or a published folder."""
    is_published = optima_beside(files) is not None
    refined = refinement_of(files) if is_published else files.searched.refine
    return refined.iterations


def _search_facts(
    files: StudyFolder,
    criteria: Criteria,
    recommendation: Recommendation,
    within_limits: bool,
) -> dict[str, Any]:
    """Return how the setting was found: study, scope, metric, interval and folding."""
    published = optima_beside(files)
    if published is not None:
        return _published_facts(published, criteria, recommendation, within_limits)
    options = files.searched.search
    measurements = files.measurements()
    scope = find_scope(
        criteria, measurements.pairs, measurements.labels, options.min_paired_subjects
    )
    facts: dict[str, Any] = {
        "study": files.study.name,
        "scope": scope.name,
        "metric": options.metric,
        "within_limits": within_limits,
    }
    analysed = ModelAnalysis(measurements, options).of(scope)
    if analysed is not None:
        intervals = {}
        for name, interval in analysed.optimum.intervals.items():
            if interval.low == interval.low:  # not NaN: too few subjects
                intervals[name] = [float(interval.low), float(interval.high)]
        facts["interval_95"] = intervals or None
        subjects = set(measurements.pairs["moving_subject"])
        subjects |= set(measurements.pairs["fixed_subject"])
        facts["subjects"] = len(subjects)
    if not within_limits:
        facts["folding"] = recommendation.folding
    return facts


def _published_facts(
    optima: "ModelOptima",
    criteria: Criteria,
    recommendation: Recommendation,
    within_limits: bool,
) -> dict[str, Any]:
    """Return the same of a published model, from what was published with it."""
    found = find_published(optima, criteria)
    intervals = {}
    for name, (low, high) in found.intervals.items():
        if low is not None and high is not None:
            intervals[name] = [low, high]
    facts: dict[str, Any] = {
        "study": optima.name,
        "scope": found.scope.name,
        "metric": optima.metric,
        "within_limits": within_limits,
        "interval_95": intervals or None,
        "subjects": found.subjects,
    }
    if not within_limits:
        facts["folding"] = recommendation.folding
    return facts
