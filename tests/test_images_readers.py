"""A scan is given, and a label map written, as nnU-Net's readers do; what they do not read alike is left to them."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from scipy.spatial.transform import Rotation
from test_preprocessing import same

from nnunet_kits.errors import ImageError
from nnunet_kits.images import read_ct, read_scan, read_volume

COMMON = (NibabelIO, NibabelIOWithReorient, SimpleITKIO)


def not_asked():
    raise AssertionError("nnU-Net's reader was asked")


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    edges=st.tuples(*[st.sampled_from([0.5, 1.25, 3.0])] * 3),
    tilt=st.tuples(*[st.sampled_from([0.0, 0.3, -0.7])] * 3),
    dtype=st.sampled_from(["<i2", "<f8", "<f4", "<u2", "<i8", ">i2"]),
    reader=st.sampled_from(COMMON),
    read=st.sampled_from([read_ct, read_volume]),
)
def test_scans_are_read_and_written_as_nnunets_readers_do(
    tmp_path_factory, order, signs, edges, tilt, dtype, reader, read
):
    folder = tmp_path_factory.mktemp("scan")
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", tilt).as_matrix() @ np.diag(np.multiply(signs, edges))[:, order]
    affine[:3, 3] = (-10, 20, 5)
    image = np.random.default_rng(0).integers(0, 900, (5, 6, 7)).astype(dtype)
    written = nib.Nifti1Image(image, affine, dtype=dtype)
    written.set_sform(affine, code=2)
    written.set_qform(affine, code=1)
    nib.save(written, folder / "a.nii.gz")
    scan = read_scan([folder / "a.nii.gz"], reader.__name__, not_asked, read)
    data, properties = reader().read_images([str(folder / "a.nii.gz")])
    assert np.array_equal(scan.array.astype(np.float32), data)
    same(scan.properties, properties)
    assert scan.spacing_mm == tuple(properties["spacing"])
    labels = (np.indices(data.shape[1:]).sum(0) % 4).astype(np.uint8)
    scan.write(labels, folder / "ours.nii.gz")
    reader().write_seg(labels, str(folder / "stock.nii.gz"), properties)
    ours, stock = nib.load(folder / "ours.nii.gz"), nib.load(folder / "stock.nii.gz")
    assert np.array_equal(np.asarray(ours.dataobj), np.asarray(stock.dataobj))
    assert np.allclose(ours.affine, stock.affine, atol=1e-5)


@pytest.mark.parametrize("reader", COMMON)
def test_a_file_with_scaled_voxels_is_read_as_nnunets_reader_does(tmp_path, reader):
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1, 2, 3, 1.0]))
    image.header.set_slope_inter(0.1, -3)
    nib.save(image, tmp_path / "image.nii.gz")
    scan = read_scan([tmp_path / "image.nii.gz"], reader.__name__, not_asked, read_volume)
    expected, _ = reader().read_images([str(tmp_path / "image.nii.gz")])
    assert np.array_equal(scan.array.astype(np.float32), expected)


@pytest.mark.parametrize("reader", COMMON)
def test_where_header_and_affine_disagree_about_the_spacing_nnunets_reader_is_followed(tmp_path, reader):
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.diag([1, 2, 3, 1.0]))
    image.set_qform(None, 0)
    image.header["pixdim"][1:4] = (1, 2, 5)
    image.to_filename(tmp_path / "a.nii")
    _, properties = reader().read_images([str(tmp_path / "a.nii")])
    scan = read_scan([tmp_path / "a.nii"], reader.__name__, not_asked)
    assert scan.spacing_mm == tuple(properties["spacing"])


def test_a_scan_whose_axes_are_not_at_right_angles_is_read_though_simpleitk_refuses_it(tmp_path):
    sheared = np.diag([1.0, 1.0, 3.0, 1.0])
    sheared[0, 1] = 0.75
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), sheared)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(RuntimeError, match="orthonormal"):
        SimpleITKIO().read_images([str(tmp_path / "a.nii.gz")])
    scan = read_scan([tmp_path / "a.nii.gz"], "SimpleITKIO", not_asked)
    assert scan.spacing_mm == (3.0, 1.25, 1.0)
    scan.write(np.ones((4, 3, 2), np.uint8), tmp_path / "b.nii.gz")
    assert np.allclose(nib.load(tmp_path / "b.nii.gz").affine, sheared)


def test_any_other_reader_or_number_of_channels_is_left_to_nnunet(tmp_path):
    for name in ("a", "b"):
        image = np.random.default_rng(ord(name)).standard_normal((3, 4, 5))
        nib.save(nib.Nifti1Image(image, np.diag([-1, 2, 3, 1.0])), tmp_path / f"{name}.nii.gz")
    for reader, names in ((SimpleITKIOWithReorient, "a"), (NibabelIO, "ab")):
        files = [tmp_path / f"{name}.nii.gz" for name in names]
        scan = read_scan(files, reader.__name__, reader)
        data, properties = reader().read_images([str(file) for file in files])
        assert np.array_equal(scan.array, data)
        labels = (np.indices(data.shape[1:]).sum(0) % 4).astype(np.uint8)
        scan.write(labels, tmp_path / "ours.nii.gz")
        reader().write_seg(labels, str(tmp_path / "stock.nii.gz"), properties)
        assert np.array_equal(*(np.asarray(nib.load(tmp_path / f"{n}.nii.gz").dataobj) for n in ("ours", "stock")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz", "ours.nii.gz", "stock.nii.gz"]


def test_a_file_that_the_reader_cannot_read_is_an_error_that_names_it(tmp_path):
    (tmp_path / "image.mha").write_text("no image")
    with pytest.raises(ImageError, match=r"(?s)image\.mha: SimpleITKIO cannot read it .* Convert or export it again"):
        read_scan([tmp_path / "image.mha"], "SimpleITKIO", SimpleITKIO)
