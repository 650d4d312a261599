"""Label maps are read as nibabel reads them, whatever their header; what is wrong with a file is said."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kits_trees import IPL, save

from nnunet_kits.errors import ImageError
from nnunet_kits.images import label_maps, read_grid, read_labels

SHAPE = (5, 6, 40)


def labels():
    array = np.zeros(SHAPE, np.uint8)
    array[2, 3, 7] = array[1, 1:4, 20:31] = 3
    array[2, 2, 25] = 1
    return array


@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<i2", "<i4", "<i8", "<f4", "<f8"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_foreground_of_any_dtype_is_found(tmp_path, dtype, ending, monkeypatch):
    monkeypatch.setattr(label_maps, "RUN_BYTES", 100 * np.dtype(dtype).itemsize)  # three planes at a time
    path = tmp_path / f"a{ending}"
    nib.save(nib.Nifti1Image(labels().astype(dtype), IPL, dtype=dtype), path)
    found = read_labels(path)
    assert found.array.dtype == np.uint8
    assert found.box == ((1, 3), (1, 4), (7, 31))
    assert np.array_equal(found.whole(), labels())
    assert found.array.flags.f_contiguous  # lies in memory as in the file
    assert found.grid.spacing_mm == (5.0, 0.75, 0.875)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turns=st.lists(st.tuples(st.sampled_from(["xy", "yz", "xz"]), st.floats(-180, 180)), max_size=2),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    codes=st.sampled_from([(0, 2), (1, 0), (1, 1), (2, 1)]),
)
def test_the_grid_of_any_common_header_is_nibabels(tmp_path, turns, flips, spacing, origin, codes):
    affine = np.diag([*np.multiply(flips, spacing), 1.0])
    for plane, degrees in turns:
        a, b = ("xyz".index(axis) for axis in plane)
        turn = np.eye(4)
        turn[a, a] = turn[b, b] = np.cos(np.radians(degrees))
        turn[a, b], turn[b, a] = -np.sin(np.radians(degrees)), np.sin(np.radians(degrees))
        affine = turn @ affine
    affine[:3, 3] = origin
    image = nib.Nifti1Image(labels(), affine)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    nib.save(image, tmp_path / "a.nii")
    grid, expected = read_grid(tmp_path / "a.nii"), nib.load(tmp_path / "a.nii")
    assert np.array_equal(grid.affine, expected.affine)
    assert grid.spacing_mm == pytest.approx(np.linalg.norm(expected.affine[:3, :3], axis=0), abs=1e-9)
    assert grid.shape == SHAPE


def scaled(path):
    image = nib.Nifti1Image((labels() * 2).astype(np.int16), IPL)
    image.header.set_slope_inter(0.5, 0)
    nib.save(image, path)


def big_endian(path):
    nib.save(nib.Nifti1Image(labels().astype(">i2"), IPL, nib.Nifti1Header(endianness=">")), path)


def without_place(path):
    image = nib.Nifti1Image(labels(), IPL)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, path)


def several_members(path):
    nib.save(nib.Nifti1Image(labels(), IPL), path)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]))


def shifted(path):
    """Stored zeros are no background where the header adds to them."""
    image = nib.Nifti1Image(labels().astype(np.int16) - 1, IPL)
    image.header.set_slope_inter(1, 1)
    nib.save(image, path)


@pytest.mark.parametrize("write", [scaled, shifted, big_endian, without_place, several_members])
def test_uncommon_files_are_read_too(tmp_path, write):
    write(tmp_path / "a.nii.gz")
    found, expected = read_labels(tmp_path / "a.nii.gz"), nib.load(tmp_path / "a.nii.gz")
    assert np.array_equal(found.whole(), np.asarray(expected.dataobj))
    assert np.array_equal(found.grid.affine, expected.affine)


@pytest.mark.parametrize("nothing", [0.0, -0.0])
def test_a_map_without_foreground_has_no_box(tmp_path, nothing):
    found = read_labels(save(tmp_path / "a.nii.gz", np.full(SHAPE, nothing)))
    assert found.box is None
    assert found.within(((0, 2), (0, 3), (0, 4))).shape == (2, 3, 4)
    assert not found.within(((0, 2), (0, 3), (0, 4))).any()


@pytest.mark.parametrize(
    ("value", "said"), [(0.5, "0.5"), (-1.0, "-1"), (300.0, "300"), (np.nan, "nan"), (4.0, "4"), (1e300, "1e\\+300")]
)
def test_a_value_that_is_no_label_is_named(tmp_path, value, said):
    array = labels().astype(np.float64)
    array[0, 5, 39] = value
    with pytest.raises(ImageError, match=rf"a\.nii\.gz holds the value {said}, but its labels are 0, 1, 2, 3"):
        read_labels(save(tmp_path / "a.nii.gz", array))


def test_a_cyst_is_no_label_of_kits19(tmp_path):
    with pytest.raises(ImageError, match=r"holds the value 3, but its labels are 0, 1, 2\. Choose the year"):
        read_labels(save(tmp_path / "a.nii.gz", labels()), (1, 2))


def truncated(content):
    return content[:-9]


def shorter(content):
    return gzip.compress(gzip.decompress(content)[:-1])


def other_checksum(content):
    return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


def no_image(content):
    return gzip.compress(b"no image" * 100)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "truncated"),
        (shorter, "The file is incomplete"),
        (other_checksum, "damaged"),
        (no_image, "not a NIfTI image"),
        (lambda content: b"", "empty|truncated"),
    ],
)
def test_damage_is_named_and_never_read_over(tmp_path, damage, said):
    path = save(tmp_path / "a.nii.gz", labels())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ImageError, match=rf"a\.nii\.gz.*({said})"):
        read_labels(path)


def test_a_checksum_is_verified_where_all_voxels_were_read_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(label_maps, "RUN_BYTES", 30)  # so the trailer is not decompressed with the last voxel
    path = save(tmp_path / "a.nii.gz", labels())
    path.write_bytes(other_checksum(path.read_bytes()))
    with pytest.raises(ImageError, match="damaged"):
        read_labels(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"a\.nii\.gz: no such file"):
        read_labels(tmp_path / "a.nii.gz")
