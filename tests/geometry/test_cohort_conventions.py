"""A cohort stored in another way is the same cohort: same prepared arrays, same fields in the world."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from hmopt.data.inspection import Inspection, inspect_cohort
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.data.reference import Reference, common_axes
from hmopt.data.volume import Lattice
from hmopt.declaration import CohortOptions, parse_study
from hmopt.errors import DataError, DeclarationError
from hmopt.oracle import open_registrar
from hmopt.workflow.new import infer_study
from tests.data.whole_cohort import read_cohort
from tests.geometry.conftest import SETTING, Array, Judge, affine, build_model, head

SUBJECTS = 6
SHAPE = (22, 26, 18)
Image = tuple[Array, Array]
"""Voxels and affine."""
Change = Callable[[Array, Array, int], Image]


def labels_of(data: Array) -> Array:
    """Return a label for the front half of a head and one for its back half."""
    labels = np.where(data > 60, 1, 0).astype(np.uint8)
    labels[:, data.shape[1] // 2 :][labels[:, data.shape[1] // 2 :] == 1] = 2
    return labels


def write_cohort(folder: Path, change: Change, unit: str = "mm", planes: bool = False) -> Path:
    """Write heads and their labels, each changed in its storage, and give the manifest."""
    folder.mkdir(parents=True)
    rows = ["image,label,subject"]
    for number in range(SUBJECTS):
        data = head(number, SHAPE)
        data = data[:, :, 9:10] if planes else data
        for kind, voxels in (("image", data), ("label", labels_of(data))):
            stored, matrix = change(voxels, affine(), number)
            image = nibabel.Nifti1Image(stored, matrix)
            image.header.set_xyzt_units(unit)
            nibabel.save(image, folder / f"{number}_{kind}.nii.gz")
        rows.append(f"{number}_image.nii.gz,{number}_label.nii.gz,s{number}")
    (folder / "dseg.tsv").write_text("index\tname\n1\tfront\n2\tback\n", encoding="utf-8")
    (folder / "cohort.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder / "cohort.csv"


def as_it_is(data: Array, matrix: Array, number: int) -> Image:
    return data, matrix


def reordered(data: Array, matrix: Array, number: int) -> Image:
    codes = ("LPS", "LAS", "PIR", "SLA", "ASR", "IPL")[number]
    order = ornt_transform(io_orientation(matrix), axcodes2ornt(codes))
    return nibabel.orientations.apply_orientation(data, order), matrix @ inv_ornt_aff(
        order, data.shape
    )


def padded(data: Array, matrix: Array, number: int) -> Image:
    before = np.array([number, 2, 5 - number])
    shift = np.eye(4)
    shift[:3, 3] = -before
    return np.pad(data, [(width, 3) for width in before]), matrix @ shift


def cropped(data: Array, matrix: Array, number: int) -> Image:
    first = np.array([number % 3, (number + 1) % 3, 0])
    shift = np.eye(4)
    shift[:3, 3] = first
    return data[
        first[0] : data.shape[0] - 1, first[1] :, : data.shape[2] - number % 2
    ], matrix @ shift


def in_micrometres(data: Array, matrix: Array, number: int) -> Image:
    return data, np.diag([1e3, 1e3, 1e3, 1.0]) @ matrix


def declare(manifest: Path, **preprocessing: Any) -> Any:
    return parse_study(
        {
            "name": "x",
            "cohort": {"manifest": manifest, "label_names": manifest.parent / "dseg.tsv"},
            "preprocessing": {"shape": [32, 32, 32], "normalization": "minmax", **preprocessing},
            "split": {"train": 2, "tune": 2, "search": 2},
        }
    )


def look(manifest: Path) -> Inspection:
    options = CohortOptions(manifest=manifest, label_names=manifest.parent / "dseg.tsv")
    return inspect_cohort(read_cohort(options))


def assert_same_arrays(one: PreparedCohort, other: PreparedCohort) -> None:
    for name in one.images.index:
        np.testing.assert_allclose(one.image(name), other.image(name), atol=1e-6)
        np.testing.assert_array_equal(one.label_map(name), other.label_map(name))


@pytest.mark.parametrize("placement", ["header", "centre"])
@pytest.mark.parametrize(
    ("change", "unit"),
    [(reordered, "mm"), (in_micrometres, "micron")],
    ids=["reordered", "in micrometres"],
)
def test_how_a_cohort_is_stored_does_not_change_what_is_prepared(
    tmp_path: Path, change: Change, unit: str, placement: str
) -> None:
    plain = prepare(
        declare(write_cohort(tmp_path / "a", as_it_is), placement=placement), tmp_path / "s"
    )
    stored = prepare(
        declare(write_cohort(tmp_path / "b", change, unit), placement=placement), tmp_path / "t"
    )
    assert_same_arrays(plain, stored)
    assert stored.spacing_mm == plain.spacing_mm == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("change", [padded, cropped])
def test_margins_do_not_change_what_is_prepared_where_headers_place_images(
    tmp_path: Path, change: Change
) -> None:
    template = tmp_path / "template.nii.gz"
    nibabel.save(nibabel.Nifti1Image(head(0, SHAPE), affine()), template)
    preprocessing = {"placement": "header", "template": str(template)}
    plain = prepare(
        declare(write_cohort(tmp_path / "a", as_it_is), **preprocessing), tmp_path / "s"
    )
    changed = prepare(
        declare(write_cohort(tmp_path / "b", change), **preprocessing), tmp_path / "t"
    )
    assert_same_arrays(plain, changed)


def test_heads_cropped_in_different_ways_are_placed_by_their_headers_and_both_overlaps_are_shown(
    tmp_path: Path,
) -> None:
    def unevenly(data: Array, matrix: Array, number: int) -> Image:
        first, shift = [2 * number, 0, number % 3], np.eye(4)
        shift[:3, 3] = first
        return data[first[0] :, :, first[2] :], matrix @ shift

    found = look(write_cohort(tmp_path / "a", unevenly))
    whole = look(write_cohort(tmp_path / "b", as_it_is))
    assert found.overlaps["header"] > found.overlaps["centre"] + 0.05
    section = CohortOptions(manifest=tmp_path / "a" / "cohort.csv")
    study, remarks = infer_study("x", section, found)
    assert study.preprocessing.placement == "header"
    for overlap in found.overlaps.values():
        assert f"{overlap:.2f}" in remarks["preprocessing.placement"]
    # all of every image lies on the grid
    assert study.preprocessing.shape == infer_study("x", section, whole)[0].preprocessing.shape


def test_heads_with_random_origins_are_placed_by_their_centres(tmp_path: Path) -> None:
    def anywhere(data: Array, matrix: Array, number: int) -> Image:
        shift = np.eye(4)
        shift[:3, 3] = np.random.default_rng(number).uniform(-40, 40, 3)
        return data, shift @ matrix

    found = look(write_cohort(tmp_path / "a", anywhere))
    assert found.best_placement == "centre"
    study, _ = infer_study("x", CohortOptions(manifest=tmp_path / "a" / "cohort.csv"), found)
    assert study.preprocessing.placement == "centre"


def test_images_without_orientation_are_never_placed_by_their_headers(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "a", as_it_is)
    for path in manifest.parent.glob("*.nii.gz"):
        nibabel.save(
            nibabel.Nifti1Image(np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj), None),
            path,
        )
    found = look(manifest)
    assert found.best_placement == "centre"
    assert any("6 without qform and sform" in remark for remark in found.headers.remarks)


def test_headers_that_contradict_themselves_are_counted_with_their_distance(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "a", as_it_is)
    for number in range(2):
        path = manifest.parent / f"{number}_image.nii.gz"
        image = nibabel.Nifti1Image.from_filename(path)
        image.set_qform(affine(origin=(2.0, -12.0, -8.0)), 1)
        image.set_sform(affine(), 2)
        nibabel.save(image, path)
    (remark,) = look(manifest).headers.remarks
    assert remark.startswith("2 whose qform and sform lie up to 12 mm apart")


def turned(angle: float) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", angle, degrees=True).as_matrix()
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return matrix


def test_a_cohort_on_both_sides_of_45_degrees_is_prepared_as_if_it_were_straight(
    tmp_path: Path,
) -> None:
    def oblique(data: Array, matrix: Array, number: int) -> Image:
        return data, turned(43.0 + number)

    plain = prepare(
        declare(write_cohort(tmp_path / "a", as_it_is), placement="centre"), tmp_path / "s"
    )
    tilted = prepare(
        declare(write_cohort(tmp_path / "b", oblique), placement="centre"), tmp_path / "t"
    )
    # at 45 degrees either axis may be called the first, but it must be the same one of every image
    axes = tilted.reference.axes
    quarter = 0 if axes[1, 0] > 0 else 1
    for name in plain.images.index:
        expected = np.rot90(plain.image(name), -quarter, axes=(1, 0))
        np.testing.assert_allclose(tilted.image(name), expected, atol=1e-6)
    assert np.abs(axes[:2, :2]).min() == pytest.approx(np.sqrt(0.5), abs=0.05)


def test_common_axes_are_the_worlds_unless_an_image_is_in_doubt() -> None:
    def lattices(*angles: float) -> list[Lattice]:
        return [Lattice(shape=(22, 26, 18), affine=turned(angle)) for angle in angles]

    np.testing.assert_array_equal(common_axes(lattices(0, 30, -30)), np.eye(3))
    for angles in ((44, 46), (46, 44), (-46, -44), (44, 46, 45)):
        axes = common_axes(lattices(*angles))
        offsets = [
            np.degrees(np.arccos((np.trace(axes.T @ turned(a)[:3, :3]) - 1) / 2)) for a in angles
        ]
        # each image is turned from the axes by what it is from the others, plus the same quarter turns for all
        assert np.ptp(np.array(offsets)) < 3
    # what a model knows decides which way a pair in doubt is named
    near = Rotation.from_euler("z", 80, degrees=True).as_matrix()
    axes = common_axes(lattices(44, 46), near)
    assert np.trace(axes.T @ near) > 2.6


def test_the_reference_survives_its_record() -> None:
    reference = Reference(
        axes=turned(44)[:3, :3], lattice=Lattice(shape=(3, 4, 5), affine=turned(7)), plane=2
    )
    read = Reference.from_record(reference.to_record())
    np.testing.assert_array_equal(read.axes, reference.axes)
    assert read.lattice is not None
    assert reference.lattice is not None
    np.testing.assert_array_equal(read.lattice.affine, reference.lattice.affine)
    assert (read.lattice.shape, read.plane) == ((3, 4, 5), 2)


def test_planes_of_different_kinds_are_no_cohort(tmp_path: Path) -> None:
    coronal = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])

    def mixed(data: Array, matrix: Array, number: int) -> Image:
        return data, coronal if number == 4 else matrix

    study = declare(write_cohort(tmp_path / "a", mixed, planes=True), shape=[32, 32])
    with pytest.raises(
        DataError, match=r"4_image\.nii\.gz: expected an axial plane, .* got a coronal plane"
    ):
        prepare(study, tmp_path / "s")
    with pytest.raises(DataError, match="got a coronal plane"):
        look(tmp_path / "a" / "cohort.csv")


def test_slices_of_stacks_that_begin_elsewhere_are_paired_by_place(tmp_path: Path) -> None:
    def fewer(data: Array, matrix: Array, number: int) -> Image:
        shift = np.eye(4)
        shift[2, 3] = number % 4
        return data[:, :, number % 4 :], matrix @ shift

    preprocessing = {
        "shape": [32, 32],
        "slices": {"axis": 2, "indices": [8, 10]},
        "placement": "header",
    }
    plain = prepare(
        declare(write_cohort(tmp_path / "a", as_it_is), **preprocessing), tmp_path / "s"
    )
    begun_later = prepare(
        declare(write_cohort(tmp_path / "b", fewer), **preprocessing), tmp_path / "t"
    )
    assert_same_arrays(plain, begun_later)


def test_the_declared_background_lies_around_every_image(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "a", as_it_is)
    own = prepare(declare(manifest), tmp_path / "s").image("0_image")
    declared = prepare(
        declare(manifest, background=float(head(0, SHAPE).max())), tmp_path / "t"
    ).image("0_image")
    assert own[0, 0, 0] == 0
    assert declared[0, 0, 0] == 1
    np.testing.assert_array_equal(own[5:27, 3:29, 7:25], declared[5:27, 3:29, 7:25])


@pytest.mark.filterwarnings("ignore:.*align is now")
def test_align_of_older_files_is_read_and_a_contradiction_refused() -> None:
    def section(**keys: str) -> Any:
        values = {
            "cohort": {"manifest": "c.csv"},
            "split": {"train": 2, "tune": 2, "search": 2},
            "name": "x",
        }
        return parse_study({**values, "preprocessing": {"shape": [8, 8, 8], **keys}}).preprocessing

    assert section().placement == "centre"
    assert section(align="none").placement == "centre"
    assert section(align="affine").placement == "affine"
    with pytest.raises(DeclarationError, match='placement = "affine"'):
        section(align="affine", placement="header")


def write(path: Path, data: Array, matrix: Array) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, matrix), path)
    return path


def header_model(folder: Path, **preprocessing: Any) -> Path:
    lattice = Lattice(shape=SHAPE, affine=affine())
    header = {"reference": Reference(lattice=lattice).to_record(), "spacing_mm": [1.0, 1.0, 1.0]}
    return build_model(
        folder, (32, 32, 32), header, placement="header", normalization="minmax", **preprocessing
    )


@pytest.mark.parametrize("change", [reordered, padded, cropped])
def test_margins_and_order_of_a_pair_do_not_change_its_field_in_the_world(
    tmp_path: Path, judge: Judge, change: Change
) -> None:
    folder = header_model(tmp_path / "model")
    moving, fixed = (write(tmp_path / f"{n}.nii.gz", head(n, SHAPE), affine()) for n in (1, 2))
    plain = judge(folder, moving, fixed)
    changed = judge(
        folder, write(tmp_path / "c.nii.gz", *change(head(1, SHAPE), affine(), 2)), fixed
    )
    np.testing.assert_allclose(
        changed.displacement.get_fdata(), plain.displacement.get_fdata(), atol=1e-3
    )
    assert changed.remarks == ()


def test_a_scan_and_a_crop_of_it_are_registered_as_themselves_by_headers_and_warned_of_by_centres(
    tmp_path: Path, model: Path, judge: Judge
) -> None:
    scan = write(tmp_path / "scan.nii.gz", head(1, SHAPE), affine())
    crop = write(
        tmp_path / "crop.nii.gz", head(1, SHAPE)[:, 8:, 6:], affine(origin=(-10.0, -4.0, -2.0))
    )
    itself = judge(header_model(tmp_path / "model"), scan, scan, ants_too=False)
    by_header = judge(header_model(tmp_path / "model"), crop, scan, ants_too=False)
    assert by_header.remarks == ()
    assert np.abs(by_header.displacement.get_fdata() - itself.displacement.get_fdata()).mean() < 0.5
    (remark,) = judge(model, crop, scan, ants_too=False).remarks
    # 8 and 6 mm were cut from one side, so that the middles are 4 and 3 mm apart
    assert "5 mm from where their headers put them" in remark
    assert "100 % of the smaller image lies in the other" in remark
    assert "--placement header" in remark


def test_headers_that_put_two_images_apart_are_warned_of_with_their_distance(
    tmp_path: Path,
) -> None:
    folder = header_model(tmp_path / "model")
    here = write(tmp_path / "here.nii.gz", head(1, SHAPE), affine())
    there = write(tmp_path / "there.nii.gz", head(2, SHAPE), affine(origin=(110.0, -12.0, -8.0)))
    remarks = " ".join(open_registrar(folder).register(here, there, SETTING).remarks)
    assert "0 % of the smaller image lies in the other; their centres are 120 mm apart" in remarks
    assert "--placement centre" in remarks


def test_a_pair_that_lies_far_from_the_cohort_is_registered_as_if_it_lay_there(
    tmp_path: Path, judge: Judge
) -> None:
    folder = header_model(tmp_path / "model")
    near = [write(tmp_path / f"near{n}.nii.gz", head(n, SHAPE), affine()) for n in (1, 2)]
    away = affine(origin=(190.0, -112.0, 42.0))
    far = [write(tmp_path / f"far{n}.nii.gz", head(n, SHAPE), away) for n in (1, 2)]
    plain, moved = judge(folder, *near, ants_too=False), judge(folder, *far)
    np.testing.assert_allclose(
        moved.displacement.get_fdata(), plain.displacement.get_fdata(), atol=1e-3
    )
    assert any("far2.nii.gz lies 229 mm from the images" in remark for remark in moved.remarks)


def test_a_model_without_a_declared_spacing_brings_other_spacings_to_the_one_it_was_trained_at(
    tmp_path: Path, judge: Judge
) -> None:
    folder = build_model(
        tmp_path / "model", (32, 32, 32), {"spacing_mm": [1.0, 1.0, 1.0]}, spacing_mm=None
    )
    moving = write(tmp_path / "m.nii.gz", head(1, SHAPE), affine())
    fine = write(
        tmp_path / "f.nii.gz",
        np.kron(head(1, SHAPE), np.ones((2, 2, 2), np.float32)),
        halved(affine()),
    )
    same = judge(folder, moving, moving, ants_too=False)
    found = judge(folder, moving, fine)
    limit = 1.0 + np.abs(same.displacement.get_fdata()).max()
    assert np.abs(found.displacement.get_fdata()).max() < limit
    assert any(
        "0.5 x 0.5 x 0.5 mm" in remark and "1 x 1 x 1 mm" in remark for remark in found.remarks
    )


def halved(matrix: Array) -> Array:
    fine: Array = matrix @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] -= 0.25
    return fine


def test_spacings_that_differ_are_refused_where_the_models_is_not_known(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "model", (32, 32, 32), spacing_mm=None)
    moving = write(tmp_path / "m.nii.gz", head(1, SHAPE), affine())
    fine = write(tmp_path / "f.nii.gz", head(1, SHAPE), halved(affine()))
    with pytest.raises(
        DataError, match=r"expected the spacing of f\.nii\.gz, 0\.5 x 0\.5 x 0\.5 mm"
    ):
        open_registrar(folder).register(moving, fine, SETTING)


@pytest.mark.parametrize("placement", ["centre", "header"])
def test_of_two_stacks_the_slices_at_one_place_are_registered(
    tmp_path: Path, judge: Judge, placement: str
) -> None:
    sections = {"slices": {"axis": 2, "indices": [9, 11]}, "placement": placement}
    header = {"reference": Reference(lattice=Lattice(shape=SHAPE, affine=affine())).to_record()}
    folder = build_model(tmp_path / "model", (32, 32), header, **sections)
    whole = write(tmp_path / "whole.nii.gz", head(1, SHAPE), affine())
    later = write(
        tmp_path / "later.nii.gz", head(1, SHAPE)[:, :, 4:], affine(origin=(-10.0, -12.0, -4.0))
    )
    same, found = judge(folder, whole, whole, ants_too=False), judge(folder, later, whole)
    np.testing.assert_allclose(
        found.displacement.get_fdata(), same.displacement.get_fdata(), atol=1e-3
    )
    said = [
        remark
        for remark in found.remarks
        if "slices 5, 7 lie where slices 9, 11 of whole.nii.gz do" in remark
    ]
    assert len(said) == (placement == "centre")


def test_placement_by_headers_that_are_declared_wrong_is_refused(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "a", as_it_is)
    study = declare(manifest, placement="header")
    wrong = study.model_copy(
        update={"cohort": study.cohort.model_copy(update={"spacing_known": False})}
    )
    with pytest.raises(DeclarationError, match="spacing_known"):
        prepare(wrong, tmp_path / "s")


def test_a_unit_that_makes_an_image_a_thousand_times_too_large_is_doubted(
    tmp_path: Path, model: Path
) -> None:
    image = nibabel.Nifti1Image(head(1, SHAPE), affine())
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "m.nii.gz")
    fixed = write(tmp_path / "f.nii.gz", head(2, SHAPE), affine())
    remarks = open_registrar(model).register(tmp_path / "m.nii.gz", fixed, SETTING).remarks
    assert any(
        "m.nii.gz: it measures 2.6e+04 x 2.2e+04 x 1.8e+04 mm" in remark for remark in remarks
    )
