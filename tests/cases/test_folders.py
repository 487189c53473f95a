"""Folders of images and label maps as data sets, scanners and version control leave them."""

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

EIGHT = range(8)


def links(folder: Any, kind: str) -> None:
    """Put every file into an annex under the key of its contents, and a link in its place."""
    for number, path in enumerate(sorted((folder.root / kind).iterdir())):
        key = f"MD5E-s{number}--{kind}{number}.nii.gz"
        place = folder.root / ".git/annex/objects/4x" / key / key
        place.parent.mkdir(parents=True)
        path.rename(place)
        path.symlink_to(os.path.relpath(place, path.parent))


def test_names_are_those_of_links_and_not_of_the_keys_that_they_lead_to(folder: Any) -> None:
    folder.cases()
    links(folder, "imagesTr")
    links(folder, "labelsTr")
    assert folder.new().cases == (8, 8)
    assert folder.table.index.tolist() == [f"case_{number:03}" for number in EIGHT]
    assert folder.table["subject"].tolist() == [f"case_{number:03}" for number in EIGHT]


def test_a_manifest_and_a_table_may_be_links_too(folder: Any) -> None:
    folder.manifest()
    folder.text("dseg.tsv", "index\tname\n1\trim\n2\tcore\n")
    for name in ("m.csv", "dseg.tsv"):
        key = folder.root / f".git/annex/objects/k/MD5E-{name}"
        key.parent.mkdir(parents=True, exist_ok=True)
        (folder.root / name).rename(key)
        (folder.root / name).symlink_to(os.path.relpath(key, folder.root))
    outcome = folder.new_of_manifest("--label-names", folder.root / "dseg.tsv")
    assert outcome.cases == (8, 8)
    assert folder.table["image"].iloc[0] == folder.root / "imagesTr/case_000.nii.gz"


def test_links_to_nothing_are_all_named(folder: Any) -> None:
    names = folder.cases()
    for number in (3, 7):
        path = folder.root / "imagesTr" / names[number]
        path.unlink()
        path.symlink_to("../.git/annex/objects/MD5E-s3.nii.gz")
    line = folder.refused_folders()
    assert "links to files that are not there: case_003.nii.gz, case_007.nii.gz" in line


def test_a_label_map_that_is_a_link_to_nothing_is_named(folder: Any) -> None:
    names = folder.cases()
    path = folder.root / "labelsTr" / names[2]
    path.unlink()
    path.symlink_to("../.git/annex/objects/MD5E-s3.nii.gz")
    assert (
        "label files, got links to files that are not there: case_002.nii.gz"
        in folder.refused_folders()
    )


POINTERS = {
    "git-annex": "/annex/objects/MD5E-s154--4bbc.nii.gz\n",
    "git-annex on Windows": "..\\.git\\annex\\objects\\MD5E-s154--4bbc.nii.gz",
    "Git LFS": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a link as text": "../elsewhere/MD5E-s154--4bbc.nii.gz",
}


@pytest.mark.parametrize("text", POINTERS.values(), ids=POINTERS)
def test_files_that_were_not_fetched_are_all_named(folder: Any, text: str) -> None:
    names = folder.cases()
    for number in (3, 7):
        folder.text(f"imagesTr/{names[number]}", text)
    line = folder.refused_folders()
    assert "case_003.nii.gz" in line
    assert "case_007.nii.gz" in line
    assert "Fetch" in line


def test_a_link_that_git_wrote_as_text_is_followed(folder: Any) -> None:
    names = folder.cases()
    for name in names:
        path = folder.root / "imagesTr" / name
        (folder.root / "annex").mkdir(exist_ok=True)
        path.rename(folder.root / "annex" / f"MD5E-{name}")
        path.write_text(f"../annex/MD5E-{name}")
    assert folder.new().cases == (8, 8)
    assert folder.table.index.tolist() == [f"case_{number:03}" for number in EIGHT]


def test_other_files_beside_the_images_are_left_out(folder: Any) -> None:
    names = folder.cases()
    folder.text("imagesTr/.DS_Store", "x")
    folder.text("imagesTr/Thumbs.db", "x")
    folder.text("imagesTr/README", "x")
    for name in names:
        folder.text(f"imagesTr/._{name}", "left by macOS")
        folder.text(f"labelsTr/._{name}", "left by macOS")
        folder.text(f"imagesTr/{name.replace('.nii.gz', '.json')}", "{}")
        folder.text(f"imagesTr/{name.replace('.nii.gz', '.png')}", "a picture of it")
    (folder.root / "imagesTr/quality").mkdir()
    folder.write("imagesTr/quality/snapshot.nii.gz", folder.image())
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    assert outcome.warnings == []


