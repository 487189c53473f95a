from pathlib import Path

import pytest

from hmopt.errors import DataError
from hmopt.report.material import read_material


def test_what_is_known_about_a_scope_is_found_by_what_its_pairs_have(study_folder: Path) -> None:
    material = read_material(study_folder)
    assert material.finding() is material.cohort
    assert {
        material.finding(**dict(finding.scope.criteria)) is finding for finding in material.findings
    } == {True}
    with pytest.raises(
        DataError, match=r"scope: expected a measured one of cohort, .*, got label=nowhere"
    ):
        material.finding(label="nowhere")
