import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from nnunet_kits.errors import KitsError
from nnunet_kits.labels import Label
from nnunet_kits.phantom import SIZES, Size, make_phantom
from nnunet_kits.phantom.anatomy import LEFT, RIGHT, draw_patient
from nnunet_kits.phantom.grid import draw_grid

CASES = range(5)


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(number, size="tiny") for number in CASES]


def test_the_same_numbers_give_the_same_voxels(phantoms):
    again = make_phantom(2, seed=0, size="tiny")
    assert again.image.tobytes() == phantoms[2].image.tobytes()
    assert again.label.tobytes() == phantoms[2].label.tobytes()
    assert again.affine.tolist() == phantoms[2].affine.tolist()


def test_another_case_and_another_seed_are_other_patients(phantoms):
    other_seed = make_phantom(2, seed=1, size="tiny")
    assert other_seed.patient.tumors[0].centre != phantoms[2].patient.tumors[0].centre
    assert phantoms[3].patient.tumors[0].centre != phantoms[2].patient.tumors[0].centre


def test_the_patient_is_the_same_at_every_size(phantoms):
    coarse = Size("coarse", matrix=(48,), slice_spacing_mm=(10.0,), max_slices=30)
    phantom = make_phantom(1, size=coarse)
    assert phantom.label.shape[1:] == (48, 48)
    volumes = [
        [(p.label == v).sum() * np.prod(p.spacing_zyx_mm) / 1000 for v in (Label.KIDNEY, Label.TUMOR)]
        for p in (phantom, phantoms[1])
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


def test_geometry_is_that_of_kits(phantoms):
    for phantom in phantoms:
        dz, dy, dx = phantom.spacing_zyx_mm
        assert nib.aff2axcodes(phantom.affine) == ("I", "P", "L")
        assert phantom.affine.tolist() == [[0, 0, -dx, 0], [0, -dy, 0, 0], [-dz, 0, 0, 0], [0, 0, 0, 1]]
        assert dy == dx
        assert dz > dy
        assert phantom.image.shape == phantom.label.shape


def test_the_small_size_is_quick_to_work_with_and_as_wide_as_a_trunk():
    for number in range(30):
        patient = draw_patient(np.random.default_rng([0, number]))
        grid = draw_grid(SIZES["small"], patient.field, -25.0, patient.z_range, np.random.default_rng(number))
        slices, rows, columns = grid.shape
        assert 36 <= slices <= 64
        assert 144 <= rows == columns <= 176
        assert 175 <= slices * grid.spacing_zyx_mm[0] <= 250
        assert 280 <= columns * grid.spacing_zyx_mm[2] <= 360


def test_voxels_are_integer_hu_within_12_bits(phantoms):
    for phantom in phantoms:
        assert phantom.image.dtype == np.float32
        assert np.array_equal(phantom.image, np.rint(phantom.image))
        assert phantom.image.min() >= -1024
        assert phantom.image.max() <= 3071


def test_every_patient_has_a_kidney_on_each_side_and_a_tumor_large_enough_to_learn(phantoms):
    for phantom in phantoms:
        kidney = phantom.label == Label.KIDNEY
        middle = kidney.shape[2] // 2
        voxel_ml = np.prod(phantom.spacing_zyx_mm) / 1000
        assert kidney[..., :middle].sum() * voxel_ml > 50
        assert kidney[..., middle:].sum() * voxel_ml > 50
        assert not kidney[..., middle - 2 : middle + 2].any()
        assert 4 < (phantom.label == Label.TUMOR).sum() * voxel_ml < 250
        parts, _ = ndimage.label(phantom.label)
        assert sorted(np.bincount(parts.ravel()))[-3] * voxel_ml > 50  # background and the two kidneys with masses


def test_every_lesion_touches_a_kidney(phantoms):
    around = np.ones((3, 3, 3))
    for phantom in phantoms:
        for value in (Label.TUMOR, Label.CYST):
            lesions, count = ndimage.label(phantom.label == value, around)
            for lesion in range(1, count + 1):
                rim = ndimage.binary_dilation(lesions == lesion, around)
                assert (phantom.label[rim] == Label.KIDNEY).any()


def test_about_half_of_the_patients_have_cysts_and_all_have_tumors():
    patients = [draw_patient(np.random.default_rng([7, number])) for number in range(200)]
    assert 80 <= sum(bool(p.cysts) for p in patients) <= 140
    assert all(1 <= len(p.tumors) <= 2 for p in patients)
    diameters = [2 * p.tumors[0].radius for p in patients]
    assert min(diameters) >= 25
    assert max(diameters) <= 70


def test_lesions_occur_on_both_sides_and_do_not_overlap_much():
    patients = [draw_patient(np.random.default_rng([8, number])) for number in range(60)]
    assert {p.tumors[0].side for p in patients} == {LEFT, RIGHT}
    for patient in patients:
        for cyst in patient.cysts:
            gap = np.linalg.norm(np.subtract(cyst.centre, patient.tumors[0].centre))
            assert gap > 0.8 * (cyst.radius + patient.tumors[0].radius)


def test_tissues_have_the_hu_of_an_enhanced_ct(phantoms):
    for phantom in phantoms:
        image, label = phantom.image, phantom.label
        assert 90 < image[label == Label.KIDNEY].mean() < 210
        assert 20 < image[label == Label.TUMOR].mean() < 190
        assert image[label == Label.KIDNEY].mean() > image[label == Label.TUMOR].mean()
        assert np.median(image[:, :3]) < -950  # air in front of the patient
        assert ((image > -130) & (image < -80)).mean() > 0.1  # fat
        assert (image > 220).mean() > 0.002  # bone and aorta
    cores = [p.image[ndimage.binary_erosion(p.label == Label.CYST)] for p in phantoms]
    assert sum(core.size > 0 for core in cores) >= 2
    assert all(abs(core.mean() - 8) < 25 for core in cores if core.size)


def test_the_gall_bladder_is_water_without_a_label():
    for number in (0, 3, 4):
        phantom = make_phantom(number, size=Size("fine", (80,), (6.0,), 40))
        water = ndimage.gaussian_filter(phantom.image, (0.5, 1.0, 1.0))
        water = (water > -8) & (water < 34) & (phantom.label == 0)
        rows, columns = water.shape[1:]
        right_front = water[:, : rows // 2, : columns // 2]
        blobs, _ = ndimage.label(ndimage.binary_erosion(right_front))
        largest_ml = np.bincount(blobs.ravel())[1:].max(initial=0) * np.prod(phantom.spacing_zyx_mm) / 1000
        assert largest_ml > 2


def test_liver_and_spleen_are_as_bright_as_tumors_without_a_label(phantoms):
    for phantom in phantoms:
        middle = phantom.label.shape[2] // 2
        enhanced = (phantom.image > 60) & (phantom.image < 150) & (phantom.label == 0)
        top = slice(0, phantom.label.shape[0] // 2)
        voxel_ml = np.prod(phantom.spacing_zyx_mm) / 1000
        right, left = enhanced[top, :, :middle].sum() * voxel_ml, enhanced[top, :, middle:].sum() * voxel_ml
        assert right > 400
        assert left > 100
        assert right > left


def test_an_unknown_size_is_refused_with_the_known_ones():
    with pytest.raises(KitsError, match=r"phantom size 'huge' is not known. Choose one of: tiny, small, full."):
        make_phantom(0, size="huge")
    assert list(SIZES) == ["tiny", "small", "full"]
