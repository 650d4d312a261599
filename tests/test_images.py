import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from kits_trees import IPL, SHAPE, image_of, save

from nnunet_kits.errors import ImageError
from nnunet_kits.images import (
    Grid,
    check_same_grid,
    read_ct,
    read_grid,
    read_integers,
    read_volume,
    write_volume,
)


@pytest.fixture
def ct(tmp_path):
    return save(tmp_path / "ct.nii.gz", image_of(1))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4", "f8"])
def test_a_volume_is_read_as_nibabel_reads_it(tmp_path, name, dtype):
    array = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)
    volume = read_volume(save(tmp_path / name, array))
    assert volume.array.dtype == dtype
    assert np.array_equal(volume.array, array)
    assert np.array_equal(volume.affine, IPL)
    assert volume.grid.spacing_mm == (5.0, 0.75, 0.875)


def test_a_big_endian_file_is_read_too(tmp_path):
    array = image_of(1).astype(np.int16)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(array, IPL, header), tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, array)
    assert np.array_equal(read_integers(tmp_path / "a.nii.gz", np.int16).array, array)


def test_slope_and_intercept_of_the_header_are_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), IPL)
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "a.nii.gz")
    expected = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj)
    assert expected[1, 2, 3] == 2 * 23 - 1024
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, expected)
    assert np.array_equal(read_integers(tmp_path / "a.nii.gz", np.int16).array, expected)


def test_a_volume_larger_than_one_piece_is_put_together_in_order(ct, monkeypatch):
    monkeypatch.setattr("nnunet_kits.images.nifti.PIECE_BYTES", 800)  # 100 of 720 voxels
    assert np.array_equal(read_volume(ct).array, image_of(1))
    assert np.array_equal(read_integers(ct, np.int16).array, image_of(1))


def test_the_grid_comes_from_the_header_alone(tmp_path):
    path = save(tmp_path / "a.nii", image_of(1))
    path.write_bytes(path.read_bytes()[:400])
    grid = read_grid(path)
    assert (grid.shape, grid.dtype, grid.spacing_mm) == (SHAPE, np.float64, (5.0, 0.75, 0.875))


def test_integer_hu_in_float64_become_int16_without_loss(ct):
    volume = read_integers(ct, np.int16)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, image_of(1))


@pytest.mark.parametrize("value", [0.5, 32768.0, -32769.0, 1e300, 1e-300])
def test_a_value_that_int16_cannot_hold_gives_none(tmp_path, value):
    array = image_of(1)
    array[5, 9, 11] = value
    assert read_integers(save(tmp_path / "a.nii.gz", array), np.int16) is None


@pytest.mark.parametrize("value", [32767.0, -32768.0, -0.0])
def test_the_ends_of_the_int16_range_are_kept(tmp_path, value):
    array = image_of(1)
    array[0, 0, 0] = value
    assert read_integers(save(tmp_path / "a.nii.gz", array), np.int16).array[0, 0, 0] == value


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_values_are_counted_and_refused(tmp_path, value):
    array = image_of(1)
    array[2, 3, 4:6] = value
    with pytest.raises(ImageError, match=r"a\.nii\.gz: 2 voxels are NaN or infinite\. Download"):
        read_integers(save(tmp_path / "a.nii.gz", array), np.int16)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("value", [7, 40000, 3.25])
