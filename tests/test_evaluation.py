"""The challenges' numbers against DeepMind's package and formulas by hand."""

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunet_kits.evaluation.evaluate import score_files
from nnunet_kits.evaluation.hausdorff import robust_hausdorff_mm
from nnunet_kits.evaluation.lesions import detect, size_class, summarise
from nnunet_kits.evaluation.metrics import score_case
from nnunet_kits.evaluation.surfaces import ball
from nnunet_kits.labels import REGIONS, TOLERANCES_MM, Label

REAL = SHARED / "kits_real"


def official(prediction, reference, labels, spacing, tolerance):
    """Dice and surface Dice by DeepMind's package, as the challenge calls it."""
    surface_distance = pytest.importorskip("surface_distance")
    p, r = np.isin(prediction, labels), np.isin(reference, labels)
    if not p.any() or not r.any():
        return (1.0, 1.0) if not p.any() and not r.any() else (0.0, 0.0)
    distances = surface_distance.compute_surface_distances(r, p, spacing)
    dice = 2 * np.count_nonzero(p & r) / (np.count_nonzero(p) + np.count_nonzero(r))
    return dice, surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)


def blobs(seed, shape, density):
    """Random label maps of a few ragged pieces."""
    generator = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(generator.normal(size=shape), 1)
    return np.digitize(field, np.quantile(field, [1 - density, 1 - density / 2, 1 - density / 5])).astype(np.uint8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.4, 0.78, 1.0, 2.5, 5.0])] * 3),
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    densities=st.tuples(*[st.sampled_from([0.0, 0.05, 0.3, 0.9])] * 2),
    year=st.sampled_from(["21", "23"]),
)
def test_scores_equal_the_challenges_on_any_masks(shape, spacing, seeds, densities, year):
    pairs = zip(seeds, densities, strict=True)
    prediction, reference = (blobs(s, shape, d) if d else np.zeros(shape, np.uint8) for s, d in pairs)
    found = score_case(prediction, reference, spacing, TOLERANCES_MM[year])
    for name, labels in REGIONS.items():
        dice, surface = official(prediction, reference, labels, spacing, TOLERANCES_MM[year][name])
        assert found["dice"][name] == pytest.approx(dice, abs=1e-12)
        assert found["surface_dice"][name] == pytest.approx(surface, abs=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real label maps in {REAL}")
@pytest.mark.parametrize("case", ["case_00037", "case_00061"])
def test_scores_equal_the_challenges_on_real_pairs(case):
    import SimpleITK

    files = [REAL / year / case / "segmentation.nii.gz" for year in ("kits19", "kits23")]
    images = [SimpleITK.ReadImage(str(file)) for file in files]
    arrays = [SimpleITK.GetArrayFromImage(image) for image in images]
    spacing = images[0].GetSpacing()[::-1]
    found = score_files(case, *files, "23")
    for name, labels in REGIONS.items():
        dice, surface = official(*arrays, labels, spacing, TOLERANCES_MM["23"][name])
        assert found["dice"][name] == pytest.approx(dice, abs=1e-9)
        assert found["surface_dice"][name] == pytest.approx(surface, abs=1e-9)


def cube(shape, corner, size, label=2):
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(at, at + size) for at in corner)] = label
    return array


def test_empty_masks_score_one_where_both_are_and_zero_where_one_is():
    empty, full = np.zeros((4, 4, 4), np.uint8), cube((4, 4, 4), (1, 1, 1), 2)
    both = score_case(empty, empty, (1, 1, 1), TOLERANCES_MM["23"])
    assert set(both["dice"].values()) == set(both["surface_dice"].values()) == {1.0}
    for pair in ((empty, full), (full, empty)):
        one = score_case(*pair, (1, 1, 1), TOLERANCES_MM["23"])
        assert set(one["dice"].values()) == set(one["surface_dice"].values()) == {0.0}


def test_kits19_has_no_cyst_no_mass_and_no_surface_dice():
    both = score_case(*[cube((5, 5, 5), (1, 1, 1), 2)] * 2, (1, 1, 1), TOLERANCES_MM["19"], (Label.KIDNEY, Label.TUMOR))
    assert both["dice"] == {"kidney_and_mass": 1.0, "tumor": 1.0}
    assert both["surface_dice"] == {}


def test_volumes_are_in_millilitres_of_prediction_and_reference():
    found = score_case(cube((9, 9, 9), (1, 1, 1), 2), cube((9, 9, 9), (1, 1, 1), 5), (10, 10, 10), {})
    assert found["volume_ml"]["tumor"] == [8.0, 125.0]


def test_the_ball_holds_what_the_tolerance_reaches_nearest_first():
    assert ball((2.0, 1.0, 1.0), 1.0) == ((0, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, 1), (0, 1, 0))


def test_a_tumor_is_detected_by_one_voxel_and_a_piece_apart_is_a_false_positive():
    reference = cube((20, 20, 20), (1, 1, 1), 4) > 0
    reference |= cube((20, 20, 20), (10, 10, 10), 2) > 0
    predicted = cube((20, 20, 20), (4, 4, 4), 2) > 0
    predicted |= cube((20, 20, 20), (16, 1, 1), 3) > 0
    found = detect(predicted, reference, (10, 10, 10))
    assert [(t["volume_ml"], t["detected"]) for t in found["reference"]] == [(64.0, True), (8.0, False)]
    assert found["reference"][0]["diameter_cm"] == pytest.approx(2 * (3 * 64 / (4 * np.pi)) ** (1 / 3))
    assert found["false_positives"] == [27.0]
    summary = summarise([found, detect(reference, reference, (10, 10, 10))])
    assert summary["sensitivity"]["4 to 7 cm"] == {"detected": 2, "tumors": 2, "share": 1.0}
    assert summary["sensitivity"]["2 to 4 cm"]["share"] == 0.5
    assert summary["sensitivity"]["7 cm and more"]["share"] is None
    assert summary["false_positives_per_case"] == 0.5


def test_size_classes_begin_with_their_lower_limit():
    assert [size_class(cm) for cm in (1.99, 2.0, 4.0, 7.0)] == ["under 2 cm", "2 to 4 cm", "4 to 7 cm", "7 cm and more"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(5))
def test_hd95_equals_deepminds_robust_hausdorff(seed):
    surface_distance = pytest.importorskip("surface_distance")
    a, b = blobs(seed, (9, 10, 11), 0.3) > 0, blobs(seed + 50, (9, 10, 11), 0.2) > 0
    distances = surface_distance.compute_surface_distances(a, b, (2.5, 0.8, 0.8))
    assert robust_hausdorff_mm(a, b, (2.5, 0.8, 0.8)) == pytest.approx(
        surface_distance.compute_robust_hausdorff(distances, 95)
    )


def test_hd95_of_empty_masks():
    empty, full = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    assert robust_hausdorff_mm(empty, empty, (1, 1, 1)) == 0.0
    assert robust_hausdorff_mm(empty, full, (1, 1, 1)) is None
