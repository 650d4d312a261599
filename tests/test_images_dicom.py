"""DICOM series are read as SimpleITK reads them, wherever their slices lie; what is no CT volume is refused."""

import shutil

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from conftest import SHARED
from dicom_series import AXIAL, phantom, place_of, write_enhanced, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from nnunet_kits.errors import ImageError, KitsError
from nnunet_kits.images.dicom import read_headers, read_series, series_grid
from nnunet_kits.images.series import choose_series, find_series

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(source, wanted=None, resample=False):
    return read_series(choose_series(find_series(source), wanted, resample), resample)


def by_simpleitk(folder):
    """Array (columns, rows, slices) and affine to RAS."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), RAS @ affine


def real(name):
    folder = SHARED / "real_ct" / name
    if not folder.is_dir():
        pytest.skip(f"the real series {name} is not on this machine")
    return folder


@pytest.mark.parametrize("name", ["dicom_abdomen", "dicom_series"])
def test_real_series_are_read_as_simpleitk_reads_them(name):
    folder = real(name)
    volume = read(folder)
    array, affine = by_simpleitk(folder)
    assert volume.array.dtype == array.dtype == np.int16
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.affine, affine, atol=1e-9)


def test_a_real_tilted_and_uneven_series_is_refused_with_its_numbers_and_resampled_on_request():
    folder = real("dicom_tilted_uneven")
    with pytest.raises(ImageError, match=r"18\.5 degrees .* 1\.08 to 7\.00 mm apart.* --resample-tilt"):
        read(folder)
    volume = read(folder, resample=True)
    assert volume.array.shape == (512, 548, 15)
    edges = volume.affine[:3, :3]
    assert np.allclose(edges.T @ edges, np.diag(np.square([0.4882812, 0.4882812, 52.08193 / 14])), atol=1e-5)
    assert volume.note.startswith("resampled from 11 slices")


@settings(max_examples=25, deadline=None)
@given(
    turn=st.tuples(*[st.sampled_from([0.0, 0.3, -0.7, 90.0, 180.0])] * 3),
    spacing=st.tuples(*[st.sampled_from([0.5, 0.78125, 1.25, 3.0])] * 3),
    order=st.permutations(range(5)),
    signed=st.booleans(),
    slopes=st.sampled_from([(1, -1024), (2, 0), (0.5, -1000.25)]),
)
def test_any_orientation_and_order_of_files_is_read_as_simpleitk_reads_it(
    tmp_path_factory, turn, spacing, order, signed, slopes
):
    folder = tmp_path_factory.mktemp("series")
    turned = Rotation.from_euler("xyz", turn, degrees=max(map(abs, turn)) > 1).as_matrix()
    orientation = (*turned[:, 0], *turned[:, 1])
    array = phantom((7, 6, 5)) if slopes[0] == 1 else phantom((7, 6, 5)) // 2 * 2 + 0.0
    changed = [1, -1024] if signed else slopes
    files = write_series(
        folder / "written", array, orientation, spacing, rescale=tuple(changed), PixelRepresentation=int(signed)
    )
    (folder / "series").mkdir()
    for number, file in zip(order, files, strict=True):
        shutil.copy(file, folder / "series" / f"{number}.dcm")
    volume = read(folder / "series")
    expected, affine = by_simpleitk(folder / "series")
    assert np.array_equal(volume.array, expected.astype(np.float32))
    assert np.allclose(volume.affine, affine, atol=1e-5)
    exact = RAS @ place_of(orientation, spacing, (-100, -80, 50))
    assert volume.grid.distance_mm(exact) < 1e-4
    assert series_grid(volume.series).is_same(volume.grid)


def test_rescale_may_differ_from_slice_to_slice_and_be_no_integer(tmp_path):
    array = phantom()
    write_series(tmp_path / "a", array, rescale=lambda number: (1 + number, -1024 - number * 3))
    expected, _ = by_simpleitk(tmp_path / "a")
    assert np.array_equal(read(tmp_path / "a").array, expected)
    write_series(tmp_path / "b", array, rescale=(0.3, -1000.5))
    found = read(tmp_path / "b").array
    assert found.dtype == np.float32
    assert np.allclose(found, array, atol=0.151)


def test_padding_keeps_the_number_that_simpleitk_gives_it(tmp_path):
    array = phantom()
    array[:3] = -3024
    write_series(tmp_path / "a", array, rescale=(1, -1024), PixelRepresentation=1, PixelPaddingValue=-2000)
    expected, _ = by_simpleitk(tmp_path / "a")
    assert np.array_equal(read(tmp_path / "a").array, expected)
    assert expected.min() == -3024


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ],
)
def test_every_lossless_transfer_syntax_gives_the_same_voxels(tmp_path, syntax):
    array = phantom((64, 48, 3))
    write_series(tmp_path / "a", array, syntax=syntax)
    assert np.array_equal(read(tmp_path / "a").array, array)


def test_bits_beside_the_stored_ones_are_no_part_of_a_value(tmp_path):
    def overlay(number, made):
        stored = np.frombuffer(made.PixelData, np.uint16) | np.uint16(0xF000)
        made.PixelData = stored.tobytes()

    array = phantom()
    write_series(tmp_path / "a", array, change=overlay, BitsStored=12, HighBit=11)
    assert np.array_equal(read(tmp_path / "a").array, array)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_an_enhanced_file_gives_the_volume_of_the_classic_series(tmp_path, syntax):
    array = phantom((64, 48, 6))
    orientation = (0, 1, 0, 0, 0, -1)
    write_series(tmp_path / "classic", array, orientation)
    path = write_enhanced(tmp_path / "one.dcm", array, orientation, order=[3, 0, 5, 1, 2, 4], syntax=syntax)
    classic, enhanced = read(tmp_path / "classic"), read(path)
    assert np.array_equal(classic.array, enhanced.array)
    assert np.array_equal(enhanced.array, array)
    assert classic.grid.is_same(enhanced.grid)
    assert [frame.index for frame in enhanced.series.frames] == [1, 3, 4, 0, 5, 2]
    assert len(read_headers(enhanced.series)) == 1


def test_highdicom_puts_the_voxels_of_an_enhanced_file_in_the_same_places(tmp_path):
    orientation = tuple(Rotation.from_euler("xyz", (0.1, 0.2, -0.4)).as_matrix()[:, :2].T.ravel())
    path = write_enhanced(tmp_path / "one.dcm", phantom(), orientation, order=[3, 0, 5, 1, 2, 4], slope=2)
    ours, theirs = read(path), highdicom.imread(path).get_volume(apply_modality_transform=True, dtype=np.float64)
    turn = np.linalg.inv(theirs.affine) @ np.linalg.inv(RAS) @ ours.affine  # our index to theirs: slices, rows, columns
    index = np.rint(turn @ np.append(np.indices(ours.array.shape).reshape(3, -1), np.ones((1, ours.array.size)), 0))
    assert np.allclose(turn @ (1, 2, 3, 1), np.rint(turn @ (1, 2, 3, 1)), atol=1e-6)
    assert np.array_equal(theirs.array[tuple(index[:3].astype(int))], ours.array.ravel())


def test_the_headers_come_in_the_order_of_the_slices(tmp_path):
    write_series(tmp_path / "a", phantom(), AXIAL, names="{:03}.dcm")
    volume = read(tmp_path / "a")
    places = [float(header.ImagePositionPatient[2]) for header in read_headers(volume.series)]
    assert places == [50.0 + 2.5 * number for number in range(6)]


def why(folder):
    """Use and reason of every series in a folder."""
    return [(series.use, series.reason) for series in find_series(folder).series]


def set_value(keyword, value):
    def change(_, made):
        setattr(made, keyword, value)

    return change


@pytest.mark.parametrize(
    ("values", "use", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "never", "a localiser"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "never", "a projection"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, "choose", "derived .DERIVED SECONDARY REFORMATTED."),
        ({"Modality": "MR"}, "never", "modality MR, not CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "never", "a secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"}, "never", "holds no CT image"),
        ({"RescaleType": "US"}, "choose", "stated as US, not as HU"),
        ({"SamplesPerPixel": 3}, "never", "3 numbers a voxel"),
        ({"RescaleSlope": None}, "never", r"000\.dcm states no rescale slope"),
        ({"ImagePositionPatient": None}, "never", r"000\.dcm states no position"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "never", r"000\.dcm states no position, orientation"),
    ],
)
def test_what_is_no_ct_volume_is_not_taken_and_it_is_said_why(tmp_path, values, use, reason):
    def change(_, made):
        for keyword, value in values.items():
            setattr(made, keyword, value)
        made.PixelData = made.PixelData * made.SamplesPerPixel

    write_series(tmp_path / "a", phantom(), change=change)
    ((found, text),) = why(tmp_path / "a")
    assert found == use
    with pytest.raises(ImageError, match=reason):
        read(tmp_path / "a")
    if use == "choose":
        assert np.array_equal(read(tmp_path / "a", "1").array, phantom())
        assert reason.split(" ")[0] in text
    else:
        with pytest.raises(ImageError, match=f"series 1 cannot be read: .*{reason}"):
            read(tmp_path / "a", "1")


def moved(number, by):
    """Shift one slice."""

    def change(slice_number, made):
        if slice_number >= number:
            made.ImagePositionPatient = list(np.add([float(x) for x in made.ImagePositionPatient], by))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda number, _: number != 3, r"1 slices are missing, the first after slice 3 of 5; .* 2\.50 to 5\.00 mm"),
        (moved(4, (0, 0, 1)), r"2\.50 to 3\.50 mm apart"),
        (lambda n, made: moved(0, (0, n, 0))(n, made), r"stacked 21\.8 degrees off their normal"),
    ],
)
def test_missing_uneven_and_leaning_slices_are_refused_with_numbers(tmp_path, change, reason):
    write_series(tmp_path / "a", phantom(), change=change)
    with pytest.raises(ImageError, match=reason + ".*Export it again, or resample it knowingly with --resample-tilt"):
        read(tmp_path / "a")
    assert read(tmp_path / "a", resample=True).note.startswith("resampled from")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (moved(3, (0, 0, 9)), r"a gap of 11\.50 mm is too wide to be filled"),
        (moved(3, (0, 0, -2.5)), r"1 slices lie where another lies, the first are 002\.dcm and 003\.dcm"),
        (lambda n, made: set_value("PixelSpacing", [0.8, 0.8 + 0.1 * n])(n, made), "different pixel spacing, 0.8 to 1"),
        (lambda n, _: n == 2, "a single slice is no volume"),
    ],
)
def test_what_cannot_be_stacked_is_refused_even_if_it_may_be_resampled(tmp_path, change, reason):
    write_series(tmp_path / "a", phantom(), change=change)
    with pytest.raises(ImageError, match=reason):
        read(tmp_path / "a", resample=True)


def test_slices_of_different_sizes_are_refused(tmp_path):
    write_series(tmp_path / "a", phantom((24, 20, 3)), series="1.2")
    write_series(tmp_path / "a", phantom((12, 20, 3)), series="1.2", origin=(-100, -80, 57.5), names="b{}.dcm")
    with pytest.raises(ImageError, match="slices of different sizes: 12 x 20, 24 x 20"):
        read(tmp_path / "a")


def test_two_phases_of_one_series_are_two_stacks_and_a_localiser_in_it_a_third(tmp_path):
    early, late = phantom(seed=1), phantom(seed=2)
    write_series(tmp_path / "a", early, series="1.2", names="e{}.dcm", AcquisitionNumber=9)
    write_series(tmp_path / "a", late, series="1.2", names="l{}.dcm", AcquisitionNumber=10)
    write_series(tmp_path / "a", late, series="1.2", names="s{}.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert sorted(why(tmp_path / "a")) == [("never", "a localiser"), ("take", ""), ("take", "")]
    with pytest.raises(ImageError, match=r"holds 2 series that could be meant\. Choose with --series NUMBER: 1: thin"):
        read(tmp_path / "a")
    with pytest.raises(ImageError, match=r"3 stacks have the UID 1\.2\. Choose by number"):
        read(tmp_path / "a", "1.2")
    assert np.array_equal(read(tmp_path / "a", "1").array, early)
    assert np.array_equal(read(tmp_path / "a", "2").array, late)
    with pytest.raises(ImageError, match="has no series 7"):
        read(tmp_path / "a", "7")


def test_a_series_of_single_acquisitions_stays_one(tmp_path):
    write_series(tmp_path / "a", phantom(), change=lambda n, made: set_value("AcquisitionNumber", n)(n, made))
    assert np.array_equal(read(tmp_path / "a").array, phantom())


def test_one_usable_series_among_others_is_taken_by_itself_from_folders_below_too(tmp_path):
    write_series(tmp_path / "x" / "1", phantom(seed=1), AXIAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "x" / "2", phantom(seed=2), names="IM{}")
    (tmp_path / "x" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "x" / "readme.txt").write_text("no DICOM")
    found = find_series(tmp_path / "x")
    assert found.others == 2
    assert np.array_equal(read_series(choose_series(found)).array, phantom(seed=2))


def test_a_list_of_files_is_a_series_as_its_folder_is(tmp_path):
    files = write_series(tmp_path, phantom())
    assert np.array_equal(read(files[::-1]).array, phantom())
    with pytest.raises(ImageError, match="a single slice is no volume"):
        read(files[0])


def test_a_file_without_preamble_is_dicom_too(tmp_path):
    for file in write_series(tmp_path / "a", phantom()):
        found = pydicom.dcmread(file)
        del found.file_meta
        found.preamble = None
        pydicom.dcmwrite(file, found, implicit_vr=True, little_endian=True)
    assert np.array_equal(read(tmp_path / "a").array, phantom())


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_file_that_is_cut_is_named(tmp_path, share, syntax):
    files = write_series(tmp_path / "a", phantom((64, 64, 4)), syntax=syntax)
    files[2].write_bytes(files[2].read_bytes()[: int(files[2].stat().st_size * share)])
    with pytest.raises(ImageError, match=r"002\.dcm: "):
        read(tmp_path / "a")


def test_a_folder_without_dicom_and_one_that_is_not_there_are_errors(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ImageError, match="holds no DICOM image; 1 other files"):
        read(tmp_path)
    with pytest.raises(ImageError, match=r"nowhere: no such file or folder\. Name a folder of DICOM files"):
        read(tmp_path / "nowhere")


def test_without_pydicom_the_error_names_the_extra(tmp_path, monkeypatch):
    write_series(tmp_path, phantom())
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(KitsError, match=r"pip install 'nnunet_kits\[dicom\]'"):
        find_series(tmp_path)


def test_leaning_slices_are_put_upright_where_they_lie(tmp_path):
    """Every slice states a place two rows further on, so what it shows lies two rows further on in the volume."""
    array = np.full((24, 30, 6), -1000, np.int16)
    array[10:13, 5:8] = 500

    def lean(number, made):
        place = [float(x) for x in made.ImagePositionPatient]
        made.ImagePositionPatient = [place[0], place[1] + 1.6 * number, place[2]]

    write_series(tmp_path / "a", array, change=lean)
    volume = read(tmp_path / "a", resample=True)
    assert volume.array.shape == (24, 40, 6)
    for number in range(6):
        (rows,) = np.nonzero(volume.array[11, :, number] > 0)
        assert rows.tolist() == [5 + 2 * number, 6 + 2 * number, 7 + 2 * number]
    first = np.linalg.inv(RAS) @ volume.affine @ (0, 0, 0, 1)
    assert np.allclose(first[:3], (-100, -80, 50))
    assert volume.array.min() == -1024
    assert np.allclose(volume.grid.spacing_mm, (0.8, 0.8, 2.5))


def test_uneven_slices_are_mixed_from_the_two_beside_each_place(tmp_path):
    array = np.zeros((8, 8, 5), np.int16)
    heights = np.array([0.0, 2.0, 4.0, 5.0, 8.0])
    array[:] = (heights * 10).astype(np.int16)

    def place(number, made):
        made.ImagePositionPatient = [0, 0, heights[number]]

    write_series(tmp_path / "a", array, change=place)
    volume = read(tmp_path / "a", resample=True)
    assert volume.grid.spacing_mm[2] == 2.0
    assert np.allclose(volume.array[3, 3], [0, 20, 40, 60, 80], atol=1e-4)


def test_big_endian_voxels_are_read(tmp_path):
    array = phantom()

    def swapped(_, made):
        made.PixelData = np.frombuffer(made.PixelData, np.uint16).astype(">u2").tobytes()

    write_series(tmp_path / "a", array, change=swapped, syntax=ExplicitVRBigEndian)
    assert np.array_equal(read(tmp_path / "a").array, array)


@settings(max_examples=12, deadline=None)
@given(
    lean=st.tuples(*[st.sampled_from([0.0, 0.37, -0.9])] * 2),
    gaps=st.lists(st.sampled_from([1.0, 2.5, 4.0]), min_size=4, max_size=6),
    turn=st.sampled_from([(0, 0, 0), (0.2, -0.3, 0.5)]),
)
def test_values_that_are_linear_in_space_stay_so_when_slices_are_resampled(tmp_path_factory, lean, gaps, turn):
    """Linear interpolation is exact for them: each voxel inside holds what its own place in space says."""
    folder = tmp_path_factory.mktemp("series")
    axes = Rotation.from_euler("xyz", turn).as_matrix()
    heights = np.append(0, np.cumsum(gaps))
    places = [axes @ (lean[0] * height, lean[1] * height, height) for height in heights]
    rule = np.array([3.0, -2.0, 4.0])  # HU a millimetre, in DICOM's axes
    index = np.indices((12, 14)).reshape(2, -1)
    planes = [place[:, None] + axes[:, :2] @ (index * [[0.8], [0.8]]) for place in places]
    array = np.stack([(rule @ plane).reshape(12, 14) for plane in planes], 2)

    def move(number, made):
        made.ImagePositionPatient = [f"{x:.12g}"[:16] for x in places[number]]

    write_series(folder, array, (*axes[:, 0], *axes[:, 1]), (0.8, 0.8, 1.0), rescale=(0.01, -400), change=move)
    volume = read(folder, resample=True)
    where = volume.affine @ np.append(np.indices(volume.array.shape).reshape(3, -1), np.ones((1, volume.array.size)), 0)
    points = (RAS @ where)[:3]
    above = np.clip(np.searchsorted(heights, axes[:, 2] @ points - 1e-6), 1, len(heights) - 1)
    inside = np.ones(points.shape[1], bool)
    for beside in (above - 1, above):  # the slices that a voxel is mixed from
        across, down = axes[:, :2].T @ (points - np.array(places)[beside].T) / 0.8
        inside &= (across > -1e-6) & (across < 11 + 1e-6) & (down > -1e-6) & (down < 13 + 1e-6)
    assert inside.sum() > 200
    assert np.abs(volume.array.ravel() - rule @ points)[inside].max() < 0.02