@pytest.mark.parametrize("place", [0, 350, 719])
def test_a_ct_is_read_as_int16_where_it_is_exact_else_as_float32(tmp_path, monkeypatch, dtype, value, place):
    monkeypatch.setattr("nnunet_kits.images.nifti.PIECE_BYTES", 800)  # several pieces
    array = np.abs(image_of(1)) % 200
    array.ravel()[place] = value
    path = save(tmp_path / "a.nii.gz", array.astype(dtype))
    expected = np.asarray(nib.load(path).dataobj)
    volume = read_ct(path)
    exact = np.array_equal(expected, expected.astype(np.int16))
    assert volume.array.dtype == (np.int16 if exact else np.float32)
    assert np.array_equal(volume.array, expected.astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_ct_with_nan_or_infinite_values_is_refused(tmp_path, value):
    array = image_of(1)
    array[2, 3, 4:6] = value
    with pytest.raises(ImageError, match=r"a\.nii\.gz: 2 voxels are NaN or infinite\. Download"):
        read_ct(save(tmp_path / "a.nii.gz", array))


def test_a_gzip_file_truncated_anywhere_is_refused(tmp_path, ct):
    whole = ct.read_bytes()
    path = tmp_path / "cut.nii.gz"
    for length in (*range(1, len(whole), 7), *range(len(whole) - 20, len(whole))):
        path.write_bytes(whole[:length])
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            read_volume(path)


def test_a_byte_flipped_anywhere_is_refused_or_changes_nothing(tmp_path, ct):
    whole = bytearray(ct.read_bytes())
    path = tmp_path / "flipped.nii.gz"
    harmless = []
    for position in (*range(40), *range(40, len(whole), 5), *range(len(whole) - 20, len(whole))):
        whole[position] ^= 0x10
        path.write_bytes(whole)
        whole[position] ^= 0x10
        try:
            volume = read_volume(path)
        except ImageError as error:
            assert "damaged" in str(error) or "truncated" in str(error) or "not a NIfTI" in str(error)  # noqa: PT017
        else:
            harmless.append(position)
            assert np.array_equal(volume.array, image_of(1))
            assert np.array_equal(volume.affine, IPL)
    assert len(harmless) < 25  # time, system and name in the gzip header, padding at the end of the data


def test_a_web_page_saved_as_an_image_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("<!DOCTYPE html><html>503 Service Unavailable</html>")
    with pytest.raises(ImageError, match=r"a\.nii\.gz: the gzip file is damaged \(Not a gzipped file"):
        read_volume(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.nii\.gz: no such file\."):
        read_volume(tmp_path / "none.nii.gz")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(ImageError, match=r"a\.nii\.gz: cannot be read \(Is a directory\)"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"" if name == "a.nii" else gzip.compress(b""))
    with pytest.raises(ImageError, match="the file is empty"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("content", [b"short", b"\0" * 400, b"x" * 4000])
def test_a_file_that_is_no_nifti_is_refused(tmp_path, content):
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.nii: not a NIfTI image \("):
        read_volume(tmp_path / "a.nii")


def test_a_header_whose_voxels_are_in_another_file_is_refused(tmp_path):
    nib.save(nib.Nifti1Pair(image_of(1), IPL), tmp_path / "a.img")
    (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
    with pytest.raises(ImageError, match=r"not a NIfTI image \(magic b'ni1'"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("shape", [(6, 10), (2, 3, 4, 5), (2, 3, 4, 1)])
def test_an_image_that_is_not_three_dimensional_is_refused(tmp_path, shape):
    with pytest.raises(ImageError, match=rf"the image has {len(shape)} dimensions .* Split or squeeze it first"):
        read_volume(save(tmp_path / "a.nii.gz", np.zeros(shape, np.int16)))


@pytest.mark.parametrize(
    "dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])], ids=["complex", "RGB"]
)
def test_voxels_that_are_no_real_numbers_are_refused(tmp_path, dtype):
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, dtype), IPL), tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match=r"a\.nii\.gz: its voxels are stored as .*, but .* one real number each"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_file_with_fewer_voxels_than_its_header_says_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", image_of(1))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ImageError, match=r"5752 bytes of voxels, but \(6, 10, 12\) of float64 need 5760"):
        read_volume(path)


def test_a_header_that_asks_for_more_memory_than_there_is_is_refused(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((32000, 32000, 32000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(100))
    with pytest.raises(ImageError, match=r"\(32000, 32000, 32000\) voxels need 262144\.0 GB of memory"):
        read_volume(tmp_path / "a.nii")


def test_what_is_written_is_what_is_read_by_us_nibabel_and_simpleitk(tmp_path):
    path, array = tmp_path / "a.nii.gz", image_of(1).astype(np.int16)
    write_volume(path, array, IPL)
    volume, image, itk = read_volume(path), nib.load(path), sitk.ReadImage(str(path))
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, array)
    assert np.array_equal(np.asarray(image.dataobj), array)
    assert np.array_equal(sitk.GetArrayFromImage(itk).T, array)
    assert np.allclose(image.get_sform(), IPL)
    assert np.allclose(image.get_qform(), IPL, atol=1e-5)
    assert itk.GetSpacing() == pytest.approx((5, 0.75, 0.875))
    assert itk.GetDirection() == pytest.approx((0, 0, 1, 0, 1, 0, -1, 0, 0))  # LPS: x and y change sign
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, image_of(1), IPL)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_an_affine_with_shears_has_no_qform(tmp_path):
    sheared = IPL.copy()
    sheared[0, 1] = 0.4
    write_volume(tmp_path / "a.nii.gz", image_of(1), sheared)
    image = nib.load(tmp_path / "a.nii.gz")
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (0, 1)
    assert np.allclose(image.affine, sheared)


def header_with(path, *changes):
    """An uncompressed file of some numbers written into its header: byte, and float32s from there."""
    write_volume(path, image_of(1), IPL)
    raw = bytearray(path.read_bytes())
    for place, *numbers in changes:
        raw[place : place + 4 * len(numbers)] = np.array(numbers, "<f4").tobytes()
    path.write_bytes(raw)
    return path


def test_a_header_that_states_places_or_lengths_twice_and_differently_gets_a_note(tmp_path):
    assert read_grid(header_with(tmp_path / "a.nii")).note == ""
    assert read_grid(header_with(tmp_path / "b.nii", (268, 19.0))).note == (  # x of the qform's first voxel
        "the header's qform lays the voxels up to 19 mm away from where its sform does, which is taken"
    )
    no_qform = (252, np.frombuffer(np.array([0, 1], "<i2").tobytes(), "<f4")[0])
    assert read_grid(header_with(tmp_path / "c.nii", no_qform, (80, 1, 1, 1))).note == (
        "the header's spacing is 1 x 1 x 1 mm, but its affine's is 5 x 0.75 x 0.875 mm: measures are by the affine"
    )


def test_a_header_that_states_fewer_voxels_than_there_are_is_refused(tmp_path):
    shorter = (42, np.frombuffer(np.array([SHAPE[0] - 1, SHAPE[1]], "<i2").tobytes(), "<f4")[0])
    path = header_with(tmp_path / "a.nii", shorter)
    said = r"a\.nii: its header states \(5, 10, 12\) voxels of float64, but the file holds 960 bytes more"
    for read in (read_volume, read_ct, lambda file: read_integers(file, np.int16)):
        with pytest.raises(ImageError, match=said):
            read(path)


def test_voxels_of_no_length_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"a\.nii: its header states voxels of 5 x 0 x 0\.875 mm"):
        read_grid(header_with(tmp_path / "a.nii", (84, 0)))


def test_a_singular_affine_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ImageError, match=r"the affine .* is singular, so no grid can be written"):
        write_volume(tmp_path / "a.nii.gz", image_of(1), np.diag([1.0, 1, 0, 1]))
    assert not list(tmp_path.iterdir())


def grid(shape=SHAPE, affine=IPL) -> Grid:
    return Grid(shape, np.asarray(affine), np.dtype(np.int16))


def test_affines_that_differ_by_rounding_are_one_grid():
    check_same_grid("case_00001", grid(), grid(affine=IPL + 1e-5))


def test_different_shapes_are_refused():
    with pytest.raises(ImageError, match=r"case_00001: the image is \(6, 10, 12\) but the label map is \(6, 10, 11\)"):
        check_same_grid("case_00001", grid(), grid(shape=(6, 10, 11)))


def test_a_small_difference_of_spacing_counts_by_the_far_corner():
    stretched = IPL.copy()
    stretched[2, 0] -= 0.005  # 5 mm slices: 0.025 mm after 5 of them
    with pytest.raises(
        ImageError, match=r"affines of image and label map differ by up to 0\.025 mm \(allowed 0\.01 mm"
    ):
        check_same_grid("case_00001", grid(), grid(affine=stretched))


def test_an_affine_with_nan_is_on_no_grid():
    with pytest.raises(ImageError, match="differ by up to nan mm"):
        check_same_grid("case_00001", grid(), grid(affine=np.where(IPL == -5, np.nan, IPL)))


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([0.0, 0, 0, 1]),
        np.diag([np.nan, 1, 1, 1]),
        np.diag([np.inf, 1, 1, 1]),
        np.array([[1.0, 1, 1, 0]] * 3 + [[0, 0, 0, 1]]),
    ],
    ids=["zeros", "NaN", "infinite", "singular"],
)
def test_a_file_whose_affine_gives_voxels_no_place_is_refused(tmp_path, affine):
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header["sform_code"], header["vox_offset"] = 1, 352
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    path = tmp_path / "a.nii"
    path.write_bytes(header.binaryblock + bytes(4) + bytes(4 * int(np.prod(SHAPE))))
    for read in (read_grid, read_volume, read_ct):
        with pytest.raises(ImageError, match=r"a.nii: its affine \[\[.* gives voxels no size or no place"):
            read(path)


def test_nibabel_says_nothing_of_its_own_about_a_bad_header(tmp_path, capfd):
    path = tmp_path / "a.nii"
    path.write_bytes(bytes(5000))
    with pytest.raises(ImageError, match=r"a\.nii: not a NIfTI image"):
        read_grid(path)
    assert capfd.readouterr().err == ""
