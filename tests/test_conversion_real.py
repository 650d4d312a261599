"""The challenges' own label maps, on their own grids, in the folders of all three years."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from conftest import SHARED

from nnunet_kits.conversion.cases import find_cases
from nnunet_kits.conversion.convert import convert
from nnunet_kits.conversion.settings import Settings
from nnunet_kits.releases import RELEASES

TOOL = SHARED / "tools" / "make_kits_tree.py"
CASES = ("00003", "00015", "00061", "00160")  # 15 is uint16 with sform 0 in KiTS19, 160 is 796 columns wide

pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"needs the real label maps and {TOOL}")


@pytest.fixture(scope="module", params=RELEASES)
def conversion(request, tmp_path_factory):
    """A reduced tree of real label maps with rendered CT, and what became of it."""
    root = tmp_path_factory.mktemp(f"kits{request.param}")
    command = [sys.executable, str(TOOL), str(root), "--year", request.param, "--stride", "8", "--cases", *CASES]
    subprocess.run(command, check=True, capture_output=True)
    release = RELEASES[request.param]
    made = convert(Settings(release, root, root / "raw", workers=1))
    return made, find_cases(release, root)


def test_labels_are_equal_bit_by_bit_and_images_voxel_by_voxel(conversion):
    made, cases = conversion
    assert made.training == [f"case_{case}" for case in CASES]
    for case in cases:
        label = nib.load(made.dataset / f"labelsTr/{case.name}.nii.gz")
        image = nib.load(made.dataset / f"imagesTr/{case.name}_0000.nii.gz")
        assert np.array_equal(np.asarray(label.dataobj), np.asarray(nib.load(case.label).dataobj))
        assert np.array_equal(image.get_fdata(), nib.load(case.image).get_fdata())
        assert (label.get_data_dtype(), image.get_data_dtype()) == (np.uint8, np.int16)


def test_image_and_label_lie_on_the_sources_grid_for_nibabel_and_simpleitk(conversion):
    made, cases = conversion
    for case in cases:
        outputs = [made.dataset / f"labelsTr/{case.name}.nii.gz", made.dataset / f"imagesTr/{case.name}_0000.nii.gz"]
        for output in outputs:
            written, source = nib.load(output), nib.load(case.image)
            assert nib.aff2axcodes(written.affine) == ("I", "P", "L")
            assert np.allclose(written.affine, source.affine, atol=1e-6)
            assert int(written.header["sform_code"]) == int(written.header["qform_code"]) == 1
            itk, itk_source = sitk.ReadImage(str(output)), sitk.ReadImage(str(case.image))
            assert itk.GetSize() == itk_source.GetSize()
            assert np.allclose(itk.GetSpacing(), itk_source.GetSpacing())
            assert np.allclose(itk.GetDirection(), itk_source.GetDirection(), atol=1e-6)
            assert np.allclose(itk.GetOrigin(), itk_source.GetOrigin(), atol=1e-4)


def test_nnunets_reader_finds_image_and_label_with_the_slices_first(conversion):
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    made, cases = conversion
    reader = NibabelIOWithReorient()
    for case in cases:
        image, about = reader.read_images([str(made.dataset / f"imagesTr/{case.name}_0000.nii.gz")])
        label, about_label = reader.read_seg(str(made.dataset / f"labelsTr/{case.name}.nii.gz"))
        slices, rows, columns = made.cases[case.name]["shape"]
        assert image.shape == label.shape == (1, slices, rows, columns)
        assert np.allclose(about["spacing"], made.cases[case.name]["spacing_mm"])
        assert np.allclose(about["spacing"], about_label["spacing"])
        source, _ = reader.read_images([str(case.image)])
        assert np.array_equal(image, source)


def test_the_uint16_maps_of_kits19_really_occur(conversion):
    made, cases = conversion
    if made.cases["case_00015"]["edition"] == "KiTS19":
        assert nib.load(cases[1].label).get_data_dtype() == np.uint16
