"""Orientations, boxes and planes of volumes."""

import itertools
import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from small_report import KITS_AFFINE

from nnunet_kits import geometry


@pytest.mark.parametrize("code", ["RAS", "LPS", "IPL", "ARS", "PIR", "SLA"])
def test_every_orientation_becomes_head_to_feet_front_to_back_right_to_left(code):
    ipl = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), KITS_AFFINE)
    turn = nib.orientations.ornt_transform(nib.io_orientation(KITS_AFFINE), nib.orientations.axcodes2ornt(code))
    turned = ipl.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.affine)) == code
    array = np.asarray(turned.dataobj)
    assert (geometry.to_canonical(array, turned.affine) == np.asarray(ipl.dataobj)).all()
    assert geometry.canonical_spacing(turned.affine) == (5.0, 1.0, 1.0)


def test_an_oblique_volume_gets_the_closest_orientation():
    angle = math.radians(20)
    rotation = np.eye(4)
    rotation[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    array = np.arange(24).reshape(2, 3, 4)
    assert (geometry.to_canonical(array, rotation @ KITS_AFFINE) == array).all()
    assert geometry.canonical_spacing(rotation @ KITS_AFFINE) == pytest.approx((5, 1, 1))


def intervals(size):
    """Half-open intervals of at least one voxel below a size."""
    ends = st.tuples(st.integers(0, size - 1), st.integers(1, size))
    return ends.filter(lambda ends: ends[0] < ends[1])


shapes = st.tuples(*[st.integers(1, 7)] * 3)
boxes = st.tuples(*[intervals(7)] * 3)
LAYOUTS = [
    lambda array: array,
    np.asfortranarray,
    lambda array: array[::-1, :, ::-1].copy()[::-1, :, ::-1],
    lambda array: array.transpose(1, 2, 0).copy().transpose(2, 0, 1),
    lambda array: np.repeat(array, 2, axis=1)[:, ::2],
]


@settings(max_examples=200, deadline=None)
@given(
    shape=shapes,
    dtype=st.sampled_from(["bool", "u1", "i2", ">u2", "f4", "f8"]),
    share=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 999),
)
def test_the_bounding_box_is_scipys_whatever_the_dtype_and_the_memory_layout(shape, dtype, share, layout, seed):
    random = np.random.default_rng(seed)
    array = layout(np.where(random.random(shape) < share, random.integers(1, 9, shape), 0).astype(dtype))
    (expected,) = ndimage.find_objects((array != 0).astype(np.int8)) or [None]
    box = geometry.bounding_box(array)
    assert box == (expected and tuple((side.start, side.stop) for side in expected))
    assert geometry.nonzero_box(array) == (box or geometry.whole_box(shape))


def test_the_axes_of_a_box_are_those_of_the_array():
    mask = np.zeros((6, 7, 8), bool)
    mask[1, 2, 3] = mask[4, 3, 7] = True
    for axes in itertools.permutations(range(3)):
        box = ((1, 5), (2, 4), (3, 8))
        assert geometry.bounding_box(mask.transpose(axes)) == tuple(box[axis] for axis in axes)


def test_a_negative_zero_is_zero_and_nan_is_not():
    array = np.full((3, 4, 5), -0.0)
    assert geometry.bounding_box(array) is None
    array[1, 2, 3] = np.nan
    assert geometry.bounding_box(array) == ((1, 2), (2, 3), (3, 4))


def test_an_array_without_voxels_has_no_box():
    assert geometry.bounding_box(np.zeros((2, 0, 3), bool)) is None


def test_a_voxel_counts_that_is_not_zero_in_any_channel():
    image = np.zeros((2, 5, 5, 5))
    image[0, 1, 1, 1] = image[1, 3, 2, 4] = 1
    assert geometry.nonzero_box(image) == ((1, 4), (1, 3), (1, 5))


@given(st.lists(boxes, max_size=4))
def test_the_union_of_boxes_is_the_box_of_all_their_voxels(given_boxes):
    mask = np.zeros((7, 7, 7), bool)
    for box in given_boxes:
        geometry.crop(mask, box)[...] = True
    expected = geometry.bounding_box(mask) or ((0, 0), (0, 0), (0, 0))
    assert geometry.union_box(None, *given_boxes) == expected


@given(boxes, boxes, st.sampled_from("CF"))
def test_what_is_pasted_is_cropped_again_and_the_rest_is_zero(box, other, order):
    within = geometry.union_box(box, other)
    part = np.random.default_rng(0).integers(1, 200, [stop - start for start, stop in box], np.uint8)
    array = geometry.pasted(part, box, within, order)
    assert array.flags[f"{order}_CONTIGUOUS"]
    assert array.shape == tuple(stop - start for start, stop in within)
    whole = geometry.pasted(array, within, geometry.whole_box((7, 7, 7)))
    assert np.array_equal(geometry.crop(whole, box), part)
    assert np.count_nonzero(whole) == part.size
    like = geometry.pasted_like(np.empty((7, 7, 7), np.uint8, order), box, part)
    assert np.array_equal(like, whole)
    assert like.flags[f"{order}_CONTIGUOUS"]


@given(boxes, st.floats(0, 30), st.tuples(*[st.floats(0.5, 6)] * 3))
def test_a_grown_box_holds_every_voxel_nearer_than_the_margin_and_none_beyond_it(box, margin_mm, spacing_mm):
    volume = geometry.whole_box((7, 7, 7))
    grown = geometry.grow_box(box, margin_mm, spacing_mm, volume)
    for (start, stop), (first, last), spacing in zip(box, grown, spacing_mm, strict=True):
        apart_mm = np.array([max(start - index, index - (stop - 1), 0) for index in range(7)]) * spacing
        inside = (np.arange(7) >= first) & (np.arange(7) < last)
        assert inside[apart_mm < margin_mm - spacing / 2].all()
        assert not inside[apart_mm > margin_mm + spacing / 2 + 1e-9].any()


def test_a_box_is_half_open_grows_in_millimetres_and_stops_at_the_border():
    mask = np.zeros((10, 20, 30), bool)
    mask[2:4, 5:9, 29] = True
    box = geometry.bounding_box(mask)
    assert box == ((2, 4), (5, 9), (29, 30))
    assert geometry.crop(mask, box).shape == (2, 4, 1)
    assert geometry.grow_box(box, 10.0, (5.0, 2.0, 1.0), geometry.whole_box(mask.shape)) == ((0, 6), (0, 14), (19, 30))


def test_planes_are_cut_where_they_hold_most():
    mask = np.zeros((5, 6, 7), bool)
    mask[1:4, 2, 3] = True
    mask[2, 2:5, 3] = True
    assert geometry.fullest_point(mask) == (2, 2, 3)
    assert geometry.plane_through(mask, "axial", 2).sum() == 3
    assert geometry.plane_through(mask, "coronal", 2).shape == (5, 7)
    assert geometry.plane_through(mask, "sagittal", 3).shape == (5, 6)