def test_images_of_a_format_that_is_not_read_are_not_left_out_silently(folder: Any) -> None:
    folder.cases()
    folder.text("imagesTr/case_100.nrrd", "NRRD0004")
    (warning,) = folder.new().warnings
    assert "1 .nrrd files are not read and left out" in warning


@pytest.mark.parametrize(
    "ending", ["png", "jpg", "tif", "bmp", "nrrd", "mha", "dcm", "npy", "gii", "trk"]
)
def test_a_folder_of_a_format_that_is_not_read_is_named(folder: Any, ending: str) -> None:
    for number in EIGHT:
        folder.text(f"imagesTr/c{number}.{ending}", "x")
        folder.text(f"labelsTr/c{number}.{ending}", "x")
    line = folder.refused_folders()
    assert f"expected images, got 8 .{ending} files, which hmopt does not read" in line


PAIRS = {
    "plain": lambda path: [path],
    "both compressed": lambda path: [packed(path)],
    "voxels compressed": lambda path: [packed(path)] if path.suffix == ".img" else [path],
}


def packed(path: Path) -> Path:
    beside = path.with_name(path.name + ".gz")
    beside.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return beside


@pytest.mark.parametrize("change", PAIRS.values(), ids=PAIRS)
def test_a_header_and_its_voxels_are_one_image(folder: Any, change: Any) -> None:
    folder.images([f"c{number}.img" for number in EIGHT])
    for path in [*folder.root.glob("*Tr/*.hdr"), *folder.root.glob("*Tr/*.img")]:
        change(path)
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    assert outcome.warnings == []
    assert folder.table.index.tolist() == [f"c{number}" for number in EIGHT]


def test_voxels_without_their_header_are_refused(folder: Any) -> None:
    folder.images([f"c{number}.img" for number in EIGHT])
    (folder.root / "imagesTr/c3.hdr").unlink()
    assert "c3.img" in folder.refused_folders()


def test_one_image_in_two_formats_is_refused(folder: Any) -> None:
    folder.cases()
    folder.write("imagesTr/case_000.nii", folder.image())
    assert "case_000.nii and case_000.nii.gz" in folder.refused_folders()


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("c{n}.nii.gz", "c{n}.nii"),
        ("c{n}.NII.GZ", "c{n}.nii.gz"),
        ("c{n}.nii.gz", "c{n}_seg.nii.gz"),
        ("c{n}.nii.gz", "c{n}_dseg.nii.gz"),
        ("c{n}.nii.gz", "c{n}_mask.nii.gz"),
        ("c{n}.nii.gz", "c{n}-label.nii.gz"),
        ("c{n}_T1w.nii.gz", "c{n}_seg.nii.gz"),
        ("c{n}_img.nii.gz", "c{n}_label.nii.gz"),
        ("patient00{n}_frame01.nii.gz", "patient00{n}_frame01_gt.nii.gz"),
        ("sub-0{n}_T1w.nii.gz", "sub-0{n}_dseg.nii.gz"),
        ("sub-0{n}_T1w.nii.gz", "sub-0{n}_space-T1w_desc-aseg_dseg.nii.gz"),
        ("c{n}_0000.nii.gz", "c{n}.nii.gz"),
        ("brain {n}.nii.gz", "brain {n}.nii.gz"),
        ("Jose\u0301_{n}.nii.gz", "Jos\u00e9_{n}.nii.gz"),
        ("patient_000{n}.nii.gz", "patient_000{n}.nii.gz"),
    ],
)
def test_label_maps_are_found_by_the_names_that_people_give_them(
    folder: Any, image: str, label: str
) -> None:
    folder.images(["x.nii.gz"] * 8)
    for number in EIGHT:
        for kind, name in (("imagesTr", image), ("labelsTr", label)):
            data = folder.image(number) if kind == "imagesTr" else folder.labels(number)
            wanted = folder.root / kind / name.format(n=number)
            written = folder.write(
                f"{kind}/{number}.nii{'.gz' if name.lower().endswith('.gz') else ''}", data
            )
            written.rename(wanted)
    for kind in ("imagesTr", "labelsTr"):
        (folder.root / kind / "x.nii.gz").unlink()
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    assert outcome.warnings == []
    found = [path.name for path in folder.table["label"]]
    assert found == [label.format(n=number) for number in EIGHT]


