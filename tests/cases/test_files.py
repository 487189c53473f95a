"""Image files that are damaged, cut off, or no images of one real number a voxel."""

import bz2
import gc
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.cifti2 import cifti2_axes
from nibabel.gifti import gifti
from nibabel.streamlines import tractogram

from hmopt.data.volume import Volume, read_image, read_labels
from hmopt.errors import DataError

FLIPS = 400


def first_image(folder: Any) -> Path:
    folder.cases()
    return Path(folder.root / "imagesTr/case_000.nii.gz")


def read_or_none(path: Path) -> Volume | None:
    """Return an image, or None where it is refused."""
    try:
        return read_image(path)
    except DataError:
        return None


def test_a_flipped_bit_of_a_compressed_image_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    data = (1000 * np.random.default_rng(0).random((12, 11, 10))).astype(np.int16)
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    whole = path.read_bytes()
    wrong = []
    for bit in np.random.default_rng(1).choice(8 * len(whole), FLIPS, replace=False):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        volume = read_or_none(path)
        if volume is None:
            continue
        if not (volume.data == data).all() or not (volume.lattice.affine == np.eye(4)).all():
            wrong.append(bit)
    assert wrong == []


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "half of it": lambda content: content[: len(content) // 2],
    "all but the last byte": lambda content: content[:-1],
    "all but the checksum": lambda content: content[:-8],
    "another checksum": lambda content: content[:-8] + b"1234" + content[-4:],
    "another length": lambda content: content[:-4] + b"1234",
    "something after the end": lambda content: content + b"something",
    "nothing": lambda _: b"",
    "a page of a web server": lambda _: b"<html>404 Not Found</html>" * 20,
    "not compressed": gzip.decompress,
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("kind", ["imagesTr", "labelsTr"])
def test_a_damaged_file_is_named_before_a_training_begins(
    folder: Any, damage: Callable[[bytes], bytes], kind: str
) -> None:
    folder.cases()
    path = folder.root / kind / "case_005.nii.gz"
    path.write_bytes(damage(path.read_bytes()))
    line = folder.refused_folders()
    assert f"{kind}/case_005.nii.gz: expected an image" in line


def test_all_damaged_images_are_named(folder: Any) -> None:
    folder.cases()
    for number in (2, 5, 6):
        path = folder.root / f"imagesTr/case_00{number}.nii.gz"
        path.write_bytes(path.read_bytes()[:-10])
    line = folder.refused_folders()
    assert "8 images that can be used, got 3 that cannot" in line
    for number in (2, 5, 6):
        assert f"case_00{number}.nii.gz" in line


def test_members_of_a_compressed_file_are_read_one_after_the_other(folder: Any) -> None:
    path = first_image(folder)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]))
    assert folder.new().cases == (8, 8)


def test_zeros_after_the_end_of_a_compressed_file_are_padding(folder: Any) -> None:
    path = first_image(folder)
    path.write_bytes(path.read_bytes() + bytes(512))
    assert folder.new().cases == (8, 8)


def test_a_compressed_file_without_gz_in_its_name_is_refused_with_what_to_do(folder: Any) -> None:
    path = first_image(folder)
    path.rename(path.with_name("case_000.nii"))
    assert "Add .gz to its name" in folder.refused_folders()


def test_bzip2_is_read_and_its_checksum_compared(folder: Any) -> None:
    path = first_image(folder)
    packed = path.with_name("case_000.nii.bz2")
    packed.write_bytes(bz2.compress(gzip.decompress(path.read_bytes())))
    path.unlink()
    assert folder.new().cases == (8, 8)
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    packed.write_bytes(content)
    (folder.study / "study.toml").unlink()
    folder.study.rmdir()
    assert "case_000.nii.bz2: expected an image that nibabel reads" in folder.refused_folders()


def test_a_plain_file_that_is_shorter_than_its_header_says_is_refused(folder: Any) -> None:
    path = first_image(folder)
    content = gzip.decompress(path.read_bytes())
    path.unlink()
    path.with_name("case_000.nii").write_bytes(content[:-1])
    assert (
        f"({len(content) - 1} bytes of the {len(content)} that its header says)"
        in folder.refused_folders()
    )


