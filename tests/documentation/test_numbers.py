"""Numbers in READMEs and guides are computed from committed files; none is typed."""

import json
import re
import shutil
from pathlib import Path

import pytest

from studies.readme import (
    CARRIES_OVER,
    ROOT,
    Study,
    by_verdict,
    carries_over,
    render,
    score_on_shared_pairs,
    templates,
)

TEMPLATES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in templates()]

EVERYWHERE = {
    "2-D": "dimension",
    "3-D": "dimension",
    "95 %": "level of every interval: hmopt.analysis.resampling.COVERAGE",
}
"""What any template may say, and why."""

GIVEN = re.compile(r"\{#\s*given, not computed:(.*?)#\}", re.DOTALL)
NOT_PROSE = re.compile(
    r"\{#.*?#\}"  # comments of the template
    r"|\{\{.*?\}\}|\{%.*?%\}"  # what is computed
    r"|^```.*?^```"  # code blocks
    r"|`[^`\n]*`"  # code
    r"|\]\([^)]*\)",  # targets of links
    re.DOTALL | re.MULTILINE,
)
COMPUTED = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def given(template: str) -> dict[str, str]:
    """Return the phrases with numbers that a template lists as not computed, each with its reason."""
    found = GIVEN.search(template)
    lines = found.group(1).strip().splitlines() if found else []
    phrases = [line.split("|", maxsplit=1) for line in lines]
    return {phrase.strip(): reason.strip() for phrase, reason in phrases}


def prose(template: str) -> str:
    """Return the text that is typed, without code, links and what is computed."""
    return re.sub(r"\s+", " ", NOT_PROSE.sub(" ", template))


def typed_numbers(template: str) -> list[str]:
    """Return the numbers that stand in a template's prose, each with the words around it."""
    text = prose(template)
    for phrase in sorted({*given(template), *EVERYWHERE}, key=len, reverse=True):
        text = text.replace(phrase, " ")
    return [
        text[max(match.start() - 20, 0) : match.end() + 20]
        for match in re.finditer(r"\d+(\.\d+)?", text)
    ]


def typed_decimals(template: str) -> list[str]:
    """Return the decimal fractions that stand inside expressions, where they would pass for computed ones."""
    return [code for code in COMPUTED.findall(template) if re.search(r"\d\.\d", code)]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_readme_says_what_the_committed_files_say(template: Path) -> None:
    written = template.with_suffix("").read_text(encoding="utf-8")
    assert written == render(template), "run: python -m studies.readme"


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_number_is_typed(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert typed_numbers(text) == []
    assert typed_decimals(text) == []


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_given_has_a_reason_and_is_still_needed(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert [phrase for phrase, reason in given(text).items() if not reason] == []
    assert [phrase for phrase in given(text) if phrase not in prose(text)] == []


def test_every_readme_of_a_study_has_a_template() -> None:
    readmes = {ROOT / "README.md", *(ROOT / "studies").glob("*/README.md")}
    assert readmes - {path.with_suffix("") for path in templates()} == set()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It gains 0.009 Dice.", 1),
        ("They are 12 % of all, p = 0.03.", 2),
        ("It gains {{ gain }} Dice with `--jobs 2` ([list](a-1.md)).", 0),
        (
            "{# given, not computed:\nMICCAI 2012 | the challenge\n#}\nMICCAI 2012, in 2-D, 95 % interval.",
            0,
        ),
        ("{# given, not computed:\nMICCAI 2012 | the challenge\n#}\nMICCAI 2013.", 1),
    ],
)
def test_a_typed_number_is_found(text: str, numbers: int) -> None:
    assert len(typed_numbers(text)) == numbers