def test_an_image_with_two_label_maps_is_refused(folder: Any) -> None:
    folder.images([f"c{n}.nii.gz" for n in EIGHT], [f"c{n}_seg.nii.gz" for n in EIGHT])
    folder.write("labelsTr/c0_mask.nii.gz", folder.labels())
    assert (
        "c0.nii.gz: expected one label map, got c0_mask.nii.gz, c0_seg.nii.gz"
        in folder.refused_folders()
    )


def test_an_image_without_a_label_map_is_refused(folder: Any) -> None:
    names = folder.cases()
    (folder.root / "labelsTr" / names[3]).unlink()
    assert "case_003.nii.gz: expected the label file, got no file" in folder.refused_folders()


def test_label_maps_without_an_image_are_said(folder: Any) -> None:
    folder.cases(9)
    (folder.root / "imagesTr/case_003.nii.gz").unlink()
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    assert "1 label maps have no image (case_003.nii.gz)" in outcome.warnings[0]


def test_images_and_label_maps_may_lie_in_one_folder(folder: Any) -> None:
    for number in EIGHT:
        folder.write(f"all/c{number}.nii.gz", folder.image(number))
        folder.write(f"all/c{number}_seg.nii.gz", folder.labels(number))
    assert folder.new("--images", folder.root / "all", "--labels", folder.root / "all").cases == (
        8,
        8,
    )
    assert folder.table["label"].tolist()[0].name == "c0_seg.nii.gz"


def test_a_folder_is_not_taken_for_its_own_label_maps(folder: Any) -> None:
    folder.cases()
    images = folder.root / "imagesTr"
    assert "expected label maps beside the images" in folder.refused(
        "new", folder.study, "--images", images, "--labels", images
    )


def test_of_several_channels_the_first_is_used_and_the_others_are_named(folder: Any) -> None:
    for number in EIGHT:
        folder.write(f"imagesTr/c{number}_0000.nii.gz", folder.image(number))
        folder.write(f"imagesTr/c{number}_0001.nii.gz", folder.image(number))
        folder.write(f"labelsTr/c{number}.nii.gz", folder.labels(number))
    content = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "rim": 1, "core": 2},
    }
    folder.text("dataset.json", json.dumps(content))
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    assert folder.table["subject"].tolist()[0] == "c0"
    assert "0000 (T1) is used, 0001 (FLAIR) left out" in outcome.warnings[0]


def test_sessions_are_of_one_person(folder: Any) -> None:
    folder.images(
        [f"sub-0{person}_ses-{session}_T1w.nii.gz" for person in range(6) for session in (1, 2)]
    )
    outcome = folder.new()
    assert outcome.cases == (12, 6)
    assert outcome.warnings == []
    assert folder.table["session"].tolist()[:2] == ["ses-1", "ses-2"]
    assert folder.declared.pairs.tasks == ["cross", "within"]


def test_modalities_of_one_person_are_told_apart(folder: Any) -> None:
    folder.images(
        [f"sub-0{person}_{kind}.nii.gz" for person in range(6) for kind in ("T1w", "T2w")]
    )
    assert folder.new().cases == (12, 6)
    assert folder.table["modality"].tolist()[:2] == ["T1w", "T2w"]
    assert folder.declared.pairs.same == ["modality"]


@pytest.mark.parametrize(
    ("pattern", "scans"),
    [
        ("OAS1_000{n}_{s}", ("MR1", "MR2")),
        ("patient00{n}_{s}", ("ED", "ES")),
        ("patient00{n}_{s}", ("frame01", "frame12")),
        ("case0{n}-{s}", ("baseline", "followup")),
        ("p{n}_{s}", ("left", "right")),
        ("subj0{n}_{s}", ("visit1", "visit2")),
        ("{n}00_{s}_brain", ("tp1", "tp2")),
        ("case0{n}_{s}", ("T1", "T2")),
    ],
)
def test_names_of_visits_sides_and_modalities_keep_a_person_together(
    folder: Any, pattern: str, scans: tuple[str, str]
) -> None:
    folder.images(
        [pattern.format(n=number, s=scan) + ".nii.gz" for number in range(6) for scan in scans]
    )
    outcome = folder.new()
    assert outcome.cases == (12, 6)
    assert "scans of one person" in outcome.warnings[0]


