"""What a real network gets wrong is scored as its publisher's files were, and their reversed headers are refused.

Predictions of 30 KiTS19 test cases by the ensemble of the residual 3D U-Nets of Zhang's system, published with its code
(Yichizz/unet3d_kits19), against the label maps of neheller/kits23. Their headers have the slice axis reversed; voxel by
voxel they are those of the references.
"""

import numpy as np
import pytest
from conftest import SHARED

from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation import evaluate_case, score_case
from nnunet_kits.evaluation.references import find_pairs
from nnunet_kits.geometry import union_box
from nnunet_kits.images import read_labels, write_volume
from nnunet_kits.releases import release_of

REAL = SHARED / "real_predictions"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no published predictions in {REAL}")

MEAN_DICE = {"kidney_and_mass": 0.9346, "mass": 0.6016, "tumor": 0.6075}
"""Source: README.md beside the files, "The 30 here"; the paper's 90 test cases have 0.9353, 0.5791 and 0.5841."""


@pytest.fixture(scope="module")
def pairs():
    return find_pairs(REAL / "zhang_kits19", REAL / "reference", "23")


def test_the_published_predictions_have_the_published_dice_once_they_have_the_references_affines(pairs):
    found = []
    for pair in pairs:
        prediction, reference = read_labels(pair.prediction), read_labels(pair.reference)
        assert prediction.grid.shape == reference.grid.shape
        box = union_box(prediction.box, reference.box)
        scores = score_case(prediction.within(box).T, reference.within(box).T, reference.grid.spacing_mm[::-1], {})
        found.append(scores["dice"])
    assert len(found) == 30
    for name, expected in MEAN_DICE.items():
        assert np.mean([dice[name] for dice in found]) == pytest.approx(expected, abs=5e-5)


def test_every_published_prediction_is_refused_with_its_own_reversed_header(pairs):
    for pair in pairs:
        with pytest.raises(EvaluationError, match=r"affines of the prediction and of the reference .* differ by up to"):
            evaluate_case(pair.prediction, pair.reference, "23")


def test_a_file_with_the_references_affine_has_the_scores_of_the_arrays(pairs, tmp_path):
    pair, release = pairs[0], release_of("23")
    prediction, reference = read_labels(pair.prediction), read_labels(pair.reference)
    write_volume(tmp_path / "prediction.nii.gz", prediction.whole(), reference.grid.affine)
    expected = score_case(
        prediction.whole(), reference.whole(), reference.grid.spacing_mm, release.tolerances_mm, release.labels
    )
    found = evaluate_case(tmp_path / "prediction.nii.gz", pair.reference, "23")
    assert found["dice"] == expected["dice"]
    assert found["surface_dice"] == pytest.approx(expected["surface_dice"])
    detected = [[tumor["detected"] for tumor in scores["tumors"]["reference"]] for scores in (found, expected)]
    assert detected[0] == detected[1]
