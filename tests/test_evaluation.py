"""The challenges' numbers against DeepMind's package, called as the challenge calls it, and against hand-made cases."""

import itertools
import warnings

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunet_kits.errors import EvaluationError, ImageError
from nnunet_kits.evaluation import evaluate_case, score_case
from nnunet_kits.evaluation.areas import CORNERS, element_areas_mm2
from nnunet_kits.evaluation.hausdorff import robust_hausdorff_mm
from nnunet_kits.evaluation.lesions import detect, size_class, summarise
from nnunet_kits.evaluation.overlap import joint_histogram
from nnunet_kits.evaluation.surfaces import find_surface, offsets_within, reach_of, surface_dice
from nnunet_kits.labels import REGIONS, Label
from nnunet_kits.releases import RELEASES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    surface_distance = pytest.importorskip("surface_distance", reason="the oracle is the package surface-distance")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance")
REAL = SHARED / "kits_real"

spacings = st.tuples(*[st.sampled_from([0.4, 0.7820000052452087, 1.0, 2.5, 5.0])] * 3)
shapes = st.tuples(*[st.integers(1, 9)] * 3)


def official(prediction, reference, labels, spacing, tolerance):
    """Dice and surface Dice of one class, as kits23/evaluation/metrics.py has them."""
    p, r = np.isin(prediction, labels), np.isin(reference, labels)
    if not p.any() or not r.any():
        return (1.0, 1.0) if not p.any() and not r.any() else (0.0, 0.0)
    dice = 2 * np.count_nonzero(p & r) / (np.count_nonzero(p) + np.count_nonzero(r))
    distances = surface_distance.compute_surface_distances(r, p, spacing)
    return dice, surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)


def blobs(seed, shape, density):
    """A label map of a few ragged pieces; noise where the density is negative."""
    generator = np.random.default_rng(seed)
    field = generator.normal(size=shape)
    if density > 0:
        field = ndimage.gaussian_filter(field, 1)
    share = abs(density)
    return np.digitize(field, np.quantile(field, [1 - share, 1 - share / 2, 1 - share / 5])).astype(np.uint8)


label_maps = st.tuples(st.integers(0, 999), st.sampled_from([0.02, 0.3, 0.9, -0.05, -0.5]))


@settings(max_examples=120, deadline=None)
@given(shape=shapes, spacing=spacings, ours=label_maps, theirs=label_maps, year=st.sampled_from(["21", "23"]))
def test_scores_equal_the_challenges_on_any_masks(shape, spacing, ours, theirs, year):
    prediction, reference = blobs(ours[0], shape, ours[1]), blobs(theirs[0], shape, theirs[1])
    found = score_case(prediction, reference, spacing, RELEASES[year].tolerances_mm)
    for name, labels in REGIONS.items():
        dice, surface = official(prediction, reference, labels, spacing, RELEASES[year].tolerances_mm[name])
        assert found["dice"][name] == pytest.approx(dice, abs=1e-12)
        assert found["surface_dice"][name] == pytest.approx(surface, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(shape=shapes, spacing=spacings, ours=label_maps, theirs=label_maps, axes=st.permutations(range(3)))
def test_no_score_depends_on_the_order_of_the_axes(shape, spacing, ours, theirs, axes):
    prediction, reference = blobs(ours[0], shape, ours[1]), blobs(theirs[0], shape, theirs[1])
    found = score_case(prediction, reference, spacing, RELEASES["23"].tolerances_mm, hd95=True)
    turned = [array.transpose(axes) for array in (prediction, reference)]
    again = score_case(*turned, [spacing[axis] for axis in axes], RELEASES["23"].tolerances_mm, hd95=True)
    for kind in ("dice", "surface_dice", "hd95_mm"):
        assert again[kind] == pytest.approx(found[kind], abs=1e-12)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the challenges' label maps in {REAL}")
@pytest.mark.parametrize("case", ["case_00015", "case_00023", "case_00061"])  # 15 and 23 are uint16 in KiTS19
def test_scores_equal_the_challenges_on_real_pairs(case):
    import SimpleITK

    files = [REAL / year / case / "segmentation.nii.gz" for year in ("kits19", "kits23")]
    images = [SimpleITK.ReadImage(str(file)) for file in files]
    arrays = [SimpleITK.GetArrayFromImage(image) for image in images]
    found = evaluate_case(*files, "23")
    for name, labels in REGIONS.items():
        dice, surface = official(*arrays, labels, images[0].GetSpacing()[::-1], RELEASES["23"].tolerances_mm[name])
        assert found["dice"][name] == pytest.approx(dice, abs=1e-9)
        assert found["surface_dice"][name] == pytest.approx(surface, abs=1e-9)
    millilitres = np.prod(images[1].GetSpacing()) / 1000
    for label, (_, true) in found["volume_ml"].items():
        assert true == pytest.approx(np.count_nonzero(arrays[1] == Label[label.upper()]) * millilitres)


@given(spacing=spacings)
@settings(max_examples=10, deadline=None)
def test_areas_of_all_256_codes_are_those_of_deepminds_table(spacing):
    table = surface_distance.lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    weights = [int(surface_distance.lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL[corner]) for corner in CORNERS]
    theirs = [sum(w for bit, w in enumerate(weights) if code >> bit & 1) for code in range(256)]
    assert element_areas_mm2(spacing) == pytest.approx(table[theirs], rel=1e-13)


def test_a_plane_through_the_voxels_has_the_area_that_it_should():
    wall = np.zeros((4, 5, 6), bool)
    wall[:2] = True
    surface = find_surface(wall)
    at = surface.lattice.margin + np.dot(surface.lattice.strides, (2, 2, 2))  # amidst its lower side
    (code,) = surface.codes[surface.places == at]
    assert element_areas_mm2((2.0, 3.0, 0.5))[code] == 1.5  # a face of a voxel: 3 x 0.5


def cube(shape, corner, size, label=2):
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(at, at + size) for at in corner)] = label
    return array


