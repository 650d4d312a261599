"""Intensities voxel by voxel, equal to nnU-Net's own classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization, NoNormalization

from nnunet_kits.intensity import planned_intensity

GIVEN = {"mean": 101.3, "std": 76.9, "percentile_00_5": -58.0, "percentile_99_5": 302.0}
PLANS = {"foreground_intensity_properties_per_channel": {"0": GIVEN, "1": {**GIVEN, "std": 0.0}}}
STOCK = {"CTNormalization": CTNormalization, "NoNormalization": NoNormalization}


def intensity(scheme, channel=0):
    return planned_intensity(PLANS, {"normalization_schemes": [scheme, scheme]}, channel)


@given(st.sampled_from(list(STOCK)), st.integers(0, 1), st.sampled_from(["i2", "f4"]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_values_and_their_range_are_nnunets_to_the_last_bit(scheme, channel, dtype, seed):
    scan = np.random.default_rng(seed).normal(100, 300, (5, 9, 17)).astype(dtype)
    given_properties = PLANS["foreground_intensity_properties_per_channel"][str(channel)]
    expected = STOCK[scheme](use_mask_for_norm=False, intensityproperties=given_properties).run(scan.astype(np.float32))
    found = intensity(scheme, channel)(scan.astype(np.float32))
    assert np.array_equal(found, expected)
    assert intensity(scheme, channel).range_of(scan) == pytest.approx((expected.min(), expected.max()))


@pytest.mark.parametrize("place", [(4, 4, 4), (0, 0, 0), (7, 15, 15)])
def test_the_range_is_that_of_every_voxel_where_a_few_do_not_pass_the_window(place):
    scan = np.zeros((8, 16, 16), np.int16)
    scan[place] = 200
    found = intensity("CTNormalization")
    assert found.range_of(scan) == (found.of(0), found.of(200))
    scan[0, 0, 0], scan[4, 8, 8] = -1000, 3000
    assert found.range_of(scan) == (found.of(-58), found.of(302))


def test_a_normalisation_that_needs_the_whole_scan_is_none():
    assert intensity("ZScoreNormalization") is None