def test_names_that_may_be_scans_of_one_person_are_said(folder: Any) -> None:
    folder.images([f"a0{number}_{scan}.nii.gz" for number in range(6) for scan in (1, 2)])
    outcome = folder.new()
    assert outcome.cases == (12, 12)
    assert "a00_1 and a00_2 count as two persons" in outcome.warnings[0]


@pytest.mark.parametrize(
    "pattern", ["case_{n}", "hippocampus_00{n}", "volume-{n}", "v{n}", "BRATS_000{n}", "scan_{n}"]
)
def test_numbered_cases_are_as_many_persons(folder: Any, pattern: str) -> None:
    folder.images([pattern.format(n=number) + ".nii.gz" for number in EIGHT])
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    assert outcome.warnings == []


def test_a_tree_of_bids_is_read_with_its_derivatives(folder: Any) -> None:
    for number in range(12):
        place = (
            f"sub-0{number // 2}/ses-{number % 2 + 1}/anat/sub-0{number // 2}_ses-{number % 2 + 1}"
        )
        folder.write(f"bids/{place}_T1w.nii.gz", folder.image(number))
        folder.text(f"bids/{place}_T1w.json", "{}")
        folder.write(
            f"bids/derivatives/manual/{place}_desc-manual_dseg.nii.gz", folder.labels(number)
        )
        folder.write(
            f"bids/{place.replace('anat', 'func')}_task-rest_bold.nii.gz",
            np.zeros((4, 4, 4, 3), np.float32),
        )
    folder.text("bids/dataset_description.json", "{}")
    outcome = folder.new(
        "--images", folder.root / "bids", "--labels", folder.root / "bids/derivatives/manual"
    )
    assert outcome.cases == (12, 6)
    assert outcome.warnings == []
    names = [path.name.split("_desc")[0] for path in folder.table["label"]]
    assert names == [path.name.split("_T1w")[0] for path in folder.table["image"]]


def test_labels_that_some_subjects_lack_are_kept(folder: Any) -> None:
    folder.cases()
    for number in (0, 1):
        folder.write(f"labelsTr/case_00{number}.nii.gz", np.minimum(folder.labels(number), 1))
    outcome = folder.new()
    assert outcome.structures == ["label 1", "label 2"]
    assert "in 6 images" in outcome.output


@pytest.mark.parametrize("order", ["LAS", "RPS", "ARS", "SLP"])
def test_a_label_map_that_stores_its_voxels_in_another_order_is_reordered(
    folder: Any, order: str
) -> None:
    from hmopt.data.volume import read_image, read_labels

    folder.cases()
    affine = nibabel.affines.from_matvec(np.diag([1.0, 1.5, 2.0]), [-3, 4, 5])
    for number in EIGHT:
        labels = nibabel.Nifti1Image(np.repeat(folder.labels(number), 3, axis=2), affine)
        folder.write(
            f"imagesTr/case_00{number}.nii.gz", np.repeat(folder.image(number), 3, axis=2), affine
        )
        change = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(order)
        )
        nibabel.save(labels.as_reoriented(change), folder.root / f"labelsTr/case_00{number}.nii.gz")
    assert folder.new().cases == (8, 8)
    image = folder.table["image"].iloc[3]
    read = read_labels(folder.table["label"].iloc[3], read_image(image).lattice)
    np.testing.assert_array_equal(read.data, np.repeat(folder.labels(3), 3, axis=2))


def test_a_label_map_of_other_voxels_is_refused(folder: Any) -> None:
    folder.cases()
    folder.write("labelsTr/case_004.nii.gz", folder.labels(4), np.diag([2.0, 1, 1, 1]))
    line = folder.refused_folders()
    assert "case_004.nii.gz: expected the affine of case_004.nii.gz" in line


@pytest.mark.filterwarnings("ignore:labels have no names")
def test_the_prepared_cohort_is_the_same_in_whichever_order_label_maps_are_stored(
    folder: Any,
) -> None:
    from hmopt.data.preprocessing import prepare

    folder.cases()
    folder.new()
    study = folder.declared
    before = prepare(study, folder.root / "before")
    for path in (folder.root / "labelsTr").iterdir():
        labels = nibabel.Nifti1Image.from_filename(path)
        mirrored = nibabel.Nifti1Image(np.asarray(labels.dataobj), labels.affine)
        nibabel.save(mirrored.as_reoriented(nibabel.orientations.axcodes2ornt("LAS")), path)
    after = prepare(study, folder.root / "after")
    assert before.identity != after.identity
    for name in before.images.index:
        np.testing.assert_array_equal(before.label_map(name), after.label_map(name))


