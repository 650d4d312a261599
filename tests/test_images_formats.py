"""A CT gives one volume, and a model one input, in whatever file it comes; files that are not whole are refused."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from dicom_series import phantom, write_series
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from scipy.spatial.transform import Rotation
from test_preprocessing import same

from nnunet_kits.errors import ImageError
from nnunet_kits.images import choose_series, find_series, read_ct_scan
from nnunet_kits.images.any_ct import read_any_ct, read_any_grid, write_like
from nnunet_kits.images.foreign import FOREIGN

READERS = (NibabelIO, NibabelIOWithReorient, SimpleITKIO, SimpleITKIOWithReorient)
FILES = (".nii.gz", ".nii", *FOREIGN)
PLACES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "reversed": ((-1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "oblique": tuple(Rotation.from_euler("xyz", (0.1, 0.2, -0.4)).as_matrix()[:, :2].T),
}
SPACING, ORIGIN = (0.75, 0.5, 2.5), (-40.0, 30.5, 7.0)


def image_of(array, place="axial"):
    """SimpleITK's image of HU (columns, rows, slices)."""
    across, down = map(np.array, PLACES[place])
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(np.stack([across, down, np.cross(across, down)], 1).ravel().tolist())
    return image


def write(array, path, place="axial", compress=True):
    SimpleITK.WriteImage(image_of(array, place), str(path), compress and path.suffix != ".hdr")
    return path


def series_in(folder, array, place):
    across, down = PLACES[place]
    write_series(folder, array, (*across, *down), SPACING, ORIGIN)
    return choose_series(find_series(folder))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("place", PLACES)
def test_a_reader_gives_of_every_format_what_it_gives_of_nifti_and_label_maps_lie_in_one_place(tmp_path, place, reader):
    array = phantom((9, 8, 6))
    write(array, tmp_path / "stock.nii.gz", place)
    expected, properties = reader().read_images([str(tmp_path / "stock.nii.gz")])
    labels = (np.indices(expected.shape[1:]).sum(0) % 4).astype(np.uint8)
    reader().write_seg(labels, str(tmp_path / "seg.nii.gz"), properties)
    stock = nib.load(tmp_path / "seg.nii.gz")
    sources = [write(array, tmp_path / f"a{ending}", place) for ending in FILES]
    for source in [*sources, series_in(tmp_path / "dicom", array, place)]:
        scan = read_ct_scan(source, reader.__name__, reader)
        assert np.array_equal(scan.array.astype(np.float32), expected)
        assert np.allclose(scan.spacing_mm, properties["spacing"])
        ending = ".nii.gz" if source not in sources else "".join(source.suffixes)
        scan.write(labels, tmp_path / f"out{ending}")
        found = read_any_ct(tmp_path / f"out{ending}")
        assert np.array_equal(found.array, np.asarray(stock.dataobj))
        assert found.grid.distance_mm(stock.affine) < 1e-4
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_what_simpleitks_reader_tells_of_its_own_formats_is_equal(tmp_path, ending):
    path = write(phantom(), tmp_path / f"a{ending}", "oblique")
    data, properties = SimpleITKIO().read_images([str(path)])
    scan = read_ct_scan(path, "SimpleITKIO", SimpleITKIO)
    assert np.array_equal(scan.array, data)
    same(scan.properties, properties)


@pytest.mark.parametrize("ending", [*FOREIGN, ".nii.gz"])
def test_voxels_that_are_no_integers_are_float32_in_every_format(tmp_path, ending):
    path = write(phantom() + np.float64(0.25), tmp_path / f"a{ending}")
    volume = read_any_ct(path)
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, phantom() + np.float32(0.25))
    grid = read_any_grid(path)
    assert grid.is_same(volume.grid)
    assert grid.dtype == np.float64


