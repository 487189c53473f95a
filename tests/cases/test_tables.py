"""Manifests and tables of names as spreadsheets and other programs write them."""

import json
import os
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

ROWS: dict[str, dict[str, Any]] = {
    "as it should be": {},
    "capitals and blanks in the names of columns": {"header": "Image, Label , SUBJECT"},
    "empty last rows": {"end": ",,\n,,\n"},
    "an empty last line": {"end": "\n\n"},
    "empty last columns": {
        "header": "image,label,subject,,",
        "row": "imagesTr/{name},labelsTr/{name},s{number},,",
    },
    "empty last columns of the rows only": {"row": "imagesTr/{name},labelsTr/{name},s{number},,,"},
    "a byte order mark": {"encoding": "utf-8-sig"},
    "UTF-16 of Excel's Unicode text": {
        "encoding": "utf-16",
        "header": "image\tlabel\tsubject",
        "row": "imagesTr/{name}\tlabelsTr/{name}\ts{number}",
    },
    "UTF-16 without a mark": {"encoding": "utf-16-le"},
    "semicolons": {
        "header": "image;label;subject",
        "row": "imagesTr/{name};labelsTr/{name};s{number}",
    },
    "a first line that names the separator": {
        "header": "sep=;\nimage;label;subject",
        "row": "imagesTr/{name};labelsTr/{name};s{number}",
    },
    "tabs": {
        "header": "image\tlabel\tsubject",
        "row": "imagesTr/{name}\tlabelsTr/{name}\ts{number}",
    },
    "lines of Windows": {"newline": "\r\n"},
    "lines of old Macs": {"newline": "\r"},
    "blanks around values": {"row": " imagesTr/{name} ,labelsTr/{name}\u00a0, s{number} "},
    "quotes around values": {"row": '"imagesTr/{name}","labelsTr/{name}","s{number}"'},
    "blanks after quotes": {"row": '"imagesTr/{name}" , "labelsTr/{name}"  ,"s{number}" '},
    "quotes inside a value": {
        "header": "image,label,subject,note",
        "row": 'imagesTr/{name},labelsTr/{name},s{number},"a ""word"" , of 5"" "',
    },
    "a quote behind letters": {
        "header": "image,label,subject,note",
        "row": 'imagesTr/{name},labelsTr/{name},s{number},of 5"',
    },
    "quotes after a blank": {"row": 'imagesTr/{name}, "labelsTr/{name}", "s{number}"'},
    "backslashes in paths": {"row": "imagesTr\\{name},.\\labelsTr\\{name},s{number}"},
    "numbers with .0 for subjects": {"row": "imagesTr/{name},labelsTr/{name},{number}.0"},
    "a column with line breaks": {
        "header": "image,label,subject,note",
        "row": 'imagesTr/{name},labelsTr/{name},s{number},"two\nlines"',
    },
    "a line before the header": {"header": ",,\nimage,label,subject"},
}