def test_people_are_told_by_their_folders_where_files_have_equal_names(folder: Any) -> None:
    folder.images([f"{number:03}/t1.nii.gz" for number in EIGHT])
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    assert outcome.warnings == []
    assert folder.table["subject"].tolist() == [f"{number:03}_t1" for number in EIGHT]


def test_subjects_of_bids_folders_are_read_where_files_do_not_name_them(folder: Any) -> None:
    folder.images([f"sub-{number}/T1.nii.gz" for number in EIGHT])
    assert folder.new().cases == (8, 8)
    assert folder.table["subject"].tolist() == [f"sub-{number}" for number in EIGHT]


def test_an_image_without_a_label_map_does_not_get_that_of_its_namesake(folder: Any) -> None:
    folder.images([f"{site}/sub-{number}_T1w.nii.gz" for site in "AB" for number in range(4)])
    for number in range(4):
        (folder.root / f"labelsTr/B/sub-{number}_T1w.nii.gz").unlink()
    line = folder.refused_folders()
    assert "B/sub-0_T1w.nii.gz: expected a label map of its own" in line
    assert "labelsTr/A/sub-0_T1w.nii.gz" in line


def test_namesakes_of_two_sites_are_told(folder: Any) -> None:
    folder.images([f"{site}/sub-{number}_T1w.nii.gz" for site in "AB" for number in range(8)])
    outcome = folder.new()
    assert outcome.cases == (16, 8)
    (warning,) = outcome.warnings
    assert "A/sub-0_T1w.nii.gz" in warning
    assert "taken for scans of one person, sub-0" in warning


def test_namesakes_of_two_sessions_are_one_person_without_a_word(folder: Any) -> None:
    names = [f"sub-{n}/ses-{visit}/T1w.nii.gz" for n in range(8) for visit in "ab"]
    folder.images(names)
    outcome = folder.new()
    assert outcome.cases == (16, 8)
    assert outcome.warnings == []


def test_a_second_segmentation_beside_images_is_a_label_map(folder: Any) -> None:
    for number in EIGHT:
        folder.write(f"both/sub-{number}_T1w.nii.gz", folder.image(number))
        folder.write(f"both/sub-{number}_dseg.nii.gz", folder.labels(number))
        folder.write(f"both/sub-{number}_dseg139.nii.gz", folder.labels(number))
    both = folder.root / "both"
    line = folder.refused("new", folder.study, "--images", both, "--labels", both)
    assert "sub-0_T1w.nii.gz: expected one label map" in line
    assert "sub-0_dseg.nii.gz, sub-0_dseg139.nii.gz" in line


def test_label_maps_of_equal_names_are_found_by_their_folders(folder: Any) -> None:
    folder.images(
        [f"sub-{number}/anat/T1.nii.gz" for number in EIGHT],
        [f"sub-{number}/anat/seg/labels.nii.gz" for number in EIGHT],
    )
    for number in EIGHT:
        old = folder.root / f"labelsTr/sub-{number}/anat/seg/labels.nii.gz"
        old.rename(old.with_name("T1_labels.nii.gz"))
    assert folder.new().cases == (8, 8)
    for image, label in zip(folder.table["image"], folder.table["label"], strict=True):
        assert label.relative_to(folder.root / "labelsTr").parts[0] == image.parent.parent.name


SCANS = {
    "numbers of four digits": ("LungCT_{n:04}_0000", "LungCT_{n:04}_0001"),
    "dates": ("case{n:02}_20190101", "case{n:02}_20200304"),
    "dates with dashes": ("case{n:02}_2019-01-01", "case{n:02}_2020-03-04"),
    "times": ("pat{n:02}_T0", "pat{n:02}_T1"),
    "operations": ("pat{n:02}_preop", "pat{n:02}_postop"),
    "treatments": ("pat{n:02}_before", "pat{n:02}_after"),
    "breathing": ("pat{n:02}_inhale", "pat{n:02}_exhale"),
    "phases": ("pat{n:02}_T00", "pat{n:02}_T50"),
    "contrast": ("pat{n:02}_arterial", "pat{n:02}_venous"),
    "no separator": ("S{n:02}V1", "S{n:02}V2"),
    "copies by a browser": ("pat{n:02} (1)", "pat{n:02} (2)"),
}