@pytest.mark.parametrize("packed", [True, False])
def test_a_header_of_more_voxels_than_there_are_takes_no_memory(folder: Any, packed: bool) -> None:
    path = first_image(folder)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:48] = np.array([32767] * 3, dtype="<i2").tobytes()
    path.unlink()
    name = "case_000.nii.gz" if packed else "case_000.nii"
    path.with_name(name).write_bytes(gzip.compress(content) if packed else content)
    refusal = f"{name}: expected at most 2,147,483,648 voxels, got 32767 x 32767 x 32767"
    assert refusal in folder.refused_folders()


@pytest.mark.parametrize("cut", [100, -3])
def test_a_cut_mgz_is_refused(folder: Any, cut: int) -> None:
    path = first_image(folder)
    path.unlink()
    mgz = path.with_name("case_000.mgz")
    nibabel.save(nibabel.MGHImage(folder.image(), np.eye(4)), mgz)
    folder.write("labelsTr/case_000.nii.gz", folder.labels())
    assert folder.new().cases == (8, 8)
    (folder.study / "study.toml").unlink()
    folder.study.rmdir()
    mgz.write_bytes(mgz.read_bytes()[:cut])
    assert "case_000.mgz: expected an image that nibabel reads" in folder.refused_folders()


VALUES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "NaN": (lambda data: np.where(data > 50, np.nan, data), "voxels NaN or infinite"),
    "infinity": (lambda data: np.where(data > 50, np.inf, data), "voxels NaN or infinite"),
    "complex numbers": (
        lambda data: data.astype(np.complex64),
        "one real number per voxel, got complex numbers",
    ),
    "colours": (
        lambda data: np.zeros(data.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]),
        "one real number per voxel, got colours",
    ),
    "one value": (lambda data: np.full_like(data, 7), "intensities that differ, got 7 everywhere"),
    "a time series": (lambda data: np.stack([data, data], axis=-1), "one 2-D or 3-D image"),
}


@pytest.mark.parametrize(("change", "says"), VALUES.values(), ids=VALUES)
def test_an_image_that_cannot_be_trained_on_is_named_by_new(
    folder: Any, change: Callable[[np.ndarray], np.ndarray], says: str
) -> None:
    folder.cases()
    folder.write("imagesTr/case_002.nii.gz", change(folder.image(2)))
    line = folder.refused_folders()
    assert "case_002.nii.gz" in line
    assert says in line


LABELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "probabilities": (
        lambda data: (data / 3).astype(np.float32),
        "whole numbers of at least 0, got other values (0.333333)",
    ),
    "a map resampled by interpolation": (
        lambda data: data + np.where(data > 1, 0.25, 0),
        "whole numbers of at least 0",
    ),
    "a distance map": (lambda data: 1 - data.astype(np.float32), "got other values (-1)"),
    "NaN everywhere": (lambda data: np.full(data.shape, np.nan, np.float32), "NaN everywhere"),
    "infinity": (lambda data: np.where(data > 1, np.inf, data), "infinite values"),
    "colours": (
        lambda data: np.zeros(data.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]),
        "got colours",
    ),
}


@pytest.mark.parametrize(("change", "says"), LABELS.values(), ids=LABELS)
def test_a_file_that_is_no_label_map_is_refused(
    folder: Any, change: Callable[[np.ndarray], np.ndarray], says: str
) -> None:
    folder.cases()
    folder.write("labelsTr/case_002.nii.gz", change(folder.labels(2)))
    assert says in folder.refused_folders()


def test_codes_that_scaling_moved_off_whole_numbers_are_read(folder: Any) -> None:
    folder.cases()
    for number in range(8):
        image = nibabel.Nifti1Image(folder.labels(number).astype(np.int16) * 65, np.eye(4))
        image.header.set_slope_inter(1.0000152 / 65, 0)
        nibabel.save(image, folder.root / f"labelsTr/case_00{number}.nii.gz")
    assert folder.new().structures == ["label 1", "label 2"]