def test_two_cubes_a_voxel_apart_agree_within_a_voxel_and_not_within_less():
    masks = [cube((9, 5, 5), (z, 1, 1), 3) > 0 for z in (1, 2)]
    theirs = surface_distance.compute_surface_distances(*masks, (1.0, 1.0, 1.0))
    for tolerance, expected in ((1.0, 1.0), (0.99, surface_distance.compute_surface_dice_at_tolerance(theirs, 0.99))):
        reach = reach_of((1.0, 1.0, 1.0), tolerance)
        a, b = (find_surface(mask, reach) for mask in masks)
        assert surface_dice(a, b, (1.0, 1.0, 1.0), tolerance) == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(0.66, abs=0.001)  # the sides agree, the two faces across the shift do not


def test_offsets_are_what_the_tolerance_reaches_the_shortest_first():
    assert offsets_within((2.0, 1.0, 1.0), 1.0) == ((0, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, 1), (0, 1, 0))
    assert offsets_within((1.0, 1.0, 1.0), 0.0) == ((0, 0, 0),)


def test_empty_masks_score_one_where_both_are_and_zero_where_one_is():
    empty, full = np.zeros((4, 4, 4), np.uint8), cube((4, 4, 4), (1, 1, 1), 2)
    both = score_case(empty, empty, (1, 1, 1), RELEASES["23"].tolerances_mm)
    assert {*both["dice"].values(), *both["surface_dice"].values(), *both["label_dice"].values()} == {1.0}
    for pair in ((empty, full), (full, empty)):
        one = score_case(*pair, (1, 1, 1), RELEASES["23"].tolerances_mm)
        assert {*one["dice"].values(), *one["surface_dice"].values(), one["label_dice"]["tumor"]} == {0.0}
        assert one["label_dice"]["kidney"] == 1.0


def test_a_class_that_one_map_lacks_scores_zero_while_others_do_not():
    prediction, reference = cube((6, 6, 6), (1, 1, 1), 4, 1), cube((6, 6, 6), (1, 1, 1), 4, 1)
    reference[2, 2, 2] = 3
    found = score_case(prediction, reference, (1, 1, 1), RELEASES["23"].tolerances_mm)
    assert found["dice"] == {"kidney_and_mass": 1.0, "mass": 0.0, "tumor": 1.0}
    assert found["surface_dice"] == {"kidney_and_mass": 1.0, "mass": 0.0, "tumor": 1.0}
    assert found["label_dice"]["kidney"] == pytest.approx(2 * 63 / (64 + 63))


@settings(max_examples=20, deadline=None)
@given(shape=shapes, ours=label_maps, theirs=label_maps)
def test_pairs_of_labels_are_counted(shape, ours, theirs):
    prediction, reference = blobs(ours[0], shape, ours[1]), blobs(theirs[0], shape, theirs[1])
    pairs = joint_histogram(prediction, reference, (1, 2, 3))
    for a, b in itertools.product(range(4), repeat=2):
        if (a, b) != (0, 0):
            assert pairs[a, b] == np.count_nonzero((prediction == a) & (reference == b))