@pytest.mark.parametrize("written", ROWS.values(), ids=ROWS)
def test_a_manifest_is_read_however_it_was_exported(folder: Any, written: dict[str, Any]) -> None:
    folder.manifest(**written)
    outcome = folder.new_of_manifest()
    assert outcome.cases == (8, 8)
    assert outcome.warnings == []
    prefix = "" if ".0" in written.get("row", "") else "s"
    assert folder.table["subject"].tolist() == [f"{prefix}{number}" for number in range(8)]
    assert [path.name for path in folder.table["image"]] == [
        f"case_{number:03}.nii.gz" for number in range(8)
    ]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no rows": ({"count": 0}, "no rows"),
    "no subject": ({"header": "image,label,person"}, "no subject among image, label, person"),
    "a column twice": (
        {
            "header": "image,label,subject,Image",
            "row": "imagesTr/{name},labelsTr/{name},s{number},x",
        },
        "each column once",
    ),
    "a missing subject": (
        {"row": "imagesTr/{name},labelsTr/{name},"},
        "m.csv, line 2: expected a value for subject",
    ),
    "a subject of blanks": (
        {"row": "imagesTr/{name},labelsTr/{name},  "},
        "line 2: expected a value for subject",
    ),
    "a failed formula": (
        {"row": "imagesTr/{name},labelsTr/{name},#N/A"},
        "a value for subject, got #N/A",
    ),
    "a value without a column": (
        {"row": "imagesTr/{name},labelsTr/{name},s{number},x"},
        "line 2: expected 3 values, got 4",
    ),
    "a column without a name": (
        {
            "header": "image,label,subject,,age",
            "row": "imagesTr/{name},labelsTr/{name},s{number},x,3",
        },
        "a name for every column",
    ),
    "an address": (
        {"row": "https://x.org/{name},labelsTr/{name},s{number}"},
        "expected a file on this machine",
    ),
    "a drive of Windows": ({"row": "C:\\data\\{name},labelsTr/{name},s{number}"}, "one of Windows"),
    "a variable that is not set": (
        {"row": "$NOT_SET_HERE/{name},labelsTr/{name},s{number}"},
        "environment variable",
    ),
    "a folder for an image": ({"row": "imagesTr,labelsTr/{name},s{number}"}, "got a folder"),
    "an image twice": (
        {"row": "imagesTr/case_000.nii.gz,labelsTr/{name},s{number}"},
        "each image once, got several rows",
    ),
    "one label map for all": (
        {"row": "imagesTr/{name},labelsTr/case_000.nii.gz,s{number}"},
        "a label map of its own for every image, got one for 8 images",
    ),
    "a quote that is not closed": (
        {"row": 'imagesTr/{name},labelsTr/{name},"s{number}'},
        "m.csv, line 2: expected a CSV manifest whose quotes are closed",
    ),
    "a quote that is not closed before the last row": (
        {"row": "imagesTr/{name},labelsTr/{name},s{number}", "end": '\na.nii,b.nii,"s9\n'},
        "line 11: expected a CSV manifest whose quotes are closed",
    ),
    "a carriage return in a subject": (
        {"row": 'imagesTr/{name},labelsTr/{name},"s\r{number}"'},
        "line 3: expected a name in one line, without control characters, got 's\\r0'",
    ),
    "a line break in the name of a column": (
        {"header": 'image,label,subject,"a\nb"'},
        "expected a name in one line, without control characters, got 'a\\nb'",
    ),
    "a terminal's control character": (
        {"row": "imagesTr/{name},labelsTr/{name},s\x1b[31m{number}"},
        "expected a name in one line",
    ),
    "a reserved column": (
        {
            "header": "image,label,subject,split",
            "row": "imagesTr/{name},labelsTr/{name},s{number},x",
        },
        "columns with names of their own",
    ),
}


@pytest.mark.parametrize(("written", "says"), REFUSED.values(), ids=REFUSED)
def test_a_manifest_that_cannot_be_used_is_refused_in_one_line(
    folder: Any, written: dict[str, Any], says: str
) -> None:
    folder.manifest(**written)
    assert says in folder.refused_manifest()


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_manifest_that_has_no_end_is_refused_at_once(folder: Any, kind: str) -> None:
    folder.manifest()
    path = folder.root / "m.csv"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert "m.csv: expected a text file, got not an ordinary file" in folder.refused_manifest()


def test_missing_images_are_all_named(folder: Any) -> None:
    folder.manifest()
    for number in (2, 5):
        (folder.root / f"imagesTr/case_00{number}.nii.gz").unlink()
    line = folder.refused_manifest()
    assert "case_002.nii.gz" in line
    assert "case_005.nii.gz" in line


def test_a_misspelt_image_is_answered_with_the_name_that_is_there(folder: Any) -> None:
    folder.manifest(
        row="imagesTr/{name},labelsTr/{name},s{number}".replace(
            "{name}", "Case_00{number}.nii.gz", 1
        )
    )
    assert "Did you mean case_000.nii.gz?" in folder.refused_manifest()


def test_leading_zeros_of_subjects_stay(folder: Any) -> None:
    folder.manifest(row="imagesTr/{name},labelsTr/{name},00{number}")
    folder.new_of_manifest()
    assert folder.table["subject"].tolist()[7] == "007"


def test_words_for_missing_values_are_names_of_subjects(folder: Any) -> None:
    folder.manifest(end="")
    text = (folder.root / "m.csv").read_text().replace(",s0\n", ",NA\n").replace(",s1\n", ",None\n")
    folder.text("m.csv", text)
    folder.new_of_manifest()
    assert folder.table["subject"].tolist()[:2] == ["NA", "None"]