def test_scaled_codes_are_the_nearest_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image(np.array([[[0.0, 3.00004578, 2035.0310669]]]), np.eye(4)), path
    )
    assert read_labels(path).data.ravel().tolist() == [0, 3, 2035]


def test_nan_around_a_label_map_is_background(folder: Any) -> None:
    folder.cases()
    labels = folder.labels(2).astype(np.float32)
    folder.write("labelsTr/case_002.nii.gz", np.where(labels == 0, np.nan, labels))
    outcome = folder.new()
    assert outcome.structures == ["label 1", "label 2"]
    assert "case_002.nii.gz" in outcome.warnings[0]
    assert "NaN and count as background" in outcome.warnings[0]


def write_gifti(path: Path) -> None:
    points = gifti.GiftiDataArray(np.zeros((3, 3), dtype=np.float32))
    nibabel.save(gifti.GiftiImage(darrays=[points]), path)


def write_cifti(path: Path) -> None:
    axes = (
        cifti2_axes.ScalarAxis(["a"]),
        cifti2_axes.BrainModelAxis.from_mask(np.ones(5), "CORTEX_LEFT"),
    )
    nibabel.save(nibabel.Cifti2Image(np.zeros((1, 5), dtype=np.float32), header=axes), path)


def write_tracts(path: Path) -> None:
    points = tractogram.Tractogram([np.zeros((3, 3), dtype=np.float32)], affine_to_rasmm=np.eye(4))
    nibabel.streamlines.save(points, path)


def write_text(path: Path) -> None:
    path.write_text("broken")
    other = {".PAR": ".REC", ".par": ".rec", ".HEAD": ".BRIK"}.get(path.suffix)
    if other:
        path.with_suffix(other).write_bytes(bytes(100))


def write_only_header(path: Path) -> None:
    path.write_text("broken")


def write_hdf(path: Path) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))


STRANGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "GIFTI": ("s.surf.gii", write_gifti),
    "CIFTI-2": ("s.dscalar.nii", write_cifti),
    "streamlines": ("s.trk", write_tracts),
    "a broken PAR": ("s.par", write_text),
    "a broken PAR in capitals": ("s.PAR", write_text),
    "a broken HEAD": ("s+orig.HEAD", write_text),
    "a HEAD without its BRIK": ("t+orig.HEAD", write_only_header),
    "a broken header": ("s.hdr", write_text),
    "a broken MINC": ("s.mnc", write_text),
    "a broken MGH": ("s.mgh", write_text),
    "MINC 2": ("s2.mnc", write_hdf),
    "a picture": ("s.png", write_text),
    "DICOM": ("s.dcm", write_text),
    "NRRD": ("s.nrrd", write_text),
    "MetaImage": ("s.mha", write_text),
    "an ending that nobody knows": ("s.xyz", write_text),
    "no ending": ("s", write_text),
}


@pytest.mark.filterwarnings(
    "ignore:unclosed file"
)  # nibabel leaves a file open that it cannot read
@pytest.mark.parametrize(("name", "make"), STRANGE.values(), ids=STRANGE)
def test_a_file_that_holds_no_volume_is_refused_by_every_reader(
    folder: Any, name: str, make: Callable[[Path], None]
) -> None:
    folder.manifest()
    make(folder.root / name)
    text = (folder.root / "m.csv").read_text().replace("imagesTr/case_003.nii.gz", name)
    folder.text("m.csv", text)
    assert name in folder.refused_manifest()
    folder.text(
        "m.csv",
        text.replace(name, "imagesTr/case_003.nii.gz").replace("labelsTr/case_003.nii.gz", name),
    )
    assert name in folder.refused_manifest()
    gc.collect()  # the open file is told of here, and not in another test


def test_a_folder_for_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected an image file, got a folder"):
        read_image(tmp_path)
