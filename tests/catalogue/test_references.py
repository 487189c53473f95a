import pytest

from hmopt.catalogue import ENGINES, METRICS, REGULARIZERS, SIMILARITIES, Reference, references
from hmopt.catalogue.references import bibtex, cited

ALL = [value for value in vars(references).values() if isinstance(value, Reference)]


@pytest.mark.parametrize("reference", ALL, ids=lambda one: one.key)
def test_a_reference_says_who_what_where_and_when(reference: Reference) -> None:
    assert reference.authors
    assert all("," in author or author == "others" for author in reference.authors)
    assert reference.title
    assert reference.venue
    assert 1900 < reference.year < 2100
    assert str(reference.year) in reference.key
    assert not reference.doi.startswith("http")


def test_each_key_is_of_one_publication() -> None:
    keys = [reference.key for reference in ALL]
    assert len(set(keys)) == len(keys)
    other = Reference(key="holm1979", authors=("Other, A",), title="x", venue="y", year=1979)
    with pytest.raises(ValueError, match="holm1979"):
        bibtex([references.HOLM, other])


def test_bibtex_has_each_publication_once_by_key() -> None:
    text = bibtex([references.OPTUNA, references.HOLM, references.OPTUNA])
    entries = [line for line in text.splitlines() if line.startswith("@")]
    assert entries == ["@inproceedings{akiba2019,", "@article{holm1979,"]
    # an ampersand is an end of a cell in LaTeX, and balanced braces end where they began
    assert r"Discovery \& Data Mining" in text
    assert text.count("{") == text.count("}")


def test_addresses_are_not_escaped() -> None:
    assert "doi = {10.1007/11866565_113}" in references.STATIONARY_VELOCITY.bibtex
    assert references.STATIONARY_VELOCITY.link == "https://doi.org/10.1007/11866565_113"


def test_sentences_cite_one_two_and_many_authors() -> None:
    assert cited(references.HOLM, references.JACKKNIFE, references.HYPERMORPH) == (
        " (Holm, 1979; Efron and Stein, 1981; Hoopes et al., 2022)"
    )


def test_what_others_published_is_cited_by_the_record_of_it() -> None:
    assert SIMILARITIES["lncc"].references == (references.CROSS_CORRELATION,)
    assert SIMILARITIES["mse"].references == ()
    assert REGULARIZERS["bending"].references == (references.BENDING,)
    assert METRICS["dice"].references == METRICS["dice_nearest"].references == (references.DICE,)
    of_landmarks = [one for one in METRICS.values() if one.name.startswith("tre_m")]
    assert all(one.references for one in of_landmarks)
    assert all(program.references for program in ENGINES.values())
