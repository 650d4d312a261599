"""What is measured plane by plane: the exophytic share and the polar lines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kidneys import grid_affine, of

from nnunet_kits.geometry import crop
from nnunet_kits.measurement import measure_labels
from nnunet_kits.measurement.sections import concave_envelope, exophytic_share, polar_lines


def box(*ranges):
    return ranges


def test_the_exophytic_share_is_what_lies_outside_the_outline_of_each_plane():
    parenchyma = np.zeros((6, 12, 14), bool)
    parenchyma[1:5, 1:11, 2:10] = True  # columns 2 to 9
    lesion = np.zeros_like(parenchyma)
    lesion[2:4, 4:8, 8:12] = True  # columns 8 to 11: two inside, two outside
    parenchyma &= ~lesion
    where = box((2, 4), (4, 8), (8, 12))
    assert exophytic_share(crop(lesion, where), where, parenchyma) == 0.5
    inside = box((2, 3), (4, 6), (4, 6))
    assert exophytic_share(np.ones((1, 2, 2), bool), inside, parenchyma) == 0
    beyond = box((4, 6), (4, 6), (4, 6))  # one plane with kidney, one without
    assert exophytic_share(np.ones((2, 2, 2), bool), beyond, parenchyma) == 0.5
    apart = box((2, 3), (0, 1), (12, 14))
    assert exophytic_share(np.ones((1, 1, 2), bool), apart, parenchyma) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=12))
def test_the_envelope_is_the_least_concave_function_above(values):
    positions = np.arange(len(values))
    found = concave_envelope(positions, np.array(values))
    assert (found >= np.array(values) - 1e-9).all()
    assert (np.diff(found, 2) <= 1e-9).all()
    chords = [
        max(
            values[a] + (values[b] - values[a]) * (p - a) / max(b - a, 1)
            for a in range(p + 1)
            for b in range(p, len(values))
        )
        for p in positions
    ]
    assert found == pytest.approx(chords)


def bean(depth, start=8, stop=16, medial=1):
    """A block of 24 planes with a cleft in one side, its depth in columns."""
    organ = np.zeros((28, 20, 24), bool)
    organ[2:26, 4:16, 4:20] = True
    cleft = slice(20 - depth, 20) if medial > 0 else slice(4, 4 + depth)
    organ[start:stop, 9:11, cleft] = False
    return organ


@pytest.mark.parametrize("medial", [1, -1])
def test_polar_lines_lie_where_the_medial_cleft_begins_and_ends(medial):
    found = polar_lines(bean(6, medial=medial), medial, (2.0, 1.0, 1.0))
    assert (found.upper, found.lower) == (7.5, 15.5)
    assert polar_lines(bean(6, medial=medial), -medial, (2.0, 1.0, 1.0)) is None


@pytest.mark.parametrize("organ", [bean(4), bean(6, 8, 12), bean(6, 2, 12), bean(6, 16, 26), np.zeros((3, 3, 3), bool)])
def test_no_polar_lines_where_the_cleft_is_shallow_short_or_at_an_end(organ):
    assert polar_lines(organ, 1, (2.0, 1.0, 1.0)) is None


def test_a_lesion_is_placed_by_the_polar_lines_of_its_kidney():
    labels = np.zeros((28, 20, 80), np.uint8)
    labels[:, :, :24][bean(6)] = 1
    labels[:, :, 56:][bean(6, medial=-1)] = 1
    labels[4:8, 4:6, 5:7] = 2  # above the line at 7.5
    labels[5:9, 14:16, 5:7] = 3  # three planes above, one below
    found = measure_labels(labels, grid_affine((2.0, 1.0, 1.0)))
    tumor, cyst = of(found, "tumor"), of(found, "cyst")
    assert (tumor.above_upper_polar_line_share, cyst.above_upper_polar_line_share) == (1, 0.75)
    assert tumor.below_lower_polar_line_share == 0
    assert tumor.centre_below_upper_polar_line_mm == pytest.approx((5.5 - 7.5) * 2)
    assert tumor.centre_above_lower_polar_line_mm == pytest.approx((15.5 - 5.5) * 2)
    assert found.polar_lines_z_mm["right"] == pytest.approx((33 - 15, 33 - 31))