def test_a_number_that_is_typed_into_an_expression_is_found() -> None:
    assert typed_decimals('{{ "0.742" }} {{ 0.5 | d2 }} {{ gain | d2 }}') == [
        '{{ "0.742" }}',
        "{{ 0.5 | d2 }}",
    ]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a project with the study of hearts, and the studies that it cites."""
    for name in ("cardiac", "brains", "engines_cardiac"):
        shutil.copytree(ROOT / "studies" / name, tmp_path / "studies" / name)
    return tmp_path


def changed(root: Path, key: str, value: object) -> str:
    summary = root / "studies/cardiac/results/summary.json"
    content = json.loads(summary.read_text(encoding="utf-8"))
    content[key] = value
    summary.write_text(json.dumps(content), encoding="utf-8")
    return render(root / "studies/cardiac/README.md.jinja", root)


def test_a_readme_follows_the_numbers(copied: Path) -> None:
    assert changed(copied, "dice_held_out", 0.123456) != (
        ROOT / "studies/cardiac/README.md"
    ).read_text(encoding="utf-8")


def test_a_verdict_that_fell_stops_the_readme(copied: Path) -> None:
    summary = json.loads(
        (copied / "studies/cardiac/results/summary.json").read_text(encoding="utf-8")
    )
    levels = summary["gain_per_granularity"]
    levels["cohort"]["over_default"]["evidence"] = "no evidence"
    with pytest.raises(AssertionError, match="change its words"):
        changed(copied, "gain_per_granularity", levels)


def test_a_study_that_is_declared_only_has_no_results(tmp_path: Path) -> None:
    results = tmp_path / "studies/mine/results"
    results.mkdir(parents=True)
    (results.parent / "study.toml").touch()
    assert not Study("mine", tmp_path).has_results
    (results / "summary.json").touch()
    assert Study("mine", tmp_path).has_results


def test_an_interval_that_is_not_known_is_never_written(copied: Path) -> None:
    with pytest.raises(AssertionError, match="not known"):
        changed(copied, "dice_held_out_interval", [None, None])


@pytest.mark.parametrize(
    ("would_do", "says", "verdict"),
    [
        (True, "negligible", "yes"),
        (True, "evidence", "yes"),
        (True, "no evidence", "yes"),
        (False, "evidence", "no"),
        (False, "no evidence", "inconclusive"),
        (False, "too few", "too few subjects"),
        (None, None, "too few subjects"),
    ],
)
def test_a_sentence_follows_the_verdict_on_a_setting_of_elsewhere(
    copied: Path, would_do: bool | None, says: str | None, verdict: str
) -> None:
    found = {"would_do": would_do, "says": says}
    assert carries_over(found) == verdict
    summary = copied / "studies/cardiac/refined/results/summary.json"
    content = json.loads(summary.read_text(encoding="utf-8"))
    content["other_cohort"]["scopes"]["whole cohort"] |= found
    summary.write_text(json.dumps(content), encoding="utf-8")
    text = render(copied / "studies/cardiac/README.md.jinja", copied)
    assert CARRIES_OVER[verdict] in re.sub(r"\s+", " ", text)


def test_scopes_are_named_by_verdict_in_a_fixed_order() -> None:
    scopes = {
        "thalamus": {"would_do": False, "says": "evidence"},
        "cortex": {"would_do": True, "says": "negligible"},
        "putamen": {"would_do": False, "says": "evidence"},
    }
    assert list(by_verdict(scopes).items()) == [
        ("yes", ["cortex"]),
        ("no", ["thalamus", "putamen"]),
    ]


def test_scores_are_compared_on_the_pairs_that_both_methods_have() -> None:
    def difference(pairs: int) -> dict[str, object]:
        known = {"first": "hmopt", "second": "SyNCC", "label": None, "verdict": "no evidence"}
        return {**known, "difference": -0.026, "interval": [-0.09, 0.04], "pairs": pairs}

    entries = {"hmopt": {"score": [0.75], "pairs": 66}, "SyNCC": {"score": [0.717], "pairs": 30}}
    found = {"entries": entries, "differences": [difference(30)]}
    assert score_on_shared_pairs(found, "hmopt", "SyNCC") == pytest.approx(0.691)
    found["differences"] = [difference(28)]
    with pytest.raises(AssertionError, match="not measured on all pairs of SyNCC"):
        score_on_shared_pairs(found, "hmopt", "SyNCC")


def test_networks_at_rates_that_were_not_chosen_count_as_trained() -> None:
    study = Study("brains")
    rates = len(study.declared["compare"]["learning_rate"])
    tried = study.summary["compared_settings"] * (rates - 1)
    assert study.trained_networks("separate") == study.networks("separate") + tried
    assert study.trained_networks("hypermorph") == study.networks("hypermorph")