def test_a_column_of_numbers_may_lack_some(folder: Any) -> None:
    folder.manifest(
        header="image,label,subject,age", row="imagesTr/{name},labelsTr/{name},s{number},2{number}"
    )
    text = (
        (folder.root / "m.csv").read_text().replace(",s3,23", ",s3,n/a").replace(",s4,24", ",s4,")
    )
    folder.text("m.csv", text)
    folder.new_of_manifest()
    assert folder.table["age"].isna().tolist() == [number in (3, 4) for number in range(8)]
    assert folder.table["age"].tolist()[5] == 25


def test_paths_may_hold_variables_and_the_home_folder(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COHORT_OF_TEST", str(folder.root))
    monkeypatch.setenv("HOME", str(folder.root))
    folder.manifest(row="${{COHORT_OF_TEST}}/imagesTr/{name},~/labelsTr/{name},s{number}")
    assert folder.new_of_manifest().cases == (8, 8)


def test_images_and_label_maps_may_have_other_unicode_forms_of_their_names(folder: Any) -> None:
    folder.images([f"Jose\u0301_{number}.nii.gz" for number in range(8)])
    rows = [
        f"imagesTr/Jos\u00e9_{number}.nii.gz,labelsTr/Jos\u00e9_{number}.nii.gz,s{number}"
        for number in range(8)
    ]
    folder.text("m.csv", "\n".join(["image,label,subject", *rows]))
    assert folder.new_of_manifest().cases == (8, 8)


def test_a_subject_is_one_person_in_either_unicode_form(folder: Any) -> None:
    folder.manifest(
        count=12,
        header="image,label,subject,session",
        row="imagesTr/{name},labelsTr/{name},s{number},x{number}",
    )
    text = (
        (folder.root / "m.csv")
        .read_text()
        .replace(",s0,", ",Jos\u00e9,")
        .replace(",s1,", ",Jose\u0301,")
    )
    folder.text("m.csv", text)
    assert folder.new_of_manifest().cases == (12, 11)


@pytest.mark.parametrize(
    ("first", "second"), [("S1", "s1"), ("01", "1"), ("sub-01_ses-1", "sub-01_ses-2")]
)
def test_subjects_that_look_like_one_person_are_named(folder: Any, first: str, second: str) -> None:
    folder.manifest()
    text = (
        (folder.root / "m.csv")
        .read_text()
        .replace(",s0\n", f",{first}\n")
        .replace(",s1\n", f",{second}\n")
    )
    folder.text("m.csv", text)
    (warning,) = folder.new_of_manifest().warnings
    assert first in warning
    assert second in warning


def test_images_of_one_session_may_share_a_label_map(folder: Any) -> None:
    folder.cases(12)
    rows = [
        f"imagesTr/case_{number:03}.nii.gz,labelsTr/case_{number // 2:03}.nii.gz,s{number // 2},T{number % 2 + 1}"
        for number in range(12)
    ]
    folder.text("m.csv", "\n".join(["image,label,subject,Modality", *rows]))
    assert folder.new_of_manifest().cases == (12, 6)
    assert folder.declared.pairs.same == ["Modality"]


def test_sessions_of_one_person_may_not_share_a_label_map(folder: Any) -> None:
    folder.cases(12)
    rows = [
        f"imagesTr/case_{number:03}.nii.gz,labelsTr/case_{number // 2:03}.nii.gz,s{number // 2},{number % 2 + 1}"
        for number in range(12)
    ]
    folder.text("m.csv", "\n".join(["image,label,subject,session", *rows]))
    assert "a label map of its own for every image" in folder.refused_manifest()


TABLES: dict[str, tuple[str, str, str]] = {
    "dseg.tsv": ("dseg.tsv", "index\tname\n0\tbackground\n1\trim\n2\tcore\n", "utf-8"),
    "dseg.tsv with capitals, colours and blanks": (
        "dseg.tsv",
        "Index \tName\tcolor\n1\t rim \t#fff\n2\tcore\t#eee\n\t\t\n",
        "utf-8",
    ),
    "dseg.tsv with numbers as 1.0": ("dseg.tsv", "index\tname\n1.0\trim\n2.0\tcore\n", "utf-8"),
    "dseg.tsv with abbreviations first": (
        "dseg.tsv",
        "index\tabbreviation\tname\n1\tR\trim\n2\tC\tcore\n",
        "utf-8",
    ),
    "dseg.tsv with a byte order mark": ("dseg.tsv", "index\tname\n1\trim\n2\tcore\n", "utf-8-sig"),
    "dseg.tsv in UTF-16": ("dseg.tsv", "index\tname\n1\trim\n2\tcore\n", "utf-16"),
    "CSV": ("names.csv", "id,name\n1,rim\n2,core\n", "utf-8"),
    "CSV with semicolons": ("names.csv", "label;name\n1;rim\n2;core\n", "utf-8"),
    "FreeSurfer": (
        "lut.txt",
        "#No. Name R G B A\n\n0 Unknown 0 0 0 0\n1 rim 70 130 180 0\n2   core  245 245 245 0\n",
        "utf-8",
    ),
    "FreeSurfer without #": (
        "lut.txt",
        "No. Name R G B A\n0 Unknown 0 0 0 0\n1 rim 70 130 180 0\n2 core 245 245 245 0\n",
        "utf-8",
    ),
    "3D Slicer": (
        "names.ctbl",
        "# Color table file names.ctbl\n# 3 values\n0 Background 0 0 0 0\n1 rim 1 2 3 255\n2 core 4 5 6 255\n",
        "utf-8",
    ),
    "ITK-SNAP": (
        "labels.txt",
        "################\n# ITK-SnAP Label Description File\n"
        '    0     0    0    0        0  0  0    "Clear Label"\n'
        '    1   255    0    0        1  1  1    "rim"\n    2     0  255    0        0.5  1  1    "core"\n',
        "utf-8",
    ),
    "Decathlon": (
        "dataset.json",
        '{"labels": {"0": "background", "1": "rim", "2": "core"}}',
        "utf-8",
    ),
    "Decathlon with a byte order mark": (
        "dataset.json",
        '{"labels": {"0": "background", "1": "rim", "2": "core"}}',
        "utf-8-sig",
    ),
    "nnU-Net": ("dataset.json", '{"labels": {"background": 0, "rim": 1, "core": 2}}', "utf-8"),
    "nnU-Net with codes as text": (
        "dataset.json",
        '{"labels": {"background": "0", "rim": "1", "core": "2"}}',
        "utf-8",
    ),
    "nnU-Net with single codes in lists": (
        "dataset.json",
        '{"labels": {"background": 0, "rim": [1], "core": [2]}}',
        "utf-8",
    ),
    "a plain JSON table": ("names.json", '{"1": "rim", "2": "core"}', "utf-8"),
}


@pytest.mark.parametrize(("name", "text", "encoding"), TABLES.values(), ids=TABLES)
def test_names_of_labels_are_read_from_what_programs_write(
    folder: Any, name: str, text: str, encoding: str
) -> None:
    folder.cases()
    table = folder.text(name, text, encoding)
    outcome = folder.new_of_folders("--label-names", table)
    assert outcome.structures == ["rim", "core"]
    assert outcome.errors == ""
    assert folder.codes == {"rim": (1,), "core": (2,)}


BROKEN: dict[str, tuple[str, str, str]] = {
    "no code": ("dseg.tsv", "index\tname\none\trim\n", "columns index (whole numbers) and name"),
    "no column of codes": ("dseg.tsv", "colour\tname\n1\trim\n", "got columns colour, name"),
    "a label without a name": (
        "dseg.tsv",
        "index\tname\n1\t\n2\tcore\n",
        "line 2: expected a name",
    ),
    "a code twice": ("lut.txt", "1 rim 0 0 0 0\n1 core 0 0 0 0\n", "1 more than once"),
    "nothing": ("dseg.tsv", "", "no rows"),
    "a list": ("dataset.json", '{"labels": ["rim", "core"]}', '"labels"'),
    "a word for a code": ("dataset.json", '{"labels": {"rim": "one"}}', '"labels"'),
    "too deep": ("dataset.json", "[" * 100_000, '"labels"'),
    "a label that is not in it": ("dseg.tsv", "index\tname\n1\trim\n", "got 2, which it lacks"),
}


@pytest.mark.parametrize(("name", "text", "says"), BROKEN.values(), ids=BROKEN)
def test_a_table_of_names_that_cannot_be_used_is_refused_in_one_line(
    folder: Any, name: str, text: str, says: str
) -> None:
    folder.cases()
    assert says in folder.refused_folders("--label-names", folder.text(name, text))


def test_names_that_a_program_repeats_are_told_apart_by_their_codes(folder: Any) -> None:
    folder.cases()
    table = folder.text("lut.txt", "1 rim 0 0 0 0\n2 rim 0 0 0 0\n3 core 0 0 0 0\n")
    assert folder.new_of_folders("--label-names", table).structures == ["rim 1", "rim 2"]


def nnunet(folder: Any, labels: dict[str, Any]) -> None:
    folder.cases()
    text = json.dumps(
        {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": 8, "file_ending": ".nii.gz"}
    )
    folder.text("dataset.json", text)


def test_voxels_to_ignore_are_no_structure(folder: Any) -> None:
    nnunet(folder, {"background": 0, "rim": 1, "ignore": 2})
    outcome = folder.new()
    assert outcome.structures == ["rim"]
    assert outcome.warnings == [
        "dataset.json: label 2 (ignore) is left out: its voxels count as background."
    ]


def test_regions_that_overlap_become_their_parts(folder: Any) -> None:
    nnunet(folder, {"background": 0, "whole": [1, 2], "core": [2]})
    outcome = folder.new()
    assert outcome.structures == ["whole without core", "core"]
    assert "regions overlap and are cut to parts" in outcome.warnings[0]


def test_regions_that_do_not_overlap_are_structures_of_several_labels(folder: Any) -> None:
    nnunet(folder, {"background": 0, "both": [1, 2]})
    outcome = folder.new()
    assert outcome.structures == ["both"]
    assert outcome.warnings == []
    assert folder.codes == {"both": (1, 2)}


PARTS: dict[str, tuple[dict[str, Any], dict[int, str]]] = {
    "three in each other": (
        {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
        {1: "whole without core", 2: "core without enhancing", 3: "enhancing"},
    ),
    "two that cross": (
        {"a": [1, 2], "b": [2, 3]},
        {1: "a without b", 2: "a and b", 3: "b without a"},
    ),
    "one beside": (
        {"whole": [1, 2], "core": 2, "other": 4},
        {1: "whole without core", 2: "core", 4: "other"},
    ),
    "equal ones": ({"a": [1], "b": [1], "c": 2}, {1: "a and b", 2: "c"}),
}


@pytest.mark.parametrize(("regions", "names"), PARTS.values(), ids=PARTS)
def test_parts_of_regions_are_named_after_them(
    folder: Any,
    regions: dict[str, Any],
    names: dict[int, str],
    read_names: Callable[..., dict[int, str]],
) -> None:
    assert (
        read_names(
            folder.text("dataset.json", json.dumps({"labels": {"background": 0, **regions}}))
        )
        == names
    )


@pytest.fixture
def read_names() -> Callable[..., dict[int, str]]:
    from hmopt.data.names import read_label_table

    return lambda path: read_label_table(path).names


def test_a_workbook_is_told_from_a_table(folder: Any) -> None:
    path = folder.manifest()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    assert "got an Excel workbook, or another archive. Save it as CSV" in folder.refused_manifest()


def test_a_column_label_that_repeats_the_images_is_refused(folder: Any) -> None:
    folder.manifest(row="imagesTr/{name},imagesTr/{name},s{number}")
    line = folder.refused_manifest()
    assert "expected label maps in the column label, got the images themselves" in line


def test_a_manifest_of_paths_into_an_annex_is_no_pointer(folder: Any) -> None:
    folder.manifest(row=".git/annex/objects/{name},.git/annex/objects/l_{name},s{number}", count=2)
    assert "pointer" not in folder.refused_manifest()


def test_points_and_a_column_called_cohort_are_no_scopes(folder: Any) -> None:
    rows = folder.manifest(
        header="image,label,subject,points,cohort",
        row="imagesTr/{name},labelsTr/{name},s{number},p{number}.csv,AB",
    )
    rows.write_text(rows.read_text().replace("s1,p1.csv,AB", "s1,p1.csv,B"))
    for number in range(8):
        folder.text(f"p{number}.csv", "x,y,z,name\n10,10,0,a\n12,12,0,b\n")
    folder.new_of_manifest()
    scopes = folder.declared.search.scopes
    assert ["points"] not in [list(scope) for scope in scopes]
    assert [list(scope) for scope in scopes].count(["cohort"]) == 1