def test_a_pair_of_files_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    for value in (1, 2):
        write_like(tmp_path / "a.mhd", np.full((4, 5, 6), value, np.uint8), affine)
        assert np.unique(read_any_ct(tmp_path / "a.mhd").array).tolist() == [value]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mhd", "a.zraw"]


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("share", [0.4, 0.9, 0.999])
@pytest.mark.parametrize(
    ("ending", "voxels"), [(e, e) for e in (".mha", ".nrrd")] + [(".hdr", ".img"), (".mhd", "raw")]
)
def test_a_file_that_is_cut_is_refused_by_name(tmp_path, ending, voxels, share, compress):
    path = write(phantom((40, 30, 9)), tmp_path / f"a{ending}", compress=compress)
    (data,) = (file for file in tmp_path.iterdir() if file.name.endswith(voxels))
    data.write_bytes(data.read_bytes()[: int(data.stat().st_size * share)])
    with pytest.raises(ImageError, match=rf"a{ending}: .*(again|both files)"):
        read_any_ct(path)


def test_compressed_voxels_with_a_wrong_checksum_are_refused_though_simpleitk_takes_them(tmp_path):
    path = write(phantom((40, 30, 9)), tmp_path / "a.mha")
    raw = bytearray(path.read_bytes())
    raw[len(raw) * 2 // 3] ^= 0x55
    path.write_bytes(raw)
    assert SimpleITK.ReadImage(str(path)).GetSize() == (40, 30, 9)
    with pytest.raises(ImageError, match=r"a\.mha: its compressed voxels are (damaged|truncated)"):
        read_any_ct(path)


def without(path, *keys):
    """Take lines out of a file's header."""
    raw = path.read_bytes()
    for key in keys:
        start = raw.index(key.encode())
        raw = raw[:start] + raw[raw.index(b"\n", start) + 1 :]
    path.write_bytes(raw)
    return path


def test_a_file_that_states_no_orientation_is_refused_in_every_format(tmp_path):
    files = [
        without(write(phantom(), tmp_path / "a.mha", compress=False), "TransformMatrix"),
        without(write(phantom(), tmp_path / "a.mhd", compress=False), "TransformMatrix"),
    ]
    bare = write(phantom(), tmp_path / "a.nrrd")
    bare.write_bytes(bare.read_bytes().replace(b"space: left-posterior-superior\n", b"space dimension: 3\n"))
    image = nib.Nifti1Image(phantom(), np.diag([-1, -1, 2, 1.0]))
    image.set_qform(None, 0)
    image.set_sform(None, 0)
    image.to_filename(tmp_path / "a.nii.gz")
    nib.save(nib.AnalyzeImage(phantom(), np.diag([-1, -1, 2, 1.0])), tmp_path / "b.hdr")
    for path in [*files, bare, tmp_path / "a.nii.gz", tmp_path / "b.hdr"]:
        with pytest.raises(ImageError, match=rf"{path.name}: .*nothing tells right from left"):
            read_any_ct(path)


def test_a_header_of_3000_cubed_voxels_is_refused_before_there_is_memory_for_them(tmp_path):
    for ending, size in ((".mha", b"DimSize = 24 20 6"), (".nrrd", b"sizes: 24 20 6")):
        path = write(phantom(), tmp_path / f"a{ending}")
        path.write_bytes(path.read_bytes().replace(size, size.split(b"24")[0] + b"3000 3000 3000"))
        with pytest.raises(
            ImageError, match=r"\(3000, 3000, 3000\) of int16 need 54000000000\. The file is incomplete"
        ):
            read_any_ct(path)


def test_no_image_several_channels_and_four_dimensions_are_refused(tmp_path):
    (tmp_path / "a.mha").write_text("no image")
    (tmp_path / "b.nrrd").write_text("")
    colours = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(colours, str(tmp_path / "c.mha"))
    SimpleITK.WriteImage(SimpleITK.Image([3, 4, 5, 2], SimpleITK.sitkInt16), str(tmp_path / "d.nrrd"))
    for name, reason in (
        ("a.mha", "cannot be read"),
        ("b.nrrd", "the file is empty"),
        ("c.mha", "3 numbers each"),
        ("d.nrrd", "has 4 dimensions"),
        ("e.mha", "no such file"),
        ("f.png", r"is in no format that is read, which are \.nii\.gz, \.nii, \.mha, \.mhd, \.nrrd"),
    ):
        with pytest.raises(ImageError, match=rf"{name}: .*{reason}"):
            read_any_ct(tmp_path / name)