@pytest.mark.parametrize("names", SCANS.values(), ids=SCANS)
def test_scans_of_one_person_are_grouped_or_doubted(names: tuple[str, str], folder: Any) -> None:
    files = [f"{name.format(n=n)}.nii.gz" for n in range(6) for name in names]
    folder.images(files)
    outcome = folder.new()
    first, second = (name.format(n=0) for name in names)
    (said,) = [line for line in outcome.warnings if first in line]
    assert f"{first} and {second}" in said or f"{second} and {first}" in said
    assert outcome.cases == (12, 6) or "count as two persons" in said


NO_SCANS = {
    "one number": [f"hippocampus_{n:03}" for n in EIGHT],
    "a number of the study": [f"BraTS2021_{n:05}" for n in EIGHT],
    "names of sites": [f"IXI{n:03}-Guys-0828" for n in EIGHT],
}


@pytest.mark.parametrize("names", NO_SCANS.values(), ids=NO_SCANS)
def test_numbers_of_persons_are_not_doubted(names: list[str], folder: Any) -> None:
    folder.images([f"{name}.nii.gz" for name in names])
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    assert outcome.warnings == []


def test_folders_of_subjects_that_are_links_are_entered(folder: Any) -> None:
    folder.images([f"c{n}/img.nii.gz" for n in EIGHT])
    for kind in ("imagesTr", "labelsTr"):
        (folder.root / kind / "c3").rename(folder.root / f"{kind}_c3")
        (folder.root / kind / "c3").mkdir()
        (folder.root / kind / "c3" / "anat").symlink_to(folder.root / f"{kind}_c3")
        # one that leads upwards
        (folder.root / kind / "c3" / "up").symlink_to(folder.root / kind / "c3")
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    assert outcome.warnings == []


def test_folders_without_an_image_and_links_to_none_are_said(folder: Any) -> None:
    folder.images([f"c{n}/img.nii.gz" for n in EIGHT])
    for kind in ("imagesTr", "labelsTr"):
        (folder.root / kind / "c8").symlink_to("../nowhere")
        (folder.root / kind / "c9").mkdir()
    outcome = folder.new()
    assert outcome.cases == (8, 8)
    said = " ".join(outcome.warnings)
    assert "c8 leads to folders or files that are not there" in said
    assert "c9 holds no image that hmopt reads" in said


def test_label_maps_of_a_format_that_is_not_read_are_named(folder: Any) -> None:
    for path in (folder.root / name for name in folder.cases()):
        label = folder.root / "labelsTr" / path.name
        label.rename(label.with_name(path.name.replace(".nii.gz", ".seg.nrrd")))
    line = folder.refused_folders()
    assert "labelsTr: expected label maps, got 8 .nrrd files, which hmopt does not read" in line


def test_files_of_dicom_without_an_ending_are_recognized(folder: Any) -> None:
    for number in EIGHT:
        content = bytes(128) + b"DICM" + bytes(64)
        for kind in ("imagesTr", "labelsTr"):
            path = folder.text(f"{kind}/p{number}/IM0001", "")
            path.write_bytes(content)
    assert "got 8 files of DICOM, which hmopt does not read" in folder.refused_folders()


@pytest.mark.parametrize("copy", [os.link, shutil.copy], ids=["hard links", "copies"])
@pytest.mark.parametrize("kind", ["imagesTr", "labelsTr"])
def test_one_file_under_several_names_is_said(kind: str, copy: Any, folder: Any) -> None:
    first, *others = folder.cases()
    for name in others[:2]:
        (folder.root / kind / name).unlink()
        copy(folder.root / kind / first, folder.root / kind / name)
    what = "image" if kind == "imagesTr" else "label map"
    (said,) = [line for line in folder.new().warnings if "are the same" in line]
    assert f"are the same {what} (one of 2 such pairs)" in said


def test_a_table_of_names_that_was_not_fetched_is_refused(folder: Any) -> None:
    folder.cases()
    table = folder.root / "dataset.json"
    table.symlink_to(".git/annex/objects/x.json")
    assert "dataset.json: expected a table of label names, got a link" in folder.refused_folders()
    table.unlink()
    table.write_text("/annex/objects/MD5E-s310--9e107d9d372bb6826bd81d3542a419d6.json\n")
    assert "got a pointer of git-annex" in folder.refused_folders()
    table.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 310\n")
    assert "got a pointer of Git LFS" in folder.refused_folders()