def test_kits19_has_the_dice_of_kidney_with_tumor_and_of_tumor_and_no_surface_dice():
    prediction, reference = cube((5, 5, 5), (1, 1, 1), 3, 1), cube((5, 5, 5), (1, 1, 1), 3, 1)
    prediction[1, 1, 1], reference[1, 1, 1:3] = 2, 2
    found = score_case(prediction, reference, (1, 1, 1), RELEASES["19"].tolerances_mm, RELEASES["19"].labels)
    # as starter_code/evaluation.py of kits19: greater than 0, greater than 1
    assert found["dice"] == {"kidney_and_mass": 1.0, "tumor": pytest.approx(2 / 3)}
    assert found["surface_dice"] == {}
    with pytest.raises(ImageError, match="the prediction holds the value 3, but its labels are 0, 1, 2"):
        score_case(np.full((5, 5, 5), 3), reference, (1, 1, 1), {}, RELEASES["19"].labels)


def test_arrays_of_different_shape_are_refused():
    with pytest.raises(EvaluationError, match=r"\(4, 4, 4\) but the reference is \(4, 4, 5\) voxels"):
        score_case(np.zeros((4, 4, 4)), np.zeros((4, 4, 5)), (1, 1, 1), {})


def test_volumes_are_in_millilitres_of_prediction_and_reference():
    found = score_case(cube((9, 9, 9), (1, 1, 1), 2), cube((9, 9, 9), (1, 1, 1), 5), (10, 10, 10), {})
    assert found["volume_ml"] == {"kidney": [0.0, 0.0], "tumor": [8.0, 125.0], "cyst": [0.0, 0.0]}


def test_a_tumor_is_detected_by_one_voxel_and_a_piece_apart_is_a_false_positive():
    true = cube((20, 20, 20), (1, 1, 1), 4) > 0
    true |= cube((20, 20, 20), (10, 10, 10), 2) > 0
    predicted = cube((20, 20, 20), (4, 4, 4), 2) > 0
    predicted |= cube((20, 20, 20), (16, 1, 1), 3) > 0
    found = detect(predicted, true, (10, 10, 10))
    assert [(t["volume_ml"], t["detected"], t["overlap"]) for t in found["reference"]] == [
        (64.0, True, 1 / 64),
        (8.0, False, 0.0),
    ]
    assert found["reference"][0]["diameter_cm"] == pytest.approx(2 * (3 * 64 / (4 * np.pi)) ** (1 / 3))
    assert found["false_positives"] == [27.0]
    summary = summarise([found, detect(true, true, (10, 10, 10))])
    assert summary["sensitivity"]["4 to 7 cm"] == {"detected": 2, "tumors": 2, "share": 1.0}
    assert summary["sensitivity"]["2 to 4 cm"]["share"] == 0.5
    assert summary["sensitivity"]["7 cm and more"]["share"] is None
    assert summary["sensitivity"]["all"] == {"detected": 3, "tumors": 4, "share": 0.75}
    assert summary["false_positives_per_case"] == 0.5


@settings(max_examples=20, deadline=None)
@given(shape=shapes, ours=label_maps, theirs=label_maps)
def test_tumors_are_scipys_components(shape, ours, theirs):
    predicted, true = blobs(ours[0], shape, ours[1]) == 2, blobs(theirs[0], shape, theirs[1]) == 2
    pieces, count = ndimage.label(true, np.ones((3, 3, 3)))
    sizes = [(int((pieces == n).sum()), bool(predicted[pieces == n].any())) for n in range(1, count + 1)]
    found = detect(predicted, true, (1, 1, 1))
    assert sorted((round(t["volume_ml"] * 1000), t["detected"]) for t in found["reference"]) == sorted(sizes)
    pieces, count = ndimage.label(predicted, np.ones((3, 3, 3)))
    false = [int((pieces == n).sum()) for n in range(1, count + 1) if not true[pieces == n].any()]
    assert sorted(round(volume * 1000) for volume in found["false_positives"]) == sorted(false)


def test_size_classes_begin_with_their_lower_limit():
    assert [size_class(cm) for cm in (1.99, 2.0, 4.0, 7.0)] == ["under 2 cm", "2 to 4 cm", "4 to 7 cm", "7 cm and more"]


@settings(max_examples=30, deadline=None)
@given(seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)), spacing=spacings)
def test_hd95_equals_deepminds_robust_hausdorff(seeds, spacing):
    a, b = (blobs(seed, (9, 10, 11), 0.3) > 0 for seed in seeds)
    distances = surface_distance.compute_surface_distances(a, b, spacing)
    found = robust_hausdorff_mm(find_surface(a), find_surface(b), spacing)
    assert found == pytest.approx(surface_distance.compute_robust_hausdorff(distances, 95), abs=1e-9)


def test_hd95_of_empty_masks_is_zero_where_both_are_and_none_where_one_is():
    empty, full = find_surface(np.zeros((4, 4, 4), bool)), find_surface(np.ones((4, 4, 4), bool))
    assert robust_hausdorff_mm(empty, empty, (1.0, 1.0, 1.0)) == 0.0
    assert robust_hausdorff_mm(empty, full, (1.0, 1.0, 1.0)) is None
