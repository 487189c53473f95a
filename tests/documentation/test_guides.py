import re
from pathlib import Path

import pytest

from hmopt.declaration.reference import reference

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_guide_to_the_study_file_says_what_the_declaration_says() -> None:
    text = (ROOT / "docs/reference/study-file.md").read_text(encoding="utf-8")
    assert text == reference(), (
        "run: python -m hmopt.declaration.reference > docs/reference/study-file.md"
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
    made_by_the_site = re.compile(r"report/[a-z0-9-]+\.png")
    local = [
        target
        for target in targets
        if "://" not in target and not made_by_the_site.fullmatch(target)
    ]
    assert [target for target in local if not (document.parent / target).exists()] == []
